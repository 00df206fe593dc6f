"""P5: ids and whole words by hand; it answers all families; the published ids leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqlore.data import leave_one_out
from seqlore.errors import ConfigError
from seqlore.glm.texts import Entity
from seqlore.lore.tokenizer import train_tokenizer
from seqlore.tasks.ids import END, P5Tokenizer, numbers
from seqlore.tasks.material import Material, write
from seqlore.tasks.model import TaskEvaluation, evaluate
from seqlore.tasks.naming import Ids
from seqlore.tasks.p5 import P5, P5Config, _answer
from seqlore.tasks.prompts import FAMILIES, as_text, load_prompts
from toys import make_dataset

NAMING = Ids([0, 7, 123], [0, 2, 1])


def test_all_tokens_of_an_id_are_one_word():
    tokenizer = P5Tokenizer(train_tokenizer(["What stars will the item get?"] * 3, 300), NAMING, "random")
    ids, words = tokenizer.write(("What stars ", Entity("item_7", 1), ", user"))
    item = tokenizer.entity("item_7")
    assert len(item) == 4, "kind, and as many digits as the largest number has"
    at = next(i for i in range(len(ids)) if ids[i : i + 4] == item)
    assert len(set(words[at : at + 4])) == 1
    assert words[at - 1] + 1 == words[at] == words[at + 4] - 1
    assert tokenizer.read(ids) == "What stars, user"


@pytest.mark.parametrize(("scheme", "lengths"), [("random", (4, 4)), ("token", (1, 1)), ("published", (2, 4))])
def test_ids_by_scheme(scheme, lengths: tuple[int, int]):
    tokenizer = P5Tokenizer(train_tokenizer(["some words"] * 3, 300), NAMING, scheme)
    found = [tokenizer.entity(f"item_{n}") for n in (7, 123)]
    assert tuple(map(len, found)) == lengths
    every = [
        tuple(tokenizer.entity(f"{kind}_{n}")) for kind, n in (("user", 1), ("user", 2), ("item", 7), ("item", 123))
    ]
    assert len(set(every)) == 4
    assert max(max(ids) for ids in every) < tokenizer.size
    assert min(min(ids) for ids in every) > END


def test_told_numbers_are_a_token_each_behind_all_others():
    base = train_tokenizer(["some words"] * 3, 300)
    plain, told = (P5Tokenizer(base, NAMING, "random", numbers) for numbers in ((), ["-0.1", "0.0", "0.1"]))
    assert told.size == plain.size + 3
    assert [told.entity(n) for n in told.numbers] == [[plain.size], [plain.size + 1], [plain.size + 2]]
    assert told.entity("item_7") == plain.entity("item_7")
    assert len(plain.entity("-0.1")) > 1
    assert told.read(told.write(("some", Entity("0.1"), " words")).ids) == "some words"


def test_published_numbers_leak_and_random_ones_do_not():
    rng = np.random.default_rng(0)
    items = rng.permutation(400)
    split = leave_one_out(make_dataset({f"u{u}": [f"i{i}" for i in items[5 * u : 5 * u + 5]] for u in range(80)}))
    assert split.test is not None

    def guessed(naming: Ids) -> float:
        """Share of test targets whose number is the largest of the history and one."""
        mine = np.array(naming.items)
        largest = [mine[h].max() for h in split.test.histories]
        return float((mine[split.test.targets] == np.array(largest) + 1).mean())

    assert guessed(numbers(split, "published")) == 1.0
    assert guessed(numbers(split, "random", seed=1)) < 0.1
    for scheme in ("published", "random"):
        assert sorted(numbers(split, scheme).items) == list(range(split.catalog.size))


@pytest.mark.realdata
def test_on_beauty_the_largest_number_and_one_is_often_right(beauty):
    split = leave_one_out(beauty)
    assert split.test is not None
    mine = np.array(numbers(split, "published").items)
    largest = np.array([mine[h].max() for h in split.test.histories])
    assert (mine[split.test.targets] == largest + 1).mean() > 0.01


SMALL = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 300, "epochs": 2, "warmup_steps": 5, "learning_rate": 5e-3,
         "valid_cases": 4, "beams": 12, "answer_tokens": 6, "device": "cpu"}  # fmt: skip


def questions(model: P5, material: Material, family, number: int = 0) -> list:
    pairs, prompt = material.pairs(family, "test"), load_prompts(family).prompts[number]
    return write(material, model.naming, family, pairs, [prompt] * len(pairs), room=model.room)


def test_it_answers_every_family_and_is_saved(material: Material, tmp_path: Path):
    config = P5Config.parse({**SMALL, "mixture": {"ratios": dict.fromkeys(FAMILIES, 0.5)}}, "P5")
    model = P5(config).fit(material, checkpoint=tmp_path / "steps", log=tmp_path / "log.jsonl")
    assert (tmp_path / "steps" / "state.json").is_file()
    found = evaluate(model, material, TaskEvaluation(wrong=4, at=(1, 2)))
    assert set(found) == set(FAMILIES)
    loaded = P5.load(model.save(tmp_path / "model"))
    asked = questions(model, material, "sequential")
    every = np.tile(np.arange(1, 13), (len(asked), 1))
    assert loaded.score(asked, every) == pytest.approx(model.score(asked, every), abs=1e-5)
    assert model.score(asked[4:5], every[:1]) == pytest.approx(model.score(asked, every)[4:5], abs=1e-4)
    assert loaded.write(questions(model, material, "review")) == model.write(questions(model, material, "review"))


def test_what_is_judged_is_what_was_learned(material: Material):
    ratios = {"rating": 2.0, "sequential": 0.1}
    given = {**SMALL, "epochs": 20, "learning_rate": 5e-3, "mixture": {"ratios": ratios, "lists": 0.0}}
    model = P5(P5Config.parse(given, "P5")).fit(material)
    stars = np.exp(model.stars(questions(model, material, "rating")))
    assert (stars.sum(1) > 0.02).all(), "of 300 words and an end: five by chance have 0.0001"
    for example, (_, item, _) in zip(questions(model, material, "sequential"), material.pairs("sequential", "test"),
                                     strict=True):  # fmt: skip
        assert model._tokens.write(_answer(example)).ids == model._items[item]


@pytest.mark.parametrize("scheme", ["random", "token", "published"])
def test_beams_list_unseen_items_by_likelihood(material: Material, scheme: str):
    mixture = {"ratios": {"sequential": 1.0}, "lists": 0.0}
    model = P5(P5Config.parse({**SMALL, "ids": scheme, "mixture": mixture}, "P5")).fit(material)
    pairs, asked = material.pairs("sequential", "test"), questions(model, material, "sequential")
    every = np.tile(np.arange(1, 13), (len(pairs), 1))
    scores = model.score(asked, every)
    listed = model.search(asked, pairs.histories(), 7)
    for row, history, mine in zip(listed, pairs.histories(), scores, strict=True):
        assert np.count_nonzero(row) == 7, "of twelve items five were seen, and the others are all listed"
        mine[np.isin(every[0], history)] = -np.inf
        assert row.tolist() == every[0][np.argsort(-mine, kind="stable")[:7]].tolist(), "beams of all items are exact"


def test_seen_items_take_no_beams(material: Material):
    mixture = {"ratios": {"sequential": 1.0}, "lists": 0.0}
    model = P5(P5Config.parse({**SMALL, "ids": "token", "beams": 3, "mixture": mixture}, "P5")).fit(material)
    pairs, asked = material.pairs("sequential", "test"), questions(model, material, "sequential")
    assert (model.search(asked, pairs.histories(), 3) > 0).all()


def test_a_long_question_loses_its_history_and_is_counted(material: Material):
    mixture = {"ratios": {"review": 0.5}, "lists": 0.0}
    model = P5(P5Config.parse({**SMALL, "epochs": 1, "max_tokens": 50, "mixture": mixture}, "P5")).fit(material)
    assert model.learned_cut["review"] > 0
    texts = [as_text(e.question[:-1]) for e in questions(model, material, "review")]
    assert all(text.startswith("Review: I bought") and text.endswith("\nSummary:") for text in texts)
    for number in range(1, len(load_prompts("review").prompts)):
        questions(model, material, "review", number)
    assert model.room.cut["review"] > 0


def test_more_heads_than_the_width_has_are_refused():
    with pytest.raises(ConfigError, match="heads = 16 is more than width = 8: lower it"):
        P5Config.parse({"width": 8, "heads": 16}, "P5")
