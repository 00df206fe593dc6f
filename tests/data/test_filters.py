"""Filters: worked by hand, and the laws of the k-core by hypothesis."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from seqlore.data import Dataset
from seqlore.data.filters import drop_duplicates, k_core, min_length, min_rating
from seqlore.errors import ConfigError, DataError
from toys import make_dataset


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return dataset.interactions.select("user_id", "item_id").rows()


def from_pairs(rows: list[tuple[str, str]]) -> Dataset:
    return Dataset.from_frames(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"))


def test_the_core_falls_step_by_step() -> None:
    # c has one buyer; without c, user 3 has one item; without user 3, b has one buyer; without b, users 1, 2 keep a, d.
    dataset = make_dataset(
        {"1": ["a", "d"], "2": ["a", "d"], "3": ["b", "c"], "4": ["b", "a", "d"]}, titles={"z": "unseen"}
    )
    core = k_core(dataset, 2, 2)
    assert pairs(core) == [("1", "a"), ("1", "d"), ("2", "a"), ("2", "d"), ("4", "a"), ("4", "d")]
    assert sorted(core.items["item_id"]) == ["a", "d"]
    assert core.meta["filters"] == ["k-core user=2 item=2 (3 interactions removed)"]
    assert "filters" not in dataset.meta, "the original is as it was"


def test_items_nobody_bought_may_stay() -> None:
    dataset = make_dataset({"1": ["a", "b"]}, titles={"a": "A", "z": "unseen"})
    assert sorted(k_core(dataset, 1, 1).items["item_id"]) == ["a", "b"]
    assert sorted(k_core(dataset, 1, 1, keep_items=True).items["item_id"]) == ["a", "b", "z"]


def test_users_go_with_their_interactions() -> None:
    dataset = make_dataset({"1": ["a", "b"], "2": ["a"]})
    dataset = Dataset.from_frames(dataset.interactions, users=pl.DataFrame({"user_id": ["2", "1"], "age": [3, 4]}))
    users = min_length(dataset, 2).users
    assert users is not None
    assert users.rows() == [("1", 4)]


events = st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdefg")), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(events, st.integers(1, 4), st.integers(1, 4))
def test_laws_of_the_core(rows: list[tuple[str, str]], user: int, item: int) -> None:
    """All that stay have enough, all that could stay do, in their order; and a core is its own core."""

    def remove_one(left: list[tuple[str, str]]) -> list[tuple[str, str]] | None:
        """The definition, one user or item at a time, in any order."""
        for column, least in ((0, user), (1, item)):
            for key in {row[column] for row in left}:
                if sum(row[column] == key for row in left) < least:
                    return [row for row in left if row[column] != key]
        return None

    expected = rows
    while (fewer := remove_one(expected)) is not None:
        expected = fewer
    if not expected:
        with pytest.raises(DataError, match="no interaction is left after 'k-core"):
            k_core(from_pairs(rows), user, item)
        return
    core = k_core(from_pairs(rows), user, item)
    assert pairs(core) == expected
    assert pairs(k_core(core, user, item)) == expected
    assert set(core.items["item_id"]) == {i for _, i in expected}


def test_min_rating() -> None:
    dataset = make_dataset({"1": ["a", "b", "c"], "2": ["a"]}, rating=[3.3, 3.0, None, 5.0])
    kept = min_rating(dataset, 3.3)  # 3.3 is no float32: the limit must be rounded like the ratings
    assert pairs(kept) == [("1", "a"), ("2", "a")]
    assert kept.meta["filters"] == ["rating >= 3.3 (2 interactions removed)"]
    with pytest.raises(DataError, match=r"toy: no interaction is left after 'rating >= 6'"):
        min_rating(dataset, 6)
    for without in (make_dataset({"1": ["a"]}), make_dataset({"1": ["a"]}, rating=[None])):
        with pytest.raises(DataError, match=r"toy: there are no ratings"):
            min_rating(without, 3)


def test_min_length() -> None:
    dataset = make_dataset({"1": ["a", "b", "c"], "2": ["a"], "3": ["c", "a"]})
    assert pairs(min_length(dataset, 2)) == [("1", "a"), ("1", "b"), ("1", "c"), ("3", "c"), ("3", "a")]
    with pytest.raises(DataError, match="no interaction is left"):
        min_length(dataset, 4)


@pytest.mark.parametrize(
    ("columns", "keep", "rows"),
    [
        ({}, "first", [0, 1]),
        ({}, "last", [1, 2]),
        ({"timestamp": [9, 8, 7]}, "first", [1, 2]),  # time, not the row, says what came first
        ({"timestamp": [9, 8, 7]}, "last", [0, 1]),
        ({"timestamp": [5, 8, 5]}, "first", [0, 1]),  # the row decides within one time
        ({"timestamp": [5, 8, 5]}, "last", [1, 2]),
        ({"timestamp": [None] * 3}, "first", [0, 1]),  # no times at all: the row
        ({"timestamp": [9, 8, 7], "position": [0, 1, 2]}, "first", [0, 1]),  # the published order goes first
    ],
)
def test_duplicates(columns: dict[str, list], keep: str, rows: list[int]) -> None:
    frame = pl.DataFrame({"user_id": ["u"] * 3, "item_id": ["a", "b", "a"], "n": [0, 1, 2], **columns})
    kept = drop_duplicates(Dataset.from_frames(frame), keep)  # type: ignore[arg-type]
    assert kept.interactions["n"].to_list() == rows
    assert kept.meta["filters"] == [f"duplicates: {keep} kept (1 interactions removed)"]


def test_duplicates_of_unknown_order() -> None:
    frame = pl.DataFrame({"user_id": ["u"] * 3, "item_id": ["a", "b", "a"], "timestamp": [9, None, 7]})
    with pytest.raises(DataError, match=r"1 of 3 interactions have no timestamp.* fill them in, remove them, or drop"):
        drop_duplicates(Dataset.from_frames(frame))


def test_duplicates_are_of_one_user() -> None:
    dataset = make_dataset({"1": ["a", "a", "b"], "2": ["a", "a"]}, titles={"z": "unseen"})
    assert pairs(drop_duplicates(dataset)) == [("1", "a"), ("1", "b"), ("2", "a")]
    assert "z" in drop_duplicates(dataset).items["item_id"].to_list(), "no item lost its last interaction"


def test_limits_that_are_none() -> None:
    dataset = make_dataset({"1": ["a"]})
    with pytest.raises(ConfigError, match="item=0 is no limit: use 1 or more"):
        k_core(dataset, 1, 0)
    with pytest.raises(ConfigError, match="length=0 is no limit"):
        min_length(dataset, 0)
    with pytest.raises(ConfigError, match="keep='none' is not a rule"):
        drop_duplicates(dataset, "none")  # type: ignore[arg-type]


@pytest.mark.realdata
def test_beauty_is_its_own_five_core(beauty: Dataset) -> None:
    core = k_core(beauty)
    assert_frame_equal(core.interactions, beauty.interactions)
    assert len(core.items) == 12_101
