"""ReLRec: what a row holds, what is averaged over what, what is frozen, what users are worth, what labels teach."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

import seqlore as sl
from backbones import make_backbone
from seqlore.data import Catalog, Sequences, Split, Vocabulary, leave_one_out, temporal_sessions
from seqlore.errors import ConfigError, DataError
from seqlore.language.backbone import Backbone, BackboneConfig
from seqlore.language.label_rows import Prompts, averaging_weights, label_rows
from seqlore.language.labels import LabelSet
from seqlore.language.projection import IdTable, ProjectionConfig
from seqlore.language.relrec import ReLRec, permuted_users
from seqlore.language.tokens import Tokens
from seqlore.lore.book import COLUMNS, Lore, training_part
from seqlore.training import TrainConfig, train
from seqlore.training.objectives import draw_items
from toys import make_dataset

QUICK = {"epochs": 2, "batch_size": 4, "warmup_steps": 0, "learning_rate": 0.01, "label_tokens": 16, "patience": 9}


@pytest.fixture(scope="module")
def body(tiny_backbone: Path) -> Backbone:
    return Backbone(BackboneConfig(name=str(tiny_backbone)))


@pytest.fixture(scope="module")
def split() -> Split:
    histories = {f"u{u}": [f"i{(u + j) % 6}" for j in range(3 + u % 4)] for u in range(10)}
    titles = {f"i{i}": f"rose number {i}" for i in range(6)}
    return leave_one_out(make_dataset(histories, titles))


@pytest.fixture(scope="module")
def label_file(split: Split, tmp_path_factory) -> str:
    """Two wordings for every item but i5, one for every user but u9."""
    rows = [("item", f"i{i}", v, f"{'ab'[v]} rose {i}") for i in range(5) for v in range(2)]
    rows += [("user", f"u{u}", 0, f"likes {u}") for u in range(9)]
    about = {"dataset": split.dataset.hash, "training": training_part(split)}
    lore = Lore(pl.DataFrame(rows, schema=COLUMNS, orient="row"), about, split.catalog, split.users)
    return str(lore.save(tmp_path_factory.mktemp("labels") / "labels.parquet"))


@pytest.fixture(scope="module")
def settings(tiny_backbone: Path, label_file: str) -> dict:
    return {**QUICK, "backbone": {"name": str(tiny_backbone)}, "labels": {"files": [label_file]}}


@pytest.fixture(scope="module")
def fitted(split: Split, settings: dict) -> ReLRec:
    return ReLRec(**settings).fit(split)


def test_a_loss_is_averaged_within_its_row_and_then_over_the_rows():
    read = np.array([[0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    expected = [[0, 1 / 9, 1 / 9, 1 / 9], [1 / 3, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(averaging_weights(read), expected, rtol=1e-6)
    losses = np.array([[9, 1, 2, 3], [5, 9, 9, 9], [9, 9, 9, 9]])
    assert (averaging_weights(read) * losses).sum() == pytest.approx((2 + 5 + 0) / 3)  # a flat mean would give 11 / 4


@pytest.mark.parametrize(
    ("first", "read"), [(True, [[0, 1, 1, 1, 0], [0, 1, 1, 0, 0]]), (False, [[0, 0, 1, 1, 0], [0, 0, 1, 0, 0]])]
)
def test_a_sequence_is_a_user_token_then_item_tokens(fitted: ReLRec, settings: dict, first: bool, read: list):
    model = ReLRec(**settings, first_item=first)
    model.net = fitted.net
    part = Sequences.from_lists([[3, 1, 2], [5, 4]], users=[2, 7])
    words, items = 259, 7
    rows, mask = model._sequences(part, model.net.tokens)
    assert rows.tolist() == [
        [0, words + items + 2, words + 3, words + 1, words + 2],
        [0, words + items + 7, words + 5, words + 4, 0],
    ]
    assert mask.astype(int).tolist() == read


def test_user_dropout_begins_sequences_with_the_stranger_and_leaves_labels(split: Split, settings: dict):
    def batches(shard: tuple[int, int] = (0, 1), **more) -> list:
        model = ReLRec(**settings, **more)
        model._learns_from(split)
        model.net = model.build(split.counts())
        return [batch for epoch in range(1, 41) for batch in model.batches(split)(epoch, shard)]

    def begun(drawn: list) -> torch.Tensor:
        return torch.cat([sequences[:, 1] for sequences, *_ in drawn])

    stranger = 259 + 7
    assert (begun(batches()) > stranger).all()
    drawn = batches(user_dropout=0.3)
    strange = begun(drawn) == stranger
    assert (begun(drawn) >= stranger).all()
    assert float(strange.float().mean()) == pytest.approx(0.3, abs=0.1)  # of 400 sequences: four standard errors
    assert not any((labels == stranger).any() for _, _, labels, _ in drawn)
    second = batches((1, 2), user_dropout=0.3)  # draws for the batches of the other process, too
    assert [b[0].tolist() for b in second] == [b[0].tolist() for b in drawn[1::3]]
    assert (begun(batches(user_dropout=0.3, users="none")) < stranger).all()


def rows_of(body: Backbone, text: str, names: str = "keep", kind: str = "item", limit: int | None = None):
    labels = LabelSet.from_frame(pl.DataFrame({"kind": [kind], "id": ["x"], "text": [text]}))
    catalog = Catalog(pl.DataFrame({"item_id": ["x", "y"], "title": ["Rose Soap", "Old Comb"]}))
    users = Vocabulary(["x"])
    prompts = Prompts(body, ["On {id}:"], body.begin)
    history = Sequences.from_lists([catalog.index(["y"])], users=[1])
    rows = label_rows(labels, kind, prompts, body, catalog, users, limit=limit, names=names, train=history)  # type: ignore[arg-type]
    index = int((catalog if kind == "item" else users).index(["x"])[0])
    return rows.draw(index, np.random.default_rng(0)), Tokens(body.size, catalog.size), catalog


def test_a_label_row_is_prompt_id_label_and_reads_the_label_alone(body: Backbone):
    (tokens, read), numbers, catalog = rows_of(body, "good")
    own = int(catalog.index(["x"])[0]) + numbers.words
    assert tokens.tolist() == [0, *body.encode("On"), own, *body.encode(":"), *body.encode(" good"), 1]
    asked = tokens[1:][read[:-1]]
    assert asked.tolist() == [*body.encode(" good"), 1]
    assert read.sum() == 6  # blank, four letters, the end


def test_a_long_label_is_cut_where_that_is_asked_for(body: Backbone):
    (tokens, read), _, _ = rows_of(body, "good", limit=3)
    assert tokens[1:][read[:-1]].tolist() == body.encode(" go")
    (tokens, read), _, _ = rows_of(body, "good " * 40)
    assert tokens[1:][read[:-1]].tolist() == [*body.encode(" " + ("good " * 40).strip()), 1]


def test_what_is_cut_is_told(fitted: ReLRec, split: Split, settings: dict):
    told = {"ids": 5, "wordings": 10, "longest": len(" a rose 1") + 1, "cut": 0.0}
    assert fitted.about["labels"] == {"item": told, "user": {"ids": 9, "wordings": 9, "longest": 9, "cut": 0.0}}
    model = ReLRec(**{**settings, "label_tokens": 9})
    model.net, model.users, model._catalog = fitted.net, fitted.users, fitted.catalog
    model.batches(split)
    assert (model.about["labels"]["item"]["cut"], model.about["labels"]["user"]["cut"]) == (1.0, 0.0)
    assert ReLRec(backbone=settings["backbone"]).config.label_tokens is None, "whole labels unless told otherwise"


def test_names_in_labels(body: Backbone):
    (tokens, _), numbers, catalog = rows_of(body, "A Rose Soap, unlike an old comb.", "this item")
    assert (
        body.encode("A this item, unlike an old comb.")
        == tokens[-1 - len("A this item, unlike an old comb.") : -1].tolist()
    )
    (tokens, read), numbers, catalog = rows_of(body, "A rose soap, unlike an old comb.", "iid")
    own, other = (int(catalog.index([i])[0]) + numbers.words for i in "xy")
    assert tokens.tolist().count(own) == 2, "in the prompt, and where its name stood"
    assert other not in tokens
    at = np.flatnonzero(tokens == own)[1]
    assert not read[at - 1], "an id token is read and never asked for: the loss is over words"
    assert read[at], "and the word behind it is asked for"
    (tokens, _), numbers, catalog = rows_of(body, "Buys an Old Comb.", "iid", kind="user")
    assert int(catalog.index(["y"])[0]) + numbers.words in tokens, "a user's label names what that user bought"


def test_settings_that_cannot_be_meant_are_refused_at_once(settings: dict):
    for wrong in ("no place", "{id} and {id}"):
        with pytest.raises(ConfigError, match=r"item_prompts: .* must hold \{id\} once"):
            ReLRec(**settings, item_prompts=[wrong], beta=0)
    for nothing in ({"gamma": 0}, {"users": "none"}):
        with pytest.raises(ConfigError, match="nothing is learned"):
            ReLRec(**{**settings, "alpha": 0, "beta": 0, **nothing})
    with pytest.raises(ConfigError, match="label_epochs = 2 of epochs = 2 leave none"):
        ReLRec(**settings, label_epochs=2)


def test_one_user_is_a_list_of_one(fitted: ReLRec):
    with pytest.raises(DataError, match="users is a list of user ids"):
        fitted.recommend([["i1"]], users="u1")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="explain takes a list"):
        fitted.explain("i1")


def test_what_the_body_cannot_read_is_refused(split: Split, settings: dict):
    with pytest.raises(ConfigError, match=r"max_length needs 302 positions, and backbone .* reads 256"):
        ReLRec(**settings, max_length=300).fit(split)
    with pytest.raises(ConfigError, match="label_tokens, with the longest prompt"):
        ReLRec(**{**settings, "label_tokens": 250}).fit(split)


def test_the_loss_by_hand(fitted: ReLRec):
    """Equations 1 to 4 with plain loops: α = 0.75, β = 0.3, γ = 0.9; two sequences, one item label, one user label."""
    net, v, n = fitted.net, 259, 7
    sequences = [[0, v + n + 1, v + 1, v + 2, v + 3], [0, v + n + 2, v + 4, v + 5]]
    labels = [
        ([0, 10, v + 1, 11, 20, 21, 1], 4, 0.3),
        ([0, 12, v + n + 2, 30, 1], 3, 0.9),
    ]  # tokens, begin of label, weight

    def log_p(row: list[int], t: int, scores) -> float:
        hidden = net.body.hidden(net.embed(torch.tensor([row[:t]]), net.items()))[0, -1]
        return scores(hidden).log_softmax(0)

    expected = torch.zeros(())
    for row in sequences:
        terms = [log_p(row, t, lambda h: net.items()[1:] @ h)[row[t] - v - 1] for t in range(2, len(row))]
        expected -= 0.75 * sum(terms) / len(terms) / 2
    for row, start, weight in labels:
        terms = [log_p(row, t, lambda h: net.body.word_logits(h[None])[0])[row[t]] for t in range(start, len(row))]
        expected -= weight * sum(terms) / len(terms)

    def padded(rows: list[list], dtype) -> torch.Tensor:
        return torch.tensor([r + [0] * (max(map(len, rows)) - len(r)) for r in rows], dtype=dtype)

    sequence_weights = [[0, *([0.75 / (len(r) - 2) / 2] * (len(r) - 2)), 0] for r in sequences]
    label_weights = [[*([0] * (s - 1)), *([w / (len(r) - s)] * (len(r) - s)), 0] for r, s, w in labels]
    batch = (
        padded(sequences, torch.int64), padded(sequence_weights, torch.float32),
        padded([r for r, _, _ in labels], torch.int64), padded(label_weights, torch.float32),
    )  # fmt: skip
    with torch.no_grad():
        loss = net(batch).item()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_drawn_items_stand_for_the_catalogue(split: Split, settings: dict):
    model = ReLRec(**{**settings, "negatives": 5}).fit(split)
    net, (sequences, weights, *_) = model.net.eval(), next(iter(model.batches(split)(1, (0, 1))))
    torch.manual_seed(3)
    drawn = draw_items(net.cumulative, 5)
    with torch.no_grad():
        hidden, targets, each = net._read(sequences, weights, net.items())
        targets = targets - net.tokens.words
        logits = hidden @ net.items()[drawn].T - net.log_q[drawn] - np.log(5)
        logits = logits.masked_fill(targets[:, None] == drawn, -torch.inf)
        own = (hidden * net.items()[targets]).sum(1, keepdim=True)
        expected = -(torch.cat([own, logits], 1).log_softmax(1)[:, 0] @ each)
        torch.manual_seed(3)
        empty = torch.zeros(0, 0)
        torch.testing.assert_close(net((sequences, weights, empty.long(), empty)), expected)
    assert "negatives" not in ReLRec(**settings).config.model_dump(), "fits without it keep their digest"


def test_a_batch_joins_users_their_labels_and_random_items(fitted: ReLRec, split: Split):
    v, n = 259, 7
    make = fitted.batches(split)
    items = set()
    for sequences, weights, labels, shares in make(1, (0, 1)):
        users = set((sequences[:, 1] - v - n).tolist())
        told = [int(row[row >= v][0]) for row in labels]
        labelled = {u for u in users if split.users.external(u) != "u9"}
        assert {t - v - n for t in told if t >= v + n} == labelled
        about = [t - v for t in told if t < v + n]
        assert len(about) == len(sequences)
        items |= set(about)
        assert weights.sum().item() == pytest.approx(0.75)
        assert shares.sum().item() == pytest.approx(0.3 + 0.9, rel=1e-5)
    assert int(split.catalog.index(["i5"])[0]) not in items, "an item without a label is not asked for one"
    assert len(items) > 2


def test_a_share_of_the_labels_weighs_as_much_as_all(split: Split, settings: dict):
    v, n = 259, 7
    make = ReLRec(**{**settings, "label_share": 0.5, "epochs": 1}).fit(split).batches(split)
    told = set()
    for epoch in range(1, 30):
        for sequences, _, labels, shares in make(epoch, (0, 1)):
            half = max(1, round(len(sequences) / 2))
            ids = [int(row[row >= v][0]) - v for row in labels]
            users = [i - n for i in ids if i >= n]
            assert sum(i < n for i in ids) == half
            assert len(set(users)) == len(users) <= half
            assert {*users} <= {*(sequences[:, 1] - v - n).tolist()}
            assert shares.sum().item() == pytest.approx(0.3 + 0.9 * bool(users), rel=1e-5)
            told |= {*users}
    assert len(told) == 9, "every user with a label has a turn"


def test_label_epochs_learn_each_label_once_and_no_sequence(split: Split, settings: dict):
    v, n = 259, 7
    model = ReLRec(**{**settings, "label_epochs": 1, "epochs": 2, "batch_size": 3}).fit(split)
    first, then = (list(model.batches(split)(epoch, (0, 1))) for epoch in (1, 2))
    told = []
    for sequences, _, labels, shares in first:
        assert not sequences.numel()
        ids = [int(row[row >= v][0]) - v for row in labels]
        users = {i >= n for i in ids}
        assert len(users) == 1, "of one kind"
        assert shares.sum().item() == pytest.approx(0.9 if users.pop() else 0.3, rel=1e-5)
        assert model.net((sequences, torch.zeros(0, 0), labels, shares)).item() > 0
        told += ids
    assert len(told) == len(set(told)) == 9 + 5, "every user and item that has a label"
    assert all(sequences.numel() for sequences, *_ in then)
    halves = [len(list(model.batches(split)(1, (rank, 2)))) for rank in (0, 1)]
    assert halves[0] == halves[1] == len(first) // 2
    patient = ReLRec(**{**settings, "label_epochs": 3, "epochs": 4, "patience": 1}).fit(split)
    assert [row["epoch"] for row in patient.history if "valid" in row] == [4], "labels alone try nobody's patience"
    with pytest.raises(ConfigError, match="label_epochs"):
        ReLRec(**{**settings, "label_epochs": 1, "beta": 0, "gamma": 0})


def test_batches_depend_on_seed_and_epoch_alone_and_are_dealt_out(fitted: ReLRec, split: Split):
    make = fitted.batches(split)
    one, again, later = (list(make(e, (0, 1))) for e in (1, 1, 2))

    def same(a: list, b: list) -> bool:
        pairs = [(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)]
        return all(x.shape == y.shape and torch.equal(x, y) for x, y in pairs)

    assert same(one, again)
    assert not same(one, later)
    shards = [list(make(1, (rank, 2))) for rank in range(2)]
    assert len(shards[0]) == len(shards[1]) == len(one) // 2
    assert torch.equal(shards[1][0][0], one[1][0])


def digest(model: torch.nn.Module) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode() + tensor.numpy().tobytes())
    return total.hexdigest()


def test_the_body_is_bit_identical_after_training_and_only_the_rest_is_saved(
    split: Split, settings: dict, tmp_path: Path
):
    before = digest(Backbone(BackboneConfig(**settings["backbone"])).model)
    model = ReLRec(**settings).fit(split)
    start = ReLRec(**settings)
    start._catalog, start.users = model.catalog, model.users
    torch.manual_seed(0)
    started = start.build(split.counts()).state_dict()
    assert digest(model.net.body.model) == before
    assert not torch.equal(model.state()["items.table"], started["items.table"]), "the rest did learn"
    assert {k.split(".")[0] for k in model.state()} == {"items", "users", "counts", "trained"}
    model.save(tmp_path / "m")
    loaded = sl.load(tmp_path / "m")
    assert loaded.about["backbone"] == {**model.net.body.identity}
    assert set(loaded.about["backbone"]) == {"name", "revision", "digest"}


def test_a_hub_model_comes_back_at_the_commit_that_was_read(split: Split, settings: dict, tmp_path: Path, monkeypatch):
    folder, asked = Path(settings["backbone"]["name"]), []

    def located(config: BackboneConfig) -> tuple[Path, str]:
        asked.append(config.revision)
        return folder, "c0ffee"

    monkeypatch.setattr("seqlore.language.backbone.locate", located)
    model = ReLRec(**{**settings, "backbone": {"name": "who/what"}, "beta": 0, "gamma": 0, "epochs": 1}).fit(split)
    model.save(tmp_path / "m")
    assert sl.load(tmp_path / "m").about["backbone"]["revision"] == "c0ffee"
    assert asked == [None, "c0ffee"]


def test_another_backbone_in_its_place_is_refused(split: Split, settings: dict, tmp_path: Path):
    folder = make_backbone(tmp_path / "body")
    model = ReLRec(**{**settings, "backbone": {"name": str(folder)}, "beta": 0, "gamma": 0, "epochs": 1}).fit(split)
    model.save(tmp_path / "m")
    make_backbone(folder, width=16)
    with pytest.raises(DataError, match="put the right one there"):
        sl.load(tmp_path / "m")


def test_a_checkpoint_is_not_carried_on_with_another_body_or_other_labels(
    split: Split, settings: dict, label_file: str, tmp_path: Path
):
    folder, file = make_backbone(tmp_path / "body"), tmp_path / "labels.parquet"
    shutil.copy(label_file, file)
    given = {**settings, "backbone": {"name": str(folder)}, "labels": {"files": [str(file)]}, "epochs": 1}
    ReLRec(**given).fit(split, checkpoint=tmp_path / "c")
    longer = ReLRec(**{**given, "epochs": 2}).fit(split, checkpoint=tmp_path / "c")
    assert [row["epoch"] for row in longer.history] == [1, 2]
    make_backbone(folder, width=16)
    with pytest.raises(DataError, match=r"is of a fit on other data.*backbone"):
        ReLRec(**given).fit(split, checkpoint=tmp_path / "c")
    make_backbone(folder)
    ReLRec(**given).fit(split, checkpoint=tmp_path / "c")
    frame = pl.read_parquet(file)
    frame.with_columns(pl.col("text") + "!").write_parquet(file, metadata=pl.read_parquet_metadata(file))
    with pytest.raises(DataError, match=r"is of a fit on other data.*labels"):
        ReLRec(**given).fit(split, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("body", [{}, {"dtype": "bf16"}])
def test_it_learns_in_mixed_precision(split: Split, settings: dict, body: dict):
    model = ReLRec(**{**settings, "precision": "bf16", "backbone": {**settings["backbone"], **body}}).fit(split)
    losses = [row["train_loss"] for row in model.history]
    assert losses[-1] < losses[0]


def test_the_ranking_does_not_depend_on_the_rest_of_the_batch(fitted: ReLRec, split: Split):
    histories = split.test.histories
    together = fitted.score(histories)
    for i in range(len(histories)):
        torch.testing.assert_close(fitted.score(histories.take(np.array([i])))[0], together[i], atol=1e-5, rtol=0)


def test_users_matter(fitted: ReLRec, split: Split):
    histories = split.test.histories
    own = fitted.score(histories)
    other = fitted.score(permuted_users(histories, split.users.size, 0))
    assert (own - other).abs().max() > 1e-3
    moved = permuted_users(histories, split.users.size, 0).users
    assert sorted(moved) == sorted(histories.users)
    assert (moved != histories.users).all()
    control = ReLRec(fitted.config, users="permuted")
    control._catalog, control.users, control.net = fitted.catalog, fitted.users, fitted.net
    torch.testing.assert_close(control.score(histories), other)
    assert control.validate(split.valid) == fitted.validate(split.valid), "the same epoch is kept"
    torch.testing.assert_close(control.score(histories), other)


def test_a_stranger_is_the_mean_user(fitted: ReLRec, split: Split):
    net = fitted.net
    mean = net.users()[1:].mean(0)
    token = torch.tensor([[net.tokens.first_user]])
    torch.testing.assert_close(net.embed(token, net.items())[0, 0], mean)
    history = [["i1", "i2"]]
    stranger, unknown = fitted.recommend(history), fitted.recommend(history, users=["who"])
    assert stranger.scores.tolist() == unknown.scores.tolist()
    assert fitted.recommend(history, users=["u3"]).scores.tolist() != stranger.scores.tolist()
    assert fitted.recommend([[]], users=["u3"]).scores.tolist() != fitted.recommend([[]]).scores.tolist()


def test_users_who_were_not_in_training_are_strangers(settings: dict):
    """Temporal sessions: every test user is new."""
    histories = {f"u{u:02}": [f"i{(u + j) % 4}" for j in range(3)] for u in range(20)}
    split = temporal_sessions(make_dataset(histories, timestamp=[100 * u + t for u in range(20) for t in range(3)]))
    model = ReLRec(**{**settings, "labels": {}, "beta": 0, "gamma": 0, "weight_decay": 0.0}).fit(split)
    seen = sorted(set(split.train.users.tolist()))
    assert model.net.trained.nonzero()[:, 0].tolist() == seen
    test = split.test.histories
    assert not {*test.users.tolist()} & {*seen}
    strangers = Sequences(test.items, test.offsets)
    torch.testing.assert_close(model.score(test), model.score(strangers))
    mean = model.net.users()[torch.tensor(seen)].mean(0)
    token = torch.tensor([[model.net.tokens.first_user + int(test.users[0])]])
    torch.testing.assert_close(model.net.embed(token, model.net.items())[0, 0], mean)
    moved = permuted_users(split.train, split.users.size, 0, np.array(seen)).users
    assert (moved != split.train.users).all()
    assert {*moved.tolist()} == {*seen}, "another's token is one that was trained"


def test_where_the_first_item_is_not_predicted_popularity_answers_an_empty_history(split: Split, settings: dict):
    empty = Sequences.from_lists([[]], users=[3])
    models = [ReLRec(**settings, first_item=first).fit(split) for first in (True, False)]
    popular = models[0].net.counts.log1p()
    assert [torch.equal(model.score(empty)[0], popular) for model in models] == [False, True]


def test_without_users(split: Split, settings: dict):
    model = ReLRec(**settings, users="none").fit(split)
    assert model.net.users is None
    assert model.users is None
    assert [*model.about["labels"]] == ["item"]
    histories = split.test.histories
    torch.testing.assert_close(model.score(histories), model.score(permuted_users(histories, split.users.size, 0)))
    counts = split.counts()
    assert model.recommend([[]], 1).items == [[split.catalog.external(int(counts.argmax()))]], "popularity answers"
    with pytest.raises(DataError, match="without user tokens"):
        model.explain(["u1"], "user")


def test_labels_are_learned(split: Split, settings: dict):
    """After training on labels alone, a label is likelier behind its own id than behind another's."""
    taught = {"alpha": 0, "epochs": 40, "learning_rate": 0.03, "projection": {"layers": 0}, "user_prompts": ["{id}"]}
    model = ReLRec(**{**settings, **taught}).fit(split.with_validation())  # all epochs: nothing is validated
    rows = model._label_rows(split, ["user"])["user"]

    def loss(told: int, of: int) -> float:
        tokens, read = rows.draw(of, np.random.default_rng(0))
        tokens = np.where(tokens >= 259 + 7, 259 + 7 + told, tokens)
        with torch.no_grad():
            hidden = model.net.body.hidden(model.net.embed(torch.from_numpy(tokens)[None], model.net.items()))[0]
            logits = model.net.body.word_logits(hidden[:-1][torch.from_numpy(read[:-1])])
            return F.cross_entropy(logits, torch.from_numpy(tokens[1:][read[:-1]])).item()

    own = [loss(u, u) for u in rows.known]
    others = [loss(t, u) for u in rows.known for t in rows.known if t != u]
    assert np.mean(own) < np.mean(others) - 0.05


def test_explain_tells_of_items_and_users(fitted: ReLRec):
    texts = fitted.explain(["i1", "i2", "i5"], max_tokens=5)
    assert len(texts) == 3
    assert all(len(t.encode()) <= 5 * 4 for t in texts)
    assert texts == fitted.explain(["i1", "i2", "i5"], max_tokens=5)
    assert len(fitted.explain(["u1", "nobody"], "user", max_tokens=3)) == 2
    assert fitted.explain([]) == []
    with pytest.raises(DataError, match="'i77' is not in the catalogue"):
        fitted.explain(["i1", "i77"])
    several = [f"i{i}" for i in range(6)]
    assert fitted.explain(several, max_tokens=4) == [fitted.explain([i], max_tokens=4)[0] for i in several]
    assert len({fitted._drawn("item", i, 4) for i in several}) > 1, "not all are asked by one prompt"
    with pytest.raises(ConfigError, match="kind = 'shop'"):
        fitted.explain(["i1"], "shop")  # type: ignore[arg-type]
    for wrong in (0, -3):
        with pytest.raises(ConfigError, match="ask for at least one"):
            fitted.explain(["i1"], max_tokens=wrong)
    with pytest.raises(ConfigError, match="max_tokens = 250, with the longest prompt, needs"):
        fitted.explain(["i1"], max_tokens=250)


def test_without_a_begin_token_no_row_has_one(fitted: ReLRec, split: Split, settings: dict):
    model = ReLRec(**{**settings, "begin": False, "epochs": 1}).fit(split)
    for net, begins in ((model.net, False), (fitted.net, True)):
        owner = model if net is model.net else fitted
        for sequences, _, labels, _ in owner.batches(split)(1, (0, 1)):
            assert ((sequences[:, 0] == 0) == begins).all()
            assert ((labels[:, 0] == 0) == begins).all()


def test_a_body_that_read_what_is_held_out_is_refused(split: Split, settings: dict, tmp_path: Path):
    folder = tmp_path / "body"
    shutil.copytree(settings["backbone"]["name"], folder)
    given = {**settings, "beta": 0, "gamma": 0, "epochs": 1}

    def read(hash: str, how: dict, kind: str = "reviews") -> None:
        corpora = [{"name": "own texts"}, {"hash": hash, "split": how, "kind": kind}]
        (folder / "pretraining.json").write_text(json.dumps({"corpora": corpora}))

    mine, how = split.dataset.hash, dict(split.how)
    for hash, part, kind in ((mine, how, "reviews"), (mine, {**how, "ties": "shuffled"}, "items")):
        read(hash, part, kind)
        ReLRec(**{**given, "backbone": {"name": str(folder)}}).fit(split)
    for hash, part in (
        ("another", how),
        (mine, {**how, "ties": "shuffled"}),
        (mine, {**how, "fitted_on": "everything"}),
    ):
        read(hash, part)
        with pytest.raises(DataError, match=r"seqlore lore pretrain.*any_corpus"):
            ReLRec(**{**given, "backbone": {"name": str(folder)}}).fit(split)
    ReLRec(**{**given, "backbone": {"name": str(folder), "any_corpus": True}}).fit(split)


@pytest.mark.parametrize("form", ["table", "bottleneck"])
@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("width", [4, 16, 64])
@pytest.mark.parametrize(("start", "noise"), [("mean", 1.0), ("random", 0.3)])
def test_rows_start_around_their_centre_with_the_spread_that_is_asked_for(form, layers, width, start, noise):
    torch.manual_seed(0)
    config = ProjectionConfig(form=form, layers=layers, width=width, start=start, noise=noise)
    mean = torch.linspace(-0.5, 0.5, 64)
    rows = IdTable(4000, 64, config, mean, 0.1)().detach()
    assert rows.shape == (4000, 64)
    spread = (rows - rows.mean(0)).square().mean().sqrt().item()
    assert spread == pytest.approx(noise * 0.1, rel=0.04)
    torch.testing.assert_close(rows.mean(0), mean if start == "mean" else torch.zeros(64), atol=0.015, rtol=0)


class Idle(torch.nn.Module):
    """Learns nothing, so that only decay moves it."""

    def __init__(self, table: IdTable) -> None:
        super().__init__()
        self.table = table

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 0 * self.table().sum() + 0 * batch.sum()


@pytest.mark.parametrize(("form", "layers"), [("table", 0), ("table", 1), ("bottleneck", 1), ("table", 2)])
def test_decay_draws_rows_to_the_mean_and_not_the_mean_to_zero(form, layers):
    mean = torch.linspace(-0.5, 0.5, 64)
    table = IdTable(50, 64, ProjectionConfig(form=form, layers=layers), mean, 0.1)
    gone = TrainConfig(learning_rate=0.1, weight_decay=10.0, warmup_steps=0, epochs=1, device="cpu")
    train(Idle(table), lambda epoch, shard: [torch.zeros(1)], gone)
    torch.testing.assert_close(table().detach(), mean.expand(50, 64), atol=1e-5 if layers < 2 else 0.1, rtol=0)


def test_equal_rows_without_noise_and_widths():
    mean = torch.arange(8.0)
    table = IdTable(5, 8, ProjectionConfig(noise=0.0), mean, 0.1)
    torch.testing.assert_close(table(), mean.expand(5, 8))
    assert table.table.shape == (5, 1), "d / 8 by default"
    assert IdTable(5, 8, ProjectionConfig(layers=0), mean, 0.1).table.shape == (5, 8)
    assert IdTable(5, 8, ProjectionConfig(form="bottleneck", width=3), mean, 0.1).table.shape == (5, 8)


def test_an_adapter_is_saved_and_comes_back(split: Split, settings: dict, tmp_path: Path):
    tuned = {**settings, "backbone": {**settings["backbone"], "tune": "lora", "lora_rank": 2}, "beta": 0, "gamma": 0}
    model = ReLRec(**tuned).fit(split)
    assert all(getattr(p, "decay_scale", 1.0) == 0 for p in model.net.adapter.values())
    assert any(k.startswith("adapter.") for k in model.state())
    assert any(v.abs().sum() > 0 for k, v in model.state().items() if "lora_B" in k), "it learned"
    model.save(tmp_path / "m")
    torch.testing.assert_close(sl.load(tmp_path / "m").score(split.test.histories), model.score(split.test.histories))
