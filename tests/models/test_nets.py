"""Nets: every setting does something, every loss learns, and padding changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from seqlore.data import Dataset, Sequences, Split, leave_one_out
from seqlore.errors import ConfigError
from seqlore.models import net as nets
from seqlore.recommender import model_class
from toys import make_dataset

SMALL = {
    "embedding_size": 8,
    "epochs": 2,
    "max_length": 6,
    "batch_tokens": 64,
    "warmup_steps": 0,
    "learning_rate": 0.01,
}
NETS = ("SASRec", "GRU4Rec", "BERT4Rec")
#: A value other than SMALL's and the default for each setting that must change what is learned.
FLIPPED = {
    "learning_rate": 0.02,
    "weight_decay": 5.0,
    "warmup_steps": 50,
    "schedule": "cosine",
    "clip_norm": 1e-3,
    "precision": "bf16",
    "ema_decay": 0.5,
    "epochs": 1,
    "seed": 1,
    "embedding_size": 12,
    "max_length": 3,
    "dropout": 0.01,
    "block_dropout": 0.02,
    "init_std": 0.3,
    "output_bias": False,
    "loss": "sampled",
    "batch_tokens": 32,
    "windows": "last",
    "layers": 3,
    "heads": 1,
    "inner_size": 4,
    "pre_norm": None,  # the other one
    "position": None,
    "input_norm": False,
    "hidden_size": 20,
    "mask_probability": 0.6,
    "maskings": 2,
    "mask_last": False,
}
#: Settings that only matter beside another, with that other.
BESIDE = {
    "negatives": ({"loss": "sampled"}, 3),
    "negative_power": ({"loss": "sampled"}, 0.0),
    "calibration": ({"loss": "gbce", "negatives": 2}, 0.1),
    "schedule_epochs": ({"schedule": "cosine"}, 5),
}
#: Tested elsewhere: the loop's (patience, validate_every, monitor, valid_cases below), text (test below), device.
ELSEWHERE = {"patience", "validate_every", "monitor", "valid_cases", "item_init", "device", "shuffle_ties"}


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    walks = {f"u{u}": [f"i{i}" for i in rng.integers(0, 15, rng.integers(4, 12))] for u in range(25)}
    return leave_one_out(make_dataset(walks, {f"i{i}": f"item {'abcdefghijklmno'[i]}" for i in range(15)}))


def scores(name: str, split: Split, **settings) -> torch.Tensor:
    model = model_class(name)(**{**SMALL, **settings}).fit(split.with_validation())
    return model.score(split.test.histories)


def cases() -> list[tuple[str, str]]:
    return [(n, f) for n in NETS for f in sorted(model_class(n).Config.model_fields) if f not in ELSEWHERE]


@pytest.fixture(scope="module")
def plain(split: Split) -> dict[str, torch.Tensor]:
    return {}


@pytest.mark.parametrize(("name", "field"), cases())
def test_every_setting_changes_what_is_learned(name: str, field: str, split: Split, plain: dict):
    beside, value = BESIDE.get(field, ({}, FLIPPED.get(field)))
    default = model_class(name).Config.model_fields[field].default
    if field == "pre_norm":
        value = not default
    elif field == "position":
        value = "end" if default == "start" else "start"
    assert value is not None, f"say here how {field} is tested"
    key = name + str(sorted(beside.items()))
    if key not in plain:
        plain[key] = scores(name, split, **beside)
    assert not torch.equal(plain[key], scores(name, split, **beside, **{field: value}))


@pytest.mark.parametrize("loss", ["full", "sampled", "bce", "gbce"])
@pytest.mark.parametrize("name", NETS)
def test_every_loss_learns(name: str, loss: str, split: Split):
    settings = {**SMALL, "loss": loss, "negatives": 8, "epochs": 15, "dropout": 0.1, "patience": 15}
    model = model_class(name)(**settings).fit(split)
    assert model.history[-1]["train_loss"] < model.history[0]["train_loss"]


def test_auto_is_full_for_small_and_sampled_with_row_sparse_updates_for_large_catalogues(monkeypatch, split: Split):
    small = model_class("SASRec")(**SMALL).fit(split)
    assert small.net.loss_name == "full"
    monkeypatch.setattr(nets, "LARGE_CATALOG", 10)
    large = model_class("SASRec")(**SMALL, negatives=4).fit(split)
    assert large.net.loss_name == "sampled"
    assert large.net.items.embedding.sparse


@pytest.mark.parametrize("name", NETS)
def test_padding_and_batch_size_change_no_score(name: str, split: Split, monkeypatch):
    model = model_class(name)(**SMALL).fit(split)
    histories = split.test.histories
    whole = model.score(histories)
    monkeypatch.setattr(nets, "READ_TOKENS", 1)
    assert (model.score(histories) - whole).abs().max() < 1e-5


def test_only_the_latest_events_are_read(split: Split):
    for name in NETS:
        model = model_class(name)(**SMALL).fit(split)
        long = Sequences.from_lists([[1, 2, 3, 4, 5, 6, 7, 8, 9]])
        torch.testing.assert_close(model.score(long), model.score(long.last(model.read_length)))


@pytest.mark.parametrize("mode", ["init", "frozen", "nullspace"])
@pytest.mark.parametrize("name", ["SASRec", "BERT4Rec"])
def test_text_modes_train_save_and_load_without_the_encoder(
    name: str, mode: str, split: Split, tiny_encoder: Path, tmp_path: Path
):
    import seqlore

    source = {"encoder": str(tiny_encoder), "store": str(tmp_path / "store"), "mode": mode}
    model = model_class(name)(**SMALL, item_init=source).fit(split)
    folder = model.save(tmp_path / "model")
    for old in (tmp_path / "store").rglob("*"):
        if old.is_file():
            old.unlink()
    loaded = seqlore.load(folder)
    torch.testing.assert_close(loaded.score(split.test.histories), model.score(split.test.histories))


def test_the_permuted_control_differs(split: Split, tiny_encoder: Path, tmp_path: Path):
    source = {"encoder": str(tiny_encoder), "store": str(tmp_path)}
    plain = scores("SASRec", split, item_init=source)
    assert not torch.equal(plain, scores("SASRec", split, item_init={**source, "permute": True}))


def test_validation_stops_and_is_told(split: Split):
    model = model_class("SASRec")(**{**SMALL, "epochs": 9}, patience=1, valid_cases=5, monitor="hr@20").fit(split)
    assert len(model.history) < 9, "hr@20 of 15 items is 1 from the start, so patience 1 stops after two epochs"
    assert model.best_epoch == 1
    assert model.about["valid"] == model.history[0]["valid"]


def test_without_validation_cases_it_takes_exactly_its_epochs(split: Split):
    model = model_class("SASRec")(**{**SMALL, "epochs": 3}).fit(split.with_everything())
    assert [row["epoch"] for row in model.history] == [1, 2, 3]
    assert "valid" not in model.history[0]


def test_bad_settings_are_one_sentence():
    with pytest.raises(ConfigError, match="dropout"):
        model_class("SASRec")(dropout=1.5)


@pytest.mark.parametrize("name", ["SASRec", "BERT4Rec", "FDSA", "S3Rec", "CL4SRec", "BSARec", "eSASRec", "Recformer"])
def test_heads_that_do_not_divide_the_width_are_refused_with_a_remedy(name: str):
    said = "heads = 3 do not divide embedding_size = 64: take embedding_size = 66, or heads out of 1, 2, 4, 8, 16"
    with pytest.raises(ConfigError, match=said):
        model_class(name)(embedding_size=64, heads=3)


def test_any_accuracy_can_be_monitored_and_nothing_else(split: Split):
    model = model_class("SASRec")(**SMALL, monitor="mrr@5").fit(split)
    assert "mrr@5" in model.about["valid"]
    for bad, message in (("ndgc@10", "did you mean 'ndcg'"), ("ndcg", "no cut-off"), ("coverage@10", "among hr")):
        with pytest.raises(ConfigError, match=message):
            model_class("SASRec")(monitor=bad)


@pytest.mark.parametrize("name", NETS)
def test_events_of_one_time_are_shown_in_new_orders_where_the_split_shuffles_them(name, split: Split):
    days = split.dataset.interactions.with_columns(pl.col("timestamp") // 3)
    tied = {t: leave_one_out(Dataset.from_frames(days, split.dataset.items), ties=t) for t in ("file", "shuffled")}
    for ties, usual in (("file", False), ("shuffled", True)):
        learned = {c: scores(name, tied[ties], shuffle_ties=c) for c in (None, False, True)}
        assert torch.equal(learned[None], learned[usual])
        assert not torch.equal(learned[None], learned[not usual])
