"""What a run shows on stderr while it works: one bar for the trials, and what the current one is doing."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Screen:
    """Silent unless ``on``. Where stderr is no terminal, finished steps are lines and there is no bar."""

    def __init__(self, on: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True, quiet=not on, highlight=False),
            transient=True,
            disable=not on,
        )
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def trials(self, total: int) -> None:
        """Open the bar."""
        self._task = self._progress.add_task("", total=total)

    def begin(self, what: str) -> None:
        """Name the step that begins."""
        self._what = what
        self._describe(what)

    def epoch(self, row: dict[str, Any]) -> None:
        """Show an epoch of the current net; ``row`` is as :func:`seqlore.training.train` reports it."""
        valid = "".join(f" · {name} {value:.4f}" for name, value in row.get("valid", {}).items() if "ndcg" in name)
        stage = f" · {row['stage']}" if "stage" in row else ""
        self._describe(f"{self._what}{stage} · epoch {row['epoch']} · loss {row['train_loss']:.3f}{valid}")

    def items(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` texts of the current step are embedded."""
        self._describe(f"{self._what} · {done:,} of {total:,}")

    def end(self, what: str) -> None:
        """Close a trial with a line that stays."""
        self.say(what)
        if self._task is not None:
            self._progress.advance(self._task)

    def say(self, what: str) -> None:
        """A line that stays."""
        self._progress.console.print(escape(what), soft_wrap=True)

    def _describe(self, what: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=escape(what))
