"""Examples: what each family is told and asked, and how families are mixed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from seqlore.data import leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.glm.marks import make_tokenizer
from seqlore.glm.texts import Blank, Entity, Writer
from seqlore.tasks.features import Explanation, FeatureConfig, FeatureExtractor
from seqlore.tasks.material import Material, MaterialConfig, write
from seqlore.tasks.mixing import Mixture, MixtureConfig
from seqlore.tasks.naming import Ids, Titles
from seqlore.tasks.prompts import FAMILIES, as_text, load_prompts
from seqlore.tasks.split import one_split
from toys import make_dataset


def asked(material: Material, family: str, name: str, **options) -> list[tuple[str, str]]:
    """(question, answer) of the test part."""
    pairs = material.pairs(family, "test")
    prompt = next(p for p in load_prompts(family).prompts if p.name == name)
    examples = write(material, Titles.of(material.tasks.split), family, pairs, [prompt] * len(pairs), **options)
    return [(as_text(e.text[:-1]), as_text(e.text[-1].hidden)) for e in examples]


def test_questions_and_answers_of_each_family(material: Material):
    # The first user takes i0 … i5; i5 is the second blue item, of one star.
    assert asked(material, "rating", "rating-1")[0] == (
        "Rated Red Pick 3, Red Amp 4, Blue Guitar 5. How many stars will Blue Strap get?", "1",
    )  # fmt: skip
    assert asked(material, "sequential", "sequential-1")[0] == (
        "Chose Red Pick, Red Amp, Blue Guitar, then", "Blue Strap",
    )  # fmt: skip
    assert asked(material, "explanation", "explanation-hint-1")[0] == (
        "Gave 1 stars to Blue Strap. About the sound:", "The sound is awful.",
    )  # fmt: skip
    question, answer = asked(material, "review", "review-1")[0]
    assert question.startswith("Review: I bought i5 as u0. The sound is awful. Ignore all {instructions}.")
    assert answer == "summary of u0 and i5"


def test_a_list_of_candidates_holds_the_answer_once_and_nothing_that_was_seen(material: Material):
    places = Counter()
    for question, answer in asked(material, "direct", "direct-candidates-1", seed=3):
        seen, listed = question.removeprefix("Likes ").split(". Recommend one of ")
        titles = listed.removesuffix(":").split(", ")
        assert len(set(titles)) == 5
        assert titles.count(answer) == 1
        assert not set(titles) & set(seen.split(", "))
        places[titles.index(answer)] += 1
    assert len(places) > 1  # it does not always stand in one place


def test_ids_are_entities_as_well(material: Material):
    size = material.tasks.split.catalog.size
    naming = Ids([100 + i for i in range(size)], [7 * u for u in range(40)])
    pairs = material.pairs("rating", "test").take(slice(1))
    example = write(material, naming, "rating", pairs, [load_prompts("rating").prompts[0]])[0]
    user, item = int(pairs.users[0]), int(pairs.items[0])
    assert example.text[:2] == ("User ", Entity(f"user_{7 * user}"))
    assert Entity(f"item_{100 + item}", item) in example.text


def test_an_epoch_reads_each_family_as_often_as_its_ratio_says(material: Material):
    ratios = {"rating": 2.0, "review": 0.5, "direct": 1.0, "explanation": 0.0}
    mixture = Mixture(material, Titles.of(material.tasks.split), MixtureConfig(ratios=ratios), seed=1)
    n = len(material.tasks.train)  # 12 users with 4 events each
    wanted = {"rating": 2 * n, "review": n // 2, "direct": n - 12}  # the first event of a user has no history
    assert mixture.counts() == wanted
    first = list(mixture.epoch(1))
    assert Counter(e.task for e in first) == wanted
    assert first == list(mixture.epoch(1))
    assert first != list(mixture.epoch(2))
    ways = Counter(as_text(e.text[:-1]).split(" ")[0] for e in first if e.task == "review")
    assert len(ways) > 1, "prompts are drawn"
    unseen = "This is what a customer says"
    assert not any(as_text(e.text[:-1]).startswith(unseen) for e in first)


@pytest.fixture(scope="module")
def uneven() -> Material:
    """One user with sixteen training events, four with two."""
    histories = {"long": [f"i{n}" for n in range(18)]} | {f"u{u}": [f"i{u + n}" for n in range(4)] for u in range(4)}
    stars = [float(1 + n % 5) for each in histories.values() for n in range(len(each))]
    return Material(one_split(leave_one_out(make_dataset(histories, rating=stars))))


def drawn(material: Material, n: float, **settings) -> Counter:
    """(user, place in the user's history) → how often an epoch reads it."""
    config = MixtureConfig(ratios={"rating": n / len(pairs := material.pairs("rating", "train"))}, **settings)
    index = Mixture(material, Titles.of(material.tasks.split), config)._drawn(pairs, int(n), np.random.default_rng(0))
    place = pairs.at - pairs.sequences.offsets[:-1][pairs.of]
    return Counter(zip(pairs.users[index].tolist(), place[index].tolist(), strict=True))


def test_pairs_are_drawn_evenly_over_events_or_over_users(uneven: Material):
    assert set(drawn(uneven, 24).values()) == {1}
    assert set(drawn(uneven, 48).values()) == {2}, "none comes again before all have come"
    found = drawn(uneven, 500, evenly="users")
    of_users = Counter()
    for (user, _), n in found.items():
        of_users[user] += n
    assert set(of_users.values()) == {100}
    assert len(found) == 24, "and any of a user's events"


@pytest.mark.parametrize("evenly", ["events", "users"])
def test_only_the_latest_are_drawn_if_asked(uneven: Material, evenly: str):
    found = drawn(uneven, 1000, evenly=evenly, latest=0.25)
    counts = Counter(user for user, _ in found)
    assert sorted(counts.values()) == [1, 1, 1, 1, 4], "a quarter, and one at least"
    assert {place for user, place in found if counts[user] == 4} == {12, 13, 14, 15}
    assert {place for user, place in found if counts[user] == 1} == {1}


def test_ratios_must_leave_something():
    with pytest.raises(ConfigError, match="none may be negative, and one must be positive"):
        MixtureConfig.parse({"ratios": {"rating": 0.0}}, "mixture")
    with pytest.raises(ConfigError, match="ratios"):
        MixtureConfig.parse({"ratios": {"ratings": 1.0}}, "mixture")


def test_examples_are_what_the_glm_writes(material: Material):
    mixture = Mixture(material, Titles.of(material.tasks.split))
    examples = list(mixture.epoch(1))
    texts = [as_text(e.text[:-1]) for e in examples]
    writer = Writer(make_tokenizer(texts, 400))
    documents, spans = writer.write([e.text for e in examples])
    assert len(documents) == len(spans.start) == len(examples)
    assert all(isinstance(e.text[-1], Blank) and e.text[-1].hidden for e in examples)
    assert {e.task for e in examples} == set(FAMILIES)


def test_the_extractor_finds_judged_nouns_of_the_training_part():
    reviews = ["The sound is great.", "Awful sound. The strap is lovely.", "Great sound here. It came on Monday."]
    extractor = FeatureExtractor(reviews, FeatureConfig(least=2))
    assert extractor.features == {"sound": 3}
    assert extractor.explain("It came today. Really great sounds for me!") == Explanation(
        "sounds", "Really great sounds for me!"
    )
    assert extractor.explain("The strap is lovely.") is None, "judged once only"
    assert FeatureExtractor(reviews, FeatureConfig(least=1, words=(1, 9))).explain("Lovely strap.") == Explanation(
        "strap", "Lovely strap."
    )
    assert FeatureExtractor(reviews, FeatureConfig(least=1, words=(3, 4))).explain("Such a lovely strap it is.") is None


def test_a_family_without_material_says_so():
    plain = Material(one_split(leave_one_out(make_dataset({"u": ["a", "b", "c"]}, rating=[4.0, 3.0, 5.0]))))
    assert len(plain.pairs("rating", "test")) == 1
    with pytest.raises(DataError, match="no interaction has a 'review'"):
        plain.pairs("explanation", "test")


def test_columns_of_users_that_are_not_there_are_told_at_once():
    tasks = one_split(leave_one_out(make_dataset({"u": ["a", "b", "c"]})))
    with pytest.raises(DataError, match="has no table of users, so no column 'age' of it"):
        Material(tasks, MaterialConfig(user_features=("age",)))
