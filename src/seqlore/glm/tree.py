"""Beams of a body that fills blanks: part A and the start mark are read once, and what is written grows as a tree.

Stands where :class:`seqlore.language.tree.Tree` stands in a search. The position ids of every token come from the
automaton, whose state moves with the beams: Chu et al. 2023 (arXiv 2308.10837), section "Inference phase".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.glm.blanks import Blanked
from seqlore.glm.model import blank_sight
from seqlore.glm.positions import Automaton, State


@dataclass(frozen=True, slots=True)
class Question:
    """Part A of a text with one blank. Attributes: ids, intra: int64 [a]. mask: place of the mask, the inter id of all
    that is written. Its length counts the start mark."""

    ids: NDArray[np.int64]
    intra: NDArray[np.int64]
    mask: int

    def __len__(self) -> int:
        return len(self.ids) + 1


def questions(blanked: Blanked) -> list[Question]:
    """Of texts with one empty blank each."""
    cuts, found = blanked.a.offsets, []
    if not (blanked.b.lengths == 1).all():
        raise ValueError("a question has one blank, and nothing in it")
    for i, mask in enumerate(blanked.b_inter.tolist()):
        part = slice(cuts[i], cuts[i + 1])
        found.append(Question(blanked.a.items[part].astype(np.int64), blanked.a_intra[part], mask))
    return found


class BlankTree:
    """Texts that grow in the blanks of n questions. Attributes: tokens: positions that the body has read."""

    def __init__(self, body: Any, asked: Sequence[Question], automaton: Automaton) -> None:
        """Args: automaton: on the body's device."""
        self._body, self._automaton, self.cache = body, automaton, body.new_cache()
        self._asked, self.tokens = list(asked), 0
        self._inter = torch.tensor([q.mask for q in asked], device=body.device)  # [n]

    def root(self) -> Tensor:
        """Logits [n, 1, V] of what follows each start mark."""
        n, width, device = len(self._asked), max(map(len, self._asked)), self._body.device
        ids, inter, intra = (np.zeros((n, width), np.int64) for _ in range(3))
        for i, q in enumerate(self._asked):
            a = len(q.ids)
            ids[i, : a + 1], inter[i, : a + 1] = [*q.ids, self._automaton.start], [*range(a), q.mask]
            intra[i, :a], intra[i, a] = q.intra, 1
        context = torch.tensor([len(q.ids) for q in self._asked], device=device)
        told = (torch.from_numpy(x).to(device) for x in (ids, inter, intra))
        hidden = self._body(*told, blank_sight(context, width), self.cache, context[:, None])  # [n, 1, d]
        self.tokens += n * width
        self.sight = (torch.arange(width, device=device) <= context[:, None])[:, None]  # [n, W, C], of the latest token
        self.state = self._automaton.begin(n, 1, device=device)
        return self._body.logits(hidden)

    def keep(self, rows: Tensor) -> None:
        """Go on with these questions only. rows: bool [n]."""
        self.cache = self.cache.select(rows)
        self.sight, self._inter, self.state = self.sight[rows], self._inter[rows], self.state.where(rows)

    def grow(self, parent: Tensor, tokens: Tensor) -> Tensor:
        """Give texts their next token: logits [n, W, V] of what follows.

        Args: parent: int64 [n, W], which of the texts as they were (from 0) each continues. tokens: int64 [n, W].
        """
        self.state: State = self._automaton.step(self.state.gather(parent), tokens)
        itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device).expand(len(tokens), -1, -1)
        before = self.sight.gather(1, parent[..., None].expand(-1, -1, self.sight.shape[2]))
        self.sight = torch.cat([before, itself], 2)
        inter = self._inter[:, None].expand_as(tokens)
        self.tokens += tokens.numel()
        return self._body.logits(self._body(tokens, inter, self.state.intra, self.sight, self.cache))
