"""Datasets: what is accepted, what is refused in one sentence, and what the hash sees."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from seqlore.data import Dataset
from seqlore.errors import DataError
from toys import make_dataset

EVENTS = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], "timestamp": [1, 2, 3]})


def test_saved_and_loaded_it_is_the_same(tmp_path: Path):
    data = make_dataset({"u": ["a", "b"], "v": ["b"]}, {"a": "Title of a", "b": None, "c": "unseen"})
    data.save(tmp_path / "d")
    again = Dataset.load(tmp_path / "d")
    assert again.hash == data.hash
    assert again.name == "toy"
    assert again.items.equals(data.items)


def test_the_hash_sees_values_and_nothing_else(tmp_path: Path):
    a = Dataset.from_frames(EVENTS, name="one")
    assert Dataset.from_frames(EVENTS.select(reversed(EVENTS.columns)), name="two").hash == a.hash
    changed = EVENTS.with_columns(timestamp=pl.Series([1, 2, 4]))
    assert Dataset.from_frames(changed).hash != a.hash
    lists = pl.DataFrame({"item_id": ["a", "b"], "categories": [["x", "y"], None]})
    other = pl.DataFrame({"item_id": ["a", "b"], "categories": [["x"], ["y"]]})
    assert Dataset.from_frames(EVENTS, lists).hash != Dataset.from_frames(EVENTS, other).hash


def test_items_that_only_occur_in_events_are_added():
    data = Dataset.from_frames(EVENTS, pl.DataFrame({"item_id": ["b"], "title": ["Bee"]}))
    assert data.items.sort("item_id")["title"].to_list() == [None, "Bee"]


def test_types_are_cast_where_nothing_is_lost():
    frame = EVENTS.with_columns(user_id=pl.Series([1, 1, 2]), rating=pl.Series(["4", "5", "3.5"]))
    data = Dataset.from_frames(frame)
    assert data.interactions.schema["user_id"] == pl.String
    assert data.interactions["rating"].to_list() == [4.0, 5.0, 3.5]
    when = EVENTS.with_columns(timestamp=pl.from_epoch("timestamp", "s"))
    assert Dataset.from_frames(when).interactions["timestamp"].to_list() == [1, 2, 3]


@pytest.mark.parametrize("dates", [False, True])
def test_events_of_one_second_keep_the_order_of_their_exact_times(dates: bool):
    """Rows of one user in one second change places among themselves alone."""
    exact = pl.Series("timestamp", [16.75, 16.5, 3.0, 16.25, 16.25, 17.0])
    frame = pl.DataFrame({"user_id": list("abaaba"), "item_id": list("xyzuvw")}).with_columns(exact)
    if dates:
        frame = frame.with_columns((pl.col("timestamp") * 1e6).cast(pl.Int64).cast(pl.Datetime("us")))
    events = Dataset.from_frames(frame).interactions
    assert events["timestamp"].to_list() == [16, 16, 3, 16, 16, 17]
    assert events["item_id"].to_list() == list("uvzxyw")


def test_a_note_tells_where_rows_changed_places():
    shuffled = EVENTS.with_columns(user_id=pl.lit("u"), timestamp=pl.Series([1.5, 1.25, 2.0]))
    assert any("exact times" in note for note in Dataset.from_frames(shuffled).meta["notes"])
    assert "notes" not in Dataset.from_frames(EVENTS.with_columns(timestamp=pl.Series([1.25, 1.5, 2.0]))).meta


def test_milliseconds_are_no_seconds():
    with pytest.raises(DataError, match="row 2: timestamp 1600000000000 is no time in seconds since 1970; divide"):
        Dataset.from_frames(EVENTS.with_columns(timestamp=pl.Series([5, 1_600_000_000_000, None])))


def test_the_end_of_time_is_a_time(tmp_path: Path):
    """9999-12-31 stands for "never" in many tables: as a date, and as seconds among others."""
    never = pl.Series("timestamp", ["2020-01-01", "9999-12-31", "2020-01-02"]).str.to_date()
    data = Dataset.from_frames(EVENTS.with_columns(never))
    assert data.interactions["timestamp"].to_list() == [1577836800, 253402214400, 1577923200]
    assert Dataset.load(data.save(tmp_path)).hash == data.hash


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (EVENTS.drop("item_id"), "column 'item_id' is missing .*--column item_id=THEIR_NAME"),
        (EVENTS.clear(), "holds no rows"),
        (EVENTS.with_columns(user_id=pl.Series(["u", None, "v"])), "'user_id' is empty at row 2"),
        (EVENTS.with_columns(rating=pl.Series(["4", "good", "5"])), "'rating' has type String .* row 2: 'good'"),
        (EVENTS.with_columns(timestamp=pl.Series([[1], [2], [3]])), "'timestamp' has type List"),
    ],
)
def test_bad_events_are_refused_in_one_sentence(frame, message):
    with pytest.raises(DataError, match=message) as error:
        Dataset.from_frames(frame)
    assert "\n" not in str(error.value)


def test_an_item_described_twice_is_refused():
    with pytest.raises(DataError, match="'a' is described twice"):
        Dataset.from_frames(EVENTS, pl.DataFrame({"item_id": ["a", "a"]}))


def test_bad_folders_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"no interactions\.parquet there"):
        Dataset.load(tmp_path)
    make_dataset({"u": ["a"]}).save(tmp_path)
    (tmp_path / "items.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"items\.parquet: not a readable Parquet file"):
        Dataset.load(tmp_path)
    (tmp_path / "items.parquet").unlink()
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json: not valid JSON"):
        Dataset.load(tmp_path)
    for content, says in {"[1]": "holds no JSON object", '{"name": 3}': "name is 3 but must be a str"}.items():
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(DataError, match=rf"dataset\.json: {says}"):
            Dataset.load(tmp_path)


def test_ids_that_a_table_holds_as_whole_floats_are_those_of_integers() -> None:
    events = pl.DataFrame({"user_id": [1.0, 2.0], "item_id": pl.Series([1, 2], dtype=pl.Int64)})
    items = pl.DataFrame({"item_id": [1.0, 2.0, 3.0], "title": ["a", "b", "c"]})
    dataset = Dataset.from_frames(events, items)
    assert dataset.items["item_id"].to_list() == ["1", "2", "3"]
    assert dataset.interactions["user_id"].to_list() == ["1", "2"]
    odd = Dataset.from_frames(pl.DataFrame({"user_id": [1.5, 2.0], "item_id": ["a", "b"]}))
    assert odd.interactions["user_id"].to_list() == ["1.5", "2.0"]


def test_a_rating_that_is_no_number_is_none(tmp_path: Path):
    nan, endless = float("nan"), float("inf")
    data = Dataset.from_frames(EVENTS.with_columns(rating=pl.Series([4.0, nan, None])))
    assert data.interactions["rating"].to_list() == [4.0, None, None]
    assert data.interactions.filter(pl.col("rating") >= 4).height == 1, "which NaN is, too, for polars"
    with pytest.raises(DataError, match="interactions: column 'rating' is infinite at row 2"):
        Dataset.from_frames(EVENTS.with_columns(rating=pl.Series([4.0, endless, None])))


def test_what_was_there_stays_until_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = make_dataset({"u": ["a", "b"], "v": ["b"]}, {"a": "Title of a"})
    new = make_dataset({"u": ["a", "b", "c"], "v": ["c"]}, {"a": "Another title"})
    old.save(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(DataError, match=r"cannot be written .*No space left.*make room"):
            new.save(tmp_path)
    assert Dataset.load(tmp_path).hash == old.hash
    assert not list(tmp_path.glob("*.part"))
    assert Dataset.load(new.save(tmp_path)).hash == new.hash
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        new.save(tmp_path / "file")
