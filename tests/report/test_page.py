from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from seqlore.errors import DataError
from seqlore.report import write_report

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Text, ids, links and tags of a page; notices a tag that is not closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [v for k, v in attrs if k == "id" and v]
        self.links += [v for k, v in attrs if k in ("href", "src", "srcset", "data", "action") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def source(run_folder: Path) -> str:
    return write_report(run_folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "leaderboard.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_stands_alone(source: str, page: Page) -> None:
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert all(link.startswith("#") for link in page.links)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    assert "@import" not in source
    assert "<!doctype html>" in source[:200].lower()


def test_is_well_formed(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_is_small(source: str) -> None:
    assert len(source.encode()) < 2_000_000


def test_what_users_wrote_is_escaped(source: str, page: Page) -> None:
    assert "BERT4Rec <b>x</b> & $a_b$" in page.text
    assert "<b>x</b>" not in source
    assert "<i>Sugar</i>" not in source
    assert "<i>Sugar</i> Body Scrub" in page.text


def test_shows_each_tie_rule_and_says_why(page: Page) -> None:
    assert page.words.count("Ties in the published order") >= 2
    assert page.words.count("Ties shuffled") >= 2
    assert "Why everything is shown twice" in page.text
    assert len([i for i in page.ids if i.startswith("ties-")]) == 2


def test_says_what_was_asked_and_of_what_data(page: Page) -> None:
    assert "Leave-one-out. The last item of every user is the target" in page.text
    assert "masked: never recommended again" in page.text
    assert "Test cases 400" in page.text
    assert "198,502" in page.text
    assert "0.073 % of all pairs" in page.text
    assert "57.5 % of the interactions" in page.text
    assert "title 99.9 %, categories 100.0 %" in page.text
    assert "2002-06-12 to 2014-07-23, in whole days" in page.text


def test_the_leaderboard_has_ours_theirs_and_the_difference(run_folder: Path, page: Page) -> None:
    board = json.loads((run_folder / "leaderboard.json").read_text())
    sasrec = next(r for r in board["rows"] if r["label"] == "SASRec")
    for key in ("ndcg@10", "hr@10"):
        ours = sasrec["metrics"][key]
        difference = ours["mean"] - sasrec["published"][key]
        cell = f"{ours['mean']:.4f} ± {ours['sd']:.4f} best {ours['best']:.4f} ◇ {sasrec['published'][key]:g}"
        assert f"{cell} {difference:+.4f}".replace("-", "−") in page.text
    assert f"{sasrec['metrics']['ndcg@20']['mean']:.4f} ±" in page.text
    assert "Harte et al. 2023, Table 2" in page.text
    assert "Against SASRec" in page.text


def test_a_failed_row_is_shown_with_its_sentence(page: Page) -> None:
    assert "failed: S-SKNN: sample_size=0: Input should be greater than 0; set it in the recipe." in page.text


def test_what_a_model_tells_of_its_lists_is_shown(own_run: Path) -> None:
    path = own_run / "leaderboard.json"
    board = json.loads(path.read_text())
    row = next(r for r in board["rows"] if r["label"] == "LLMSeqSim")
    row["metrics"] |= {"invented_completions": {"mean": 0.2345}, "duplicate_completions": {"mean": 0.5}}
    path.write_text(json.dumps(board))
    text = " ".join(re.sub("<[^>]+>", " ", write_report(own_run).read_text()).split())
    assert "LLMSeqSim tells of its lists: invented completions 23.4 %, duplicate completions 50.0 %." in text
    assert text.count("tells of its lists") == 1


def test_has_every_figure_with_a_sentence_how_to_read_it(source: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", source, re.S)
    titles = [re.search(r"<b>(.*?)</b>", f)[1] for f in figures]  # type: ignore[index]
    assert titles == [
        "Accuracy: NDCG@10",
        "Accuracy: HR@10",
        "Accuracy against coverage",
        "Accuracy against novelty",
        "Popular and rare targets",
        "Short and long histories",
        "Learning curves",
        "What text adds",
    ] * 2  # fmt: skip
    assert all(re.search(r'<p class="how">\w[^<]{30,}</p>', f) for f in figures)


def test_models_without_a_log_have_no_curve(source: str) -> None:
    curves = next(f for f in re.findall(r"<figure>.*?</figure>", source, re.S) if "Learning curves" in f)
    assert "LLM2SASRec" in curves
    assert "LLM2GRU4Rec" not in curves
    assert "V-SKNN" not in curves


def test_text_is_set_beside_the_best_row_of_the_same_net(source: str) -> None:
    pairs = next(f for f in re.findall(r"<figure>.*?</figure>", source, re.S) if "What text adds" in f)
    assert "from SASRec" in pairs
    assert "from GRU4Rec" in pairs
    assert "LLMSeqSim" not in pairs


def test_examples_and_how_to_do_it_again(page: Page) -> None:
    assert "Clay Mask ●" in page.text
    assert "Taken next: Brush" in page.text
    assert "3f0c9a7712de5b40" in page.text
    assert "seqlore run recipe.toml" in page.text
    assert "LLM2SASRec (ties file, seed 1)" in page.text
    assert 'protocol = "leave-one-out"' in page.text
    assert "embedding_size = 64" in page.text


def test_is_the_same_each_time(run_folder: Path, source: str) -> None:
    assert write_report(run_folder).read_text(encoding="utf-8") == source


def test_one_tie_rule_needs_no_explanation(own_run: Path) -> None:
    page = Page(write_report(own_run).read_text(encoding="utf-8"))
    assert "shown twice" not in page.text


def test_a_row_of_which_a_seed_failed_has_results_and_the_reason(own_run: Path) -> None:
    rows = json.loads((own_run / "leaderboard.json").read_text())["rows"]
    rows[0]["error"] = "seed 2: out of memory."
    edit(own_run, rows=rows)
    text = Page(write_report(own_run).read_text(encoding="utf-8")).text
    value = f"{rows[0]['metrics']['ndcg@10']['mean']:.4f}"
    assert f"LLM2SASRec text seed 2: out of memory. {value} ±" in text


def test_a_single_model_is_not_compared(own_run: Path) -> None:
    rows = json.loads((own_run / "leaderboard.json").read_text())["rows"]
    edit(own_run, rows=[r for r in rows if r["label"] == "SASRec"], comparisons=[])
    page = Page(write_report(own_run).read_text(encoding="utf-8"))
    assert (
        f"SASRec : NDCG@10 {next(r for r in rows if r['label'] == 'SASRec')['metrics']['ndcg@10']['mean']:.4f}"
        in page.text
    )
    assert "most accurate:" not in page.text
    assert "Accuracy against coverage" not in page.text


def test_the_metric_that_was_tested_leads(own_run: Path) -> None:
    test = {"a": "LLM2SASRec", "b": "SASRec", "ties": "file", "metric": "hr@20", "difference": 0.0123, "p": 0.02}
    edit(own_run, comparisons=[test])
    source = write_report(own_run).read_text(encoding="utf-8")
    assert re.findall(r"Accuracy: \S+@\d+", source) == ["Accuracy: HR@20", "Accuracy: NDCG@20"]
    at_10, at_20 = re.findall(r'<table class="board">.*?</table>', source, re.S)
    assert "Against SASRec" not in at_10
    assert "+0.0123" in at_20


def test_groups_count_each_case_once_however_many_seeds(own_run: Path) -> None:
    frame = pl.DataFrame({"rank": [1, None] * 30, "history_length": [5] * 60, "target_count": [0] * 20 + [3] * 40})
    for path in own_run.glob("cases/*.parquet"):
        frame.write_parquet(path)
    source = write_report(own_run).read_text(encoding="utf-8")
    figure = next(f for f in re.findall(r"<figure>.*?</figure>", source, re.S) if "Popular and rare" in f)
    numbers = re.findall(r">(cold|3|20|40|60|120)</text>", figure)
    assert numbers[:4] == ["cold", "3", "20", "40"]
    assert not {"60", "120"} & set(numbers)


def test_a_bare_run_has_a_page_that_says_what_is_missing(own_run: Path) -> None:
    for path in [*own_run.glob("cases/*"), *own_run.glob("logs/*"), own_run / "examples.json", own_run / "recipe.toml"]:
        path.unlink()
    edit(own_run, comparisons=[], about={}, winner=None)
    page = Page(write_report(own_run).read_text(encoding="utf-8"))
    assert "What is missing here" in page.text
    assert "so that run is missing in the learning curves" in page.text
    assert "Examples" not in page.words
    assert "Against" not in page.text


def test_a_run_in_which_everything_failed(own_run: Path) -> None:
    rows = json.loads((own_run / "leaderboard.json").read_text())["rows"]
    edit(own_run, rows=[r for r in rows if r["error"]], comparisons=[], winner=None)
    page = Page(write_report(own_run).read_text(encoding="utf-8"))
    assert "failed: S-SKNN" in page.text


def test_without_rows_there_is_nothing_to_report(own_run: Path) -> None:
    edit(own_run, rows=[], comparisons=[])
    with pytest.raises(DataError, match="holds no rows"):
        write_report(own_run)


def test_a_page_is_replaced_only_by_a_whole_one(own_run: Path) -> None:
    write_report(own_run)
    (own_run / "examples.json").write_text("{")
    before = (own_run / "report.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"examples\.json: not valid JSON"):
        write_report(own_run)
    assert (own_run / "report.html").read_text(encoding="utf-8") == before


def test_the_share_of_ties_is_the_measured_one(run_folder: Path, tmp_path: Path, page: Page) -> None:
    assert "57.5 % of the interactions have user and time in common with another" in page.text
    board = json.loads((run_folder / "leaderboard.json").read_text())
    for share, sentence in ((0.0, "both parts show the same"), (None, "Where events of one user carry the same time")):
        board["about"]["statistics"]["time"] = None if share is None else {"tied_share": share}
        (tmp_path / "leaderboard.json").write_text(json.dumps(board))
        text = Page(write_report(tmp_path).read_text(encoding="utf-8")).text
        assert sentence in text
        assert "57.5 %" not in text


def test_the_model_that_is_shipped_is_named_where_another_is_more_accurate(own_run: Path) -> None:
    board = json.loads((own_run / "leaderboard.json").read_text())
    accuracy = {row["label"]: row["metrics"]["ndcg@10"]["mean"] for row in board["rows"] if row["metrics"]}
    best, other = max(accuracy, key=accuracy.__getitem__), min(accuracy, key=accuracy.__getitem__)
    edit(own_run, winner={"label": other, "ties": "file", "seed": 0})
    assert f"The run's own model is {other} , the best on the validation cases" in _page(own_run).text
    edit(own_run, winner={"label": best, "ties": "file", "seed": 0})
    assert "The run's own model" not in _page(own_run).text


def _page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))
