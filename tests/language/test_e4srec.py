"""E4SRec: frozen donor vectors, an adapter that learns, words around the items, the last position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import seqlore as sl
from seqlore.data import Split, leave_one_out
from seqlore.errors import ConfigError
from seqlore.language.backbone import BackboneConfig
from seqlore.language.e4srec import E4SRec, standardised
from toys import make_dataset

DONOR = {"model": "SASRec", "settings": {"epochs": 1, "embedding_size": 8, "dropout": 0.0, "seed": 5}}


@pytest.fixture(scope="module")
def split() -> Split:
    histories = {f"u{u}": [f"i{(u + j) % 6}" for j in range(3 + u % 4)] for u in range(8)}
    return leave_one_out(make_dataset(histories))


@pytest.fixture(scope="module")
def settings(tiny_backbone: Path) -> dict:
    return {
        "backbone": {"name": str(tiny_backbone), "lora_rank": 2},
        "donor": DONOR,
        "instruction": "so:",
        "response": "?!",
        "epochs": 2,
        "warmup_steps": 0,
        "learning_rate": 0.01,
        "batch_size": 4,
    }


@pytest.fixture(scope="module")
def fitted(split: Split, settings: dict) -> E4SRec:
    return E4SRec(**settings).fit(split)


def test_vectors_are_standardised():
    vectors = torch.tensor([[9.0, 9.0], [1.0, 10.0], [3.0, 20.0], [5.0, 30.0]])
    out = standardised(vectors)
    assert out[0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(out[1:].mean(0), torch.zeros(2))
    assert out[1:].std().item() == pytest.approx(1.0)
    assert (out[3] - out[2])[1] == 5 * (out[3] - out[2])[0], "directions keep their proportions"


def test_the_donor_stays_and_adapter_projection_and_prediction_learn(fitted: E4SRec, settings: dict, split: Split):
    donor = fitted.config.donor.build(0).fit(split)
    torch.testing.assert_close(fitted.net.vectors, standardised(donor.item_vectors()))
    learned = {name for name, p in fitted.net.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in learned} == {"adapter", "project", "predict"}
    assert any(p.abs().sum() > 0 for name, p in fitted.net.named_parameters() if "lora_B" in name)
    assert fitted.about["donor"]["model"] == "SASRec"
    exempt = {name for name, p in fitted.net.named_parameters() if getattr(p, "decay_scale", 1.0) == 0}
    assert {name.split(".")[0] for name in learned - exempt} == {"project", "predict"}
    assert "project.bias" in exempt, "the mean of the words"


def test_every_prefix_is_an_example_between_the_prompts(fitted: E4SRec, split: Split):
    body, words = fitted.net.body, fitted.net.tokens.words
    seen = []
    for tokens, last, targets in fitted.batches(split)(1, (0, 1)):
        for row, end, target in zip(tokens.tolist(), last.tolist(), targets.tolist(), strict=True):
            items = [t - words for t in row if t >= words]
            assert row[: end + 1] == [0, *body.encode("so:"), *(i + words for i in items), *body.encode("?!")]
            assert not any(row[end + 1 :])
            seen.append((tuple(items), target))
    expected = [(tuple(s[:cut].tolist()), int(s[cut])) for s in split.train for cut in range(len(s))]
    assert sorted(seen) == sorted(expected)


def test_one_drawn_prefix_a_sequence(split: Split, settings: dict, fitted: E4SRec):
    model = E4SRec(**settings, prefixes="one")
    model.net = fitted.net
    make = model.batches(split)
    drawn = [sum(len(b[2]) for b in make(e, (0, 1))) for e in (1, 2)]
    assert drawn == [len(split.train)] * 2
    targets = [torch.cat([b[2] for b in make(e, (0, 1))]).sort().values.tolist() for e in (1, 1, 2, 3)]
    assert targets[0] == targets[1]
    assert len({tuple(t) for t in targets}) > 1


def test_the_loss_reads_the_last_position_over_all_items(fitted: E4SRec):
    net = fitted.net.eval()
    words = net.tokens.words
    rows = [[0, *net.body.encode("so:"), words + 2, words + 3, *net.body.encode("?!")], [0, 50, words + 1, 60]]
    targets = [4, 6]
    with torch.no_grad():
        expected = []
        for row, target in zip(rows, targets, strict=True):
            vectors = net.embed(torch.tensor([row]), net.project(net.vectors))
            expected.append(
                F.cross_entropy(net.predict.weight[1:] @ net.body.hidden(vectors)[0, -1], torch.tensor(target - 1))
            )
        longest = max(map(len, rows))
        tokens = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
        loss = net((tokens, torch.tensor([len(r) - 1 for r in rows]), torch.tensor(targets)))
    assert loss.item() == pytest.approx(sum(expected).item() / 2, rel=1e-5)


def test_serving_sees_what_training_saw(fitted: E4SRec, split: Split):
    """The state of a history, with the instruction computed once, is that of the whole row."""
    net = fitted.net.eval()
    history = split.test.histories.take(np.array([3]))
    row = [*net.before, *(int(i) + net.tokens.words for i in history.items), *net.after]
    with torch.no_grad():
        whole = net.body.hidden(net.embed(torch.tensor([row]), net.project(net.vectors)))[0, -1]
    torch.testing.assert_close(fitted.encode(history)[0], whole, atol=1e-5, rtol=1e-5)


def test_saved_without_donor_and_body(fitted: E4SRec, split: Split, tmp_path: Path):
    fitted.save(tmp_path / "m")
    loaded = sl.load(tmp_path / "m")
    torch.testing.assert_close(loaded.score(split.test.histories), fitted.score(split.test.histories))
    assert {k.split(".")[0] for k in loaded.state()} == {"adapter", "project", "predict", "vectors", "counts"}


def test_the_adapter_is_the_default_and_a_donor_needs_vectors(tiny_backbone: Path, split: Split, monkeypatch):
    name = {"name": str(tiny_backbone)}
    assert E4SRec(backbone=name).config.backbone.tune == "lora"
    assert E4SRec(backbone={**name, "tune": "none"}).config.backbone.tune == "none"
    assert E4SRec(backbone=BackboneConfig(**name)).config.backbone.tune == "lora"
    assert E4SRec(backbone=BackboneConfig(**name, tune="none")).config.backbone.tune == "none"
    monkeypatch.setattr(sl.models.Markov, "fit", lambda *_: pytest.fail("fitted before it is looked at"))
    with pytest.raises(ConfigError, match="no item vectors"):
        E4SRec(backbone=name, donor={"model": "Markov"}).fit(split)
    with pytest.raises(ConfigError, match="did you mean 'dropout'"):
        E4SRec(backbone=name, donor={"settings": {"drop_out": 1}}).fit(split)


def test_a_donor_is_taken_up_from_its_own_checkpoint(settings: dict, split: Split, tmp_path: Path):
    first = E4SRec(**settings).fit(split, checkpoint=tmp_path)
    assert (tmp_path / "donor" / "state.json").is_file()
    assert (tmp_path / "state.json").is_file()
    again: list[dict] = []
    second = E4SRec(**settings).fit(split, checkpoint=tmp_path, progress=lambda row: again.append(row))
    assert not again, "neither the donor nor the body is trained a second time"
    torch.testing.assert_close(second.net.vectors, first.net.vectors)
