"""Lists for all users in one file: the same as asking one by one, whatever the block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import seqlore as sl
from seqlore.errors import DataError
from seqlore.experiment import bulk, recommend_all
from toys import make_dataset

HISTORIES = {f"u{i}": ["a", "b", "c", "d", "e", "f"][i % 3 : i % 3 + 3] for i in range(10)}


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_every_user_gets_what_recommend_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(bulk, "BLOCK", block)
    dataset = make_dataset(HISTORIES)
    model = sl.models.MostPopular().fit(sl.leave_one_out(dataset).with_everything())
    seen: list[tuple[int, int]] = []
    users = recommend_all(model, dataset, tmp_path / "recs.parquet", k=2, progress=lambda *done: seen.append(done))
    assert users == 10
    assert seen[-1] == (10, 10)
    frame = pl.read_parquet(tmp_path / "recs.parquet")
    expected = model.recommend(list(HISTORIES.values()), 2).to_frame(list(HISTORIES))
    assert frame.select("user_id", "rank", "item_id", "title", "score").rows() == expected.rows()
    assert list(tmp_path.iterdir()) == [tmp_path / "recs.parquet"]


@pytest.mark.parametrize("nested", [False, True])
def test_users_are_known_by_their_ids(tmp_path: Path, nested: bool) -> None:
    """Another dataset numbers its users otherwise: who is known keeps his place in the model, others are strangers."""
    own = sl.leave_one_out(make_dataset(HISTORIES)).with_everything()
    small: dict[str, Any] = {"embedding_size": 4, "epochs": 1, "device": "cpu"}
    parts = [{"model": "HGN", "settings": small, "weight": 1.0}, {"model": "MostPopular", "weight": 0.1}]
    model = (sl.models.Blend(models=parts) if nested else sl.models.HGN(**small)).fit(own)
    asked = {"zoe": ["a", "b", "c"], "u7": HISTORIES["u7"], "amy": ["b", "c"], "u2": HISTORIES["u2"]}
    recommend_all(model, make_dataset(asked), tmp_path / "recs.parquet", k=3)
    expected = model.recommend(list(asked.values()), 3, users=list(asked)).to_frame(list(asked))
    frame = pl.read_parquet(tmp_path / "recs.parquet")
    assert frame.select("user_id", "item_id").rows() == expected.select("history", "item_id").rows()
    assert frame["score"].to_list() == pytest.approx(expected["score"].to_list())


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sl.models.MostPopular().fit(sl.leave_one_out(make_dataset(HISTORIES)))
    monkeypatch.setattr(bulk, "BLOCK", 4)

    def stop(done: int, users: int) -> None:
        raise KeyError(f"stopped at {done} of {users}")

    with pytest.raises(Exception, match="stopped at 4 of 10"):
        recommend_all(model, make_dataset(HISTORIES), tmp_path / "recs.parquet", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_items_that_the_model_does_not_know_are_skipped(tmp_path: Path) -> None:
    model = sl.models.MostPopular().fit(sl.leave_one_out(make_dataset(HISTORIES)))
    recommend_all(model, make_dataset({"new": ["a", "zzz"]}), tmp_path / "recs.parquet", k=10)
    assert "zzz" not in pl.read_parquet(tmp_path / "recs.parquet")["item_id"].to_list()
    with pytest.raises(DataError, match="the model knows none of the 1 items of toy: wrong dataset"):
        recommend_all(model, make_dataset({"new": ["zzz", "zzz"]}), tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()
    with pytest.raises(DataError, match="k=0: ask for at least one"):
        recommend_all(model, make_dataset(HISTORIES), tmp_path / "none.parquet", k=0)
