from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.lore.extractive.english import sentences
from seqlore.lore.extractive.wording import VERBATIM, Statement, _tables, phrase, read, say, statement, wordings

KINDS = sorted(_tables()[0])
LABEL = [
    statement("subject", ["a guitar strap"]),
    statement("likes", ["soft leather", "easy to use"]),
    statement("dislikes", ["too short"]),
]

some_statements = st.lists(
    st.builds(statement, st.sampled_from(KINDS), st.lists(st.text(max_size=20), max_size=4)), max_size=4
).map(lambda found: [each for each in found if each.phrases])


def content(statements: list[Statement]) -> list[tuple[str, list[str]]]:
    return sorted((kind, sorted(phrases)) for kind, phrases in statements)


def test_plain_sentences() -> None:
    assert say(LABEL) == (
        "The reviews are about a guitar strap. Reviewers like: soft leather and easy to use. "
        "Reviewers dislike: too short."
    )
    assert say([statement("latest_titles", ["Soap, 2 oz.", "Mr. “Clean”"])]) == (
        'The latest choices are “Soap, 2 oz.” and “Mr. "Clean"”.'
    )
    assert say([statement("likes", [" ", "", "…"])]) == ""


@given(some_statements)
def test_what_was_said_can_be_read_back(statements: list[Statement]) -> None:
    assert read(say(statements)) == statements


@given(some_statements, st.integers(0, 12))
def test_every_wording_says_the_same(statements: list[Statement], number: int) -> None:
    for text in itertools.islice(wordings(statements), number, number + 1):
        assert content(read(text)) == content(statements)


@given(some_statements)
def test_wordings_differ(statements: list[Statement]) -> None:
    found = list(itertools.islice(wordings(statements), 12))
    assert len(set(found)) == len(found)
    assert found == list(itertools.islice(wordings(read(found[0])), 12)), "the same meaning, the same wordings"


def test_one_phrase_has_as_many_wordings_as_its_kind_has_sentences() -> None:
    assert sorted(wordings([LABEL[0]])) == sorted(
        [
            "The reviews are about a guitar strap.",
            "Reviewers call it a guitar strap.",
            "What is reviewed: a guitar strap.",
            "To its reviewers it is a guitar strap.",
            "People write about a guitar strap.",
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_sentence_is_known_by_its_beginning(kind: str) -> None:
    mark = "“x”" if kind.endswith("_titles") else "x"
    for before, after in _tables()[0][kind]:
        assert after == "."
        assert read(before + mark + after) == [Statement(kind, ("x",))]


def test_foreign_sentences_stay_and_change_places() -> None:
    text = "Dr. Brown's soap smells of roses. Some find it too strong."
    found = list(wordings(read(text)))
    assert found[0] == text
    assert len(found) > 5
    for other in found[1:]:
        assert {"Dr. Brown's soap smells of roses.", "Some find it too strong."} <= {
            *sentences(other),
            *(each.partition(": ")[2] for each in sentences(other)),
        }


@given(st.text(max_size=200))
def test_any_text_can_be_worded(text: str) -> None:
    said = read(text)
    assert all(each.phrases for each in said)
    if all(kind == VERBATIM for kind, _ in said):
        for other in itertools.islice(wordings(said), 5):
            assert all(each.phrases[0] in other for each in said)


@given(st.text(max_size=60))
def test_a_phrase_fits_into_a_list(text: str) -> None:
    fit = phrase(text)
    assert phrase(fit) == fit
    assert ", " not in fit
    assert " and " not in f" {fit} "
    assert sentences(f"Of {fit} only.", titles=False) == [f"Of {fit} only."] or not fit
