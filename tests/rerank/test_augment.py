"""Texts that know no more than they may, augmentations in any backbone, and the phases of a fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn

from rerank.worlds import BACKBONES, TINY, ring, wishes
from seqlore.config import Config
from seqlore.data import Sequences
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import evaluate
from seqlore.rerank import (
    PRM,
    Augmentation,
    ListBatch,
    ListData,
    NoAugmentation,
    Reranker,
    SetRank,
    TextAugmentation,
    Uniform,
    UserTexts,
    reranker_class,
)
from seqlore.rerank.augment import AUGMENTATIONS, AugmentationSettings, Augmented
from seqlore.rerank.layers import Join

# --- texts -----------------------------------------------------------------------------------------------------------


def texts(*points: tuple[int, int]) -> UserTexts:
    """One text a (user, known); its one number is 100 · user + known."""
    histories = Sequences.from_lists([range(1, known + 1) for _, known in points], [user for user, _ in points])
    return UserTexts(histories, np.array([[100.0 * user + known] for user, known in points]))


def found(given: UserTexts, user: int, known: int) -> float:
    vectors, there = given(torch.tensor([user]), torch.tensor([known]))
    assert bool(there.any()) == bool(vectors.any())
    return vectors[0, 0, 0].item()


def test_a_sample_gets_the_latest_text_that_knows_no_more_than_its_history():
    given = texts((2, 5), (2, 9), (1, 3), (4, 1))
    asked = {
        (2, 4): 0,
        (2, 5): 205,
        (2, 8): 205,
        (2, 9): 209,
        (2, 99): 209,
        (1, 2): 0,
        (1, 3): 103,
        (3, 9): 0,
        (0, 9): 0,
    }
    assert {key: found(given, *key) for key in asked} == asked


@examples(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), unique=True, max_size=10),
    st.integers(0, 5),
    st.integers(0, 8),
)
def test_no_sample_of_any_user_is_told_what_came_later(points: list[tuple[int, int]], user: int, known: int):
    given = texts(*points) if points else UserTexts(Sequences.from_lists([]), np.zeros((0, 1)))
    mine = [k for u, k in points if u == user and k <= known]
    row = given.find(torch.tensor([user]), torch.tensor([known])).item()
    assert (row > 0) == bool(mine)
    if mine:
        assert given.vectors[row, 0, 0].item() == 100 * user + max(mine)


def test_texts_of_several_vectors_and_the_control():
    histories = Sequences.from_lists([[1], [1, 2], [1]], [1, 1, 2])
    given = UserTexts(histories, np.arange(12.0).reshape(3, 2, 2) + 1, counts=np.array([2, 1, 0]))
    vectors, there = given(torch.tensor([1, 1, 2]), torch.tensor([1, 2, 1]))
    assert there.tolist() == [[True, True], [True, False], [False, False]]
    assert vectors[1].tolist() == [[5, 6], [7, 8]]
    assert given.width == 2
    other = texts((1, 2), (1, 4), (2, 3), (3, 1)).permuted(seed=1)
    assert {found(other, u, 9) // 100 for u in (1, 2, 3)} == {1, 2, 3}
    assert all(found(other, u, 9) // 100 != u for u in (1, 2, 3))
    assert found(other, 1, 1) == 0, "texts still change where those of the user did"


def test_a_text_that_knows_too_much_is_never_given_out(monkeypatch: pytest.MonkeyPatch):
    given = texts((1, 3), (1, 5))
    monkeypatch.setattr(torch, "searchsorted", lambda keys, asked, right: torch.full_like(asked, len(keys)))
    with pytest.raises(DataError, match="knows what came after"):
        given.find(torch.tensor([1]), torch.tensor([4]))


def test_who_has_no_text_of_all_events_is_known():
    untold = texts((1, 3), (1, 5), (2, 2)).untold(torch.tensor([1, 1, 2, 3, 0]), torch.tensor([5, 4, 2, 3, 0]))
    assert untold.tolist() == [False, True, False, True, True]


def test_a_share_of_training_samples_is_told_nothing_and_nobody_else():
    given = texts((1, 2))
    given.hidden = 0.5
    users, known = torch.ones(400, dtype=torch.int64), torch.full((400,), 3)
    torch.manual_seed(0)
    shares = {mode: given.train(mode)(users, known)[1].float().mean().item() for mode in (True, False)}
    assert shares[True] == pytest.approx(0.5, abs=0.1)
    assert shares[False] == 1
    assert given.permuted().hidden == 0.5


def test_what_stands_for_a_user_without_text_is_learned():
    split, told = wishes(60)
    source = Uniform(8, unseen="history").fitted(split)
    for hidden in (0.0, 0.3):
        told.hidden = hidden
        model = PRM(**TINY, epochs=2, augmentation=TextAugmentation(texts=told, width=16)).fit(split, source)
        assert bool(model.net.augmentation.absent.any()) is bool(hidden)


def test_texts_that_cannot_be_are_refused():
    one = Sequences.from_lists([[1, 2]], [1])
    with pytest.raises(DataError, match="for 1 texts"):
        UserTexts(one, np.zeros((2, 3)))
    with pytest.raises(DataError, match="nobody knows"):
        UserTexts(Sequences.from_lists([[1]]), np.zeros((1, 3)))
    with pytest.raises(DataError, match="equally many events"):
        UserTexts(Sequences.from_lists([[1], [2]], [1, 1]), np.zeros((2, 3)))


# --- text augmentation, in every backbone ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
def test_a_text_that_tells_the_goal_is_put_to_use(name: str):
    split, told = wishes()
    source = Uniform(8, unseen="history").fitted(split)
    cases = source.asked(split.test)
    settings = {**TINY, "epochs": 15, "learning_rate": 0.02, "patience": 3}
    model = reranker_class(name)(**settings, augmentation=TextAugmentation(texts=told, width=16, dropout=0.0))
    assert evaluate(model.fit(split, source), split, cases=cases, at=(1,)).metrics["ndcg@1"] > 0.9


@pytest.mark.parametrize("control", [False, True])
def test_without_the_text_or_with_that_of_another_user_nobody_can_know(control: bool):
    split, told = wishes()
    source = Uniform(8, unseen="history").fitted(split)
    other = {"augmentation": TextAugmentation(texts=told.permuted(), width=16, dropout=0.0)} if control else {}
    model = PRM(**TINY, epochs=8, patience=3, **other).fit(split, source)
    assert evaluate(model, split, cases=source.asked(split.test), at=(1,)).metrics["ndcg@1"] < 0.6


def test_no_sample_of_a_fit_is_told_of_its_target(monkeypatch: pytest.MonkeyPatch):
    split = ring(20)
    asked: list[tuple[int, int, int]] = []
    whole = {int(u): len(row) for u, row in zip(split.train.users, split.train, strict=True)}

    class Watch(UserTexts):
        def find(self, users: Tensor, known: Tensor) -> Tensor:
            row = super().find(users, known)
            asked.extend(zip(users.tolist(), known.tolist(), row.tolist(), strict=True))
            return row

    # One text a user, from the whole training sequence: it knows every training target, and may serve none of them.
    told = Watch(split.train, np.ones((len(split.train), 3)))
    PRM(**TINY, epochs=2, augmentation=TextAugmentation(texts=told)).fit(split, Uniform(4))
    training = [(u, k, row) for u, k, row in asked if k < whole[u]]
    assert training
    assert all(row == 0 for _, _, row in training)
    assert any(row > 0 for _, _, row in asked), "validation histories hold the whole training sequence"


def test_it_is_saved_with_its_texts(tmp_path: Path):
    split, told = wishes(30)
    source = Uniform(5, unseen="history").fitted(split)
    model = SetRank(**TINY, epochs=1, augmentation=TextAugmentation(texts=told, width=4)).fit(split, source)
    model.save(tmp_path)
    again = Reranker.load(tmp_path)
    assert again.config.augmentation.name == "TextAugmentation"
    cases = source.asked(split.test)
    assert torch.equal(again.score(cases.histories, cases.candidates), model.score(cases.histories, cases.candidates))
    strangers = Sequences(cases.histories.items, cases.histories.offsets)
    assert not torch.equal(model.score(strangers, cases.candidates), model.score(cases.histories, cases.candidates)), (
        "users are found by their index, and strangers have no text"
    )


def test_one_augmentation_may_be_given_to_several_rerankers():
    split, told = wishes(30)
    source, given = Uniform(5, unseen="history").fitted(split), TextAugmentation(texts=told, width=4)
    cases = source.asked(split.test)
    first = PRM(**TINY, epochs=1, augmentation=given).fit(split, source)
    before = first.score(cases.histories, cases.candidates)
    second = PRM(**TINY, epochs=1, augmentation=given).fit(split, source)
    assert torch.equal(first.score(cases.histories, cases.candidates), before)
    assert torch.equal(second.score(cases.histories, cases.candidates), before)
    assert second.net.augmentation.texts is told


@pytest.mark.parametrize(("field", "value"), [("width", 3), ("dropout", 0.5)])
def test_every_setting_of_the_text_augmentation_does_something(field: str, value: float):
    split, told = wishes(30)
    source = Uniform(5, unseen="history").fitted(split)
    cases = source.asked(split.test)
    one, other = (
        SetRank(**TINY, epochs=2, augmentation=TextAugmentation(texts=told, **s)).fit(split, source)
        for s in ({}, {field: value})
    )
    assert not torch.equal(one.score(cases.histories, cases.candidates), other.score(cases.histories, cases.candidates))


def test_without_extra_vectors_the_backbone_is_the_plain_one_and_with_them_the_item_vector_is_let_through():
    assert not list(Join(4, 0).parameters())
    join, items, extra = Join(4, 3), torch.randn(2, 5, 4), torch.randn(2, 5, 3)
    assert torch.equal(join(items, torch.zeros(2, 5, 3)), items), "the item vector is let through"
    assert join.map is not None
    added = extra @ join.map.weight[:, 4:].T
    torch.testing.assert_close(join(items, extra), items + added)
    assert added.abs().min() > 0, "what is added of the extra vector starts at random"
    batch = ListBatch(*(torch.ones(2, 3, dtype=torch.int64),) * 6)
    extra = NoAugmentation()(batch, nn.Identity(), True)
    assert extra.candidates.shape == extra.history.shape == (2, 3, 0)
    assert NoAugmentation()(batch, nn.Identity(), False).history is None


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="did you mean 'TextAugmentation'"):
        PRM(augmentation={"name": "TextAugmentatio"})
    with pytest.raises(ConfigError, match="unknown setting 'widht'; did you mean 'width'"):
        PRM(augmentation={"name": "TextAugmentation", "settings": {"widht": 3}})
    with pytest.raises(ConfigError, match="TextAugmentation has no texts"):
        PRM(**TINY, augmentation={"name": "TextAugmentation"}).fit(ring(5), Uniform(3))


# --- phases ----------------------------------------------------------------------------------------------------------


class PhasedConfig(Config):
    width: int = 2


class Phased(Augmentation):
    """Writes down what is asked of it, in order."""

    Config = PhasedConfig
    needs_base = True
    calls: list[Any]

    @property
    def width(self) -> int:
        return self.config.width

    def gather(self, lists: ListData) -> None:
        self.calls.append(("gather", len(lists.cases(1))))

    def build(self, size: int, item_width: int) -> None:
        self.slow = nn.Parameter(torch.ones(item_width))
        self.slow.rate_scale = 0.0  # type: ignore[attr-defined]
        self.quick = nn.Parameter(torch.ones(item_width))
        self.calls.append(("build", size, item_width))

    def pretrain(self, items: Tensor, lists: ListData, **options: Any) -> list[dict[str, Any]]:
        self.calls.append(("pretrain", items.clone(), options["checkpoint"], options["log"]))
        options["progress"]({"epoch": 1})
        return [{"epoch": 1, "train_loss": 0.5}]

    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        def extra(ids: Tensor) -> Tensor:
            return (items(ids) * (self.slow + self.quick)).sum(-1, keepdim=True).expand(-1, -1, self.width)

        return Augmented(extra(batch.candidates), extra(batch.items) if history else None)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AUGMENTATIONS, "Phased", f"{__name__}:Phased")
    monkeypatch.setattr(Phased, "calls", [], raising=False)


def test_the_phases_come_in_order_each_with_its_own_files(tmp_path: Path):
    split, source, told = ring(20), Uniform(4), []
    model = SetRank(**TINY, epochs=2, augmentation={"name": "Phased"})
    model.fit(split, source, checkpoint=tmp_path / "state", log=tmp_path / "log.jsonl", progress=told.append)
    assert [call[0] for call in Phased.calls] == ["gather", "build", "pretrain"]
    (_, items, checkpoint, log) = Phased.calls[2]
    base = SetRank(**TINY, epochs=2).fit(split, source)
    torch.testing.assert_close(items, base.net.items.table().detach())
    assert (checkpoint.name, log.name) == ("pretrain-state", "pretrain-log.jsonl")
    assert {p.name for p in tmp_path.iterdir()} == {"base-state", "state", "base-log.jsonl", "log.jsonl"}
    assert [row.get("stage") for row in told] == ["base", "base", "pretrain", None, None]
    assert model.about["pretraining"] == [{"epoch": 1, "train_loss": 0.5}]


def test_a_trained_base_is_taken_and_must_fit():
    split, source = ring(20), Uniform(4).fitted(ring(20))
    base = SetRank(**TINY, epochs=1).fit(split, source)
    SetRank(**TINY, epochs=1, augmentation={"name": "Phased"}).fit(split, source, base=base)
    assert torch.equal(Phased.calls[2][1], base.net.items.table().detach())
    narrow = SetRank(**{**TINY, "embedding_size": 8}, epochs=1)
    for wrong in (PRM(**TINY, epochs=1).fit(split, source), narrow.fit(split, source)):
        with pytest.raises(ConfigError, match="the base must be a fitted SetRank of the same items and width"):
            SetRank(**TINY, augmentation={"name": "Phased"}).fit(split, source, base=wrong)


def test_a_base_that_may_know_what_a_fit_is_judged_by_is_refused(tmp_path: Path):
    split, source = ring(20), Uniform(4)
    base = SetRank(**TINY, epochs=1).fit(split, source)
    unfitted = {**TINY, "epochs": 1, "augmentation": {"name": "Phased"}}
    for other, lists, words in (
        (ring(21), Uniform(4), "another dataset"),
        (split.with_validation(), Uniform(4), "another split"),
        (split, Uniform(3), "other lists"),
    ):
        with pytest.raises(ConfigError, match=f"the base was fitted on {words}"):
            SetRank(**unfitted).fit(other, lists, base=base)
    base.save(tmp_path)
    SetRank(**unfitted).fit(split, source, base=SetRank.load(tmp_path))


def test_items_start_at_the_base_or_anew_and_a_rate_may_be_scaled():
    split, source = ring(20), Uniform(4).fitted(ring(20))
    base = SetRank(**TINY, epochs=1).fit(split, source)
    settings = {**TINY, "epochs": 1, "learning_rate": 1e-9, "augmentation": {"name": "Phased"}}
    table = base.net.items.table()
    kept, fresh = (SetRank(**settings, start=s).fit(split, source, base=base) for s in ("base", "fresh"))
    torch.testing.assert_close(kept.net.items.table(), table, atol=1e-5, rtol=0)
    assert (fresh.net.items.table() - table).abs().max() > 1e-3
    learned = SetRank(**{**settings, "learning_rate": 0.1, "weight_decay": 0.0}).fit(split, source, base=base)
    assert torch.equal(learned.net.augmentation.slow, torch.ones(16)), "rate_scale = 0"
    assert not torch.equal(learned.net.augmentation.quick, torch.ones(16))


CONTINUED = {"epochs": 2, "learning_rate": 0.01, "schedule": "constant"}


def plain_texts() -> TextAugmentation:
    return TextAugmentation(texts=UserTexts(Sequences.from_lists([[1]], [1]), np.ones((1, 3), np.float32)))


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("chosen", ["Phased", "TextAugmentation", "Continuation"])
def test_joint_training_may_go_on_from_the_whole_base(name: str, chosen: str):
    split, source = ring(20), Uniform(4).fitted(ring(20))
    cls, settings = reranker_class(name), {**TINY, "epochs": 1}
    base, cases = cls(**settings).fit(split, source), source.asked(split.test)
    assert cases.candidates is not None
    asked = (cases.histories, cases.candidates)
    before = base.score(*asked)
    augmentation = plain_texts() if chosen == "TextAugmentation" else {"name": chosen}

    def gone_on(**given: Any) -> Any:
        model = cls(**settings, continued={**CONTINUED, **given}, augmentation=augmentation)
        return model.fit(split, source, base=base)

    torch.testing.assert_close(gone_on(learning_rate=1e-12).score(*asked), before, msg="it begins as the base")
    moving = gone_on()
    assert len(moving.history) == 2, "the loop is that of continued"
    assert (moving.score(*asked) - before).abs().max() > 0
    if chosen != "Continuation":
        assert moving.net.join.map.weight[:, TINY["embedding_size"] :].abs().max() > 0, "what is silent learns to speak"
        torch.testing.assert_close(moving.net.join.scale, base.net.items.table()[1:].detach().std())
    torch.testing.assert_close(base.score(*asked), before, msg="the base stays as it is")


def test_a_base_that_is_trained_on_the_way_is_gone_on_from_too():
    split, source, told = ring(20), Uniform(4).fitted(ring(20)), []
    for augmentation, continued, phases in (
        (plain_texts(), CONTINUED, ["base", None, None]),
        (plain_texts(), None, [None]),
        (None, CONTINUED, [None]),  # a base has no base
    ):
        told.clear()
        model = PRM(**TINY, epochs=1, continued=continued, augmentation=augmentation)
        model.fit(split, source, progress=told.append)
        assert [row.get("stage") for row in told] == phases
    assert model.config.continued is None, "so that settings of a base do not depend on what goes on from it"
    assert not model.starts_from_base
    assert PRM(**TINY, continued=CONTINUED, augmentation=plain_texts()).starts_from_base


def test_a_control_that_has_nothing_to_go_on_from_is_refused():
    with pytest.raises(ConfigError, match="Continuation on PRM: there is nothing to go on from: set continued"):
        PRM(**TINY, augmentation={"name": "Continuation"})


def test_a_saved_one_that_went_on_is_the_same(tmp_path: Path):
    split, source = ring(20), Uniform(4).fitted(ring(20))
    model = PRM(**TINY, epochs=1, continued=CONTINUED, augmentation=plain_texts()).fit(split, source)
    cases = source.asked(split.test)
    assert cases.candidates is not None
    model.save(tmp_path)
    again = PRM.load(tmp_path)
    assert again.config == model.config
    scores = [each.score(cases.histories, cases.candidates) for each in (model, again)]
    torch.testing.assert_close(scores[1], scores[0])


def test_what_was_saved_before_extra_vectors_had_a_scale_has_that_of_one(tmp_path: Path):
    split, source = ring(20), Uniform(4).fitted(ring(20))
    model = PRM(**TINY, epochs=1, augmentation=plain_texts()).fit(split, source)
    again = PRM(model.config)
    again.restore({key: value for key, value in model.state().items() if key != "join.scale"})
    assert all(torch.equal(value, model.state()[key]) for key, value in again.state().items())


def test_one_start_is_enough():
    with pytest.raises(ConfigError, match='start = "fresh" cannot go with continued'):
        PRM(**TINY, start="fresh", continued={})


def test_a_base_that_is_built_otherwise_is_not_gone_on_from():
    split, source = ring(20), Uniform(4).fitted(ring(20))
    for other in ({"layers": 3}, {"inner_size": 5}):
        base = PRM(**{**TINY, **other}, epochs=1).fit(split, source)
        with pytest.raises(ConfigError, match="PRM: continued takes all weights of the base, which has others"):
            PRM(**TINY, epochs=1, continued={}, augmentation={"name": "Phased"}).fit(split, source, base=base)


def test_settings_name_an_augmentation_and_make_it_again():
    chosen = AugmentationSettings.of(Phased(width=3))
    assert chosen == AugmentationSettings(name="Phased", settings={"width": 3})
    assert chosen.make().width == 3
