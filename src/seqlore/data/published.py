"""Published data sets: where they are, in which format, what their publishers say. The table is ``published.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from seqlore.config import nearest
from seqlore.errors import DataError


@dataclass(frozen=True)
class File:
    """One file of a set; ``url`` is None where the publisher wants a form filled in first."""

    name: str
    url: str | None
    md5: str | None = None

    @classmethod
    def at(cls, url: str, md5: str | None = None) -> File:
        return cls(PurePosixPath(url).name, url, md5)


@dataclass(frozen=True)
class Published:
    """A set.

    Attributes:
        format: for :func:`seqlore.data.readers.read`.
        files: the archive, or the file of interactions and then that of their items.
        page: where people read about it, and accept its terms.
        terms: the terms in a few words; they bind whoever downloads.
    """

    name: str
    about: str
    format: str
    files: tuple[File, ...]
    page: str
    terms: str


@cache
def catalogue() -> dict[str, Published]:
    """All sets by name."""
    table = tomllib.loads((files("seqlore.data") / "published.toml").read_text("utf-8"))
    sets = []
    group = table["movielens"]
    for name, each in group["sets"].items():
        archive = File.at(group["url"].format(name), each.get("md5"))
        sets.append(
            Published(name, f"MovieLens, {each['about']}", "movielens", (archive,), group["page"], group["terms"])
        )
    for year, group in table["amazon"].items():
        for category in group["categories"]:
            both = tuple(File.at(group[kind].format(category)) for kind in ("reviews", "metadata"))
            about = f"Amazon {category.replace('_', ' ')} ({year}), {group['about']}"
            name = f"amazon{year}-{category.lower().replace('_', '-')}"
            terms = "offered for research; cite the paper that the page names"
            sets.append(Published(name, about, "amazon", both, group["page"], terms))
    for name, each in table["other"].items():
        parts = [File.at(url) for url in each.get("urls", ())] + [File(f, None) for f in each.get("by_hand", ())]
        about = f"{each['format'].capitalize()}, {each['about']}"
        sets.append(Published(name, about, each["format"], tuple(parts), each["page"], each["terms"]))
    return {each.name: each for each in sets}


def published(name: str) -> Published:
    """The set of that name. Raises: DataError: there is none; names the nearest."""
    known = catalogue()
    if name not in known:
        raise DataError(
            f"no published set is called {name!r}{nearest(name, known)}; "
            f"`seqlore data fetch --list` names all {len(known)}"
        )
    return known[name]
