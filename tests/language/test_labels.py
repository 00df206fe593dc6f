"""Label sets as data, and their controls."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import Split, Vocabulary, leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.language.labels import LabelSet, LabelSource, from_summaries, mark_names
from seqlore.lore import make_lore
from seqlore.lore.book import COLUMNS, Lore, training_part
from toys import make_dataset


def labels(rows: list[tuple[str, str, int, str]]) -> LabelSet:
    return LabelSet.from_frame(pl.DataFrame(rows, schema=["kind", "id", "version", "text"], orient="row"))


THREE = labels(
    [("item", "a", 0, "of a"), ("item", "a", 1, "also of a"), ("item", "b", 0, "of b"), ("user", "u", 0, "of u")]
)


def told(set_: LabelSet, kind: str) -> dict[str, set[str]]:
    frame = set_.of(kind).frame  # type: ignore[arg-type]
    return {id: set(frame.filter(id=id)["text"]) for id in frame["id"].unique()}


def test_wordings_follow_the_vocabulary():
    items = Vocabulary(["c", "b", "a"])
    wordings = dict(zip(["", *items.ids], THREE.wordings("item", items), strict=True))
    assert wordings == {"": (), "a": ("of a", "also of a"), "b": ("of b",), "c": ()}
    assert THREE.wordings("user", Vocabulary(["v"])) == [(), ()]


def test_a_frame_is_checked():
    frame = THREE.frame
    assert len(LabelSet.from_frame(frame.drop("version").unique(["kind", "id"]))) == 3, (
        "one wording each needs no number"
    )
    with pytest.raises(DataError, match="'text' is missing"):
        LabelSet.from_frame(frame.drop("text"), "file")
    with pytest.raises(DataError, match="'shop' is neither"):
        LabelSet.from_frame(frame.with_columns(kind=pl.lit("shop")))
    with pytest.raises(DataError, match="version 0 twice"):
        LabelSet.from_frame(frame.with_columns(version=pl.lit(0)))
    with pytest.raises(DataError, match="no label"):
        LabelSet.from_frame(frame.with_columns(text=pl.lit("  ")))
    with pytest.raises(DataError, match="file: row 3 has no id; fill it in"):
        LabelSet.from_frame(frame.with_columns(id=pl.Series(["a", "b", None, "u"])), "file")
    with pytest.raises(DataError, match="file: row 1 has version 'x', which is no Int64"):
        LabelSet.from_frame(frame.with_columns(version=pl.lit("x")), "file")
    with pytest.raises(DataError, match="column 'text' is of type List"):
        LabelSet.from_frame(frame.with_columns(text=pl.concat_list("text")))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(0, 3))
def test_shuffled_labels_are_all_there_and_all_wrong(n: int, seed: int):
    rows = [("item", f"i{i}", v, f"text {i} {v}") for i in range(n) for v in range(2)]
    before, after = labels(rows), labels(rows).shuffled(seed)
    assert sorted(after.frame["text"]) == sorted(before.frame["text"])
    assert all(not told(after, "item")[id] & own for id, own in told(before, "item").items())
    assert all(len(texts) == 2 for texts in told(after, "item").values()), "the wordings of a label stay together"


def test_switched_labels_are_the_others_and_reach_every_id():
    foreign = labels([("item", "x", 0, "foreign thing"), ("user", "y", 0, "this user"), ("user", "z", 0, "that one")])
    switched = THREE.switched(foreign, 0)
    assert told(switched, "item") == {"a": {"foreign thing", "foreign thing foreign"}, "b": {"foreign thing"}}
    assert told(switched, "user")["u"] < {"this user", "that one"}
    with pytest.raises(DataError, match="no user labels"):
        THREE.switched(foreign.of("item"), 0)
    assert told(THREE.switched(foreign.of("item"), 0, ("item",)), "item") == told(switched, "item")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=4), st.integers(0, 3))
def test_switched_labels_are_as_many_and_as_long(lengths: list[list[int]], seed: int):
    own = [("item", f"i{i}", v, " ".join(["own"] * n)) for i, each in enumerate(lengths) for v, n in enumerate(each)]
    foreign = labels([("item", f"x{i}", 0, f"One{i} two. Three four!") for i in range(3)])
    switched = labels(own).switched(foreign, seed).frame
    counted = {(i, v): len(t.split()) for _, i, v, t in switched.iter_rows()}
    assert counted == {(i, v): len(t.split()) for _, i, v, t in own}
    assert not switched["text"].str.contains("own").any()


def test_missing_wordings_are_earlier_ones_in_another_order():
    own = labels([("item", "a", v, "six words are in this label") for v in range(3)])
    foreign = labels([("item", "x", 0, "First of it. Then the rest.")])
    texts = own.switched(foreign, 0).frame["text"].to_list()
    assert texts == ["First of it. Then the rest.", "Then the rest. First of it.", "First of it. Then the rest."]


def test_one_kind_is_replaced_alone():
    replaced = THREE.replaced("item", THREE.shuffled(0))
    assert told(replaced, "item") == {"a": {"of b"}, "b": {"of a", "also of a"}}
    assert told(replaced, "user") == told(THREE, "user")


def test_explanations_become_labels():
    frame = pl.DataFrame(
        {"domain": ["yelp", "yelp"], "user_id": ["1", "1"], "item_id": ["1", "2"], "user_summary": ["likes x", "again"],
         "item_summary": ["is x", "is y"]}
    )  # fmt: skip
    assert told(from_summaries(frame), "user") == {"yelp-1": {"likes x"}}
    assert told(from_summaries(frame), "item") == {"yelp-1": {"is x"}, "yelp-2": {"is y"}}
    numbers = frame.with_columns(pl.col("user_id", "item_id").cast(pl.Int64), user_summary=pl.Series([None, "again"]))
    assert told(from_summaries(numbers), "user") == {"yelp-1": {"again"}}, "the first that says something"
    for name in frame.columns:
        with pytest.raises(DataError, match=f"xrec: column '{name}' is missing"):
            from_summaries(frame.drop(name), "xrec")
    for name in ("domain", "user_id", "item_id"):
        with pytest.raises(DataError, match=f"explanations: row 2 has no {name}"):
            from_summaries(frame.with_columns(pl.Series(name, ["1", None])))
    with pytest.raises(DataError, match="column 'item_summary' is of type List"):
        from_summaries(frame.with_columns(pl.concat_list("item_summary")))


def test_messages_name_the_files(tmp_path: Path):
    split = leave_one_out(make_dataset({"u": ["a", "b", "c"]}))
    lore = Lore(
        THREE.frame.cast(COLUMNS), {"dataset": split.dataset.hash, "training": None}, split.catalog, split.users
    )
    files = [str(lore.save(tmp_path / name)) for name in ("one.parquet", "two.parquet")]
    with pytest.raises(DataError, match=r"one\.parquet, .*two\.parquet: item 'a' has version 0 twice"):
        LabelSource(files=files).read(split)
    THREE.frame.drop("id").write_parquet(tmp_path / "foreign.parquet")
    source = LabelSource(files=files[:1], items="foreign", foreign=(str(tmp_path / "foreign.parquet"),))
    with pytest.raises(DataError, match=r"foreign\.parquet: column 'id' is missing"):
        source.read(split)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("The Rose Soap smells.", ["The ", 7, " smells."]),
        ("rose soap, ROSE SOAP!", [7, ", ", 7, "!"]),
        ("Rose Soap Deluxe and rose soap", [8, " and ", 7]),
        ("prose soap, rose soaps", ["prose soap, rose soaps"]),
        ("plain soap", ["plain soap"]),
        ("A (new) thing here", ["A this item here"]),
    ],
)
def test_names_stand_for_items(text: str, cut: list) -> None:
    names = {"rose soap": 7, "rose soap deluxe": 8, "soap": 9, "(new) thing": "this item"}
    marked = mark_names(text, names)
    assert marked == cut


def test_letters_that_only_a_pattern_takes_for_one_another_make_no_name():
    micro, mu = "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"
    assert mark_names(f"A 10 {mu}m filter.", {f"10 {micro}m filter": 3}) == [f"A 10 {mu}m filter."]
    assert mark_names(f"A 10 {micro}m filter.", {f"10 {micro}m filter": 3}) == ["A ", 3, "."]


@pytest.fixture
def split() -> Split:
    histories = {f"u{i}": ["a", "b", "c", "d"] for i in range(3)}
    praised = ("warm delay pedal", "sturdy guitar strap", "loud drum kit", "shiny brass horn")
    reviews = [f"I love this {thing}. The {thing} is great and it works very well." for thing in praised]
    return leave_one_out(make_dataset(histories, review=reviews * 3))


def file_of(split: Split, folder: Path, name: str = "labels.parquet") -> Path:
    rows = [("item", "a", 0, "said of a"), ("item", "b", 0, "said of b"), ("user", "u0", 0, "said of u0")]
    about = {"dataset": split.dataset.hash, "training": training_part(split)}
    return Lore(pl.DataFrame(rows, schema=COLUMNS, orient="row"), about, split.catalog, split.users).save(folder / name)


def test_labels_from_a_file_and_their_controls(split: Split, tmp_path: Path):
    path = str(file_of(split, tmp_path))
    assert told(LabelSource(files=(path,)).read(split), "item")["a"] == {"said of a"}
    shuffled = LabelSource(files=(path,), items="shuffled").read(split)
    assert told(shuffled, "item") == {"a": {"said of b"}, "b": {"said of a"}}
    assert told(shuffled, "user") == {"u0": {"said of u0"}}
    THREE.frame.write_parquet(tmp_path / "foreign.parquet")
    one = str(tmp_path / "foreign.parquet")
    foreign = LabelSource(files=path, users="foreign", foreign=one).read(split)  # type: ignore[arg-type]
    assert told(foreign, "user") == {"u0": {"of u of"}}
    THREE.of("user").frame.write_parquet(tmp_path / "users.parquet")
    THREE.of("item").frame.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match="no item labels"):
        LabelSource(files=(path,), items="foreign", foreign=(str(tmp_path / "users.parquet"),)).read(split)
    only = LabelSource(files=(path,), users="foreign", foreign=(str(tmp_path / "users.parquet"),)).read(split)
    assert told(only, "user") == {"u0": {"of u of"}}, "items keep their own, and need no foreign ones"
    two = (str(tmp_path / "users.parquet"), str(tmp_path / "items.parquet"))
    both = LabelSource(files=(path,), items="foreign", users="foreign", foreign=two).read(split)
    assert not both.frame["text"].str.contains("said").any()
    assert set(told(LabelSource(files=(path,)).read(split, kinds=("user",)), "item")) == set()
    with pytest.raises(ConfigError, match="name the label file"):
        LabelSource.parse({"items": "foreign"}, "labels")
    with pytest.raises(ConfigError, match="nobody bears its labels"):
        LabelSource.parse({"foreign": one}, "labels")
    with pytest.raises(ConfigError, match="profiles, lore: of labels that are made, and files has some"):
        LabelSource.parse({"files": path, "profiles": True, "lore": {"versions": 1}}, "labels")
    source = LabelSource(files=(path,))
    assert LabelSource.parse(source.model_dump(mode="json"), "labels") == source, "as a saved model has it"
    with pytest.raises(DataError, match="not a readable Parquet"):
        LabelSource(files=(path,), users="foreign", foreign=str(tmp_path / "none")).read(split)


def test_labels_that_know_what_is_held_out_are_refused_unless_asked_for(split: Split, tmp_path: Path):
    path = str(file_of(split.with_everything(), tmp_path))
    with pytest.raises(DataError, match="keeps back"):
        LabelSource(files=(path,)).read(split)
    assert len(LabelSource(files=(path,), leaky=True).read(split)) == 3
    honest = str(file_of(split, tmp_path, "honest.parquet"))
    for files in ((honest,), (path, honest)):
        with pytest.raises(DataError, match=r"honest.parquet: leaky = true, and these labels were made without"):
            LabelSource(files=files, leaky=True).read(split)


def test_labels_are_made_where_no_file_is_named(split: Split, tmp_path: Path):
    source = LabelSource(store=str(tmp_path / "lore.sqlite"))
    made = source.read(split)
    assert set(told(made, "item")) == {"a", "b"}, "from the training part, which holds no review of c and d"
    assert set(told(made, "user")) == {"u0", "u1", "u2"}
    assert not any("drum" in text or "horn" in text for text in made.frame["text"])
    leaky = LabelSource(store=str(tmp_path / "lore.sqlite"), leaky=True).read(split)
    assert any("drum" in text for text in leaky.frame["text"])
    assert made.hash == source.read(split).hash, "the second time they come out of the store"


def test_only_the_kinds_that_are_asked_for_are_made(split: Split, tmp_path: Path, monkeypatch):
    source, asked = LabelSource(store=str(tmp_path / "lore.sqlite")), []
    monkeypatch.setattr("seqlore.language.labels.make_lore", lambda *a, **k: asked.append(a[1]) or make_lore(*a, **k))
    assert told(source.read(split, kinds=("item",)), "user") == {}
    assert asked == ["item-label"]
    users = source.read(split, kinds=("user",))
    assert (told(users, "item"), set(told(users, "user"))) == ({}, {"u0", "u1", "u2"})
    assert asked == ["item-label", "user-label"]


def test_without_reviews_items_are_described_by_their_texts(tmp_path: Path):
    split = leave_one_out(make_dataset({"u": ["a", "b", "c"]}, {"a": "Rose soap", "b": "Lilac soap", "c": "Comb"}))
    made = LabelSource(store=str(tmp_path / "lore.sqlite"), lore={"versions": 1}).read(split)  # type: ignore[arg-type]
    assert set(told(made, "item")) == {"a", "b", "c"}
    assert any("ose soap" in text for text in told(made, "item")["a"])
