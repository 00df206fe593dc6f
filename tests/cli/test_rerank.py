"""``seqlore rerank``: what it prints, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqlore.cli.rerank import show

RECIPE = """
[dataset]
path = "{shop}"
[split]
protocol = "user-ratio"
targets = 1
first = 3
[candidates]
n = 5
[evaluation]
at = [1, 10]
against = ["base"]
[settings]
epochs = 1
embedding_size = 8
[[backbones]]
model = "PRM"
[[augmentations]]
label = "base"
name = "NoAugmentation"
[[augmentations]]
label = "ids"
name = "UR4Rec"
settings = {{ z = "ids", body = "random", size = 8, pretrain = false }}
[published]
metrics = ["ndcg@10"]
[published.rows.PRM]
base = [0.330]
"""


def test_a_grid_is_carried_out_and_shown(cli: Callable[..., Any], shop: Path, tmp_path: Path):
    (tmp_path / "r.toml").write_text(RECIPE.format(shop=shop))
    done = cli("rerank", tmp_path / "r.toml", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert "target + 5 items drawn uniformly" in done.out
    assert "(0.330)" in done.out
    assert "PRM: ids − base: ndcg@10" in done.out
    again = cli("rerank", tmp_path / "r.toml", "--out", tmp_path / "out", "--json")
    assert {row["augmentation"] for row in json.loads(again.out)["rows"]} == {"base", "ids"}
    assert json.loads(again.out) == json.loads((tmp_path / "out" / "results.json").read_text())


def test_several_seeds_are_told_with_their_deviation(capsys: pytest.CaptureFixture[str]):
    row = {"backbone": "PRM", "augmentation": "base", "epoch_times_base": None, "seeds": [0, 1, 2]}
    row |= {"metrics": {"ndcg@10": 0.3}, "sd": {"ndcg@10": 0.0123}, "published": {"ndcg@10": 0.33}}
    alone = {"label": "neighbours", "seeds": [0], "metrics": {"ndcg@10": 0.4}, "sd": None, "published": {}}
    compared = {"backbone": "PRM", "a": "ours", "b": "base", "metric": "ndcg@10", "difference": 0.1}
    compared |= {"ci": (0.0, 0.2), "p_holm": 0.04, "users": 12, "seeds": [0, 2]}
    head = {"cases": 3, "candidates": "c", "protocol": "p", "popularity": {"ndcg@10": 0.2}}
    failed = {"PRM · base · seed 1": "no"}
    show({**head, "rows": [row], "recommenders": [alone], "comparisons": [compared], "errors": failed})
    told = capsys.readouterr().out
    assert "0.300 ± 0.012 (n=3) (0.330)" in told
    assert "0.400 " in told
    assert "(12 users, 2 seeds, Holm)" in told
    assert "PRM · base · seed 1 failed: no" in told


def test_what_is_wrong_is_said_in_a_line(cli: Callable[..., Any], shop: Path, tmp_path: Path):
    (tmp_path / "r.toml").write_text(RECIPE.format(shop=shop))
    done = cli("rerank", tmp_path / "r.toml", "--set", "backbones.PRM.settings.head=3")
    assert done.status == 2
    assert "did you mean 'heads'" in done.err
