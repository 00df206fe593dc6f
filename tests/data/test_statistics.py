"""Statistics: counted by hand on five events, and against published numbers."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest
from rich.console import Console

from seqlore.data import Dataset
from seqlore.data.statistics import render, statistics
from toys import make_dataset

DAY = 86_400


@pytest.fixture
def five() -> Dataset:
    """u: a, b on one day, then a again; v: b, c at no known time. z is described and never bought."""
    frame = pl.DataFrame(
        {
            "user_id": ["u", "u", "u", "v", "v"],
            "item_id": ["a", "b", "a", "b", "c"],
            "timestamp": [DAY, DAY, 3 * DAY, None, None],
            "rating": [5.0, 4.0, 4.0, 1.0, None],
            "review": ["good", "", " ", None, "bad"],
        }
    )
    items = pl.DataFrame({"item_id": ["a", "z"], "title": ["A", ""], "tags": [["x"], []], "year": [1999, None]})
    return Dataset.from_frames(frame, items, name="five", meta={"notes": ["by hand [sic]"]})


def test_counts(five: Dataset) -> None:
    numbers = statistics(five)
    assert {k: numbers[k] for k in ("name", "users", "items", "items_seen", "interactions")} == {
        "name": "five",
        "users": 2,
        "items": 4,
        "items_seen": 3,
        "interactions": 5,
    }
    assert numbers["density"] == pytest.approx(4 / 6)  # ua, ub, vb, vc of 2 · 3
    assert numbers["repeated_share"] == pytest.approx(1 / 5)
    assert numbers["per_user"] == {"mean": 2.5, "min": 2, "p25": 2, "median": 2, "p75": 2, "p90": 2, "p99": 2, "max": 3}
    assert numbers["per_item"]["mean"] == pytest.approx(5 / 3)
    assert numbers["hash"] == five.hash


def test_times_ratings_texts(five: Dataset) -> None:
    numbers = statistics(five)
    assert numbers["time"] == {
        "known_share": pytest.approx(3 / 5),
        "first": "1970-01-02T00:00:00+00:00",
        "last": "1970-01-04T00:00:00+00:00",
        "span_days": 2.0,
        "tied_share": pytest.approx(2 / 5),
        "whole_days": True,
    }
    assert numbers["rating"] == {"known_share": pytest.approx(0.8), "mean": 3.5, "histogram": {"1": 1, "4": 2, "5": 1}}
    assert numbers["text"] == {"items": {"title": 0.25, "tags": 0.25}, "interactions": {"review": 0.4}}


def test_many_different_ratings_are_binned() -> None:
    dataset = make_dataset({"u": ["a"] * 100}, rating=[i / 10 for i in range(100)])
    histogram = statistics(dataset)["rating"]["histogram"]
    assert len(histogram) == 10
    assert sum(histogram.values()) == 100


def test_what_is_unknown_is_none() -> None:
    numbers = statistics(Dataset.from_frames(pl.DataFrame({"user_id": ["u"], "item_id": ["a"]})))
    assert numbers["time"] is None
    assert numbers["rating"] is None
    assert numbers["text"] == {"items": {"title": 0.0}, "interactions": {}}


def test_a_number_that_is_no_time_does_no_harm() -> None:
    data = make_dataset({"u": ["a"]}, timestamp=[1])
    numbers = statistics(data.with_interactions(data.interactions.with_columns(timestamp=pl.lit(10**14)), "odd"))
    assert numbers["time"]["first"] == str(10**14)


def test_json_and_tables(five: Dataset) -> None:
    numbers = statistics(five)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    out = io.StringIO()
    render(numbers, Console(file=out, width=120))
    text = out.getvalue()
    assert "2 users, 4 items (3 with interactions), 5 interactions" in text
    assert "1970-01-02 to 1970-01-04" in text
    assert "40.0% share user and time with another one (whole days)" in text
    assert "1: 1, 4: 2, 5: 1" in text
    assert "note: by hand [sic]" in text


@pytest.mark.realdata
def test_beauty(beauty: Dataset) -> None:
    numbers = statistics(beauty)
    assert (numbers["users"], numbers["items_seen"], numbers["interactions"]) == (22_363, 12_101, 198_502)
    assert numbers["time"]["tied_share"] == 114_204 / 198_502
    assert numbers["time"]["whole_days"]
    assert numbers["text"]["items"]["title"] == pytest.approx((12_101 - 7) / 12_101)
    assert numbers["rating"] is None
