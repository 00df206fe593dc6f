"""Labels made from different reviews of one item know each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqlore.lore import Prompt, Sampling, generate_all
from seqlore.lore.extractive import ExtractiveModel
from seqlore.lore.extractive.english import stem
from seqlore.lore.extractive.wording import read


@pytest.mark.realdata
def test_two_halves_of_an_items_reviews_give_like_labels(data_root: Path) -> None:
    folder = data_root / "amazon2014-musical-instruments-reviews"
    events = pl.read_parquet(folder / "interactions.parquet").drop_nulls("review")
    reviews = events.group_by("item_id").agg("review").sort("item_id")["review"].to_list()[:150]
    model = ExtractiveModel.fit(review for each in reviews for review in each)

    def labels(start: int) -> list[frozenset[str]]:
        asked = [Prompt("", task="item-label", facts=(("reviews", tuple(each[start::2])),)) for each in reviews]
        texts = [answer.texts[0] for answer in generate_all(model, asked, Sampling())]
        phrases = [" ".join(phrase for _, listed in read(text) for phrase in listed) for text in texts]
        return [frozenset(map(stem, text.lower().split())) for text in phrases]

    one, other = labels(0), labels(1)
    shared = np.array([[len(a & b) / (len(a | b) or 1) for b in other] for a in one])  # Jaccard
    rank = (shared >= np.diag(shared)[:, None]).sum(axis=1)  # of the item's own label; ties count against it
    assert np.mean(rank <= 10) > 0.5, f"recall@10 {np.mean(rank <= 10):.3f}, by chance 0.067"
