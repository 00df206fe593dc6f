"""Texts that grow from prompts, several from each: a prompt is read and remembered once.

The texts of a prompt are one row of the batch, as a tree: the tokens of a step are appended to one cache, and a mask
lets each see the prompt and its own ancestors only (X. Miao et al., "SpecInfer", ASPLOS 2024, arXiv 2305.09781). So
the keys and values of a prompt exist once, whatever the number of its texts, and a beam that moves moves no memory.

The model must take a four-dimensional attention mask and position ids, as transformers' causal models do; those with
a sliding window or a recurrent state do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Cached positions (prompts, and all tokens of all texts) that are in the making together.
CPU_TOKENS, GPU_TOKENS = 1 << 15, 1 << 19


def together(
    lengths: NDArray[np.integer], texts: int, grown: int, device: torch.device, budget: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Positions of prompts of like length, the longest first, in parts that grow together.

    Args: lengths: [n], of prompts. texts, grown: of each prompt, and tokens of each text, as far as can be told.
        budget: cached positions; None = by device.
    """
    budget = budget or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS)
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        part = order[start : start + max(1, budget // int(lengths[order[start]] + texts * grown))]
        yield part
        start += len(part)


class Tree:
    """The texts of n prompts. Attributes: tokens: positions that the model has read."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        from transformers import DynamicCache

        self._model, self._cache = model, DynamicCache()
        self._lengths = torch.tensor([len(p) for p in prompts], device=model.device)  # [n]
        width = int(self._lengths.max())
        self._ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)  # [n, P]
        self._depth = self.tokens = 0

    def root(self) -> Tensor:
        """Logits [n, 1, V] of what follows each prompt."""
        width = self._ids.shape[1]
        visible = torch.arange(width, device=self._ids.device) >= width - self._lengths[:, None]  # [n, P]
        self._sight = visible[:, None]  # [n, W, C]: what the latest token of each text sees
        places = (visible.cumsum(1) - 1).clamp_min(0)
        return self._read(self._ids, places, attention_mask=visible.long(), logits_to_keep=1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these prompts only. rows: bool [n]."""
        self._cache.batch_select_indices(rows.nonzero().flatten())
        self._sight, self._lengths = self._sight[rows], self._lengths[rows]

    def grow(self, parent: Tensor, tokens: Tensor) -> Tensor:
        """Give texts their next token: logits [n, W, V] of what follows.

        Args: parent: int64 [n, W], which of the texts as they were (from 0) each continues. tokens: int64 [n, W].
        """
        itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device).expand(len(tokens), -1, -1)
        before = self._sight.gather(1, parent[..., None].expand(-1, -1, self._sight.shape[2]))
        self._sight = torch.cat([before, itself], 2)
        mask = torch.zeros(self._sight.shape, dtype=self._model.dtype, device=tokens.device)
        mask.masked_fill_(~self._sight, torch.finfo(mask.dtype).min)
        places = (self._lengths[:, None] + self._depth).expand_as(tokens)
        self._depth += 1
        return self._read(tokens, places, attention_mask=mask[:, None])

    def _read(self, ids: Tensor, positions: Tensor, **more: Any) -> Tensor:
        self.tokens += ids.numel()
        return self._model(ids, position_ids=positions, past_key_values=self._cache, use_cache=True, **more).logits
