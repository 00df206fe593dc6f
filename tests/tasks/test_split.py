"""One split for all families: nothing that is asked of one is learned by another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import leave_one_out
from seqlore.errors import DataError
from seqlore.tasks.material import Material
from seqlore.tasks.mixing import Mixture
from seqlore.tasks.naming import Titles
from seqlore.tasks.prompts import FAMILIES, as_text
from seqlore.tasks.split import Pairs, TaskSplit, one_split
from toys import make_dataset, make_split


def test_parts_are_those_of_leave_one_out():
    tasks = one_split(leave_one_out(make_dataset({"u": ["a", "b", "c", "d"], "v": ["b", "a", "d", "c"]})))
    name = tasks.split.catalog.external
    assert [[name(i) for i in tasks.part(p).items] for p in ("train", "valid", "test")] == [
        ["a", "b", "b", "a"],
        ["c", "d"],
        ["d", "c"],
    ]
    assert [len(h) for h in tasks.test.histories()] == [3, 3]
    assert [len(h) for h in tasks.test.histories(2)] == [2, 2]
    assert [len(h) for h in tasks.train.histories()] == [0, 1, 0, 1]
    assert tasks.left_out == {"valid": 0, "test": 0}


def test_a_pair_that_comes_again_is_asked_by_no_family():
    tasks = one_split(leave_one_out(make_dataset({"u": ["a", "b", "c", "a"], "v": ["a", "b", "a", "c"]})))
    assert tasks.left_out == {"valid": 1, "test": 1}
    assert [tasks.split.catalog.external(i) for i in tasks.test.items] == ["c"]
    assert [tasks.split.catalog.external(i) for i in tasks.valid.items] == ["c"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7), min_size=1, max_size=5))
def test_no_held_out_pair_is_learned(histories: list[list[str]]):
    if all(len(h) < 2 for h in histories):
        return
    tasks = one_split(leave_one_out(make_dataset({f"u{n}": h for n, h in enumerate(histories)})))
    learned = set(zip(tasks.train.users.tolist(), tasks.train.items.tolist(), strict=True))
    asked = {part: set(zip(p.users.tolist(), p.items.tolist(), strict=True)) for part, p in
             (("valid", tasks.valid), ("test", tasks.test))}  # fmt: skip
    assert not learned & asked["test"]
    assert not learned & asked["valid"]
    assert not asked["valid"] & asked["test"]


def test_the_assertion_sees_a_breach(tasks: TaskSplit):
    joined = Pairs(tasks.test.sequences, np.arange(len(tasks.test.sequences.items)))
    with pytest.raises(DataError, match="pairs of user and item are in the train part and in valid"):
        TaskSplit(tasks.split, joined, tasks.valid, tasks.test).check()


def test_no_example_of_any_family_holds_a_held_out_review_or_pair(material: Material):
    mixture = Mixture(material, Titles.of(material.tasks.split))
    read = [as_text(e.question[:-1]) + as_text(e.text[-1].hidden) for e in mixture.epoch(1)]
    assert {e.task for e in mixture.epoch(1)} == set(FAMILIES)
    held = [r for part in ("valid", "test") for r in material.tasks.part(part).rows.tolist()]
    learned = material.tasks.train.rows.tolist()
    for row in held:
        assert not any(f"{material.summaries[row]} " in f"{text} " for text in read)
        assert not any(material.reviews[row][:20] in text for text in read)
    assert all(any(material.summaries[row] in text for text in read) for row in learned)


def test_stars_are_whole_numbers_from_1_to_5():
    odd = one_split(leave_one_out(make_dataset({"u": ["a", "b", "c"]}, rating=[4.0, 3.5, 5.0])))
    with pytest.raises(DataError, match=r"rating at row 2 is 3\.5; .* round or rescale"):
        _ = odd.ratings
    with pytest.raises(DataError, match="need a rating on every interaction"):
        _ = one_split(leave_one_out(make_dataset({"u": ["a", "b"]}))).ratings
    with pytest.raises(DataError, match="no interaction has a 'review'"):
        odd.texts("review")


def test_a_split_without_test_cases_is_refused():
    with pytest.raises(DataError, match="no test cases left"):
        one_split(make_split({"u": ["a", "b"]}))


@pytest.mark.realdata
def test_movielens_has_one_test_pair_a_user(data_root):
    from seqlore.data import Dataset

    tasks = one_split(leave_one_out(Dataset.load(data_root / "ml-100k")))
    assert len(tasks.test) == len(tasks.valid) == 943
    assert len(tasks.train) == 100_000 - 2 * 943
    assert tasks.ratings.mean() == pytest.approx(3.52986)
