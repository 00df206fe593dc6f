"""S³-Rec: its masks, its four losses by hand, and that pre-training moves the net and nothing else stays."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.errors import ConfigError, DataError
from seqlore.models.s3rec import Masked, Pretraining, S3RecConfig, masked_batch
from seqlore.models.sasrec import SASRecNet
from seqlore.recommender import model_class
from toys import make_split

POOL = np.arange(100, 150)


@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(deadline=None)
def test_masks_and_segments_keep_their_laws(lengths: list[int], seed: int):
    items = np.zeros((len(lengths), max(lengths)), np.int64)
    for row, n in zip(items, lengths, strict=True):
        row[:n] = np.arange(1, n + 1)
    batch = masked_batch(items, POOL, 200, 0.3, np.random.default_rng(seed))
    real = batch.items > 0
    assert not (batch.masked & ~real).any()
    assert not (batch.segment & ~real).any()
    assert ((batch.others == batch.items) == ~real).all(), "what stands against an item is another item"
    for i, n in enumerate(lengths):
        assert batch.masked[i, n - 1], "the last is always masked"
        at = torch.nonzero(batch.segment[i])[:, 0].tolist()
        assert 1 <= len(at) <= n // 2
        assert at == list(range(at[0], at[0] + len(at)))
        foreign = batch.foreign[i][batch.segment[i]].tolist()
        assert foreign == list(range(foreign[0], foreign[0] + len(at))), "a run from the pool"
        assert 100 <= foreign[0] <= foreign[-1] < 150
    assert torch.equal(batch.foreign[~batch.segment], batch.items[~batch.segment])


@pytest.fixture
def stage() -> Pretraining:
    torch.manual_seed(0)
    net = SASRecNet(np.array([0, 1, 1, 1]), S3RecConfig(embedding_size=4, init_std=1.0), None)
    return Pretraining(net, np.array([[0, 0], [1, 2], [2, 0], [0, 0]])).eval()


def batch() -> Masked:
    items = torch.tensor([[1, 2, 3], [2, 1, 0]])
    masked = torch.tensor([[False, False, True], [False, True, False]])
    segment = torch.tensor([[False, True, False], [True, False, False]])
    others, foreign = torch.tensor([[2, 3, 1], [1, 3, 0]]), torch.tensor([[1, 1, 3], [3, 1, 0]])
    return Masked(items, masked, others, segment, foreign)


def test_losses_by_hand(stage: Pretraining):
    b = batch()
    losses = stage.losses(b)
    table = stage.net.items.table()
    states = stage.states(b.items, b.masked)
    spots = [(0, 2, 3, 1), (1, 1, 1, 3)]  # row, place, item, what stands against it
    mip = 0.0
    for row, place, item, other in spots:
        asked = stage.mip(states[row, place])
        mip -= torch.sigmoid(asked @ table[item] - asked @ table[other]).log()
    assert losses["mip"].item() == pytest.approx((mip / 2).item(), rel=1e-4)
    has = {1: (1, 1), 2: (0, 1), 3: (0, 0)}
    for name, head, places in (
        ("map", stage.map, [(0, 2, 3), (1, 1, 1)]),
        ("aap", stage.aap, [(0, 0, 1), (0, 1, 2), (1, 0, 2)]),
    ):
        total = 0.0
        for row, place, item in places:
            scores = stage.attribute.weight[1:] @ head(states[row, place])
            for score, own in zip(scores.tolist(), has[item], strict=True):
                total += math.log1p(math.exp(-score if own else score))
        assert losses[name].item() == pytest.approx(total / 2, rel=1e-4), name


def test_the_segment_is_told_from_one_from_elsewhere(stage: Pretraining):
    b = batch()
    real = b.items > 0
    context = stage.sp(stage.states(b.items, b.segment)[[0, 1], [2, 1]])
    own = stage.states(b.items, real & ~b.segment)[[0, 1], [2, 1]]
    other = stage.states(b.foreign, real & ~b.segment)[[0, 1], [2, 1]]
    expected = -torch.sigmoid((context * own).sum(1) - (context * other).sum(1)).log().mean()
    torch.testing.assert_close(stage.losses(b)["sp"], expected, atol=1e-5, rtol=1e-4)


def test_pretraining_reads_both_ways_and_pads_change_nothing(stage: Pretraining):
    shown = torch.tensor([[1, 2, 3], [1, 2, 1]])
    first = stage.states(shown, torch.zeros_like(shown, dtype=torch.bool))[:, 0]
    assert not torch.allclose(first[0], first[1])
    items, hidden = torch.tensor([[2, 1]]), torch.tensor([[False, True]])
    padded = stage.states(batch().items, batch().masked)[1, :2]
    torch.testing.assert_close(stage.states(items, hidden)[0], padded, atol=1e-5, rtol=1e-4)


def test_weights_are_those_of_the_settings(stage: Pretraining):
    losses = stage.losses(batch())
    total = 0.2 * losses["aap"] + losses["mip"] + losses["map"] + 0.5 * losses["sp"]
    torch.testing.assert_close(stage(batch()), total)


def test_pretraining_changes_the_start_and_leaves_no_trace_in_what_is_saved(tmp_path):
    titles = {f"i{i}": f"t{i % 3}" for i in range(6)}
    split = make_split({f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}, titles)
    few = {"embedding_size": 4, "epochs": 1, "attributes": ["title"], "pretrain_epochs": 1}
    model = model_class("S3Rec")(**few).fit(split, checkpoint=tmp_path)
    assert (tmp_path / "pretraining" / "state.json").is_file()
    plain = model_class("S3Rec")(**{**few, "pretrain_epochs": 0}).fit(split)
    assert (
        model.state().keys()
        == plain.state().keys()
        == model_class("SASRec")(embedding_size=4, epochs=1).fit(split).state().keys()
    )
    assert not torch.equal(model.state()["items.embedding.weight"], plain.state()["items.embedding.weight"])
    assert all(p.requires_grad for p in model.net.parameters())


def test_pretraining_is_told_and_its_time_is_kept(tmp_path):
    titles = {f"i{i}": f"t{i % 3}" for i in range(6)}
    split = make_split({f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}, titles)
    few = {"embedding_size": 4, "epochs": 1, "attributes": ["title"], "pretrain_epochs": 2}
    told, log = [], tmp_path / "net.jsonl"
    model = model_class("S3Rec")(**few).fit(split, progress=told.append, log=log, checkpoint=tmp_path / "kept")
    assert [(row.get("stage"), row["epoch"]) for row in told] == [("pretraining", 1), ("pretraining", 2), (None, 1)]
    lines = (tmp_path / "net-pretraining.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert len(log.read_text().splitlines()) == 1
    again = model_class("S3Rec")(**few).fit(split, checkpoint=tmp_path / "kept")
    assert again.pretraining_history == model.pretraining_history, "what an earlier process spent is not forgotten"


@pytest.mark.parametrize("changed", [{"map_weight": 0.0}, {"embedding_size": 8}])
def test_pretraining_goes_on_with_the_same_settings_only(tmp_path, monkeypatch, changed):
    titles = {f"i{i}": f"t{i % 3}" for i in range(6)}
    split = make_split({f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}, titles)
    few = {"embedding_size": 4, "epochs": 1, "attributes": ["title"], "pretrain_epochs": 2}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_class("S3Rec"), "before_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            model_class("S3Rec")(**few).fit(split, checkpoint=tmp_path)
    with pytest.raises(DataError, match="made with other settings; delete it"):
        model_class("S3Rec")(**{**few, **changed}).fit(split, checkpoint=tmp_path)
    longer = model_class("S3Rec")(**{**few, "epochs": 2, "learning_rate": 0.01}).fit(split, checkpoint=tmp_path)
    assert len(longer.pretraining_history) == 2, "settings of the tuning alone change nothing of it"


def test_one_event_is_too_short_to_pretrain_on():
    with pytest.raises(ConfigError, match="take max_length = 2 or more, or pretrain_epochs = 0"):
        model_class("S3Rec")(max_length=1)
    assert model_class("S3Rec")(max_length=1, pretrain_epochs=0).config.max_length == 1
