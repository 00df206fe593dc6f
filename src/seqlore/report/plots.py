"""The report's figures, each a function from results to an ``<svg>`` element (see ``drawing``).

One colour has a meaning: the accent marks rows that use a language model's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform

from seqlore.report.board import Row
from seqlore.report.drawing import ACCENT, FAINT, INK, MUTED, PAPER, PLAIN, Drawing, drawing
from seqlore.report.folder import Curve
from seqlore.report.labels import place
from seqlore.report.wording import metric_title, number, p_value, percent

MOST_POINTS = 120  # of one learning curve; more cannot be told apart at this width
PANEL = 74.0  # points, height of one small panel with its title


@dataclass(frozen=True)
class Pair:
    """A row with text beside a row of the same net without it.

    ``gain``: the relative change, 0.1 = 10 % more. ``p``: of the paired test, where there was one.
    """

    text: Row
    base: Row
    gain: float
    p: float | None = None


def bars(rows: Sequence[Row], metric: str) -> str:
    """Accuracy with 95 % intervals, best at the top; a diamond where a value was published."""
    with drawing(24 * len(rows) + 30, f"{metric_title(metric)} of each model, with 95 % intervals") as draw:
        axes = draw.rows(len(rows), right=44)
        for y, row in enumerate(rows):
            draw.row_label(axes, y, row.label)
            if (value := row.mean(metric)) is None:
                continue
            axes.barh(y, value, height=0.56, color=ACCENT if row.text else PLAIN)
            if interval := row.metrics[metric].interval:
                axes.plot(interval, [y, y], color=PAPER, linewidth=3.2, solid_capstyle="butt")  # sets it off the bar
                axes.plot(interval, [y, y], color=INK, marker="|", markersize=5, linewidth=1.1)
            if (published := row.published.get(metric)) is not None:
                axes.plot(published, y, **_marker(PAPER, INK, shape="D", size=4.5))
            draw.row_value(axes, y, number(value, metric))
        axes.set_xlim(left=0)
    return draw.svg


def scatter(rows: Sequence[Row], across: str, metric: str) -> str:
    """Accuracy (up) against another metric (right), every point labelled as far as there is room."""
    with drawing(290, f"{metric_title(metric)} against {metric_title(across)}") as draw:
        axes = draw.axes(left=46, right=8, bottom=34, top=8)
        axes.grid()
        axes.set(xlabel=metric_title(across), ylabel=metric_title(metric))
        x, y = [np.array([r.mean(key) for r in rows], float) for key in (across, metric)]
        for row, *at in zip(rows, x, y, strict=True):
            axes.plot(*at, **(_marker(ACCENT, ACCENT) if row.text else _marker(PAPER, INK)))
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # settled, so that places can be taken from it
        # From here on in pixels of the canvas, of which there is one to a point.
        points = [(float(px), float(py)) for px, py in axes.transData.transform(np.column_stack([x, y]))]
        texts = [draw.fit(row.label, 26)[0] for row in rows]
        sizes = [draw.measure(text, 8.0) for text in texts]
        frame = axes.get_window_extent()
        boxes = place(points, sizes, (frame.x0 + 2, frame.y0 + 2, frame.x1 + 6, frame.y1 + 6))
        for text, point, box in zip(texts, points, boxes, strict=True):
            if box is None:
                continue
            near = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
            if np.hypot(near[0] - point[0], near[1] - point[1]) > 10:
                ends = zip(point, near, strict=True)
                axes.plot(*ends, color=MUTED, linewidth=0.6, transform=IdentityTransform(), clip_on=False, zorder=1)
            middle = (box[1] + box[3]) / 2
            axes.text(box[0], middle, text, fontsize=8, va="center_baseline", transform=IdentityTransform())
    return draw.svg


def curves(rows: Sequence[Row], lines: Sequence[Sequence[Curve]]) -> str:
    """A panel a model: the validation metric by epoch, a thin line a seed, a dot at the epoch that was kept."""
    metric = lines[0][0].metric
    last = max(max(c.epochs) for seeds in lines for c in seeds)
    best = max(max(c.values) for seeds in lines for c in seeds)
    with drawing(_panels_height(len(rows)) + 20, f"Validation {metric_title(metric)} by epoch") as draw:
        for axes, row, seeds in zip(draw.panels(len(rows), PANEL, top=0), rows, lines, strict=True):
            colour = ACCENT if row.text else INK
            for curve in seeds:
                keep = np.unique(np.linspace(0, len(curve.epochs) - 1, MOST_POINTS).round().astype(int))
                axes.plot(np.array(curve.epochs)[keep], np.array(curve.values)[keep], color=colour, linewidth=0.8)
                if curve.best_epoch in curve.epochs:
                    kept = curve.values[curve.epochs.index(curve.best_epoch)]
                    axes.plot(curve.best_epoch, kept, **_marker(colour, colour, size=3.5))
            draw.title(axes, row.label)
            axes.set(ylim=(0, best * 1.08 or 1), xlim=(0, last * 1.03))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        draw.below("epoch")
    return draw.svg


@dataclass(frozen=True)
class Buckets:
    """A metric by bucket. ``values``: for each row one a bucket, None where the bucket is empty."""

    names: Sequence[str]
    counts: Sequence[int]
    values: Sequence[Sequence[float | None]]


def buckets(rows: Sequence[Row], data: Buckets, metric: str, along: str) -> str:
    """How many cases there are in each bucket, then a panel a model: its line, the others' pale behind it."""
    x = np.arange(len(data.names))
    values = np.array([[np.nan if v is None else v for v in line] for line in data.values], float)
    best = float(np.nanmax(values, initial=0.0))
    with drawing(_panels_height(len(rows)) + 92, f"{metric_title(metric)} by {along}") as draw:
        strip = draw.axes(left=46, right=8, top=14, bottom=draw.height - 54)
        strip.bar(x, data.counts, width=0.6, color=PLAIN)
        for at, count in zip(x, data.counts, strict=True):
            strip.annotate(f"{count:,}", (at, count), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        strip.set_xticks(x, data.names, fontsize=8)
        strip.set(yticks=[], xlim=(-0.5, len(x) - 0.5))
        strip.spines["left"].set_visible(False)
        draw.figure.text(0, 1 - 52 / draw.height, "cases", color=MUTED, fontsize=8.5, va="baseline")
        for i, axes in enumerate(draw.panels(len(rows), PANEL, top=72)):
            colour = ACCENT if rows[i].text else INK
            axes.plot(x, np.delete(values, i, 0).T, color=FAINT, linewidth=0.8)
            axes.plot(x, values[i], color=colour, marker="o", markersize=3)
            draw.title(axes, rows[i].label)
            axes.set(ylim=(0, best * 1.08 or 1), xlim=(-0.4, len(x) - 0.6))
            axes.set_xticks(x, data.names)
            axes.tick_params(axis="x", labelsize=7 if len(x) <= 5 else 6)
        draw.below(along)
    return draw.svg


def pairs(given: Sequence[Pair], metric: str) -> str:
    """From ids alone (ring) to with text (dot), a line a pair."""
    with drawing(34 * len(given) + 30, f"{metric_title(metric)} without and with text") as draw:
        axes = draw.rows(len(given), right=54)
        for y, pair in enumerate(given):
            without, with_text = pair.base.mean(metric) or 0.0, pair.text.mean(metric) or 0.0
            axes.plot([without, with_text], [y, y], color=MUTED, linewidth=1.1, zorder=1)
            axes.plot(without, y, **_marker(PAPER, INK))
            axes.plot(with_text, y, **_marker(ACCENT, ACCENT))
            told = [percent(pair.gain)] + ([f"p {p_value(pair.p)}"] if pair.p is not None else [])
            draw.row_value(axes, y, *told)
            draw.row_label(axes, y, pair.text.label, under=f"from {pair.base.label}")
        axes.margins(x=0.08)
    return draw.svg


def _marker(face: str, edge: str, shape: str = "o", size: float = 6.0) -> dict:
    return {
        "linestyle": "none", "marker": shape, "markersize": size, "markerfacecolor": face, "markeredgecolor": edge,
    }  # fmt: skip


def _panels_height(n: int) -> float:
    return PANEL * -(-n // Drawing.COLUMNS)
