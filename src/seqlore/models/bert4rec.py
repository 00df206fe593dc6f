"""BERT4Rec: a bidirectional transformer trained on the cloze task, and LLM2BERT4Rec, started from text vectors.

Sun et al., "BERT4Rec", CIKM 2019 (10.1145/3357384.3357895); LLM2BERT4Rec: Harte et al., RecSys 2023
(10.1145/3604915.3610639), section 3.3.

As published: an epoch shows every sequence under ten random maskings and once more with only its last item masked;
the prediction head (linear, GELU, layer norm) is followed by the tied item table and an output bias.
Differs: masks are drawn anew each epoch instead of once; every masked position is replaced by the mask token (the
80/10/10 mixture of BERT is not used in BERT4Rec's own code either); the layer norm stands where ``pre_norm`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.models.layers import Block, Dropout, init_weights, positions, through
from seqlore.models.net import NetConfig, NetRecommender, SequenceNet
from seqlore.text.source import TextInit
from seqlore.training.batches import padded_batches, windows


class BERT4RecConfig(NetConfig):
    """Settings of BERT4Rec."""

    layers: int = Field(default=2, ge=1, description="Transformer blocks.")
    heads: int = Field(default=2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    pre_norm: bool = Field(default=False, description="Layer norm before each sublayer (else after, as published).")
    position: Literal["start", "end"] = Field(
        default="end",
        description="Learned positions counted from the latest event (as published: left padding) or the first.",
    )
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Dropout on the input, in attention and after each sublayer."
    )
    mask_probability: float = Field(default=0.2, gt=0, lt=1, description="Share of items that a random masking hides.")
    maskings: int = Field(default=10, ge=0, description="Random maskings of each sequence in an epoch.")
    mask_last: bool = Field(default=True, description="Show each sequence once more with only its last item masked.")


class BERT4RecNet(SequenceNet):
    """Items with masks [B, T] → hidden states [B, T, d]; the state at a mask predicts the item that it hides."""

    config: BERT4RecConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        d = c.embedding_size
        self.mask = nn.Parameter(torch.randn(d) * c.init_std)
        self.position = nn.Embedding(c.max_length, d)
        self.input_norm = nn.LayerNorm(d)
        self.dropout = Dropout(c.dropout)
        self.blocks = nn.ModuleList(
            Block(d, c.heads, c.dropout, inner=c.inner_size or 4 * d, pre_norm=c.pre_norm) for _ in range(c.layers)
        )
        self.output_norm = nn.LayerNorm(d) if c.pre_norm else nn.Identity()
        self.head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d))
        init_weights(self.blocks)
        init_weights(self.head)
        nn.init.normal_(self.position.weight, std=0.02)

    def hidden(self, items: Tensor, masked: Tensor, at: Tensor | None = None) -> Tensor:
        """items [B, T], right-padded; masked bool [B, T], which are hidden → [B, T, d]; with ``at`` [B], the states at
        that position alone, [B, 1, d]."""
        real = masked | (items > 0)
        x = torch.where(masked[..., None], self.mask, self.items(items.masked_fill(masked, 0)))
        back = real.sum(1) if self.config.position == "end" else None
        x = x + self.position(positions(items.shape[1], back, self.config.max_length, device=items.device))
        x = self.dropout(self.input_norm(x))
        keys = None if bool(real.all()) else real
        return self.output_norm(through(self.blocks, x, causal=False, keys=keys, at=at))

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The state of a mask put behind each history."""
        rows = torch.arange(len(items), device=items.device)
        items = nn.functional.pad(items, (0, 1))
        masked = torch.zeros_like(items, dtype=torch.bool)
        masked[rows, lengths] = True
        return self.head(self.hidden(items, masked, at=lengths)[:, 0])

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """(items [B, T], masked [B, T]) → loss of predicting the masked items."""
        items, masked = batch
        return self.objective(self.head(self.hidden(items, masked)[masked]), items[masked])


class BERT4Rec(NetRecommender):
    """Bidirectional encoder trained to fill in masked items."""

    paper = "Sun et al., CIKM 2019, 10.1145/3357384.3357895"
    Config: ClassVar[type[Config]] = BERT4RecConfig
    Net = BERT4RecNet

    @property
    def read_length(self) -> int:
        """One position is the mask's."""
        return self.config.max_length - 1

    def training_sequences(self, split: Split) -> Sequences:
        return windows(split.train, self.config.max_length, self.config.windows)

    def batches(self, train: Sequences, epoch: int, shard: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """(items [B, T], masked [B, T]); each sequence ``maskings`` times, and once with its last item masked."""
        c = self.config
        rng = np.random.default_rng((c.seed, epoch))
        copies = c.maskings + c.mask_last
        index = np.tile(np.arange(len(train)), copies)
        of_last = np.repeat(np.arange(copies) >= c.maskings, len(train))
        for rows, items, _ in padded_batches(train.take(index), c.batch_tokens, rng, shard):
            real = items.numpy() > 0
            lengths = real.sum(1)
            noise = np.where(real, rng.random(real.shape), 1.0)
            masked = noise < c.mask_probability
            # A masking that hides nothing teaches nothing: then the item with the lowest draw is hidden.
            masked[np.arange(len(rows)), noise.argmin(1)] |= ~masked.any(1)
            masked = np.where(of_last[rows][:, None], np.arange(real.shape[1]) == lengths[:, None] - 1, masked)
            yield items, torch.from_numpy(masked)


class LLM2BERT4RecConfig(BERT4RecConfig):
    """BERT4Rec whose item vectors start from a language model's."""

    item_init: TextInit | None = Field(default_factory=TextInit, description="Start of the item vectors.")


class LLM2BERT4Rec(BERT4Rec):
    """BERT4Rec with ``TextInit`` and nothing else."""

    paper = "Harte et al., RecSys 2023, 10.1145/3604915.3610639, section 3.3"
    Config: ClassVar[type[Config]] = LLM2BERT4RecConfig
