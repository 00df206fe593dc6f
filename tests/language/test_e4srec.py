"""E4SRec: frozen donor vectors, an adapter that learns, words around the items, the last position."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import seqlore as sl
from backbones import make_backbone
from seqlore.data import Split, leave_one_out
from seqlore.errors import ConfigError, MissingExtraError
from seqlore.language.backbone import BackboneConfig
from seqlore.language.e4srec import E4SRec, standardised
from seqlore.language.prefixes import PrefixPlan, prefix_row, prefix_rows
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


def test_the_prediction_may_start_at_the_donors_vectors(fitted: E4SRec, settings: dict, split: Split):
    model = E4SRec(**settings, predict_start="donor")
    model._learns_from(split)
    model._vectors = fitted.net.vectors
    torch.manual_seed(0)
    net = model.build(split.counts())
    start, donor = net.predict.weight[1:].detach(), model._vectors[1:]
    torch.testing.assert_close(F.normalize(start) @ F.normalize(start).T, F.normalize(donor) @ F.normalize(donor).T)
    drawn = E4SRec(**settings)
    drawn._learns_from(split)
    drawn._vectors = model._vectors
    assert start.std().item() == pytest.approx(drawn.build(split.counts()).predict.weight.std().item(), rel=0.2)


def test_every_prefix_is_an_example_between_the_prompts(fitted: E4SRec, split: Split):
    body, words = fitted.net.body, fitted.net.tokens.words
    front, seen = [0, *body.encode("so:")], []
    for batch in fitted.batches(split)(1, (0, 1)):
        mask = batch.mask()
        for b, at in (batch.targets > 0).nonzero().tolist():
            there = mask[b, at].nonzero()[:, 0]
            assert batch.positions[b, there].tolist() == list(range(len(there))), "as in a row of its own"
            row = batch.tokens[b, there].tolist()
            items = [t - words for t in row if t >= words]
            assert row == [*front, *(i + words for i in items), *body.encode("?!")]
            seen.append((tuple(items), int(batch.targets[b, at])))
    expected = [(tuple(s[:cut].tolist()), int(s[cut])) for s in split.train for cut in range(len(s))]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("longest", [2, 9])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "mistral", "gemma2", "mamba"])
def test_prefixes_in_one_row_are_learned_as_in_rows_of_their_own(
    split: Split, settings: dict, tmp_path: Path, family: str, longest: int
):
    body = {"name": str(make_backbone(tmp_path / family, family)), "lora_rank": 2, "lora_dropout": 0.0}
    body |= {"tune": "none"} if family == "mamba" else {}  # peft has no adapter for all of its layers
    model = E4SRec(**{**settings, "backbone": body, "max_length": longest, "epochs": 1}).fit(split)
    net = model.net.eval()
    assert net.body.packs(20) is (family != "mamba")
    assert all(batch.alone for batch in model.batches(split)(1, (0, 1))) is (family == "mamba")
    plan = PrefixPlan.all(split.train.lengths, longest)
    together, alone = (net.rows(split.train, each) for each in (plan, plan.apart()))
    assert alone.alone
    assert not together.alone
    assert together.targets[together.targets > 0].tolist() == alone.targets[alone.targets > 0].tolist()
    if family == "mamba":
        return
    losses = [net(batch) for batch in (together, alone)]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(loss, [net.project.weight, *net.adapter.values()]) for loss in losses]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-3)


def test_long_sequences_are_read_in_windows_that_overlap_by_half():
    plan = PrefixPlan.all(np.array([2, 9, 0, 4]), 4)
    rows = list(zip(*(field.tolist() for field in plan), strict=True))
    assert rows == [(0, 0, 0, 2), (1, 0, 0, 5), (1, 2, 5, 2), (1, 4, 7, 2), (3, 0, 0, 4)]
    apart = plan.apart()
    assert list(zip(apart.sequence, apart.cut, strict=True)) == [
        (s, c) for s, n in ((0, 2), (1, 9), (3, 4)) for c in range(n)
    ]
    read = apart.cut - apart.start
    assert read.max() == 4
    assert (read[apart.cut > 4] > 2).all()
    assert PrefixPlan.all(np.array([3]), 1).start.tolist() == [0, 1], "windows of one item move on by one"
    late = PrefixPlan.at(np.array([1, 8]), np.array([0, 1]), 4)
    assert late.start.tolist() == [0, 4]


def test_a_batch_has_about_so_many_prefixes_whatever_the_lengths():
    lengths = np.r_[np.full(30, 3), np.full(4, 200)]
    plan = PrefixPlan.all(lengths, 10)
    parts = plan.batches(32, 2, np.random.default_rng(0))
    counts = [int(part.prefixes.sum()) for part in parts]
    assert sum(counts) == lengths.sum()
    assert max(counts) < 32 + 11
    assert sorted(counts)[1] > 32 - 11, "only the last one is short"
    widths = [part.prefixes.max() - part.prefixes.min() for part in parts]
    assert np.median(widths) == 0, "rows of like length are together"
    again = plan.batches(32, 2, np.random.default_rng(1))
    assert [p.sequence.tolist() for p in again] != [p.sequence.tolist() for p in parts]


def test_one_drawn_prefix_a_sequence(split: Split, settings: dict, fitted: E4SRec):
    model = E4SRec(**settings, prefixes="one")
    model.net = fitted.net
    make = model.batches(split)
    targets = [
        torch.cat([b.targets[b.targets > 0] for b in make(e, (0, 1))]).sort().values.tolist() for e in (1, 1, 2, 3)
    ]
    assert {len(t) for t in targets} == {len(split.train)}
    assert targets[0] == targets[1]
    assert len({tuple(t) for t in targets}) > 1


def test_the_loss_reads_the_last_position_over_all_items(fitted: E4SRec):
    net = fitted.net.eval()
    words = net.tokens.words
    rows = [[*net.before, words + 2, words + 3, *net.after], [*net.before, words + 1, *net.after]]
    items, targets = [[2, 3], [1]], [4, 6]
    with torch.no_grad():
        expected = []
        for row, target in zip(rows, targets, strict=True):
            vectors = net.embed(torch.tensor([row]), net.project(net.vectors))
            expected.append(
                F.cross_entropy(net.predict.weight[1:] @ net.body.hidden(vectors)[0, -1], torch.tensor(target - 1))
            )
        asked = zip(items, targets, strict=True)
        batch = [
            prefix_row(net.before, np.array(i) + words, np.array([len(i)]), np.array([t]), net.after) for i, t in asked
        ]
        loss = net(prefix_rows(batch))
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


def test_what_is_not_on_this_machine_is_told_before_the_donor_learns(
    split: Split, settings: dict, monkeypatch: pytest.MonkeyPatch
):
    def learn(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("seqlore.language.e4srec.fit_with", learn)
    with pytest.raises(ConfigError, match="device='cuda:77': there is none here"):
        E4SRec(**{**settings, "device": "cuda:77"}).fit(split)
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"backbone\.tune = 'lora' needs peft"):
        E4SRec(**settings).fit(split)
