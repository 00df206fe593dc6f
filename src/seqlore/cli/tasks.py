"""``seqlore tasks``: the five families of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqlore.cli._common import Json, SetOption, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Rating, sequential, explanation, review and direct tasks on one split.")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="The experiment.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    changes: SetOption = None,
    only: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Carry out these rows only.")] = None,
    as_json: Json = False,
) -> None:
    """Carry out a task recipe: one split, rows of models, figures by family and way of asking.

    Rows that the run folder has already are not carried out again. Exit status 1: a row failed.

    Example: seqlore tasks run recipes/papers/recsysllm-rating.toml --set models.MF.settings.size=64
    """
    from seqlore.tasks.run import run_tasks, table

    result = run_tasks(recipe, out=out, set=changes or (), only=only or (), say=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(result)
    else:
        for (family, way), part in table(result).group_by(["family", "way"], maintain_order=True):
            typer.echo(f"\n{family}{f', {way}' if way else ''}")
            rows = [
                (line["label"], line["metric"], _cell(line["value"], line["sd"]), _cell(line["published"], None))
                for line in part.iter_rows(named=True)
            ]
            print_table(("model", "metric", "here", "published"), rows, numeric=("here", "published"))
        if result["tests"]:
            typer.echo("\npaired permutation tests, corrected by Holm")
        for each in result["tests"]:
            asked = f"{each['family']} {each['way']}".strip()
            typer.echo(
                f"{each['label']}, {asked}, against {each['baseline']}: {each['metric']} {each['difference']:+.4f} "
                f"[{each['interval'][0]:+.4f}, {each['interval'][1]:+.4f}], p = {each['p_holm']:.2g}"
            )
        for row in result["rows"]:
            if "error" in row:
                typer.echo(f"{row['label']} failed: {row['error']}")
        for row in result["published"]:
            if row["note"]:
                typer.echo(f"{row['label']}: {row['note']}")
    if any("error" in row for row in result["rows"]):
        raise typer.Exit(1)


def _cell(value: float | None, spread: float | None) -> str:
    return "" if value is None else f"{value:.4f}{'' if spread is None else f' ± {spread:.4f}'}"
