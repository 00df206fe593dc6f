"""Titles in what a language model writes: quoted, in bold, numbered, several on a line, or with a reason behind them.

At each place the longest title counts. A text is cut into words and marks; quotation marks, stars and underscores are
passed over, and so are marks at the end of a title.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A dash between blanks parts; one within a word belongs to it.
DASH = "—"
_DASH = re.compile(r"\s+[-–—]+\s+|\s*—\s*")
_MARKUP = re.compile(r"[*_`\"“”„«»]|(?<!\w)['‘’]|['‘’](?!\w)")
_NUMBER = re.compile(r"^\s*(?:[-•–]|\(?\d+[.):](?=\s))\s*")
_TOKEN = re.compile(r"\w+|[^\w\s]")
#: Marks after which a title may begin, and before which one may end, where it must stand by itself.
PARTS = {",", ";", "/", "|", "and", "&"}
LAST = {",", ";", ":", ".", "!", "?"}
ENDS = {*PARTS, *LAST, DASH, "(", "["}

Tokens = tuple[str, ...]


def tokens(text: str) -> Tokens:
    """Words and marks of a line, in lower case."""
    plain = _MARKUP.sub("", text).replace("’", "'")
    return tuple(_TOKEN.findall(_DASH.sub(f" {DASH} ", plain).lower()))


class Titles:
    """The titles that are looked for."""

    def __init__(self, titles: Iterable[tuple[int, str]]) -> None:
        """Args: titles: (item, title) of each; of items with one title the first is named first."""
        self._items: dict[Tokens, list[int]] = {}
        for item, title in titles:
            key = tokens(" ".join(title.split()))
            while len(key) > 1 and key[-1] in LAST:
                key = key[:-1]
            if key:
                self._items.setdefault(key, []).append(item)
        self._lengths: dict[str, list[int]] = {}
        for key in self._items:
            self._lengths.setdefault(key[0], []).append(len(key))
        self._lengths = {word: sorted(set(each), reverse=True) for word, each in self._lengths.items()}

    def named(self, said: str, *, apart: bool = False) -> list[int]:
        """The items whose titles stand in an answer, in that order, each once.

        What follows a title and a dash or colon is why: there, a title counts only between commas or ends of the line.

        Args: apart: everywhere a title counts only so, and not within other words. For many titles, of which some are
            words of every day.
        """
        found: dict[int, None] = {}
        for line in said.splitlines():
            found |= dict.fromkeys(self._in_line(tokens(_NUMBER.sub("", _MARKUP.sub("", line))), apart))
        return list(found)

    def _in_line(self, line: Tokens, apart: bool) -> list[int]:
        found: list[int] = []
        at, strict = 0, apart
        while at < len(line):
            begins = at == 0 or line[at - 1] in {*PARTS, DASH, ":"}
            key = next(
                (
                    key
                    for n in self._lengths.get(line[at], ())
                    if at + n <= len(line)
                    and (key := line[at : at + n]) in self._items
                    and (not strict or (begins and (at + n == len(line) or line[at + n] in ENDS)))
                ),
                None,
            )
            if key is None:
                at += 1
                continue
            found += self._items[key]
            at += len(key)
            strict = strict or (at < len(line) and line[at] in (DASH, ":"))
        return found
