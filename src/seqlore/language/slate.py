"""From what a language model wrote to lists of items: frequency, exact titles, and the nearest item for all else.

J. Harte et al., "Leveraging large language models for sequential recommendation", RecSys 2023,
10.1145/3604915.3610639, section 3.2: several completions of a prompt are ranked by how often they occur; each further
copy of a product, and each product that does not exist, becomes the catalogue item whose text embedding has the
largest dot product with that of what was written.

What the paper leaves open is settled so: what does not exist keeps the place that its frequency earns, and the copies
follow after everything that was written, those of the most frequent product first; an item that is in the list
already, or that may not be listed (seen, or no candidate), is passed over for the next nearest; a completion that names
an item which may not be listed is treated as a copy is. Equal frequencies are ordered by dense index, as everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data import Sequences
from seqlore.ranking import BLOCK, Lists, mask_, top_k

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Written:
    """What the completions of some prompts were, in shares of all of them.

    Attributes: completions: how many. invented: no title of the catalogue. duplicate: beyond the first of its kind for
        its prompt. barred: of an item that may not be listed. empty: without words.
    """

    completions: int
    invented: float
    duplicate: float
    barred: float
    empty: float

    def to_dict(self) -> dict[str, float]:
        """Under names that stand alone in a table."""
        names = ("invented", "duplicate", "barred", "empty")
        return {f"{name}_completions": round(float(getattr(self, name)), 6) for name in names}


@dataclass(frozen=True, slots=True)
class _Ask:
    """A kind of completion whose neighbours are asked for: to stand for it (``itself``), and for its further copies."""

    case: int
    text: str
    count: int
    item: int  # 0 = invented
    itself: bool


class SlateMaker:
    """Turns completions into lists over one catalogue."""

    def __init__(self, titles: Sequence[str], counts: NDArray[np.integer], vectors: Tensor, embed: Embed) -> None:
        """Args: titles: [size] as they are written, "" for item 0 and where there is none. counts: [size], in training;
        of items with one title the most frequent is meant. vectors: float32 [size, d], zero without a text. embed:
        texts → float32 [n, d].
        """
        self._items: dict[str, list[int]] = {}
        for item in sorted(range(1, len(titles)), key=lambda i: (-int(counts[i]), i)):
            if titles[item]:
                self._items.setdefault(titles[item], []).append(item)
        self._vectors, self._embed = vectors, embed
        self._mute = ~(vectors != 0).any(1)  # [size]

    def lists(
        self,
        completions: Sequence[Sequence[str]],
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> tuple[Lists, Written]:
        """Lists of at most k items; as many as there were completions, where k allows and the catalogue has them.

        An item that was written has the share of its completions as its score; copies' stand-ins have less than any.

        Args: completions: titles as parsed, of each history. histories, exclude_seen, candidates: as for ``rank``.
        """
        asks, slates, barred = [], [], 0
        for case, texts in enumerate(completions):
            allowed = self._allowed(case, histories, exclude_seen, candidates)
            slate: dict[int, float] = {}
            for text, count in sorted(Counter(t for t in texts if t).items(), key=lambda pair: (-pair[1], pair[0])):
                known = self._items.get(text, [])
                item = next((i for i in known if allowed(i)), 0)
                barred += count if known and not item else 0
                if item:
                    slate[item] = count / len(texts)
                if not item or count > 1:
                    asks.append(_Ask(case, text, count, known[0] if known else 0, not item))
            slates.append(slate)
        near = self._nearest(asks, max(map(len, completions), default=0), histories, exclude_seen, candidates)
        for ask, row in zip(asks, near, strict=True):  # first what was written and does not exist, then all copies
            if ask.itself:
                _put(slates[ask.case], row, ask.count / len(completions[ask.case]))
        for ask, row in zip(asks, near, strict=True):
            slate, n = slates[ask.case], len(completions[ask.case])
            for _ in range(ask.count - 1):
                _put(slate, row, 1.0 / (n * (2 + len(slate))))
        total = sum(map(len, completions))
        flat = [Counter(texts) for texts in completions]
        return _as_lists(slates, k), Written(
            completions=total,
            invented=_share(sum(c for kinds in flat for t, c in kinds.items() if t and t not in self._items), total),
            duplicate=_share(sum(c - 1 for kinds in flat for c in kinds.values()), total),
            barred=_share(barred, total),
            empty=_share(sum(kinds[""] for kinds in flat), total),
        )

    @staticmethod
    def _allowed(
        case: int, histories: Sequences, exclude_seen: bool, candidates: NDArray[np.integer] | None
    ) -> Callable[[int], bool]:
        seen = set(histories[case].tolist()) if exclude_seen else set()
        if candidates is None:
            return lambda item: item not in seen
        chosen = set((candidates if candidates.ndim == 1 else candidates[case]).tolist())
        return lambda item: item in chosen and item not in seen

    def _nearest(
        self,
        asks: list[_Ask],
        k: int,
        histories: Sequences,
        exclude_seen: bool,
        candidates: NDArray[np.integer] | None,
    ) -> NDArray[np.int64]:
        """[asks, k], the allowed items whose vectors have the largest dot products with that of each ask; 0 pads."""
        if not asks:
            return np.zeros((0, k), np.int64)
        strange = {a.text: 0 for a in asks if not a.item}
        strange = dict(zip(strange, range(len(strange)), strict=True))
        written = self._embed(list(strange)) if strange else np.zeros((0, self._vectors.shape[1]), np.float32)
        table = torch.cat([self._vectors, torch.as_tensor(written)])
        rows = torch.tensor([a.item or len(self._vectors) + strange[a.text] for a in asks])
        cases = np.array([a.case for a in asks])
        out, step = [], max(1, BLOCK // len(self._vectors))
        for start in range(0, len(asks), step):
            part = cases[start : start + step]
            scores = (table[rows[start : start + step]] @ self._vectors.T).masked_fill_(self._mute, -torch.inf)
            chosen = candidates if candidates is None or candidates.ndim == 1 else candidates[part]
            mask_(scores, histories.take(part), exclude_seen=exclude_seen, candidates=chosen)
            out.append(top_k(scores, k)[0].numpy())
        return np.concatenate(out)


def _put(slate: dict[int, float], near: NDArray[np.int64], score: float) -> None:
    """Give ``score`` to the first of ``near`` that is not in the slate yet."""
    item = next((i for i in near.tolist() if i and i not in slate), 0)
    if item:
        slate[item] = score


def _share(part: int, total: int) -> float:
    return part / total if total else 0.0


def _as_lists(slates: list[dict[int, float]], k: int) -> Lists:
    items, scores = np.zeros((len(slates), k), np.int32), np.full((len(slates), k), -np.inf, np.float32)
    for row, slate in enumerate(slates):
        best = sorted(slate.items(), key=lambda pair: (-np.float32(pair[1]), pair[0]))[:k]
        for place, (item, score) in enumerate(best):
            items[row, place], scores[row, place] = item, score
    return Lists(items, scores)
