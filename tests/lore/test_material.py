from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from seqlore.data import Dataset, Split, leave_one_out, ratio, temporal_sessions
from seqlore.errors import DataError
from seqlore.lore.material import gather
from toys import make_dataset, make_split

HISTORIES = {"ann": ["a", "b", "c", "d"], "bob": ["b", "a"], "cyd": ["c"]}
TITLES = {"a": "Apple", "b": "Bread", "c": "Corn", "d": "Dill"}
REVIEWS = ["ann on a", "ann on b", "ann on c", "ann on d", "bob on b", "bob on a", "cyd on c"]


def facts(split: Split, task: str, **options) -> dict[str, dict]:
    return {m.subject.id: dict(m.facts) for m in gather(split, task, **options)}  # type: ignore[arg-type]


def shop(**columns: list) -> Dataset:
    """The toy with brands, categories, a description and users."""
    data = make_dataset(HISTORIES, TITLES, **columns)
    items = data.items.with_columns(
        brand=pl.Series([None, "Oven", "", None]),
        categories=pl.Series([["Fruit", "Fresh"], ["Baked"], None, []]),
        description=pl.Series(["  red\nand round ", None, None, None]),
    )
    users = pl.DataFrame({"user_id": ["ann", "bob"], "age": [25, None], "city": ["Rome", "Oslo"]})
    return Dataset.from_frames(data.interactions, items, users, name="shop")


def test_item_knowledge_is_the_catalogue() -> None:
    found = facts(leave_one_out(shop()), "item-knowledge")
    assert found == {
        "a": {"title": ("Apple",), "categories": ("Fruit", "Fresh"), "description": ("red and round",)},
        "b": {"title": ("Bread",), "brand": ("Oven",), "categories": ("Baked",)},
        "c": {"title": ("Corn",)},
        "d": {"title": ("Dill",)},
    }


def test_preferences_are_the_training_history_the_oldest_first() -> None:
    found = facts(leave_one_out(shop()), "user-preference")
    assert found["ann"] == {
        "titles": ("Apple", "Bread"),
        "categories": ("Fruit, Fresh", "Baked"),
        "user": ("age: 25", "city: Rome"),
    }
    assert found["bob"]["user"] == ("city: Oslo",)
    assert found["bob"]["titles"] == ("Bread",)
    assert found["cyd"] == {"titles": ("Corn",)}  # Corn has no categories, and of cyd nothing is known


def test_what_users_may_tell_is_a_setting() -> None:
    assert facts(leave_one_out(shop()), "user-preference", user_columns=("city",))["ann"]["user"] == ("city: Rome",)
    assert "user" not in facts(leave_one_out(shop()), "user-preference", user_columns=())["ann"]
    nobody = leave_one_out(replace(shop(), users=None))
    with pytest.raises(DataError, match=r"has no table of users, so no column 'town' of it"):
        gather(nobody, "user-preference", user_columns=("town",))
    with pytest.raises(DataError, match=r"users have no column 'town'"):
        gather(leave_one_out(shop()), "user-preference", user_columns=("town",))


def test_only_the_latest_events_of_a_user() -> None:
    split = make_split(HISTORIES, TITLES, review=REVIEWS)
    assert facts(split, "user-preference", history=3)["ann"]["titles"] == ("Bread", "Corn", "Dill")
    assert facts(split, "user-label", history=1)["ann"] == {"titles": ("Dill",), "reviews": ("ann on d",)}


def test_labels_read_reviews_of_training_events_aligned_with_titles() -> None:
    split = leave_one_out(shop(review=REVIEWS))
    assert facts(split, "user-label", profiles={"a": "for eaters"})["ann"] == {
        "titles": ("Apple", "Bread"),
        "reviews": ("ann on a", "ann on b"),
        "profiles": ("for eaters", ""),
    }
    items = facts(split, "item-label")
    assert items["b"]["reviews"] == ("bob on b", "ann on b")  # by time
    assert items["b"]["brand"] == ("Oven",)
    assert "d" not in items  # its only review is held out


def test_reviews_of_an_item_are_in_the_order_of_time() -> None:
    split = make_split({"ann": ["a"], "bob": ["a"], "cyd": ["a"]}, review=["x", "y", "z"], timestamp=[3, 1, 2])
    assert facts(split, "item-label")["a"]["reviews"] == ("y", "z", "x")


def test_a_summary_stands_in_for_a_missing_review() -> None:
    split = make_split({"ann": ["a", "b"]}, TITLES, review=[None, " long\n text "], summary=["short", "not read"])
    assert facts(split, "user-label")["ann"] == {"titles": ("Apple", "Bread"), "reviews": ("short", "long text")}


def test_events_without_title_and_review_say_nothing_and_are_dropped() -> None:
    split = make_split({"ann": ["a", "b", "c"], "bob": ["a"]}, {"a": "Apple"}, review=[None, "fine", None, ""])
    assert facts(split, "user-label") == {"ann": {"titles": ("Apple", ""), "reviews": ("", "fine")}}
    assert facts(split, "user-preference")["ann"] == {"titles": ("Apple",)}


def test_titles_that_nobody_knows_are_no_fact() -> None:
    split = make_split({"ann": ["a", "b"]}, None, review=["x", "y"])
    assert facts(split, "user-label") == {"ann": {"reviews": ("x", "y")}}


MARKER = "PLANTED-IN-HELD-OUT"


@pytest.mark.parametrize("task", ["item-label", "user-label", "user-preference", "item-knowledge"])
@pytest.mark.parametrize("protocol", [leave_one_out, ratio, temporal_sessions])
def test_nothing_of_a_held_out_event_is_ever_told(protocol, task: str) -> None:
    histories = {f"u{u}": [f"i{(u * 7 + t * t) % 13}" for t in range(3 + u % 5)] for u in range(20)}
    n = sum(map(len, histories.values()))
    plain = make_dataset(histories, {f"i{i}": f"Item {i}" for i in range(13)}, review=["word"] * n, summary=["s"] * n)
    split = protocol(plain)
    assert len(split.valid)
    assert len(split.test)
    train = set(split.train.rows.tolist())
    held = [row not in train for row in range(n)]
    assert any(held)
    marked = pl.Series([MARKER if h else f"told {row}" for row, h in enumerate(held)])
    split = protocol(plain.with_interactions(plain.interactions.with_columns(review=marked, summary=marked), "marked"))
    found = gather(split, task)  # type: ignore[arg-type]
    assert MARKER not in str(found)
    if task.endswith("label"):
        told = {text for m in found for text in m.facts["reviews"] if text}
        assert told == {f"told {row}" for row in train}


def test_a_final_fit_may_read_what_was_validation() -> None:
    split = leave_one_out(shop(review=REVIEWS))
    assert facts(split.with_validation(), "user-label")["ann"]["reviews"] == ("ann on a", "ann on b", "ann on c")
    assert facts(split.with_everything(), "item-label")["d"]["reviews"] == ("ann on d",)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("item-label", "toy: item-label needs a review or summary in the training part, and this dataset has none"),
        ("user-preference", "toy: user-preference needs a title or another catalogue text"),
        ("reword", "task 'reword' is a step of others"),
    ],
)
def test_nothing_to_write_from(task: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        gather(make_split({"ann": ["a"]}), task)  # type: ignore[arg-type]
