"""UR4Rec: a retriever filters what a language model says about a user, with each candidate as the query.

Zhang et al., "Enhancing Reranking for Recommendation with LLMs through User Preference Retrieval", COLING 2025.

Three phases: (0) the backbone without augmentation is trained, and its item vectors are h_i; (1) the retriever is
pre-trained (:mod:`seqlore.rerank.pretraining`); (2) both are trained together on the backbone's loss (equation 9). Only
language model and encoder stay as they are.

Deviations: the augmented vector goes through a learned map to ``width`` before it is concatenated. In the single form
it holds the output at the item's own position beside the proxies' mean, as in the joint one; equation 9 takes the
proxies' alone. In joint training the retriever learns at ``rate`` of the backbone's rate, item vectors start as the
base's or phase 1's, and texts about users are withheld from a few samples. What else deviates is told in the files of
the retriever and of its pre-training.
Beyond the paper: ``item_texts``, ``order``, ``text_dropout``.

Ablations of Table 3: ``proxies = 0`` (drops the contrastive loss too), ``fresh_proxies``, ``pretrain``, ``contrast``,
``matching``, and ``knowledge.texts = "raw"`` for "w/o LLM"; "w/o Retr" is the augmentation LLMAug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.errors import ConfigError
from seqlore.rerank.augment import Augmentation, Augmented, Host
from seqlore.rerank.body import RANDOM, Body
from seqlore.rerank.gathering import KnowledgeSettings, events, gather_knowledge, with_suited
from seqlore.rerank.knowledge import Knowledge, Z, ages, latest
from seqlore.rerank.lists import ListBatch, ListData
from seqlore.rerank.pretraining import Pretraining, PretrainingConfig
from seqlore.rerank.retriever import Form, Memory, Retriever
from seqlore.training import train


class UR4RecConfig(Config):
    """Settings of UR4Rec."""

    proxies: int | None = Field(
        default=None, ge=0, description="K; 0 = without proxies; None = 8 listwise, 16 for sequence backbones."
    )
    body: str = Field(
        default="all-MiniLM-L6-v2", description=f'BERT encoder to start from, folder or name; or "{RANDOM}".'
    )
    layers: int = Field(default=2, ge=1, description="Blocks: the first so many of the body.")
    size: int = Field(default=128, ge=1, description="Width of a random body; its feed-forward has four times that.")
    heads: int = Field(default=4, ge=1, description="Attention heads of a random body.")
    form: Form = Field(default="joint", description="All items in one pass, as published; isolated; or a pass an item.")
    history: int | None = Field(
        default=None,
        ge=1,
        description="Latest events whose knowledge is in Z, at most the backbone's history_length; None = 10 listwise, "
        "150 for sequence backbones, or as many as the backbone reads.",
    )
    item_texts: bool = Field(
        default=False,
        description="Items enter the retriever with the vector of their knowledge, too; published: with h_i alone.",
    )
    order: bool = Field(
        default=False,
        exclude_if=lambda order: not order,
        description="The history's knowledge in Z says how many events ago each was; published: Z is a set.",
    )
    width: int = Field(default=64, ge=1, description="Width a of the vectors that are concatenated.")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Dropout on the retriever's input and after each sublayer."
    )
    text_dropout: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Dropout on the vectors of texts, for few users (KAR has one; not in the paper); None = none.",
    )
    rate: float = Field(default=0.1, gt=0, description="Learning rate of the retriever in joint training, as a share.")
    pretrain: bool = Field(default=True, description="Phase 1; False = w/o pretrain.")
    contrast: bool = Field(default=True, description="The contrastive loss; False = w/o CL.")
    matching: bool = Field(default=True, description="Preference-item matching; False = w/o PIM.")
    fresh_proxies: bool = Field(default=False, description="New proxies when joint training begins (proxy random).")
    pretraining: PretrainingConfig = Field(default_factory=PretrainingConfig)
    knowledge: KnowledgeSettings = Field(default_factory=KnowledgeSettings)
    z: Literal["text", "permuted", "preference permuted", "ids"] = Field(
        default="text",
        description="Z; controls: that of another user, with the own history but the preference of another, or learned "
        "ids of the history's items.",
    )
    z_seed: int | None = Field(default=None, description="Of the permutation; None = the reranker's seed.")

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.body == RANDOM and self.size % self.heads:
            raise ValueError(f"size = {self.size} cannot have heads = {self.heads}: heads must divide it")
        if self.item_texts and self.z == "ids":
            raise ValueError('z = "ids" has no texts for item_texts: drop one')
        if self.pretrain and not self.contrasts and not self.matching:
            raise ValueError("phase 1 has no loss left (without proxies none contrasts): set pretrain = false")
        return self

    @property
    def permutes(self) -> bool:
        """Z, or a part of it, is that of another user."""
        return self.z in ("permuted", "preference permuted")

    @property
    def contrasts(self) -> bool:
        """The contrastive loss compares proxies with items, so it needs some."""
        return self.contrast and self.proxies != 0


class HistoryIds(nn.Module):
    """The control in which Z are learned vectors of the history's items, and no text."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(size, width)
        nn.init.normal_(self.table.weight)  # spread as standardised texts are

    def forward(self, batch: ListBatch, history: int) -> Z:
        """As :meth:`Knowledge.forward`."""
        read = latest(batch, history)
        return Z(self.table(read), read > 0, ages(read))


class UR4Rec(Augmentation):
    """User preference retrieval."""

    paper = "Zhang et al., COLING 2025"
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

    @classmethod
    def suited(cls, config: Any, host: Host) -> Any:
        c, most = with_suited(config, host), host.history_length
        if most is not None and c.history is not None and c.history > most:
            raise ConfigError(
                f"UR4Rec on {host.name}: history = {c.history} is more than the {most} events that the backbone is "
                "given (history_length): lower it, or raise history_length"
            )
        if host.goes_on and c.pretrain and c.pretraining.items == "learned":
            raise ConfigError(
                f"UR4Rec on {host.name}: continued keeps the item vectors of the base, and pretraining.items = "
                '"learned" makes others: set pretraining.items = "frozen"'
            )
        longest = events(host.sequential)
        found = {
            "proxies": 16 if host.sequential else 8,
            "history": longest if most is None else min(longest, most),
            "z_seed": host.seed if c.permutes else 0,
        }
        return c.model_copy(update={key: value for key, value in found.items() if getattr(c, key) is None})

    @property
    def width(self) -> int:
        return self.config.width

    def untold(self, users: Tensor, known: Tensor) -> Tensor | None:
        return None if self.config.z == "ids" else self.knowledge.preferences.untold(users, known)

    def gather(self, lists: ListData) -> None:
        self.config = c = self.suited(self.config, Host())
        if c.z != "text" and self.knowledge is not None:
            instead = "hand over knowledge.permuted(histories, length)" if c.permutes else "hand over no knowledge"
            raise ConfigError(f"UR4Rec: z = {c.z!r} would not use the knowledge that was handed over: {instead}")
        if c.pretrain and lists.source.length is not None:
            c.pretraining.check_lists(lists.source.length)
        if c.z != "ids" and self.knowledge is None:
            self.knowledge, points = gather_knowledge(lists, c.knowledge, pretraining=c.pretrain)
            if c.permutes:
                whole = c.z == "permuted"
                self.knowledge = self.knowledge.permuted(points, c.history if whole else None, c.z_seed)

    def build(self, size: int, item_width: int) -> None:
        self.config = c = self.suited(self.config, Host())
        body = self._body or (Body(c.size, c.heads, 4 * c.size) if c.body == RANDOM else Body.read(c.body, c.layers))
        self.register_buffer("shape", torch.tensor([body.width, body.heads, body.inner]))
        if c.z == "ids":
            self.knowledge = HistoryIds(size, self.ID_WIDTH)
        text_width = self.ID_WIDTH if c.z == "ids" else self.knowledge.width
        self.retriever = Retriever(
            body,
            layers=c.layers,
            proxies=c.proxies,
            item_width=item_width,
            text_width=text_width,
            dropout=c.dropout,
            text_dropout=c.text_dropout or 0.0,
            item_texts=c.item_texts,
            oldest=c.history if c.order else 0,
        )
        self.match = nn.Linear(body.width, 1)
        self.match.requires_grad_(False)  # learned in phase 1, where it is used
        self.adapter = nn.Linear(body.width * (2 if c.proxies else 1), c.width)
        self._slow_down(c.rate)

    def _slow_down(self, share: float) -> None:
        for parameter in self.retriever.parameters():
            parameter.rate_scale = share  # type: ignore[attr-defined]  # read by seqlore.training

    def item_texts(self, items: Tensor) -> Tensor | None:
        """What items enter the retriever with beside h_i: [..., d_text]."""
        return self.knowledge.about_items(items)[0] if self.config.item_texts else None

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
        self.retriever.tell_apart(items)
        if c.pretrain:
            self._slow_down(1.0)
            self.match.requires_grad_(True)
            drawn = lists.pretraining()

            def batches(epoch: int, shard: tuple[int, int]) -> Iterator[ListBatch]:
                return drawn.batches(epoch, shard, size=phase.batch_size, length=c.history)

            net = Pretraining(self, items)
            rows = train(
                net,
                batches,
                phase.model_copy(update={"device": device}),
                checkpoint=checkpoint,
                log=log,
                progress=progress,
            )
            self.match.requires_grad_(False)
            self._slow_down(c.rate)
            if phase.items == "learned":
                self.start = net.items.detach().clone()
        if c.fresh_proxies:
            self.retriever.new_proxies()
        return rows

    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        asked, c = batch.candidates, batch.candidates.shape[1]
        if history:  # one pass for candidates and history
            asked = torch.cat([asked, batch.items], 1)
        h = self.retriever.enter(items(asked), self.item_texts(asked))
        proxies, own = self.retriever.retrieve(h, asked > 0, self.memory(batch), self.config.form)
        extra = self.adapter(own if proxies is None else torch.cat([proxies.expand_as(own), own], -1))
        return Augmented(extra[:, :c], extra[:, c:] if history else None)

    @classmethod
    def rebuilt(cls, config: Config, state: Mapping[str, Tensor]) -> Self:
        ids = config.z == "ids"  # type: ignore[attr-defined]
        self = cls(config, texts=None if ids else Knowledge.rebuilt(state, "knowledge."))
        self._body = Body(*state["shape"].tolist())
        return self
