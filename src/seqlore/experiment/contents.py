"""What lies behind the paths in settings: a name stays when a model is pretrained anew in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqlore.text.cache import file_digest

#: Settings that may name a file or folder that a fit reads; ``name`` is one in a ``backbone`` alone.
READ = frozenset({"base_model", "language_model", "encoder", "prompts", "files", "foreign", "body"})


def contents(settings: Any) -> dict[str, str]:
    """Path in settings, with that of the file below it → SHA-256, for each that is there; names of hubs are not."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(_named(settings)):
        path = Path(os.path.expandvars(name)).expanduser()
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
        found |= {f"{name}: {file.relative_to(path)}": file_digest(file) for file in files}
    return found


def with_contents(settings: Any) -> dict[str, Any]:
    """What a digest is taken over: ``settings``, and ``files`` where they name some."""
    files = contents(settings)
    return {"settings": settings, "files": files} if files else {"settings": settings}


def _named(settings: Any, read: bool = False, within: str = "") -> Iterator[str]:
    """Texts in settings that may be paths."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _named(value, key in READ or within == "prompts" or (within, key) == ("backbone", "name"), key)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _named(value, read, within)
    elif isinstance(settings, str) and settings and read:
        yield settings
