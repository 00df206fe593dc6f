"""``seqlore evaluate``: a saved model, judged on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqlore.cli._common import DatasetFolder, Json, folder_to_be, own_split, print_json


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or run folder (its winner).")],
    dataset: DatasetFolder,
    at: Annotated[list[int] | None, typer.Option(help="Cut-off; may be given many times.")] = None,
    on: Annotated[Literal["test", "valid"], typer.Option(help="Which cases.")] = "test",
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Let lists repeat the history.")] = False,
    other_dataset: Annotated[
        bool, typer.Option("--other-dataset", help="Judge it on interactions that it was not fitted on.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and per_case.parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a saved model on the split that it was fitted on, so that it was never told the answers.

    Of other interactions nobody can say whether it saw some of them: they are judged with --other-dataset only.
    """
    from seqlore.evaluation import evaluate as judge
    from seqlore.experiment import model_folder
    from seqlore.recommender import load

    if out is not None:
        folder_to_be(out)
    fitted = load(model_folder(model))
    split = own_split(fitted, dataset, accept=other_dataset, remedy="to judge it all the same, add --other-dataset")
    report = judge(fitted, split, on=on, at=at or (5, 10, 20), exclude_seen=not include_seen)
    if out is not None:
        report.save(out)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(str(report))
