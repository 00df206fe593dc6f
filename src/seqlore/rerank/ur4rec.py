"""UR4Rec: a retriever filters what a language model says about a user, with each candidate as the query.

Zhang et al., "Enhancing Reranking for Recommendation with LLMs through User Preference Retrieval", COLING 2025.

Three phases: (0) the backbone without augmentation is trained, and its item vectors are h_i; (1) the retriever is
pre-trained with h_i frozen, by InfoNCE (equations 6 and 7) and preference-item matching (equation 8); (2) both are
trained together on the backbone's loss (equation 9). Only language model and encoder stay as they are.

Deviations: InfoNCE has the positive in its denominator (as printed it has not, and its loss has no lower bound); the
augmented vector goes through a learned map to ``width`` before it is concatenated; negatives are others of the sample's
list, which with uniform candidates are random unseen items. The retriever's own deviations are in its file.

Ablations of Table 3: ``proxies = 0`` (drops the contrastive loss too), ``fresh_proxies``, ``pretrain``, ``contrast``,
``matching``, and ``knowledge.texts = "raw"`` for "w/o LLM"; "w/o Retr" is the augmentation LLMAug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.rerank.augment import Augmentation, Augmented
from seqlore.rerank.body import RANDOM, Body
from seqlore.rerank.gathering import KnowledgeSettings, gather_knowledge
from seqlore.rerank.knowledge import Knowledge, latest
from seqlore.rerank.lists import ListBatch, ListData
from seqlore.rerank.retriever import Form, Memory, Retriever
from seqlore.training import TrainConfig, train


class PretrainingConfig(TrainConfig):
    """Settings of phase 1. It takes exactly ``epochs`` epochs."""

    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate of AdamW.")
    epochs: int = Field(default=5, ge=1, description="Epochs, of one sample a target.")
    batch_size: int = Field(default=32, ge=1, description="Samples in a batch.")
    negatives: int = Field(default=10, ge=1, description="M, negatives of each sample.")
    temperature: float = Field(default=0.1, gt=0, description="τ of InfoNCE.")
    alpha: float = Field(default=1.0, ge=0, description="Weight of the matching loss beside the contrastive one.")


class UR4RecConfig(Config):
    """Settings of UR4Rec."""

    proxies: int = Field(default=8, ge=0, description="K (8 listwise, 16 for sequence backbones); 0 = without proxies.")
    body: str = Field(
        default="all-MiniLM-L6-v2", description=f'BERT encoder to start from, folder or name; or "{RANDOM}".'
    )
    layers: int = Field(default=2, ge=1, description="Blocks: the first so many of the body.")
    size: int = Field(default=128, ge=1, description="Width of a random body; its feed-forward has four times that.")
    heads: int = Field(default=4, ge=1, description="Attention heads of a random body.")
    form: Form = Field(default="joint", description="All items in one pass, as published; isolated; or a pass an item.")
    history: int = Field(
        default=10, ge=1, description="Latest events whose knowledge is in Z (150 for sequence backbones)."
    )
    width: int = Field(default=64, ge=1, description="Width a of the vectors that are concatenated.")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Dropout on the retriever's input and after each sublayer."
    )
    rate: float = Field(default=0.1, gt=0, description="Learning rate of the retriever in joint training, as a share.")
    pretrain: bool = Field(default=True, description="Phase 1; False = w/o pretrain.")
    contrast: bool = Field(default=True, description="The contrastive loss; False = w/o CL.")
    matching: bool = Field(default=True, description="Preference-item matching; False = w/o PIM.")
    fresh_proxies: bool = Field(default=False, description="New proxies when joint training begins (proxy random).")
    pretraining: PretrainingConfig = Field(default_factory=PretrainingConfig)
    knowledge: KnowledgeSettings = Field(default_factory=KnowledgeSettings)
    z: Literal["text", "permuted", "ids"] = Field(
        default="text", description="Z; controls: that of another user, or learned ids of the history's items."
    )
    z_seed: int = Field(default=0, description="Of the permutation.")

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.pretrain and not self.contrasts and not self.matching:
            raise ValueError("phase 1 has no loss left (without proxies none contrasts): set pretrain = false")
        return self

    @property
    def contrasts(self) -> bool:
        """The contrastive loss compares proxies with items, so it needs some."""
        return self.contrast and self.proxies > 0


class HistoryIds(nn.Module):
    """The control in which Z are learned vectors of the history's items, and no text."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(size, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)  # as long as text vectors

    def forward(self, batch: ListBatch, history: int) -> tuple[Tensor, Tensor]:
        """As :meth:`Knowledge.forward`."""
        read = latest(batch, history)
        return self.table(read), read > 0


class UR4Rec(Augmentation):
    """User preference retrieval."""

    Config: ClassVar[type[Config]] = UR4RecConfig
    needs_base: ClassVar[bool] = True
    #: Width of learned ids where no text says how wide Z is.
    ID_WIDTH: ClassVar[int] = 384

    shape: Tensor

    def __init__(self, config: Config | None = None, /, texts: Knowledge | None = None, **settings: Any) -> None:
        """Args: texts: their vectors, taken as they are; None = gathered as ``knowledge`` says."""
        super().__init__(config, **settings)
        self.knowledge: Any = texts
        self._body: Body | None = None

    @property
    def width(self) -> int:
        return self.config.width

    def gather(self, lists: ListData) -> None:
        c = self.config
        if c.z != "ids" and self.knowledge is None:
            self.knowledge, points = gather_knowledge(lists, c.knowledge)
            if c.z == "permuted":
                self.knowledge = self.knowledge.permuted(points, c.history, c.z_seed)

    def build(self, size: int, item_width: int) -> None:
        c = self.config
        body = self._body or (Body(c.size, c.heads, 4 * c.size) if c.body == RANDOM else Body.read(c.body, c.layers))
        self.register_buffer("shape", torch.tensor([body.width, body.heads, body.inner]))
        if c.z == "ids":
            self.knowledge = HistoryIds(size, self.ID_WIDTH)
        text_width = self.ID_WIDTH if c.z == "ids" else self.knowledge.width
        self.retriever = Retriever(
            body, layers=c.layers, proxies=c.proxies, item_width=item_width, text_width=text_width, dropout=c.dropout
        )
        self.match = nn.Linear(body.width, 1)
        self.match.requires_grad_(False)  # learned in phase 1, where it is used
        self.adapter = nn.Linear(body.width * (2 if c.proxies else 1), c.width)
        self._slow_down(c.rate)

    def _slow_down(self, share: float) -> None:
        for parameter in self.retriever.parameters():
            parameter.rate_scale = share  # type: ignore[attr-defined]  # read by seqlore.training

    def memory(self, batch: ListBatch) -> Memory:
        """Z of a batch, ready to be read."""
        return self.retriever.memory(*self.knowledge(batch, self.config.history))

    def pretrain(
        self,
        items: Tensor,
        lists: ListData,
        *,
        device: str | None = None,
        checkpoint: Path | None = None,
        log: Path | None = None,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[dict[str, Any]]:
        c, phase = self.config, self.config.pretraining
        rows: list[dict[str, Any]] = []
        if c.pretrain:
            self._slow_down(1.0)
            self.match.requires_grad_(True)

            def batches(epoch: int, shard: tuple[int, int]) -> Iterator[ListBatch]:
                return lists.batches(epoch, shard, size=phase.batch_size, length=c.history)

            rows = train(
                Pretraining(self, items),
                batches,
                phase.model_copy(update={"device": device}),
                checkpoint=checkpoint,
                log=log,
                progress=progress,
            )
            self.match.requires_grad_(False)
            self._slow_down(c.rate)
        if c.fresh_proxies:
            self.retriever.new_proxies()
        return rows

    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        asked, c = batch.candidates, batch.candidates.shape[1]
        if history:  # one pass for candidates and history
            asked = torch.cat([asked, batch.items], 1)
        proxies, own = self.retriever.retrieve(items(asked), asked > 0, self.memory(batch), self.config.form)
        extra = self.adapter(own if proxies is None else torch.cat([proxies.expand_as(own), own], -1))
        return Augmented(extra[:, :c], extra[:, c:] if history else None)

    @classmethod
    def rebuilt(cls, config: Config, state: Mapping[str, Tensor]) -> Self:
        ids = config.z == "ids"  # type: ignore[attr-defined]
        self = cls(config, texts=None if ids else Knowledge.rebuilt(state, "knowledge."))
        self._body = Body(*state["shape"].tolist())
        return self


class Pretraining(nn.Module):
    """Phase 1 as a net whose ``forward`` is its loss: L_CL + α · L_CF."""

    items: Tensor

    def __init__(self, ur4rec: UR4Rec, items: Tensor) -> None:
        """Args: items: h_i of all items, [size, d]; nothing of it is learned."""
        super().__init__()
        self.config = ur4rec.config
        self.knowledge, self.retriever, self.match = ur4rec.knowledge, ur4rec.retriever, ur4rec.match
        self.register_buffer("items", items.detach().clone())

    def forward(self, batch: ListBatch) -> Tensor:
        c, phase = self.config, self.config.pretraining
        asked = with_negatives(batch, phase.negatives)  # [B, 1 + M]
        h, listed = self.items[asked], asked > 0
        memory = self.retriever.memory(*self.knowledge(batch, c.history))
        loss = h.new_zeros(())
        if c.contrasts:
            alike = most_alike(self.retriever.filtered(memory), self.retriever.alone(h))
            loss = loss + info_nce(alike.masked_fill(~listed, -torch.inf), phase.temperature)
        if c.matching:
            proxies, own = self.retriever.retrieve(h, listed, memory, "single")
            logits = self.match(own if proxies is None else proxies)[..., 0]
            loss = loss + phase.alpha * matching_loss(logits, listed)
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


def matching_loss(logits: Tensor, listed: Tensor) -> Tensor:
    """Binary cross-entropy, mean over what is listed; the first item of a row matches. Both [B, 1 + M]."""
    truth = torch.zeros_like(logits)
    truth[:, 0] = 1
    return F.binary_cross_entropy_with_logits(logits[listed], truth[listed])
