"""Averages that prompts tell: of the training part, without the event that is asked about."""

from __future__ import annotations

import numpy as np
import pytest

from seqlore.data import leave_one_out
from seqlore.errors import ConfigError
from seqlore.tasks.averages import Averages, Told
from seqlore.tasks.material import Material, MaterialConfig, write
from seqlore.tasks.naming import Titles
from seqlore.tasks.prompts import Prompt, as_text, load_prompts
from seqlore.tasks.split import TaskSplit, one_split
from toys import make_dataset


@pytest.fixture(scope="module")
def rated() -> TaskSplit:
    histories = {"u": list("abcd"), "v": list("bacd")}
    return one_split(leave_one_out(make_dataset(histories, {i: i for i in "abcd"}, rating=[5.0, 1, 3, 3, 2, 4, 1, 1])))


def test_a_training_event_is_told_what_was_before_it(rated: TaskSplit):
    # In training: u gave a 5 and b 1, v gave b 2 and a 4. The first events of both come before the second ones.
    averages = Averages(rated, damping=1.0, lately=1)
    item, user, lately, _ = averages.of(rated.train)
    # Means of what was before, with one rating of 3: 3 of nothing, (3 + 5) / 2, (3 + 7) / 3 twice but for the last.
    u, v = (rated.train.users == rated.split.users.index([name])[0] for name in "uv")
    first, second = (u, v) if rated.train.users[0] == rated.split.users.index(["u"])[0] else (v, u)
    stars = rated.ratings[rated.train.rows].astype(float)
    a, b = stars[first], stars[second]  # of the user whose first event is read first, and of the other
    means = [3.0, (3 + a[0]) / 2, (3 + a[0] + b[0]) / 3, (3 + a[0] + b[0] + a[1]) / 4]
    # The other user's second item is the first one's first: one rating beside one at the mean.
    other_first = (means[2] + b[0]) / 2  # what the first user is told of the second item, which the other had before
    assert item[first] == pytest.approx([means[0], other_first])
    assert item[second] == pytest.approx([means[1], (means[3] + a[0]) / 2])
    assert user[first] == pytest.approx([0.0, (a[0] - means[0]) / 2])
    assert user[second] == pytest.approx([0.0, (b[0] - means[1]) / 2])
    assert lately[first] == pytest.approx([0.0, (a[0] - means[0]) / 3])


def test_a_held_out_event_is_told_the_training_part(rated: TaskSplit):
    averages = Averages(rated, damping=1.0, lately=1)
    assert averages.mean == 3.0
    assert averages.items[rated.split.catalog.index(["a", "b", "c"])] == pytest.approx([1.0, -1.0, 0.0])
    item, user, lately, _ = averages.of(rated.test)
    assert item.tolist() == pytest.approx([3.0, 3.0])
    assert user.tolist() == pytest.approx([0.0, 0.0])
    assert lately.tolist() == pytest.approx([0.0, -2 / 3])  # what came before, the validation event with it


def noise(change: int | None = None) -> TaskSplit:
    """Stars by chance, 60 users with 20 of 40 items each; of one row they are turned round."""
    rng = np.random.default_rng(0)
    histories = {f"u{u}": [f"i{i}" for i in rng.permutation(40)[:20]] for u in range(60)}
    stars = rng.integers(1, 6, 1200).astype(float)
    if change is not None:
        stars[change] = 6 - stars[change] if stars[change] != 3 else 5
    return one_split(leave_one_out(make_dataset(histories, rating=stars.tolist())))


def test_what_is_told_of_an_event_is_no_function_of_its_own_stars():
    plain = noise()
    before = Averages(plain).of(plain.train)
    for row in (0, 7, 400, 1190):
        changed = noise(row)
        assert changed.ratings[row] != plain.ratings[row]
        at = int(np.flatnonzero(plain.train.rows == row)[0])
        for name, one, other in zip(before._fields, before, Averages(changed).of(changed.train), strict=True):
            assert one[at] == pytest.approx(other[at], abs=1e-12), name
            assert not np.allclose(one, other, atol=1e-6), "others are told it"


def test_nobody_can_read_the_stars_off_what_is_told():
    tasks = noise()
    stars = tasks.ratings[tasks.train.rows].astype(float)
    told = Averages(tasks).of(tasks.train)

    half = np.random.default_rng(1).random(len(stars)) < 0.5

    def explained(values: np.ndarray, group: np.ndarray) -> float:
        """R² on the other half of a fit of stars by what is told, with an intercept for each group."""
        n = np.maximum(np.bincount(group[half], minlength=group.max() + 1), 1)
        x, y = (each - (np.bincount(group[half], each[half], len(n)) / n)[group] for each in (values, stars))
        slope = (x[half] * y[half]).sum() / (x[half] ** 2).sum()
        return float(1 - ((y - slope * x)[~half] ** 2).mean() / stars[~half].var())

    assert abs(explained(told.alike, np.zeros(len(stars), np.int64))) < 0.02
    for values, group in ((told.user, tasks.train.users), (told.item, tasks.train.items)):
        others = (np.bincount(group, stars)[group] - stars) / (np.bincount(group)[group] + 9)
        assert explained(others, group) > 0.9, "an average of all others gives them away"
        assert explained(values, group) < 0.02


def test_the_rating_family_tells_them_if_asked(rated: TaskSplit):
    material = Material(rated, MaterialConfig(averages=True))
    prompt = load_prompts("rating").prompts[0]
    naming = Titles.of(rated.split)
    asked = write(material, naming, "rating", rated.test, [prompt] * 2)
    for each in load_prompts("rating").prompts:
        assert each.template.names >= {f"{name}_average" for name in Told._fields}, "else it asks in the dark"
    text = as_text(asked[0].question[:-1])  # type: ignore[arg-type]
    assert "Rates by 0.0 above average, lately 0.0, its like 0.0. " in text
    assert "d (average 3.0)" in text
    for few, seen in ((0, "its like 0.0. How many"), (1, "its like 0.0. Rated c 3. How many")):
        told = Material(rated, MaterialConfig(averages=True, rated_items=few))
        (first, _) = write(told, naming, "rating", rated.test, [prompt] * 2)
        assert seen in as_text(first.question[:-1])  # type: ignore[arg-type]
    silent = Prompt(name="mute", prompt="How many stars for {item}?")
    with pytest.raises(ConfigError, match=r"prompt mute: .* has no place for any; add \{item_average\}, "):
        write(material, naming, "rating", rated.test, [silent] * 2)
    plain = write(Material(rated), naming, "rating", rated.test, [prompt] * 2)
    assert "average" not in as_text(plain[0].question[:-1])  # type: ignore[arg-type]
    assert np.array_equal([e.task for e in plain], ["rating", "rating"])
