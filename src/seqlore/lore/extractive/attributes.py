"""Attributes of an item as JSON: name, type, brand, categories, year, size, color, material, audience, features.

A JSON schema chooses among them by the names of its properties. What cannot be filled truthfully is null where the
schema allows that, and left out where it is not required; one that allows neither is refused before anything is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from seqlore.errors import ConfigError
from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.english import clean, stem, tables
from seqlore.lore.extractive.tasks import described, first, place, terms
from seqlore.lore.extractive.titles import parse
from seqlore.lore.extractive.wording import phrase
from seqlore.lore.model import Prompt

#: Other names of the attributes, in the singular.
_ALSO = {
    "title": "name", "product": "name", "productname": "name", "itemname": "name", "category": "categories",
    "genre": "categories", "producttype": "type", "itemtype": "type", "manufacturer": "brand", "maker": "brand",
    "quantity": "size", "colour": "color", "targetaudience": "audience", "feature": "features",
    "keyfeature": "features", "keyword": "features", "tag": "features",
}  # fmt: skip
FEATURES = 10
_KEPT_TO = {"type", "enum", "items", "maxItems", "title", "description", "examples", "default"}
_SHADES = r"(?:(?:light|dark|pale|bright|deep|hot|royal|navy|matte|rose)\s)?"


def facts_of(prompt: Prompt, background: Background) -> dict[str, Any]:
    """Attribute → its value; "" or [] where the facts do not tell."""
    title = parse(first(prompt, "title"))
    brand = clean(first(prompt, "brand"))
    description = " ".join(map(clean, prompt.fact("description"))).lower()
    text = f"{title.name.lower()} {description}"
    where = place(prompt.fact("categories"))
    features = [*title.parts[1:], *title.purposes, *terms(described(prompt), title.name, background)]
    return {
        "name": title.name,
        "type": where.leaves[-1] if where.leaves else "",
        "brand": brand,
        "categories": [*where.wider, *where.leaves],
        "year": title.year,
        "size": list(title.sizes),
        "color": _colours([part.lower() for part in title.parts if part != brand], description),
        "material": _listed(text, "materials"),
        "audience": _listed(text, "audience"),
        "features": _distinct(features, brand)[:FEATURES],
    }


def _distinct(texts: list[str], but: str) -> list[str]:
    return [*dict.fromkeys(each for each in map(phrase, texts) if each and each.lower() != but.lower())]


def _colours(parts: Iterable[str], description: str) -> list[str]:
    """What ends a part of the title ("Light Green", not "Brown Sugar Soap"), and plain colours of the description."""
    ends = [each for part in parts for each in _listed(part, "colours", "things", before=_SHADES, after="$")]
    return [*dict.fromkeys([*ends, *_listed(description, "colours", before=_SHADES)])]


def _listed(text: str, *lists: str, before: str = "", after: str = "") -> list[str]:
    """The words of the lists that stand in ``text``, each once."""
    words = "|".join(sorted((re.escape(w) for name in lists for w in tables()[name]), key=len, reverse=True))
    return [*dict.fromkeys(re.findall(rf"(?<![\w'-])({before}(?:{words}))(?![\w'-]){after}", text))]


Filler = Callable[[Mapping[str, Any], str], Any]
_LEAVE_OUT = object()


def plan(schema: Mapping[str, Any] | None) -> dict[str, Filler] | None:
    """Property → what fills it from (attributes, text); None without a schema.

    Raises: ConfigError: the schema asks for what cannot be answered truthfully.
    """
    if schema is None:
        return None
    required = schema.get("required", [])
    return {name: _filler(name, each, name in required) for name, each in _properties(schema).items()}


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if schema.get("type", "object") != "object" or not schema.get("properties"):
        raise ConfigError("json_schema: the extractive model fills an object with properties, and this schema is none")
    return schema["properties"]


def _filler(name: str, schema: Mapping[str, Any], required: bool) -> Filler:
    if strange := sorted(set(schema) - _KEPT_TO):
        raise ConfigError(
            f"json_schema: the extractive model cannot keep to {strange[0]!r} of property {name!r}: leave that out, or "
            "use a language model"
        )
    types = schema.get("type", "string")
    types = [types] if isinstance(types, str) else types
    nothing = None if "null" in types else _LEAVE_OUT
    key = stem(re.sub(r"[^a-z]", "", name.lower()))
    key = _ALSO.get(key, key)
    if "array" in types and schema.get("items", {}) in ({}, {"type": "string"}):
        return lambda known, _: _many(known.get(key))[: schema.get("maxItems")]
    if "string" in types and "enum" not in schema:
        return lambda known, _: "; ".join(_many(known.get(key)))
    if required and nothing is _LEAVE_OUT:
        raise ConfigError(
            f"json_schema: the extractive model may not know {name!r}, which is required and must not be null: allow "
            "null, or use a language model"
        )
    if "enum" in schema:
        options = [each for each in schema["enum"] if isinstance(each, str)]
        return lambda _, text: next(
            (o for o in options if re.search(rf"(?<!\w){re.escape(o.lower())}(?!\w)", text)), nothing
        )
    if {"integer", "number"} & set(types) and key == "year":
        return lambda known, _: int(known["year"]) if known["year"] else nothing
    return lambda _, __: nothing


def _many(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else value or []


def attributes(prompt: Prompt, background: Background, fillers: Mapping[str, Filler] | None) -> dict[str, Any]:
    """What is known of the item, in the shape that was planned."""
    known = facts_of(prompt, background)
    if fillers is None:
        return known
    text = " ".join(value for name, values in prompt.facts if name != "user" for value in values).lower()
    filled = {name: fill(known, text) for name, fill in fillers.items()}
    return {name: value for name, value in filled.items() if value is not _LEAVE_OUT}


def around(schema: Mapping[str, Any]) -> Callable[[str], dict[str, str]]:
    """What puts the text of another task into an object: into the first required string, or else the first string.

    Other required strings stay empty. Raises: ConfigError: the schema has no such property, or requires others.
    """
    texts = [n for n, each in _properties(schema).items() if each.get("type") == "string" and "enum" not in each]
    required = schema.get("required", [])
    others = [name for name in required if name not in texts]
    if others or not texts:
        why = f"{others[0]!r} is required and no free string" if others else "no property is a free string"
        raise ConfigError(f"json_schema: the extractive model answers this task with one text, and {why}")
    place_of_text = next((name for name in texts if name in required), texts[0])
    empty = {name: "" for name in texts if name in required}
    return lambda text: {**empty, place_of_text: text}


def as_json(value: Mapping[str, Any]) -> str:
    """On one line, in the letters that it was written in."""
    return json.dumps(value, ensure_ascii=False)


def shortened(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Without the last entry of its longest list; None if no list has any."""
    lists = [name for name, each in value.items() if isinstance(each, list) and each]
    if not lists:
        return None
    longest = max(lists, key=lambda name: len(value[name]))
    return {**value, longest: value[longest][:-1]}
