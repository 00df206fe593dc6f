"""``config.json`` of a model folder: what to build, and digests by which a truncated or altered folder is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from seqlore.errors import DataError
from seqlore.version import __version__

FORMAT = 1
#: Files that every model folder has, and those that some have.
ALWAYS, PERHAPS = ("model.safetensors", "items.parquet"), ("users.parquet",)


def write(folder: Path, head: Mapping[str, Any]) -> None:
    """Write ``config.json`` with ``head`` and the digests of the files that are there, and of itself."""
    files = [name for name in (*ALWAYS, *PERHAPS) if (folder / name).is_file()]
    whole = {"format": FORMAT, "seqlore": __version__, **head, "files": {f: _digest(folder / f) for f in files}}
    whole["digest"] = _own_digest(whole)
    (folder / "config.json").write_text(json.dumps(whole, indent=2, default=str) + "\n")


def is_there(folder: Path) -> bool:
    """Whether the folder has the files of a model; whether they are as they were saved is ``read``'s to tell."""
    return all((folder / name).is_file() for name in ("config.json", *ALWAYS))


def read(folder: Path) -> dict[str, Any]:
    """``config.json``, when everything that it tells of is there and as it was saved.

    Raises: DataError: this is no model folder, a file is missing or altered, or it was written by a newer version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(
            f"{folder}: no config.json there, so this is not a model folder; save one with model.save(folder)"
        )
    try:
        head = json.loads(path.read_text())
        version, _, digests = int(head["format"]), head["model"] + "", dict(head["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}); restore the folder from a copy, or train again") from error
    if version > FORMAT:
        raise DataError(f"{folder}: written by a newer Seqlore ({head.get('seqlore')}); upgrade Seqlore to load it")
    altered = [path] if head.get("digest", own := _own_digest(head)) != own else []  # older folders do not tell it
    for name, digest in {**dict.fromkeys(ALWAYS), **digests}.items():
        if Path(name).name != name or not (folder / name).is_file() or _digest(folder / name) != digest:
            altered.append(folder / name)
    if altered:
        raise DataError(f"{altered[0]}: missing or not what was saved (digest differs); restore it, or train again")
    return head


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove what another model that was saved in ``folder`` would leave behind there: its users, and its parts
    (subfolders) beside those of ``keep``.

    Only what ``config.json`` tells of and only files that model folders have; a part that holds more stays with that.
    """
    try:
        head = json.loads((folder / "config.json").read_text())
        parts, files = list(head["children"]), list(head["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # no model was here
    for name in PERHAPS:
        if name in files:
            (folder / name).unlink(missing_ok=True)
    for part in (folder / name for name in parts if isinstance(name, str) and name not in keep):
        if part.parent != folder or part.name == ".." or part.is_symlink() or not (part / "config.json").is_file():
            continue
        clear(part)
        for name in (*ALWAYS, "README.md", "config.json"):
            (part / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something else
            part.rmdir()


def bind(checkpoint: Path, data: Mapping[str, Any]) -> None:
    """Write into a folder of checkpoints what ``data`` they are about (``data.json``).

    Checkpoints that do not tell (of earlier versions) are taken as they are.

    Raises: DataError: there are checkpoints, and they are about other data.
    """
    path, mine = checkpoint / "data.json", json.loads(json.dumps(data, default=str))
    held = path.is_file() and any(each != path for each in checkpoint.iterdir())  # a finished stage has no state left
    if held and (its := json.loads(path.read_text())) != mine:
        raise DataError(
            f"{checkpoint}: this checkpoint is of a fit on other data ({json.dumps(its)}, not {json.dumps(mine)}); "
            "delete it, or name another folder"
        )
    checkpoint.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine) + "\n")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_digest(head: Mapping[str, Any]) -> str:
    told = {key: value for key, value in head.items() if key != "digest"}
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()
