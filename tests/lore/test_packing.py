"""Documents become one stream, and the stream blocks."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqlore.data import Sequences
from seqlore.lore.packing import PackedTokens

lists = st.lists(st.lists(st.integers(3, 50), min_size=1, max_size=9), min_size=1, max_size=6)


def stream(packed: PackedTokens, batches: int) -> list[int]:
    parts = [packed.batch(i) for i in range(batches)]
    return [t for batch in parts for row in batch.tolist() for t in row[:-1]]


@given(lists, st.integers(1, 7), st.integers(1, 3), st.integers(0, 3))
def test_blocks_are_the_stream_cut_without_gap(documents: list[list[int]], length: int, rows: int, seed: int) -> None:
    marked = [[100 + i, *d] for i, d in enumerate(documents)]
    packed = PackedTokens([Sequences.from_lists(marked)], [1.0], length=length, rows=rows, seed=seed)
    total = sum(map(len, marked))
    n = -(-2 * total // (length * rows)) + 1
    flat = stream(packed, n)
    for start in (0, total):  # each pass holds each document once, whole
        seen = flat[start : start + total]
        cuts = [i for i, t in enumerate(seen) if t >= 100] + [total]
        assert sorted(seen[a:b] for a, b in itertools.pairwise(cuts)) == sorted(marked)
    for i in range(n):
        batch = packed.batch(i)
        assert batch.shape == (rows, length + 1)
        assert batch[:-1, -1].tolist() == batch[1:, 0].tolist()  # a block's last target opens the next


def test_a_batch_depends_on_its_number_only() -> None:
    documents = Sequences.from_lists([[i] * (i % 5 + 1) for i in range(3, 40)])

    def packed(seed: int = 0) -> PackedTokens:
        return PackedTokens([documents], [1.0], length=8, rows=2, seed=seed)

    forwards = packed()
    expected = [forwards.batch(i).tolist() for i in range(30)]
    backwards = packed()
    assert [backwards.batch(i).tolist() for i in reversed(range(30))] == expected[::-1]
    assert packed().batch(25).tolist() == expected[25]
    assert packed(seed=1).batch(0).tolist() != expected[0]


def test_weights_are_shares_of_passes() -> None:
    parts = [Sequences.from_lists([[10 + i] for i in range(20)]), Sequences.from_lists([[50 + i] for i in range(20)])]
    packed = PackedTokens(parts, [3.0, 1.5], length=50, rows=10, seed=0)
    counts = np.bincount(stream(packed, 6), minlength=80)  # 3,000 tokens, about 100 passes of 20 + 10
    assert np.ptp(counts[10:30]) <= 1
    assert abs(counts[10:30].sum() - 2000) < 60
    assert abs(counts[50:70].sum() - 1000) < 60
