"""CL4SRec: SASRec that also tells two distortions of one sequence from those of others.

Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022 (10.1109/ICDE53745.2022.00099, arXiv
2010.14395).

Views of a sequence are crops, masks and reorderings; two different ones are drawn for each sequence in each epoch, and
the last state of each view is compared with its partner against all other views in the batch. The authors published
no code; shares of the three (0.6, 0.3, 0.6) and the loss weight 0.1 are those of DuoRec's (10.1145/3488560.3498433),
which reproduces it.
Differs: similarities are cosines over a temperature of 0.1 instead of inner products: states leave a layer norm with
length √d, so inner products of up to 64 outweighed the next item, and on validation data of Beauty four epochs ended
near popularity (``similarity="dot"``, ``temperature=1`` gives that back); the net and its main loss are this package's
SASRec (see there), so that what it differs by is the contrast; batches hold sequences of like length, so views are told
from views of sequences about as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqlore.config import Config
from seqlore.data import Sequences
from seqlore.models.sasrec import SASRec, SASRecConfig, SASRecNet

#: Stands in a view for an item that is masked.
MASKED = -1

Items = NDArray[np.int64]


class CL4SRecConfig(SASRecConfig):
    """Settings of CL4SRec."""

    crop: float = Field(default=0.6, gt=0, le=1, description="Share of a sequence that a crop keeps.")
    mask: float = Field(default=0.3, ge=0, le=1, description="Share of its items that a mask hides.")
    reorder: float = Field(default=0.6, ge=0, le=1, description="Share of a sequence that a reordering shuffles.")
    contrast_weight: float = Field(default=0.1, ge=0, description="Weight of the contrast beside the next-item loss.")
    similarity: Literal["cosine", "dot"] = Field(default="cosine", description="Of two views; published: dot.")
    temperature: float = Field(default=0.1, gt=0, description="Divides similarities of views; published: 1.")


def crop(items: Items, share: float, rng: np.random.Generator) -> Items:
    """A random run of max(1, ⌊share · n⌋) items."""
    length = max(1, int(share * len(items)))
    start = rng.integers(len(items) - length + 1)
    return items[start : start + length]


def mask(items: Items, share: float, rng: np.random.Generator) -> Items:
    """⌊share · n⌋ items, anywhere, replaced by ``MASKED``."""
    out = items.copy()
    out[rng.permutation(len(items))[: int(share * len(items))]] = MASKED
    return out


def reorder(items: Items, share: float, rng: np.random.Generator) -> Items:
    """A random run of ⌊share · n⌋ items, shuffled where it stands."""
    length = int(share * len(items))
    start = rng.integers(len(items) - length + 1)
    out = items.copy()
    rng.shuffle(out[start : start + length])
    return out


def contrast(first: Tensor, second: Tensor, temperature: float, alike: Tensor | None = None) -> Tensor:
    """Mean over the 2 N views of −log softmax of its partner among all other views (NT-Xent on inner products).

    Args: first, second: [N, d]. alike: bool [N, N], pairs of sequences that are not told apart.
    """
    n = len(first)
    views = torch.cat([first, second])
    similarity = views @ views.T / temperature  # [2 N, 2 N]
    apart = torch.eye(2 * n, dtype=torch.bool, device=views.device)
    partner = apart.roll(n, 1)
    if alike is not None:
        apart = apart | alike.repeat(2, 2)
    similarity = similarity.masked_fill(apart & ~partner, -torch.inf)
    return F.cross_entropy(similarity, partner.int().argmax(1))


class CL4SRecNet(SASRecNet):
    """SASRec with a mask and a contrast."""

    config: Any  # a CL4SRecConfig, of its own kind in each net

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.mask = nn.Parameter(torch.randn(self.config.embedding_size) * self.config.init_std)

    def distorted(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Items with masks [B, T], 0 pads → (vectors [B, T, d], lengths [B])."""
        x = torch.where((view == MASKED)[..., None], self.mask, self.items(view.clamp_min(0)))
        return x, (view != 0).sum(1)

    def view(self, view: Tensor) -> Tensor:
        """What stands for a view in the contrast, [B, d]: its last state."""
        x, lengths = self.distorted(view)
        return self.compared(self.states(x, lengths, at=lengths - 1)[:, 0])

    def compared(self, states: Tensor) -> Tensor:
        """States [N, d] whose inner products are the similarities."""
        return F.normalize(states, dim=1) if self.config.similarity == "cosine" else states

    def forward(self, batch: tuple[Tensor, ...]) -> Tensor:
        """(items [B, T + 1], users [B], first [B, ·], second [B, ·]) → next-item loss plus weighted contrast."""
        items, users, first, second = batch
        loss = super().forward((items, users))
        if self.config.contrast_weight == 0:
            return loss
        return loss + self.config.contrast_weight * contrast(
            self.view(first), self.view(second), self.config.temperature
        )


class CL4SRec(SASRec):
    """SASRec with contrastive learning on distorted sequences."""

    paper = "Xie et al., ICDE 2022, 10.1109/ICDE53745.2022.00099"
    Config: ClassVar[type[Config]] = CL4SRecConfig
    Net = CL4SRecNet

    def batches(self, train: Sequences, epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
        """(items [B, T + 1], users [B], two views [B, ·] of what the net reads of them)."""
        c = self.config
        rng = np.random.default_rng((c.seed, epoch, 2, shard[0]))
        ways = (crop, c.crop), (mask, c.mask), (reorder, c.reorder)
        for items, users in super().batches(train, epoch, shard):
            views: tuple[list[Tensor], list[Tensor]] = [], []
            for row in items.numpy():
                read = row[row > 0][:-1]
                for kept, way in zip(views, rng.permutation(3), strict=False):
                    distort, share = ways[way]
                    kept.append(torch.from_numpy(distort(read, share, rng)))
            yield items, users, *(pad_sequence(each, batch_first=True) for each in views)
