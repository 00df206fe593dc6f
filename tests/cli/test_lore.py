"""``seqlore lore`` from the outside, with a model that only repeats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lore.fake_model import FakeModel
from seqlore.data import Dataset
from seqlore.lore import locate


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModel:
    """What any name of a model means here; nothing touches the user's cache."""
    monkeypatch.setenv("SEQLORE_CACHE", str(tmp_path / "cache"))
    fake = FakeModel(cost=0.001)
    monkeypatch.setattr(locate, "language_model", lambda name, **settings: fake)
    return fake


def make(cli: Any, shop: Path, out: Path, *more: object) -> Any:
    return cli("lore", "make", shop, "--task", "item-knowledge", "--out", out, *more)


def test_make_writes_a_file_and_asks_nothing_twice(cli: Any, shop: Path, tmp_path: Path, model: FakeModel) -> None:
    out = tmp_path / "lore.parquet"
    first = json.loads(make(cli, shop, out, "--limit", 5, "--json").out)
    assert {k: first[k] for k in ("task", "model", "subjects", "texts", "asked", "out")} == {
        "task": "item-knowledge",
        "model": "fake",
        "subjects": 5,
        "texts": 5,
        "asked": 5,
        "out": str(out),
    }
    assert first["cost"] > 0
    assert first["store"] == str(tmp_path / "cache" / "lore.sqlite")
    everything = make(cli, shop, out)
    n = len(Dataset.load(shop).items)
    assert f"{n} texts about {n} items: {n - 5} answers asked for (cost 11.6770)" in everything.out
    assert len(model.asked) == n
    assert len(pl.read_parquet(out)) == n


def test_prompts_without_an_answer_are_told_with_status_1(
    cli: Any, shop: Path, tmp_path: Path, model: FakeModel
) -> None:
    out = tmp_path / "lore.parquet"
    make(cli, shop, tmp_path / "first.parquet", "--limit", 1)
    model.refuses = model.asked[:1]
    store = ("--store", tmp_path / "own.sqlite")
    outcome = make(cli, shop, out, "--limit", 3, *store)
    assert outcome.status == 1
    assert outcome.out.startswith("2 texts about 3 items: 2 answers asked for")
    assert outcome.err.strip().startswith(
        "1 prompts have no answer and are asked again by the next run, among them:\n  no word to"
    )
    assert len(pl.read_parquet(out)) == 2
    model.refuses = ()
    assert json.loads(make(cli, shop, out, "--limit", 3, "--json", *store).out)["asked"] == 1


def test_versions_noise_words_and_settings(cli: Any, shop: Path, tmp_path: Path, model: FakeModel) -> None:
    more = ("--versions", 2, "--denoise", "--limit", 2, "--word", "item=beauty product", "--set", "sampling.seed=3")
    result = json.loads(make(cli, shop, tmp_path / "x.parquet", *more, "--json").out)
    assert (result["texts"], result["asked"]) == (4, 6)
    assert "Describe in detail the beauty product" in model.asked[0]
    shown = json.loads(cli("lore", "show", "--json", "--limit", 1).out)
    assert (shown[0]["stage"], shown[0]["version"], json.loads(shown[0]["sampling"])["seed"]) == ("reword", 1, 3)


def test_a_dry_run_asks_nothing_and_writes_nothing(cli: Any, shop: Path, tmp_path: Path, model: FakeModel) -> None:
    told = cli("lore", "make", shop, "--task", "item-knowledge", "--versions", 2, "--dry-run", "--json").out
    plan = json.loads(told)
    n = len(Dataset.load(shop).items)
    assert [(each["stage"], each["prompts"]) for each in plan["stages"]] == [("item-knowledge", n), ("reword", n)]
    assert plan["cost"] == pytest.approx(sum(each["cost"] for each in plan["stages"]))
    assert "nothing was asked" in cli("lore", "make", shop, "--task", "item-knowledge", "--dry-run").out
    assert model.asked == []
    assert not (tmp_path / "cache" / "lore.sqlite").exists()


def test_show_export_stats(cli: Any, shop: Path, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "own.sqlite")
    make(cli, shop, tmp_path / "x.parquet", "--limit", 3, *store)
    item = pl.read_parquet(tmp_path / "x.parquet")["id"][0]
    shown = cli("lore", "show", "--id", item, "--prompt", *store).out
    assert shown.startswith(f"── item {item}: item-knowledge, fake\n")
    assert shown.count("Describe in detail the product") == 2  # the prompt, and the model that repeats it
    assert cli("lore", "export", tmp_path / "all.parquet", *store).out == f"3 rows → {tmp_path / 'all.parquet'}\n"
    assert pl.read_parquet(tmp_path / "all.parquet")["kind"].to_list() == ["item"] * 3
    stats = json.loads(cli("lore", "stats", "--json", *store).out)
    assert (stats["models"][0]["answers"], stats["uses"][0]["subjects"]) == (3, 3)
    assert "item-knowledge" in cli("lore", "stats", *store).out


DRY = ("--task", "item-knowledge", "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "item-knowlege", "--dry-run"), "unknown task 'item-knowlege'; did you mean 'item-knowledge'?"),
        (("--task", "item-knowledge"), "name the file to write with --out FILE.parquet"),
        ((*DRY, "--word", "x"), "--word x: write it as WORD=TEXT"),
        ((*DRY, "--set", "buget=3"), "unknown setting 'buget'; did you mean 'budget'?"),
        ((*DRY, "--spend", "1"), "--spend is for servers that cost money"),
        ((*DRY, "--profiles", "none.parquet"), "none.parquet: there is no such file"),
    ],
)
def test_mistakes_get_one_sentence(cli: Any, shop: Path, arguments: tuple[str, ...], sentence: str) -> None:
    outcome = cli("lore", "make", shop, *arguments)
    assert outcome.status == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_store_that_is_not_there(cli: Any) -> None:
    for verb in ("show", "stats"):
        outcome = cli("lore", verb)
        assert (outcome.status, outcome.out) == (2, "")
        assert "lore.sqlite: there is no lore store; `seqlore lore make` fills one" in outcome.err


def test_pretrain_reads_labels(cli: Any, shop: Path, tmp_path: Path, model: FakeModel) -> None:
    lore = tmp_path / "labels.parquet"
    assert make(cli, shop, lore).status == 0
    short = ("tokens=512", "context=32", "batch_tokens=64", "rounds=1", "vocabulary=300", "samples=0")
    settings = [f"--set={each}" for each in short]
    made = cli("lore", "pretrain", shop, "--labels", lore, *settings, "--json", "--out", tmp_path / "m")
    assert made.status == 0, made.err
    kinds = {c["kind"]: c["documents"] for c in json.loads(made.out)["corpora"]}
    assert kinds["labels"] == len(pl.read_parquet(lore)["text"].unique())
    refused = cli("lore", "pretrain", shop, "--labels", tmp_path / "absent.parquet", "--out", tmp_path / "n")
    assert refused.status == 2
    assert "absent.parquet" in refused.err
