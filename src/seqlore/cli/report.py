"""``seqlore report``: run folders as one table, ours beside the published values, with tests and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqlore.errors import ConfigError


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN_FOLDER…", help="Folders that `seqlore run` wrote.")],
    format: Annotated[Literal["markdown", "csv", "html"], typer.Option(help="csv: plain numbers.")] = "markdown",
    metric: Annotated[
        list[str] | None, typer.Option(metavar="METRIC", help="Such as ndcg@10. Repeatable; default: NDCG and HR.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Write each run's report.html once more, too.")] = False,
) -> None:
    """One table of one or several runs: means ± s.d. over seeds, published values and differences, tests, cost.

    Example: seqlore report runs/chu2023-beauty-baselines --metric hr@10 --metric ndcg@10
    """
    from seqlore.report import table, write_report

    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file in it")
    text = table(folders, format, metric)
    for folder in folders if page else ():
        typer.echo(write_report(folder), err=True)
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
