"""A GLM of the data's own: it learns, it is the same for the same seed, and it is what RecSysLLM tunes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seqlore.data import Split, leave_one_out
from seqlore.errors import DataError
from seqlore.glm.blanks import Documents
from seqlore.glm.marks import load_tokenizer
from seqlore.glm.original import load_glm
from seqlore.glm.pretrain import GLMPretrainConfig, in_windows, pretrain_glm
from seqlore.glm.recsysllm import RecSysLLM
from toys import make_dataset, make_split

CONFIG = GLMPretrainConfig(
    shape="nano",
    vocabulary=320,
    context=48,
    tokens=6000,
    epochs=3,
    batch_tokens=256,
    learning_rate=0.01,
    warmup_steps=5,
)


@pytest.fixture(scope="module")
def split() -> Split:
    titles = {
        f"i{n}": f"soft {colour} {thing}"
        for n, (colour, thing) in enumerate(
            (c, t) for c in ("red", "blue", "green", "grey") for t in ("soap", "oil", "balm", "brush")
        )
    }
    walks = {f"u{u}": [f"i{(u + 3 * j) % 16}" for j in range(6)] for u in range(16)}
    return leave_one_out(make_dataset(walks, titles))


def test_it_learns_and_a_resumed_or_second_run_is_the_same(split: Split, tmp_path: Path):
    rows: list[dict] = []
    told = pretrain_glm(split, tmp_path / "a", CONFIG, progress=rows.append, checkpoint=tmp_path / "steps")
    assert rows[-1]["valid"]["log_likelihood"] > rows[0]["valid"]["log_likelihood"] + 0.3
    assert told["log_likelihood"] == max(row["valid"]["log_likelihood"] for row in rows)
    assert 0.9 * CONFIG.tokens < told["read_tokens"] <= CONFIG.tokens
    again = pretrain_glm(split, tmp_path / "b", CONFIG, checkpoint=tmp_path / "steps")  # nothing left to do
    other = pretrain_glm(split, tmp_path / "c", CONFIG)
    assert told["log_likelihood"] == again["log_likelihood"] == pytest.approx(other["log_likelihood"], abs=1e-6)
    model = load_glm(tmp_path / "b")
    assert model.longest == 48
    assert model.size == load_tokenizer(tmp_path / "b").get_vocab_size() <= 320


def test_it_is_the_body_that_is_tuned(split: Split, tmp_path: Path):
    settings = {"epochs": 1, "warmup_steps": 0, "batch_tokens": 256, "learning_rate": 1e-3}
    model = RecSysLLM(**settings, pretraining=CONFIG.model_dump()).fit(split, checkpoint=tmp_path)
    told = model.about["pretraining"]
    assert told["best_round"] in (1, 2, 3)
    again = RecSysLLM(**settings, base_model=str(next(tmp_path.glob("base-*")))).fit(split)
    assert again.about["pretraining"] == told
    wider = {**CONFIG.model_dump(), "dropout": 0.1}
    other = RecSysLLM(**settings, pretraining=wider)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecSysLLM, "_tune", lambda *_, **__: None)
        other.fit(split, checkpoint=tmp_path)
    assert other.about["pretraining"] != told, "other settings are another body"
    assert len(list(tmp_path.glob("base-*/pretraining.json"))) == 2
    lists = model.rank(split.test.histories, 3)
    np.testing.assert_allclose(again.rank(split.test.histories, 3).scores, lists.scores, atol=1e-5)
    scratch = RecSysLLM(**settings, start="random", pretraining=CONFIG.model_dump()).fit(split)
    assert "pretraining" not in scratch.about
    assert model.about["valid"]["log_likelihood"] > scratch.about["valid"]["log_likelihood"]


def test_a_body_that_read_what_is_held_out_is_refused(split: Split, tmp_path: Path):
    pretrain_glm(split.with_everything(), tmp_path, CONFIG)
    settings = {"epochs": 1, "warmup_steps": 0, "batch_tokens": 256, "base_model": str(tmp_path)}
    with pytest.raises(DataError, match=r"if that is meant, set any_corpus = true"):
        RecSysLLM(**settings).fit(split)
    assert RecSysLLM(**settings, any_corpus=True).fit(split).about["pretraining"]["best_round"]


def test_long_documents_become_windows():
    documents = Documents(
        np.arange(12, dtype=np.int32), np.array([0, 7, 7, 12]), np.zeros(12, np.int32), np.zeros(12, bool)
    )
    cut = in_windows(documents, 3)
    assert [cut.tokens[a:b].tolist() for a, b in pairwise(cut.offsets)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
        [],
        [7, 8, 9],
        [10, 11],
    ]


def test_too_little_text_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="too little text"):
        pretrain_glm(make_split({"u": ["a", "b"]}, {"a": "A", "b": "B"}), tmp_path, CONFIG)
