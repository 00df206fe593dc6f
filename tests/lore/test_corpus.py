"""What a small language model may read."""

from __future__ import annotations

import polars as pl
import pytest

from seqlore.data import Dataset, leave_one_out
from seqlore.errors import DataError
from seqlore.language.pairs import session_completion, session_prompt
from seqlore.lore.corpus import Corpus, CorpusConfig, read_split, session_document
from toys import make_dataset, make_split


def shop() -> Dataset:
    """Three users; the reviews of the held-out events carry a mark."""
    histories = {"ann": ["a", "b", "c", "d"], "bob": ["b", "c", "a"], "cyd": ["d", "a"]}
    held = {"ann": 2, "bob": 1, "cyd": 1}  # leave-one-out keeps the rest for training
    reviews, summaries = [], []
    for user, items in histories.items():
        for position, item in enumerate(items):
            mark = "HELDOUT" if position >= held[user] else "seen"
            reviews.append(f"{mark} review of {item} by {user}")
            summaries.append(f"{mark} summary")
    titles = {"a": "Rose  Soap", "b": "Lily Oil", "c": "Mint ### Gum", "d": ""}
    return make_dataset(histories, titles, review=reviews, summary=summaries)


def documents(dataset: Dataset, **settings: object) -> dict[str, list[str]]:
    corpora = read_split(leave_one_out(dataset), CorpusConfig.parse(settings, "test"))
    return {c.source["kind"]: list(c.documents) for c in corpora}


def test_no_word_of_a_held_out_review_is_read() -> None:
    found = documents(shop(), sequences=True)
    assert sorted(found["reviews"]) == [
        "seen summary\nseen review of a by ann",
        "seen summary\nseen review of b by ann",
        "seen summary\nseen review of b by bob",
        "seen summary\nseen review of d by cyd",
    ]
    assert "HELDOUT" not in str(found)
    assert found["sequences"] == ["1. Rose Soap\n\n###\n Lily Oil ###"]  # ann's; the others have one training event


def test_validation_reviews_are_read_once_they_belong_to_training() -> None:
    split = leave_one_out(shop()).with_validation()
    reviews = next(c for c in read_split(split) if c.source["kind"] == "reviews").documents
    assert "HELDOUT summary\nHELDOUT review of c by ann" in reviews
    assert not any("of d by ann" in text for text in reviews)


def test_item_documents_have_a_line_a_field_that_is_not_empty() -> None:
    dataset = make_dataset({"u": ["a", "b"]})
    items = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["Soap", None],
            "categories": [["Bath", "Gift"], []],
            "skin_type": ["dry", "dry"],
        }
    )
    dataset = Dataset.from_frames(dataset.interactions, items)
    split = leave_one_out(dataset)
    (corpus,) = read_split(split)
    assert corpus.documents == ("Title: Soap\nCategories: Bath, Gift",)  # b has no text in the usual fields
    (corpus,) = read_split(split, CorpusConfig(fields=("skin_type", "title")))
    assert set(corpus.documents) == {"Skin type: dry\nTitle: Soap", "Skin type: dry"}
    with pytest.raises(DataError, match="no text field 'colour'"):
        read_split(split, CorpusConfig(fields=("colour",)))


def test_sequences_are_written_in_the_papers_format_and_cut_into_windows() -> None:
    titles = {"a": "Rose  Soap", "b": "Lily Oil", "c": "Mint ### Gum", "d": ""}
    split = make_split({"u": ["a", "d", "b", "c"], "v": ["a", "b", "a", "b", "c"], "w": ["d", "a"]}, titles)
    corpora = read_split(split, CorpusConfig(items=False, sequences=True, window=4))
    assert corpora[0].documents == (
        "1. Rose Soap\n2. Lily Oil\n\n###\n Mint ## Gum ###",  # d has no title
        "1. Lily Oil\n2. Rose Soap\n3. Lily Oil\n\n###\n Mint ## Gum ###",  # the window before it has one title only
    )


def test_sequences_are_written_as_prompt_models_write_them() -> None:
    titles = ["Rose Soap", "Lily Oil", "Mint Gum"]
    assert session_document(titles) == session_prompt(titles[:-1]) + session_completion(titles[-1])


def test_kinds_can_be_left_out() -> None:
    assert set(documents(shop())) == {"items", "reviews"}
    assert set(documents(shop(), items=False)) == {"reviews"}
    assert set(documents(shop(), reviews=False)) == {"items"}
    with pytest.raises(DataError, match=r"toy: there is no text to learn from \(asked for: nothing"):
        documents(shop(), items=False, reviews=False)
    with pytest.raises(DataError, match="asked for: items, reviews"):
        documents(make_dataset({"u": ["a", "b"]}))


def test_a_corpus_keeps_each_text_once_and_none_that_is_empty() -> None:
    assert Corpus("x", ("a", " ", "b", "a")).documents == ("a", "b")
    assert Corpus("x", ("a", "b")).digest == Corpus("y", ("a", "b", "a")).digest
    assert Corpus("x", ("a", "b")).digest != Corpus("x", ("ab",)).digest
    assert Corpus("x", ("a",)).digest != Corpus("x", ("a",), weight=2).digest
    assert Corpus("x", ("a \ud83d", "a ?")).documents == ("a ?",)  # half an emoji
    with pytest.raises(DataError, match=r"'x': weight 0 is not positive"):
        Corpus("x", ("a",), weight=0)
