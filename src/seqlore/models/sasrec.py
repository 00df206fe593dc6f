"""SASRec: a causal transformer over the history, and LLM2SASRec, the same net started from text vectors.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (10.1109/ICDM.2018.00035); LLM2SASRec: Harte et
al., RecSys 2023 (10.1145/3604915.3610639), footnote 6.

Differs from the paper: full softmax over the catalogue instead of BCE with one negative (``loss="bce"`` with
``negatives=1`` gives that back, but that its draws are from all items and may meet the target, where the paper's avoid
the user's items), GELU and a feed-forward four times as wide as the model, pre-norm, a layer norm on the input, an
output bias. Each was chosen on validation data of Amazon Beauty; see docs/models.md for what each is worth.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Block, Dropout, init_weights, positions, through
from seqlore.models.net import NetConfig, NetRecommender, SequenceNet
from seqlore.text.source import TextInit


class SASRecConfig(NetConfig):
    """Settings of SASRec."""

    layers: int = Field(default=2, ge=1, description="Transformer blocks.")
    heads: int = Field(default=2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    pre_norm: bool = Field(default=True, description="Layer norm before each sublayer (else after).")
    position: Literal["start", "end", "none"] = Field(
        default="start", description="Learned positions counted from the first event read, from the latest, or none."
    )
    input_norm: bool = Field(
        default=True, description="Layer norm of item plus position vectors, before the input dropout."
    )
    block_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout in the blocks (attention, feed-forward, sublayers); None = ``dropout``.",
    )


class SASRecNet(SequenceNet):
    """Items [B, T] → hidden states [B, T, d]; the state at t predicts event t + 1."""

    config: SASRecConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        d = c.embedding_size
        self.position = None if c.position == "none" else nn.Embedding(c.max_length, d)
        self.input_norm = nn.LayerNorm(d) if c.input_norm else nn.Identity()
        self.dropout = Dropout(c.dropout)
        inside = c.dropout if c.block_dropout is None else c.block_dropout
        self.blocks = nn.ModuleList(
            Block(d, c.heads, inside, inner=c.inner_size or 4 * d, pre_norm=c.pre_norm) for _ in range(c.layers)
        )
        self.output_norm = nn.LayerNorm(d) if c.pre_norm else nn.Identity()
        init_weights(self.blocks)
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=0.02)

    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, d]. Pads stand on the right, where a causal net's real positions never look."""
        return self.states(self.items(items), lengths)

    def states(
        self,
        x: Tensor,
        lengths: Tensor,
        *,
        causal: bool = True,
        keys: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Vectors [B, T, d] of events → states [B, T, d]; ``keys``: bool [B, T], what may be read (None = all);
        ``at``: int64 [B], the one state of each row that is asked for (None = all; else [B, 1, d])."""
        if self.position is not None:
            back = lengths if self.config.position == "end" else None
            x = x + self.position(positions(x.shape[1], back, self.config.max_length, device=x.device))
        x = self.dropout(self.input_norm(x))
        return self.output_norm(through(self.blocks, x, causal=causal, keys=keys, at=at))

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        return self.states(self.items(items), lengths, at=lengths - 1)[:, 0]

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """(items [B, T + 1], users [B]) → loss of predicting each event from those before it."""
        items = batch[0]
        targets = items[:, 1:]
        read = targets > 0
        hidden = self.hidden(items[:, :-1], read.sum(1))
        return self.objective(hidden[read], targets[read])


class SASRec(NetRecommender):
    """Self-attentive sequential recommendation."""

    paper = "Kang & McAuley, ICDM 2018, 10.1109/ICDM.2018.00035"
    Config: ClassVar[type[Config]] = SASRecConfig
    Net = SASRecNet


class LLM2SASRecConfig(SASRecConfig):
    """SASRec whose item vectors start from a language model's."""

    item_init: TextInit | None = Field(default_factory=TextInit, description="Start of the item vectors.")


class LLM2SASRec(SASRec):
    """SASRec with ``TextInit`` and nothing else."""

    paper = "Harte et al., RecSys 2023, 10.1145/3604915.3610639 (footnote 6)"
    Config: ClassVar[type[Config]] = LLM2SASRecConfig
