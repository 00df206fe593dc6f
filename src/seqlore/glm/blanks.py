"""Documents with blanks → parts A and B with their two position ids, for thousands of documents at once.

Chu et al. 2023 (arXiv 2308.10837), figure 1, on Du et al. 2022 (arXiv 2103.10360). Part A is the text with a mask in
place of each blank, behind [CLS], which has position 0. Part B has of each blank the start mark and the content; every
one of its tokens has the inter position of its mask. The end mark is asked for and never read.

Nothing is padded here and no document is looped over: arrays are flat, with offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data import Sequences
from seqlore.glm.marks import LEVELS, Marks
from seqlore.glm.positions import Automaton, intra_of_context

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Documents:
    """Ragged texts as tokens.

    Attributes:
        tokens: int32 [m]. offsets: int64 [n + 1]; document i is tokens[offsets[i] : offsets[i + 1]].
        entity: int32 [m], number of the entity that a token is of, different for neighbours; 0 = of none.
        ends: bool [m], a sentence ends with the token.
    """

    tokens: NDArray[np.int32]
    offsets: Ints
    entity: NDArray[np.int32]
    ends: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """int64 [n]."""
        return np.diff(self.offsets)

    def take(self, index: Sequence[int] | NDArray[np.integer]) -> Documents:
        """The documents at ``index``."""
        index = np.asarray(index, np.int64)
        flat, offsets = _ragged(self.offsets[:-1][index], self.lengths[index])
        return Documents(self.tokens[flat], offsets, self.entity[flat], self.ends[flat])

    def cut(self, length: int) -> Documents:
        """Each without what goes beyond ``length`` tokens; an entity that would be split goes whole."""
        keep = np.minimum(self.lengths, length)
        last = self.offsets[:-1] + keep - 1
        for i in np.flatnonzero(self.lengths > length):
            if (e := self.entity[last[i]]) and self.entity[last[i] + 1] == e:
                run = self.entity[self.offsets[i] : last[i] + 1][::-1] != e
                keep[i] -= int(run.argmax()) if run.any() else keep[i]
        flat, offsets = _ragged(self.offsets[:-1], keep)
        return Documents(self.tokens[flat], offsets, self.entity[flat], self.ends[flat])


@dataclass(frozen=True, eq=False)
class Spans:
    """What is blanked. Attributes: document: int64 [s], ascending. start, stop: int64 [s], token positions within it,
    ascending within a document, disjoint; an empty span is a place where something is to be written. level: int64 [s],
    position in ``LEVELS``.
    """

    document: Ints
    start: Ints
    stop: Ints
    level: Ints

    @classmethod
    def collect(cls, found: Iterable[tuple[Ints, int | Sequence[int]]]) -> Spans:
        """From ([spans, 2], level of all or of each) of document 0, 1, …"""
        rows = [
            (i, *span, lv)
            for i, (s, level) in enumerate(found)
            for span, lv in zip(s, _each(level, len(s)), strict=True)
        ]
        table = np.array(rows, np.int64).reshape(-1, 4)
        return cls(*table.T.copy())


def _each(level: int | Sequence[int], n: int) -> Sequence[int]:
    return [level] * n if isinstance(level, int) else level


@dataclass(frozen=True, eq=False)
class Blanked:
    """Parts A and B of n documents, flat.

    Attributes:
        a, b: tokens of the parts, as ragged sequences. a_intra: int64 [m_a]; inter of A is the place in it.
        b_inter, b_intra, targets: int64 [m_b]; the token that each of B is to be followed by.
        weights: float32 [n], of each document in a loss; None = alike. titled: bool [n], titles may stand in its
            blanks; None = in all.
    """

    a: Sequences
    a_intra: Ints
    b: Sequences
    b_inter: Ints
    b_intra: Ints
    targets: Ints
    weights: NDArray[np.float32] | None = None
    titled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.a)

    @property
    def lengths(self) -> Ints:
        """int64 [n], tokens of both parts."""
        return self.a.lengths + self.b.lengths

    def batch(self, index: NDArray[np.integer]) -> Batch:
        """The rows at ``index``, side by side."""
        n, width = len(index), int(self.lengths[index].max(initial=0))
        ids, inter, intra = (np.zeros((n, width), np.int64) for _ in range(3))
        la, lb = self.a.lengths[index], self.b.lengths[index]
        flat, offsets = _ragged(self.a.offsets[:-1][index], la)
        row, place = np.repeat(np.arange(n), la), np.arange(len(flat)) - np.repeat(offsets[:-1], la)
        ids[row, place], inter[row, place], intra[row, place] = self.a.items[flat], place, self.a_intra[flat]
        flat, offsets = _ragged(self.b.offsets[:-1][index], lb)
        row = np.repeat(np.arange(n), lb)
        place = np.arange(len(flat)) - np.repeat(offsets[:-1] - la, lb)
        ids[row, place], inter[row, place], intra[row, place] = (
            self.b.items[flat],
            self.b_inter[flat],
            self.b_intra[flat],
        )
        arrays = (ids, inter, intra, la, row * width + place, self.targets[flat])
        weight = torch.ones(n) if self.weights is None else torch.from_numpy(self.weights[index])
        titled = torch.ones(n, dtype=torch.bool) if self.titled is None else torch.from_numpy(self.titled[index])
        tensors = [torch.from_numpy(np.ascontiguousarray(x, np.int64)) for x in arrays]
        return Batch(*tensors, weight, titled)  # type: ignore[call-arg]


class Batch(NamedTuple):
    """Rows A, B, padding. ids, inter, intra: int64 [B, T]. context: [B], tokens of A. at: [M], where in the flattened
    rows something is to be predicted; targets: [M], what. weight: float32 [B], of each row in a loss.
    titled: bool [B], titles may stand in the row's blanks."""

    ids: Tensor
    inter: Tensor
    intra: Tensor
    context: Tensor
    at: Tensor
    targets: Tensor
    weight: Tensor
    titled: Tensor


def blank(
    documents: Documents, spans: Spans, marks: Marks, automaton: Automaton, rng: np.random.Generator | None = None
) -> Blanked:
    """Put masks in place of spans, and their contents into part B: in the order of the text, or in random order."""
    n, m = len(documents), len(documents.tokens)
    begin, stop = documents.offsets[spans.document] + spans.start, documents.offsets[spans.document] + spans.stop
    hidden = np.zeros(m + 1, np.int64)
    np.add.at(hidden, begin, 1)
    np.add.at(hidden, stop, -1)
    kept = np.flatnonzero(np.cumsum(hidden)[:m] == 0)
    of_token = np.repeat(np.arange(n), documents.lengths)

    # Part A: [CLS], kept tokens and masks, sorted by document and place; a mask stands before what follows its span.
    document = np.concatenate([np.arange(n), of_token[kept], spans.document])
    place = np.concatenate([np.full(n, -1), 2 * kept + 1, 2 * begin])
    order = np.lexsort((place, document))
    mask_ids = np.array([marks.of_level(level) for level in LEVELS], np.int64)
    tokens = np.concatenate([np.full(n, marks.cls), documents.tokens[kept], mask_ids[spans.level]])[order]
    entity = documents.entity.astype(np.int64)
    apart = np.where(entity > 0, entity + of_token * (entity.max(initial=0) + 1), 0)  # also across documents
    alone = intra_of_context(apart, automaton.config)[kept]
    intra = np.concatenate([np.zeros(n, np.int64), alone, np.zeros(len(begin), np.int64)])[order]
    a = Sequences(tokens.astype(np.int32), np.r_[0, np.cumsum(np.bincount(document, minlength=n))])
    where = np.empty(len(order), np.int64)
    where[order] = np.arange(len(order))
    masks = where[len(order) - len(begin) :] - a.offsets[spans.document]  # inter id of each mask

    # Part B: a start mark and the content of each span, one span after another.
    turn = np.arange(len(begin)) if rng is None else np.lexsort((rng.random(len(begin)), spans.document))
    begin, length, masks = begin[turn], (stop - begin)[turn], masks[turn]
    flat, offsets = _ragged(begin, length)
    content = Sequences(documents.tokens[flat], offsets)
    starts = offsets[:-1]  # np.insert puts a mark before each span's first token, np.append an end behind its last
    b_tokens = np.insert(content.items.astype(np.int64), starts, marks.start)
    b_intra = np.insert(automaton.walk(content), starts, 1)
    targets = np.insert(content.items.astype(np.int64), offsets[1:], marks.end)
    per_document = np.bincount(spans.document, length + 1, minlength=n).astype(np.int64)
    b = Sequences(b_tokens.astype(np.int32), np.r_[0, np.cumsum(per_document)])
    return Blanked(a, intra, b, np.repeat(masks, length + 1), b_intra, targets)


def _ragged(start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """(positions, offsets): start[i], start[i] + 1, … (``length[i]`` of them), one after another."""
    offsets = np.r_[0, np.cumsum(length)].astype(np.int64)
    return np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length), offsets
