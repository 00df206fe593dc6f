"""What a title says: "Bad Seed, The (1956)", "Pentel Sign Pen, Black Ink (S520-A), Box of 12"."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from seqlore.lore.extractive.english import clean, tables, tag
from seqlore.lore.extractive.phrases import Found, named

_YEAR = re.compile(r"\s*\((1[89]\d\d|20\d\d)\)\s*$")
_ARTICLE = re.compile(r"^(.*), (The|A|An)((?: \(.*\))?)$")
_PARTS = re.compile(r"\s*(?:[,;:|()\[\]]|\s[-–—/]+\s|--+|-\s)\s*")
_WORDS = re.compile(r"\s(with|by|for|For)\s")
_CODE = re.compile(r"(?=\S*\d)(?=\S*[A-Z\-])[A-Z0-9\-/.]{4,}$|(?:TM|R|C|\d+M)$")


def _size_pattern() -> re.Pattern[str]:
    units = "|".join(sorted(map(re.escape, tables()["units"]), key=len, reverse=True))
    number = r"\d+(?:[ \-]\d+/\d+|[.,/]\d+)?"
    unit = rf"(?:[\s\-/]*(?:fl(?:uid)?\b\.?[\s\-]*)?(?:{units})\b|\")"
    measured = rf"{number}(?:{unit}?[\s\-]*x[\s\-]*{number})*{unit}"  # "4 in x 6 in", "8-1/2 x 11 inches", '27"'
    return re.compile(rf"\b(?:(?:pack|box|set|case|count|bag) of \d+\b|{measured})(?![\w\-]|\s\d)", re.IGNORECASE)


class Title(NamedTuple):
    """A title taken apart.

    Attributes:
        name: as it should be read, the year left out.
        parts: what commas, brackets, dashes, "with" and "by" separate; without sizes, codes and purposes.
        purposes: what follows "for". sizes: "4 fluid ounce", "Pack of 25". year: "1956", or "".
        found: the phrases it names.
    """

    name: str
    parts: tuple[str, ...]
    purposes: tuple[str, ...]
    sizes: tuple[str, ...]
    year: str
    found: tuple[Found, ...]


_SIZE = _size_pattern()


@lru_cache(1 << 16)  # the same titles stand in many histories
def parse(title: str) -> Title:
    """Of a title as the shop writes it; an empty one gives empty parts."""
    name = clean(title)
    year = _YEAR.search(name)
    if year:
        name = name[: year.start()]
        if article := _ARTICLE.match(name):
            name = f"{article[2]} {article[1]}{article[3]}"
    parts: list[str] = []
    purposes: list[str] = []
    for part in _PARTS.split(_SIZE.sub("|", name)):
        first, *rest = _WORDS.split(" " + part)  # "Sign Holder", "for", "Desks", "by", "Acme"
        parts.append(first)
        for word, said in zip(rest[::2], rest[1::2], strict=True):
            # "The Blues For Red" is a name, "Eau de Toilette For Men" is not.
            meant = word == "for" or (word == "For" and said.split()[0].lower() in tables()["audience"])
            (purposes if meant else parts).append(said)
    parts, purposes = (
        [*dict.fromkeys(filter(_says, (each.strip(" -.&/") for each in some)))] for some in (parts, purposes)
    )
    found = tuple(each for part in (*parts, *purposes) for each in named(tag(part, title=True)))
    sizes = tuple(dict.fromkeys(size for size in _SIZE.findall(name) if not _CODE.match(size)))
    return Title(name, tuple(parts), tuple(purposes), sizes, year[1] if year else "", found)


def _says(part: str) -> bool:
    return len(part) > 1 and not part.isdigit() and not _CODE.match(part)
