"""``seqlore lore pretrain``: a small language model of the data's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from seqlore.cli._common import (
    Json,
    ProtocolOption,
    SetOption,
    TiesOption,
    print_json,
    print_table,
    split_settings,
)
from seqlore.errors import ConfigError


def pretrain(
    datasets: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Dataset folders, mixed.")],
    out: Annotated[Path, typer.Option(help="Folder of the model to write.")],
    preset: Annotated[str, typer.Option(help="tiny, small or base: about 1, 5 or 30 million parameters.")] = "tiny",
    minutes: Annotated[
        float | None, typer.Option(help="Train about so long on this machine; default: by the preset.")
    ] = None,
    sequences: Annotated[
        bool, typer.Option("--sequences", help="Also read the training sequences, as lists of titles.")
    ] = False,
    weight: Annotated[
        list[float] | None, typer.Option(help="How often a dataset's texts are read; one a dataset, in their order.")
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.parquet", help="Also read labels, which a body of ReLRec will be asked for; may be repeated."
        ),
    ] = None,
    changes: SetOption = None,
    protocol: ProtocolOption = "leave-one-out",
    ties: TiesOption = "file",
    split_seed: Annotated[int, typer.Option(help="Of the split; the training's own is --set seed=1.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a tokenizer and a small language model from scratch on the texts of datasets, in minutes.

    It reads item texts, and reviews of the split's training part only; labels are those that `seqlore lore make` wrote
    for one of the datasets and this split, or texts of another dataset. What was done stays when the command is
    stopped; run it again and it goes on.

    Example: seqlore lore pretrain data/music --preset small --minutes 10 --out models/music-lm
    """
    from seqlore.data import Dataset
    from seqlore.experiment.overrides import nested
    from seqlore.language.label_corpus import read_label_corpus
    from seqlore.lore.corpus import read_split
    from seqlore.lore.pretrain import PretrainConfig
    from seqlore.lore.pretrain import pretrain as run

    if weight and len(weight) != len(datasets):
        raise ConfigError(f"--weight is given {len(weight)} times for {len(datasets)} datasets: give one a dataset")
    settings: dict[str, Any] = {"preset": preset, "minutes": minutes, **nested(changes or ())}
    if sequences:
        settings["corpus"] = {**settings.get("corpus", {}), "sequences": True}
    config = PretrainConfig.parse(settings, "seqlore lore pretrain")
    chosen = split_settings(protocol, ties, split_seed)
    splits = [chosen.make(Dataset.load(folder), ties) for folder in datasets]
    corpora = []
    for split, share in zip(splits, weight or [1.0] * len(datasets), strict=True):
        corpora += read_split(split, config.corpus, share)
    corpora += [read_label_corpus(file, splits) for file in labels or ()]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=as_json
    ) as bar:
        task = bar.add_task("pretraining", total=config.rounds)

        def show(row: dict[str, Any]) -> None:
            loss, held_out = row["train_loss"], -row["valid"]["log_likelihood"]
            bar.update(task, completed=row["epoch"], description=f"loss {loss:.3f}, held out {held_out:.3f}")

        report = run(corpora, out, config, progress=show)
    if as_json:
        print_json(report.to_dict())
        return
    columns_ = ("held-out", "documents", "perplexity a token", "unigram", "a byte", "unigram a byte")
    rows = [
        (p.corpus, p.documents, p.token, p.unigram_token, p.byte, p.unigram_byte) for p in report.perplexity
    ]  # fmt: skip
    print_table(columns_, rows, columns_[1:])
    typer.echo(
        f"{report.parameters:,} parameters, {report.trained_tokens:,} tokens in {math.ceil(report.seconds)} s: {out}"
    )
