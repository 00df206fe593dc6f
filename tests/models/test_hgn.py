"""HGN: its gates by hand, and that a window reads what the paper says it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqlore.data import temporal_sessions
from seqlore.models.causal import sliding
from seqlore.models.hgn import HGNConfig, HGNNet
from seqlore.recommender import load, model_class
from toys import make_dataset, make_split

COUNTS = np.array([0, 3, 2, 1, 1])


def net(**settings) -> HGNNet:
    torch.manual_seed(0)
    made = HGNNet(COUNTS, HGNConfig(embedding_size=3, window=2, init_std=1.0, **settings), None, users=3)
    return made.eval()


def test_sliding_gives_the_latest_entries_oldest_first_and_zeros_before_the_first():
    x = torch.tensor([[1, 2, 3]])
    assert sliding(x, 2).tolist() == [[[0, 1], [1, 2], [2, 3]]]
    assert sliding(x[..., None].float(), 3)[0, 1, 0].tolist() == [0, 1, 2]


def test_a_state_by_hand():
    model = net()
    items, users = torch.tensor([[1, 4, 2]]), torch.tensor([2])
    with torch.no_grad():
        got = model.hidden(items, users)[0, 2]
        who = model.users.weight[2]
        x = model.items.table()[[4, 2]]  # the window of two events
        gated = x * torch.sigmoid(
            x @ model.feature_item.weight.T + model.feature_item.bias + who @ model.feature_user.weight.T
        )
        gate = torch.sigmoid(gated @ model.instance_item.weight[0] + model.instance_user.weight @ who)
        expected = who + (gate[:, None] * gated).sum(0) / gate.sum() + x.sum(0)
    torch.testing.assert_close(got, expected)


def test_a_window_before_which_nothing_was_reads_what_there_is():
    model = net()
    with torch.no_grad():
        first = model.hidden(torch.tensor([[3, 1]]), torch.tensor([0]))[0, 0]
        x, who = model.items.table()[3], model.users.weight[0]
        gated = x * torch.sigmoid(model.feature_item(x) + model.feature_user(who))
    torch.testing.assert_close(first, who + gated + x)  # a mean over one item is that item, whatever its gate


def test_older_events_than_the_window_are_not_read():
    model = net()
    lengths, users = torch.tensor([3]), torch.tensor([1])
    old, other = (model.last_hidden(torch.tensor([[a, 2, 3]]), lengths, users) for a in (1, 4))
    assert torch.equal(old, other)
    assert not torch.equal(old, model.last_hidden(torch.tensor([[1, 2, 4]]), lengths, users))


def test_users_and_strangers_get_states_of_their_own():
    model = net()
    items, lengths = torch.tensor([[1, 2]]), torch.tensor([2])
    assert torch.equal(model.last_hidden(items, lengths), model.last_hidden(items, lengths, torch.tensor([0])))
    assert not torch.equal(model.last_hidden(items, lengths), model.last_hidden(items, lengths, torch.tensor([1])))


@pytest.mark.parametrize(("share", "expected"), [(0.0, {1}), (0.999, {0})])
def test_a_share_of_the_training_sequences_is_read_as_a_strangers(share: float, expected: set[int]):
    torch.manual_seed(0)
    assert set(net(stranger_share=share).known(torch.ones(20, dtype=torch.int64)).tolist()) == expected


@pytest.mark.parametrize("name", ["HGN", "Caser"])
def test_a_user_is_told_from_a_stranger_by_name(name: str):
    split = make_split({f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)})
    model = model_class(name)(embedding_size=4, epochs=2, learning_rate=0.1, warmup_steps=0, dropout=0.0).fit(split)
    history = [["i0", "i1"]]
    stranger, unknown, known = (model.recommend(history, k=4, users=u).scores for u in (None, ["nobody"], ["u3"]))
    assert np.array_equal(stranger, unknown)
    assert not np.array_equal(stranger, known)


@pytest.mark.parametrize("name", ["HGN", "Caser"])
def test_a_user_who_never_trained_is_a_stranger(name: str, tmp_path: Path):
    walks = {f"u{u}": [f"i{(u + j) % 6}" for j in range(6)] for u in range(20)}
    walks["u20"] = ["i0"]  # nothing to learn from
    days = [100 * u + j for u, walk in enumerate(walks.values()) for j in range(len(walk))]
    split = temporal_sessions(make_dataset(walks, timestamp=days))
    assert split.test is not None
    assert not set(split.test.histories.users.tolist()) & set(split.train.users.tolist()), "as temporal sessions are"
    model = model_class(name)(embedding_size=4, epochs=1).fit(split)
    unseen, history = split.users.ids[split.test.histories.users[0] - 1], [["i0", "i1"]]
    first = split.users.ids[split.train.users[0] - 1]
    for each in (model, load(model.save(tmp_path))):
        stranger, untrained, trained = (each.recommend(history, k=4, users=u).scores for u in (None, [unseen], [first]))
        assert np.array_equal(stranger, untrained)
        assert not np.array_equal(stranger, trained)


@pytest.mark.parametrize("name", ["HGN", "Caser"])
def test_a_model_that_was_saved_without_word_of_who_trained_loads_with_everybody(name: str):
    split = make_split({f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)} | {"one": ["i1"]})
    model = model_class(name)(embedding_size=4, epochs=1).fit(split)
    assert model.net.trained.sum() == 8, "one event is a history, and nothing to learn from"
    model.restore({key: value for key, value in model.state().items() if key != "trained"})
    assert model.net.trained.all()
