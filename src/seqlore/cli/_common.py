"""What several verbs share: options, output, and the split that options describe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from seqlore.experiment.recipe import SplitSettings

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


def split_settings(protocol: str, ties: str, seed: int) -> SplitSettings:
    """The settings of a split from the options of a verb."""
    from seqlore.experiment.recipe import SplitSettings

    return SplitSettings.parse({"protocol": protocol, "ties": ties, "seed": seed}, "--protocol")
