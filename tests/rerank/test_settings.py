"""Every setting of the augmentations that have knowledge does something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from rerank.worlds import TINY, wishes
from seqlore.data import Split, user_ratio
from seqlore.data.simulate import simulate
from seqlore.lore.extractive import ExtractiveModel
from seqlore.rerank import KAR, PRM, Knowledge, Uniform, UR4Rec, gathering
from seqlore.rerank.gathering import KnowledgeSettings, gather_knowledge
from seqlore.rerank.lists import ListData
from seqlore.rerank.pretraining import UNUSED, PretrainingConfig

SMALL = {"body": "random", "size": 8, "heads": 2, "width": 4}
PHASE = {"epochs": 1, "negatives": 2, "warmup_steps": 0, "batch_size": 16, "learning_rate": 0.01}

#: A value other than SMALL's, PHASE's or the default, for each setting; and what it matters beside.
UR4REC = {
    "item_texts": True,
    "order": True,
    "proxies": 2,
    "layers": 1,
    "size": 16,
    "heads": 4,
    "form": "single",
    "history": 1,
    "width": 6,
    "dropout": 0.5,
    "text_dropout": 0.5,
    "rate": 1.0,
    "pretrain": False,
    "contrast": False,
    "matching": False,
    "fresh_proxies": True,
    "z": "permuted",
    "z_seed": 7,
}
PRETRAINING = {
    "learning_rate": 0.03,
    "weight_decay": 5.0,
    "warmup_steps": 50,
    "schedule": "constant",
    "clip_norm": 1e-3,
    "ema_decay": 0.5,
    "epochs": 2,
    "precision": "bf16",
    "batch_size": 5,
    "negatives": 3,
    "temperature": 1.0,
    "items": "learned",
    "alpha": 5.0,
    "matching_loss": "mean",
}
KAR_FLIPPED = {"width": 5, "hidden": 9, "shared": 1, "own": 1, "dropout": 0.5}
KNOWLEDGE: dict[str, Any] = {
    "texts": "raw",
    "history": 1,
    "every": 3,
    "budget": 10,
    "sentences": True,
    "most": 1,
    "standardize": False,
    "item": "gadget",
    "items": "gadgets",
    "chosen": "picked",
    "aspects": "price",
    "precision": "bf16",
    "user_columns": (),
}
#: Which prompts must say it.
WHOSE = {
    "aspects": ("item-knowledge", "user-preference"),
    "item": ("item-knowledge",),
    "items": ("user-preference",),
    "chosen": ("user-preference",),
    "user_columns": ("user-preference",),
}
#: Names of models, encoders and files: of the tests of lore and text, and below; and what training alone does.
PLACES = {"model", "store", "encoder", "vectors", "hidden"}


@pytest.fixture(scope="module")
def world() -> tuple[Split, Knowledge]:
    split, texts = wishes(60)
    return split, Knowledge(texts, torch.randn(split.catalog.size, texts.width, generator=torch.manual_seed(0)))


def learned(world: tuple[Split, Knowledge], augmentation: Any) -> Tensor:
    split = world[0].with_validation()  # so that the last epoch is kept, whatever it is worth
    source = Uniform(4, unseen="history").fitted(split)
    model = PRM(**{**TINY, "embedding_size": 8, "epochs": 2}, augmentation=augmentation).fit(split, source)
    cases = source.asked(world[0].test)
    return model.score(cases.histories, cases.candidates)


def test_all_settings_are_flipped_here():
    nets = {"body", "pretraining", "knowledge"}  # below, and test_ur4rec's
    assert set(UR4Rec.Config.model_fields) == set(UR4REC) | nets
    others = {"schedule_epochs"} & set(PretrainingConfig.model_fields)  # of tests/training
    assert set(PretrainingConfig.model_fields) == set(PRETRAINING) | set(UNUSED) | others
    assert set(KAR.Config.model_fields) == set(KAR_FLIPPED) | {"knowledge"}
    assert set(KnowledgeSettings.model_fields) == set(KNOWLEDGE) | PLACES


@pytest.mark.parametrize("field", sorted({*UR4REC} - {"z", "z_seed"}))
def test_every_setting_of_ur4rec_does_something(world: tuple[Split, Knowledge], field: str):
    own = {**SMALL, "pretraining": PHASE}
    flipped = {**own, field: UR4REC[field]}
    before, after = (learned(world, UR4Rec(texts=world[1], **each)) for each in (own, flipped))
    assert not torch.equal(before, after)


@pytest.mark.parametrize("field", sorted(PRETRAINING))
def test_every_setting_of_phase_1_does_something(world: tuple[Split, Knowledge], field: str):
    beside = {"epochs": 2} if field == "schedule" else {}
    own = {**PHASE, **beside}
    flipped = {**own, field: PRETRAINING[field]}
    before, after = (learned(world, UR4Rec(texts=world[1], **SMALL, pretraining=each)) for each in (own, flipped))
    assert not torch.equal(before, after)


@pytest.mark.parametrize("field", sorted(KAR_FLIPPED))
def test_every_setting_of_kar_does_something(world: tuple[Split, Knowledge], field: str):
    before, after = (learned(world, KAR(texts=world[1], **each)) for each in ({}, {field: KAR_FLIPPED[field]}))
    assert not torch.equal(before, after)


@pytest.fixture(scope="module")
def shop() -> Split:
    data = simulate(24, 60, 10, seed=3, reviews=False)
    users = data.interactions.select("user_id").unique(maintain_order=True).with_columns(age=pl.lit("30"))
    return user_ratio(replace(data, users=users), parts=(6, 2, 2), targets=2, first=4)


@pytest.mark.parametrize("field", sorted(KNOWLEDGE))
def test_every_setting_of_knowledge_does_something(shop: Split, tmp_path: Path, tiny_encoder: Path, field: str):
    places = {"store": tmp_path / "l", "vectors": tmp_path / "v", "encoder": str(tiny_encoder)}
    beside = {"sentences": True} if field == "most" else {}
    lists = ListData(shop, Uniform(9).fitted(shop), pool=1)

    def gathered(**given: Any) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
        asked: list[tuple[str, str]] = []
        settings = KnowledgeSettings.parse({**places, **beside, **given}, "knowledge")

        class Spy(ExtractiveModel):
            def generate(self, prompts: Any, sampling: Any) -> Iterator:
                asked.extend((p.task, f"{p.system}\n{p.text}") for p in prompts)
                yield from super().generate(prompts, sampling)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gathering, "language_model", lambda *_, **__: Spy())
            knowledge, _ = gather_knowledge(lists, settings)
        return knowledge.state_dict(), asked

    before = gathered()
    (tmp_path / "l").unlink()  # so that all is asked again
    after = gathered(**{field: KNOWLEDGE[field]})
    same = before[1] == after[1] and all(
        each.shape == after[0][key].shape and torch.equal(each, after[0][key]) for key, each in before[0].items()
    )
    assert not same, "neither the prompts nor the vectors have changed"
    for task in WHOSE.get(field, ()):
        changed = {text for t, text in after[1] if t == task} != {text for t, text in before[1] if t == task}
        assert changed, f"the prompts of {task} say the same"


def test_the_prompt_of_an_item_tells_title_and_brand_alone_and_asks_for_the_aspects(
    shop: Split, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Zhang et al., section 3.1.2; categories and description are facts that the extractive model alone reads."""
    asked: list[Any] = []

    class Spy(ExtractiveModel):
        def generate(self, prompts: Any, sampling: Any) -> Iterator:
            asked.extend(prompts)
            yield from super().generate(prompts, sampling)

    monkeypatch.setattr(gathering, "language_model", lambda *_, **__: Spy())
    words = {"item": "gadget", "aspects": "smell, sound"}
    places = {"store": tmp_path / "l", "vectors": tmp_path / "v", "encoder": str(tiny_encoder)}
    gathering.item_vectors(shop, KnowledgeSettings.parse({**places, **words}, "knowledge"))
    rows = {row["title"]: row for row in shop.catalog.items.iter_rows(named=True)}
    assert {prompt.fact("title")[0] for prompt in asked} == set(rows)
    for prompt in asked:
        row = rows[prompt.fact("title")[0]]
        assert f'gadget "{row["title"]}" by {row["brand"]}.' in prompt.text
        assert "smell, sound" in prompt.text
        assert row["description"] not in prompt.text
        assert not any(category in prompt.text.replace(row["title"], "") for category in row["categories"])
        assert prompt.fact("categories")
