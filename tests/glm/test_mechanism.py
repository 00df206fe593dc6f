"""In worlds that are made so that a part of the mechanism must matter, it does (benchmarks/mechanism.py has them)."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from seqlore.data import leave_one_out

PATH = Path(__file__).parents[2] / "benchmarks" / "mechanism.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mechanism", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("world", "least", "most"), [("positions", 0.9, 0.75), ("order", 0.6, 0.6)])
def test_without_the_part_that_matters_it_is_worse(bench: ModuleType, world: str, least: float, most: float):
    make, part, settings = bench.WORLDS[world]
    split = replace(leave_one_out(make(np.random.default_rng(0))), valid=None)
    lengths = split.test.histories.lengths
    short = split.test.take(np.flatnonzero(lengths < np.median(lengths)))
    shared = {**bench.TINY, **settings, "seed": 0}
    full, _ = bench.hits(split, shared, short, 1)
    without, _ = bench.hits(split, {**shared, **bench.WITHOUT[part]}, short, 1)
    assert full.mean() > least
    assert without.mean() < most
    assert full.mean() - without.mean() > 0.1
