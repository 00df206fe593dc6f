"""Typed events: what becomes an item, what is kept, how they are told."""

from __future__ import annotations

import polars as pl
import pytest

from seqlore.data import leave_one_out
from seqlore.errors import DataError
from seqlore.glm.texts import Blank, Entity
from seqlore.tasks.behaviours import BehaviourConfig, behaviour_text, from_behaviours

TABLE = pl.DataFrame(
    {
        "user_id": ["a", "a", "b", "a", "b"],
        "timestamp": [3, 1, 5, 2, 6],
        "behaviour": ["bill", "search", "visit", "search", "bill"],
        "text": ["noodles", "noodles", "map  of\ntown", "rain coat", "noodles "],
    }
)


def test_an_item_is_a_kind_and_a_text():
    data = from_behaviours(TABLE)
    assert data.items["item_id"].to_list() == [
        "bill:noodles", "search:noodles", "visit:map of town", "search:rain coat",
    ]  # fmt: skip
    assert data.items["title"].to_list() == ["noodles", "noodles", "map of town", "rain coat"]
    assert data.interactions["behaviour"].to_list() == TABLE["behaviour"].to_list()
    split = leave_one_out(data)
    assert split.test is not None
    assert {split.catalog.external(i) for i in split.test.targets} == {"bill:noodles"}


def test_the_latest_events_are_kept():
    kept = from_behaviours(TABLE, BehaviourConfig(at_most=2)).interactions
    assert kept.filter(pl.col("user_id") == "a")["timestamp"].to_list() == [3, 2]
    assert len(kept) == 4


def test_a_history_tells_kinds():
    events = [Entity("noodles", 1), Entity("rain coat", 2)]
    assert behaviour_text(events, ["bill", "search"]) == ("Paid ", events[0], ", searched ", events[1], ".")
    assert behaviour_text(events, ["visit", "gift"], {"gift": "gave"}, blanks=1)[-2:] == (Blank((events[1],)), ".")


def test_faults_are_named():
    with pytest.raises(DataError, match="column 'text' is missing"):
        from_behaviours(TABLE.drop("text"))
    renamed = from_behaviours(TABLE.rename({"text": "what"}), BehaviourConfig(columns={"text": "what"}))
    assert len(renamed.items) == 4
    with pytest.raises(DataError, match="behaviour 'visit' at row 3 is not one of bill, search"):
        from_behaviours(TABLE, BehaviourConfig(verbs={"bill": "paid", "search": "searched"}))
    with pytest.raises(DataError, match="text is empty at row 2"):
        from_behaviours(TABLE.with_columns(text=pl.Series(["a", " ", "b", "c", "d"])))
