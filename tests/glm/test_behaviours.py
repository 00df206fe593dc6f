"""Events of several kinds, from a table through a recipe to ranked behaviours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import seqlore as sl
from seqlore.cli import app
from seqlore.data import Sequences
from seqlore.glm.recsysllm import RecSysLLM

RECIPE = """
name = "typed"
[dataset]
path = "{folder}"
[evaluation]
exclude_seen = false
[[models]]
model = "RecSysLLM"
[models.settings]
start = "random"
pretraining = {{ shape = "nano", vocabulary = 300, context = 96 }}
title_words = "distinct"
normalise = "children"
rolling = 1.0
epochs = 12
patience = 12
learning_rate = 1e-2
warmup_steps = 10
batch_tokens = 512
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated: who searches a thing pays for it next, then looks at the shop and searches another."""
    rng, rows = np.random.default_rng(0), []
    for user in range(80):
        for time in range(0, int(rng.integers(5, 9))):
            if time % 3 == 0:
                thing = str(rng.choice(["tea", "rice", "soap", "lamp"]))
            kind = ("search", "bill", "visit")[time % 3]
            rows.append((f"u{user}", time, kind, thing if kind != "visit" else "shop"))
    made = tmp_path_factory.mktemp("typed")
    pl.DataFrame(rows, ["who", "timestamp", "behaviour", "text"], orient="row").write_csv(made / "events.csv")
    arguments = ["--format", "behaviours", "--column", "user_id=who", "--out", str(made / "data")]
    done = CliRunner().invoke(app, ["data", "import", str(made / "events.csv"), *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return made


def test_behaviours_are_ranked_with_their_kinds(folder: Path):
    (folder / "typed.toml").write_text(RECIPE.format(folder=folder / "data"))
    model = sl.run(folder / "typed.toml", out=folder / "out").model()
    assert isinstance(model, RecSysLLM)
    lists = model.recommend([["search:tea"], ["search:lamp", "bill:lamp"]], k=9, exclude_seen=False)
    for row in lists.items:
        assert len(set(row)) == 9, "no two of them share a leaf of the trie"
    asked = model._histories.questions(Sequences.from_lists([model.catalog.index(["search:lamp", "bill:lamp"])]))[0]
    said = model._histories.writer.tokenizer.decode(asked.ids.tolist())
    assert "Has searched lamp, paid lamp" in said
