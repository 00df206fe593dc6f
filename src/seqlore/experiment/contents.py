"""What lies behind the names in settings: a name stays when a model is pretrained anew in its folder.

So does that of the extractive model, when another version of it writes other texts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqlore.lore.extractive import ExtractiveModel
from seqlore.text.cache import file_digest

#: Settings that may name a file or folder that a fit reads; ``name`` is one in a ``backbone`` alone.
READ = frozenset({"base_model", "language_model", "encoder", "prompts", "files", "foreign", "body"})
#: Tables whose ``model`` writes the texts that a fit reads, unless they are at hand.
WRITERS = frozenset({"knowledge", "labels"})


def contents(settings: Any) -> dict[str, str]:
    """Path in settings, with that of the file below it → SHA-256, for each that is there; names of hubs are not.

    The extractive model, where settings name it as a writer of texts, → its identity.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(_named(settings)):
        if name == "extractive":
            found[name] = ExtractiveModel().identity
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
        writes = within in WRITERS and not settings.get("files") and settings.get("texts") != "raw"
        for key, value in settings.items():
            named = (within, key) == ("backbone", "name") or (writes and key == "model")
            yield from _named(value, named or key in READ or within == "prompts", key)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _named(value, read, within)
    elif isinstance(settings, str) and settings and read:
        yield settings
