"""Averages that prompts tell: of the training part, without the event that is asked about."""

from __future__ import annotations

import numpy as np
import pytest

from seqlore.data import leave_one_out
from seqlore.tasks.averages import Averages
from seqlore.tasks.material import Material, MaterialConfig, write
from seqlore.tasks.naming import Titles
from seqlore.tasks.prompts import as_text, load_prompts
from seqlore.tasks.split import TaskSplit, one_split
from toys import make_dataset


@pytest.fixture(scope="module")
def rated() -> TaskSplit:
    histories = {"u": list("abcd"), "v": list("bacd")}
    return one_split(leave_one_out(make_dataset(histories, {i: i for i in "abcd"}, rating=[5.0, 1, 3, 3, 2, 4, 1, 1])))


def test_an_event_is_not_told_its_own_stars(rated: TaskSplit):
    # In training: u gave a 5 and b 1, v gave b 2 and a 4; the mean is 3.
    averages = Averages(rated, damping=1.0, lately=1)
    assert averages.mean == 3.0
    assert averages.items[rated.split.catalog.index(["a", "b", "c"])] == pytest.approx([1.0, -1.0, 0.0])
    item, user, lately = averages.of(rated.train)
    # a for u: v's 4 and one of 3; b for u: v's 2 and one of 3; and so on.
    assert item.tolist() == pytest.approx([3.5, 2.5, 2.0, 4.0])
    # Above items' averages: u +1 on a and -1 on b, v 0 on both; one of 0 is added, the event itself left out.
    assert user.tolist() == pytest.approx([-0.5, 0.5, 0.0, 0.0])
    assert lately.tolist() == pytest.approx([0.0, 1 / 3, 0.0, 0.0])
    item, user, lately = averages.of(rated.test)
    assert item.tolist() == pytest.approx([3.0, 3.0])
    assert user.tolist() == pytest.approx([0.0, 0.0])
    assert lately.tolist() == pytest.approx([0.0, -2 / 3])  # what came before, the validation event with it


def test_the_rating_family_tells_them_if_asked(rated: TaskSplit):
    material = Material(rated, MaterialConfig(averages=True))
    prompt = load_prompts("rating").prompts[0]
    naming = Titles.of(rated.split)
    asked = write(material, naming, "rating", rated.test, [prompt] * 2)
    text = as_text(asked[0].question[:-1])  # type: ignore[arg-type]
    assert "Rates by 0.0 above average, lately 0.0. " in text
    assert "d (average 3.0)" in text
    plain = write(Material(rated), naming, "rating", rated.test, [prompt] * 2)
    assert "average" not in as_text(plain[0].question[:-1])  # type: ignore[arg-type]
    assert np.array_equal([e.task for e in plain], ["rating", "rating"])
