"""What changes the settings of a recipe before they are validated: ``--set path.to.key=value``, tables over tables."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from seqlore.config import NONE, nearest
from seqlore.errors import ConfigError


def parse_value(text: str) -> Any:
    """A TOML value (``3``, ``true``, ``[0, 1]``, ``"x"``); anything else is a string as it stands."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_assignment(assignment: str) -> tuple[list[str], Any]:
    """``'models."my label".settings.epochs=3'`` → (["models", "my label", "settings", "epochs"], 3).

    Raises: ConfigError: there is no ``=``, or a part of the key is empty.
    """
    key, equals, value = assignment.partition("=")
    parts = [quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|([^.]+)', key.strip())]
    if not equals or not parts:
        raise ConfigError(f"--set {assignment}: write it as path.to.key=value, for example split.ties=file")
    return parts, parse_value(value.strip())


def nested(assignments: Iterable[str]) -> dict[str, Any]:
    """The settings that assignments make by themselves: ``["a.b=1"]`` → ``{"a": {"b": 1}}``."""
    return apply({}, assignments)


def apply(settings: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """``settings`` with the assignments made. Rows of a list are addressed by label, model name or number.

    Raises: ConfigError: a path leads through something that is no table, or to a row that is not there.
    """
    out = copy.deepcopy(dict(settings))
    for assignment in assignments:
        (*path, last), value = parse_assignment(assignment)
        at: Any = out
        for i, step in enumerate(path):
            if isinstance(at, dict) and at.get(step) in (None, NONE):
                at[step] = {}
            at = _row(at, step, assignment) if isinstance(at, list) else at[step]
            if not isinstance(at, dict | list):
                raise ConfigError(f"--set {assignment}: {'.'.join(path[: i + 1])} is a value and holds no settings")
        if isinstance(at, list):
            raise ConfigError(f"--set {assignment}: {'.'.join(path)} is a list; name a row and then a setting in it")
        at[last] = value
    return out


def _row(rows: list[Any], step: str, assignment: str) -> Any:
    if step.isdecimal() and int(step) < len(rows):
        return rows[int(step)]
    names = {
        row[key]: row for key in ("model", "label") for row in reversed(rows) if isinstance(row, dict) and key in row
    }
    if step not in names:
        raise ConfigError(f"--set {assignment}: there is no row {step!r}{nearest(step, names)}")
    return names[step]


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Later tables over earlier ones, tables within tables alike."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
            out[key] = merged(out[key], value) if both else value
    return out
