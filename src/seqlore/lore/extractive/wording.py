"""Statements → sentences, and back: one meaning in many wordings.

Each kind of statement has several sentence forms (``wording.toml``). A wording is the choice of a form for each
statement, the order of the statements, and the order of the phrases in each; the first wording is the plain one. What
was said so is recognised by the beginnings of the sentences, so that a label can be worded anew, or rid of phrases,
without knowing what it was made from. Sentences of another origin stay; their order changes, and the lead.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from seqlore.lore.extractive.english import is_abbreviated, sentences

#: The kind of a sentence that stays as it is.
VERBATIM = ""
#: Draws after which a text counts as having no further wording.
DRAWS = 32

_TITLES = re.compile(r"“([^”]*)”")
_ENDS_INSIDE = re.compile(r"([.!?…]+[\"')\]]*(?=\s|$))+|[。！？]+")
_EDGES = " \t,;:.!?…-–—_*/\\|<>=~"


class Statement(NamedTuple):
    """kind: a key of ``wording.toml``, or ``VERBATIM``. phrases: what it lists; of a verbatim one, the sentence."""

    kind: str
    phrases: tuple[str, ...]


@lru_cache(1)
def _tables() -> tuple[dict[str, tuple[tuple[str, str], ...]], tuple[str, ...]]:
    """Kind → (before, after) the phrases for each form; the leads."""
    raw = tomllib.loads(files("seqlore.lore.extractive").joinpath("wording.toml").read_text("utf-8"))
    forms = {}
    for kind, texts in raw["forms"].items():
        forms[kind] = tuple((before, after) for before, _, after in (text.partition("{}") for text in texts))
    return forms, tuple(raw["leads"]["all"])


@lru_cache(1)
def _openings() -> dict[str, list[tuple[str, str, str]]]:
    """First two words of a form → its (kind, before, after), the longest first."""
    out: dict[str, list[tuple[str, str, str]]] = {}
    for kind, forms in _tables()[0].items():
        for before, after in forms:
            out.setdefault(_opening(before), []).append((kind, before, after))
    return {opening: sorted(forms, key=lambda form: -len(form[1])) for opening, forms in out.items()}


def _opening(text: str) -> str:
    return " ".join(text.split(" ", 2)[:2])


def phrase(text: str) -> str:
    """``text`` as it can stand in a list: no comma, "and" or end of a sentence, which would be read as the list's."""
    text = _ENDS_INSIDE.sub(" ", text.translate(_QUOTES))
    text = " & ".join(
        part for part in re.split(r"(?:^|(?<=\s))(?:and|&)(?=\s|$)", text.replace(",", " ")) if part.strip()
    )
    return " ".join(text.split()).strip(_EDGES)


def quoted(title: str) -> str:
    """``title`` as it can stand in “quotes”."""
    return " ".join(title.translate(_QUOTES).split())


_QUOTES = str.maketrans({"“": '"', "”": '"', "\x00": None})


def statement(kind: str, phrases: Iterable[str]) -> Statement:
    """With phrases made fit to be listed; empty ones and repetitions are left out."""
    fit = quoted if kind.endswith("_titles") else phrase
    return Statement(kind, tuple(dict.fromkeys(each for each in map(fit, phrases) if each)))


def say(statements: Sequence[Statement]) -> str:
    """The plain wording: first forms, in the order given."""
    return " ".join(_sentence(each, 0) for each in statements if each.phrases)


def _sentence(each: Statement, form: int, turn: int = 0) -> str:
    if each.kind == VERBATIM:
        return each.phrases[0]
    forms = _tables()[0][each.kind]
    before, after = forms[form % len(forms)]
    turn %= len(each.phrases)
    return before + _listed(each.kind, (*each.phrases[turn:], *each.phrases[:turn])) + after


def _listed(kind: str, phrases: Sequence[str]) -> str:
    if kind.endswith("_titles"):
        phrases = [f"“{title}”" for title in phrases]
    return ", ".join(phrases[:-1]) + " and " + phrases[-1] if len(phrases) > 1 else phrases[0]


def read(text: str) -> list[Statement]:
    """The statements of a text; ``say(read(say(statements))) == say(statements)``."""
    lead = next((lead for lead in _tables()[1] if text.startswith(lead)), "")
    out: list[Statement] = []
    for sentence in sentences(text[len(lead) :], titles=False):
        found = _read_sentence(sentence)
        before = out[-1] if out else None
        if before and found.kind == before.kind == VERBATIM and is_abbreviated(before.phrases[0]):
            out[-1] = Statement(VERBATIM, (f"{before.phrases[0]} {sentence}",))
        else:
            out.append(found)
    return out


def _read_sentence(sentence: str) -> Statement:
    for kind, before, after in _openings().get(_opening(sentence), ()):
        if sentence.startswith(before) and sentence.endswith(after) and len(sentence) > len(before) + len(after):
            slot = sentence[len(before) : len(sentence) - len(after)]
            if kind.endswith("_titles"):
                if (titles := tuple(_TITLES.findall(slot))) and _listed(kind, titles) == slot:
                    return Statement(kind, titles)
                continue
            rest, _, last = slot.rpartition(" and ")
            phrases = (*rest.split(", "), last) if rest else (slot,)
            if all(each == phrase(each) for each in phrases):
                return Statement(kind, tuple(dict.fromkeys(phrases)))
    return Statement(VERBATIM, (sentence,))


def wordings(statements: Sequence[Statement]) -> Iterator[str]:
    """Different texts of one meaning: the plain one, then others by a hash of the meaning; ends when none is new."""
    statements = [each for each in statements if each.phrases]
    seen = {say(statements)}
    yield from seen
    meaning = repr(sorted((kind, sorted(phrases)) for kind, phrases in statements)).encode("utf-8", "replace")
    leads = _tables()[1]
    draw = since = 0
    while since < DRAWS and statements:
        digits = _Digits(hashlib.blake2b(meaning + draw.to_bytes(8, "big"), digest_size=64).digest())
        draw += 1
        order = sorted(range(len(statements)), key=lambda _: digits.below(1 << 16))
        spoken = [_sentence(statements[i], digits.below(60), digits.below(60)) for i in order]
        if statements[order[0]].kind == VERBATIM:
            spoken[0] = leads[digits.below(len(leads))] + spoken[0]
        text = " ".join(spoken)
        since = since + 1 if text in seen else 0
        if not since:
            seen.add(text)
            yield text


class _Digits:
    """Numbers drawn from a hash; the same on every machine."""

    def __init__(self, digest: bytes) -> None:
        self._rest = int.from_bytes(digest, "big")

    def below(self, n: int) -> int:
        self._rest, digit = divmod(self._rest, n)
        return digit
