"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seqlore.data import Dataset


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with published sets, or a visible skip. SEQLORE_DATA names it; default: beside the repository."""
    root = Path(os.environ.get("SEQLORE_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("the published sets are not here (set SEQLORE_DATA to their folder)")
    return root


@pytest.fixture(scope="session")
def beauty(data_root: Path) -> Dataset:
    """Amazon Beauty 5-core (2014): 22,363 users, 12,101 items, 198,502 interactions."""
    return Dataset.load(data_root / "amazon2014-beauty")
