"""From the table of an id to the width of a frozen body.

Na et al., "Enhancing large language model based sequential recommender systems with pseudo labels reconstruction",
Findings of EMNLP 2024 (10.18653/v1/2024.findings-emnlp.423), section 2.2 and Tables 3, 10, 11. What they leave open is
settled in :class:`ProjectionConfig`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config

#: Rows that are drawn to measure how far projected rows spread.
PROBE = 2048


class ProjectionConfig(Config):
    """From the table of an id to the width d of the body."""

    form: Literal["table", "bottleneck"] = Field(
        default="table",
        description="table: rows of the projection's width and a map w → d; bottleneck: rows of width d, d → w → d.",
    )
    layers: Literal[0, 1, 2] = Field(
        default=1, description="Maps between table and body; 0 = rows of width d go in as they are."
    )
    width: int | None = Field(default=None, ge=1, description="w; None = d / 8 (512 for Llama-2-7b, as published).")
    start: Literal["mean", "random"] = Field(
        default="mean", description="Projected rows start around the mean of the word vectors, or around zero."
    )
    noise: float = Field(
        default=1.0,
        ge=0,
        description="Spread of the projected rows at the start, as a share of the word vectors' own; 0 = none.",
    )


class IdTable(nn.Module):
    """Vectors of n ids in the width of a body; row 0 (padding, or the stranger) is the caller's affair.

    Rows hold what is an id's own and start around zero; the mean that all start from is a constant beside them, or the
    bias of the last map, and weight decay leaves it alone: strong decay draws ids to the mean, not the mean to zero.
    """

    def __init__(self, n: int, width: int, config: ProjectionConfig, mean: Tensor, spread: float) -> None:
        """Args: mean [width], spread: of the word vectors, see ``Backbone.vocabulary_mean``."""
        super().__init__()
        inner = config.width or max(1, width // 8)
        aim = config.noise * spread
        start = mean.clone() if config.start == "mean" else torch.zeros_like(mean)
        # Table and map start with entries of one size, so that one learning rate moves both by the same share.
        size = (spread / inner**0.5) ** 0.5
        straight = config.layers == 0 or config.form == "bottleneck"
        drawn = aim if straight else size * config.noise
        self.table = nn.Parameter(drawn * torch.randn(n, width if straight else inner))
        if config.layers == 0:
            self.project: nn.Module = _Shift(start)
            return
        if config.form == "bottleneck":
            maps: list[nn.Module] = [_Bottleneck(width, inner) for _ in range(config.layers)]
        else:
            maps = [_linear(inner, width, size)]
            if config.layers == 2:
                maps = [_linear(inner, inner, inner**-0.5), *maps]
        self.project = nn.Sequential(*(m for each in maps for m in (each, nn.GELU())))[:-1]
        self._settle(drawn, aim, start)
        for name, weight in self.project.named_parameters():
            if name.endswith("bias"):
                weight.decay_scale = 0.0  # type: ignore[attr-defined]  # read by seqlore.training

    @torch.no_grad()
    def _settle(self, size: float, aim: float, start: Tensor) -> None:
        """Scale and shift the last map so that rows spread by ``aim`` around ``start``, which the maps before it, their
        width and the activation between would change."""
        last = self.project[-1]  # type: ignore[index]
        last = last.up if isinstance(last, _Bottleneck) else last
        drawn = size * torch.randn(PROBE // 2, self.table.shape[1], generator=torch.Generator().manual_seed(0))
        rows = self.project(torch.cat([drawn, -drawn]))  # mirrored, so that the mean of linear maps is exact
        centre = rows.mean(0)
        found = (rows - centre).square().mean().sqrt()
        factor = aim / found if aim > 0 and found > 0 else 1.0
        last.bias.copy_(start - (centre - last.bias) * factor)
        last.weight.mul_(factor)

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """[..., d] of ``ids``, or of all, [n, d]."""
        return self.project(self.table if ids is None else F.embedding(ids, self.table))


class _Shift(nn.Module):
    """A constant beside the rows; it does not learn, since every row does."""

    by: Tensor

    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.register_buffer("by", by)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


class _Bottleneck(nn.Module):
    """d → w → d without activation; starts as the orthogonal projection onto w directions."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner, bias=False), nn.Linear(inner, width)
        with torch.no_grad():
            nn.init.orthogonal_(self.down.weight)
            self.up.weight.copy_(self.down.weight.T)
            self.up.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


def _linear(inputs: int, outputs: int, std: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(std=std)
        layer.bias.zero_()
    return layer
