"""``seqlore train``: one model from a dataset folder, or a run's winner once more on everything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqlore.cli._common import Json, ProtocolOption, SetOption, TiesOption, folder_to_be, print_json, split_settings
from seqlore.errors import ConfigError


def train(
    dataset: Annotated[Path | None, typer.Argument(metavar="[DATASET]", help="Dataset folder.")] = None,
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="See `seqlore models`.")] = None,
    out: Annotated[Path, typer.Option(help="Model folder to write.")] = ...,  # type: ignore[assignment]
    changes: SetOption = None,
    protocol: ProtocolOption = "leave-one-out",
    ties: TiesOption = "file",
    split_seed: Annotated[int, typer.Option(help="Of shuffled ties; the model's own is --set seed=1.")] = 0,
    refit: Annotated[
        Path | None, typer.Option(metavar="RUN_FOLDER", help="Fit the winner of this run on all its data instead.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Where to write each epoch, one object a line.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep each epoch there: killed, the same command goes on from the last."),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Validate by lists that may repeat the history.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train one model on a dataset folder and save it; nets stop themselves on the validation cases.

    Example: seqlore train data/beauty SASRec --set embedding_size=128 --out models/sasrec

    With --refit RUN_FOLDER: the winner of a run, on all interactions, with as many epochs as validation found best.
    """
    from seqlore.data import Dataset
    from seqlore.experiment.alone import fit_alone
    from seqlore.experiment.overrides import nested
    from seqlore.experiment.screen import Screen
    from seqlore.experiment.winner import refit as refit_winner
    from seqlore.recommender import model_class

    for folder in filter(None, (out, checkpoint, log and log.parent)):
        folder_to_be(folder)
    if refit is not None:
        if dataset is not None:
            raise ConfigError("--refit takes dataset and model from the run folder: leave DATASET and MODEL out")
        if include_seen:
            raise ConfigError("--refit has no validation cases: leave --include-seen out")
        fitted = refit_winner(refit, out, set=changes or (), log=log, checkpoint=checkpoint, progress=not as_json)
    else:
        if dataset is None or model is None:
            raise ConfigError("name a DATASET folder and a MODEL, or --refit RUN_FOLDER")
        unfitted = model_class(model)(**nested(changes or ()))
        split = split_settings(protocol, ties, split_seed).make(Dataset.load(dataset), ties)
        with Screen(not as_json) as screen:
            screen.trials(1)
            screen.begin(model)
            fitted = fit_alone(
                unfitted,
                split,
                out,
                log=log,
                checkpoint=checkpoint,
                exclude_seen=not include_seen,
                progress=screen.epoch,
            )
    if as_json:
        print_json({"folder": str(out), "model": fitted.name, "about": fitted.about})
    else:
        typer.echo(f'{fitted.name} is in {out}; ask it with `seqlore recommend {out} --titles "…"`')
