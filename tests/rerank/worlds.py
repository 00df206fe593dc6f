"""Small worlds in which the right order of candidates is known."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from seqlore.data import Sequences, Split, leave_one_out, user_ratio
from seqlore.ranking import Lists
from seqlore.recommender import Recommender
from seqlore.rerank.texts import UserTexts
from toys import make_dataset

RING = 12
GOALS = 5

#: Settings that make each backbone fast and certain on these worlds.
TINY = {"embedding_size": 16, "dropout": 0.0, "warmup_steps": 0, "learning_rate": 0.01, "batch_size": 16}
BACKBONES = ("DLCM", "PRM", "SetRank", "GRU4RecReranker", "SASRecReranker")
LISTWISE = BACKBONES[:3]


def ring(users: int = 60) -> Split:
    """Everybody walks item 0 → 1 → … → 11 → 0 from a start of their own: the next item is certain."""
    rng = np.random.default_rng(0)
    walks = {}
    for u in range(users):
        start, length = int(rng.integers(RING)), int(rng.integers(4, 7))
        walks[f"u{u}"] = [f"item-{(start + j) % RING}" for j in range(length)]
    return leave_one_out(make_dataset(walks))


def favourites(users: int = 60) -> Split:
    """Everybody comes to own the same four items, in an order of their own, but for five who each hoard others."""
    rng = np.random.default_rng(0)
    walks = {f"u{u}": [f"good-{i}" for i in rng.permutation(4)] for u in range(users)}
    walks |= {f"hoarder-{h}": [f"bad-{8 * h + i}" for i in range(8)] for h in range(5)}
    return leave_one_out(make_dataset(walks))


def wishes(users: int = 150) -> tuple[Split, UserTexts]:
    """Two items that say nothing, and then a goal that only the user's text knows: it is a picture of the goal."""
    rng = np.random.default_rng(0)
    goals = rng.integers(GOALS, size=users)
    walks = {
        f"u{u}": [*(f"filler-{i}" for i in rng.choice(6, 2, replace=False)), f"goal-{goals[u]}"] for u in range(users)
    }
    split = user_ratio(make_dataset(walks), targets=1, first=3)
    dense = split.users.index(list(walks))
    read = Sequences.from_lists([split.catalog.index(walk[:2]) for walk in walks.values()], dense)
    return split, UserTexts(read, np.eye(GOALS, dtype=np.float32)[goals])


class Memory(Recommender):
    """Lists first what it was told about the history's user, then everything else by index."""

    def _fit(self, split: Split) -> None:
        self.told = {int(u): items for u, items in zip(split.train.users, split.train, strict=True)}

    def rank(self, histories: Sequences, k: int, **_: object) -> Lists:
        items = np.zeros((len(histories), k), np.int32)
        for row, user in enumerate(histories.users.tolist()):
            known = self.told.get(user, np.zeros(0, np.int32))[::-1]
            order = dict.fromkeys([*known.tolist(), *range(1, self.catalog.size)])
            items[row] = list(order)[:k]
        return Lists(items, -np.broadcast_to(np.arange(k, dtype=np.float32), items.shape))

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...
