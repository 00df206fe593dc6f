"""What an epoch reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from seqlore.data import Sequences
from seqlore.glm.learning import Curriculum, HistoryWriter
from seqlore.glm.marks import make_tokenizer
from seqlore.glm.positions import Automaton, PositionConfig, entity_trie
from seqlore.glm.spans import MaskConfig
from seqlore.glm.texts import Writer
from seqlore.glm.windows import WindowConfig

TITLES = ["", *(f"t{c}" for c in "abcdef")]


@pytest.fixture(scope="module")
def told() -> HistoryWriter:
    writer = Writer(make_tokenizer(["Chose ta, tb, tc, td, te, tf."] * 3, 300))
    pool = entity_trie([writer.entity(t).tolist() for t in TITLES], 300)
    rule = Automaton(pool, writer.marks.start, PositionConfig())
    return HistoryWriter(writer, TITLES, [], rule, longest=64, max_items=6)


def epoch(told: HistoryWriter, train: Sequences, number: int = 1, shard: tuple[int, int] = (0, 1), **settings: Any):
    """(part A, part B as words) of every row of an epoch."""
    common = {"masks": MaskConfig(), "windows": WindowConfig(shares=(1, 0, 0)), "masked": 0.0, "rolling": 0.0}
    curriculum = Curriculum(told, train, **{**common, "batch_tokens": 200, "seed": 0, **settings})
    marks, decode = told.writer.marks, told.writer.tokenizer.decode
    rows = []
    for batch in curriculum.batches(number, shard):
        asked = Counter((batch.at // batch.ids.shape[1]).tolist())
        for i, (ids, context) in enumerate(zip(batch.ids.tolist(), batch.context.tolist(), strict=True)):
            b = ids[context : context + asked[i]]
            assert b[0] == marks.start
            rows.append((decode(ids[:context]).strip(), decode([x for x in b if x != marks.start]).strip()))
    return rows


def test_the_last_title_of_each_history_is_asked_for(told: HistoryWriter):
    rows = epoch(told, Sequences.from_lists([[1, 2, 3], [4, 5]]))
    assert sorted(rows) == [("Chose ta, tb,.", "tc"), ("Chose td,.", "te")]


def test_a_tail_is_asked_for_title_by_title(told: HistoryWriter):
    train = Sequences.from_lists([[1, 2, 3]])
    rows = {row for number in range(20) for row in epoch(told, train, number, rolling=1.0)}
    assert rows == {("Chose ta, tb,.", "tc"), ("Chose ta,,.", "tb tc")}


def test_masked_histories_are_added_to_their_share(told: HistoryWriter):
    train = Sequences.from_lists([[1, 2, 3, 4, 5, 6]] * 30)
    rows = epoch(told, train, masked=0.4)
    assert len(rows) == 50
    assert sum(row == ("Chose ta, tb, tc. td, te,.", "tf") for row in rows) >= 30


def test_sentences_of_masked_histories_are_blanked(told: HistoryWriter):
    train = Sequences.from_lists([[1, 2, 3, 4, 5, 6]] * 30)
    rows = epoch(told, train, masked=0.5, masks=MaskConfig(levels=(0, 1, 0)))
    found = set(rows) - {("Chose ta, tb, tc. td, te,.", "tf")}
    assert found == {("td, te, tf.", "Chose ta, tb, tc."), ("Chose ta, tb, tc.", "td, te, tf.")}


def test_a_long_history_ends_anywhere_and_is_told_by_its_latest(told: HistoryWriter):
    short = HistoryWriter(told.writer, TITLES, [], told.automaton, longest=64, max_items=2)
    train = Sequences.from_lists([[1, 2, 3, 4, 5]])
    rows = {row for number in range(30) for row in epoch(short, train, number)}
    assert rows == {("Chose ta, tb,.", "tc"), ("Chose tb, tc,.", "td"), ("Chose tc, td,.", "te")}


def test_events_of_one_time_are_shuffled_where_the_split_does(told: HistoryWriter):
    made = Sequences.from_lists([[1, 2, 3]])
    train = Sequences(made.items, made.offsets, timestamps=np.array([0, 9, 9]))
    kept = {row for number in range(10) for row in epoch(told, train, number)}
    mixed = {row for number in range(10) for row in epoch(told, train, number, shuffle=True)}
    assert kept == {("Chose ta, tb,.", "tc")}
    assert mixed == {("Chose ta, tb,.", "tc"), ("Chose ta, tc,.", "tb")}


def test_an_epoch_is_a_function_of_seed_and_number_and_is_dealt_out_to_processes(told: HistoryWriter):
    train = Sequences.from_lists([[1, 2, 3, 4, 5, 6]] * 12)
    settings = {"masked": 0.5, "rolling": 0.5, "batch_tokens": 100}
    whole = epoch(told, train, 3, **settings)
    assert whole == epoch(told, train, 3, **settings)
    assert whole != epoch(told, train, 4, **settings)
    halves = [epoch(told, train, 3, (rank, 2), **settings) for rank in (0, 1)]
    assert not Counter(halves[0] + halves[1]) - Counter(whole)
    assert told.pace.rate > 0
