"""A run folder, read and checked: ``leaderboard.json``, ``cases/*.parquet``, ``logs/*.jsonl``, ``examples.json``.

What is absent is noted and left out of the report; what is damaged is an error that names the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from seqlore.errors import DataError
from seqlore.evaluation.report import ACCURACY
from seqlore.report.board import Comparison, Leaderboard, Row, finite

TIE_ORDER = ("file", "shuffled")


@dataclass(frozen=True)
class Curve:
    """A validation metric by epoch, of one seed."""

    seed: int
    metric: str
    epochs: list[int]
    values: list[float]
    best_epoch: int | None


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A run folder. ``notes`` gathers, while the files are read, what was not there."""

    path: Path
    board: Leaderboard
    notes: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric by which rows are ordered: the one that the run tested, else NDCG at 10 or at the longest list."""
        tested = self.board.comparisons[0].metric if self.board.comparisons else ""
        if tested.partition("@")[0] in ACCURACY:
            return tested
        return f"ndcg@{10 if 10 in self.board.at else max(self.board.at, default=10)}"

    @property
    def ties(self) -> list[str]:
        """The tie rules of this run, the published order first."""
        there = {row.ties for row in self.board.rows}
        return [t for t in TIE_ORDER if t in there] + sorted(there - set(TIE_ORDER))

    def rows(self, ties: str) -> list[Row]:
        """The rows that have results, if only of some seeds; best first."""
        there = [r for r in self.board.rows if r.ties == ties and r.metrics]
        return sorted(there, key=lambda r: (-(r.mean(self.metric) or -1.0), r.label))

    def failed(self, ties: str) -> list[Row]:
        """The rows that have none."""
        return [r for r in self.board.rows if r.ties == ties and not r.metrics]

    def baseline(self, ties: str) -> str | None:
        """The row that the others are compared with: the most frequent ``b`` of the comparisons."""
        against = [c.b for c in self.board.comparisons if c.ties == ties]
        return max(sorted(set(against)), key=against.count) if against else None

    def comparison(self, a: str, b: str, ties: str, metric: str) -> Comparison | None:
        """a against b, turned round where the run tested b against a."""
        for c in self.board.comparisons:
            if c.ties == ties and c.metric == metric:
                if (c.a, c.b) == (a, b):
                    return c
                if (c.a, c.b) == (b, a):
                    flip = None if c.ci is None else tuple(None if x is None else -x for x in reversed(c.ci))
                    turned = None if c.difference is None else -c.difference
                    return c.model_copy(update={"a": a, "b": b, "difference": turned, "ci": flip})
        return None

    def cases(self, row: Row) -> list[pl.DataFrame]:
        """Per-case results of a row (``rank``, ``history_length``, ``target_count``), one frame a seed, as far as kept.

        Raises: DataError: a file is damaged or lacks a column.
        """
        frames = []
        for run in row.runs:
            path = self._inside(run.cases, "in the results by group")
            if path is None:
                continue
            try:
                frames.append(pl.read_parquet(path, columns=["rank", "history_length", "target_count"]))
            except (pl.exceptions.PolarsError, OSError) as error:
                what = str(error).splitlines()[0]
                raise DataError(f"{path}: not a readable file of per-case results ({what}); run again") from error
        return frames

    def curves(self, row: Row) -> list[Curve]:
        """The learning curves of a row, one a seed; none for models that train in one step.

        Raises: DataError: a line of a log is damaged (the last one may be cut short by a kill).
        """
        curves = []
        for run in row.runs:
            path = self._inside(run.log, "in the learning curves")
            if path is None:
                continue
            steps = [s for s in _json_lines(path) if s.get("valid")]
            if not steps:
                continue
            metric = self.metric if self.metric in steps[0]["valid"] else next(iter(steps[0]["valid"]))
            known = [s for s in steps if finite(s["valid"].get(metric)) is not None]
            epochs, values = [int(s["epoch"]) for s in known], [float(s["valid"][metric]) for s in known]
            curves.append(Curve(run.seed, metric, epochs, values, run.best_epoch))
        return curves

    def examples(self) -> list[dict[str, Any]]:
        """``examples.json``, or nothing. Raises: DataError: it is damaged."""
        path = self.path / "examples.json"
        if not path.is_file():
            return []
        examples = _json(path)
        if not isinstance(examples, list) or not all(isinstance(e, dict) for e in examples):
            raise DataError(f"{path}: holds no list of examples; delete it, or write the run again")
        return examples

    def recipe(self) -> str:
        """``recipe.toml`` as it was run, or nothing."""
        path = self.path / "recipe.toml"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def _inside(self, name: str | None, where: str) -> Path | None:
        """The path of a file that the leaderboard names, if it is there and inside the folder."""
        if name is None:
            return None
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise DataError(f"{self.path / 'leaderboard.json'}: names {name!r}, which lies outside the run folder")
        if path.is_file():
            return path
        note = f"{name} is not in the run folder, so that run is missing {where}."
        if note not in self.notes:
            self.notes.append(note)
        return None


def read_run(folder: str | Path) -> RunFolder:
    """Read a run folder.

    Raises: DataError: there is no ``leaderboard.json``, or it is damaged.
    """
    folder = Path(folder)
    path = folder / "leaderboard.json"
    if not path.is_file():
        raise DataError(f"{folder}: no leaderboard.json there, so this is no run folder; make one with `seqlore run`")
    try:
        return RunFolder(folder, Leaderboard.model_validate(_json(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}; run the recipe again") from error


def read_runs(folders: Sequence[str | Path]) -> list[RunFolder]:
    """Read several run folders. Raises: DataError: see :func:`read_run`; also where none is given."""
    if not folders:
        raise DataError("no run folder given: name at least one, as `seqlore run` wrote it")
    return [read_run(f) for f in folders]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); run the recipe again") from error


def _json_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
            rows.append({"epoch": i + 1, **row})
        except (ValueError, TypeError) as error:
            if i < len(lines) - 1:
                raise DataError(f"{path}: line {i + 1} is not a JSON object ({error}); run that row again") from error
    return rows
