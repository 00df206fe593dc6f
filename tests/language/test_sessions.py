"""Sessions as prompts and completions, with a tokenizer of letters."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqlore.data import Catalog, Sequences
from seqlore.errors import ConfigError, DataError
from seqlore.language.sessions import SessionWriter, documents, short_titles


class Letters:
    """A token a letter; 1 begins a text, 2 ends one."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text, add_special_tokens=True, split_special_tokens=False):
        def ids(each: str) -> list[int]:
            return ([1] if add_special_tokens else []) + [ord(c) for c in each]

        class Out:
            input_ids = ids(text) if isinstance(text, str) else [ids(t) for t in text]

        return Out


TITLES = ["", "Rose Soap", "Mint", "", "Oil"]


def writer(context: int = 200, max_items: int = 10, **changes) -> SessionWriter:
    return SessionWriter(TITLES, Letters(), **{"context": context, "max_items": max_items, **changes})


def test_titles_are_shortened_by_words_and_by_index():
    catalog = Catalog(pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["One two  three", None, "x ### y"]}))
    short = dict(zip(["", *catalog.ids], short_titles(catalog, 2), strict=True))
    assert short == {"": "", "a": "One two", "b": "", "c": "x ##"}
    assert sorted(short_titles(catalog, None)) == ["", "", "One two three", "x ## y"]
    with pytest.raises(DataError, match="no item has a title"):
        short_titles(Catalog(pl.DataFrame({"item_id": ["a"], "title": [""]})), None)


def test_prompts_hold_the_titles_that_there_are():
    histories = Sequences.from_lists([[1, 3, 2], [3], []])
    assert writer().prompts(histories) == ["1. Rose Soap\n2. Mint\n\n###\n", "\n\n###\n", "\n\n###\n"]
    assert writer().fitted(histories).lengths.tolist() == [2, 0, 0]


def test_the_latest_items_that_fit_are_kept():
    assert writer(max_items=2).prompts(Sequences.from_lists([[1, 2, 4, 4]])) == ["1. Oil\n2. Oil\n\n###\n"]
    # A title costs its completion (blank, words, " ###", end) and six tokens for its number: Oil 3+1+4+1+6 = 15, Mint
    # 16, Rose Soap 21. The longest completion has 15, marks and beginning eight: 53 leave 30, enough for Oil and Oil.
    every = Sequences.from_lists([[1, 4, 4], [2, 4]])
    assert [len(items) for items in writer(context=53).fitted(every)] == [2, 1]
    assert [len(items) for items in writer(context=54).fitted(every)] == [2, 2]
    for items, prompt in zip(every, writer(context=54).prompts(every), strict=True):
        assert len(writer().tokens([prompt])[0]) + 15 <= 54, items


def test_no_room_is_said():
    with pytest.raises(ConfigError, match="context of 30 tokens has no room for a title of 15 tokens"):
        writer(context=30)


def test_completions_end_with_the_end():
    completions = writer().completions
    assert completions[2].tolist() == [ord(c) for c in " Mint ###"] + [2]
    assert completions[3].tolist() == completions[0].tolist() == []
    assert writer().longest == len(" Rose Soap ###") + 1


def test_a_pair_a_session_or_for_each_item_but_the_first():
    sessions = Sequences.from_lists([[1, 2, 4], [3, 4], [2, 3, 1, 3]])
    prompts, items = writer().pairs(sessions, every=False)
    text = ["".join(map(chr, row[1:])) for row in prompts]
    assert text == ["1. Rose Soap\n2. Mint\n\n###\n", "1. Mint\n\n###\n"]
    assert items.tolist() == [4, 1]
    assert all(row[0] == 1 for row in prompts)
    prompts, items = writer().pairs(sessions, every=True)
    assert items.tolist() == [2, 4, 1]
    assert "".join(map(chr, prompts[0][1:])) == "1. Rose Soap\n\n###\n"


def test_documents_are_prompt_and_completion():
    sessions = Sequences.from_lists([[1, 3, 2], [3, 4], np.array([], int)])
    assert list(documents(TITLES, sessions)) == ["1. Rose Soap\n\n###\n Mint ###"]
