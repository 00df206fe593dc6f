"""E4SRec: a language model between the item vectors of a trained sequential model and a prediction over all items.

X. Li, C. Chen, X. Zhao, Y. Zhang, C. Xing, "E4SRec: an elegant effective efficient extensible solution of large
language models for sequential recommendation", 2023, arXiv 2312.02443. Instruction, projected item vectors, then the
words before the answer; the state at the last position is compared with a vector of each item that is learned for this
alone. Item vectors stay frozen, the body learns through LoRA; every prefix of a training sequence is an example, the
empty one too. The prefixes of a sequence are learned in one row (:mod:`seqlore.language.prefixes`), where the body can;
a batch has about so many prefixes, whatever the rows, as if each were an example of its own.

Differs from the authors' code: the adapter sits on all linear layers and not on the feed-forward alone (families name
them differently; ``backbone.lora_targets`` gives that back); item vectors are standardised, and projected items start
with the spread of the words, so that any donor fits any body; the donor is trained here, on the same split, and learns
from a full softmax where theirs has BCE with one negative (``recipes/papers/relrec-beauty.toml`` has a row with each).
Beyond it: ``predict_start``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.errors import ConfigError
from seqlore.fitting import fit_with
from seqlore.language.backbone import Backbone, BackboneConfig
from seqlore.language.frozen import FrozenConfig, FrozenNet, FrozenRecommender
from seqlore.language.prefixes import PrefixPlan, PrefixRows, prefix_row, prefix_rows
from seqlore.recommender import HasItemVectors, Recommender, model_class
from seqlore.training.objectives import full_softmax


class DonorConfig(Config):
    """The sequential model whose item vectors are taken."""

    model: str = Field(default="SASRec", description="A registered model with item vectors.")
    settings: dict[str, Any] = Field(default={}, description="Of that model.")

    def build(self, seed: int) -> Recommender:
        """The unfitted model. Raises: ConfigError: there is none, or a setting is wrong."""
        known = model_class(self.model)
        drawn = {"seed": seed} if "seed" in known.Config.model_fields else {}
        return known(known.Config.parse({**drawn, **self.settings}, f"donor {self.model}"))


class E4SRecConfig(FrozenConfig):
    """Settings of E4SRec."""

    backbone: BackboneConfig = Field(description="The language model; tune = lora unless set.")
    donor: DonorConfig = Field(default=DonorConfig(), description="Where the item vectors come from.")
    batch_size: int = Field(default=128, ge=1, description="About so many prefixes in a batch.")
    predict_start: Literal["random", "donor"] = Field(
        default="random",
        description="Where the items' vectors of the prediction start: drawn, as published, or at the donor's, turned "
        "into the body's width, so that what is rare begins beside what it goes with.",
    )
    prefixes: Literal["all", "one"] = Field(
        default="all",
        description="In each epoch every prefix of a sequence is an example, or one that is drawn; of sequences longer "
        "than max_length in windows that overlap by half.",
    )
    instruction: str = Field(
        default="A customer bought these items, one after the other. Which item comes next?\nItems:",
        description="Words before the items.",
    )
    response: str = Field(
        default="\nNext item:", min_length=1, description="Words after them; the last one's state is read."
    )

    @field_validator("backbone", mode="before")
    @classmethod
    def _adapter_by_default(cls, given: Any) -> Any:
        if isinstance(given, BackboneConfig) and "tune" not in given.model_fields_set:
            return given.model_copy(update={"tune": "lora"})
        return {"tune": "lora", **given} if isinstance(given, Mapping) else given


class E4SRecNet(FrozenNet):
    """Histories between two prompts → the state of the last word."""

    vectors: Tensor

    def __init__(self, body: Backbone, counts: NDArray[np.integer], vectors: Tensor, config: E4SRecConfig) -> None:
        """Args: vectors: [size, k], the donor's, standardised."""
        super().__init__(body, counts)
        self.register_buffer("vectors", vectors)
        mean, spread = body.vocabulary_mean()
        self.project = nn.Linear(vectors.shape[1], body.width)
        with torch.no_grad():
            self.project.weight.normal_(std=spread / vectors.shape[1] ** 0.5)
            self.project.bias.copy_(mean)
        self.project.bias.decay_scale = 0.0  # type: ignore[attr-defined]  # the mean of the words; see seqlore.training
        self.predict = nn.Linear(body.width, len(counts), bias=False)
        if config.predict_start == "donor":
            lift = nn.init.orthogonal_(torch.empty(vectors.shape[1], body.width))
            with torch.no_grad():
                self.predict.weight.copy_(vectors @ lift * (self.predict.weight.std() / (vectors @ lift).std()))
        self.before, self.after = body.begin + body.encode(config.instruction), body.encode(config.response)
        words = len(self.before) + len(self.after)
        body.check_length(words + config.max_length, "max_length, with instruction and response,")

    def item_vectors(self) -> Tensor:
        return self.predict.weight

    def forward(self, batch: PrefixRows) -> Tensor:
        """Mean over all prefixes of the cross-entropy over all items."""
        rows = PrefixRows(*batch)
        self.body.place(rows.tokens.device)
        places = None if rows.alone else (rows.mask(), rows.positions)
        states = self.body.hidden(self.embed(rows.tokens, self.project(self.vectors)), places=places)
        asked = rows.targets > 0
        return full_softmax(states[asked], rows.targets[asked], self.predict.weight)

    def rows(self, sequences: Sequences, plan: PrefixPlan) -> PrefixRows:
        """The rows of a plan. Args: sequences: of which it was made."""

        def row(sequence: int, start: int, cut: int, prefixes: int) -> tuple[NDArray[np.int64], ...]:
            items, cuts = sequences[sequence], np.arange(cut, cut + prefixes)
            read = self.tokens.of_items(items[start : cuts[-1]])
            return prefix_row(self.before, read, cuts - start, items[cuts], self.after)

        return prefix_rows([row(*each) for each in zip(*(field.tolist() for field in plan), strict=True)])

    def states(self, items: Tensor, lengths: Tensor, users: Tensor, vectors: Tensor, prefix: Any) -> Tensor:
        after = torch.tensor(self.after, device=items.device)
        n, longest = items.shape[0], int(lengths.max())
        tokens = torch.zeros(n, longest + len(after), dtype=torch.int64, device=items.device)
        tokens[:, :longest] = torch.where(items > 0, items + self.tokens.words, 0)[:, :longest]
        places = lengths[:, None] + torch.arange(len(after), device=items.device)
        tokens.scatter_(1, places, after.expand(n, -1))  # right behind each row's own last item
        hidden = self.body.hidden(self.embed(tokens, self.project(self.vectors)), prefix)
        return hidden[torch.arange(n, device=items.device), places[:, -1]]

    def prefix(self) -> Any:
        return self.body.prefix(torch.tensor(self.before, dtype=torch.int64))


class E4SRec(FrozenRecommender):
    """Item vectors of a sequential model in a language model with an adapter."""

    paper = "Li et al., 2023, arXiv 2312.02443"
    Config: ClassVar[type[Config]] = E4SRecConfig

    def _fit(self, split: Split, *, checkpoint: Path | None = None, exclude_seen: bool = True, **options: Any) -> None:
        """The donor's own checkpoint is a folder in ``checkpoint``."""
        donor = self.config.donor.build(self.config.seed)
        if not callable(getattr(donor, "item_vectors", None)):
            raise ConfigError(f"donor {donor.name} has no item vectors; take one that has, such as SASRec or GRU4Rec")
        own = None if checkpoint is None else checkpoint / "donor"
        fit_with(donor, split, checkpoint=own, exclude_seen=exclude_seen, progress=options.get("progress"))
        self.about["donor"] = {"model": donor.name, "valid": donor.about.get("valid")}
        assert isinstance(donor, HasItemVectors)
        self._vectors = standardised(donor.item_vectors().detach().float().cpu())
        super()._fit(split, checkpoint=checkpoint, exclude_seen=exclude_seen, **options)

    def build(self, counts: NDArray[np.integer]) -> E4SRecNet:
        return E4SRecNet(Backbone(self.config.backbone, seed=self.config.seed), counts, self._vectors, self.config)

    def restore(self, state: dict[str, Tensor]) -> None:
        self._vectors = state["vectors"]
        super().restore(state)

    @property
    def answers_empty(self) -> bool:
        return True

    def batches(self, split: Split) -> Callable[[int, tuple[int, int]], Iterator[Any]]:
        """Each batch: rows of like length, with all prefixes or the one that was drawn, and what followed each."""
        c, net, train = self.config, self.net, split.train
        some = np.flatnonzero(train.lengths > 0)
        every = PrefixPlan.all(train.lengths, c.max_length)
        if not net.body.packs(len(net.before) + c.max_length + len(net.after)):
            every = every.apart()

        def epoch(number: int, shard: tuple[int, int]) -> Iterator[PrefixRows]:
            rng = np.random.default_rng((c.seed, number))
            one = c.prefixes == "one"
            plan = PrefixPlan.at(rng.integers(train.lengths[some]), some, c.max_length) if one else every
            parts = plan.batches(c.batch_size, len(net.after), rng)
            rank, world = shard
            for part in parts[rank : len(parts) - len(parts) % world : world]:
                yield net.rows(train, part)

        return epoch


def standardised(vectors: Tensor) -> Tensor:
    """[size, k] with mean 0 and standard deviation 1 over all entries of real items; row 0, padding, is zero."""
    real = vectors[1:]
    out = (vectors - real.mean(0)) / (real - real.mean(0)).std().clamp_min(1e-12)
    out[0] = 0
    return out
