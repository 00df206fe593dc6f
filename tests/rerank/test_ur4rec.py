"""The losses by hand, the phases, the ablations, the controls, and that nothing leaks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rerank.worlds import TINY, wishes
from seqlore.data import Split
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import evaluate
from seqlore.lore.extractive import ExtractiveModel
from seqlore.rerank import PRM, GRU4RecReranker, SASRecReranker, Uniform, UR4Rec, gathering, points
from seqlore.rerank.body import Body
from seqlore.rerank.knowledge import Knowledge, latest
from seqlore.rerank.lists import ListData, list_batch
from seqlore.rerank.pretraining import Pretraining, info_nce, matching_loss, most_alike, with_negatives
from seqlore.rerank.reranker import Reranker
from seqlore.rerank.texts import LIMIT, UserTexts

SMALL: dict[str, Any] = {
    "body": "random",
    "size": 16,
    "heads": 2,
    "proxies": 2,
    "width": 8,
    "dropout": 0.0,
    "rate": 1.0,
    "pretraining": {"epochs": 1, "negatives": 4, "warmup_steps": 0, "learning_rate": 0.01, "batch_size": 32},
}


@pytest.fixture(scope="module")
def world() -> tuple[Split, Knowledge]:
    split, texts = wishes(300)
    return split, Knowledge(texts, torch.zeros(split.catalog.size, texts.width))


def lists_of(split: Split, n: int = 4) -> ListData:
    return ListData(split, Uniform(n).fitted(split), pool=1)


def built(split: Split, knowledge: Knowledge, **changed: Any) -> UR4Rec:
    torch.manual_seed(0)
    made = UR4Rec(texts=knowledge, **{**SMALL, **changed})
    made.build(split.catalog.size, 6)
    return made


# --- losses ----------------------------------------------------------------------------------------------------------


def test_info_nce_by_hand():
    similarity = torch.tensor([[1.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]])
    first, second = math.log(1 + math.exp(-2)), math.log(3)
    assert info_nce(similarity, 0.5).item() == pytest.approx((first + second) / 2)
    assert info_nce(torch.tensor([[1.0, -1.0]]), 0.01).item() >= 0, "the positive is in the sum, so it is bounded"


def test_the_likest_proxy_counts():
    proxies = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    items = torch.tensor([[[3.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]])
    assert most_alike(proxies, items)[0].tolist() == pytest.approx([1, 0.5**0.5, 0])


def test_matching_by_hand():
    logits = torch.tensor([[0.0, math.log(3), 99.0], [0.0, 0.0, 0.0]])
    listed = torch.tensor([[True, True, False], [True, True, True]])
    each = [math.log(2), math.log(4), *[math.log(2)] * 3]
    assert matching_loss(logits, listed).item() == pytest.approx(sum(each) / 2)
    assert matching_loss(logits, listed, "mean").item() == pytest.approx(sum(each) / 5)


def test_negatives_are_others_of_the_list():
    histories = gathering.Sequences.from_lists([[1], [2]])
    batch = list_batch(histories, np.array([[3, 4, 5, 6], [7, 8, 0, 0]]), 3, np.array([5, 7]))
    drawn = {tuple(row) for _ in range(40) for row in with_negatives(batch, 2).tolist()}
    assert {row[0] for row in drawn} == {5, 7}
    assert {row[1:] for row in drawn if row[0] == 5} == {(a, b) for a in (3, 4, 6) for b in (3, 4, 6) if a != b}
    assert {row[1:] for row in drawn if row[0] == 7} == {(8, 0)}
    assert with_negatives(batch, 9).shape == (2, 4)


# --- phases ----------------------------------------------------------------------------------------------------------


def test_pretraining_moves_the_retriever_and_nothing_else(world: tuple[Split, Knowledge]):
    split, knowledge = world
    augmentation, items = built(split, knowledge), torch.randn(split.catalog.size, 6)
    before, h = {k: v.clone() for k, v in augmentation.state_dict().items()}, items.clone()
    rows = augmentation.pretrain(items, lists_of(split), device="cpu")
    assert len(rows) == 1
    moved = {k for k, v in augmentation.state_dict().items() if not torch.equal(v, before[k])}
    assert torch.equal(items, h), "h_i is frozen"
    assert {name.split(".")[0] for name in moved} == {"retriever", "match"}
    assert {"retriever.proxies", "retriever.project.weight", "match.weight"} <= moved
    assert not any(p.requires_grad for p in augmentation.match.parameters()), "its part is done"


def test_joint_training_moves_both_and_no_text(world: tuple[Split, Knowledge], monkeypatch: pytest.MonkeyPatch):
    split, knowledge = world
    held = {k: v.clone() for k, v in knowledge.state_dict().items()}
    source, seen = Uniform(4).fitted(split), []
    base = PRM(**TINY, epochs=1).fit(split, source)
    model = PRM(**TINY, epochs=1, augmentation=UR4Rec(texts=knowledge, **SMALL))
    after_phase_1: dict[str, Tensor] = {}
    pretrain = UR4Rec.pretrain

    def watched(self: UR4Rec, *args: Any, **options: Any) -> Any:
        rows = pretrain(self, *args, **options)
        after_phase_1.update({name: p.detach().clone() for name, p in self.named_parameters()})
        return rows

    monkeypatch.setattr(UR4Rec, "pretrain", watched)
    model.fit(split, source, base=base, progress=seen.append)
    now = dict(model.net.augmentation.named_parameters())
    moved = {name.split(".")[0] for name, p in after_phase_1.items() if not torch.equal(now[name], p)}
    assert moved == {"retriever", "adapter"}, "and matching has had its part"
    assert not torch.equal(now["retriever.proxies"], after_phase_1["retriever.proxies"])
    assert [row.get("stage") for row in seen] == ["pretrain", None]
    assert len(model.about["pretraining"]) == 1
    rebuilt = model.net.augmentation.knowledge.state_dict()
    assert all(torch.equal(rebuilt[k], v) for k, v in held.items())
    assert not torch.equal(model.net.items.table(), base.net.items.table())


def test_item_vectors_of_a_whole_base_are_not_learned_anew():
    learned = {**SMALL, "pretraining": {**SMALL["pretraining"], "items": "learned"}}
    with pytest.raises(ConfigError, match=r'UR4Rec on PRM: continued keeps .* set pretraining.items = "frozen"'):
        PRM(**TINY, continued={}, augmentation={"name": "UR4Rec", "settings": learned})
    PRM(**TINY, continued={}, augmentation={"name": "UR4Rec", "settings": {**learned, "pretrain": False}})


def test_item_vectors_may_be_learned_with_the_retriever(world: tuple[Split, Knowledge]):
    split, knowledge = world
    learned = {**SMALL, "pretraining": {**SMALL["pretraining"], "items": "learned"}}
    source = Uniform(4).fitted(split)
    base = PRM(**TINY, epochs=1).fit(split, source)
    before = base.net.items.table().detach().clone()
    augmentation, frozen = built(split, knowledge, **learned), built(split, knowledge)
    for each, moved in ((augmentation, True), (frozen, False)):
        each.pretrain(h := torch.randn(split.catalog.size, 6), lists_of(split), device="cpu")
        assert (each.start is not None and not torch.equal(each.start, h)) == moved
    model = PRM(**{**TINY, "learning_rate": 1e-12}, epochs=1, augmentation=UR4Rec(texts=knowledge, **learned))
    model.fit(split, source, base=base)
    assert torch.equal(before, base.net.items.table()), "the base stays as it is"
    far = (model.net.items.table() - before).abs().max().item()
    assert far > 1e-3, "joint training, which stood still here, starts from them"


def test_the_retriever_has_a_rate_of_its_own(world: tuple[Split, Knowledge]):
    split, knowledge = world
    augmentation = built(split, knowledge, rate=0.05)
    augmentation.pretrain(torch.randn(split.catalog.size, 6), lists_of(split), device="cpu")
    assert {p.rate_scale for p in augmentation.retriever.parameters()} == {0.05}  # type: ignore[attr-defined]
    assert not hasattr(augmentation.adapter.weight, "rate_scale")


# --- ablations and controls ------------------------------------------------------------------------------------------


def loss_of(split: Split, knowledge: Knowledge, **changed: Any) -> float:
    augmentation = built(split, knowledge, **changed)
    torch.manual_seed(1)
    items = torch.randn(split.catalog.size, 6)
    batch = next(lists_of(split).batches(1, size=16, length=10))
    torch.manual_seed(2)
    return Pretraining(augmentation, items).eval()(batch).item()


def test_each_loss_can_be_left_out(world: tuple[Split, Knowledge]):
    halved = {"pretraining": {**SMALL["pretraining"], "alpha": 0.5}}
    both, contrast, matching = (
        loss_of(*world, **halved, **changed) for changed in ({}, {"matching": False}, {"contrast": False})
    )
    assert both == pytest.approx(contrast + matching)
    assert loss_of(*world, contrast=False) == pytest.approx(2 * matching)
    mean = {"pretraining": {**SMALL["pretraining"], "matching_loss": "mean"}}
    assert loss_of(*world, **mean, contrast=False) == pytest.approx(2 * matching / 5), "a positive and four negatives"
    assert matching > 0
    assert contrast > 0


def test_without_proxies_nothing_contrasts(world: tuple[Split, Knowledge]):
    assert loss_of(*world, proxies=0) == pytest.approx(loss_of(*world, proxies=0, contrast=False))
    assert built(*world, proxies=0).adapter.in_features == 16
    assert built(*world).adapter.in_features == 32
    with pytest.raises(ValidationError, match="pretrain = false"):
        UR4Rec.Config(proxies=0, matching=False)


def test_without_pretraining_the_retriever_stays_as_built(world: tuple[Split, Knowledge]):
    split, knowledge = world
    items = torch.randn(split.catalog.size, 6)
    for changed, same in (({}, True), ({"fresh_proxies": True}, False)):
        augmentation = built(split, knowledge, pretrain=False, **changed)
        before = augmentation.retriever.proxies.detach().clone()
        assert augmentation.pretrain(items, lists_of(split)) == []
        assert torch.equal(before, augmentation.retriever.proxies) == same


def test_z_of_ids_reads_the_history_and_no_text(world: tuple[Split, Knowledge]):
    split, _ = world
    augmentation = UR4Rec(z="ids", **SMALL)
    augmentation.gather(lists_of(split))
    augmentation.build(split.catalog.size, 6)
    batch = next(lists_of(split).batches(1, size=8, length=1))
    z, there, _ = augmentation.knowledge(batch, 5)
    assert torch.equal(z, augmentation.knowledge.table(batch.items))
    assert there.all()
    assert z.requires_grad


def test_permuted_z_is_that_of_one_other_user():
    histories = gathering.Sequences.from_lists([[1, 2], [3], [3, 4]], users=[1, 2, 2])
    items = torch.arange(5.0)[:, None]
    own = Knowledge(UserTexts(histories, np.array([[10.0], [20.0], [30.0]])), items)
    batch = list_batch(histories, np.zeros((3, 1), int), 5)
    z, there, ages = own(batch, 5)
    assert z[..., 0].tolist() == [[10, 1, 2], [20, 3, 0], [30, 3, 4]]
    assert there.tolist() == [[True, True, True], [True, True, False], [True, True, True]]
    assert ages.tolist() == [[0, 2, 1], [0, 1, 0], [0, 2, 1]], "a text about a user has no age, the latest event is 1"
    z, _, ages = own.permuted(histories, 2)(batch, 5)
    assert z[..., 0].tolist() == [[20, 3, 0], [10, 1, 2], [10, 1, 2]], "preference and history of one other user"
    assert ages.tolist() == [[0, 1, 0], [0, 2, 1], [0, 2, 1]]
    z, *_ = own.permuted(histories, None)(batch, 5)
    assert z[..., 0].tolist() == [[20, 1, 2], [10, 3, 0], [10, 3, 4]], "the preference alone"


def test_controls_refuse_knowledge_that_they_would_not_use(world: tuple[Split, Knowledge]):
    split, knowledge = world
    for z, words in (("permuted", "hand over knowledge.permuted"), ("ids", "hand over no knowledge")):
        with pytest.raises(ConfigError, match=words):
            PRM(**TINY, augmentation=UR4Rec(texts=knowledge, **SMALL, z=z)).fit(split, Uniform(6))


def test_more_negatives_than_the_lists_have_are_refused(world: tuple[Split, Knowledge]):
    split, knowledge = world
    with pytest.raises(ConfigError, match="negatives = 4, but a list has 4 candidates, so at most 3"):
        PRM(**TINY, augmentation=UR4Rec(texts=knowledge, **SMALL)).fit(split, Uniform(3))


def test_a_split_with_several_sequences_a_user_is_refused():
    split = wishes(30)[0]
    walks = split.train
    twice = replace(split, train=gathering.Sequences.concat([walks, walks.last(2)]))
    for given, fits in ((split, True), (twice, False)):
        lists = ListData(given, Uniform(4).fitted(given), pool=1)
        if fits:
            assert len(points.text_points(lists, None))
        else:
            with pytest.raises(DataError, match="has several sequences in this split"):
                points.text_points(lists, None)


def test_only_the_latest_events_are_in_z():
    histories = gathering.Sequences.from_lists([[1, 2, 3], [4], []])
    batch = list_batch(histories, np.zeros((3, 1), int), 9)
    assert latest(batch, 2).tolist() == [[2, 3], [4, 0], [0, 0]]
    assert latest(batch, 3).tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]


# --- what it is worth where only the text knows ----------------------------------------------------------------------


def found(split: Split, knowledge: Knowledge, **settings: Any) -> float:
    source, longer = Uniform(6).fitted(split), {**SMALL["pretraining"], "epochs": 8}
    own = {**SMALL, "pretraining": longer, **settings}
    model = PRM(**TINY, epochs=4, augmentation=UR4Rec(texts=knowledge, **own))
    model.fit(split, source)
    return evaluate(model, split, cases=source.asked(split.test), at=(1,)).metrics["ndcg@1"]


@pytest.mark.parametrize("form", ["joint", "isolated"])
def test_it_finds_what_only_the_text_knows(world: tuple[Split, Knowledge], form: str):
    assert found(*world, form=form) > 0.85


def test_and_does_not_with_the_text_of_another(world: tuple[Split, Knowledge]):
    split, knowledge = world
    fake = Knowledge(knowledge.preferences.permuted(1), knowledge.items)
    assert found(split, fake) < 0.7


# --- gathering, leaks, saving ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Split:
    from seqlore.data import user_ratio
    from seqlore.data.simulate import simulate

    return user_ratio(simulate(60, 80, 12, seed=3, reviews=False), parts=(6, 2, 2), targets=2, first=4)


def settings(tmp_path: Path, encoder: Path, **changed: Any) -> dict[str, Any]:
    return {"store": tmp_path / "lore.sqlite", "vectors": tmp_path / "v", "encoder": str(encoder), **changed}


@pytest.mark.parametrize(("backbone", "pool"), [(PRM, 2), (SASRecReranker, None)])
def test_no_sample_of_any_phase_knows_its_target(
    shop: Split, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, backbone: Any, pool: int | None
):
    told: list[tuple[str, ...]] = []

    class Spy(ExtractiveModel):
        def generate(self, prompts: Any, sampling: Any) -> Iterator:
            told.extend(p.fact("titles") for p in prompts if p.task == "user-preference")
            yield from super().generate(prompts, sampling)

    monkeypatch.setattr(gathering, "language_model", lambda *_, **__: Spy())
    checked: list[tuple[int, int, int]] = []
    find = UserTexts.find

    def watched(self: UserTexts, users: Tensor, known: Tensor) -> Tensor:
        rows = find(self, users, known)
        keys = torch.cat([torch.tensor([-1]), self.keys.cpu()])[rows.cpu()]
        checked.extend(zip(users.tolist(), known.tolist(), keys.tolist(), strict=True))
        return rows

    monkeypatch.setattr(UserTexts, "find", watched)
    know = settings(tmp_path, tiny_encoder, history=5)
    model = backbone(
        **{**TINY, "batch_size": 32},
        epochs=2,
        target_pool=pool,
        augmentation={"name": "UR4Rec", "settings": {**SMALL, "knowledge": know}},
    )
    model.fit(shop, Uniform(9))
    lists = model.lists(shop, Uniform(9))
    asked = [lists.cases(1), lists.cases(2)]
    asked += [lists.pretraining().cases(epoch) for epoch in range(1, SMALL["pretraining"]["epochs"] + 1)]
    samples = {(int(u), int(n)) for cases in asked for u, n in zip(*of(cases.histories), strict=True)}
    assert samples <= {(user, known) for user, known, _ in checked}, "every sample was looked at"
    for user, known, key in checked:
        assert key >= 0, "and has a text"
        assert key // LIMIT == user
        assert key % LIMIT <= known
    written = points.text_points(lists, None, pretraining=True)
    titles = shop.catalog.titles
    expected = {tuple(titles[i - 1] for i in point[-5:]) for point in written}
    assert set(told) == expected, "texts are written from what came before, and from nothing else"
    whole = dict(zip(shop.train.users.tolist(), shop.train, strict=True))
    for cases in asked:  # Z has the knowledge of these histories' items, and of no others
        for user, history, target in zip(cases.histories.users.tolist(), cases.histories, cases.targets, strict=True):
            at = len(history)
            assert (history.tolist(), int(target)) == (whole[user][:at].tolist(), int(whole[user][at]))
    for user, point in zip(written.users.tolist(), written, strict=True):
        if user in whole:
            assert len(point) < len(whole[user])
            assert point.tolist() == whole[user][: len(point)].tolist()


def of(histories: Any) -> tuple[Any, Any]:
    return histories.users, histories.lengths


def test_standardized_by_hand():
    vectors = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 9.0], [7.0, 5.0]])
    there, of = np.array([True, True, False, True]), np.array([True, True, True, False])
    scaled = gathering.standardized(vectors, there, of)
    assert scaled.tolist() == [[-1, 0], [1, 0], [0, 0], [5, 0]], "mean 2, deviation 1; 5 never varies"
    pieces = gathering.standardized(vectors.reshape(2, 2, 2), there.reshape(2, 2), np.array([True, False]))
    assert pieces.tolist() == [[[-1, 0], [1, 0]], [[0, 0], [5, 0]]]
    assert gathering.standardized(vectors, there & False, of).tolist() == vectors.tolist()


def test_points_layers_and_sentences_by_hand():
    sequences = gathering.Sequences.from_lists([[1, 2, 3, 4, 5, 6], [1, 2], [7, 8, 9]], users=[1, 2, 3])
    assert [p.tolist() for p in points.prefixes(sequences, 2, 2)] == [[1, 2], [1, 2, 3, 4], [7, 8]]
    assert [p.tolist() for p in points.layers(np.array([5, 5, 2, 5, 2]))] == [[0, 2], [1, 4], [3]]
    assert list(points.layers(np.zeros(0, int))) == []
    assert gathering.in_sentences("1. Likes tea. Hates fog\n2. Sails!") == ["1. Likes tea.", "Hates fog", "2. Sails!"]


def test_validation_cases_without_a_text_are_counted(shop: Split, tmp_path: Path, tiny_encoder: Path):
    source = Uniform(9).fitted(shop)
    know = settings(tmp_path, tiny_encoder)
    told = {"name": "LLMAug", "settings": {"knowledge": know}}
    model = PRM(**TINY, epochs=1, target_pool=1, valid_cases=5, augmentation=told).fit(shop, source)
    report = evaluate(model, shop, cases=source.asked(shop.valid), on="valid", at=(1,))
    assert report.metrics["without_own_text"] == pytest.approx(1 - 5 / len(shop.valid))
    assert "without own text" in str(report)
    assert "without_own_text" not in evaluate(model, shop, cases=source.asked(shop.test), at=(1,)).metrics


def test_a_vector_a_sentence(shop: Split, tmp_path: Path, tiny_encoder: Path):
    lists = lists_of(shop)
    know = gathering.KnowledgeSettings.parse(settings(tmp_path, tiny_encoder, sentences=True, most=2), "knowledge")
    knowledge, points = gathering.gather_knowledge(lists, know)
    assert knowledge.preferences.vectors.shape == (len(points) + 1, 2, 24)
    assert knowledge.preferences.counts.max() == 2
    whole, _ = gathering.gather_knowledge(lists, know.model_copy(update={"sentences": False}))
    assert whole.preferences.vectors.shape == (len(points) + 1, 1, 24)
    assert torch.equal(whole.items, knowledge.items)
    assert knowledge.items.any(1)[1:].all()


def test_a_text_that_was_refused_hides_no_earlier_one(
    shop: Split, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    class Refuses(ExtractiveModel):
        """It says nothing of those who have chosen six items."""

        def generate(self, prompts: Any, sampling: Any) -> Iterator:
            for i, answer in super().generate(prompts, sampling):
                yield i, replace(answer, texts=("",)) if len(prompts[i].fact("titles")) == 6 else answer

    monkeypatch.setattr(gathering, "language_model", lambda *_, **__: Refuses())
    lists = ListData(shop, Uniform(4).fitted(shop))
    know = gathering.KnowledgeSettings.parse(settings(tmp_path, tiny_encoder, every=3), "knowledge")
    asked = points.text_points(lists, know.every)
    refused = asked.take(np.flatnonzero(asked.lengths == 6))
    knowledge, written = gathering.gather_knowledge(lists, know)
    assert len(refused)
    assert set(written.lengths) == set(asked.lengths) - {6}
    of_three = set(asked.users[asked.lengths == 3]) & set(refused.users)
    assert of_three
    users = torch.tensor([int(u) for u in sorted(of_three)])
    found = knowledge.preferences.find(users, torch.full_like(users, 7))
    assert (knowledge.preferences.keys[found - 1] % LIMIT == 3).all(), "the text before stands"
    assert knowledge.preferences.vectors[found].any(-1).all()
    assert knowledge.preferences.untold(users, torch.full_like(users, 6)).all(), "and who has no own one is counted"
    permuted = knowledge.permuted(written, 2)
    assert torch.equal(permuted.preferences.keys, permuted.others.keys)  # type: ignore[union-attr]


@pytest.mark.parametrize("z", ["permuted", "preference permuted"])
def test_the_settings_of_a_control_give_that_control(shop: Split, tmp_path: Path, tiny_encoder: Path, z: str):
    lists, know = lists_of(shop), settings(tmp_path, tiny_encoder)

    def gathered(**given: Any) -> Knowledge:
        made = UR4Rec(**SMALL, history=3, knowledge=know, pretrain=False, **given)
        made.gather(lists)
        return made.knowledge

    own, other, third = gathered(), gathered(z=z, z_seed=1), gathered(z=z, z_seed=2)
    _, written = gathering.gather_knowledge(lists, gathering.KnowledgeSettings.parse(know, "knowledge"))
    expected = own.permuted(written, 3 if z == "permuted" else None, 1)
    assert not torch.equal(other.preferences.vectors, own.preferences.vectors)
    assert not torch.equal(other.preferences.vectors, third.preferences.vectors), "another seed permutes anew"
    assert {k: v.tolist() for k, v in other.state_dict().items()} == {
        k: v.tolist() for k, v in expected.state_dict().items()
    }
    assert (other.others is None) == (z != "permuted"), "whose history it is"


@pytest.mark.parametrize("backbone", [SASRecReranker, GRU4RecReranker])
def test_scorers_with_an_isolated_retriever_score_one_candidate_at_a_time(
    world: tuple[Split, Knowledge], backbone: Any
):
    split, knowledge = world
    source = Uniform(4).fitted(split)
    asked = source.asked(split.test).take(np.arange(8))

    def alike(form: str) -> bool:
        own = {**SMALL, "form": form, "layers": 2, "pretrain": False}
        model = backbone(**TINY, epochs=1, augmentation=UR4Rec(texts=knowledge, **own)).fit(split, source)
        whole = model.score(asked.histories, asked.candidates)
        columns = range(asked.candidates.shape[1])
        single = torch.cat([model.score(asked.histories, asked.candidates[:, [c]]) for c in columns], 1)
        return torch.allclose(whole, single, atol=1e-5)

    assert alike("isolated")
    assert not alike("joint"), "where candidates hear of one another"


def test_raw_texts_ask_no_language_model(shop: Split, tmp_path: Path, tiny_encoder: Path):
    know = gathering.KnowledgeSettings.parse(settings(tmp_path, tiny_encoder, texts="raw"), "knowledge")
    knowledge, points = gathering.gather_knowledge(lists_of(shop), know)
    assert not (tmp_path / "lore.sqlite").exists()
    texts = gathering._raw_histories(shop, points, know)
    assert texts[0][0].splitlines()[0].startswith(shop.catalog.titles[points[0][-1] - 1]), "the latest first"
    assert knowledge.preferences.counts[1:].tolist() == [1] * len(points)


def test_a_raw_history_that_no_encoder_reads_whole_is_read_in_pieces(
    shop: Split, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gathering, "PIECE", 2)
    given = settings(tmp_path, tiny_encoder, texts="raw") | {"history": 5}
    know = gathering.KnowledgeSettings.parse(given, "knowledge")
    knowledge, points = gathering.gather_knowledge(lists_of(shop), know)
    lengths = np.minimum(points.lengths, 5)
    assert lengths.max() == 5
    order = np.lexsort((points.lengths, points.users))
    assert knowledge.preferences.counts[1:].tolist() == (-(-lengths // 2))[order].tolist()
    pieces = gathering._raw_histories(shop, points, know)[0]
    whole = "\n".join(pieces).splitlines()
    told = [shop.catalog.titles[i - 1] for i in points[0][-5:][::-1]]
    assert [line.startswith(title) for line, title in zip(whole, told, strict=True)] == [True] * len(told)


def test_it_is_saved_with_its_knowledge_and_needs_no_body_then(
    shop: Split, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    source = Uniform(9).fitted(shop)
    asked = source.asked(shop.test)
    for z in ("text", "permuted", "ids"):
        own = {**SMALL, "body": str(tiny_encoder), "layers": 1, "z": z, "knowledge": settings(tmp_path, tiny_encoder)}
        model = PRM(**TINY, epochs=1, target_pool=1, augmentation={"name": "UR4Rec", "settings": own})
        model.fit(shop, source).save(tmp_path / z)
        with monkeypatch.context() as patch:
            patch.setattr(Body, "read", lambda *_: pytest.fail("the body is in the model's folder"))
            again = Reranker.load(tmp_path / z)
        scores = model.score(asked.histories, asked.candidates)
        assert torch.equal(scores, again.score(asked.histories, asked.candidates))
        assert scores.std() > 0


def test_two_fits_of_a_seed_are_one(world: tuple[Split, Knowledge]):
    split, knowledge = world
    augmentation, source = UR4Rec(texts=knowledge, **SMALL), Uniform(4).fitted(split)
    one, two = (PRM(**TINY, epochs=1, augmentation=augmentation).fit(split, source) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.net.parameters(), two.net.parameters(), strict=True))


def test_a_setting_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="did you mean 'proxies'"):
        UR4Rec(proxy=3)
