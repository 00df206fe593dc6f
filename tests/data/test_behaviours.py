"""Tables of typed events: what becomes an item, what is kept, how it is told."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from seqlore.data import leave_one_out
from seqlore.data.readers import read
from seqlore.errors import ConfigError, DataError

TABLE = pl.DataFrame(
    {
        "user_id": ["a", "a", "b", "a", "b"],
        "timestamp": [3, 1, 5, 2, 6],
        "behaviour": ["bill", "search", "visit", "search", "bill"],
        "text": ["noodles", "noodles", "map  of\ntown", "rain coat", "noodles "],
    }
)


@pytest.fixture
def events(tmp_path: Path):
    """A table as a file."""

    def written(table: pl.DataFrame = TABLE) -> Path:
        table.write_csv(tmp_path / "events.csv")
        return tmp_path / "events.csv"

    return written


def test_an_item_is_a_kind_and_a_text_and_its_title_tells_both(events):
    data = read(events(), "behaviours")
    assert data.items["item_id"].to_list() == [
        "bill:noodles", "search:noodles", "visit:map of town", "search:rain coat",
    ]  # fmt: skip
    assert data.items["title"].to_list() == [
        "paid noodles", "searched noodles", "visited map of town", "searched rain coat",
    ]  # fmt: skip
    assert data.items["text"].to_list() == ["noodles", "noodles", "map of town", "rain coat"]
    assert data.interactions["behaviour"].to_list() == TABLE["behaviour"].to_list()
    assert data.meta["notes"] == [
        "titles: a word for the kind, then the text (bill = paid, search = searched, visit = visited)"
    ]
    split = leave_one_out(data)
    assert split.test is not None
    assert {split.catalog.external(i) for i in split.test.targets} == {"bill:noodles"}


def test_the_latest_events_are_kept(events):
    data = read(events(), "behaviours", latest=2)
    kept = data.interactions
    assert kept.filter(pl.col("user_id") == "a")["timestamp"].to_list() == [3, 2]
    assert len(kept) == 4
    assert data.meta["notes"][1] == "interactions: the latest 2 of each user are kept, 1 earlier ones are not"


def test_what_a_second_hides_decides_which_are_the_latest(events):
    exact = TABLE.with_columns(timestamp=pl.Series([3.5, 3.25, 5.0, 3.75, 6.0]))
    data = read(events(exact), "behaviours", latest=2)
    kept = data.interactions.filter(pl.col("user_id") == "a")
    assert kept["item_id"].to_list() == ["bill:noodles", "search:rain coat"]
    assert any("exact times" in note for note in data.meta["notes"])


def test_other_columns_and_other_words(events):
    table = TABLE.rename({"text": "what"}).with_columns(timestamp=pl.lit("2024-05-01"))
    data = read(events(table), "behaviours", columns={"text": "what"}, verbs={"visit": "looked at"})
    assert "looked at map of town" in data.items["title"].to_list()
    assert data.interactions["timestamp"].unique().to_list() == [1714521600]


def test_faults_are_named(events):
    with pytest.raises(DataError, match="column 'text' is missing"):
        read(events(TABLE.drop("text")), "behaviours")
    strange = TABLE.with_columns(behaviour=pl.Series(["bill", "gift", "bill", "bill", "bill"]))
    with pytest.raises(DataError, match=r"line 3: behaviour 'gift' is none of .*: --verb gift=PARTICIPLE"):
        read(events(strange), "behaviours")
    assert "given noodles" in read(events(strange), "behaviours", verbs={"gift": "given"}).items["title"].to_list()
    with pytest.raises(DataError, match="line 3: text is empty"):
        read(events(TABLE.with_columns(text=pl.Series(["a", " ", "b", "c", "d"]))), "behaviours")
    with pytest.raises(DataError, match="line 3: timestamp"):
        read(events(TABLE.with_columns(timestamp=pl.Series(["1", "soon", "2", "3", "4"]))), "behaviours")
    with pytest.raises(ConfigError, match="'paid' tells both 'bill' and 'gift'"):
        read(events(), "behaviours", verbs={"gift": "paid"})
    with pytest.raises(ConfigError, match="has no word"):
        read(events(), "behaviours", verbs={"gift": " "})
    with pytest.raises(ConfigError, match="latest = 0"):
        read(events(), "behaviours", latest=0)
