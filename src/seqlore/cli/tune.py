"""``seqlore tune``: the best settings of one model, by TPE on validation folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlore.cli._common import Json, ProtocolOption, SetOption, TiesOption, print_json, print_table
from seqlore.errors import ConfigError

if TYPE_CHECKING:
    from seqlore.experiment import Recipe


def tune(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Dataset folder, or RECIPE.toml.")],
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="For a dataset folder: see `seqlore models`.")
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="LABEL", help="For a recipe: the row to tune.")] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; default runs/tune-NAME-LABEL.")] = None,
    trials: Annotated[int, typer.Option(help="Trials in all, those of earlier calls included.")] = 1000,
    patience: Annotated[int, typer.Option(help="Trials without a better one after which the search ends.")] = 100,
    hours: Annotated[float | None, typer.Option(help="No trial begins later than so long from now.")] = None,
    starts: Annotated[int, typer.Option(help="Trials at random, before TPE.")] = 20,
    prune: Annotated[float, typer.Option(help="Share of trials, the lowest, that are ended after a fold.")] = 0.2,
    metric: Annotated[str, typer.Option(help="Maximised: its mean over the validation folds.")] = "ndcg@20",
    seed: Annotated[int, typer.Option(help="Of the search; a model's own is --set seed=1, or the recipe's.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that work on the study.")] = 1,
    space: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.toml", help="Ranges over the shipped ones. Repeatable.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="SETTING", help="Leave this setting as it is. Repeatable.")
    ] = None,
    changes: SetOption = None,
    protocol: ProtocolOption = "temporal-sessions",
    ties: TiesOption = "file",
    split_seed: Annotated[int, typer.Option(help="Of shuffled ties and of the sessions that stop a net.")] = 0,
    as_json: Json = False,
) -> None:
    """Find the settings of a model that do best on validation folds; the test part is never touched.

    For a dataset folder, --set fixes a setting of the model; for a recipe, it changes the recipe as in `seqlore run`.
    A search that was killed goes on where it was when it is started again with the same --out.

    Example: seqlore tune data/beauty SASRec --trials 100 --out runs/tune-sasrec
    """
    from seqlore.tuning import Search
    from seqlore.tuning import tune as search_for

    given = {"trials": trials, "patience": patience, "hours": hours, "starts": starts, "prune": prune}
    search = Search.parse({**given, "metric": metric, "seed": seed, "workers": workers}, "seqlore tune")
    kept = list(keep or [])
    if source.suffix == ".toml":
        if model is not None:
            raise ConfigError(f"{source} is a recipe: name its row with --only {model}")
        recipe: Any = source
    else:
        if model is None or only is not None:
            raise ConfigError("name a DATASET folder and a MODEL, or a RECIPE.toml and a row with --only LABEL")
        recipe, fixed = _recipe(source, model, changes or [], metric, (protocol, ties, split_seed))
        kept, changes = kept + fixed, None
    result = search_for(
        recipe, search, only=only, out=out, set=changes or (), space=space or (), keep=kept, progress=True
    )
    if as_json:
        print_json({"folder": str(result.folder), **result.summary})
    else:
        show(result.folder, result.summary)


def _recipe(
    dataset: Path, model: str, changes: list[str], metric: str, split: tuple[str, str, int]
) -> tuple[Recipe, list[str]]:
    """A recipe of one row, and the settings that ``--set`` fixes."""
    from seqlore.evaluation import parse_metric
    from seqlore.experiment import Recipe
    from seqlore.experiment.overrides import nested, parse_assignment
    from seqlore.recommender import model_class

    settings = nested(changes)
    row: dict[str, Any] = {"model": model_class(model).__name__}
    if "seed" in settings:
        row["seeds"] = [settings.pop("seed")]
    protocol, ties, seed = split
    recipe = {
        "name": dataset.resolve().name,
        "dataset": {"path": str(dataset)},
        "split": {"protocol": protocol, "ties": ties, "seed": seed},
        "evaluation": {"at": sorted({5, 10, 20, parse_metric(metric)[1]}), "metric": metric},
        "models": [{**row, "settings": settings}],
    }
    return Recipe.parse(recipe, "seqlore tune").checked(), [".".join(parse_assignment(each)[0]) for each in changes]


def show(folder: Path, told: dict[str, Any]) -> None:
    """What was found, out of how many trials, and where it is."""
    best, counts = told["best"], told["trials"]
    print_table(("setting", "best"), _flat(best["settings"]), numeric=("best",))
    folds = ", ".join(f"{value:.4f}" for value in best["folds"])
    typer.echo(
        f"\n{told['label']}: {told['metric']} {best['value']:.4f} on validation ({told['folds']} folds: {folds}), "
        f"trial {best['trial']}"
    )
    typer.echo(
        f"{sum(counts.values())} trials ({', '.join(f'{n} {name}' for name, n in counts.items())}), "
        f"{told['seconds']:.0f} s of fitting; search seed {told['seed']}, model seed {told['model_seed']}; "
        f"ended by: {told['ended_by']}"
    )
    typer.echo(f"what it is worth on the test part: seqlore run {folder / 'best.toml'}")


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows
