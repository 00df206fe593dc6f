"""NARM and STAMP: their attention by hand, and that the states of one pass are those of each prefix alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqlore.models.causal import CausalNet
from seqlore.models.narm import NARMConfig, NARMNet
from seqlore.models.stamp import STAMPConfig, STAMPNet

COUNTS = np.array([0, 3, 2, 1, 1])


def narm() -> NARMNet:
    torch.manual_seed(0)
    return NARMNet(COUNTS, NARMConfig(embedding_size=3, hidden_size=4, init_std=1.0), None).eval()


def stamp() -> STAMPNet:
    torch.manual_seed(0)
    return STAMPNet(COUNTS, STAMPConfig(embedding_size=3, init_std=1.0), None).eval()


@pytest.mark.parametrize("model", [narm(), stamp()], ids=["NARM", "STAMP"])
def test_one_pass_gives_the_states_of_all_prefixes(model: CausalNet):
    items = torch.tensor([[1, 4, 2, 3]])
    whole = model.hidden(items, torch.tensor([4]))[0]
    for n in range(1, 5):
        torch.testing.assert_close(model.last_hidden(items[:, :n], torch.tensor([n]))[0], whole[n - 1])


@pytest.mark.parametrize("model", [narm(), stamp()], ids=["NARM", "STAMP"])
def test_only_the_last_step_asks_when_it_is_served(model: CausalNet):
    items, lengths = torch.tensor([[1, 4, 2, 3, 1], [2, 3, 0, 0, 0], [4, 4, 1, 0, 0]]), torch.tensor([5, 2, 3])
    asked = []
    handle = model.score.register_forward_hook(lambda _, given, __: asked.append(given[0].shape[:3]))  # type: ignore[operator]
    served = model.last_hidden(items, lengths)
    handle.remove()
    assert asked == [(3, 1, 5)]
    torch.testing.assert_close(served, CausalNet.last_hidden(model, items, lengths))


def test_narm_gathers_states_by_how_they_answer_the_latest():
    model = narm()
    torch.nn.init.eye_(model.latest.weight)
    torch.nn.init.eye_(model.earlier.weight)
    torch.nn.init.constant_(model.score.weight, 2.0)
    states = torch.tensor([[[0.0, 0, 0, 0], [math.log(3), 0, 0, 0]]])
    # σ(log 3 + 0) = 3/4 against σ(log 3 + log 3) = 9/10 in the first place; the other three are the same.
    first, second = 2 * 0.75, 2 * 0.9
    weight = math.exp(second) / (math.exp(first) + math.exp(second))
    gathered = model.gathered(states)[0]
    assert gathered[0].tolist() == [0, 0, 0, 0]
    assert gathered[1, 0].item() == pytest.approx(weight * math.log(3))


def test_stamp_by_hand():
    model = stamp()
    with torch.no_grad():
        got = model.last_hidden(torch.tensor([[1, 3]]), torch.tensor([2]))[0]
        x = model.items.table()[[1, 3]]
        mean = x.mean(0)
        inner = x @ model.item.weight.T + model.item.bias + x[1] @ model.last.weight.T + mean @ model.mean.weight.T
        weight = torch.sigmoid(inner) @ model.score.weight[0]  # [2], as they are: no softmax
        interest = torch.tanh(model.interest(weight @ x + mean))
        torch.testing.assert_close(got, interest * torch.tanh(model.latest(x[1])))
