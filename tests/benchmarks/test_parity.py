"""The table that sets our nets beside RecBole's: settings that exist, and lines worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seqlore.recommender import model_class

PATH = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PATH))
    for name in ("parity", "parity_settings"):
        sys.modules.pop(name, None)


def test_our_side_of_every_pair_is_a_setting() -> None:
    from parity_settings import MODELS, peer_sizes, settings

    assert {"FDSA", "S3Rec"} <= MODELS.keys()
    for name in MODELS:
        config = model_class(name)(**settings(name, 0)).config
        assert config.embedding_size == 64
        assert config.loss == "full"
        assert settings(name, 1)["loss_type"] == "CE"
        assert peer_sizes(name).items() <= settings(name, 1).items()


def row(spent: float, ndcg: float) -> dict:
    return {"spent": spent, "cpu_spent": 2 * spent, "ndcg@10": ndcg, "hr@10": 2 * ndcg, "peak_gb": 1.0}


def test_a_line_by_hand() -> None:
    from parity import joined, written

    ours, peer = [row(2, 0.01), row(4, 0.03), row(6, 0.04)], [row(10, 0.01), row(20, 0.02), row(30, 0.03)]
    line = joined("HGN", ours, peer)
    assert (line["seconds"], line["seconds, RecBole"], line["ratio"]) == (6, 30, 5)
    assert line["seconds to RecBole's NDCG@10"] == 4
    assert joined("HGN", ours, peer, clock="cpu")["seconds to RecBole's NDCG@10"] == 8
    late = joined("HGN", ours[:1], peer)
    assert late["seconds to RecBole's NDCG@10"] is None
    assert "| never |" in written([line, late], "markdown").splitlines()[3]
    assert written([line], "csv").startswith("model,epochs,NDCG@10")
