"""``seqlore run``: a recipe, carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqlore.cli._common import Json, SetOption, print_json, print_table


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="The experiment.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    changes: SetOption = None,
    only: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Work on these rows only.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Fit again what this run folder already holds.")] = False,
    as_json: Json = False,
) -> None:
    """Carry out a recipe: dataset, split, models, leaderboard, tests, report.

    A run that was killed goes on where it was when it is started again. Exit status 1: a row failed.

    Example: seqlore run recipes/beauty-leave-one-out.toml --set models.SASRec.settings.epochs=3
    """
    from seqlore.experiment import run as carry_out

    result = carry_out(recipe, out=out, set=changes or (), only=only or (), resume=not fresh, progress=True)
    if as_json:
        print_json(result.board)
    else:
        show_leaderboard(result.board)
        typer.echo(f"\n{result.folder / 'report.html'}")
    if result.failed:
        raise typer.Exit(1)


def show_leaderboard(board: dict) -> None:
    """One table a tie rule: the rows with the main metric of each cut-off."""
    from seqlore.experiment.winner import why_none_won

    keys = [f"{kind}@{k}" for k in board["at"] for kind in ("hr", "ndcg")] + [f"coverage@{board['at'][-1]}"]
    for ties in dict.fromkeys(row["ties"] for row in board["rows"]):
        typer.echo(f"\nties: {ties}")
        rows = []
        for row in board["rows"]:
            if row["ties"] == ties and row["error"] is None:
                values = [_cell(row["metrics"][key]) for key in keys]
                rows.append((row["label"], *values, f"{row['fit_seconds']:.1f}"))
        print_table(("model", *keys, "fit, s"), rows, numeric=(*keys, "fit, s"))
        for row in board["rows"]:
            if row["ties"] == ties and row["error"] is not None:
                typer.echo(f"{row['label']} failed: {row['error']}")
    if board["winner"]:
        typer.echo(f"\nbest on validation cases: {board['winner']['label']}")
    else:
        typer.echo(f"\nno winner: {why_none_won(board)}")


def _cell(metric: dict) -> str:
    spread = f" ± {metric['sd']:.4f}" if metric["sd"] is not None else ""
    return f"{metric['mean']:.4f}{spread}"
