from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from report.fake_run import make_run
from seqlore.errors import ConfigError, DataError
from seqlore.report import table


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows whose figures are round, and one that failed."""
    folder = make_run(tmp_path_factory.mktemp("table") / "run", cases=30, ties=("file",))
    board = json.loads((folder / "leaderboard.json").read_text())
    kept = [r for r in board["rows"] if r["label"] in ("LLM2SASRec", "SASRec", "S-SKNN")]
    for row, mean in zip(kept, (0.06, 0.05), strict=False):
        row["metrics"]["ndcg@10"] |= {"mean": mean, "sd": 0.001, "best": mean + 0.001}
        row["metrics"]["hr@10"] |= {"mean": 2 * mean, "sd": 0.002, "best": 2 * mean + 0.002}
    kept[0]["label"] = "a|b <b>x</b>"
    test = {"a": "a|b <b>x</b>", "b": "SASRec", "ties": "file", "metric": "ndcg@10", "difference": 0.01, "p": 0.004}
    board |= {"rows": kept, "comparisons": [test | {"p_adjusted": 0.008, "correction": "holm"}]}
    (folder / "leaderboard.json").write_text(json.dumps(board))
    return folder


def test_markdown(small: Path) -> None:
    lines = table([small]).splitlines()
    assert lines[0] == (
        "| model | text | NDCG@10 | published | difference | HR@10 | published | difference | seeds "
        "| p against SASRec (NDCG@10) | time to fit | peak memory | parameters |"
    )
    assert lines[2] == (
        "| a\\|b &lt;b&gt;x&lt;/b&gt; | yes | 0.0600 ± 0.0010 | – | – | 0.1200 ± 0.0020 | – | – | 3 | 0.008 "
        "| 13.5 min | 1.24 GB | 905,000 |"
    )
    assert lines[3].startswith("| SASRec |  | 0.0500 ± 0.0010 | 0.026 | +0.0240 | 0.1000 ± 0.0020 | 0.051 | +0.0490 |")
    assert lines[4].startswith("| S-SKNN (failed: S-SKNN: sample_size=0")
    assert lines[5:] == ["", "Published: Harte et al. 2023, Table 2"]


def test_a_published_best_stands_beside_our_best(small: Path, tmp_path: Path) -> None:
    board = json.loads((small / "leaderboard.json").read_text())
    for row in board["rows"]:
        row["published_best"] = True
    (tmp_path / "leaderboard.json").write_text(json.dumps(board))
    lines = table([tmp_path], metrics=["ndcg@10"]).splitlines()
    assert "| NDCG@10 | best of 3 | published | difference |" in lines[0]
    assert lines[3].startswith("| SASRec |  | 0.0500 ± 0.0010 | 0.0510 | 0.026 | +0.0250 |")
    line = list(csv.DictReader(io.StringIO(table([tmp_path], format="csv"))))[1]
    assert (line["published source"], line["tested"]) == ("Harte et al. 2023, Table 2", "")


def test_csv_holds_plain_numbers(small: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(table([small], format="csv"))))
    assert rows[1]["model"] == "SASRec"
    assert float(rows[1]["ndcg@10"]) == 0.05
    assert float(rows[1]["ndcg@10 difference"]) == pytest.approx(0.024)
    assert (rows[0]["ndcg@10 published"], rows[0]["p"], rows[0]["against"]) == ("", "0.008", "SASRec")
    assert rows[1]["p"] == ""
    assert rows[2]["error"].startswith("S-SKNN: sample_size=0")


def test_html_is_escaped(small: Path) -> None:
    text = table([small], format="html")
    assert "a|b &lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>" not in text
    assert text.count("<tr>") == 4


def test_several_runs_say_which(small: Path, run_folder: Path) -> None:
    heads = table([small, run_folder]).splitlines()[0]
    assert "| ties |" in heads  # two rules in the second run
    assert len(table([small, run_folder]).splitlines()) == 2 + 3 + 24 + 2


def test_other_metrics(small: Path) -> None:
    assert "| Novelty@20 |" in table([small], metrics=["novelty@20"]).splitlines()[0]


def test_mistakes_are_named(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'markdown'"):
        table([small], format="markdwn")
    with pytest.raises(ConfigError, match="did you mean 'ndcg@10'"):
        table([small], metrics=["ndgc@10"])
    with pytest.raises(DataError, match=r"no leaderboard\.json"):
        table([tmp_path])
