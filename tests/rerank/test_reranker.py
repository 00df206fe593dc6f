"""The contract, on a reranker whose scores are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import seqlore
from rerank.worlds import TINY, Memory, ring
from seqlore import recommender, rerank
from seqlore.data import Sequences, Split, leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import compare_all, evaluate
from seqlore.models import MostPopular, SASRec
from seqlore.rerank import CandidateSource, Reranker, TwoStage, Uniform
from seqlore.rerank.reranker import without_seen
from toys import make_dataset


class Nearest(Reranker):
    """Candidates by their distance in index from the latest event."""

    def _fit(self, split: Split, source: CandidateSource) -> None: ...

    def score(self, histories: Sequences, candidates: NDArray[np.integer]) -> Tensor:
        last = np.array([h[-1] if len(h) else 0 for h in histories])
        return -torch.from_numpy(np.abs(candidates - last[:, None])).float()

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recommender.RERANKERS, "Nearest", f"{__name__}:Nearest")
    monkeypatch.setitem(recommender.REGISTRY, "Memory", "rerank.worlds:Memory")


@pytest.fixture
def nearest() -> Nearest:
    return Nearest().fit(ring(12), Uniform(3))


def test_all_candidates_come_back_best_first_and_equals_by_index(nearest: Nearest):
    histories = Sequences.from_lists([[1, 5], [2], []])
    lists = nearest.rerank(histories, np.array([[6, 4, 9, 5], [7, 1, 3, 0], [2, 0, 0, 0]]))
    assert lists.items.tolist() == [[5, 4, 6, 9], [1, 3, 7, 0], [2, 0, 0, 0]]
    assert lists.scores.tolist()[:2] == [[0, -1, -1, -4], [-1, -1, -5, -np.inf]]
    none = nearest.rerank(Sequences.from_lists([]), np.zeros((0, 4), np.int32))
    assert none.items.shape == none.scores.shape == (0, 4)


def test_rank_takes_seen_items_out_and_may_be_short(nearest: Nearest):
    histories = Sequences.from_lists([[1, 5], [2]])
    lists = nearest.rank(histories, 4, candidates=np.array([6, 5, 2]))
    assert lists.items.tolist() == [[6, 2, 0, 0], [5, 6, 0, 0]]
    assert (lists.scores == -np.inf).tolist() == [[False, False, True, True]] * 2
    assert nearest.rank(histories, 2, candidates=np.array([6, 5, 2]), exclude_seen=False).items.tolist() == [
        [5, 6],
        [2, 5],
    ]
    assert without_seen(histories, np.array([[5, 6, 1], [0, 2, 3]])).tolist() == [[6, 0, 0], [3, 0, 0]]


def test_scores_that_are_not_numbers_are_refused(nearest: Nearest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Nearest, "score", lambda *_: torch.tensor([[1.0, torch.nan]]))
    histories = Sequences.from_lists([[1]])
    with pytest.raises(DataError, match="not numbers"):
        nearest.rerank(histories, np.array([[2, 3]]))
    assert nearest.rerank(histories, np.array([[2, 0]])).items.tolist() == [[2, 0]], "what pads may have any score"


def test_it_is_judged_on_its_candidates_and_the_report_says_which(nearest: Nearest):
    split = ring(12)
    source = Uniform(3).fitted(split)
    report = evaluate(nearest, split, cases=source.asked(split.test), at=(1, 5, 10, 20))
    assert report.about["candidates"].startswith("target + 3 items")
    assert report.metrics["map@20"] > 0
    assert nearest.about["candidates"] == source.rule
    popular = evaluate(MostPopular().fit(split), split, cases=source.asked(split.test), at=(1, 5, 10, 20))
    (found,) = compare_all([report, popular], against="Nearest", metric="map@10")
    assert found.correction == "none"
    assert found.n == len(split.test)
    with pytest.raises(DataError, match="Nearest orders candidates and finds none"):
        evaluate(nearest, split)


def test_it_is_saved_and_loaded_by_the_rules_of_all_models(nearest: Nearest, tmp_path: Path):
    nearest.save(tmp_path)
    again = Reranker.load(tmp_path)
    assert type(again) is Nearest
    assert again.catalog.hash == nearest.catalog.hash
    assert again.about == nearest.about
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors", "items.parquet", "README.md"}
    with pytest.raises(DataError, match="Nearest is a reranker"):
        seqlore.load(tmp_path)
    with pytest.raises(DataError, match="holds Nearest, which is no PRM"):
        rerank.PRM.load(tmp_path)


def test_mistakes_are_named(nearest: Nearest):
    with pytest.raises(DataError, match="reads Sequences and an array of indices"):
        nearest.rerank([["1"]], [["2", "3"]])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="give one row each"):
        nearest.rerank(Sequences.from_lists([[1]]), np.array([1, 2]))
    with pytest.raises(ConfigError, match="did you mean 'SetRank'"):
        rerank.reranker_class("SetRang")
    with pytest.raises(ConfigError, match="has not been fitted"):
        _ = Nearest().catalog
    with pytest.raises(ConfigError, match="PRM has not been fitted"):
        rerank.PRM().rerank(Sequences.from_lists([[1]]), np.array([[1, 2]]))
    for wrong in (13, -1):
        with pytest.raises(DataError, match=f"candidate {wrong} is no item: indices go from 1 to 12"):
            nearest.rerank(Sequences.from_lists([[1]]), np.array([[2, wrong]]))
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = rerank.Nope
    assert {getattr(rerank, name).__name__ for name in dir(rerank) if name[0].isupper()} >= {"PRM", "TwoStage"}


# --- two stages ------------------------------------------------------------------------------------------------------


def test_two_fitted_stages_serve_as_one(nearest: Nearest, tmp_path: Path):
    split = ring(12)
    both = TwoStage.of(Memory().fit(split), nearest, depth=4)
    lists = both.rank(split.test.histories, 3, exclude_seen=False)
    found = both.retriever.rank(split.test.histories, 4).items
    for row, first, history in zip(lists.items, found, split.test.histories, strict=True):
        order = sorted(first.tolist(), key=lambda item: (abs(item - int(history[-1])), item))
        assert row.tolist() == order[:3]
    both.save(tmp_path / "m")
    assert (tmp_path / "m" / "reranker" / "config.json").is_file()
    again = seqlore.load(tmp_path / "m")
    assert isinstance(again, TwoStage)
    assert again.config == both.config
    assert again.reranker.name == "Nearest"


def test_given_candidates_are_all_reranked_or_first_retrieved_from(nearest: Nearest):
    split = ring(12)
    both = TwoStage.of(MostPopular().fit(split), nearest, depth=4)
    few, histories = np.array([9, 3, 7]), Sequences.from_lists([[8]])
    assert both.rank(histories, 5, candidates=few).items.tolist() == [[7, 9, 3, 0, 0]]
    doubled = np.array([9, 3, 9, 7, 3])
    assert both.rank(histories, 5, candidates=doubled).items.tolist() == [[7, 9, 3, 0, 0]]
    assert nearest.rank(histories, 5, candidates=doubled).items.tolist() == [[7, 9, 3, 0, 0]]
    two = Sequences.from_lists([[8], [8]])
    assert both.rank(two, 3, candidates=np.stack([doubled, doubled[::-1]])).items.tolist() == [[7, 9, 3]] * 2
    ids = both.catalog.ids
    told = both.recommend([[ids[7]]], 5, candidates=[ids[8], ids[2], ids[8], ids[6], ids[2]])
    assert told.items == [[ids[6], ids[8], ids[2]]]
    many = np.arange(1, 9)
    popular = both.retriever.rank(histories, 4, candidates=many).items[0].tolist()
    assert set(both.rank(histories, 4, candidates=many).items[0].tolist()) == set(popular)


def test_what_the_reranker_tells_of_its_lists_is_told(nearest: Nearest, monkeypatch: pytest.MonkeyPatch):
    both = TwoStage.of(MostPopular().fit(ring(12)), nearest, depth=4)
    for told in ({"without_own_text": 0.5}, {}):
        monkeypatch.setattr(nearest, "diagnostics", told)
        both.rank(Sequences.from_lists([[8]]), 2)
        assert both.diagnostics == told


def test_what_the_better_informed_stage_knows_counts(nearest: Nearest):
    split = ring(12)
    told = MostPopular().fit(split.with_validation())
    assert TwoStage.of(told, nearest).about["split"]["fitted_on"] == "train+valid"
    other = leave_one_out(make_dataset({"u": ["a", "b", "c"]}))
    with pytest.raises(DataError, match="know different items"):
        TwoStage.of(MostPopular().fit(other), nearest)


def test_fitted_together_the_reranker_learns_from_cross_fitted_lists():
    split = ring()
    stages = {"retriever": {"model": "MostPopular"}, "reranker": {"model": "GRU4RecReranker", "settings": {**TINY}}}
    stages["reranker"]["settings"] |= {"epochs": 8, "learning_rate": 0.03, "targets": 3}
    both = TwoStage(**stages, depth=12, folds=3).fit(split)
    assert "cross-fitted over 3 folds" in both.reranker.about["candidates"]
    assert evaluate(both, split, at=(1,)).metrics["hr@1"] > 0.8
    drawn = TwoStage(**stages, depth=6, lists="uniform").fit(split)
    assert drawn.reranker.about["candidates"].startswith("target + 5 items")
    assert drawn.reranker.config.seed == TwoStage(**stages, seed=0).config.seed


@pytest.mark.parametrize("lists", ["retrieved", "uniform"])
def test_a_killed_fit_goes_on_in_the_stage_where_it_was(lists: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    split = ring(20)
    quick = {**TINY, "epochs": 2}
    settings = {"lists": lists, "depth": 6, "folds": 2, "retriever": {"model": "SASRec", "settings": {"epochs": 1}}}
    settings["reranker"] = {"model": "GRU4RecReranker", "settings": quick}
    rows: list[dict] = []

    def killed(row: dict) -> None:
        rows.append(row)
        if len(rows) == (1 if lists == "retrieved" else 2):  # after the first of the reranker's two epochs
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "c", "log": tmp_path / "log.jsonl"}
    with pytest.raises(KeyboardInterrupt):
        TwoStage(**settings).fit(split, progress=killed, **options)
    again: list[dict] = []
    with monkeypatch.context() as patch:
        if lists == "retrieved":
            patch.setattr(SASRec, "_fit", lambda *_, **__: pytest.fail("a retriever is fitted again"))
        both = TwoStage(**settings).fit(split, progress=again.append, **options)
    whole = TwoStage(**settings).fit(split)
    assert [row["epoch"] for row in again] == [2]
    torch.testing.assert_close(dict(both.reranker.state()), dict(whole.reranker.state()))
    assert (tmp_path / "log-reranker.jsonl").read_text().count("\n") == 2


def test_settings_of_both_stages_are_checked_at_once():
    with pytest.raises(ConfigError, match="PRM: unknown setting 'layer'; did you mean 'layers'"):
        TwoStage(reranker={"model": "PRM", "settings": {"layer": 2}})
    with pytest.raises(ConfigError, match="there is no reranker 'SASRec'; did you mean 'SASRecReranker'"):
        TwoStage(reranker={"model": "SASRec"})
