"""Blend: normalisations by hand, the choice of weights, and models that list without scoring."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seqlore import recommender
from seqlore.data import Sequences, Split, leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.models.blend import GRID, Blend, _places
from seqlore.models.hgn import HGN
from seqlore.models.markov import Markov
from seqlore.models.popular import MostPopular
from seqlore.ranking import Lists
from seqlore.recommender import Recommender, ScoringRecommender
from toys import make_dataset, make_split

LOW = -math.inf


class Told(ScoringRecommender):
    """Scores as they were told, for every history."""

    told: tuple[float, ...] = ()

    def _fit(self, split: Split) -> None:
        pass

    def score(self, histories: Sequences) -> Tensor:
        return torch.tensor([[0.0, *self.told]] * len(histories))

    def state(self) -> dict[str, Tensor]:
        return {"told": torch.tensor(self.told)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.told = tuple(state["told"].tolist())


class Lister(Recommender):
    """Lists items 3, 1 and nothing else, and cannot score."""

    def _fit(self, split: Split) -> None:
        pass

    def rank(self, histories, k, *, exclude_seen=True, candidates=None) -> Lists:
        items = np.zeros((len(histories), k), np.int32)
        scores = np.full((len(histories), k), -np.inf, np.float32)
        items[:, :2], scores[:, :2] = (3, 1)[:k], (5, 4)[:k]
        return Lists(items, scores)

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        pass


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Told", "Lister"):
        monkeypatch.setitem(recommender.REGISTRY, name, f"{__name__}:{name}")


def split() -> Split:
    return make_split({"u": ["a", "b", "c"], "v": ["a", "b", "d"], "w": ["a"]})


def told(*scores: float) -> Told:
    model = Told().fit(split())
    model.told = scores
    return model


def blended(*models: Recommender, weights: list[float], **settings: object) -> list[float]:
    """The scores of items 1 to 4 for an empty history."""
    blend = Blend.of(models, weights, **settings)
    return blend.score(Sequences.from_lists([[]]))[0, 1:].tolist()


def test_zscore_by_hand():
    # 1, 2, 3, 6: mean 3, standard deviation √((4 + 1 + 0 + 9) / 4).
    sigma = math.sqrt(3.5)
    z = [-2 / sigma, -1 / sigma, 0, 3 / sigma]
    found = blended(told(1, 2, 3, 6), told(6, 3, 2, 1), weights=[2, 1])
    assert found == pytest.approx([2 * a + b for a, b in zip(z, reversed(z), strict=True)], abs=1e-6)


def test_minmax_by_hand():
    found = blended(told(1, 2, 3, 6), told(-1, -1, -1, 0), weights=[1, 0.5], normalise="minmax")
    assert found == pytest.approx([0, 0.2, 0.4, 1.5])


def test_softmax_by_hand():
    e = [math.exp(x) for x in (1, 2, 3, 6)]
    found = blended(told(1, 2, 3, 6), told(0, 0, 0, 0), weights=[1, 1], normalise="softmax")
    assert found == pytest.approx([x / sum(e) + 0.25 for x in e])


def test_reciprocal_ranks_by_hand():
    # Places 4, 3, 2, 1 (of which depth 3 keeps three), and 1, 2, 3, 4 by index, as all are equal.
    found = blended(told(1, 2, 3, 6), told(0, 0, 0, 0), weights=[1, 1], normalise="reciprocal", depth=3)
    assert found == pytest.approx([1 / 61, 1 / 63 + 1 / 62, 1 / 62 + 1 / 63, 1 / 61])


def test_without_evidence_an_item_counts_as_zero_or_less():
    some, none = told(LOW, 2, 4, LOW), told(LOW, LOW, LOW, LOW)
    assert blended(some, told(0, 0, 1, LOW), weights=[1, 1], normalise="minmax") == [0, 0.5, 2, LOW]
    assert blended(some, none, weights=[1, 1], normalise="minmax") == [LOW, 0.5, 1, LOW]
    assert blended(told(LOW, LOW, 2, LOW), none, weights=[1, 1], normalise="minmax") == [LOW, LOW, 1, LOW]
    assert blended(told(LOW, -2, -1, LOW), none, weights=[1, 1], normalise="minmax") == [LOW, 0, 1, LOW]
    assert blended(told(3, 4, 5, 5), none, weights=[1, 1], normalise="minmax") == [0, 0.5, 1, 1]
    # 0, 2, 4, 0: mean 1.5, standard deviation √2.75
    assert blended(some, none, weights=[1, 1]) == pytest.approx(
        [LOW, 0.5 / math.sqrt(2.75), 2.5 / math.sqrt(2.75), LOW]
    )
    one = blended(some, told(0, 0, 0, LOW), weights=[1, 1], normalise="softmax")
    assert one == pytest.approx([1 / 3, 1 / 3 + 1 / (1 + math.exp(2)), 1 / 3 + 1 / (1 + math.exp(-2)), LOW])


@pytest.mark.parametrize("normalise", ["zscore", "minmax"])
def test_equal_scores_say_nothing(normalise):
    found = blended(told(0.1, 0.1, 0.1, 0.1), told(1, 2, 3, 4), weights=[1000, 1], normalise=normalise)
    assert found == pytest.approx(blended(told(1, 2, 3, 4), told(0, 0, 0, 0), weights=[1, 0], normalise=normalise))


def test_a_model_that_only_lists_takes_part_with_its_list():
    lister = Lister().fit(split())
    assert blended(lister, told(0, 1, 0, 0), weights=[1, 0.1], normalise="minmax") == pytest.approx([0.8, 0.1, 1, 0])
    deeper = blended(lister, told(0, 0, 0, LOW), weights=[1, 0], normalise="minmax")
    assert deeper == pytest.approx([0.8, LOW, 1, LOW])
    assert blended(lister, lister, weights=[1, 0], depth=1, normalise="minmax") == [LOW, LOW, 1, LOW]


def test_weights_are_chosen_on_the_validation_cases():
    # Everybody's next item follows from the last one, and all items are equally popular.
    walks = {f"u{n}": [f"i{(n + j) % 9}" for j in range(5)] for n in range(9)}
    ring = leave_one_out(make_dataset(walks))
    popular, markov = {"model": "MostPopular"}, {"model": "Markov"}
    assert Blend(models=[markov, popular]).fit(ring).about["weights"] == [1.0, 0.0]
    blend = Blend(models=[popular, markov]).fit(ring)
    assert blend.about["weights"][0] == 1.0
    assert blend.about["weights"][1] > 0.0
    lists = blend.rank(ring.test.histories, 1)
    assert (lists.items[:, 0] == ring.test.targets).all()
    fixed = Blend(models=[{**popular, "weight": 3.0}, {**markov, "weight": 0.0}]).fit(ring)
    assert fixed.about["weights"] == [3.0, 0.0]


def test_tuning_counts_what_ranking_lists():
    """The gain of each weight on the grid is Σ NDCG@10 of the lists that a blend of this weight gives."""
    rng = np.random.default_rng(0)
    walks = {f"u{n}": [f"i{i}" for i in rng.permutation(30)[: rng.integers(4, 9)]] for n in range(40)}
    ring = leave_one_out(make_dataset(walks))
    models = [Markov().fit(ring), MostPopular().fit(ring)]
    gains = Blend.of(models)._gains(ring.valid, 1)
    for weight, gain in zip(GRID, gains, strict=True):
        items = Blend.of(models, [1.0, weight]).rank(ring.valid.histories, 10).items
        places = np.nonzero(items == ring.valid.targets[:, None])[1]
        assert gain == pytest.approx((1 / np.log2(places + 2.0)).sum())


@pytest.mark.parametrize(("monitor", "gain"), [("hr@1", 0.0), ("hr@2", 1.0), ("mrr@5", 0.5)])
def test_weights_are_chosen_by_the_metric_and_the_rule_that_are_asked_for(monitor: str, gain: float):
    """The target is a repeated item, which Markov puts second."""
    walks = {"u": ["a", "b", "a", "a", "x"], "v": ["a", "b"], "w": ["a", "b"], "x": ["a", "c"]}
    ring = leave_one_out(make_dataset(walks))
    assert ring.valid is not None
    case = ring.valid.take(ring.valid.histories.lengths == 3)
    blend = Blend(models=[{"model": "Told"}, {"model": "Told"}], monitor=monitor)
    parts = [Told().fit(ring), Told().fit(ring)]
    target = int(case.targets[0])
    for part in parts:
        part.told = tuple(2.0 if i == target else 3.0 if i == target % 3 + 1 else 0.0 for i in range(1, 5))
    blend._models, blend._catalog = parts, ring.catalog
    blend._weigh([1.0, 1.0])
    assert blend._gains(case, 1, exclude_seen=True).tolist() == [0.0] * len(GRID)
    assert blend._gains(case, 1, exclude_seen=False).tolist() == [gain] * len(GRID)
    assert "monitor" not in Blend().config.model_dump(), "digests of settings without it stay as they were"


def test_parts_that_are_trained_have_a_log_and_a_checkpoint_each(tmp_path: Path):
    ring = leave_one_out(make_dataset({f"u{n}": [f"i{(n + j) % 9}" for j in range(6)] for n in range(9)}))
    net = {"model": "SASRec", "settings": {"embedding_size": 8, "epochs": 2, "max_length": 4}}
    parts = [{"model": "Markov", "weight": 1.0}, net, net]
    options = {"log": tmp_path / "log.jsonl", "checkpoint": tmp_path / "unfinished"}
    seen: list[int] = []

    def killed(row: dict) -> None:
        seen.append(row["epoch"])
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Blend(models=parts).fit(ring, progress=killed, **options)
    assert seen == [1, 2, 1]
    resumed = Blend(models=parts).fit(ring, progress=lambda row: seen.append(row["epoch"]), **options)
    assert seen == [1, 2, 1, 2], "what was done is not done again"
    whole = Blend(models=parts).fit(ring)
    assert resumed.about["weights"] == whole.about["weights"]
    assert resumed.score(ring.test.histories).equal(whole.score(ring.test.histories))
    for name in ("part-01", "part-02"):
        assert len((tmp_path / f"log-{name}.jsonl").read_text().splitlines()) == 2


def test_places_count_equals_by_index_and_misses_as_far_behind():
    scores = np.array([[LOW, 1, 2, 2, 2], [LOW, 1, 2, LOW, 0]], np.float32)
    assert _places(scores, np.array([3, 1])).tolist() == [2, 2]
    assert _places(scores[1:], np.array([3]))[0] > 4


def test_three_models_and_saving(tmp_path: Path):
    ring = leave_one_out(make_dataset({f"u{n}": [f"i{(n + j) % 9}" for j in range(5)] for n in range(9)}))
    parts = [{"model": "Markov", "settings": {"prior": 2.0}}, {"model": "MostPopular"}, {"model": "VSKNN"}]
    blend = Blend(models=parts).fit(ring)
    blend.save(tmp_path)
    again = recommender.load(tmp_path)
    assert again.config == blend.config
    assert again.about == blend.about
    assert again.children()["part-00"].config.prior == 2.0
    before, after = (m.rank(ring.test.histories, 5) for m in (blend, again))
    assert before.items.tolist() == after.items.tolist()
    assert before.scores.tolist() == after.scores.tolist()


def test_a_blend_of_fitted_models_knows_what_its_parts_were_told():
    both = leave_one_out(make_dataset({f"u{n}": ["a", "b", "c", "d"] for n in range(3)}))
    blend = Blend.of([Markov().fit(both), MostPopular().fit(both.with_validation())])
    assert blend.about["split"]["fitted_on"] == "train+valid"
    assert [part.weight for part in blend.config.models] == [None, None]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="two models or more"):
        Blend(models=[{"model": "Markov"}])
    with pytest.raises(ConfigError, match="did you mean 'Markov'"):
        Blend(models=[{"model": "Markow"}, {"model": "MostPopular"}])
    with pytest.raises(ConfigError, match="Markov: unknown setting 'prio'; did you mean 'prior'"):
        Blend(models=[{"model": "Markov", "settings": {"prio": 1}}, {"model": "MostPopular"}])
    with pytest.raises(ConfigError, match="1 weights for 2 models"):
        Blend.of([told(1, 2, 3, 4), told(1, 2, 3, 4)], [1.0])
    with pytest.raises(DataError, match="know different items"):
        Blend.of([told(1, 2, 3, 4), Markov().fit(make_split({"u": ["a", "z"]}))])
    walks = ["a", "b", "c", "d"]
    parts = [HGN(epochs=1).fit(make_split({user: walks, "v": walks})) for user in ("u", "w")]
    with pytest.raises(DataError, match="know different users"):
        Blend.of(parts)
    whole = leave_one_out(make_dataset({"u": ["a", "b", "c", "d"]})).with_validation()
    with pytest.raises(ConfigError, match="no validation cases to choose weights on"):
        Blend(models=[{"model": "Markov"}, {"model": "MostPopular"}]).fit(whole)
