"""MostPopular."""

from __future__ import annotations

import pytest

from seqlore.errors import DataError
from seqlore.models.popular import MostPopular
from toys import make_split

DAY = 86_400


def test_items_by_their_number_of_interactions():
    model = MostPopular().fit(make_split({"u": ["a", "b"], "v": ["a", "b"], "w": ["a", "c"]}))
    out = model.recommend([[], ["a"]], k=3)
    assert out.items[0] == ["a", "b", "c"]
    assert out.scores[0].tolist() == [3, 2, 1]
    assert out.items[1] == ["b", "c"]


def test_ids_are_texts():
    model = MostPopular().fit(make_split({"u": ["1", "2"], "v": ["1", "3"]}))
    for wrong in (1, None):
        with pytest.raises(DataError, match=f"a history: {wrong} is no text, as ids are"):
            model.recommend([["2"], ["1", wrong]])  # type: ignore[list-item]
        for candidates in ([wrong], [["2", wrong]]):
            with pytest.raises(DataError, match=f"candidates: {wrong} is no text"):
                model.recommend([["2"]], candidates=candidates)  # type: ignore[arg-type]
    assert model.recommend([iter(["1"])], k=1).items == model.recommend([["1"]], k=1).items  # type: ignore[list-item]


def test_old_interactions_fade_with_the_half_life():
    split = make_split({"u": ["old", "old2"], "v": ["old", "new"]}, timestamp=[0, 0, 0, 20 * DAY])
    assert MostPopular().fit(split).recommend([[]], k=1).items == [["old"]]
    recent = MostPopular(half_life=10).fit(split).recommend([[]], k=3)
    assert recent.items[0][0] == "new"
    assert sorted(recent.scores[0].tolist()) == pytest.approx([0.25, 0.5, 1.0])


def test_half_life_without_timestamps_is_refused():
    with pytest.raises(DataError, match="half_life needs a timestamp"):
        MostPopular(half_life=10).fit(make_split({"u": ["a", "b"]}, timestamp=[None, None]))
