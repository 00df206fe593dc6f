"""Prompt templates: text with ``{placeholders}``, filled in one pass.

What is filled in is never looked at again: a title or a review that holds braces, brackets or instructions is only
text. Templates follow Python's format syntax and nothing of its reach: a placeholder is a plain name, and what may
stand after a colon is a layout.

    {title}            the value; several are joined by ", "
    {reviews:lines}    a numbered line for each value
    {reviews:json}     JSON: a string for a single value, an array with a line for each of several
    [[ by {brand}]]    left out when a placeholder in it has no value
    {{ }}              braces as such
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from seqlore.config import nearest
from seqlore.errors import ConfigError

#: A text, or a few named ones, say title and review.
Entry = str | Mapping[str, str]
#: What a placeholder stands for; whatever is empty is no value.
Value = Entry | Sequence[Entry]


def _entries(value: Value) -> Sequence[Entry]:
    return [value] if isinstance(value, str | Mapping) else value


def _plain(entry: Entry) -> str:
    return entry if isinstance(entry, str) else ": ".join(entry.values())


def _joined(value: Value) -> str:
    return ", ".join(map(_plain, _entries(value)))


def _lines(value: Value) -> str:
    return "\n".join(f"{number}. {_plain(entry)}" for number, entry in enumerate(_entries(value), start=1))


def _json(value: Value) -> str:
    if isinstance(value, str | Mapping):
        return json.dumps(value, ensure_ascii=False)
    return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n]"


LAYOUTS: dict[str, Callable[[Value], str]] = {"": _joined, "lines": _lines, "json": _json}


@dataclass(frozen=True)
class Template:
    """A parsed template. Attributes: parts: (optional, pieces); a piece is (literal, placeholder or None, layout)."""

    parts: tuple[tuple[bool, tuple[tuple[str, str | None, str], ...]], ...]

    @classmethod
    def parse(cls, text: str, known: Iterable[str]) -> Template:
        """Args: known: the placeholders that may stand in it.

        Raises: ConfigError: a placeholder or layout is unknown, or a brace or bracket has no partner.
        """
        known, parts, depth = list(known), [], 0
        for token in re.split(r"(\[\[|\]\])", text):
            if token in ("[[", "]]"):
                depth += 1 if token == "[[" else -1
                if depth not in (0, 1):
                    raise ConfigError("[[ and ]] must come in pairs, and not one pair inside another")
            elif token:
                parts.append((depth == 1, tuple(_pieces(token, known))))
        if depth:
            raise ConfigError("[[ and ]] must come in pairs, and not one pair inside another")
        return cls(tuple(parts))

    @property
    def names(self) -> set[str]:
        """The placeholders in it."""
        return {name for _, pieces in self.parts for _, name, _ in pieces if name is not None}

    def fill(self, values: Mapping[str, Value]) -> str:
        """The text with ``values`` in the places; a name without value gives nothing."""
        out = []
        for optional, pieces in self.parts:
            if optional and not all(values.get(name) for _, name, _ in pieces if name is not None):
                continue
            for literal, name, layout in pieces:
                out.append(literal)
                if name is not None and (value := values.get(name)):
                    out.append(LAYOUTS[layout](value))
        return "".join(out)


def _pieces(text: str, known: Sequence[str]) -> Iterable[tuple[str, str | None, str]]:
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(
            f"{error} in {text.strip()[:60]!r}; write a brace that is only text as {{{{ or }}}}"
        ) from None
    for literal, name, layout, conversion in parsed:
        if name is not None:
            if name not in known:
                raise ConfigError(f"unknown placeholder {{{name}}}{nearest(name, known)}; there are {_list(known)}")
            if conversion or layout not in LAYOUTS:
                given = f"!{conversion}" if conversion else f":{layout}"
                raise ConfigError(f"{{{name}{given}}}: unknown layout; a placeholder takes :lines, :json or nothing")
        yield literal, name, layout or ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(sorted(names))
