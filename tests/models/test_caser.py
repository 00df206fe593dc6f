"""Caser: its convolutions over the last L events, by hand, equal to those of the window cut out alone."""

from __future__ import annotations

import numpy as np
import torch

from seqlore.models.caser import CaserConfig, CaserNet

COUNTS = np.array([0, 3, 2, 1, 1])


def net(**settings) -> CaserNet:
    torch.manual_seed(0)
    config = CaserConfig(embedding_size=2, window=3, horizontal=2, vertical=2, init_std=1.0, **settings)
    return CaserNet(COUNTS, config, None, users=3).eval()


def by_hand(model: CaserNet, image: torch.Tensor) -> torch.Tensor:
    """The paper's section 3.2 on one image [L, d], in loops."""
    across = []
    for height, conv in enumerate(model.across, start=1):
        for weight, bias in zip(conv.weight.view(2, 2, height), conv.bias, strict=True):  # weight [d, height]
            at = [(image[i : i + height] * weight.T).sum() + bias for i in range(len(image) - height + 1)]
            across.append(max(max(float(a), 0.0) for a in at))
    down = image.T @ model.down.weight.T + model.down.bias  # [d, vertical]
    return torch.cat([torch.tensor(across), down.flatten()])


def test_what_the_filters_see_by_hand():
    model = net()
    x = torch.randn(1, 5, 2)
    with torch.no_grad():
        seen = model.convolved(x)[0]
        torch.testing.assert_close(seen[4], by_hand(model, x[0, 2:5]))
        torch.testing.assert_close(seen[3], by_hand(model, x[0, 1:4]))
        torch.testing.assert_close(seen[0], by_hand(model, torch.cat([torch.zeros(2, 2), x[0, :1]])))


def test_a_state_is_the_sequence_beside_the_user():
    model = net()
    state = model.last_hidden(torch.tensor([[1, 2, 3]]), torch.tensor([3]), torch.tensor([2]))[0]
    assert state.shape == (4,)
    assert torch.equal(state[2:], model.users.weight[2])
    assert model.table().shape == (5, 4)
    assert torch.equal(model.vectors(torch.tensor([3, 1])), model.table()[[3, 1]])


def test_every_window_predicts_its_next_events():
    items, users = torch.tensor([[1, 2, 3, 4]]), torch.tensor([1])
    asked = []
    model = net(targets=2, stranger_share=0.0)
    model.hidden = lambda items, users: torch.arange(items.shape[1])[None, :, None]  # type: ignore[method-assign]
    model.objective = lambda hidden, targets: asked.append((hidden, targets)) or hidden.sum()  # type: ignore[method-assign]
    model((items, users))
    hidden, targets = asked[0]
    assert sorted(zip(hidden[:, 0].tolist(), targets.tolist(), strict=True)) == [(0, 2), (0, 3), (1, 3), (1, 4), (2, 4)]
