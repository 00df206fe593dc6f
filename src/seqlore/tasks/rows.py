"""What a run folder keeps of each row and seed, so that a run that was cut short goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from seqlore import config
from seqlore.experiment.contents import contents
from seqlore.experiment.journal import write_json
from seqlore.tasks.recipe import Row, TaskRecipe
from seqlore.tasks.scores import Scores
from seqlore.version import __version__

Found = Mapping[str, Mapping[str, Scores]]


def digest(recipe: TaskRecipe, row: Row, seed: int, dataset_hash: str) -> str:
    """Of all that a row's figures depend on; labels and published figures are not among it."""
    asked = recipe.model_dump(mode="json", include={"evaluation"})
    return config.digest(64, fit=fit_digest(recipe, row, seed, dataset_hash), asked=asked, files=contents(asked))


def fit_digest(recipe: TaskRecipe, row: Row, seed: int, dataset_hash: str) -> str:
    """Of all that a row's fitted model depends on."""
    told = recipe.model_dump(mode="json", include={"split", "material"})
    settings = row.model_dump(mode="json", include={"model", "settings"})
    made = {"told": told, "row": settings, "seed": seed, "files": contents(settings)}
    return config.digest(64, seqlore=__version__, dataset=dataset_hash, **made)


def keep(folder: Path, row: Row, seed: int, key: str, entry: dict[str, Any], found: Found) -> None:
    """Write a row's entry, and a line a family, way, metric and case."""
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    frames = [
        pl.DataFrame({"family": family, "way": way, "metric": name, "value": values}).with_row_index("case")
        for family, ways in found.items()
        for way, each in ways.items()
        for name, values in each.per_case.items()
    ]
    if frames:
        pl.concat(frames).write_parquet(_cases(folder, row, seed))
    write_json(_entry(folder, row, seed), {"digest": key, **entry})


def kept(folder: Path, row: Row, seed: int, key: str) -> tuple[dict[str, Any], dict[str, dict[str, Scores]]] | None:
    """(entry, family → way → scores) of a row that was carried out without fault and has not changed, or None."""
    path = _entry(folder, row, seed)
    if not path.is_file():
        return None
    entry = json.loads(path.read_text())
    if entry.pop("digest") != key or "error" in entry:
        return None
    per_case: dict[tuple[str, str], dict[str, Any]] = {}
    if _cases(folder, row, seed).is_file():
        for (family, way, metric), part in pl.read_parquet(_cases(folder, row, seed)).group_by(
            ["family", "way", "metric"], maintain_order=True
        ):
            per_case.setdefault((str(family), str(way)), {})[str(metric)] = part.sort("case")["value"].to_numpy()
    return entry, {
        family: {way: Scores(values, per_case.get((family, way), {})) for way, values in ways.items()}
        for family, ways in entry["families"].items()
    }


def _entry(folder: Path, row: Row, seed: int) -> Path:
    return folder / "rows" / f"{row.slug}-{seed}.json"


def _cases(folder: Path, row: Row, seed: int) -> Path:
    return folder / "cases" / f"{row.slug}-{seed}.parquet"
