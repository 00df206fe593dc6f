"""Folders of models and of checkpoints: what another model leaves behind, and whose data a checkpoint is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import seqlore as sl
from seqlore.data import Split, leave_one_out
from seqlore.errors import DataError
from toys import make_dataset

HISTORIES = {f"u{i}": [*"abcdef"][i % 3 : i % 3 + 4] for i in range(12)}
SMALL: dict[str, Any] = {"embedding_size": 4, "epochs": 2, "device": "cpu"}


@pytest.fixture
def split() -> Split:
    return leave_one_out(make_dataset(HISTORIES))


def blend(*names: str) -> sl.models.Blend:
    return sl.models.Blend(models=[{"model": n, "settings": SMALL if n == "HGN" else {}, "weight": 1.0} for n in names])


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_saved_over_another_leaves_nothing_of_it(split: Split, tmp_path: Path) -> None:
    own = {"README.md", "config.json", "items.parquet", "model.safetensors"}
    blend("MostPopular", "HGN", "Markov").fit(split).save(tmp_path)
    assert "users.parquet" in names(tmp_path)
    (tmp_path / "part-02" / "notes.txt").write_text("mine")
    (tmp_path / "part-07").mkdir()
    blend("MostPopular", "Markov").fit(split).save(tmp_path)
    parts = {f"part-0{i}/{name}" for i in range(2) for name in own}
    assert names(tmp_path) == own | parts | {"part-02/notes.txt"}, "what others put there stays"
    assert (tmp_path / "part-07").is_dir()
    assert sl.load(tmp_path).users is None
    sl.models.HGN(**SMALL).fit(split).save(tmp_path / "one")
    sl.models.MostPopular().fit(split).save(tmp_path / "one")
    assert names(tmp_path / "one") == own
    assert sl.load(tmp_path / "one").users is None


def test_a_folder_of_something_else_keeps_its_files(split: Split, tmp_path: Path) -> None:
    (tmp_path / "users.parquet").write_text("mine")
    (tmp_path / "config.json").write_text("mine")
    for config in ("no JSON", "{}", '{"children": ["../elsewhere", "..", 3], "files": {}}'):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / "config.json").write_text("mine")
        (tmp_path / "model" / "config.json").write_text(config)
        sl.models.MostPopular().fit(split).save(tmp_path / "model")
    assert (tmp_path / "elsewhere" / "config.json").read_text() == (tmp_path / "users.parquet").read_text() == "mine"
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_checkpoint_of_other_data_is_refused(split: Split, tmp_path: Path) -> None:
    net = sl.models.GRU4Rec(**SMALL)
    net.fit(split, checkpoint=tmp_path)
    kept = net.about["valid"]
    assert sl.models.GRU4Rec(**SMALL).fit(split, checkpoint=tmp_path).about["valid"] == kept, "the same goes on"
    described = replace(split.dataset, items=split.dataset.items.with_columns(brand=pl.lit("a brand")))
    for other in (leave_one_out(described), leave_one_out(split.dataset, ties="shuffled"), split.with_validation()):
        with pytest.raises(DataError, match="this checkpoint is of a fit on other data"):
            sl.models.GRU4Rec(**SMALL).fit(other, checkpoint=tmp_path)
    (tmp_path / "data.json").unlink()
    sl.models.GRU4Rec(**SMALL).fit(split, checkpoint=tmp_path)  # as an earlier version left it
    assert (tmp_path / "data.json").is_file()
