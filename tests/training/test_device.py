"""Devices by name, on a machine with two GPUs and on one without."""

from __future__ import annotations

import pytest
import torch

from seqlore.errors import ConfigError
from seqlore.training.device import check_map, device_left, device_of


@pytest.fixture(params=[0, 2])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """GPUs of the machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return request.param


def test_a_device_is_there_or_a_sentence_says_that_it_is_not(count: int):
    assert device_of("cpu").type == device_of("cpu:0").type == "cpu"
    assert device_of(None).type == ("cuda" if count else "cpu")
    for name in ("cuda", "cuda:1") if count else ():
        assert device_of(name) == torch.device(name)
    for name in ("mps", "cuda:2", "cuda:999", "cpu:1", *(() if count else ("cuda", "cuda:0"))):
        with pytest.raises(ConfigError, match=f"body.device='{name}': there is none here; use 'cpu', or leave it out"):
            device_of(name, "body.device")
    for name in ("klingon", "cuda:", "cuda:-1", "gpu", ""):
        with pytest.raises(ConfigError, match=f"device='{name}': no such device; use 'cpu' or 'cuda'"):
            device_of(name)


def test_what_was_fitted_on_a_device_is_loaded_where_there_is_none(count: int):
    assert device_left("cuda:1") == torch.device("cuda:1" if count else "cpu")
    assert device_left("cuda:5") == torch.device("cuda" if count else "cpu")


def test_a_map_names_devices_or_a_way_to_spread(count: int):
    for where in ("auto", "sequential", "cpu", {"": "cpu", "head": "disk"}):
        check_map(where)
    for where in ("klingon", "disk", {"": "auto"}, {"": "klingon"}):
        with pytest.raises(ConfigError, match=r"device_map='.*': no such device"):
            check_map(where)
    for where in ("cuda:7", {"": 7}, {"": "cpu", "head": "cuda:7"}):
        with pytest.raises(ConfigError, match=r"body\.device_map='cuda:7': there is none here"):
            check_map(where, "body.device_map")
    if count:
        check_map({"": 1})
