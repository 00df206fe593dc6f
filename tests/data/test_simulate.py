"""The simulated shop: one seed, one shop; what is written is what was felt; and text tells what will be bought."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from seqlore.data import Dataset, Split, leave_one_out
from seqlore.data.audit import audit
from seqlore.data.shop import texts
from seqlore.data.shop.shoppers import DAY, OPENING, draw_tastes
from seqlore.data.shop.world import AXES, build, words, zipf
from seqlore.data.simulate import ShopConfig, _random_ids, _rng, simulate
from seqlore.errors import ConfigError

SMALL = {"users": 60, "items": 80, "interactions_per_user": 6}


@cache
def small(**habits: object) -> Dataset:
    return simulate(**{**SMALL, **habits})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return simulate(users=900, items=300, seed=2)


def test_one_seed_one_shop() -> None:
    assert simulate(**SMALL).hash == small().hash  # type: ignore[arg-type]
    assert small(seed=1).hash != small().hash


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("users", 61),
        ("items", 81),
        ("interactions_per_user", 7),
        ("reviews", False),
        ("shortest", 2),
        ("days", 500),
        ("zipf", 1.0),
        ("taste", 2.0),
        ("continuity", 0.0),
        ("routine", 30.0),
        ("half_life", 2.0),
        ("consideration", 5),
    ],
)
def test_every_setting_changes_the_shop(setting: str, value: object) -> None:
    assert small(**{setting: value}).hash != small().hash


def test_every_setting_is_tried_above() -> None:
    (mark,) = [m for m in test_every_setting_changes_the_shop.pytestmark if m.name == "parametrize"]  # type: ignore[attr-defined]
    assert {setting for setting, _ in mark.args[1]} | {"seed"} == set(ShopConfig.model_fields)


def test_without_reviews_all_else_is_the_same() -> None:
    silent = small(reviews=False)
    assert "review" not in silent.interactions.columns
    assert silent.interactions.equals(small().interactions.drop("review", "summary"))
    assert silent.items.equals(small().items)


def test_sizes(shop: Dataset) -> None:
    counts = shop.interactions["user_id"].value_counts()["count"]
    assert len(counts) == 900
    assert len(shop.items) == 300
    assert counts.min() == 5
    assert counts.mean() == pytest.approx(12, rel=0.1)
    assert counts.max() > 30  # long-tailed


def test_few_interactions_a_user() -> None:
    counts = simulate(users=200, items=60, interactions_per_user=2.5).interactions["user_id"].value_counts()["count"]
    assert counts.min() == 2
    assert counts.mean() == pytest.approx(2.5, rel=0.1)


def test_an_exhausted_shop_sells_what_it_has() -> None:
    eager = simulate(users=30, items=20, interactions_per_user=5, shortest=5, zipf=3.0, seed=1)
    assert not eager.interactions.select("user_id", "item_id").is_duplicated().any()
    assert eager.interactions["item_id"].is_in(eager.items["item_id"].to_list()).all()


def test_time_only_goes_forward_and_nobody_buys_twice(shop: Dataset) -> None:
    events = shop.interactions
    gaps = events.select(gap=pl.col("timestamp").diff().over("user_id"))["gap"].drop_nulls()
    assert gaps.min() >= 1  # type: ignore[operator]
    assert not events.select("user_id", "item_id").is_duplicated().any()
    days = (events["timestamp"] - OPENING) / DAY
    assert days.min() >= 0  # type: ignore[operator]
    assert days.max() < 1096 + 1  # type: ignore[operator]


def test_nothing_is_sold_before_its_launch(shop: Dataset) -> None:
    config = ShopConfig(users=900, items=300, seed=2)
    world = build(_rng(config, "world"), config.items, config.days, config.zipf)
    launch = shop.items.select("item_id").with_columns(launch=pl.Series(world.launch))
    sold = shop.interactions.join(launch, on="item_id")
    assert ((sold["timestamp"] - OPENING) // DAY >= sold["launch"]).all()
    assert (world.launch > 0.8 * config.days).sum() >= 20  # and some come so late that training hardly knows them


def test_the_audit_has_nothing_to_say(shop: Dataset) -> None:
    assert audit(shop).worst == "ok"


def test_ids_are_unique_and_tell_nothing() -> None:
    ids = _random_ids(np.random.default_rng(0), 5000, "P")
    assert len(set(ids)) == 5000
    assert {len(i) for i in ids} == {9}
    order = np.argsort(np.argsort(ids))
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.06  # four standard deviations


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"zipff": 1}, "simulate: unknown setting 'zipff'; did you mean 'zipf'?"),
        ({"items": 40}, "simulate: 12 interactions a user exhaust 40 items.*at least four items an interaction"),
        ({"users": 0}, "simulate: users: .*greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        simulate(**settings)


# --- the world


def test_the_shelf_holds_what_is_launched() -> None:
    world = build(np.random.default_rng(3), 200, 100, 0.7)
    for kind in range(len(words().types)):
        for day in (0, 50, 99):
            on_shelf = world.shelf[world.begin[kind] : world.launched[kind, day]]
            there = np.flatnonzero((world.type == kind) & (world.launch <= day))
            assert sorted(on_shelf) == there.tolist()
    assert np.diff(world.upto) == pytest.approx(world.exposure[world.shelf])
    assert world.exposure.sum() == pytest.approx(1)
    assert (world.price > 0).all()


def test_items_have_the_attributes_of_their_type() -> None:
    w, world = words(), build(np.random.default_rng(3), 400, 100, 0.7)
    assert ((world.values > 0) == w.applies[world.type]).all()
    for axis in range(len(AXES)):
        used = world.values[:, axis]
        assert np.isin(used[used > 0], w.on_axis[axis]).all()
    assert world.refill.any()


def test_zipf_by_hand() -> None:
    weights = np.sort(zipf(np.random.default_rng(0), 3, 1.0))[::-1]
    assert weights == pytest.approx(np.array([6, 3, 2]) / 11)  # 1, 1/2, 1/3


def test_every_word_is_in_place() -> None:
    w = words()
    assert all(len(table["names"]) == 3 for table in w.types)
    for mood in ("liked", "missed"):
        assert all(len(w.raw["review"][aspect][mood]) == texts.VARIANTS for aspect in texts.ASPECTS)
        assert all(len(value[mood]) == texts.VARIANTS for value in w.values if mood in value)
    assert all(len(value["said"]) == texts.VARIANTS for value in w.values[1:] if "liked" not in value)
    for stars in w.raw["stars"].values():
        assert [len(stars[part]) for part in ("open", "close", "plain", "summary")] == [3, 3, 3, 4]


def test_tastes_are_standard_normal() -> None:
    tastes = draw_tastes(np.random.default_rng(0), 4000)
    types = len(words().types)
    assert tastes[:, types:].std() == pytest.approx(1, abs=0.01)
    assert tastes[:, :types].std() == pytest.approx((0.9**2 + 0.45**2) ** 0.5, abs=0.02)


def test_sun_care_sells_in_summer(shop: Dataset) -> None:
    w = words()
    seasonal = {table["names"][0]: table["season"] for table in w.types if abs(table.get("season", 0)) >= 0.8}
    sold = shop.interactions.join(shop.items, on="item_id").select(
        month=pl.from_epoch("timestamp").dt.month(),
        season=pl.col("categories").list.last().replace_strict(seasonal, default=0.0, return_dtype=pl.Float64),
    )
    summer = sold.filter(pl.col("month").is_in([6, 7, 8]))["season"].mean()
    winter = sold.filter(pl.col("month").is_in([12, 1, 2]))["season"].mean()
    assert summer > winter + 0.05  # type: ignore[operator]


# --- the texts


def test_titles_are_told_apart_and_name_the_brand(shop: Dataset) -> None:
    assert shop.items["title"].n_unique() == 300
    assert shop.items.select(pl.col("title").str.contains(pl.col("brand"), literal=True)).to_series().all()
    for column in ("title", "brand", "description"):
        assert not shop.items[column].str.contains(r"  |^\s|\s$|[{}]|^$").any()


def test_equal_titles_are_numbered() -> None:
    world = build(np.random.default_rng(0), 20_000, 100, 0.5)
    titles = texts.describe(np.random.default_rng(1), world).titles
    assert len(set(titles)) == 20_000
    assert any(title.endswith(", Edition 2") for title in titles)


def test_brand_names_never_run_out() -> None:
    names = texts.brand_names(np.random.default_rng(0), 6000)
    assert len(set(names)) == 6000


def _sentences(mood: str, brands: list[str]) -> set[str]:
    """Everything that is said in praise (``liked``) or in blame (``missed``) of an aspect."""
    w = words()
    out = {f.format(x=b) for b in brands for f in w.raw["review"]["brand"][mood]}
    out |= set(w.raw["review"]["price"][mood])
    for value, axis in zip(w.values[1:], w.axis[1:], strict=True):
        forms = value.get(mood) or w.raw["review"][AXES[axis]][mood]
        out |= {f.format(x=x) for f in forms for x in value["said"]}
    return out


def test_reviews_say_what_the_stars_say(shop: Dataset) -> None:
    brands = shop.items["brand"].unique().to_list()
    praise, blame = _sentences("liked", brands), _sentences("missed", brands)
    stars = words().raw["stars"]
    praised, blamed = dict.fromkeys(range(1, 6), 0), dict.fromkeys(range(1, 6), 0)
    sample = shop.interactions.sample(2000, seed=0)
    for rating, review, summary in sample.select("rating", "review", "summary").rows():
        own = stars[str(int(rating))]
        assert any(review.startswith(opening.split("{x}")[0]) for opening in own["open"])
        assert any(review.endswith(" " + closing) for closing in own["close"])
        assert any(summary.startswith(line.split("{x}")[0]) for line in own["summary"])
        praised[rating] += any(sentence in review for sentence in praise)
        blamed[rating] += any(sentence in review for sentence in blame)
    assert blamed[5] == 0
    assert praised[1] == praised[2] == 0
    counts = dict(sample["rating"].value_counts().rows())
    assert praised[5] / counts[5.0] > 0.9
    assert blamed[1] / counts[1.0] > 0.9
    assert min(counts.values()) > 15


def test_a_review_names_the_aspect_that_pleased_or_did_not() -> None:
    world = build(np.random.default_rng(3), 100, 100, 0.7)
    labels = texts.describe(np.random.default_rng(0), world)
    scented = np.flatnonzero(world.values[:, 0] > 0)
    felt = np.zeros((len(scented), len(texts.ASPECTS)), np.float32)
    for sign, rating, mood in ((1, 4, "liked"), (-1, 2, "missed")):
        felt[:, 0] = sign  # the scent, and nothing else
        verdicts = texts.Verdicts(scented, np.full(len(scented), rating), felt)
        reviews, summaries = texts.ReviewWriter(world, labels).write(np.random.default_rng(0), verdicts)
        for item, review, summary in zip(scented, reviews, summaries, strict=True):
            value = words().values[world.values[item, 0]]
            forms = value.get(mood) or words().raw["review"]["scent"][mood]
            assert any(form.format(x=x) in review for form in forms for x in value["said"])
            assert labels.nouns[item] in review
            assert "{" not in review + summary


def test_ratings_follow_the_match_of_item_and_taste() -> None:
    """Shoppers who choose by taste are happier than those who do not."""
    careful = simulate(users=300, items=120, interactions_per_user=8, taste=2.0, reviews=False)
    careless = simulate(users=300, items=120, interactions_per_user=8, taste=0.0, reviews=False)
    assert careful.interactions["rating"].mean() > careless.interactions["rating"].mean() + 0.5  # type: ignore[operator]


# --- the signal


def _hits(split: Split, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Is the test target among the ten best unseen? Equal scores share their places."""
    test = split.test
    assert test is not None
    scores = scores.copy()
    scores[:, 0] = -np.inf
    scores[test.histories.row_ids, test.histories.items] = -np.inf
    own = scores[np.arange(len(test)), test.targets][:, None]
    return (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2 < 10


def _baselines(dataset: Dataset) -> tuple[Split, dict[str, NDArray[np.bool_]]]:
    split = leave_one_out(dataset)
    assert split.test is not None
    size, train = split.catalog.size, split.train
    last = split.test.histories.items[split.test.histories.offsets[1:] - 1]
    counts = split.counts().astype(float)
    next_to = train.row_ids[1:] == train.row_ids[:-1]
    pairs = train.items[:-1][next_to], train.items[1:][next_to]
    follows = sparse.csr_matrix((np.ones(len(pairs[0])), pairs), shape=(size, size))
    words_ = TfidfVectorizer().fit_transform(["", *split.catalog.texts(("title", "description"))]).toarray()
    shuffled = np.r_[0, 1 + np.random.default_rng(0).permutation(size - 1)]
    return split, {
        "popular": _hits(split, np.tile(counts, (len(last), 1))),
        "markov": _hits(split, follows[last].toarray() + 1e-6 * counts),
        "text": _hits(split, words_[last] @ words_.T),
        "permuted": _hits(split, words_[shuffled][last] @ words_[shuffled].T),
    }


def test_behaviour_and_text_both_tell_what_comes_next(shop: Dataset) -> None:
    split, hit = _baselines(shop)
    rate = {name: hits.mean() for name, hits in hit.items()}
    assert rate["markov"] > 1.5 * rate["popular"]
    assert rate["text"] > 1.5 * rate["popular"]
    assert rate["text"] > 2.5 * rate["permuted"]  # it is the meaning, not the geometry
    assert split.test is not None
    rare = split.counts()[split.test.targets] <= 10
    assert rare.sum() > 30
    assert hit["text"][rare].mean() > 2 * hit["markov"][rare].mean()  # where behaviour has little to go by


def test_text_tells_little_where_nobody_cares() -> None:
    """Control: shoppers without taste, continuity and routine buy at random, and no text can know."""
    careless = simulate(users=900, items=300, seed=2, taste=0, continuity=0, routine=0, reviews=False)
    _, hit = _baselines(careless)
    assert hit["text"].mean() < 0.09
