from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seqlore.errors import DataError
from seqlore.report.folder import read_run, read_runs


def change(folder: Path, edit: Callable[[dict], None]) -> None:
    board = json.loads((folder / "leaderboard.json").read_text())
    edit(board)
    (folder / "leaderboard.json").write_text(json.dumps(board))


def read_all(folder: Path) -> None:
    run = read_run(folder)
    for row in run.board.rows:
        run.cases(row)
        run.curves(row)
    run.examples()


def test_rows_come_best_first_and_failed_ones_apart(run_folder: Path) -> None:
    run = read_run(run_folder)
    means = [row.mean("ndcg@10") for row in run.rows("file")]
    assert means == sorted(means, reverse=True)
    assert [row.label for row in run.failed("file")] == ["S-SKNN"]
    assert run.ties == ["file", "shuffled"]
    assert run.metric == "ndcg@10"
    assert run.baseline("file") == "SASRec"


def test_difference_from_the_published_value(own_run: Path) -> None:
    def edit(board: dict) -> None:
        board["rows"][0]["metrics"]["ndcg@10"]["mean"] = 0.05
        board["rows"][0]["published"] = {"ndcg@10": 0.041}

    change(own_run, edit)
    row = next(r for r in read_run(own_run).board.rows if r.published.get("ndcg@10") == 0.041)
    assert row.difference("ndcg@10") == pytest.approx(0.009)
    assert row.difference("hr@10") is None


def test_a_comparison_is_turned_round(own_run: Path) -> None:
    test = {"a": "A", "b": "B", "ties": "file", "metric": "ndcg@10", "difference": 0.2, "ci": [0.1, 0.4], "p": 0.03}
    change(own_run, lambda board: board.update(comparisons=[test]))
    turned = read_run(own_run).comparison("B", "A", "file", "ndcg@10")
    assert turned is not None
    assert (turned.a, turned.difference, turned.ci, turned.decisive_p) == ("B", -0.2, (-0.4, -0.1), 0.03)
    assert read_run(own_run).comparison("B", "A", "shuffled", "ndcg@10") is None


def test_a_number_that_is_none_is_no_number(own_run: Path) -> None:
    change(own_run, lambda board: board["rows"][0]["metrics"]["ndcg@10"].update(mean=float("nan")))
    assert read_run(own_run).board.rows[0].mean("ndcg@10") is None


def test_keys_of_a_later_version_are_passed_over(own_run: Path) -> None:
    change(own_run, lambda board: board.update(carbon_grams=3))
    assert read_run(own_run).board.name == "beauty-leave-one-out"


def test_curves_have_one_line_a_seed(run_folder: Path) -> None:
    run = read_run(run_folder)
    by_label = {row.label: row for row in run.rows("file")}
    curves = run.curves(by_label["SASRec"])
    assert [c.seed for c in curves] == [0, 1, 2]
    assert curves[0].metric == "ndcg@10"
    assert curves[0].epochs == list(range(1, 31))
    assert run.curves(by_label["V-SKNN"]) == []


def test_a_log_cut_short_by_a_kill_is_read_up_to_there(own_run: Path) -> None:
    log = next((own_run / "logs").glob("LLM2SASRec*0.jsonl"))
    log.write_text('{"epoch": 1, "valid": {"ndcg@10": 0.1}}\n{"epoch": 2, "val')
    run = read_run(own_run)
    row = next(r for r in run.board.rows if r.label == "LLM2SASRec")
    assert run.curves(row)[0].values == [0.1]


def test_the_metric_that_was_validated_is_the_one_drawn(own_run: Path) -> None:
    log = next((own_run / "logs").glob("LLM2SASRec*0.jsonl"))
    log.write_text('{"epoch": 1, "valid": null}\n{"epoch": 2, "valid": {"ndcg@20": 0.2}}\n')
    run = read_run(own_run)
    curve = run.curves(next(r for r in run.board.rows if r.label == "LLM2SASRec"))[0]
    assert (curve.metric, curve.epochs, curve.values) == ("ndcg@20", [2], [0.2])


def test_what_is_absent_is_noted(own_run: Path) -> None:
    gone = next((own_run / "cases").glob("LLM2SASRec*1.parquet"))
    gone.unlink()
    run = read_run(own_run)
    row = next(r for r in run.board.rows if r.label == "LLM2SASRec")
    assert [len(frame) for frame in run.cases(row)] == [60, 60]
    assert run.notes == [f"cases/{gone.name} is not in the run folder, so that run is missing in the results by group."]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "leaderboard.json").unlink(), "no leaderboard.json there"),
        (lambda f: (f / "leaderboard.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "leaderboard.json").write_text("[]"), "leaderboard.json: the file"),
        (lambda f: change(f, lambda b: b["rows"][2].pop("label")), "rows.2.label: Field required"),
        (lambda f: change(f, lambda b: b["rows"][0]["runs"][0].update(cases="../x.parquet")), "outside the run folder"),
        (lambda f: next((f / "cases").iterdir()).write_text("no parquet"), "not a readable file"),
        (lambda f: next((f / "logs").iterdir()).write_text("{\n{}\n"), "line 1 is not a JSON object"),
        (lambda f: next((f / "logs").iterdir()).write_text("3\n{}\n"), "line 1 is not a JSON object"),
        (lambda f: (f / "examples.json").write_text('{"model": 1}'), "holds no list of examples"),
    ],
)
def test_what_is_damaged_is_named(own_run: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(own_run)
    with pytest.raises(DataError, match=says) as error:
        read_all(own_run)
    assert str(own_run) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_folder_at_all() -> None:
    with pytest.raises(DataError, match="no run folder given"):
        read_runs([])
