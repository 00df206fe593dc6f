"""``seqlore demo``: the whole way on a simulated shop, without network or keys."""

from __future__ import annotations

import json
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer

from seqlore.cli._common import Json, SetOption, print_json
from seqlore.cli.run import show_leaderboard


def demo(
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("demo"),
    changes: SetOption = None,
    as_json: Json = False,
) -> None:
    """Simulate a shop, embed its titles, train six recommenders, compare them, and recommend.

    Killed and started again, it goes on where it was.
    """
    from seqlore.experiment import run

    started = time.perf_counter()
    with as_file(files("seqlore.cli") / "demo.toml") as recipe:
        result = run(recipe, out=out, set=changes or (), progress=True)
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"folder": str(out), "seconds": seconds, "board": result.board})
    else:
        show_leaderboard(result.board)
        told = out / "examples.json"  # absent where there is no winner
        examples = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else []
        for example in examples[:2]:
            typer.echo(f"\nAfter {' → '.join(example['history'][-3:])}\n{example['model']} recommends")
            for rank, title in enumerate(example["recommendations"][:5], start=1):
                typer.echo(f"  {rank}. {title}{'   (taken next)' if title == example['target'] else ''}")
        typer.echo(f"\n{seconds:.0f} s. The report is {out / 'report.html'}.")
        if examples:
            typer.echo("Ask the best model yourself:")
            typer.echo(f"  seqlore recommend {out} --titles {json.dumps(example_title(examples[0]))}")
        else:
            typer.echo("There is no best model to ask, for none was fitted; the report says why.")
    if result.failed:
        raise typer.Exit(1)


def example_title(example: dict[str, Any]) -> str:
    """The first words of a title of this shop, as somebody might type them."""
    return " ".join(example["history"][-1].lower().split()[:3])
