"""LRURec: the parallel recurrence equals the loop, and a state of constant size is all that serving needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.models.lrurec import LinearRecurrentUnit, LRURecConfig, LRURecNet, linear_recurrence


@given(steps=st.integers(1, 19), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_parallel_recurrence_is_the_loop(steps: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.complex(*torch.randn(2, 2, steps, 3, generator=generator))
    decay = torch.polar(torch.rand(3, generator=generator), 6.28 * torch.rand(3, generator=generator))
    state, states = torch.zeros(2, 3, dtype=torch.cfloat), []
    for t in range(steps):
        state = decay * state + inputs[:, t]
        states.append(state)
    torch.testing.assert_close(linear_recurrence(inputs, decay), torch.stack(states, 1), atol=1e-5, rtol=1e-4)


def test_the_unit_by_hand():
    torch.manual_seed(0)
    unit = LinearRecurrentUnit(1, 0.5, 0.6)
    with torch.no_grad():
        # λ = i/2 in both places of the state, γ = 1; in: u = x (real); out: the real parts, summed.
        unit.logs[0] = np.log(np.log(2))
        unit.logs[1] = np.log(np.pi / 2)
        unit.logs[2] = 0
        unit.input.weight[:] = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
        unit.output.weight[:] = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
        unit.input.bias.zero_(), unit.output.bias.zero_()
        y = unit(torch.tensor([[[4.0], [0.0], [0.0], [8.0]]]))[0, :, 0]
    # h: 4, 2i, −1, 8 − i/2; twice the real parts.
    torch.testing.assert_close(y, torch.tensor([8.0, 0.0, -2.0, 16.0]), atol=1e-5, rtol=0)


def test_moduli_start_where_they_are_told():
    torch.manual_seed(0)
    unit = LinearRecurrentUnit(200, 0.8, 0.99)
    modulus = unit.decay().abs()
    assert modulus.min() >= 0.7999
    assert modulus.max() <= 0.9901
    torch.testing.assert_close(unit.logs[2].exp(), (1 - modulus**2).sqrt(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_states_do_not_read_the_future(steps: int):
    torch.manual_seed(0)
    net = LRURecNet(np.array([0, 1, 1, 1]), LRURecConfig(embedding_size=4), None).eval()
    items = torch.tensor([[1, 2, 3, 1, 2, 3]])
    whole = net.hidden(items, torch.tensor([6]))
    torch.testing.assert_close(net.hidden(items[:, :steps], torch.tensor([steps])), whole[:, :steps])
