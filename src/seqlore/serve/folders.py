"""Which models a folder holds: one, if it is a model folder; one a row of the leaderboard, if it is a run folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seqlore.errors import ConfigError, DataError
from seqlore.recommender import Model, load_any
from seqlore.report.folder import RunFolder, read_run


@dataclass(frozen=True)
class Source:
    """Where a served model comes from."""

    name: str
    folder: Path


def find_models(paths: Iterable[str | Path]) -> tuple[list[Source], list[RunFolder]]:
    """(models in the order given, run folders among ``paths``). A run's winner comes first of its models.

    Raises: DataError: a folder is neither, or a run folder holds no model.
    """
    sources: list[Source] = []
    runs: list[RunFolder] = []
    for path in map(Path, paths):
        if (path / "config.json").is_file():
            sources.append(Source(_free(path.resolve().name, sources), path))
        elif (path / "leaderboard.json").is_file():
            runs.append(read_run(path))
            for label, folder in _of_run(runs[-1]):
                sources.append(Source(_free(label, sources), folder))
        else:
            raise DataError(
                f"{path}: neither a model folder nor a run folder; make one with `seqlore train` or `seqlore run`"
            )
    if not sources:
        raise DataError("there is no model to serve: name a model folder, or a run folder with models in it")
    return sources, runs


def _of_run(run: RunFolder) -> list[tuple[str, Path]]:
    """(label, folder) of a row's first seed that has a folder; the winner first, under the label of its row."""
    winner = None
    if (run.path / "model.json").is_file():
        try:
            winner = str(json.loads((run.path / "model.json").read_text(encoding="utf-8"))["folder"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{run.path / 'model.json'}: damaged ({error}); run the recipe again") from error
    several = len(run.ties) > 1
    found: list[tuple[str, str]] = []
    for row in run.board.rows:
        names = [r.model_folder for r in row.runs if r.model_folder]
        label = f"{row.label}-{row.ties}" if several else row.label
        if winner in names:
            found.insert(0, (label, winner))
        elif names:
            found.append((label, names[0]))
    if winner is not None and winner not in {name for _, name in found}:  # fitted once more on everything
        found.insert(0, ("winner", winner))
    out = []
    for label, name in found:
        folder = run.path / name
        if not folder.resolve().is_relative_to(run.path.resolve()):
            raise DataError(f"{run.path}: names the model folder {name!r}, which lies outside the run folder")
        if (folder / "config.json").is_file():
            out.append((label, folder))
    if not out:
        raise DataError(f"{run.path}: no model of this run is in its folder; run the recipe again, keeping models")
    return out


def _free(label: str, taken: list[Source]) -> str:
    """``label`` as it can stand in an address, with a number behind it where it is taken."""
    base = re.sub(r"[^A-Za-z0-9._+-]+", "-", label).strip("-") or "model"
    names, name, n = {s.name for s in taken}, base, 1
    while name in names:
        n += 1
        name = f"{base}-{n}"
    return name


def open_model(folder: Path) -> tuple[Model, str]:
    """(model, 12 hex digits that change with anything in the folder).

    Raises: DataError: the folder is truncated, altered, of a newer version, or no model's.
    """
    try:
        model = load_any(folder)
    except ConfigError as error:
        raise DataError(f"{folder}: its settings are not this version's ({error}); train again, or upgrade") from error
    parts = sorted(folder.rglob("config.json"))  # each holds the digests of the files beside it
    return model, hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()[:12]
