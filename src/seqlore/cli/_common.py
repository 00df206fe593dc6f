"""What several verbs share: options, output, and the split that options describe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seqlore.errors import ConfigError

if TYPE_CHECKING:
    from seqlore.data import Split
    from seqlore.experiment.recipe import SplitSettings
    from seqlore.recommender import Recommender

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DatasetFolder = Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset folder (see `seqlore data`).")]
Protocol = Literal["leave-one-out", "temporal-sessions", "ratio"]
ProtocolOption = Annotated[Protocol, typer.Option(help="How the data is split.")]
TiesOption = Annotated[
    Literal["file", "shuffled"],
    typer.Option(help="Order of events that share a time: the file's, or by chance."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given many times.")
]


def print_json(value: Any) -> None:
    """JSON on stdout, floats as they are, text readable."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], numeric: Iterable[str] = ()) -> None:
    """A table on stdout; ``numeric`` columns stand at the right."""
    right = set(numeric)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.4f}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
    console = Console()
    console.width = console.width if console.is_terminal else 200  # a file or a pipe has no edge
    console.print(table)


def folder_to_be(folder: Path) -> None:
    """Look, before hours are spent, whether something can be written there later.

    Raises: ConfigError: a file stands in the way, or the folder may not be written to.
    """
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ConfigError(f"{folder}: {there} is a file, so no folder can be there; name another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: nothing can be written to {there}; name another folder")


def split_settings(protocol: str, ties: str, seed: int) -> SplitSettings:
    """The settings of a split from the options of a verb."""
    from seqlore.experiment.recipe import SplitSettings

    return SplitSettings.parse({"protocol": protocol, "ties": ties, "seed": seed}, "--protocol")


def own_split(model: Recommender, folder: Path, *, remedy: str, accept: bool = False) -> Split:
    """The split that ``model`` was fitted on, of the dataset in ``folder``.

    Args: remedy: ends the sentence about another dataset. accept: take that all the same.

    Raises: DataError: the model does not say which split it was, or the dataset is another, or has other items.
    """
    from seqlore.data import Dataset
    from seqlore.errors import DataError
    from seqlore.experiment.recipe import SplitSettings

    about = model.about
    if "split" not in about:
        raise DataError(f"{model.name} does not say which split it was fitted on; fit it again with `seqlore train`")
    settings, data = SplitSettings.of(about["split"]), Dataset.load(folder)
    same = about.get("dataset_hash") == data.hash or about.get("events_hash") == data.events_hash
    items = set(data.items["item_id"])
    if not same and items != set(model.catalog.ids):
        raise DataError(
            f"{folder}: {model.name} knows {len(model.catalog):,} items and this dataset has {len(items):,}; it was "
            "fitted on another, or on this one filtered, as its run's recipe.toml says: import it with these filters"
        )
    if not same and not accept:
        raise DataError(
            f"{folder}: {model.name} was fitted on another dataset ({about.get('dataset')}, "
            f"{about.get('dataset_hash')}) than this ({data.name}, {data.hash}) and may have seen some of its answers; "
            f"{remedy}"
        )
    return settings.make(data, settings.ties[0])
