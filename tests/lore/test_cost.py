from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.data import Dataset
from seqlore.errors import ConfigError
from seqlore.lore.cost import Budget, BudgetError, Estimate, estimate, estimate_tokens
from seqlore.lore.model import Prompt, Sampling
from seqlore.text.locate import find_model


def test_tokens_of_a_text_by_hand() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("seven b") == 2  # 7 / 3.5
    assert estimate_tokens("eight by") == 3  # 8 / 3.5 = 2.3
    assert estimate_tokens("口紅") == 3  # 6 bytes / 2.5 = 2.4
    assert estimate_tokens("rosé") == 2  # 3 / 3.5 + 2 / 2.5 = 1.7
    assert estimate_tokens("\ud800") == 2  # no text that UTF-8 can write, and no crash


@pytest.mark.realdata
def test_on_titles_the_estimate_is_rather_high(beauty: Dataset) -> None:
    """Beside the 30,000 word pieces of all-MiniLM-L6-v2, a vocabulary smaller than those of language models."""
    from transformers import AutoTokenizer

    titles = [title for title in beauty.items["title"].drop_nulls().to_list() if title][:3000]
    pieces = AutoTokenizer.from_pretrained(str(find_model("all-MiniLM-L6-v2")))(titles, add_special_tokens=False)
    ratio = sum(map(estimate_tokens, titles)) / sum(map(len, pieces["input_ids"]))
    assert ratio == pytest.approx(1.114, abs=0.005)


@given(st.text(), st.text())
def test_a_longer_text_has_no_fewer_tokens(text: str, more: str) -> None:
    together = estimate_tokens(text + more)
    assert estimate_tokens(text) <= together <= estimate_tokens(text) + estimate_tokens(more)


class Words:
    """A model that counts words and costs nothing."""

    reads_facts, identity, context = False, "words", None

    def count_tokens(self, prompts: list[Prompt]) -> np.ndarray:
        return np.array([len(p.text.split()) for p in prompts], np.int64)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.0

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> None:
        raise AssertionError("a dry run asks nothing")


def test_an_estimate_of_any_model() -> None:
    prompts = [Prompt("one"), Prompt("two words")]
    assert estimate(Words(), prompts, Sampling(max_tokens=5, n=2)) == Estimate(2, 3, 20, 0.0)  # type: ignore[arg-type]
    assert estimate(Words(), [], Sampling()) == Estimate(0, 0, 0, 0.0)  # type: ignore[arg-type]


def test_a_budget_by_hand() -> None:
    budget = Budget(tokens=100, money=1.0)
    first = budget.hold(60, 0.5)
    with pytest.raises(
        BudgetError,
        match=r"^the budget does not allow the next request: 0 of 100 tokens are spent and 60 set aside for what is in "
        r"flight, the next asks 41; 0.0000 of 1.0000 in money is spent and 0.5000 set aside for what is in flight, the "
        r"next asks up to 0.1000; raise it and run it again$",
    ):
        budget.hold(41, 0.1)
    first.settle(25, 0.2)
    first.settle(99, 9.9)
    first.lose()
    assert (budget.tokens_spent, budget.money_spent) == (25, 0.2)
    budget.hold(75, 0.8).lose()
    assert (budget.tokens_spent, budget.money_spent) == (100, 1.0)
    with pytest.raises(BudgetError):
        budget.hold(1, 0.0)
    budget.hold(0, 0.0)


def test_money_is_bounded_only_where_prices_are_known() -> None:
    with pytest.raises(ConfigError, match="needs prices"):
        Budget(money=1.0).hold(1, None)
    Budget(tokens=1).hold(1, None).settle(1, None)
    Budget().hold(10**12, None)
    for bad in ({"tokens": -1}, {"money": -0.1}, {"money": float("nan")}):
        with pytest.raises(ConfigError, match="less than nothing"):
            Budget(**bad)


@given(st.integers(0, 200), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=40))
def test_a_budget_is_never_overrun(bound: int, requests: list[tuple[int, int, bool]]) -> None:
    budget, open_ones, spent = Budget(tokens=bound), [], 0
    for most, used, at_once in requests:
        try:
            held = budget.hold(most, None)
        except BudgetError:
            assert spent + sum(m for m, _, _ in open_ones) + most > bound
            continue
        used = min(most, used)
        if at_once:
            held.settle(used, None)
            spent += used
        else:
            open_ones.append((most, used, held))
        assert spent + sum(m for m, _, _ in open_ones) <= bound
    for _, used, held in open_ones:
        held.settle(used, None)
        spent += used
    assert budget.tokens_spent == spent <= bound


def test_threads_share_a_budget() -> None:
    budget = Budget(tokens=500)

    def spend(_: int) -> int:
        try:
            budget.hold(3, None).settle(1, None)
        except BudgetError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        allowed = sum(pool.map(spend, range(2000)))
    assert budget.tokens_spent == allowed
    assert 477 <= allowed <= 498  # 498 + 3 is too much, and 476 + 3 + 7 · 3 of the others is not
