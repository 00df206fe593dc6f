"""S³-Rec: a transformer pre-trained on items, their attributes and segments of sequences, then tuned as SASRec.

Zhou et al., "S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual Information Maximization",
CIKM 2020 (10.1145/3340531.3411954).

The four pre-training objectives and their weights are those of the authors' code, read without the causal mask: which
attributes an item that is seen has (AAP), which item is masked (MIP, against one other), which attributes it has (MAP),
which of two segments belongs to the rest of the sequence (SP). Each is summed over a sequence. Pre-training takes
``pretrain_epochs`` on the training part alone; tuning then goes on from its weights with the causal mask.

Published attributes are categories and brand; here they are what the columns ``attributes`` hold (in the
recipes' Amazon Beauty categories only).
Differs: the net and the tuning are this package's SASRec (see there: full softmax, pre-norm), so that what it differs
by is the pre-training; a negative of MIP is any other item, one that the user has had too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.models.attributes import attribute_table
from seqlore.models.net import SequenceNet
from seqlore.models.sasrec import SASRec, SASRecConfig, SASRecNet
from seqlore.training.batches import padded_batches, windows


class S3RecConfig(SASRecConfig):
    """Settings of S³-Rec; those of SASRec are for the tuning."""

    attributes: tuple[str, ...] = Field(
        default=("categories", "brand"),
        min_length=1,
        description="Columns of the items with attributes; absent ones are skipped.",
    )
    pretrain_epochs: int = Field(default=100, ge=0, description="Epochs of pre-training.")
    pretrain_rate: float = Field(default=1e-3, gt=0, description="Learning rate of pre-training.")
    pretrain_tokens: int = Field(default=2048, ge=1, description="Padded positions in a batch of pre-training.")
    pretrain_mask: float = Field(
        default=0.2, gt=0, lt=1, description="Share of items that are masked; the last always is."
    )
    aap_weight: float = Field(default=0.2, ge=0, description="Weight of associated attribute prediction.")
    mip_weight: float = Field(default=1.0, ge=0, description="Weight of masked item prediction.")
    map_weight: float = Field(default=1.0, ge=0, description="Weight of masked attribute prediction.")
    sp_weight: float = Field(default=0.5, ge=0, description="Weight of segment prediction.")

    @model_validator(mode="after")
    def _pretraining_has_segments(self) -> Self:
        if self.pretrain_epochs and self.max_length < 2:
            raise ValueError(
                f"max_length = {self.max_length} leaves no segment of a sequence to pre-train on: take max_length = 2 "
                "or more, or pretrain_epochs = 0"
            )
        return self


class Masked(NamedTuple):
    """A batch of pre-training, all [B, T].

    items: as they were, 0 pads. masked: which are hidden. others: what stands against each in MIP. segment: which
    belong to the segment. foreign: items of a segment from elsewhere, at the segment's places.
    """

    items: Tensor
    masked: Tensor
    others: Tensor
    segment: Tensor
    foreign: Tensor


def masked_batch(items: np.ndarray, pool: np.ndarray, size: int, share: float, rng: np.random.Generator) -> Masked:
    """Args: items: [B, T], right-padded, at least two a row. pool: of foreign segments. size: items + 1."""
    lengths = (items > 0).sum(1, keepdims=True)  # [B, 1]
    step = np.arange(items.shape[1])
    masked = ((rng.random(items.shape) < share) | (step == lengths - 1)) & (items > 0)
    others = np.where(items > 0, (items - 1 + rng.integers(1, size - 1, items.shape)) % (size - 1) + 1, 0)
    length = 1 + (rng.random(lengths.shape) * (lengths // 2)).astype(np.int64)  # 1 … ⌊n / 2⌋
    start = (rng.random(lengths.shape) * (lengths - length + 1)).astype(np.int64)
    segment = (step >= start) & (step < start + length)
    elsewhere = (rng.random(lengths.shape) * (len(pool) - length + 1)).astype(np.int64)
    foreign = np.where(segment, pool[np.clip(elsewhere + step - start, 0, len(pool) - 1)], items)
    return Masked(*(torch.from_numpy(each) for each in (items, masked, others, segment, foreign)))


class Pretraining(nn.Module):
    """The four objectives around a net, with what only they need."""

    attributes: Tensor

    def __init__(self, net: SASRecNet, attributes: np.ndarray) -> None:
        """Args: attributes: int64 [size, A] of each item, 0 pads."""
        super().__init__()
        self.net = net
        c, d = net.config, net.config.embedding_size
        self.register_buffer("attributes", torch.from_numpy(attributes))
        self.attribute = nn.Embedding(int(attributes.max()) + 1, d)
        self.mask = nn.Parameter(torch.randn(d) * c.init_std)
        self.aap, self.mip, self.map, self.sp = (nn.Linear(d, d) for _ in range(4))
        nn.init.normal_(self.attribute.weight, std=0.02)

    def states(self, items: Tensor, masked: Tensor) -> Tensor:
        """items, masked [B, T] → [B, T, d], every position reading all."""
        real = items > 0
        x = torch.where(masked[..., None], self.mask, self.net.items(items.masked_fill(masked, 0)))
        return self.net.states(x, real.sum(1), causal=False, keys=None if bool(real.all()) else real)

    def attribute_loss(self, states: Tensor, items: Tensor) -> Tensor:
        """Sum of the binary cross-entropies of all attributes, for states [M, d] (mapped) of items [M]."""
        has = torch.zeros(len(items), len(self.attribute.weight), device=states.device)
        has = has.scatter_(1, self.attributes[items], 1.0)[:, 1:]
        scores = states @ self.attribute.weight[1:].T
        return F.binary_cross_entropy_with_logits(scores, has.to(scores), reduction="sum")

    def losses(self, batch: Masked) -> dict[str, Tensor]:
        """Each objective, summed over positions and attributes, mean over sequences."""
        items, masked, others, segment, foreign = batch
        real = items > 0
        shown = torch.cat([items, items, items, foreign])
        hidden = torch.cat([masked, segment, real & ~segment, real & ~segment])
        states, context, own, other = self.states(shown, hidden).chunk(4)
        rows, last = torch.arange(len(items), device=items.device), real.sum(1) - 1
        context, own, other = self.sp(context[rows, last]), own[rows, last], other[rows, last]
        hit, seen = states[masked], states[real & ~masked]
        asked = self.mip(hit)
        difference = self.net.items(items[masked]) - self.net.items(others[masked])
        sums = {
            "aap": self.attribute_loss(self.aap(seen), items[real & ~masked]),
            "mip": -F.logsigmoid((asked * difference).sum(1)).sum(),
            "map": self.attribute_loss(self.map(hit), items[masked]),
            "sp": -F.logsigmoid((context * (own - other)).sum(1)).sum(),
        }
        return {name: loss / len(items) for name, loss in sums.items()}

    def forward(self, batch: Masked) -> Tensor:
        c = self.net.config
        losses = self.losses(batch)
        return sum(
            (getattr(c, f"{name}_weight") * loss for name, loss in losses.items()), start=torch.zeros(()).to(self.mask)
        )


class S3Rec(SASRec):
    """Self-supervised pre-training with attributes, then SASRec."""

    paper = "Zhou et al., CIKM 2020, 10.1145/3340531.3411954"
    Config: ClassVar[type[Config]] = S3RecConfig

    def build(self, split: Split, **files: Any) -> SequenceNet:
        """A pre-trained net."""
        net, c = super().build(split), self.config
        assert isinstance(net, SASRecNet)
        stage = Pretraining(net, attribute_table(split.catalog, c.attributes))
        if c.pretrain_epochs == 0:
            return net
        learn = windows(split.train, c.max_length, c.windows)
        learn = learn.take(learn.lengths >= 2)
        if net.bias is not None:
            net.bias.requires_grad_(False)  # no objective of this stage reads it
        self.pretrain(stage, lambda epoch, shard: self.masked_batches(learn, epoch, shard), **files)
        if net.bias is not None:
            net.bias.requires_grad_(True)
        return net

    def masked_batches(self, learn: Sequences, epoch: int, shard: tuple[int, int]) -> Iterator[Masked]:
        """Batches of pre-training, masked anew in each epoch."""
        c = self.config
        rng = np.random.default_rng((c.seed, epoch, 2))
        for _, items, _ in padded_batches(learn, c.pretrain_tokens, rng, shard):
            yield masked_batch(items.numpy(), learn.items.astype(np.int64), self.catalog.size, c.pretrain_mask, rng)
