"""JSON of a schema: whether the schema is one, and whether a text follows it.

A server that does not know structured output ignores the wish, some without a word; so every answer is checked.
"""

from __future__ import annotations

import json
from typing import Any

from seqlore.errors import ConfigError, MissingExtraError


def check_schema(schema: dict[str, Any]) -> None:
    """Raises: ConfigError: no JSON schema. MissingExtraError: the checker is not installed."""
    checker, fault = _checker()
    try:
        checker.check_schema(schema)
    except fault as error:
        raise ConfigError(f"json_schema: not a JSON schema at {error.json_path}: {error.message}") from None


def follows(text: str, schema: dict[str, Any]) -> str | None:
    """What keeps ``text`` from being JSON of ``schema``; None = nothing. Raises: as ``check_schema``."""
    checker, _ = _checker()
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        value = json.loads(text)
    except ValueError as error:
        return f"no JSON: {error}"
    try:  # an empty registry: a reference to another document is an error and not a download
        fault = next(iter(checker(schema, registry=Registry()).iter_errors(value)), None)
    except Unresolvable as error:
        raise ConfigError(f"json_schema: {error}; write what it refers to into the schema") from None
    return None if fault is None else f"at {fault.json_path}: {fault.message[:100]}"


def _checker() -> tuple[Any, Any]:
    """Validator and its error, once they are needed."""
    try:
        from jsonschema import Draft202012Validator, SchemaError
    except ImportError as error:
        raise MissingExtraError("answers of a JSON schema need jsonschema: pip install 'seqlore[llm]'") from error
    return Draft202012Validator, SchemaError
