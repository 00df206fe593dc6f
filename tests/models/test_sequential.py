"""What the sequential baselines share: each of their own settings does something, padding and batches change nothing,
texts enter each of them, and more than one process is dealt the same work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import seqlore
from seqlore.data import Sequences, Split, leave_one_out
from seqlore.errors import DataError
from seqlore.models import net as nets
from seqlore.models.net import NetConfig
from seqlore.recommender import model_class
from seqlore.serve.arrivals import with_new_items
from toys import make_dataset

#: Each model with the settings that keep it small.
SMALL = {
    "embedding_size": 8,
    "epochs": 2,
    "max_length": 6,
    "batch_tokens": 64,
    "warmup_steps": 0,
    "learning_rate": 0.01,
    "dropout": 0.2,
}
MODELS: dict[str, dict] = {
    "NARM": {},
    "STAMP": {},
    "HGN": {},
    "Caser": {},
    "FDSA": {"attributes": ["title"]},
    "S3Rec": {"attributes": ["title"], "pretrain_epochs": 2},
    "LRURec": {},
    "BSARec": {},
    "eSASRec": {},
    "CL4SRec": {"contrast_weight": 1.0},
    "ICLRec": {"intents": 3, "contrast_weight": 1.0, "intent_weight": 1.0},
    "Recformer": {"fields": ["title"], "pretrain_epochs": 2, "vocabulary": 300, "layers": 1},
}
#: A value other than the default and SMALL's for each setting of their own (inherited ones are tested with the nets).
FLIPPED = {
    "hidden_size": 20,
    "attention_dropout": 0.6,
    "pooling": "begin",
    "input_dropout": 0.6,
    "layers": 3,
    "stranger_share": 0.6,
    "window": 2,
    "targets": 2,
    "horizontal": 3,
    "vertical": 2,
    "heads": 4,
    "inner_size": 4,
    "block_dropout": 0.6,
    "attributes": ["half"],
    "pretrain_epochs": 1,
    "pretrain_rate": 0.1,
    "pretrain_tokens": 16,
    "pretrain_mask": 0.7,
    "aap_weight": 5.0,
    "mip_weight": 5.0,
    "map_weight": 5.0,
    "sp_weight": 5.0,
    "smallest": 0.2,
    "largest": 0.9,
    "alpha": 0.1,
    "cutoff": 0,
    "causal": True,
    "crop": 0.9,
    "mask": 0.9,
    "reorder": 0.9,
    "contrast_weight": 0.0,
    "temperature": 0.3,
    "similarity": "dot",
    "intents": 5,
    "intent_weight": 0.0,
    "mitigate": False,
    "fields": ["half"],
    "attribute_tokens": 2,
    "max_tokens": 9,
    "vocabulary": 301,
    "refresh_epochs": 1,
    "mask_probability": 0.6,
    "mask_weight": 3.0,
}
ITEM_INIT = sorted(set(MODELS) - {"Recformer"})


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    walks = {f"u{u}": [f"i{i}" for i in rng.integers(0, 15, rng.integers(4, 12))] for u in range(25)}
    made = make_dataset(
        walks, {f"i{i}": f"thing {'abcdefghijklmno'[i]} of {'some' if i % 2 else 'no'} use" for i in range(15)}
    )
    halves = made.items.with_columns(half=made.items["title"].str.slice(8))
    return leave_one_out(type(made).from_frames(made.interactions, halves, name="toy"))


def fitted(name: str, split: Split, **settings):
    return model_class(name)(**{**SMALL, **MODELS[name], **settings}).fit(split.with_validation())


@pytest.fixture(scope="module")
def plain(split: Split) -> dict:
    return {}


def own_settings() -> list[tuple[str, str]]:
    skipped = {*NetConfig.model_fields, "pre_norm", "position", "input_norm"}
    return [(n, f) for n in MODELS for f in model_class(n).Config.model_fields if f not in skipped]


@pytest.mark.parametrize(("name", "field"), own_settings())
def test_every_setting_of_its_own_changes_what_is_learned(name: str, field: str, split: Split, plain: dict):
    assert field in FLIPPED, f"say here how {field} is tested"
    if name not in plain:
        plain[name] = fitted(name, split).score(split.test.histories)
    assert not torch.equal(plain[name], fitted(name, split, **{field: FLIPPED[field]}).score(split.test.histories))


@pytest.mark.parametrize("name", MODELS)
def test_padding_and_batch_size_change_no_score_and_old_events_are_not_read(name: str, split: Split, monkeypatch):
    model = fitted(name, split)
    whole = model.score(split.test.histories)
    monkeypatch.setattr(nets, "READ_TOKENS", 1)
    torch.testing.assert_close(model.score(split.test.histories), whole, atol=1e-5, rtol=1e-5)
    long = Sequences.from_lists([[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    torch.testing.assert_close(model.score(long), model.score(long.last(model.read_length)))


@pytest.mark.parametrize("mode", ["init", "frozen"])
@pytest.mark.parametrize("name", ITEM_INIT)
def test_texts_enter_and_a_saved_model_needs_no_encoder(
    name: str, mode: str, split: Split, tiny_encoder: Path, tmp_path: Path
):
    source = {"encoder": str(tiny_encoder), "store": str(tmp_path / "store"), "mode": mode}
    model = fitted(name, split, item_init=source, epochs=1)
    folder = model.save(tmp_path / "model")
    for old in (tmp_path / "store").rglob("*"):
        if old.is_file():
            old.unlink()
    torch.testing.assert_close(seqlore.load(folder).score(split.test.histories), model.score(split.test.histories))
    assert not torch.equal(model.score(split.test.histories), fitted(name, split, epochs=1).score(split.test.histories))


@pytest.mark.parametrize("name", ITEM_INIT)
def test_over_texts_that_stay_a_new_item_has_a_place(name: str, split: Split, tiny_encoder: Path, tmp_path: Path):
    source = {"encoder": str(tiny_encoder), "store": str(tmp_path / "store"), "mode": "frozen"}
    model = fitted(name, split, item_init=source, epochs=1)
    new = pl.DataFrame({"item_id": ["new"], "title": ["thing z of no use"]})
    if name in ("Caser", "FDSA"):  # they know more of an item than its text
        with pytest.raises(DataError, match="takes no new items"):
            with_new_items(model, new)
        return
    more = with_new_items(model, new)
    size = model.catalog.size
    scores = more.score(split.test.histories)
    assert scores.shape[1] == size + 1
    torch.testing.assert_close(scores[:, :size], model.score(split.test.histories))
    assert scores[:, size].isfinite().all()
    after = more.score(more.histories([["i1", "new"]]))
    assert not torch.equal(after, more.score(more.histories([["i1"]])))


@pytest.mark.parametrize("loss", ["sampled", "bce"])
@pytest.mark.parametrize("name", ["HGN", "Caser", "BSARec"])
def test_other_losses_learn(name: str, loss: str, split: Split):
    model = fitted(name, split, loss=loss, negatives=8, epochs=12, dropout=0.0, patience=12)
    assert model.history[-1]["train_loss"] < model.history[0]["train_loss"]


@pytest.mark.parametrize("name", ["HGN", "Caser"])
def test_large_catalogues_take_row_sparse_updates_in_every_table(name: str, split: Split, monkeypatch):
    monkeypatch.setattr(nets, "LARGE_CATALOG", 10)
    model = fitted(name, split, negatives=4)
    tables = {n for n, p in model.net.named_parameters() if getattr(p, "row_sparse", False)}
    assert {"items.embedding.weight", "outputs.embedding.weight"} <= tables


@pytest.mark.parametrize("name", ["BSARec", "Recformer", "CL4SRec"])
def test_two_processes_share_an_epoch(name: str, split: Split):
    model = fitted(name, split)
    learn = model.training_sequences(split)
    learn = learn.take(learn.lengths >= 2)
    whole = [b[0].tolist() for b in model.batches(learn, 1, (0, 1))]
    halves = [[b[0].tolist() for b in model.batches(learn, 1, (rank, 2))] for rank in (0, 1)]
    assert len(halves[0]) == len(halves[1]) == len(whole) // 2
    assert all(batch in whole for half in halves for batch in half)
    assert not any(batch in halves[1] for batch in halves[0])
