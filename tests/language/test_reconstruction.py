"""Reconstructed labels against the true ones, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqlore.data import leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.language.labels import LabelSet
from seqlore.language.reconstruction import compare, emphasise, label_report, reconstruct
from seqlore.language.relrec import ReLRec
from toys import make_dataset


def test_similarity_others_and_rank_by_hand():
    true = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
    told = np.array([[0.8, 0.6], [0, 1], [1, 0], [0.6, 0.8]], np.float32)
    own, others, rank = compare(told, true)
    np.testing.assert_allclose(own, [0.8, 1, 0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(
        others, [(0.6 + 0.96 + 0.6) / 3, (0 + 0.8 + 1) / 3, 1 / 3, (0.6 + 0.8 + 1) / 3], rtol=1e-6
    )
    # 0: the third is nearer. 1: the fourth says the same. 2: the first is nearer. 3: the third is, the second the same.
    np.testing.assert_allclose(rank, [2, 1.5, 2, 2.5])


def test_shared_words_are_bold():
    assert (
        emphasise("Sturdy strap for a guitar", "Guitar player, likes STURDY things")
        == "**Sturdy** strap for a **guitar**"
    )
    assert emphasise("the end", "the start") == "the end"


class Spelled:
    """An encoder that counts letters."""

    identity, dimension = "letters", 26

    def encode(self, texts):
        return np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32)


@pytest.fixture(scope="module")
def world(tiny_backbone: Path):
    histories = {f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}
    split = leave_one_out(make_dataset(histories, {f"i{i}": f"thing {i}" for i in range(6)}))
    settings = {"epochs": 1, "beta": 0, "gamma": 0, "label_tokens": 60}
    model = ReLRec(backbone={"name": str(tiny_backbone)}, **settings).fit(split)
    rows = [("item", f"i{i}", v, f"{'abcdef'[i] * 4} sturdy {v}") for i in range(6) for v in range(2)]
    rows += [("user", f"u{u}", 0, f"likes sturdy {'ghijklmn'[u]}") for u in range(7)]
    labels = LabelSet.from_frame(pl.DataFrame(rows, schema=["kind", "id", "version", "text"], orient="row"))
    return split, model, labels


def test_what_is_told_is_compared_with_the_first_wording(world, monkeypatch):
    _, model, labels = world
    exact = {f"i{i}": f"{'abcdef'[i] * 4} sturdy" for i in range(6)}
    monkeypatch.setattr(model, "explain", lambda ids, kind: [exact[i] for i in ids])
    perfect = reconstruct(model, labels, "item", encoder=Spelled(), at=1)
    assert (perfect.count, perfect.found, perfect.chance, perfect.lift) == (6, 1.0, 1 / 6, 6.0)
    assert perfect.own == pytest.approx(1.0, abs=1e-6)
    assert perfect.shuffled < 0.9
    assert perfect.interval[0] > 0
    assert dict(perfect.frame.select("id", "label").iter_rows())["i2"] == "cccc sturdy 0"
    monkeypatch.setattr(model, "explain", lambda ids, kind: ["the same for all"] * len(ids))
    blind = reconstruct(model, labels, "item", encoder=Spelled(), at=3)
    assert blind.own == pytest.approx(blind.shuffled)
    assert blind.interval[0] <= 0 <= blind.interval[1]
    assert blind.found == pytest.approx(0.5)


def test_what_is_true_is_what_was_trained(world, monkeypatch):
    """Names replaced and cut, as in training: a perfect model scores 1."""
    split, model, _ = world
    labels = LabelSet.from_frame(
        pl.DataFrame(
            [("item", f"i{i}", 0, f"Thing {i} is {'abcdef'[i] * 9} and more") for i in range(6)],
            schema=["kind", "id", "version", "text"], orient="row",
        )
    )  # fmt: skip
    short = ReLRec(model.config, label_tokens=16)
    short._catalog, short.users, short.net, short.about = model.catalog, model.users, model.net, model.about
    said = {f"i{i}": f"this item is {'abcdef'[i] * 2}" for i in range(6)}
    monkeypatch.setattr(short, "explain", lambda ids, kind: [said[i] for i in ids])
    result = reconstruct(short, labels, "item", encoder=Spelled())
    assert dict(result.frame.select("id", "label").iter_rows()) == said
    assert result.own == pytest.approx(1.0, abs=1e-6)
    named = ReLRec(model.config, names="iid")
    named._catalog, named.users, named.net = model.catalog, model.users, model.net
    with pytest.raises(ConfigError, match=r"give train=split\.train"):
        reconstruct(named, labels, "user", encoder=Spelled())
    users = LabelSet.from_frame(pl.DataFrame({"kind": ["user"], "id": ["u0"], "text": ["likes thing 1 much"]}))
    index = int(split.users.index(["u0"])[0])
    assert named.as_trained(users, "user", split.train)[index] == ("likes much",)


def test_it_runs_on_what_the_model_really_says(world):
    _, model, labels = world
    result = reconstruct(model, labels, "user", encoder=Spelled(), limit=4)
    assert result.count == 4
    assert result.to_dict().keys() >= {"own", "shuffled", "interval", "found", "chance", "lift"}
    assert "frame" not in result.to_dict()
    with pytest.raises(DataError, match="comparing needs two"):
        reconstruct(model, LabelSet(labels.frame.filter(id="i1")), "item", encoder=Spelled())


def test_the_report_shows_users_beside_their_lists(world):
    split, model, labels = world
    text = label_report(model, split, labels, n=2, k=3)
    parts = text.strip().split("\n\n**")
    assert len(parts) == 2
    for part in parts:
        assert part.count("\n- ") == 4, "what came next, and three listed items"
        assert "came next: thing" in part
        assert "**sturdy**" in part
    with pytest.raises(DataError, match="no test case has labels"):
        label_report(model, split, labels.of("item"))
