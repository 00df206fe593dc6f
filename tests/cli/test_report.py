"""``seqlore report``: runs as one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

import seqlore as sl

RECIPE = """
name = "{name}"
[dataset]
path = "{shop}"
[evaluation]
baseline = "MostPopular"
[[models]]
model = "MostPopular"
published = {{ "hr@10" = 0.2 }}
[[models]]
model = "Markov"
"""


@pytest.fixture(scope="module")
def runs(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        (folder / f"{name}.toml").write_text(RECIPE.format(name=name, shop=shop))
        sl.run(folder / f"{name}.toml", out=folder / name, only=["MostPopular"] if name == "two" else ())
    return [folder / "one", folder / "two"]


def test_several_runs_are_one_table(cli: Callable, runs: list[Path], tmp_path: Path) -> None:
    done = cli("report", *runs, "--metric", "hr@10", "--format", "csv")
    assert done.status == 0
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert sorted((row["run"], row["model"]) for row in rows) == [
        ("one", "Markov"),
        ("one", "MostPopular"),
        ("two", "MostPopular"),
    ]
    popular = next(row for row in rows if row["model"] == "MostPopular")
    assert float(popular["hr@10 difference"]) == pytest.approx(float(popular["hr@10"]) - 0.2)
    assert float(next(row for row in rows if row["model"] == "Markov")["p"]) <= 1
    assert cli("report", runs[0], "--out", tmp_path / "table.md").out == ""
    head = (tmp_path / "table.md").read_text().splitlines()[0]
    for column in ("model", "HR@10", "published", "difference", "seeds", "p against", "time to fit", "peak memory"):
        assert column in head


def test_the_file_may_be_in_a_new_folder_and_is_no_folder(cli: Callable, runs: list[Path], tmp_path: Path) -> None:
    assert cli("report", runs[0], "--out", tmp_path / "new" / "table.md").status == 0
    assert (tmp_path / "new" / "table.md").is_file()
    (tmp_path / "file").write_text("")
    for out, said in ((tmp_path, "is a folder: name a file in it"), (tmp_path / "file" / "x.md", "cannot be written")):
        done = cli("report", runs[0], "--out", out)
        assert done.status == 2
        assert said in done.err
        assert len(done.err.strip().splitlines()) == 1


def test_the_page_is_written_once_more(cli: Callable, runs: list[Path]) -> None:
    (runs[1] / "report.html").unlink()
    assert cli("report", runs[1], "--page").status == 0
    assert (runs[1] / "report.html").is_file()


def test_what_is_no_run_folder_is_refused(cli: Callable, runs: list[Path], tmp_path: Path) -> None:
    done = cli("report", tmp_path)
    assert done.status == 2
    assert "no leaderboard.json there" in done.err
    done = cli("report", runs[0], "--metric", "ngcd@10")
    assert "did you mean 'ndcg@10'" in done.err
