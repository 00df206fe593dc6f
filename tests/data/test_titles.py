"""Titles found by what somebody typed."""

from __future__ import annotations

import pytest

from seqlore.data import Catalog
from seqlore.data.titles import TitleIndex
from seqlore.errors import DataError
from toys import make_dataset

TITLES = {
    "a": "Burt's Bees Lip Shimmer, Rhubarb",
    "b": "Burts Bees Herbal Blemish Stick",
    "c": "OPI Nail Lacquer, Big Apple Red",
    "d": "Nail File",
    "e": "資生堂洗顔料",
    "f": "Lip",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog(make_dataset({"u": list(TITLES)}, TITLES).items)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Nail File", "d"),
        ("burts bees lip", "a"),  # the apostrophe is not typed
        ("lip shimer burts", "a"),  # another order, a slip
        ("opi laquer", "c"),
        ("herb blem", "b"),  # beginnings of words
        ("洗顔料", "e"),  # no blanks between words
        ("lip", "f"),  # of two that say it all, the shorter
    ],
)
def test_what_is_typed_is_understood(catalog: Catalog, typed: str, meant: str) -> None:
    assert [catalog.external(i) for i in TitleIndex(catalog).find([typed])] == [meant]


@pytest.mark.parametrize("typed", ["", "   ", "!?", "quantum"])
def test_nothing_like_it_is_an_error(catalog: Catalog, typed: str) -> None:
    with pytest.raises(DataError, match="no title resembles"):
        TitleIndex(catalog).find([typed])


def test_what_comes_nearest_is_named(catalog: Catalog) -> None:
    with pytest.raises(DataError, match="no title resembles 'nail gun quantum drill'; the nearest are 'Nail File'"):
        TitleIndex(catalog).find(["nail gun quantum drill"])


def test_shares_fall(catalog: Catalog) -> None:
    found = TitleIndex(catalog).search("nail lacquer", k=6)
    shares = [share for _, share in found]
    assert catalog.external(found[0][0]) == "c"
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1
    assert all(0 < share <= 1 for share in shares)
