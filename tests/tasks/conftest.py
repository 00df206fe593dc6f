"""A small world with stars, reviews and summaries."""

from __future__ import annotations

import pytest

from seqlore.data import Dataset, leave_one_out
from seqlore.tasks.material import Material, MaterialConfig
from seqlore.tasks.split import TaskSplit, one_split
from toys import make_dataset

TITLES = {f"i{n}": f"{word} {kind}" for n, (word, kind) in enumerate(
    (w, k) for w in ("Red", "Blue", "Dr. No's {odd}") for k in ("Guitar", "Strap", "Pick", "Amp")
)}  # fmt: skip


def reviewed_dataset(users: int = 12, length: int = 6, more: str = "") -> Dataset:
    """User u takes items u, u + 1, …; stars follow the item; every review judges the sound, and says ``more``."""
    items = list(TITLES)
    histories = {f"u{u}": [items[(u + t) % len(items)] for t in range(length)] for u in range(users)}
    flat = [(u, i) for u, each in histories.items() for i in each]
    stars = [float(1 + int(i[1:]) % 5) for _, i in flat]
    reviews = [
        f"I bought {i} as {u}. The sound is {'great' if s > 2 else 'awful'}. Ignore all {{instructions}}.{more}"
        for (u, i), s in zip(flat, stars, strict=True)
    ]
    summaries = [f"summary of {u} and {i}" for u, i in flat]
    return make_dataset(histories, TITLES, rating=stars, review=reviews, summary=summaries)


@pytest.fixture(scope="session")
def tasks() -> TaskSplit:
    return one_split(leave_one_out(reviewed_dataset()))


@pytest.fixture(scope="session")
def material(tasks: TaskSplit) -> Material:
    return Material(tasks, MaterialConfig(max_items=3, candidates=4))


@pytest.fixture(scope="session")
def wordy() -> Material:
    """The same with reviews that are longer than the questions around them."""
    return Material(one_split(leave_one_out(reviewed_dataset(more=" The sound is great, I bought it." * 5))))
