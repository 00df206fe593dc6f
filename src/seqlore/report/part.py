"""The results under one tie rule: what the tables and figures of that part of the page show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from seqlore.evaluation.buckets import By, buckets
from seqlore.evaluation.report import Report
from seqlore.report import plots
from seqlore.report.board import Comparison
from seqlore.report.folder import RunFolder
from seqlore.report.plots import Buckets, Pair
from seqlore.report.wording import METRICS, metric_title, split_metric

TIE_TITLES = {"file": "Ties in the published order", "shuffled": "Ties shuffled"}
#: Models in figures with a panel each; the tables have them all.
MOST_PANELS = 12


@dataclass(frozen=True)
class Plot:
    """One figure with its title and the sentence that says how to read it."""

    svg: Markup
    title: str
    how: str


@dataclass(frozen=True)
class Board:
    """The columns of the leaderboard at one list length, and the best mean of each."""

    k: int
    keys: list[str]
    best: dict[str, float | None]
    tested: bool


class Part:
    """Everything that the page shows under one tie rule. ``alone``: the run has no other."""

    def __init__(self, run: RunFolder, ties: str, *, alone: bool = False) -> None:
        self.run, self.ties, self.main = run, ties, run.metric
        self.title = "Results" if alone else TIE_TITLES.get(ties, f"Ties: {ties}")
        self.rows, self.failed = run.rows(ties), run.failed(ties)
        self.comparisons = [c for c in run.board.comparisons if c.ties == ties]
        self.correction = next((c.correction for c in self.comparisons if c.correction), None)
        self.test = next((c.test for c in self.comparisons if c.test), None)
        self.baseline = run.baseline(ties)
        self.against = self._against()
        self.seeds = max((len(r.seeds) for r in self.rows), default=0)
        self.any_text = any(r.text for r in self.rows)
        self.sources = sorted({r.published_source or "as given in the recipe" for r in self.rows if r.published})
        self.any_tied = any(r.mean("tied_targets") is not None for r in self.rows)
        self.pairs = self._pairs()
        self.cases = 0
        self.boards = [self._board(k) for k in _shown(run.board.at, split_metric(run.metric)[1])]
        self.plots = [Plot(Markup(svg), title, how) for svg, title, how in self._plots()]

    def _against(self) -> dict[str, Comparison]:
        """Label → its test against the baseline in the main metric."""
        if self.baseline is None:
            return {}
        found = {r.label: self.run.comparison(r.label, self.baseline, self.ties, self.main) for r in self.rows}
        return {label: test for label, test in found.items() if test is not None}

    def _board(self, k: int) -> Board:
        there = {key for row in self.rows for key in row.metrics if split_metric(key)[1] == k}
        if all(r.mean(f"map@{k}") == r.mean(f"mrr@{k}") for r in self.rows):
            there -= {f"map@{k}"}  # with one target a case it is the same number; the definitions say so
        known = [f"{name}@{k}" for name in METRICS if f"{name}@{k}" in there]
        keys = known + sorted(there - set(known))
        best = {key: max((m for r in self.rows if (m := r.mean(key)) is not None), default=None) for key in keys}
        return Board(k, keys, best, bool(self.against) and split_metric(self.main)[1] == k)

    def _pairs(self) -> list[Pair]:
        """Each row with text, beside the most accurate row of the same net without it."""
        pairs = []
        for row in (r for r in self.rows if r.text and r.mean(self.main) is not None):
            net = row.model.removeprefix("LLM2")
            plain = [r for r in self.rows if r.model == net and not r.text and r.fit_on == row.fit_on]
            if plain and (base := plain[0].mean(self.main)):  # rows come best first
                test = self.run.comparison(row.label, plain[0].label, self.ties, self.main)
                pairs.append(Pair(row, plain[0], (row.mean(self.main) or 0.0) / base - 1, test and test.decisive_p))
        return pairs

    def _plots(self) -> list[tuple[str, str, str]]:
        """(svg, title, how to read it) of every figure for which there are results."""
        k, rows, main = split_metric(self.main)[1], self.rows, self.main
        made = []
        for key in list(dict.fromkeys((main, f"hr@{k}", f"ndcg@{k}")))[:2]:
            known = [r for r in rows if r.mean(key) is not None]
            if known:
                how = "Longer is better; the line across the end of a bar is the 95 % interval over cases."
                if any(key in r.published for r in known):
                    how += " A diamond is the published value."
                made.append((plots.bars(known, key), f"Accuracy: {metric_title(key)}", how))
        for across, what in (("coverage", "more of the catalogue is shown"), ("novelty", "rarer items are shown")):
            key = f"{across}@{k}"
            known = [r for r in rows if r.mean(key) is not None and r.mean(main) is not None]
            if len(known) > 1:
                how = f"Up is more accurate, right means that {what}; the best place is at the top right."
                how += " A label for which there is no room is left out." if len(known) > 16 else ""
                made.append((plots.scatter(known, key, main), f"Accuracy against {across}", how))
        made += self._bucket_plots() + self._curve_plots()
        if self.pairs:
            how = "Each line goes from a net without text (ring) to the same net with text (dot); right is better."
            made.append((plots.pairs(self.pairs, main), "What text adds", how))
        return made

    def _bucket_plots(self) -> list[tuple[str, str, str]]:
        kept = [(row, frames) for row in self.rows if (frames := self.run.cases(row))][:MOST_PANELS]
        if not kept:
            return []
        self.cases, seeds = len(kept[0][1][0]), len(kept[0][1])
        rows = [row for row, _ in kept]
        # The seeds one under another: the groups are the same, and the mean of a group is that over its seeds too.
        reports = [Report(row.label, {self.main: row.mean(self.main) or 0.0}, pl.concat(f)) for row, f in kept]
        made = []
        groupings: tuple[tuple[By, str, str], ...] = (
            ("popularity", "interactions of the target in training", "Popular and rare targets"),
            ("history", "length of the history", "Short and long histories"),
        )
        for by, along, title in groupings:
            groups = [buckets(report, by, metrics=[self.main]) for report in reports]
            names, counts = groups[0]["bucket"].to_list(), [cases // seeds for cases in groups[0]["cases"]]
            means = [dict(zip(group["bucket"], group[self.main], strict=True)) for group in groups]
            data = Buckets(names, counts, [[mean.get(name) for name in names] for mean in means])
            how = (
                f"At the top the number of cases by {along}; below, a panel a model: its {metric_title(self.main)} "
                "in each group as the strong line, those of all other models as pale ones."
            )
            if "cold" in names:
                how += " “cold”: the target never occurs in training."
            made.append((plots.buckets(rows, data, self.main, along), title, how + self._most()))
        return made

    def _curve_plots(self) -> list[tuple[str, str, str]]:
        found = [(row, lines) for row in self.rows if (lines := self.run.curves(row))]
        if not found:
            return []
        # One metric in one figure: the one that most rows were stopped by.
        metric = Counter(lines[0].metric for _, lines in found).most_common(1)[0][0]
        found = [(row, lines) for row, lines in found if lines[0].metric == metric][:MOST_PANELS]
        how = (
            f"{metric_title(metric)} on the validation cases after each epoch, a thin line a seed; the dot is the "
            "epoch whose weights were kept. Models that are not trained in epochs have no panel."
        )
        svg = plots.curves([row for row, _ in found], [lines for _, lines in found])
        return [(svg, "Learning curves", how + self._most())]

    def _most(self) -> str:
        return f" Only the {MOST_PANELS} most accurate models are shown." if len(self.rows) > MOST_PANELS else ""


def _shown(at: list[int], main: int | None) -> list[int]:
    """The list lengths that have a table: 10, 20 and that of the main metric, or else the two longest."""
    return [k for k in sorted(at) if k in (10, 20, main)] or sorted(at)[-2:]
