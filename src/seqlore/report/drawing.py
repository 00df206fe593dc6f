"""The sheet that the figures are drawn on: matplotlib without pyplot, one width, and an ``<svg>`` for the page.

Every figure is as wide as a phone. Each colour is a token that becomes a CSS variable, so one drawing serves light,
dark and print. Text stays text and takes the page's font; its place is measured with DejaVu Sans, which is wider
than the fonts that stand in for it, so what does not overlap here does not overlap there.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH = 380.0  # points; a phone shows a point as about one pixel, a desk as 1.3
#: Stand-ins for the colours of the page; the values matter to matplotlib only.
INK, MUTED, PLAIN, FAINT, RULE = "#1b1c1f", "#62676e", "#98a0a9", "#c2c7cd", "#d8dbdf"
ACCENT, PAPER = "#0a5fa6", "#fdfdfc"
VARIABLES = {
    INK: "ink", MUTED: "muted", PLAIN: "plain", FAINT: "faint", RULE: "rule", ACCENT: "accent", PAPER: "paper",
}  # fmt: skip
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seqlore",  # the same data give the same bytes
    "text.parse_math": False,  # a label may hold dollar signs
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.3,
}
NUMBERS = re.compile(r"-?\d+\.\d{3,}")


class Drawing:
    """One figure. Lengths are points; margins count from the edges of the figure."""

    COLUMNS = 2

    def __init__(self, height: float, label: str) -> None:
        self.height, self.label, self.svg = height, label, ""
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        self.figure.patch.set_visible(False)
        self.canvas = FigureCanvasAgg(self.figure)

    def axes(self, left: float, right: float, bottom: float, top: float) -> Axes:
        """Axes with these margins."""
        width, height = WIDTH - left - right, self.height - bottom - top
        axes = self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))
        axes.patch.set_visible(False)
        return axes

    def rows(self, n: int, right: float) -> Axes:
        """Axes for ``n`` horizontal rows, the first at the top, with room for labels at the left."""
        axes = self.axes(left=132, right=right, bottom=22, top=4)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set(yticks=[], ylim=(n - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        return axes

    def row_label(self, axes: Axes, y: float, label: str, under: str | None = None) -> None:
        """A label at the left of a row in up to two lines, or a line over a quieter one."""
        if under is None:
            self._lines(axes, 0, y, self.fit(label, 21, 2), "right")
        else:
            self._lines(axes, 0, y, [*self.fit(label, 21), *self.fit(under, 23)], "right", quiet=True)

    def row_value(self, axes: Axes, y: float, value: str, under: str | None = None) -> None:
        """A value at the right of a row, and something quieter under it."""
        self._lines(axes, 1, y, [value] if under is None else [value, under], "left", quiet=True)

    @staticmethod
    def _lines(axes: Axes, x: float, y: float, lines: list[str], align: str, quiet: bool = False) -> None:
        # One by one, for a text of several lines is placed by its measured width, not by its end.
        for i, line in enumerate(lines):
            axes.annotate(
                line,
                (x, y),
                (-6 if align == "right" else 5, 5.2 * (len(lines) - 1 - 2 * i)),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha=align,
                va="center_baseline",
                color=MUTED if quiet and i else INK,
                fontsize=8 if quiet and i else 9,
            )

    def panels(self, n: int, height: float, top: float, left: float = 46, gap: float = 14) -> list[Axes]:
        """``n`` small axes in two columns, each ``height`` with its title; only the outer ones carry tick labels."""
        width = (WIDTH - left - 8 - gap * (self.COLUMNS - 1)) / self.COLUMNS
        made = []
        for i in range(n):
            row, column = divmod(i, self.COLUMNS)
            x, y = left + column * (width + gap), top + row * height + 16
            axes = self.axes(left=x, right=WIDTH - x - width, top=y, bottom=self.height - y - height + 24)
            axes.grid(axis="y")
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.tick_params(labelleft=column == 0, labelbottom=i + self.COLUMNS >= n, labelsize=8)
            made.append(axes)
        return made

    def title(self, axes: Axes, label: str) -> None:
        """The title of a small panel."""
        axes.set_title(self.fit(label, 27)[0], loc="left", fontsize=8.5, pad=4)

    def below(self, text: str) -> None:
        """A name for the horizontal axis of all panels."""
        self.figure.text(0.5, 3 / self.height, text, color=MUTED, fontsize=8.5, ha="center", va="baseline")

    def measure(self, text: str, size: float) -> tuple[float, float]:
        """Width and height of a text in points."""
        drawn = self.figure.text(0, 0, text, fontsize=size)
        box = drawn.get_window_extent(self.canvas.get_renderer())
        drawn.remove()
        return box.width, box.height

    @staticmethod
    def fit(label: str, width: int, lines: int = 1) -> list[str]:
        """A label in at most ``lines`` lines of ``width`` characters; what is left over becomes "…"."""
        label = " ".join("".join(c if c.isprintable() else " " for c in label).split())
        cut = textwrap.wrap(label, width) or [""]
        if len(cut) > lines:
            rest = " ".join(cut[lines - 1 :])
            cut = [*cut[: lines - 1], rest[: width - 1].rstrip(" ,;:–-") + "…"]
        return cut


@contextmanager
def drawing(height: float, label: str) -> Iterator[Drawing]:
    """``with drawing(…) as draw:`` draw, and afterwards find the element in ``draw.svg``."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts will have it
        draw = Drawing(height, label)
        yield draw
        draw.svg = _element(draw)


def _element(draw: Drawing) -> str:
    """The drawing as an ``<svg>`` to be set inline: CSS variables, no fixed size, short numbers, ids of its own."""
    buffer = io.BytesIO()
    draw.figure.savefig(buffer, format="svg", metadata=dict.fromkeys(["Creator", "Date", "Format", "Type"]))
    root = ElementTree.fromstring(buffer.getvalue())
    own = "f" + hashlib.sha256(buffer.getvalue()).hexdigest()[:8] + "-"
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        if element.tag == "g":
            element.attrib.pop("id", None)  # names of matplotlib's parts; nothing refers to them
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if not value.startswith("rotate(-0 "):
                element.set(key.rpartition("}")[2], _attribute(key, value, own))
        if element.tag != "text":
            element.text = None
    for style in root.findall("defs[style]"):
        root.remove(style)
    root.attrib.clear()
    root.attrib.update(viewBox=f"0 0 {WIDTH:g} {draw.height:g}", role="img")
    root.set("aria-label", draw.label)
    return ElementTree.tostring(root, encoding="unicode").replace("<g />", "")


def _attribute(key: str, value: str, own: str) -> str:
    if key == "id":
        return own + value
    if key == "style":
        value = value.replace("font-family: 'DejaVu Sans'; ", "")
        return re.sub("#[0-9a-f]{6}", lambda m: f"var(--{VARIABLES[m[0]]})" if m[0] in VARIABLES else m[0], value)
    value = re.sub(r"^#|(?<=url\()#", f"#{own}", value)
    return " ".join(NUMBERS.sub(lambda m: f"{float(m[0]):.2f}", value).split())
