"""``seqlore rerank``: a reranking recipe, carried out pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from seqlore.cli._common import Json, SetOption, print_json, print_table


def rerank(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="The experiment.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    changes: SetOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Work on this backbone, augmentation, pair or recommender only, and on the base it starts from.",
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Fit again what this run folder already holds (with --only: of what it names)."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Carry out a reranking recipe: every backbone with every augmentation, on the same candidates.

    A run that was killed goes on where it was when it is started again. Exit status 1: a pair failed.

    Example: seqlore rerank recipes/papers/ur4rec-ml1m.toml --only PRM
    """
    from seqlore.experiment.reranking import run_pairs

    results = run_pairs(recipe, out=out, set=changes or (), only=only or (), resume=not fresh, progress=True)
    if as_json:
        print_json(results)
    else:
        show(results)
    if results["errors"]:
        raise typer.Exit(1)


def show(results: dict[str, Any]) -> None:
    """Ours with the published figures beside it, and the comparisons."""
    typer.echo(f"{results['cases']:,} cases; {results['candidates']}; {results['protocol']}")
    metrics = list(results["popularity"])
    rows = [("popularity", "", *(f"{v:.3f}" for v in results["popularity"].values()), "")]
    for row in results["rows"]:
        cells = [_cell(row, m) for m in metrics]
        pace = "" if row["epoch_times_base"] is None else f"{row['epoch_times_base']:.1f}"
        rows.append((row["backbone"], row["augmentation"], *cells, pace))
    for row in results["recommenders"]:
        rows.append((row["label"], "", *(_cell(row, m) for m in metrics), ""))
    print_table(("backbone", "augmentation", *metrics, "epoch / base"), rows, numeric=(*metrics, "epoch / base"))
    for c in results["comparisons"]:
        typer.echo(
            f"{c['backbone']}: {c['a']} − {c['b']}: {c['metric']} {c['difference']:+.4f} "
            f"[{c['ci'][0]:+.4f}, {c['ci'][1]:+.4f}], p = {c['p_holm']:.2g} ({c['users']:,} users, {_seeds(c)}Holm)"
        )
    for name, error in results["errors"].items():
        typer.echo(f"{name} failed: {error}")


def _cell(row: dict[str, Any], metric: str) -> str:
    """Ours, with standard deviation and number of seeds where there are several, and in brackets what is published."""
    several = f" ± {row['sd'][metric]:.3f} (n={len(row['seeds'])})" if row["sd"] else ""
    published = row["published"].get(metric)
    return f"{row['metrics'][metric]:.3f}{several}" + ("" if published is None else f" ({published:.3f})")


def _seeds(comparison: dict[str, Any]) -> str:
    n = len(comparison["seeds"])
    return f"{n} seeds, " if n > 1 else ""
