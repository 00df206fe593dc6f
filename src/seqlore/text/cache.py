"""The cache folder, and digests of big files that are computed once."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Where vectors are kept by default: ``$SEQLORE_CACHE``, else the platform's cache folder for Seqlore."""
    return Path(os.environ.get("SEQLORE_CACHE") or platformdirs.user_cache_path("seqlore"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content in hex; remembered in the cache folder by path, size and time of change."""
    path = path.resolve()
    known_at = cache_dir() / "digests.json"
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    try:
        known = dict(json.loads(known_at.read_text(encoding="utf-8")))
        size, changed, digest = known.get(str(path), (0, 0, ""))
        if [size, changed] == stamp:
            return digest
    except (OSError, ValueError, TypeError):
        known = {}  # no memory yet, or a damaged one: it is only a shortcut
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        known_at.parent.mkdir(parents=True, exist_ok=True)
        new = known_at.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({**known, str(path): [*stamp, digest]}, indent=0), encoding="utf-8")
        os.replace(new, known_at)
    except OSError:
        pass  # a read-only cache folder costs time, nothing else
    return digest
