"""How tokens are chosen, and who is written when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqlore.lore.decode import Limits, Text, beginnings, choose, draws, queue_of, write
from seqlore.lore.model import Sampling

LOGITS = torch.tensor([[0.5, 0.2, 0.3, 0.0]]).log()  # the last token is impossible


@pytest.mark.parametrize(
    ("uniform", "temperature", "top_p", "token"),
    [
        (None, 0.0, 1.0, 0),
        (0.0, 1.0, 1.0, 0),
        (0.49, 1.0, 1.0, 0),
        (0.51, 1.0, 1.0, 1),
        (0.71, 1.0, 1.0, 2),
        (1 - 1e-12, 1.0, 1.0, 2),  # never the impossible one
        (0.61, 1.0, 0.75, 0),  # of 0 and 2, which have 0.8 together: 0 up to 0.625
        (0.64, 1.0, 0.75, 2),
        (0.99, 1.0, 0.5, 0),  # 0 alone has the mass
        (0.66, 0.5, 1.0, 1),  # squared: 0.25, 0.04, 0.09 of 0.38: 0 up to 0.6579, 1 up to 0.7632
        (0.77, 0.5, 1.0, 2),
    ],
)
def test_a_token_by_hand(uniform: float | None, temperature: float, top_p: float, token: int) -> None:
    number = None if uniform is None else np.array([uniform])
    assert choose(LOGITS, number, temperature, top_p).tolist() == [token]


@given(st.integers(0, 10_000), st.floats(0.05, 1), st.floats(0.1, 3))
def test_what_is_drawn_is_in_the_nucleus(seed: int, top_p: float, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(5, 12)) * 3)
    drawn = choose(logits, rng.random(5), temperature, top_p)
    chances = (logits / temperature).softmax(-1)
    for row, token in zip(chances, drawn.tolist(), strict=True):
        assert row[row > row[token]].sum() < top_p + 1e-6


def test_draws_belong_to_prompt_copy_and_seed() -> None:
    mine = draws([1, 2], 0, 8, 7)
    assert (mine == draws([1, 2], 0, 8, 7)).all()
    assert (mine[:5] == draws([1, 2], 0, 5, 7)).all()
    for other in (draws([1, 3], 0, 8, 7), draws([1, 2], 1, 8, 7), draws([1, 2], 0, 8, 8), draws([1, 2], 0, 8, None)):
        assert (mine != other).all()
    assert (draws([1], 0, 8, None) != draws([1], 0, 8, None)).all()


def test_beginnings_by_hand() -> None:
    head = list(range(20))
    prompts = [[*head, 50, 51], [9] * 3, [*head, 50, 60, 61], [*head, 50], [*head, 50, 51, 52], [8] * 30, [7] * 16]
    # Four begin with head and 50; of the shortest one token is left to read. The others are too few or too short.
    assert beginnings(prompts) == [(20, [0, 2, 3, 4]), (0, [1, 5, 6])]
    assert beginnings([]) == []
    assert beginnings([[5] * 20] * 4) == [(19, [0, 1, 2, 3])]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.lists(st.integers(0, 1), max_size=4)), max_size=30))
def test_beginnings_are_shared_and_everyone_is_somewhere(made: list[tuple[int, int, list[int]]]) -> None:
    prompts = [[kind] * (length + 1) + end for kind, length, end in made]
    groups = beginnings(prompts)
    assert sorted(i for _, members in groups for i in members) == list(range(len(prompts)))
    for shared, members in groups:
        assert all(prompts[i][:shared] == prompts[members[0]][:shared] for i in members)
        assert all(len(prompts[i]) > shared for i in members)


def test_the_queue_has_the_longest_first_and_one_text_where_copies_would_be_equal() -> None:
    prompts, limits = [[5], [6, 6, 6], [7, 7]], [9, 8, 7]
    queue = queue_of(prompts, limits, Sampling(n=3))
    assert [(t.prompt, t.copy, t.limit, t.draws) for t in queue] == [(1, 0, 8, None), (2, 0, 7, None), (0, 0, 9, None)]
    queue = queue_of(prompts, limits, Sampling(n=2, temperature=1))
    assert [(t.prompt, t.copy) for t in queue] == [(1, 0), (1, 1), (2, 0), (2, 1), (0, 0), (0, 1)]
    assert all(t.draws is not None and len(t.draws) == t.limit for t in queue)


class Counting:
    """Writes, after a prompt that ends in k, the tokens k − 1, k − 2, …, 0; and keeps book of who is there."""

    def __init__(self, refills: bool) -> None:
        self.refills = refills
        self.rows: list[int] = []
        self.steps = self.most = self.read = 0

    def _logits(self, rows: Sequence[int]) -> Tensor:
        return torch.nn.functional.one_hot(torch.tensor([max(r - 1, 0) for r in rows]), 100).float()

    def admit(self, prompts: Sequence[list[int]], shared: int, places: Sequence[int]) -> Tensor:
        assert self.refills or not self.rows
        assert len({tuple(p[:shared]) for p in prompts}) == 1
        assert len(set(places)) == len(places) == len(prompts)
        for place, prompt in zip(places, prompts, strict=True):
            assert place == len(self.rows) or self.rows[place] <= 1  # a new place, or that of a text that is done
            self.rows[place : place + 1] = [prompt[-1]]
        self.most = max(self.most, len(self.rows))
        self.read = max(self.read, len(prompts) * max(len(p) - shared for p in prompts))
        return self._logits([p[-1] for p in prompts])

    def step(self, tokens: Tensor) -> Tensor:
        self.steps += 1
        assert len(tokens) == len(self.rows)
        self.rows = tokens.tolist()
        return self._logits(self.rows)

    def keep(self, kept: Tensor) -> None:
        self.rows = [self.rows[i] for i in kept.tolist()]


def count_down(
    numbers: Sequence[int], refills: bool = True, limits: Limits | None = None, **sampling: object
) -> tuple[dict[int, Text], Counting]:
    rows = Counting(refills)
    settings = Sampling.parse({"max_tokens": 90, **sampling}, "test")
    queue = queue_of([[50, n] for n in numbers], [settings.max_tokens] * len(numbers), settings)
    texts = write(rows, queue, settings, limits or Limits(4, 1000, 100), {0}, lambda tokens: " ".join(map(str, tokens)))
    found = list(texts)
    assert sorted(t.prompt for t in found) == list(range(len(numbers)))
    return {t.prompt: t for t in found}, rows


NUMBERS = [5, 1, 30, 2, 9, 3, 1, 1, 30, 4, 2]


@pytest.mark.parametrize("refills", [True, False])
@pytest.mark.parametrize("width", [1, 2, 4, 16])
def test_every_text_is_written_to_its_end(refills: bool, width: int) -> None:
    texts, rows = count_down(NUMBERS, refills, Limits(width, 10_000, 100))
    for i, n in enumerate(NUMBERS):
        assert texts[i].written == list(range(n - 1, 0, -1))
        assert texts[i].finish == "stop"
    assert rows.most == min(width, len(NUMBERS))


def test_a_place_that_is_free_is_taken_at_once() -> None:
    short = [30, *[3] * 20]
    _, rows = count_down(short, True, Limits(3, 1000, 100))
    assert rows.steps == 29  # two places serve twenty short texts while the long one is being written
    _, rows = count_down(short, False, Limits(3, 1000, 100))
    assert rows.steps == 29 + 6 * 2  # the first batch lasts as long as its longest, six more follow


def test_limits_of_memory_and_reading_are_kept() -> None:
    _, rows = count_down([9] * 12, True, Limits(12, 5 * 12, 100), max_tokens=10)
    assert rows.most == 5  # of 2 + 10 tokens each
    _, rows = count_down([9] * 12, True, Limits(12, 1000, 6))
    assert rows.read == 6
    texts, _ = count_down([9, 9], True, Limits(12, 3, 1))  # one at least, however small the limits
    assert len(texts) == 2


def test_a_text_ends_at_its_limit_or_at_a_stop_string() -> None:
    texts, _ = count_down([9, 3], max_tokens=4)
    assert (texts[0].written, texts[0].finish) == ([8, 7, 6, 5], "length")
    assert (texts[1].written, texts[1].finish) == ([2, 1], "stop")
    texts, _ = count_down([9, 3], stop=("7 6", "2"))
    assert (texts[0].written, texts[0].finish) == ([8, 7, 6], "stop")
    assert (texts[1].written, texts[1].finish) == ([2], "stop")


def test_closing_stops_the_work() -> None:
    rows, settings = Counting(True), Sampling(max_tokens=90)
    queue = queue_of([[50, n] for n in (2, 90, 90)], [90] * 3, settings)
    texts = write(rows, queue, settings, Limits(4, 1000, 100), {0}, str)
    assert next(texts).prompt == 0
    texts.close()
    assert rows.steps < 3
