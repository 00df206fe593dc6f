"""Phase 1 of UR4Rec: the retriever learns to bring texts and item vectors together.

Zhang et al., "Enhancing Reranking for Recommendation with LLMs through User Preference Retrieval", COLING 2025, section
3.2: InfoNCE (equations 6 and 7) and preference-item matching (equation 8), with h_i frozen.

Deviations: InfoNCE has the positive in its denominator (as printed it has not, and its loss has no lower bound);
negatives are others of the sample's list, which with uniform candidates are random unseen items, and matching has those
of the contrast; both losses are means over samples; τ and α are not given; ``items = "learned"`` learns h_i, too, since
those of a base that is blind to histories say how popular an item is and not what it is like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.errors import ConfigError
from seqlore.rerank.lists import ListBatch
from seqlore.training import TrainConfig

if TYPE_CHECKING:
    from seqlore.rerank.ur4rec import UR4Rec


#: Settings of the loop that phase 1 has no use for, and why.
UNUSED = {
    **dict.fromkeys(("patience", "validate_every", "monitor"), "it takes all its epochs and validates nothing"),
    "seed": "its draws follow from the seed of the reranker",
    "device": "it runs where the reranker runs",
}


class PretrainingConfig(TrainConfig):
    """Settings of phase 1. It takes exactly ``epochs`` epochs."""

    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate of AdamW.")
    epochs: int = Field(default=30, ge=1, description="Epochs, of one sample a target.")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine",
        description="Course of the rate. Under a constant one the post-norm blocks end where the draw decides, with a "
        "higher loss.",
    )
    batch_size: int = Field(default=32, ge=1, description="Samples in a batch.")
    negatives: int = Field(default=10, ge=1, description="M, negatives of each sample.")
    temperature: float = Field(default=0.1, gt=0, description="τ of InfoNCE.")
    items: Literal["frozen", "learned"] = Field(
        default="frozen", description="h_i: frozen, as published, or learned too, where the base is blind to histories."
    )
    alpha: float = Field(default=1.0, ge=0, description="Weight of the matching loss beside the contrastive one.")
    matching_loss: Literal["sum", "mean"] = Field(
        default="sum",
        description="Over the 1 + M items of a sample: their sum, as published, or their mean, 1 / (1 + M) of that.",
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        for name, why in UNUSED.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does nothing in phase 1, since {why}: leave it out")
        return self

    def check_lists(self, length: int) -> None:
        """Raises: ConfigError: lists of ``length`` candidates have fewer negatives than are asked for."""
        if self.negatives > length - 1:
            raise ConfigError(
                f"UR4Rec: pretraining.negatives = {self.negatives}, but a list has {length} candidates, so at most "
                f"{length - 1} others: lower it, or give longer lists"
            )


class Pretraining(nn.Module):
    """Phase 1 as a net whose ``forward`` is its loss: L_CL + α · L_CF."""

    items: Tensor

    def __init__(self, ur4rec: UR4Rec, items: Tensor) -> None:
        """Args: items: h_i of all items, [size, d]; a copy of it is learned where the settings say so."""
        super().__init__()
        self.config = ur4rec.config
        self.knowledge, self.retriever, self.match = ur4rec.knowledge, ur4rec.retriever, ur4rec.match
        self.texts = ur4rec.item_texts
        h = items.detach().clone()
        if self.config.pretraining.items == "learned":
            self.items = nn.Parameter(h)
        else:
            self.register_buffer("items", h)

    def forward(self, batch: ListBatch) -> Tensor:
        c, phase = self.config, self.config.pretraining
        phase.check_lists(batch.candidates.shape[1])
        asked = with_negatives(batch, phase.negatives)  # [B, 1 + M]
        h, listed = self.retriever.enter(self.items[asked], self.texts(asked)), asked > 0
        memory = self.retriever.memory(*self.knowledge(batch, c.history))
        loss = h.new_zeros(())
        if c.contrasts:
            alike = most_alike(self.retriever.filtered(memory), self.retriever.alone(h))
            loss = loss + info_nce(alike.masked_fill(~listed, -torch.inf), phase.temperature)
        if c.matching:
            proxies, own = self.retriever.retrieve(h, listed, memory, "single")
            logits = self.match(own if proxies is None else proxies)[..., 0]
            loss = loss + phase.alpha * matching_loss(logits, listed, phase.matching_loss)
        return loss


def with_negatives(batch: ListBatch, count: int) -> Tensor:
    """The target of each list and ``count`` others of it, drawn without repetition: int64 [B, 1 + count], 0 pads."""
    rows = torch.arange(len(batch.target), device=batch.target.device)
    chance = torch.rand(batch.candidates.shape, device=batch.target.device).masked_fill(~batch.listed, -1)
    chance[rows, batch.target] = 2  # the target comes first
    order = chance.topk(min(1 + count, chance.shape[1]), 1)
    return batch.candidates.gather(1, order.indices) * (order.values >= 0)


def most_alike(proxies: Tensor, items: Tensor) -> Tensor:
    """sim(e^pref, e_i): the largest of the K cosines. proxies [B, K, w], items [B, C, w] → [B, C]."""
    return (F.normalize(items, dim=-1) @ F.normalize(proxies, dim=-1).transpose(1, 2)).amax(-1)


def info_nce(similarity: Tensor, temperature: float) -> Tensor:
    """Mean of −log(e^{s₀/τ} / Σ e^{s/τ}) over all, s₀ the positive's. similarity: [B, 1 + M], −∞ = none there.

    The standard form (van den Oord et al., 2018, arXiv 1807.03748), with the positive in the sum.
    """
    return -F.log_softmax(similarity / temperature, 1)[:, 0].mean()


def matching_loss(logits: Tensor, listed: Tensor, over: Literal["sum", "mean"] = "sum") -> Tensor:
    """Binary cross-entropy of what is listed, where the first item of a row matches. Both [B, 1 + M].

    Summed over a row, mean over rows (equation 8); ``"mean"``: mean over all items.
    """
    truth = torch.zeros_like(logits)
    truth[:, 0] = 1
    total = F.binary_cross_entropy_with_logits(logits[listed], truth[listed], reduction="sum")
    return total / (len(logits) if over == "sum" else listed.sum())
