"""What tasks are written in: texts of plain words, entities and blanks; and their tokens.

A text is a tuple of parts. ``str`` is plain; an :class:`Entity` is a title or an attribute's value, a unit that is
never split; a :class:`Blank` is what a model is to write, a mask in part A and its content in part B. So a task is a
function that gives texts, and what it asks is the same text with empty blanks.

One canonical form: an entity is the tokens of a blank and its words on one line, made on their own. What stands before
or behind it changes nothing, so that a title has the same tokens in a history, in a target and in the trie. Numbers may
be entities of one token each (:mod:`seqlore.glm.numbers`). A plain part that ends in a blank loses it before an entity,
which has its own, and before a :class:`Blank`, within which plain words begin with one. Sentences end in plain parts
only: punctuation within a title is none. Blanks are no sentence: those at the end of a plain part are of the sentence
before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqlore.glm.blanks import Documents, Spans
from seqlore.glm.marks import LEVELS, Level, Marks

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Where a sentence ends: behind a full stop, question or exclamation mark that a blank or the end follows, or a line.
SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s|$)|(?<=\n)")
#: Plain parts up to this length are kept as tokens: they are templates, and come again.
SHORT = 200
#: Of tokens, entity numbers and ends of sentences.
_TYPES = (np.int32, np.int32, np.bool_)


@dataclass(frozen=True, slots=True)
class Entity:
    """A title or an attribute's value. Attributes: item: dense index where it is a title, else 0."""

    text: str
    item: int = 0


@dataclass(frozen=True, slots=True)
class Blank:
    """Something to be written. Attributes: hidden: what is; () where it is asked for. level: which mask."""

    hidden: tuple[str | Entity, ...] = ()
    level: Level = "mask"


Part = str | Entity | Blank
Text = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A task's question and answer in one text. Attributes: task: its name, for mixing and for the log."""

    text: Text
    task: str = ""

    @classmethod
    def of(
        cls, prompt: Sequence[str | Entity], target: Sequence[str | Entity], task: str = "", level: Level = "mask"
    ) -> Example:
        """A prompt with one blank at its end."""
        return cls((*prompt, Blank(tuple(target), level)), task)

    @property
    def question(self) -> Text:
        """The text with nothing in its blanks."""
        return tuple(Blank((), p.level) if isinstance(p, Blank) else p for p in self.text)

    @property
    def names_item(self) -> bool:
        """Whether the answer is an item's title."""
        return any(isinstance(p, Blank) and any(isinstance(h, Entity) for h in p.hidden) for p in self.text)


def one_line(text: str) -> str:
    """As an entity is written: one line, single blanks."""
    return " ".join(text.split())


class Writer:
    """Texts → tokens. Entities and short plain parts are turned into tokens once.

    Attributes: numbers: entities of one token each, behind those of the tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, numbers: Sequence[str] = ()) -> None:
        self.tokenizer, self.marks, self.numbers = tokenizer, Marks.of(tokenizer), tuple(numbers)
        first = tokenizer.get_vocab_size()
        self._entities = {text: np.array([i], np.int32) for i, text in enumerate(self.numbers, start=first)}
        self._plain: dict[str, tuple[NDArray[np.int32], NDArray[np.bool_]]] = {}

    @property
    def size(self) -> int:
        """Tokens that there are."""
        return self.tokenizer.get_vocab_size() + len(self.numbers)

    def entity(self, text: str) -> NDArray[np.int32]:
        """Tokens of an entity, in canonical form; none for no text."""
        self._learn_entities([text])
        return self._entities[text]

    def entities(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """As :meth:`entity`, for many at once."""
        self._learn_entities(texts)
        return [self._entities[t] for t in texts]

    def plain(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """(tokens, whether a sentence ends with each) of plain text."""
        if text in self._plain:
            return self._plain[text]
        pieces = _sentences(text)
        rows = [e.ids for e in self.tokenizer.encode_batch_fast(pieces, add_special_tokens=False)]
        tokens = np.array([i for row in rows for i in row], np.int32)
        ends = np.zeros(len(tokens), bool)
        ends[np.cumsum([len(row) for row in rows[:-1]], dtype=np.int64) - 1] = True
        if len(tokens):
            ends[-1] = bool(re.search(r"[.!?]\s*$|\n$", text))
        if len(text) <= SHORT:
            self._plain[text] = tokens, ends
        return tokens, ends

    def write(self, texts: Iterable[Text]) -> tuple[Documents, Spans]:
        """Documents with their blanks filled in, and where these are."""
        texts = list(texts)
        self._learn_entities([p.text for t in texts for p in _flat(t) if isinstance(p, Entity)])
        rows = [self._one(text) for text in texts]
        offsets = np.r_[0, np.cumsum([len(row[0]) for row in rows])].astype(np.int64)
        documents = Documents(
            np.concatenate([np.zeros(0, np.int32), *(row[0] for row in rows)]),
            offsets,
            np.concatenate([np.zeros(0, np.int32), *(row[1] for row in rows)]),
            np.concatenate([np.zeros(0, bool), *(row[2] for row in rows)]),
        )
        return documents, Spans.collect((np.array(row[3], np.int64).reshape(-1, 2), row[4]) for row in rows)

    def _one(self, text: Text) -> tuple[NDArray, NDArray, NDArray, list[tuple[int, int]], list[int]]:
        """(tokens, entity numbers, ends of sentences, blanks, levels) of one text."""
        rows: list[tuple[NDArray, NDArray, NDArray]] = []
        spans, levels = [], []
        length = number = 0
        for part, following in zip(text, _behind(text, ""), strict=True):
            before = length
            inner = _spaced(part.hidden) if isinstance(part, Blank) else (part,)
            for each, behind in zip(inner, _behind(inner, following), strict=True):
                number += isinstance(each, Entity)
                rows.append(self._part(each, behind, number))
                length += len(rows[-1][0])
            if isinstance(part, Blank):
                spans.append((before, length))
                levels.append(LEVELS.index(part.level))
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        tokens, entity, ends = (np.concatenate([np.zeros(0, d), *c]) for c, d in zip(columns, _TYPES, strict=True))
        return tokens, entity, ends, spans, levels

    def _part(self, part: str | Entity, behind: Part, number: int) -> tuple[NDArray, NDArray, NDArray]:
        if isinstance(part, Entity):
            ids = self._entities[part.text]
            return ids, np.full(len(ids), number, np.int32), np.zeros(len(ids), bool)
        ids, ends = self.plain(part if isinstance(behind, str) else part.rstrip(" "))
        return ids, np.zeros(len(ids), np.int32), ends

    def _learn_entities(self, texts: Sequence[str]) -> None:
        new = list(dict.fromkeys(t for t in texts if t not in self._entities))
        written = [f" {line}" if (line := one_line(t)) else "" for t in new]
        for text, encoded in zip(new, self.tokenizer.encode_batch_fast(written, add_special_tokens=False), strict=True):
            self._entities[text] = np.array(encoded.ids, np.int32)


def _sentences(text: str) -> list[str]:
    """The text cut behind its sentences; what is blank stays with the one before, or, at the beginning, behind."""
    pieces: list[str] = []
    for piece in SENTENCE_END.split(text):
        if pieces and not (piece.strip() and pieces[-1].strip()):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _behind(parts: Sequence[Part], last: Part) -> Sequence[Part]:
    """What follows each part."""
    return (*parts[1:], last)[: len(parts)]


def _spaced(hidden: tuple[str | Entity, ...]) -> tuple[str | Entity, ...]:
    """Plain words at the beginning of a blank have a blank before them, as an entity has."""
    if hidden and isinstance(hidden[0], str) and not hidden[0].startswith(" "):
        return (f" {hidden[0]}", *hidden[1:])
    return hidden


def _flat(text: Text) -> Iterable[str | Entity]:
    for part in text:
        if isinstance(part, Blank):
            yield from part.hidden
        else:
            yield part
