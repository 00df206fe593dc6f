"""LLMSeqSim: worked examples with vectors that are known, and the whole way with a small encoder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqlore import recommender
from seqlore.data import Sequences
from seqlore.errors import ConfigError, DataError
from seqlore.models.llmseqsim import LLMSeqSim
from seqlore.text.source import TextSource
from toys import make_split

#: Text → vector; "" has none.
SPACE = {"north": (0.0, 2.0), "east": (1.0, 0.0), "north-east": (1.0, 1.0), "south": (0.0, -1.0)}
WALKS = {"u": ["e", "n", "mute"], "v": ["s", "e"], "w": ["ne"], "x": ["e"]}
TITLES = {"e": "east", "n": "north", "ne": "north-east", "s": "south", "mute": ""}


@pytest.fixture(autouse=True)
def known_space(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The encoder knows SPACE, and the vector of concatenated texts is that of the first. Returns what it was asked."""
    asked = []

    def embed_texts(self: TextSource, texts: list[str], **_: object) -> np.ndarray:
        asked.append(list(texts))
        return np.array([SPACE.get(t.split(", ")[0], (0.0, 0.0)) for t in texts], np.float32)

    monkeypatch.setattr(TextSource, "embed_texts", embed_texts)
    return asked


def fitted(**settings: object) -> LLMSeqSim:
    return LLMSeqSim(**settings).fit(make_split(WALKS, TITLES))


def listed(model: LLMSeqSim, *history: str, **options: bool) -> dict[str, float]:
    out = model.recommend([list(history)], k=20, **options)
    return dict(zip(out.items[0], out.scores[0].tolist(), strict=False))


def test_similarities_by_hand():
    # From north (0, 2): north-east (1, 1), east (1, 0), south (0, −1).
    assert listed(fitted(), "n") == pytest.approx({"ne": math.sqrt(0.5), "e": 0, "s": -1}, abs=1e-6)
    assert listed(fitted(similarity="dot"), "n") == pytest.approx({"ne": 2, "e": 0, "s": -2})
    # −½ ‖x − y‖²
    assert listed(fitted(similarity="euclidean"), "n") == pytest.approx({"ne": -1, "e": -2.5, "s": -4.5})


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [
        ("last", (1, 0)),
        ("mean", (1 / 3, 1 / 3)),
        ("linear", (1.0 / 2.7, (2 * 0.9 - 0.8) / 2.7)),
        ("relative", (1 / 2, (2 * 2 - 1) / 6)),
        ("harmonic", (6 / 11, (2 * 3 - 2) / 11)),
        ("quadratic", (36 / 49, (2 * 9 - 4) / 49)),
        ("exponential", (4 / 7, (2 * 2 - 1) / 7)),
        ("log", None),
        ("concat", (1, 0)),
    ],
)
def test_poolings_by_hand(pooling, pooled):
    model = fitted(pooling=pooling, similarity="dot")
    history = Sequences.from_lists([model.catalog.index(["s", "n", "e"])])
    if pooled is None:
        a, b, c = 1 / (1 + math.log(3)), 1 / (1 + math.log(2)), 1
        pooled = (c / (a + b + c), (2 * b - a) / (a + b + c))
    torch.testing.assert_close(model.encode(history), torch.tensor([pooled], dtype=torch.float32))


def test_an_item_that_recurs_counts_each_time():
    model = fitted(pooling="mean", similarity="dot")
    history = Sequences.from_lists([model.catalog.index(["n", "e", "mute", "e"])])
    torch.testing.assert_close(model.encode(history), torch.tensor([[2 / 3, 2 / 3]]))
    latest = fitted(pooling="mean", similarity="dot", last_n_items=2)
    torch.testing.assert_close(latest.encode(history), torch.tensor([[1.0, 0.0]]))


def test_concatenated_texts_stand_latest_first(known_space):
    fitted(pooling="concat", last_n_items=2).recommend([["s", "mute", "n", "e"], []])
    assert known_space[-1] == ["east, north"]


def test_texts_are_looked_up_once_and_not_at_load(known_space, tmp_path: Path):
    model = fitted()
    before = listed(model, "n")
    model.save(tmp_path)
    known_space.clear()
    assert listed(recommender.load(tmp_path), "n") == before
    assert known_space == []


def test_an_item_without_text_is_skipped_and_never_listed():
    model = fitted(similarity="euclidean")  # where a zero vector would be near to everything
    assert "mute" not in listed(model, "n")
    assert listed(model, "n", "mute", exclude_seen=False) == listed(model, "n", exclude_seen=False)


@pytest.mark.parametrize("history", [(), ("mute",), ("unheard of",)])
def test_a_history_without_text_gets_the_popular_items(history):
    found = listed(fitted(), *history)
    assert next(iter(found)) == "e"
    assert found["e"] == pytest.approx(3 / 7)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_a_score_is_an_inner_product(similarity):
    model = fitted(similarity=similarity, pooling="mean")
    histories = Sequences.from_lists([[1], [2, 3], [4, 5, 1]])
    product, scores = model.encode(histories) @ model.item_vectors().T, model.score(histories)
    full = scores > -torch.inf
    assert full.any()
    torch.testing.assert_close(product[full], scores[full])


def test_vectors_can_be_reduced():
    model = fitted(reduce="whiten", width=1)
    assert model.item_vectors().shape == (6, 1)
    with pytest.raises(ConfigError, match="'concat' embeds new texts, which are not reduced"):
        LLMSeqSim(pooling="concat", reduce="pca")


def test_no_texts_at_all_is_refused():
    with pytest.raises(DataError, match="no text field 'story'"):
        fitted(text={"fields": ["story"]})
