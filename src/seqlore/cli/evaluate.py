"""``seqlore evaluate``: a saved model, judged on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqlore.cli._common import DatasetFolder, Json, print_json


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or run folder (its winner).")],
    dataset: DatasetFolder,
    at: Annotated[list[int] | None, typer.Option(help="Cut-off; may be given many times.")] = None,
    on: Annotated[Literal["test", "valid"], typer.Option(help="Which cases.")] = "test",
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Let lists repeat the history.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and per_case.parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a saved model on the split that it was fitted on, so that it was never told the answers."""
    from seqlore.data import Dataset
    from seqlore.errors import DataError
    from seqlore.evaluation import evaluate as judge
    from seqlore.experiment import SplitSettings, model_folder
    from seqlore.recommender import load

    fitted = load(model_folder(model))
    if "split" not in fitted.about:
        raise DataError(f"{model}: does not say which split it was fitted on; fit it again with `seqlore train`")
    settings = SplitSettings.of(fitted.about["split"])
    split = settings.make(Dataset.load(dataset), settings.ties[0])
    report = judge(fitted, split, on=on, at=at or (5, 10, 20), exclude_seen=not include_seen)
    if out is not None:
        report.save(out)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(str(report))
