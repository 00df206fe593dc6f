"""Attributes of items as numbers, and FDSA's reading of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from seqlore.data import Catalog
from seqlore.errors import DataError
from seqlore.models.attributes import attribute_table
from seqlore.models.fdsa import FDSAConfig, FDSANet
from seqlore.recommender import model_class
from toys import make_split


def catalog(**columns: list) -> Catalog:
    n = len(next(iter(columns.values())))
    return Catalog(pl.DataFrame({"item_id": [f"i{i}" for i in range(n)], **columns}), ordered=True)


def test_each_level_of_a_path_is_an_attribute_and_what_all_have_is_none():
    made = catalog(
        categories=[["Beauty > Nails > Polish"], ["Beauty > Nails", "Beauty > Skin"], ["Beauty > Skin > Polish"]],
        brand=["OPI", None, "OPI"],
    )
    table = attribute_table(made, ["categories", "brand", "tags"])
    assert table.shape == (4, 3)
    assert table[0].tolist() == [0, 0, 0]
    nails, polish, skin, skin_polish, opi = 2, 3, 4, 5, 1  # in alphabetical order of column and path
    assert [sorted(set(row) - {0}) for row in table[1:].tolist()] == [
        [opi, nails, polish],
        [nails, skin],
        [opi, skin, skin_polish],
    ]


@pytest.mark.parametrize("columns", [{"title": ["a", "b"]}, {"brand": ["OPI", "OPI"]}, {"categories": [None, []]}])
def test_without_an_attribute_that_tells_items_apart_the_remedy_is_named(columns: dict):
    with pytest.raises(DataError, match=r"'categories', 'brand'.*'attributes'"):
        attribute_table(catalog(**columns), ["categories", "brand"])


def net() -> FDSANet:
    torch.manual_seed(0)
    attributes = torch.tensor([[0, 0], [1, 2], [2, 0], [0, 0]])
    return FDSANet(np.array([0, 1, 1, 1]), FDSAConfig(embedding_size=4, init_std=1.0), None, attributes).eval()


def test_attention_weighs_an_items_attributes_and_reads_no_pads():
    model = net()
    with torch.no_grad():
        both, one, none = model.described(torch.tensor([1, 2, 3]))
        x = model.attribute.weight
        weight = torch.softmax(model.weigh(x[1:3])[:, 0], 0)
    torch.testing.assert_close(both, weight @ x[1:3])
    torch.testing.assert_close(one, x[2])
    torch.testing.assert_close(none, x[0])


def test_the_future_is_not_read():
    model = net()
    a, b = (model.hidden(torch.tensor([[1, 2, last]]), torch.tensor([3])) for last in (1, 3))
    assert torch.equal(a[:, :2], b[:, :2])
    assert not torch.equal(a[:, 2], b[:, 2])


def test_attributes_change_what_is_learned():
    titles = {f"i{i}": f"t{i % 3}" for i in range(6)}
    split = make_split({f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}, titles)
    few = {"embedding_size": 4, "epochs": 1, "attributes": ["title"]}
    model = model_class("FDSA")(**few).fit(split)
    assert model.net.attributes.max() == 3
    with pytest.raises(DataError, match="'brand'"):
        model_class("FDSA")(**{**few, "attributes": ["brand"]}).fit(split)
