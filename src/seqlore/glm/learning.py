"""Histories → blanks to learn from, epoch by epoch: next titles or other tasks, and masked histories, mixed.

Every training sequence is a next-title example once an epoch; masked documents of the same histories are added to a
share. Both are read in a long-, medium- or short-term window. All is a function of seed and epoch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Cases, Sequences
from seqlore.errors import ConfigError
from seqlore.glm.blanks import Batch, Blanked, Documents, Spans, blank
from seqlore.glm.histories import COMMA, STOP, history_text, learned_blanks, question
from seqlore.glm.positions import Automaton
from seqlore.glm.spans import MaskConfig, sample_blanks
from seqlore.glm.texts import Entity, Text, Writer
from seqlore.glm.training import batches, chunks
from seqlore.glm.tree import Question, questions
from seqlore.glm.windows import WindowConfig, draw_terms, drawn_ends, windowed
from seqlore.training.batches import shuffle_ties


@dataclass
class Pace:
    """How fast texts became batches. Attributes: tokens: of parts A and B. seconds: spent on them."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds if self.seconds else 0.0


def masked_too(
    documents: Documents, spans: Spans, rows: NDArray[np.int64], masks: MaskConfig, rng: np.random.Generator
) -> Spans:
    """The spans, and those drawn for the documents at ``rows``, which have none of their own."""
    cut = documents.offsets
    found = Spans.collect(
        sample_blanks(documents.entity[cut[i] : cut[i + 1]], documents.ends[cut[i] : cut[i + 1]], rng, masks)
        for i in rows
    )
    document = np.concatenate([spans.document, rows[found.document]])
    order = np.argsort(document, kind="stable")
    rest = ((spans.start, found.start), (spans.stop, found.stop), (spans.level, found.level))
    return Spans(document[order], *(np.concatenate(each)[order] for each in rest))


@dataclass
class HistoryWriter:
    """Item sequences → questions and examples, fitted to what the body reads.

    Attributes: titles: [size], "" for what cannot be named. users: [users + 1] texts. longest: largest position id.
        max_items: latest items of a history that are told. lead: the word that a history begins with.
    """

    writer: Writer
    titles: list[str]
    users: Sequence[Text]
    automaton: Automaton
    longest: int
    max_items: int
    lead: str = "Chose"
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.named = np.array([bool(t) for t in self.titles])
        self.entities = [Entity(t, i) for i, t in enumerate(self.titles)]
        # What stands around a title, and around them all: comma or full stop; user, [CLS], mask and the words of an
        # empty question.
        none = Entity("")
        comma, stop, frame = self.writer.write([(COMMA, none), (STOP, none), question((), [], self.lead)])[0].lengths
        told = int(self.writer.write(sorted(set(self.users), key=str) or [()])[0].lengths.max())
        self._costs = np.array([len(e) + max(comma, stop) for e in self.writer.entities(self.titles)])
        self.room = self.longest - 2 - int(frame) - told
        if self.room < self._costs.max():
            raise ConfigError(
                f"a context of {self.longest} tokens has no room for a title of {self._costs.max()} tokens beside a "
                f"user of {told}: lower title_words, or take a body with a longer context"
            )

    def fitted(self, sequences: Sequences, examples: bool | NDArray[np.bool_] = False) -> Sequences:
        """Each cut to its latest items that have a title and room (possibly none).

        Args: examples: of all, or [n] of each: the last item is not told but to be written, so it takes no room.
        """
        told = sequences.where(self.named[sequences.items])
        told = told.slice(np.maximum(told.offsets[:-1], told.offsets[1:] - self.max_items - examples), told.offsets[1:])
        costs = np.r_[0, np.cumsum(self._costs[told.items])]
        ends = told.offsets[1:] - (examples & (told.lengths > 0))
        spent = np.repeat(costs[ends], told.lengths) - costs[:-1]  # by an item and all that are told later
        return told.where(spent <= self.room)

    def windowed(
        self,
        sequences: Sequences,
        windows: WindowConfig,
        rng: np.random.Generator,
        examples: bool | NDArray[np.bool_] = False,
    ) -> Sequences:
        """As :meth:`fitted`, each read in a long-, medium- or short-term window by chance."""
        # A history that is too long to be told ends at another of its events each time.
        over = np.maximum(sequences.lengths - self.max_items - 1, 0)
        ends = sequences.offsets[1:] - np.floor(rng.random(len(sequences)) * (over + 1)).astype(np.int64)
        part = sequences.slice(sequences.offsets[:-1], ends)
        terms = draw_terms(len(part), rng, windows)
        return self.fitted(windowed(drawn_ends(part, terms, rng, windows), terms, windows), examples)

    def questions(self, histories: Sequences) -> list[Question]:
        """What comes next? Asked of each history, which may be empty."""
        told = self.fitted(histories)
        texts = [
            question(self._user(int(u)), [self.entities[i] for i in items], self.lead)
            for u, items in zip(told.users, _lists(told), strict=True)
        ]
        documents, spans = self.writer.write(texts)
        return questions(blank(documents, spans, self.writer.marks, self.automaton))

    def next_titles(self, sequences: Sequences, blanks: Sequence[int] | NDArray[np.integer]) -> Blanked:
        """Examples in which the last ``blanks`` items of each fitted sequence are to be written."""
        documents, spans = self.writer.write(self.texts(sequences, blanks))
        return blank(documents, spans, self.writer.marks, self.automaton)

    def cases(self, cases: Cases) -> Blanked:
        """Held-out next titles; of targets that can be named, after histories that can be told."""
        joined = cases.take(self.named[cases.targets]).joined()
        told = self.fitted(joined, examples=True)
        return self.next_titles(told.take(told.lengths >= 2), np.ones(int((told.lengths >= 2).sum()), np.int64))

    def _user(self, user: int) -> Text:
        return self.users[user] if user < len(self.users) else ()

    def texts(self, sequences: Sequences, blanks: Sequence[int] | NDArray[np.integer]) -> list[Text]:
        """Users and fitted sequences, of which the last ``blanks`` are hidden."""
        return [
            (*self._user(int(u)), *history_text([self.entities[i] for i in items], int(b), self.lead))
            for u, items, b in zip(sequences.users, _lists(sequences), blanks, strict=True)
        ]

    def drawn(
        self, train: Sequences, n: int, windows: WindowConfig, rng: np.random.Generator, tails: bool = False
    ) -> list[Text]:
        """n histories by chance, each in a window by chance, with nothing hidden; one that has no title is left out.

        Args: tails: the last 1 … all but one titles are hidden, and a history of one title is left out.
        """
        least = 2 if tails else 1
        if not n or not len(some := np.flatnonzero(train.lengths >= least)):
            return []
        part = self.windowed(train.take(rng.choice(some, n)), windows, rng, tails)
        part = part.take(part.lengths >= least)
        return self.texts(part, learned_blanks(part.lengths, rng, 1.0) if tails else np.zeros(len(part), np.int64))

    def mixed(
        self, sequences: Sequences, blanks: NDArray[np.integer], masks: MaskConfig, rng: np.random.Generator
    ) -> Blanked:
        """Next titles where ``blanks`` > 0, masked documents elsewhere."""
        started = time.perf_counter()
        documents, asked = self.writer.write(self.texts(sequences, blanks))
        spans = masked_too(documents, asked, np.flatnonzero(blanks == 0), masks, rng)
        out = blank(documents, spans, self.writer.marks, self.automaton, None if masks.chronological else rng)
        self.pace.tokens += int(out.lengths.sum())
        self.pace.seconds += time.perf_counter() - started
        return out


def _lists(sequences: Sequences) -> list[list[int]]:
    return [items.tolist() for items in sequences]


@dataclass(frozen=True)
class Curriculum:
    """What an epoch reads.

    Attributes:
        train: sequences of two events or more. masks, windows: how they are blanked and cut.
        masked: share of all texts that are masked histories. rolling: share of the others that ask for a whole tail.
        batch_tokens: padded tokens of a batch. seed: of order, windows and blanks.
        shuffle: events of one time stand in a new order each epoch, as in a split with shuffled ties.
    """

    histories: HistoryWriter
    train: Sequences
    masks: MaskConfig
    windows: WindowConfig
    masked: float
    rolling: float
    batch_tokens: int
    seed: int
    shuffle: bool = False

    def batches(self, epoch: int, shard: tuple[int, int]) -> Iterator[Batch]:
        """Of one epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        train = shuffle_ties(self.train, rng) if self.shuffle else self.train
        n = len(train)
        extra = rng.choice(n, round(n * self.masked / (1 - self.masked)), replace=True)
        rows = np.r_[np.arange(n), extra]
        asked = np.arange(len(rows)) < n

        def make(index: NDArray[np.int64]) -> Blanked:
            part = self.histories.windowed(train.take(rows[index]), self.windows, rng, asked[index])
            blanks = np.where(asked[index], learned_blanks(part.lengths, rng, self.rolling), 0)
            keep = part.lengths >= np.where(blanks > 0, 2, 1)
            return self.histories.mixed(part.take(keep), blanks[keep], self.masks, rng)

        return batches(chunks(len(rows), make, rng.permutation(len(rows))), self.batch_tokens, rng, shard)
