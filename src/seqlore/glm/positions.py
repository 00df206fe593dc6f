"""The intra-position ids of part B, decided token by token: one causal automaton for training and generation alike.

Chu et al. 2023 (arXiv 2308.10837), sections "Positional Encoding" and "Inference phase", figures 1 and 2. A start mark
has id 1, the token behind it 2; after that the id grows while a token and the one before it lie on one way through
the trie of entities, and starts again at 1 otherwise. No token that is still to come is asked for, so what a model was
trained on is what it meets when it writes.

What the paper leaves open: read literally, every token of plain text has id 1, so that their order is lost. That is
``plain = "restart"``; ``"grow"`` counts a run of plain tokens as it counts an entity. A token that continues no entity
may begin one; whether it does is not known yet, so it counts as its first token if any entity begins with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences
from seqlore.language.trie import Trie

#: Where a state stands when it is not inside an entity: right behind a start mark, or in plain text.
STARTED, PLAIN = 0, -1


class PositionConfig(Config):
    """How tokens are numbered within blanks and entities."""

    intra: Literal["entity", "blank"] = Field(
        default="entity",
        description="Ids count within entities, in both parts (paper); or within blanks only (plain GLM).",
    )
    plain: Literal["restart", "grow"] = Field(
        default="grow", description="Ids of plain text in a blank: 1 for every token (the paper's words), or growing."
    )


class State(NamedTuple):
    """What the automaton remembers of each of some texts; tensors of one shape, int64.

    Attributes: intra: id of the latest token. node: of the trie of entities, or STARTED, or PLAIN.
    """

    intra: Tensor
    node: Tensor

    def gather(self, parent: Tensor) -> State:
        """States [n, W'] of texts that continue ``parent`` [n, W'] of the texts [n, W]."""
        return State(self.intra.gather(1, parent), self.node.gather(1, parent))

    def where(self, rows: Tensor) -> State:
        """States of these rows."""
        return State(self.intra[rows], self.node[rows])


def entity_trie(entities: Sequence[Sequence[int]], vocabulary: int) -> Trie | None:
    """The pool: a trie of the tokens of all entities; None where there are none.

    Each ends in the token ``vocabulary``, which no text has, since an entity may begin another one.
    """
    distinct = sorted({tuple(e) for e in entities if len(e)})
    if not distinct:
        return None
    rows = Sequences.from_lists([*e, vocabulary] for e in distinct)
    return Trie.build(rows.items, rows.offsets, np.arange(1, len(distinct) + 1), vocabulary + 1)


class Automaton:
    """Ids of tokens as they come. It has no memory of its own: states go in and come out."""

    def __init__(self, pool: Trie | None, start: int, config: PositionConfig) -> None:
        """Args: pool: of :func:`entity_trie`. start: the start mark."""
        self.pool, self.start, self.config = pool, start, config

    def to(self, device: torch.device | str) -> Automaton:
        """The same on ``device``."""
        return Automaton(None if self.pool is None else self.pool.to(device), self.start, self.config)

    def begin(self, *shape: int, device: torch.device | str | None = None) -> State:
        """States of texts of which only the start mark was read."""
        one = torch.ones(shape, dtype=torch.int64, device=device)
        return State(one, torch.full_like(one, STARTED))

    def step(self, state: State, tokens: Tensor) -> State:
        """States after one more token each, of which ``intra`` is the token's id; a start mark begins anew."""
        grown = state.intra + 1
        if self.config.intra == "blank" or self.pool is None:
            begins = goes_on = torch.full_like(tokens, PLAIN)
        else:
            begins = self.pool.step(torch.zeros_like(tokens), tokens)
            goes_on = torch.where(state.node > 0, self.pool.step(state.node.clamp_min(0), tokens), PLAIN)
        grows = (state.node == STARTED) | (goes_on >= 0)
        if self.config.intra == "blank":
            grows = torch.ones_like(grows)
        elif self.config.plain == "grow":
            grows |= (state.node == PLAIN) & (begins == PLAIN)
        anew = tokens == self.start
        intra = torch.where(grows, grown, 1).masked_fill(anew, 1)
        return State(intra, torch.where(goes_on >= 0, goes_on, begins).masked_fill(anew, STARTED))

    def walk(self, texts: Sequences) -> NDArray[np.int64]:
        """Ids of ragged texts, flat; each begins behind a start mark, which it lacks. A step is one for all of them."""
        out = np.zeros(len(texts.items), np.int64)
        order = np.argsort(-texts.lengths, kind="stable")
        starts, lengths = texts.offsets[:-1][order], texts.lengths[order]
        state = self.begin(len(order))
        for t in range(int(lengths.max(initial=0))):
            n = int(np.searchsorted(-lengths, -t))  # those that are longer than t stand first
            at = starts[:n] + t
            state = self.step(
                State(state.intra[:n], state.node[:n]), torch.from_numpy(texts.items[at].astype(np.int64))
            )
            out[at] = state.intra.numpy()
        return out


def intra_of_context(entity: NDArray[np.integer], config: PositionConfig) -> NDArray[np.int64]:
    """Intra ids of part A: 1, 2, … within an entity, 0 for a token of its own.

    Args: entity: int [n], number of the entity that each token is of, neighbours with different ones; 0 = of none.
    """
    if config.intra == "blank":
        return np.zeros(len(entity), np.int64)
    place = np.arange(len(entity))
    first = np.r_[True, entity[1:] != entity[:-1]] if len(entity) else np.zeros(0, bool)
    begin = np.maximum.accumulate(np.where(first, place, 0)) if len(entity) else place
    return np.where(entity > 0, place - begin + 1, 0).astype(np.int64)
