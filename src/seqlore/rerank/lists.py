"""Lists as training data: for a history and its candidates, which of these came next?

The loss is the softmax over the list: Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML
2007 (10.1145/1273496.1273513), which with one relevant candidate is the cross-entropy of the attention rank loss of
DLCM and SetRank, and of PRM's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data import Cases, Sequences, Split
from seqlore.data.user_ratio import draw_targets
from seqlore.evaluation.candidates import SampledCases, with_candidates
from seqlore.rerank.candidates import CandidateSource


class ListBatch(NamedTuple):
    """B lists of up to C candidates, each behind a history of which up to T events are read. All int64.

    A text about the user may be read only if it was written from at most the first ``known`` events.
    """

    #: [B, T], latest events, oldest first, 0 pads on the right.
    items: Tensor
    #: [B], how many of them; may be 0.
    lengths: Tensor
    #: [B], dense user index, 0 for a stranger.
    users: Tensor
    #: [B], events before the target in all, whether they are read or not.
    known: Tensor
    #: [B, C], 0 pads on the right.
    candidates: Tensor
    #: [B], place of the target among the candidates; −1 where it is missing or not known.
    target: Tensor

    @property
    def listed(self) -> Tensor:
        """bool [B, C]: a candidate stands here."""
        return self.candidates > 0


def list_batch(
    histories: Sequences, candidates: NDArray[np.integer], length: int, targets: NDArray[np.integer] | None = None
) -> ListBatch:
    """One batch of all the histories, cut to their latest ``length`` events. Unknown items are skipped."""
    known = histories.lengths
    if not histories.items.all():
        histories = histories.where(histories.items > 0)
    recent = histories.last(length)
    place = np.full(len(recent), -1)
    if targets is not None:
        found = candidates == targets[:, None]
        place = np.where(found.any(1), found.argmax(1), -1)
    arrays = (recent.padded(), recent.lengths, recent.users, known, candidates, place)
    return ListBatch(*(torch.from_numpy(np.ascontiguousarray(each, np.int64)) for each in arrays))


def listwise_softmax(scores: Tensor, target: Tensor) -> Tensor:
    """Mean of −log softmax(scores)[target] over the lists that hold their target; 0 if none does.

    Args: scores: [B, C], −∞ where no candidate stands. target: [B], −1 = not in the list.
    """
    summed = F.cross_entropy(scores, target, ignore_index=-1, reduction="sum")
    return summed / (target >= 0).sum().clamp_min(1)


class ListData:
    """The lists of a fit: of each epoch for training, and once for all for validation. A function of split and seed.

    An epoch has ``targets`` seeded targets a training user, each with fresh candidates. With ``pool``, epochs go round
    that many draws of targets, so that texts which end at a target are needed for so many targets a user only; with
    ``step``, targets lie at positions first, first + step, … alone, to the same end.
    """

    #: Streams of chance: targets, candidates, order of the batches.
    _streams = (0, 1, 4)

    def __init__(
        self,
        split: Split,
        source: CandidateSource,
        *,
        targets: int = 1,
        first: int | None = None,
        pool: int | None = None,
        step: int | None = None,
        valid_cases: int | None = None,
        seed: int = 0,
    ) -> None:
        """Args: first: earliest position of a target, from 1; None: the split's own rule, else 2."""
        self.split, self.source, self.seed = split, source, seed
        self.targets, self.pool, self.step = targets, pool, step
        self.first = first or int(split.how.get("first", 2))
        self.valid: SampledCases | None = None
        if split.valid is not None and len(split.valid):
            cases = split.valid
            if valid_cases is not None and len(cases) > valid_cases:
                chosen = np.random.default_rng((seed, 2)).choice(len(cases), valid_cases, replace=False)
                cases = cases.take(np.sort(chosen))
            self.valid = source.asked(cases, (seed, 3))

    def pretraining(self) -> Self:
        """The lists of a phase before: other targets, candidates and order, so that what it learned of its targets is
        not what the next phase judges it by."""
        other = copy.copy(self)
        other._streams = (5, 6, 7)
        return other

    def cases(self, epoch: int) -> Cases:
        """What an epoch (from 1) asks: training histories, cut before their targets."""
        draw = epoch if self.pool is None else (epoch - 1) % self.pool + 1
        seed = (self.seed, self._streams[0], draw)
        return draw_targets(self.split.train, self.targets, self.first, seed, step=self.step or 1)

    def training(self, epoch: int) -> SampledCases:
        """The lists of an epoch. A list may lack its target, and is not learned from then."""
        cases = self.cases(epoch)
        return with_candidates(
            cases, self.source.training(cases, (self.seed, self._streams[1], epoch)), self.source.rule
        )

    def batches(self, epoch: int, shard: tuple[int, int] = (0, 1), *, size: int, length: int) -> Iterator[ListBatch]:
        """Shuffled batches of ``size`` lists with histories of like length, cut to ``length`` events.

        ``shard`` = (rank, world) deals the batches out to processes; all get the same number.
        """
        lists = self.training(epoch)
        assert lists.candidates is not None
        kept = np.flatnonzero((lists.candidates == lists.targets[:, None]).any(1))
        rng = np.random.default_rng((self.seed, self._streams[2], epoch))
        reads = np.minimum(lists.histories.lengths[kept], length)
        order = kept[np.lexsort((rng.random(len(kept)), reads))]
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        rng.shuffle(batches)  # type: ignore[arg-type]
        rank, world = shard
        for index in batches[rank : len(batches) - len(batches) % world if world > 1 else None : world]:
            part = lists.take(index)
            assert part.candidates is not None
            yield list_batch(part.histories, part.candidates, length, part.targets)
