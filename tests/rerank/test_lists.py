"""Candidates, batches and loss by hand, and the laws that hold for all of them."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rerank.worlds import Memory, ring
from seqlore.data import Sequences, Split, leave_one_out, user_ratio
from seqlore.errors import ConfigError, DataError
from seqlore.models import Markov
from seqlore.rerank.candidates import Retrieved, Uniform
from seqlore.rerank.lists import ListData, list_batch, listwise_softmax
from seqlore.rerank.points import text_points
from toys import make_dataset


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    walks = {f"u{u}": [f"i{i}" for i in rng.permutation(30)[: rng.integers(5, 12)]] for u in range(25)}
    return user_ratio(make_dataset(walks), parts=(6, 2, 2), targets=2, first=3)


def test_a_batch_by_hand():
    histories = Sequences.from_lists([[5, 6, 7], [], [8, 0]], users=[2, 0, 1])
    candidates = np.array([[3, 9, 4], [9, 2, 0], [1, 2, 3]])
    batch = list_batch(histories, candidates, 2, np.array([9, 3, 3]))
    assert batch.items.tolist() == [[6, 7], [0, 0], [8, 0]]
    assert batch.lengths.tolist() == [2, 0, 1], "an unknown item is not read"
    assert batch.known.tolist() == [3, 0, 2], "but it was there"
    assert batch.users.tolist() == [2, 0, 1]
    assert batch.target.tolist() == [1, -1, 2]
    assert batch.listed.tolist() == [[True, True, True], [True, True, False], [True, True, True]]
    assert list_batch(histories, candidates, 5).items.tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert list_batch(histories, candidates, 5).target.tolist() == [-1, -1, -1]


def test_the_loss_by_hand():
    scores = torch.tensor([[0.0, math.log(3), -torch.inf], [1.0, 1.0, 1.0], [7.0, 8.0, 9.0]])
    loss = listwise_softmax(scores, torch.tensor([1, 2, -1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(3)) / 2)
    assert listwise_softmax(scores, torch.tensor([-1, -1, -1])).item() == 0


def test_an_epoch_asks_each_user_once_and_differs_from_the_next(split: Split):
    lists = ListData(split, Uniform(9).fitted(split), seed=3)
    assert lists.first == 3, "the split's own rule"
    first, again, second = lists.training(1), lists.training(1), lists.training(2)
    assert first.histories.users.tolist() == split.train.users.tolist()
    assert first.candidates.tolist() == again.candidates.tolist()
    assert first.targets.tolist() != second.targets.tolist()
    for history, target, candidates, whole in zip(
        first.histories, first.targets, first.candidates, split.train, strict=True
    ):
        assert len(history) >= 2
        assert whole[: len(history) + 1].tolist() == [*history, target]
        assert target in candidates
        assert len(set(candidates.tolist())) == 10
        assert set(candidates.tolist()) & set(whole.tolist()) == {target}, "no later item is a wrong answer"


def test_a_pool_brings_the_same_targets_back_with_other_candidates(split: Split):
    lists = ListData(split, Uniform(9).fitted(split), pool=2)
    first, second, third = (lists.training(epoch) for epoch in (1, 2, 3))
    assert first.targets.tolist() == third.targets.tolist() != second.targets.tolist()
    assert first.candidates.tolist() != third.candidates.tolist()


def test_the_phase_before_has_draws_of_its_own(split: Split):
    lists = ListData(split, Uniform(9).fitted(split), pool=2)
    before = lists.pretraining()
    of = [phase.training(epoch) for phase in (lists, before) for epoch in (1, 2)]
    assert len({tuple(each.targets.tolist()) for each in of}) == 4
    assert len({tuple(each.candidates[:, 0].tolist()) for each in of if each.candidates is not None}) == 4
    assert before.valid is lists.valid
    assert lists.pretraining().cases(2).targets.tolist() == before.cases(4).targets.tolist()


@pytest.mark.parametrize("step", [1, 3])
def test_targets_lie_where_texts_are_written(split: Split, step: int):
    lists = ListData(split, Uniform(9).fitted(split), step=step)
    written = text_points(lists, None)
    points = set(zip(written.users.tolist(), written.lengths.tolist(), strict=True))
    asked = [phase.cases(epoch).histories for phase in (lists, lists.pretraining()) for epoch in range(1, 20)]
    known = {(int(u), int(n)) for h in asked for u, n in zip(h.users, h.lengths, strict=True)}
    assert known <= points, "a text of this very history"
    assert {n % step for _, n in known} == {2 % step}
    assert max(n for _, n in known) > 2 + step or step == 1
    beginnings = {
        (int(u), n)
        for u, whole in zip(split.train.users, split.train.lengths, strict=True)
        for n in range(2, whole, step)
    }
    assert known == beginnings, "and each comes up"


def test_texts_that_miss_targets_are_refused(split: Split):
    lists = ListData(split, Uniform(9).fitted(split), step=4)
    assert len(text_points(lists, 2)) > len(text_points(lists, 4))
    with pytest.raises(ConfigError, match=r"knowledge\.every = 3 .* target_step = 4: make it a divisor"):
        text_points(lists, 3)


def test_settings_of_the_lists(split: Split):
    source = Uniform(5).fitted(split)
    assert len(ListData(split, source, targets=3).cases(1)) == 3 * len(split.train)
    assert ListData(split, source, first=5).cases(1).histories.lengths.min() >= 4
    assert len(ListData(split, source, valid_cases=3).valid) == 3
    assert len(ListData(split, source).valid) == len(split.valid)
    assert ListData(split.with_validation(), Uniform(5).fitted(split.with_validation())).valid is None
    other = ListData(split, source, seed=1).cases(1)
    assert other.targets.tolist() != ListData(split, source).cases(1).targets.tolist()


def test_batches_hold_every_list_once_and_are_dealt_out_evenly(split: Split):
    lists = ListData(split, Uniform(9).fitted(split))
    batches = list(lists.batches(1, size=4, length=3))
    assert sorted(torch.cat([b.users for b in batches]).tolist()) == sorted(split.train.users.tolist())
    assert max(len(b.items) for b in batches) == 4
    assert max(b.items.shape[1] for b in batches) == 3
    assert (torch.cat([b.known for b in batches]) >= torch.cat([b.lengths for b in batches])).all()
    shards = [list(lists.batches(1, (rank, 2), size=4, length=3)) for rank in (0, 1)]
    assert [len(s) for s in shards] == [len(batches) // 2] * 2
    assert not {tuple(b.users.tolist()) for b in shards[0]} & {tuple(b.users.tolist()) for b in shards[1]}


def test_uniform_shuffles_so_that_no_place_is_the_targets(split: Split):
    asked = Uniform(9).fitted(split).asked(split.test, seed=1)
    places = np.argmax(asked.candidates == asked.targets[:, None], axis=1)
    assert len(set(places.tolist())) > 3
    assert asked.rule == (
        "target + 9 items drawn uniformly from those that the user never has, later ones included, shuffled (seed 1)"
    )
    later = Uniform(9, unseen="history").fitted(split)
    assert later.rule == "target + 9 items drawn uniformly from the unseen ones"
    owned = {int(u): set(x.tolist()) for u, x in zip(split.train.users, split.train, strict=True)}
    cases = ListData(split, later).training(1)
    drawn = zip(cases.histories.users, cases.targets, cases.candidates, strict=True)
    assert any(set(c.tolist()) - {t} & owned[int(u)] for u, t, c in drawn)


def test_training_lists_come_from_a_retriever_that_never_met_the_user():
    split = ring(12)
    source = Retrieved(Memory, k=6, folds=3, seed=0).fitted(split)
    assert re.fullmatch(
        r"first 6 of Memory \([0-9a-f]{8}\), for training cross-fitted over 3 folds of users", source.rule
    )
    trained = [set(model.told) for model in source.parts]
    everybody = set(split.train.users.tolist())
    assert set(source.whole.told) == everybody
    assert all(len(part) < len(everybody) for part in trained)
    left_out = [everybody - part for part in trained]
    assert set.union(*left_out) == everybody
    assert sum(map(len, left_out)) == len(everybody)
    # Memory would list a user's own last item first: whoever it was told about gets it, and nobody was told about.
    cases = ListData(split, source).training(1)
    for listed in cases.candidates:
        assert set(listed.tolist()) == set(range(1, 7))
    told = source.asked(split.valid)
    assert any(set(row.tolist()) != set(range(1, 7)) for row in told.candidates), "held-out cases may be known users"


def test_no_case_that_stops_a_fold_is_of_its_users():
    seen: list[set[int]] = []

    class Watch(Memory):
        def _fit(self, split: Split) -> None:
            super()._fit(split)
            seen.append(set(split.valid.histories.users.tolist()) - set(split.train.users.tolist()))

    Retrieved(Watch, k=4, folds=3).fitted(ring(12))
    assert seen == [set()] * 4


def test_the_maker_is_called_once_a_fold_and_once_for_the_whole():
    made: list[Memory] = []

    def make() -> Memory:
        made.append(Memory())
        return made[-1]

    source = Retrieved(make, k=4, folds=3).fitted(ring(12))
    assert len(made) == 4
    first = source.whole
    assert source.fitted(ring(12)).whole is not first, "what was handed out stays as it was"


def test_lists_of_other_retrievers_bear_another_name():
    def rule(seed: int = 0, **settings: Any) -> str:
        return Retrieved(lambda: Markov(**settings), k=4, seed=seed).rule

    assert rule() == rule()
    assert len({rule(), rule(seed=1), rule(window=2)}) == 3


def test_retrievers_that_were_kept_are_found_again(tmp_path: Path):
    def source(keep: Path | None, **settings: Any) -> Retrieved:
        return Retrieved(lambda: Markov(**settings), k=4, folds=2, keep=keep).fitted(split)

    split = ring(12)
    first, fits = source(tmp_path), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Markov, "_fit", lambda self, *a, **k: fits.append(self))
        again = source(tmp_path)
        assert not fits
        with contextlib.suppress(Exception):
            source(tmp_path, window=2)
        assert fits, "of other settings none is there"
    asked = [each.asked(split.test).candidates.tolist() for each in (first, again, source(None))]
    assert asked[0] == asked[1] == asked[2]
    drawn = [each.training(split.valid, 0).tolist() for each in (first, again)]
    assert drawn[0] == drawn[1]


def test_a_list_without_its_target_is_not_learned_from_but_is_asked():
    split = ring(12)
    source = Retrieved(Memory, k=3, folds=2).fitted(split)
    lists = ListData(split, source)
    cases = lists.training(1)
    there = (cases.candidates == cases.targets[:, None]).any(1)
    assert 0 < there.sum() < len(cases)
    assert sum(len(b.items) for b in lists.batches(1, size=4, length=5)) == there.sum()
    assert len(lists.valid) == len(split.valid)


def test_mistakes_are_named(split: Split):
    with pytest.raises(ConfigError, match="Uniform has not been fitted"):
        Uniform().training(split.test, 0)
    with pytest.raises(ConfigError, match="folds=1, k=100"):
        Retrieved(Memory, folds=1)
    with pytest.raises(DataError, match="cannot be divided into 50 folds"):
        Retrieved(Memory, folds=50).fitted(split)
    with pytest.raises(DataError, match="no such cases left"):
        Uniform(3).fitted(split).asked(split.with_everything().test)
    small = leave_one_out(make_dataset({"u": ["a", "b", "c", "d"]}))
    with pytest.raises(DataError, match=r"Uniform\(n=3, unseen='user'\): .*fewer than n=3.*candidates.n.*\"history\""):
        Uniform(3).fitted(small).asked(small.test)
