from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from seqlore.cli.embed import embed
from seqlore.data import Dataset
from seqlore.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["red lipstick", "garden hose", None, "red lipstick"],
            "brand": ["Glow", None, "Biro", None],
        }
    )
    interactions = pl.DataFrame({"user_id": ["u"] * 4, "item_id": ["a", "b", "c", "d"]})
    return Dataset.from_frames(interactions, items, name="toy").save(tmp_path / "toy")


def run(*arguments: str | Path) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(embed)
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_fills_the_store_and_then_finds_all(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = (folder, "--encoder", tiny_model, "--store", tmp_path / "vectors", "--json")
    first = json.loads(run(*arguments).stdout)
    assert {k: v for k, v in first.items() if k not in ("seconds", "encoder")} == {
        "dataset": "toy",
        "fields": ["title"],
        "items": 4,
        "without_text": 1,
        "texts": 2,
        "hits": 0,
        "misses": 2,
        "dimension": 16,
        "store": str(tmp_path / "vectors"),
    }
    again = json.loads(run(*arguments).stdout)
    assert (again["hits"], again["misses"]) == (2, 0)


def test_says_what_it_did(folder: Path, tiny_model: Path, own_cache: Path) -> None:
    done = run(folder, "--encoder", tiny_model, "--fields", "title, brand")
    assert done.exit_code == 0
    assert "4 different texts of 4 items (0 without text): 0 were in the store, 4 computed" in done.stdout
    assert f"16 dimensions, kept in {own_cache / 'vectors'}" in done.stdout.replace("\n", "")


def test_options_reach_the_encoder(folder: Path, tiny_model: Path) -> None:
    arguments = (folder, "--encoder", tiny_model, "--json", "--dimensions", "5")
    assert json.loads(run(*arguments).stdout)["dimension"] == 5
    for more in (["--prompt", "item: "], ["--precision", "bf16"]):
        assert json.loads(run(*arguments, *more).stdout)["misses"] == 2
        assert json.loads(run(*arguments, *more).stdout)["misses"] == 0


def test_errors_are_sentences(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text field 'titel'"):
        run(folder, "--fields", "titel")
    with pytest.raises(ConfigError, match="seqlore embed: precision"):
        run(folder, "--precision", "fp8")
    with pytest.raises(ConfigError, match="seqlore embed: fields"):
        run(folder, "--fields", ",")
    with pytest.raises(DataError, match=r"no interactions\.parquet"):
        run(tmp_path / "nowhere")
