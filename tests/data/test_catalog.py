"""Ids and indices: a bijection whose order says nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.data import Catalog, Vocabulary
from seqlore.data.catalog import as_text
from seqlore.errors import DataError


@given(st.sets(st.text(max_size=6), max_size=30))
def test_ids_and_indices_are_one_to_one(ids):
    v = Vocabulary(ids)
    assert sorted(v.index(ids).tolist()) == list(range(1, len(ids) + 1))
    assert all(v.external(i) in ids for i in v.index(ids).tolist())
    assert v.index(["not there " * 3]).tolist() == [0]
    assert v.index_column(pl.Series(list(ids), dtype=pl.String)).tolist() == v.index(list(ids)).tolist()


def test_the_order_depends_on_the_ids_alone():
    ids = [f"B{i:04d}" for i in range(500)]
    v = Vocabulary(ids)
    assert v.ids == Vocabulary(reversed(ids)).ids
    assert abs(np.corrcoef(v.index(ids), np.arange(500))[0, 1]) < 0.15, "order of ids leaks into the indices"


def test_a_repeated_id_is_refused():
    with pytest.raises(DataError, match="not unique"):
        Vocabulary(["a", "a"])


def test_texts_join_fields_and_skip_what_is_empty():
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "title": ["Soap", None, "石鹸  と\nタオル"],
            "categories": [["Bath", "Home"], ["Kitchen"], None],
        }
    )
    catalog = Catalog(items)
    texts = dict(zip(catalog.ids, catalog.texts(("title", "categories")), strict=True))
    assert texts == {"a": "Soap. Bath, Home", "b": "Kitchen", "c": "石鹸 と タオル"}
    assert dict(zip(catalog.ids, catalog.titles, strict=True))["b"] == "b"
    with pytest.raises(DataError, match="no text field 'brand': choose among title, categories"):
        catalog.texts(("brand",))


def test_rows_follow_the_indices():
    items = pl.DataFrame({"item_id": ["x", "y", "z"], "title": ["tx", "ty", "tz"]})
    catalog = Catalog(items)
    assert catalog.items["item_id"].to_list() == catalog.ids
    assert [f"t{i}" for i in catalog.ids] == catalog.titles
    assert Catalog(catalog.items, ordered=True).hash == catalog.hash


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), ("a\n b", "a b"), (["a", None, "b"], "a, b"), (3.5, "3.5"), ([], "")]
)
def test_as_text(value, text):
    assert as_text(value) == text
