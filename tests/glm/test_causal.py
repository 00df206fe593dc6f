"""The mechanism on ordinary causal models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backbones import make_backbone
from seqlore.data import Split, leave_one_out
from seqlore.errors import ConfigError
from seqlore.glm.causal import load_causal
from seqlore.glm.marks import Marks
from seqlore.glm.model import blank_sight
from seqlore.glm.recsysllm import RecSysLLM
from seqlore.recommender import load
from toys import make_dataset

TITLES = {"a": "Rose Soap", "b": "Rose Soap strong", "c": "Mint", "d": "Oil"}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(make_dataset({"u": list("abcd"), "v": list("bcda"), "w": list("cdab")}, TITLES))


def test_before_it_learns_it_is_the_model_that_it_was(folder: Path):
    from transformers import AutoModelForCausalLM

    body, tokenizer = load_causal(folder)
    assert body.longest == 128
    marks = Marks.of(tokenizer)
    assert marks.start == tokenizer.token_to_id("<s>")
    assert max(marks.cls, marks.mask, marks.smask, marks.gmask) < body.size
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    inter, intra = torch.tensor([[0, 1, 2, 1, 1]]), torch.tensor([[0, 0, 0, 1, 2]])
    with torch.no_grad():
        found = body.logits(body(ids, inter, intra, blank_sight(torch.tensor([3]), 5)))
        plain = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    torch.testing.assert_close(found[..., : plain.shape[2]], plain, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        body.block_position_embeddings.weight.normal_()
        moved = body.logits(body(ids, inter, intra, blank_sight(torch.tensor([3]), 5)))
    assert (moved - found).abs().max() > 0.01


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_it_is_tuned_searched_scored_and_saved(folder: Path, split: Split, tmp_path: Path, tune: str):
    settings = {"epochs": 2, "warmup_steps": 0, "batch_tokens": 128, "learning_rate": 0.01}
    model = RecSysLLM(base_model=str(folder), tune=tune, **settings).fit(split)
    lists = model.rank(split.test.histories, 4, exclude_seen=False)
    scores = model.log_likelihoods(split.test.histories)
    expected = scores.gather(1, torch.from_numpy(lists.items.astype(np.int64)))
    np.testing.assert_allclose(lists.scores, expected.numpy(), atol=1e-4)
    assert (model._glm.block_position_embeddings.weight.abs().max() > 0).item()
    loaded = load(model.save(tmp_path / "model"))
    again = loaded.rank(split.test.histories, 4, exclude_seen=False)
    assert again.items.tolist() == lists.items.tolist()
    np.testing.assert_allclose(again.scores, lists.scores, atol=1e-5)
    with pytest.raises(ConfigError, match="export writes GLMs"):
        model.export(tmp_path / "glm")
