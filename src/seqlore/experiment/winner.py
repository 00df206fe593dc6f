"""The winner of a run: found again, shown by examples, and fitted once more on everything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqlore.errors import DataError
from seqlore.experiment.alone import fit_alone
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import write_json
from seqlore.experiment.recipe import Recipe
from seqlore.experiment.screen import Screen
from seqlore.experiment.trial import Trial, chosen_on_validation
from seqlore.recommender import Recommender, load


def why_none_won(board: Mapping[str, Any]) -> str:
    """Of a leaderboard without winner. Only rows that ended under every tie rule and seed could have won."""
    rows = board["rows"]
    if {row["label"] for row in rows} == {row["label"] for row in rows if row["error"]}:
        return "every row failed, if only under one of its tie rules and seeds"
    return "the split has no validation cases"


def model_folder(folder: str | Path) -> Path:
    """A model folder as it is, or the winner's folder of a run folder.

    Raises: DataError: it is neither.
    """
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return folder
    if not (folder / "model.json").is_file():
        if (folder / "leaderboard.json").is_file():
            others = any((folder / "models").glob("*/config.json"))
            remedy = "name one of its models/" if others else "mend what failed and start `seqlore run` again"
            raise DataError(f"{folder}: this run has no winner ({why_none_won(_board(folder))}); {remedy}")
        raise DataError(
            f"{folder}: neither a model folder nor a run folder; make one with `seqlore train` or `seqlore run`"
        )
    try:
        name = json.loads((folder / "model.json").read_text(encoding="utf-8"))["folder"]
        chosen = folder / name
    except (ValueError, KeyError, TypeError) as error:  # no JSON, or it does not say what it should
        raise DataError(
            f"{folder / 'model.json'}: damaged, so it names no model; start `seqlore run` again, or name one of models/"
        ) from error
    if not chosen.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder / 'model.json'}: names {name!r}, which lies outside the run folder")
    return chosen


def _board(folder: Path) -> dict[str, Any]:
    path = folder / "leaderboard.json"
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
        return {name: board[name] for name in ("rows", "winner")}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged; start `seqlore run` again, which writes it anew") from error


def crown(winner: Trial | None, chosen: dict[str, Any] | None, folder: Path) -> None:
    """Write ``model.json``, which names the winner's folder, and ``examples.json``; remove those of an earlier winner.

    Args: winner, chosen: the trial, and ``winner`` of the leaderboard; None where there is none.
    """
    for name in ("model.json", "examples.json"):
        (folder / name).unlink(missing_ok=True)
    if winner is None or chosen is None:
        return
    write_json(folder / "examples.json", _examples(load(folder / chosen["model_folder"]), winner))
    write_json(folder / "model.json", {"folder": chosen["model_folder"]})


def refit_winner(winner: Trial, chosen: dict[str, Any], screen: Screen) -> None:
    """Fit the winner once more on everything, unless that was done, and let ``model.json`` and ``chosen`` name it."""
    name = f"models/{winner.stem}--everything"
    folder = winner.folder / name
    if not (folder / "config.json").is_file() or load(folder).about.get("refit_of") != winner.fitted:
        screen.begin(f"{chosen['label']} once more, on everything")
        settings = chosen_on_validation(load(winner.folder / chosen["model_folder"]))
        model, _, _ = winner.fit(winner.split.with_everything(), screen.epoch, "everything", **settings)
        model.about["refit_of"] = winner.fitted
        model.save(folder)
        winner.forget()
    chosen["refitted"] = name
    write_json(winner.folder / "model.json", {"folder": name})


def _examples(model: Recommender, trial: Trial, n: int = 6, k: int = 10) -> list[dict[str, Any]]:
    """What the winner lists for some test cases, as titles; drawn by a fixed seed, not chosen."""
    cases = trial.split.test
    assert cases is not None
    drawn = cases.take(np.sort(np.random.default_rng(0).choice(len(cases), min(n, len(cases)), replace=False)))
    shown = model.recommend(drawn.histories, k, exclude_seen=trial.evaluation.exclude_seen)
    titles = model.catalog.titles
    return [
        {
            "model": trial.entry.label,
            "history": [titles[i - 1] for i in history],
            "recommendations": recommended,
            "target": titles[target - 1],
        }
        for history, recommended, target in zip(drawn.histories, shown.titles, drawn.targets, strict=True)
    ]


def refit(
    run_folder: str | Path,
    out: str | Path,
    *,
    set: Iterable[str] = (),
    log: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> Recommender:
    """Fit the winner of a run once more, on all interactions, for as many epochs as validation found best; save it.

    Args: set: changes to the run's recipe, for example ``"dataset.path=FOLDER"`` where the data has moved. log,
        checkpoint: as of :func:`fit_alone`.

    Raises: DataError: no run folder, no winner, or its dataset is gone.
    """
    folder = Path(run_folder)
    if not (folder / "leaderboard.json").is_file():
        raise DataError(f"{folder}: no leaderboard.json there, so this is no run folder; make one with `seqlore run`")
    board = _board(folder)
    chosen = board["winner"]
    if not chosen:
        why = why_none_won(board)
        raise DataError(f"{folder}: this run has no winner to refit ({why}); fit a model with `seqlore train`")
    recipe = Recipe.load(folder / "recipe.toml", set)
    entry = next(e for e in recipe.models if e.label == chosen["label"])
    split = recipe.split.make(open_dataset(recipe.dataset), chosen["ties"]).with_everything()
    with Screen(progress) as screen:
        screen.trials(1)
        screen.begin(f"{entry.label}, on everything")
        earlier = load(folder / chosen["model_folder"])
        again = entry.build(chosen["seed"], **chosen_on_validation(earlier))
        return fit_alone(again, split, out, log=log, checkpoint=checkpoint, progress=screen.epoch)
