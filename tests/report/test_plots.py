from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from seqlore.report import plots
from seqlore.report.board import Metric, Row
from seqlore.report.drawing import Drawing
from seqlore.report.folder import Curve
from seqlore.report.plots import Buckets, Pair


def row(label: str, value: float, *, text: bool = False, **more: float) -> Row:
    metrics = {"ndcg@10": Metric(mean=value, ci=(value * 0.9, value * 1.1))}
    metrics |= {f"{name}@10": Metric(mean=x) for name, x in more.items()}
    return Row(label=label, model=label, text=text, metrics=metrics, published={"ndcg@10": 0.03} if text else {})


ROWS = [
    row("LLM2SASRec", 0.06, text=True, coverage=0.5),
    row("<b>x</b> & $a$ #1b1c1f 0.12345", 0.05, coverage=0.4),
    row("漢字", 0.01, coverage=0.1),
]
LINES = [[Curve(s, "ndcg@10", list(range(1, 2001)), [i / 2000 for i in range(2000)], 1990) for s in (0, 1)]] * 3
FIGURES = {
    "bars": lambda: plots.bars(ROWS, "ndcg@10"),
    "scatter": lambda: plots.scatter(ROWS, "coverage@10", "ndcg@10"),
    "curves": lambda: plots.curves(ROWS, LINES),
    "buckets": lambda: plots.buckets(
        ROWS, Buckets(["0", "1–4", "5+"], [7, 1200, 3], [[None, 0.2, 0.3]] * 3), "ndcg@10", "length"
    ),
    "pairs": lambda: plots.pairs([Pair(ROWS[0], ROWS[1], 0.2), Pair(ROWS[0], ROWS[2], 5.0)], "ndcg@10"),
}


@pytest.fixture(scope="module", params=FIGURES)
def svg(request: pytest.FixtureRequest) -> str:
    return FIGURES[request.param]()


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter("text")]


def test_is_an_element_of_no_fixed_size_with_a_name(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("viewBox", "").startswith("0 0 380 ")
    assert root.get("width") is None
    assert "NDCG@10" in root.get("aria-label", "")


def test_colours_are_those_of_the_page(svg: str) -> None:
    styles = " ".join(e.get("style", "") for e in ElementTree.fromstring(svg).iter())
    assert set(re.findall(r"var\(--(\w+)\)", styles)) <= {"ink", "muted", "plain", "faint", "rule", "accent", "paper"}
    assert "#" not in styles
    assert "font-family" not in styles


def test_refers_to_nothing_but_itself(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    links = [x for e in root.iter() for x in (e.get("href"), e.get("clip-path")) if x]
    assert {x.removeprefix("url(").removesuffix(")") for x in links} <= {f"#{i}" for i in ids}


def test_labels_are_text_as_written() -> None:
    svg = FIGURES["bars"]()
    assert "<b>" not in svg
    assert "<b>x</b> & $a$ #1b1c1f 0.12345" in " ".join(texts(svg))  # no mathematics, no colour, no rounding
    assert {"LLM2SASRec", "漢字", "0.0600", "0.0100"} <= set(texts(svg))


def test_the_same_rows_give_the_same_bytes() -> None:
    assert FIGURES["curves"]() == FIGURES["curves"]()


def test_a_bar_is_as_long_as_its_value() -> None:
    svg = plots.bars([row("a", 0.06, text=True), row("b", 0.03)], "ndcg@10")
    filled = list(re.findall(r'd="([^"]+)"[^>]*style="fill: var\(--(?:accent|plain)\)"', svg))
    lengths = [max(xs) - min(xs) for xs in ([float(x) for x in re.findall(r"[ML] ([\d.]+)", p)] for p in filled)]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.05)


def test_long_curves_are_thinned() -> None:
    assert len(FIGURES["curves"]()) < 60_000


def test_counts_of_groups_are_written() -> None:
    assert {"7", "1,200", "3", "1–4"} <= set(texts(FIGURES["buckets"]()))


def test_pairs_say_the_change() -> None:
    assert {"+20.0 %", "+500.0 %", "from 漢字"} <= set(texts(FIGURES["pairs"]()))


def test_labels_of_rows_do_not_run_into_each_other() -> None:
    many = [row(f"A rather long name of a model, number {i}", 0.05) for i in range(12)]
    root = ElementTree.fromstring(plots.bars(many, "ndcg@10"))
    heights = sorted(float(t.get("y", 0)) for t in root.iter("text") if "text-anchor: end" in t.get("style", ""))
    assert len(heights) == 24
    assert min(b - a for a, b in pairwise(heights)) > 9


@pytest.mark.parametrize(
    ("label", "lines", "expected"),
    [
        ("SASRec", 1, ["SASRec"]),
        ("LLM2BERT4Rec, vectors permuted", 1, ["LLM2BERT4Rec, vector…"]),
        ("LLM2BERT4Rec, vectors permuted", 2, ["LLM2BERT4Rec, vectors", "permuted"]),
        ("x" * 60, 2, ["x" * 21, "x" * 20 + "…"]),
        ("a\x00b\nc", 1, ["a b c"]),
        ("", 1, [""]),
    ],
)
def test_labels_are_cut_to_fit(label: str, lines: int, expected: list[str]) -> None:
    assert Drawing.fit(label, 21, lines) == expected
