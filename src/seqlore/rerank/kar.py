"""KAR: reasoning knowledge about the user and factual knowledge about the item, through a hybrid-expert adaptor.

Xi et al., "Towards Open-World Recommendation with Knowledge Augmentation from Large Language Models", RecSys 2024
(10.1145/3640457.3688104, arXiv 2306.10933); a baseline of Zhang et al., COLING 2025.

A vector of knowledge goes through experts that both kinds share and experts of its kind; a softmax gate, also of its
kind, weighs them. The adapted vectors of the user's preference and of the item, a candidate or one of the history, are
concatenated. Texts are those of UR4Rec, so that the two differ in what is made of them.

Deviations: where a text has several vectors, their mean is taken; a learned vector stands where there is no text; an
item's knowledge is adapted once a batch, so dropout falls alike on it wherever the item stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Dropout
from seqlore.rerank.augment import Augmentation, Augmented, Host
from seqlore.rerank.gathering import KnowledgeSettings, gather_knowledge, with_suited
from seqlore.rerank.knowledge import Knowledge
from seqlore.rerank.lists import ListBatch, ListData


class KARConfig(Config):
    """Settings of KAR."""

    width: int = Field(default=32, ge=1, description="Width of each of the two adapted vectors.")
    hidden: int = Field(default=128, ge=1, description="Hidden units of an expert.")
    shared: int = Field(default=2, ge=0, description="Experts of both kinds of knowledge.")
    own: int = Field(default=2, ge=1, description="Experts of each kind.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout on the knowledge vectors.")
    knowledge: KnowledgeSettings = Field(default_factory=KnowledgeSettings)


class HybridExperts(nn.Module):
    """Two kinds of vectors [..., d] → [..., a] each, by shared and own experts."""

    KINDS = ("reasoning", "factual")

    def __init__(self, width: int, out: int, hidden: int, *, shared: int, own: int) -> None:
        super().__init__()

        def experts(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)) for _ in range(count)
            )

        self.shared = experts(shared)
        self.own = nn.ModuleDict({kind: experts(own) for kind in self.KINDS})
        self.gate = nn.ModuleDict({kind: nn.Linear(width, shared + own) for kind in self.KINDS})

    def forward(self, x: Tensor, kind: str) -> Tensor:
        """Args: kind: one of ``KINDS``."""
        experts = [*self.shared, *self.own[kind]]  # type: ignore[misc]
        said = torch.stack([expert(x) for expert in experts], -1)  # [..., a, E]
        return (said @ self.gate[kind](x).softmax(-1)[..., None])[..., 0]


class KAR(Augmentation):
    """Knowledge-augmented recommendation."""

    paper = "Xi et al., RecSys 2024, 10.1145/3640457.3688104, arXiv 2306.10933"
    Config: ClassVar[type[Config]] = KARConfig

    def __init__(self, config: Config | None = None, /, texts: Knowledge | None = None, **settings: Any) -> None:
        """Args: texts: their vectors, taken as they are; None = gathered as ``knowledge`` says."""
        super().__init__(config, **settings)
        self.knowledge: Any = texts

    @property
    def width(self) -> int:
        return 2 * self.config.width

    @classmethod
    def suited(cls, config: Any, host: Host) -> Any:
        return with_suited(config, host)

    def untold(self, users: Tensor, known: Tensor) -> Tensor | None:
        return self.knowledge.preferences.untold(users, known)

    def gather(self, lists: ListData) -> None:
        if self.knowledge is None:
            self.knowledge, _ = gather_knowledge(lists, self.config.knowledge)

    def build(self, size: int, item_width: int) -> None:
        c, d = self.config, self.knowledge.width
        self.norm, self.dropout = nn.LayerNorm(d), Dropout(c.dropout)
        self.absent = nn.Parameter(torch.zeros(2, d))
        self.experts = HybridExperts(d, c.width, c.hidden, shared=c.shared, own=c.own)

    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        vectors, there = self.knowledge.preferences(batch.users, batch.known)
        count = there.sum(1, keepdim=True)
        mean = (vectors * there[..., None]).sum(1) / count.clamp_min(1)
        user = self._adapted(mean, count[:, 0] > 0, 0)[:, None]  # [B, 1, a]

        asked = [batch.candidates, batch.items] if history else [batch.candidates]
        # An item stands in many lists and histories of a batch, and what is known of it is the same in all of them.
        index, places = torch.cat([each.flatten() for each in asked]).unique(return_inverse=True)
        about, known = self.knowledge.about_items(index)
        facts = self._adapted(about, known, 1)
        rows = places.split([each.numel() for each in asked])
        adapted = [facts[at].view(*each.shape, -1) for at, each in zip(rows, asked, strict=True)]
        told = [torch.cat([user.expand_as(each), each], -1) for each in adapted]
        return Augmented(told[0], told[1] if history else None)

    def _adapted(self, vectors: Tensor, there: Tensor, kind: int) -> Tensor:
        x = self.dropout(self.norm(torch.where(there[..., None], vectors, self.absent[kind])))
        return self.experts(x, HybridExperts.KINDS[kind])

    @classmethod
    def rebuilt(cls, config: Config, state: Mapping[str, Tensor]) -> Self:
        return cls(config, texts=Knowledge.rebuilt(state, "knowledge."))
