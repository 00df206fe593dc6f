"""Names: titles cut to words, or to as few as tell one from another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seqlore.glm.names import short_names

WORDS = st.lists(st.sampled_from(["rose", "oil", "mint", "warm"]), max_size=6).map(" ".join)


def test_a_name_is_as_short_as_tells_it_from_others():
    titles = ["Rose Soap with Oil, big", "Rose Soap with Mint", "Rose Soap with", "Mint  Oil", "Dr. No"]
    assert short_names(titles, "distinct") == [
        "Rose Soap with Oil,", "Rose Soap with Mint", "Rose Soap with", "Mint Oil", "Dr. No"
    ]  # fmt: skip
    assert short_names(titles, 2) == ["Rose Soap", "Rose Soap", "Rose Soap", "Mint Oil", "Dr. No"]
    assert short_names(titles, None)[0] == titles[0]
    twice = ["One two three four"] * 2
    assert short_names(["", *twice], "distinct") == ["", *twice]


@given(st.lists(WORDS, max_size=12))
def test_names_are_beginnings_and_different_where_titles_are(titles: list[str]):
    names = short_names(titles, "distinct")
    for title, name in zip(titles, names, strict=True):
        assert title.split()[: len(name.split())] == name.split()
    assert [names.index(n) for n in names] == [titles.index(t) for t in titles]
