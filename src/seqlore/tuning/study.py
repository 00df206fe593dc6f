"""``tune``: a row of a recipe → trials on validation folds → the best settings; may be killed and started again.

A study folder holds ``study.db`` (SQLite, written through Optuna: numbers and JSON), ``study.json`` (what is searched
on what), ``log.jsonl`` and what :mod:`seqlore.tuning.results` writes. A trial that a kill cut short is done anew with
the same settings, its finished folds excepted; with one worker the trials are those of a search that nobody killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from seqlore.config import nearest, plain
from seqlore.data import Dataset
from seqlore.errors import ConfigError, MissingExtraError
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import Journal, write_json
from seqlore.experiment.recipe import Recipe
from seqlore.experiment.screen import Screen
from seqlore.tuning.objective import validation_folds
from seqlore.tuning.settings import Search
from seqlore.tuning.space import Space, known_setting, space_for
from seqlore.version import __version__


@dataclass(frozen=True, eq=False)
class TuneResult:
    """A study folder, as a search left it.

    Attributes: folder: where everything is. summary: ``summary.json`` as a dict.
    """

    folder: Path
    summary: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The best settings, of those that were searched."""
        return self.summary["best"]["settings"]

    @property
    def value(self) -> float:
        """The metric of the best trial, averaged over the folds."""
        return self.summary["best"]["value"]

    @property
    def trials(self) -> pl.DataFrame:
        """One line a trial, as in ``trials.csv``."""
        return pl.read_parquet(self.folder / "trials.parquet")


def tune(
    recipe: Recipe | str | Path,
    search: Search | None = None,
    *,
    only: str | None = None,
    out: str | Path | None = None,
    set: Iterable[str] = (),
    space: Sequence[str | Path] = (),
    keep: Collection[str] = (),
    progress: bool = False,
) -> TuneResult:
    """Search the settings of one row of a recipe, on the validation folds of its (first) split.

    Args:
        recipe: a recipe, or the path of a TOML file.
        search: how the search goes, and when it ends.
        only: label of the row; may be left out where there is one row.
        out: the study folder; default ``runs/tune-NAME-LABEL``. One that is there goes on.
        set: changes of the recipe, such as ``"split.ties=shuffled"``.
        space: TOML files that extend the shipped search spaces.
        keep: settings that are not searched.
        progress: show on stderr what is being done.

    Raises: ConfigError: recipe, row or space is wrong; the folder holds another study; or the first trials all failed.
        DataError: there are no validation cases. MissingExtraError: Optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise MissingExtraError("tuning needs optuna: pip install 'seqlore[tune]'")
    from seqlore.tuning.worker import Job, carry_out

    search = search or Search.parse({}, "search")
    recipe = recipe.changed(set).checked() if isinstance(recipe, Recipe) else Recipe.load(recipe, set)
    recipe = one_row(recipe, only)
    entry = recipe.models[0]
    for name in {*keep} - {"seed"}:  # a model's seed is not searched, whether it has one or not
        known_setting(type(entry.config), name, f"keep {name}")
    searched = space_for(entry.model, *space, base=entry.settings).without(keep)
    if not searched.parameters:
        raise ConfigError(f"every setting of {entry.model} that has a range is fixed, so there is nothing to tune")
    folder = Path(out) if out is not None else Path("runs") / f"tune-{recipe.name}-{entry.slug}"
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder), Screen(progress) as screen:
        dataset = open_dataset(recipe.dataset)
        folds = validation_folds(recipe.split.make(dataset, recipe.split.ties[0]))
        _same_study(folder, _identity(recipe, dataset, searched, search))
        Journal(folder).write("search", **search.model_dump(), space=searched.to_dict())
        deadline = None if search.hours is None else time.time() + 3600 * search.hours
        return TuneResult(folder, carry_out(Job(folder, recipe, searched, search, deadline), folds, screen))


def one_row(recipe: Recipe, only: str | None) -> Recipe:
    """The recipe with the row ``only`` alone, and no comparisons. Raises: ConfigError: no such row, or which?"""
    labels = [entry.label for entry in recipe.models]
    if only is None and len(labels) > 1:
        raise ConfigError(f"recipe {recipe.name!r} has {len(labels)} rows: name the one to tune with --only LABEL")
    if only is not None and only not in labels:
        raise ConfigError(f"recipe {recipe.name!r} has no row {only!r}{nearest(only, labels)}")
    whole = plain(recipe, None)
    whole["models"] = [row for row in whole["models"] if only in (None, row["label"])]
    whole["evaluation"].pop("baseline", None)
    return Recipe.parse(whole, recipe.name)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the study folder. Raises: ConfigError: another search holds it. A killed one lets go by itself."""
    lock = FileLock(folder / "study.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"{folder}: another search works on this study; wait for it, or name another --out") from None
    try:
        yield
    finally:
        lock.release()


def _identity(recipe: Recipe, dataset: Dataset, space: Space, search: Search) -> dict[str, Any]:
    """Everything on which the trials of a study depend."""
    entry = recipe.models[0]
    return {
        "seqlore": __version__,
        "dataset": dataset.hash,
        "split": recipe.split.model_dump(mode="json", exclude_none=True) | {"ties": recipe.split.ties[0]},
        "evaluation": recipe.evaluation.model_dump(mode="json", include={"exclude_seen", "candidates"}),
        "model": entry.model,
        "settings": {k: v for k, v in entry.config.model_dump(mode="json").items() if k != "seed"},
        "model seed": recipe.seeds_of(entry)[0],
        "space": space.to_dict(),
        "search": search.model_dump(mode="json", include={"metric", "seed", "starts", "prune"}),
    }


def _same_study(folder: Path, identity: dict[str, Any]) -> None:
    """Note what the study is, or see that it is what it was. Raises: ConfigError: it is another."""
    path = folder / "study.json"
    if not path.is_file() or not (folder / "study.db").is_file():  # no trial was begun yet
        write_json(path, identity)
        return
    try:
        earlier = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: damaged ({error}); restore it from a copy, or name another --out") from error
    differing = [name for name in identity if json.loads(json.dumps(identity[name])) != earlier.get(name)]
    if differing:
        raise ConfigError(
            f"{folder}: this study was begun with another {' and '.join(differing)}; go on with what it was begun with "
            f"({path}), or name another --out"
        )
