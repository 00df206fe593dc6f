"""Templates filled with words and entities: the syntax of :mod:`seqlore.lore.prompts.template`, for texts of parts.

What is filled in is never looked at again: a title or a review that holds braces, brackets or instructions is text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from seqlore.glm.texts import Entity, one_line
from seqlore.lore.prompts.template import Template

#: Plain words and entities, one after another.
Words = tuple[str | Entity, ...]
#: What a placeholder stands for: words of one or several entries; () is no value.
Value = Sequence[Words]


def fill(template: Template, values: Mapping[str, Value]) -> Words:
    """The text with ``values`` in the places. Entries are joined by ", ", or stand on numbered lines (":lines").

    A name without value gives nothing, and leaves an optional part that holds it out. JSON is no layout of entities.
    """
    parts: list[str | Entity] = []
    for optional, pieces in template.parts:
        if optional and not all(values.get(name) for _, name, _ in pieces if name is not None):
            continue
        for literal, name, layout in pieces:
            parts.append(literal)
            if name is not None:
                parts += _laid_out(values.get(name, ()), layout)
    return tuple(_merged(parts))


def _laid_out(value: Value, layout: str) -> Iterator[str | Entity]:
    for number, entry in enumerate(value, start=1):
        if layout == "lines":
            yield f"{chr(10) * (number > 1)}{number}. "
        elif number > 1:
            yield ", "
        yield from entry


def _merged(parts: Sequence[str | Entity]) -> Iterator[str | Entity]:
    """Neighbouring plain parts as one, empty ones left out."""
    plain = ""
    for part in parts:
        if isinstance(part, str):
            plain += part
            continue
        if plain:
            yield plain
        plain = ""
        yield part
    if plain:
        yield plain


def as_text(words: Words) -> str:
    """As a language model without entities reads it: each with one blank before it, but at the beginning of a line."""
    out = ""
    for part in words:
        if isinstance(part, Entity):
            before = out.rstrip(" ")
            out = f"{before}{'' if not before or before.endswith(chr(10)) else ' '}{one_line(part.text)}"
        else:
            out += part
    return out
