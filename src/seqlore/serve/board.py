"""Leaderboards and figures of the run folders that are served, as the page shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from seqlore.client import wire
from seqlore.report.folder import RunFolder
from seqlore.report.part import Part
from seqlore.report.part import Plot as Figure
from seqlore.serve.refused import Refused

#: The report's colours, for a figure that stands alone; it follows the reader's light or dark.
COLOURS = """<style>
svg{--ink:#1b1c1f;--muted:#62676e;--plain:#98a0a9;--faint:#c2c7cd;--rule:#d8dbdf;--accent:#0a5fa6;--paper:#fdfdfc;
font-family:system-ui,sans-serif}
@media(prefers-color-scheme:dark){svg{--ink:#e7e7e4;--muted:#a0a5ab;--plain:#757c84;--faint:#4a4f55;--rule:#3a3e43;
--accent:#6bb3f0;--paper:#17181a}}
</style>"""


class Boards:
    """All run folders. Figures are drawn when the first reader asks."""

    def __init__(self, runs: Sequence[RunFolder], served: Mapping[Path, str]) -> None:
        """Args: served: model folder, resolved → the name under which it is served."""
        self._runs, self._served = list(runs), served

    @cached_property
    def _figures(self) -> list[list[Figure]]:
        return [[plot for ties in run.ties for plot in Part(run, ties).plots] for run in self._runs]

    def answer(self) -> wire.RunsAnswer:
        """Rows and figures of each run."""
        return wire.RunsAnswer(
            runs=[
                wire.Run(
                    name=run.board.name,
                    metric=run.metric,
                    protocol=str(run.board.about.get("protocol", "")),
                    rows=self._rows(run),
                    plots=[wire.Plot(title=figure.title, how=figure.how) for figure in figures],
                )
                for run, figures in zip(self._runs, self._figures, strict=True)
            ]
        )

    def _rows(self, run: RunFolder) -> list[wire.BoardRow]:
        rows = []
        for row in (row for ties in run.ties for row in run.rows(ties)):
            folders = [(run.path / r.model_folder).resolve() for r in row.runs if r.model_folder]
            rows.append(
                wire.BoardRow(
                    label=row.label,
                    model=row.model,
                    ties=row.ties,
                    seeds=len(row.seeds),
                    text=row.text,
                    metrics={
                        name: wire.BoardMetric(mean=metric.mean, interval=metric.interval)
                        for name, metric in row.metrics.items()
                        if "@" in name
                    },
                    published=row.published,
                    served=next((self._served[f] for f in folders if f in self._served), None),
                )
            )
        return rows

    def svg(self, run: int, plot: int) -> str:
        """A figure as a file of its own. Raises: Refused: 404."""
        if run >= len(self._runs) or plot >= len(self._figures[run]):
            raise Refused("there is no such figure", "plot", 404)
        svg = re.sub(r"^<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', str(self._figures[run][plot].svg).strip())
        return re.sub(r"(<svg[^>]*>)", lambda m: m[1] + COLOURS, svg, count=1)
