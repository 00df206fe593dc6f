"""Completions drawn from one reading of a prompt, beside those of a local model that reads it for each."""

from __future__ import annotations

from typing import Any

import pytest

from backbones import make_backbone
from seqlore.language.sampling import complete
from seqlore.lore.local import LocalModel
from seqlore.lore.model import Prompt, Sampling, generate_all

TEXTS = ["1. Rose Soap\n\n###\n", "1. Mint\n2. Oil\n\n###\n", "a", "1. Rose Soap\n\n###\n"]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def speaker(request, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = make_backbone(tmp_path_factory.mktemp(request.param), request.param)
    return LocalModel(str(folder), device="cpu", chat=False)


def ours(speaker: LocalModel, texts: list[str], **settings: Any) -> list[tuple[str, ...]]:
    ids = [speaker.tokenizer(t).input_ids for t in texts]
    return complete(speaker.model, speaker.tokenizer, ids, Sampling(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0, "n": 5},
        {"temperature": 0.5, "n": 3, "top_p": 0.7, "seed": 4},
        {"temperature": 0.0, "n": 2},
        {"temperature": 1.0, "n": 6, "stop": ("e", "##")},
    ],
    ids=["drawn", "top_p", "greedy", "stopped"],
)
def test_texts_are_those_of_the_local_model(speaker: LocalModel, settings: dict[str, Any]):
    theirs = generate_all(speaker, [Prompt(t) for t in TEXTS], Sampling(max_tokens=12, **settings))
    assert ours(speaker, TEXTS, max_tokens=12, **settings) == [answer.texts for answer in theirs]


def test_texts_end_at_the_mark_at_the_end_token_or_at_the_limit(speaker: LocalModel):
    drawn = [t for texts in ours(speaker, TEXTS, max_tokens=40, temperature=1.0, n=40, stop=("e",)) for t in texts]
    free = [t for texts in ours(speaker, TEXTS, max_tokens=40, temperature=1.0, n=40) for t in texts]
    assert not any("e" in t for t in drawn)
    assert [t.split("e")[0] for t in free] == drawn
    sizes = {len(speaker.tokenizer(t, add_special_tokens=False).input_ids) for t in free}
    assert min(sizes) < 40  # </s> was drawn


def test_neither_company_nor_chunks_change_a_text(speaker: LocalModel, monkeypatch: pytest.MonkeyPatch):
    settings = {"max_tokens": 10, "temperature": 1.0, "n": 4}
    together = ours(speaker, TEXTS, **settings)
    assert together[0] == together[3]
    assert len(set(together[0])) > 1
    monkeypatch.setattr("seqlore.language.tree.CPU_TOKENS", 1)
    assert ours(speaker, TEXTS, **settings) == together
    assert [ours(speaker, [t], **settings)[0] for t in TEXTS] == together
    assert ours(speaker, [], **settings) == []
