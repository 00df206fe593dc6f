"""One run folder for all tests of the report that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from report.fake_run import make_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "beauty")


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    """A small one that a test may spoil."""
    return make_run(tmp_path / "run", cases=60, ties=("file",))
