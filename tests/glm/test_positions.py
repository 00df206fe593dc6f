"""The automaton: the paper's figure, the rules, and that training and generation number tokens alike."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqlore.data import Sequences
from seqlore.glm.positions import Automaton, PositionConfig, entity_trie, intra_of_context

START, VOCABULARY = 9, 10
tokens = st.lists(st.integers(0, 3), max_size=12)
pools = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=5)
rules = st.sampled_from(
    [PositionConfig(intra=i, plain=p) for i, p in [("entity", "restart"), ("entity", "grow"), ("blank", "grow")]]
)


def automaton(pool: list[list[int]], **settings: str) -> Automaton:
    return Automaton(entity_trie(pool, VOCABULARY), START, PositionConfig(**settings))  # type: ignore[arg-type]


def ids(machine: Automaton, text: list[int]) -> list[int]:
    """Token by token, as when a model writes."""
    state, found = machine.begin(1), []
    for token in text:
        state = machine.step(state, torch.tensor([token]))
        found.append(int(state.intra))
    return found


def by_hand(pool: list[list[int]], text: list[int], rule: PositionConfig) -> list[int]:
    """The rules in words, on lists."""
    found, inside, last = [], None, 1  # tokens since an entity may have begun; [] = behind the start mark
    run: list[int] | None = []
    for token in text:
        starts = any(e[0] == token for e in pool)
        if rule.intra == "blank":
            last += 1
        elif run == []:
            last, run = last + 1, [token] if starts else None
        elif run is not None and any(e[: len(run) + 1] == [*run, token] for e in pool):
            last, run = last + 1, [*run, token]
        elif run is None and not starts and rule.plain == "grow":
            last += 1
        else:
            last, run = 1, [token] if starts else None
        found.append(last)
    assert inside is None
    return found


def test_figure_1():
    machine = automaton([[1, 2, 3], [6, 7]])
    assert ids(machine, [1, 2, 3]) == [2, 3, 4]  # [S] itself has 1
    assert ids(machine, [5]) == [2]
    context = np.array([0, 0, 0, 2, 2])  # [M] x4 [M] x6 x7
    assert intra_of_context(context, PositionConfig()).tolist() == [0, 0, 0, 1, 2]
    assert intra_of_context(context, PositionConfig(intra="blank")).tolist() == [0] * 5


def test_an_entity_begins_at_1_and_plain_text_as_asked():
    text = [1, 2, 3, 0, 0, 6, 7, 6, 7, 2]
    assert ids(automaton([[1, 2, 3], [6, 7]], plain="restart"), text) == [2, 3, 4, 1, 1, 1, 2, 1, 2, 1]
    assert ids(automaton([[1, 2, 3], [6, 7]], plain="grow"), text) == [2, 3, 4, 1, 2, 1, 2, 1, 2, 1]
    assert ids(automaton([[1, 2, 3], [6, 7]], intra="blank"), text) == list(range(2, 12))
    assert ids(automaton([], plain="grow"), [4, 4, 4]) == [2, 3, 4]


def test_a_title_that_begins_another_goes_on():
    assert ids(automaton([[1, 2], [1, 2, 3]]), [1, 2, 3, 1, 2, 1]) == [2, 3, 4, 1, 2, 1]


def test_neighbouring_entities_of_a_context_are_counted_apart():
    assert intra_of_context(np.array([1, 1, 2, 2, 2, 0]), PositionConfig()).tolist() == [1, 2, 1, 2, 3, 0]
    assert intra_of_context(np.array([], int), PositionConfig()).tolist() == []


@given(pools, tokens, rules)
def test_ids_are_those_of_the_rules(pool: list[list[int]], text: list[int], rule: PositionConfig):
    machine = Automaton(entity_trie(pool, VOCABULARY), START, rule)
    assert ids(machine, text) == by_hand(pool, text, rule)


@given(pools, st.lists(tokens, max_size=5), rules)
def test_training_and_generation_number_alike(pool: list[list[int]], texts: list[list[int]], rule: PositionConfig):
    machine = Automaton(entity_trie(pool, VOCABULARY), START, rule)
    together = machine.walk(Sequences.from_lists(texts)).tolist()
    assert together == [i for text in texts for i in ids(machine, text)]


@given(pools, tokens, tokens, rules)
def test_what_comes_later_changes_no_id(pool: list[list[int]], text: list[int], more: list[int], rule: PositionConfig):
    machine = Automaton(entity_trie(pool, VOCABULARY), START, rule)
    assert ids(machine, [*text, *more])[: len(text)] == ids(machine, text)


@given(pools, tokens, tokens, rules)
def test_a_start_mark_begins_anew(pool: list[list[int]], text: list[int], more: list[int], rule: PositionConfig):
    machine = Automaton(entity_trie(pool, VOCABULARY), START, rule)
    assert ids(machine, [*text, START, *more])[len(text) :] == [1, *ids(machine, more)]


def test_states_move_with_their_beams():
    machine = automaton([[1, 2, 3]])
    state = machine.step(machine.begin(1, 2), torch.tensor([[1, 5]]))
    state = machine.step(state.gather(torch.tensor([[1, 0, 0]])), torch.tensor([[2, 2, 1]]))
    assert state.intra.tolist() == [[3, 3, 1]]  # plain after plain grows; 1 2 goes on; 1 begins anew
