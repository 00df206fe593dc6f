"""The command line: a verb a file, each a thin call of the Python API."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from seqlore.cli import (
    data,
    demo,
    doctor,
    embed,
    evaluate,
    explain,
    lore,
    models,
    recommend,
    report,
    rerank,
    run,
    serve,
    tasks,
    train,
    tune,
)
from seqlore.errors import SeqloreError

app = typer.Typer(
    name="seqlore",
    invoke_without_command=True,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.add_typer(data.app, name="data")
app.command()(embed.embed)
app.add_typer(lore.app, name="lore")
app.command()(run.run)
app.command()(report.report)
app.command()(rerank.rerank)
app.add_typer(tasks.app, name="tasks")
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(recommend.recommend)
app.command()(explain.explain)
app.command()(tune.tune)
app.command()(serve.serve)
app.command()(models.models)
app.command()(doctor.doctor)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    """Gives sequential recommenders what language models know."""
    if version:
        from seqlore.version import __version__

        typer.echo(__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point. An error that the user can mend is one line on stderr and exit status 2."""
    try:
        app(args=None if arguments is None else list(arguments))
    except SeqloreError as error:
        print(f"seqlore: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # a fault of ours, or of a library, wants its traceback
            raise
        print(f"seqlore: {error.filename}: {error.strerror}; name another path", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
