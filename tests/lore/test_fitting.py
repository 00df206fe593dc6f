from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore.fake_model import FakeModel
from seqlore.errors import ConfigError
from seqlore.lore import Sampling
from seqlore.lore.fitting import LEAST, SIGNS, cut, equal_share, fit, shortened
from seqlore.lore.prompts import PromptSet, choose

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("lengths", "total", "share"),
    [([5, 5], 10, 5), ([2, 9], 10, 8), ([1, 7, 9], 10, 4), ([5, 5], 100, 5), ([5, 5], 3, 1), ([5], -4, 0), ([], 9, 0)],
)
def test_equal_shares_by_hand(lengths: list[int], total: int, share: int) -> None:
    assert equal_share(np.array(lengths, np.int64), total) == share


@given(LENGTHS, st.integers(0, 300))
def test_shares_use_the_budget_up_and_no_more(lengths: list[int], total: int) -> None:
    share = equal_share(np.array(lengths), total)
    assert sum(min(length, share) for length in lengths) <= total or share == 0
    assert share == max(lengths) or sum(min(length, share + 1) for length in lengths) > total


@pytest.mark.parametrize(
    ("text", "share", "kept"),
    [
        ("One two. Three four.", 4, "One two. Three four."),
        ("One two. Three four.", 3, "One two."),  # the end of a sentence is in the second half of what is left
        ("A. Bcd efg hij klm nop.", 3, "A. Bcd efg"),  # here it is not, so the cut is between words
        ("onelongword", 0, ""),
        ("日本語の文章。とても長い。", 7, "日本語の文章。"),
    ],
)
def test_cut_by_hand(text: str, share: int, kept: str) -> None:
    tokens = 12 if text.startswith("日") else len(text.split())
    assert cut(text, share, tokens) == kept


@given(st.text(alphabet="ab. !", max_size=60), st.integers(1, 20), st.integers(0, 20))
def test_a_cut_text_is_a_beginning_of_the_text(text: str, tokens: int, share: int) -> None:
    kept = cut(text, share, tokens)
    assert text.startswith(kept)
    assert len(kept) <= max(len(text) * share // tokens, 0) or tokens <= share


def words(n: int, word: str = "w") -> str:
    return " ".join([word] * n)


def tokens_of(*texts: str) -> dict[str, int]:
    return {text: len(text.split()) for text in texts}


def test_the_latest_entries_stay_and_the_oldest_go_whole() -> None:
    titles, categories = ("a b", "c d e", "f"), ("x", "", "y z")
    # from the latest: 6 + 1 + 2 = 9, then 6 + 3 + 0 = 9, then 6 + 2 + 1 = 9
    facts = {"titles": titles, "categories": categories, "user": ("age: 3",)}
    tokens = tokens_of(*titles, *categories)
    names = ("titles", "categories")
    assert shortened(facts, names, 27, tokens) == facts
    assert shortened(facts, names, 26, tokens)["titles"] == ("c d e", "f")
    assert shortened(facts, names, 17, tokens)["categories"] == ("y z",)
    assert shortened(facts, names, 0, tokens)["titles"] == ("f",)
    assert shortened(facts, names, 0, tokens)["user"] == ("age: 3",)


def test_reviews_share_what_is_left_and_short_ones_stay_whole() -> None:
    reviews = (words(100, "a"), words(10, "b"), words(200, "c"))
    facts = {"reviews": reviews}
    kept = shortened(facts, ("reviews",), 3 * SIGNS + 110, tokens_of(*reviews))["reviews"]
    assert [len(text.split()) for text in kept] == [50, 10, 50]
    kept = shortened(facts, ("reviews",), 3 * SIGNS + 170, tokens_of(*reviews))["reviews"]
    assert [len(text.split()) for text in kept] == [80, 10, 80]


def test_entries_that_could_not_have_the_least_go() -> None:
    reviews = tuple(words(100, letter) for letter in "abc")
    budget = 2 * (SIGNS + LEAST) + 5
    kept = shortened({"reviews": reviews}, ("reviews",), budget, tokens_of(*reviews))["reviews"]
    assert [text[0] for text in kept] == ["b", "c"]
    assert [len(text.split()) for text in kept] == [34, 34]  # the five that the third could not use are shared


FACTS = [{"title": ("t",), "reviews": tuple(words(n, "w.") for n in (40, 300, 90))}, {"reviews": ("short",)}]


def test_the_budget_holds_where_the_model_sets_no_limit() -> None:
    prompts = choose("item-label")
    bare = FakeModel().count_tokens([prompts.ask({"title": ("t",)})])[0]
    for budget in (100, 200, 400):
        asked = fit(FACTS, prompts, FakeModel(), Sampling(), budget)
        assert FakeModel().count_tokens(asked)[0] <= bare + budget
    assert fit(FACTS, prompts, FakeModel(), Sampling(), 1000)[0].fact("reviews") == FACTS[0]["reviews"]
    assert fit(FACTS, prompts, FakeModel(), Sampling(), 60)[1].fact("reviews") == ("short",)


@given(st.integers(215, 700), st.integers(1, 40))
def test_prompt_and_completion_fit_the_context(context: int, max_tokens: int) -> None:
    model = FakeModel(context=context)
    asked = fit(FACTS, choose("item-label"), model, Sampling(max_tokens=max_tokens), 2048)
    assert model.count_tokens(asked).max() + max_tokens <= context
    assert all(prompt.fact("reviews") for prompt in asked)


def test_a_context_without_room_is_refused_in_a_sentence() -> None:
    sentence = "prompt set item-label: with max_tokens = 90 the model's context of 100 tokens leaves 10 for a prompt"
    with pytest.raises(ConfigError, match=sentence):
        fit(FACTS, choose("item-label"), FakeModel(context=100), Sampling(max_tokens=90), 2048)
    label = [{"label": (words(500),), "variant": ("0",)}]
    with pytest.raises(ConfigError, match=r"prompt set reword: .* and the shortest has 5"):
        fit(label, PromptSet.load("reword"), FakeModel(context=100), Sampling(max_tokens=9), 2048)


def test_nothing_to_fit() -> None:
    assert fit([], choose("reword"), FakeModel(context=100), Sampling(), 2048) == []
