"""A language model as it is: what it is asked, and how its answers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from seqlore.lore.model import Answer, Prompt, Sampling
from seqlore.tasks.material import Material, write
from seqlore.tasks.model import TaskEvaluation, evaluate
from seqlore.tasks.naming import Titles
from seqlore.tasks.prompts import FAMILIES, load_prompts
from seqlore.tasks.reading import Titles as Titles_
from seqlore.tasks.zeroshot import ZeroShot


class Echo:
    """Answers by a rule."""

    reads_facts, identity, context = False, "echo", None

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule, self.asked = rule, []

    def count_tokens(self, prompts: Sequence[Prompt]):
        return np.ones(len(prompts), np.int64)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        self.asked += prompts
        for i, prompt in reversed(list(enumerate(prompts))):  # answers come in any order
            yield i, Answer((self.rule(prompt.text),), ("stop",), 1, 1, 0.0)


def questions(material: Material, family, number: int = 0, **options):
    pairs, prompt = material.pairs(family, "test"), load_prompts(family).prompts[number]
    return pairs, write(material, Titles.of(material.tasks.split), family, pairs, [prompt] * len(pairs), **options)


def zero_shot(material: Material, rule: Callable[[str], str]) -> ZeroShot:
    return ZeroShot(Echo(rule), Titles.of(material.tasks.split))


def test_stars_are_the_first_number_from_1_to_5(material: Material):
    _, asked = questions(material, "rating")
    for said, star in (("I'd say 4 of 5.", 4), ("**2**", 2), ("12 or 3", 3), ("4.5? No, 5", 5), ("none", 4)):
        model = zero_shot(material, lambda _, said=said: said)
        assert (model.stars(asked).argmax(1) + 1 == star).all()
        assert model.unread["rating"] == (12 if said == "none" else 0)


def test_the_answer_is_never_in_the_question(material: Material):
    model = zero_shot(material, lambda text: text)
    for family in ("rating", "sequential", "explanation", "review"):
        _, asked = questions(material, family)
        answers = [e.text[-1].hidden[0] for e in asked]
        said = model.answers(asked)
        held = [str(getattr(a, "text", a)) for a in answers]
        if family != "rating":
            assert not any(s.endswith(a) for s, a in zip(said, held, strict=True))
    assert all(p.system for p in model.model.asked)


TITLES = {3: "Red Guitar", 5: "Red", 7: "Amp. No. 5 (new)", 9: "Strap", 11: "It", 13: "Red, White - Blue", 15: "Help!"}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("1. amp. no. 5 (NEW)\n2. Red   Guitar; straps", [7, 3]),
        ("Red, then Red Guitar", [5, 3]),
        ('1) "Red Guitar".\n2) **Strap**\n- *It*', [3, 9, 11]),
        ("**1. Red Guitar**\n• “Help!”\n", [3, 15]),
        ("Strap - it goes with the Red Guitar\nRed: because it is red", [9, 5]),
        ("Strap, Red Guitar, Help!, Amp. No. 5 (new).", [9, 3, 15, 7]),
        ("Red, White — Blue, and Strap", [13, 9]),
        ("Strap – Red Guitar", [9, 3]),
        ("Red Guitar, Red Guitar", [3]),
        ("nothing of these", []),
    ],
)
def test_titles_are_read_in_their_order(said: str, wanted: list[int]):
    assert Titles_(TITLES.items()).named(said) == wanted


def test_of_a_whole_catalogue_titles_must_stand_apart():
    catalogue = Titles_(TITLES.items())
    said = "I think it is hard to say. My list: Red Guitar, Strap\nThe Red one and Help! (1965)"
    assert catalogue.named(said, apart=True) == [3, 9, 15]
    assert catalogue.named(said) == [11, 3, 9, 5, 15]


def test_lists_and_the_catalogue(material: Material):
    listed = material.candidates(material.pairs("direct", "test"), 4, seed=0)
    _, asked = questions(material, "direct", 4, candidates=listed)
    titles = Titles.of(material.tasks.split)
    model = zero_shot(material, lambda _: "\n".join(titles.item(i).text for i in (3, 1, 2)))
    scores = model.score(asked, listed)
    for row, items in zip(scores, listed.tolist(), strict=True):
        order = [i for i in (3, 1, 2) if i in items]
        assert [row[items.index(i)] for i in order] == [-n for n in range(len(order))]
        assert np.isfinite(row).sum() == len(order), "the others are not listed"
    pairs, asked = questions(material, "sequential")
    found = model.search(asked, pairs.histories(), 5)
    for row, history in zip(found.tolist(), pairs.histories(), strict=True):
        assert [i for i in row if i] == [i for i in (3, 1, 2) if i not in history.tolist()]


def test_who_names_nothing_hits_nothing(material: Material):
    model = zero_shot(material, lambda _: "I do not know.")
    config = TaskEvaluation(families=("direct", "sequential"), wrong=4, at=(1, 3))
    found = evaluate(model, material, config)
    values = [scores.values["hr@3"] for ways in found.values() for scores in ways.values()]
    assert values == [0.0] * 8
    assert model.unread == {"lists": 12 * 6, "catalogue": 12 * 2}


def test_every_family_can_be_asked(material: Material):
    found = evaluate(zero_shot(material, lambda _: "The sound is great. 3"), material, TaskEvaluation(wrong=4))
    assert set(found) == set(FAMILIES)
    # Stars of the test items are spread over 1 … 5, so always saying 3 is wrong by 1.2 on average.
    assert found["rating"]["seen"].values["mae"] == np.abs(material.tasks.ratings[material.tasks.test.rows] - 3).mean()
    assert found["explanation"]["unseen"].values["rouge1"] > 50
