"""The frame of recommenders whose body is a frozen language model: id vectors in, item scores out.

Users and items are single tokens with vectors of their own, beside the words. Tokens are numbered through: words
0 … V − 1, then items V + i, then users V + N + u; item 0 and user 0 are padding and the stranger.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Cases, Sequences, Split
from seqlore.errors import DataError
from seqlore.language.backbone import Backbone, BackboneConfig
from seqlore.language.loading import check_here, digest, locate
from seqlore.language.tokens import Tokens
from seqlore.lore.corpus import check_corpora
from seqlore.models.ranked import RankedConfig, validate
from seqlore.recommender import ScoringRecommender
from seqlore.training import outcome, train
from seqlore.training.batches import plan
from seqlore.training.device import device_left, device_of

#: Padded positions in a batch when nothing is learned.
READ_TOKENS = 8192


class FrozenConfig(RankedConfig):
    """Settings of every recommender on a frozen body."""

    backbone: BackboneConfig = Field(description="The language model.")
    max_length: int = Field(default=50, ge=1, description="Latest items of a history that are read.")
    batch_size: int = Field(default=32, ge=1, description="Sequences in a batch.")
    valid_cases: int | None = Field(
        default=None, ge=1, description="At most so many validation cases an epoch; None = all."
    )


class FrozenNet(nn.Module):
    """Base of the nets: the body outside the module tree, and what of it learns inside."""

    def __init__(self, body: Backbone, counts: NDArray[np.integer]) -> None:
        """Args: counts: int [size], of items in training."""
        super().__init__()
        body.check_vectors()
        self.body, self.tokens = body, Tokens(body.size, len(counts))
        for weight in body.trained.values():  # decay would draw a pretrained body, and what is added to it, to nothing
            weight.decay_scale = 0.0  # type: ignore[attr-defined]  # read by seqlore.training
        self.adapter = nn.ParameterDict({name.replace(".", "/"): weight for name, weight in body.trained.items()})
        self.register_buffer("counts", torch.as_tensor(counts, dtype=torch.float32))
        self.counts: Tensor

    def train(self, mode: bool = True) -> FrozenNet:
        super().train(mode)
        self.body.train(mode)
        return self

    def embed(self, tokens: Tensor, items: Tensor) -> Tensor:
        """Words and items [B, T] → [B, T, d]; ``items``: the vectors of all items, [size, d]."""
        words = self.body.embed(tokens.clamp_max(self.tokens.words - 1)).to(items.device, items.dtype)
        here = (tokens >= self.tokens.words) & (tokens < self.tokens.first_user)
        return words.masked_scatter(here[..., None], items[tokens[here] - self.tokens.words])

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """What states are compared with, [size, k]; column 0 of the scores is ignored."""

    @abstractmethod
    def states(self, items: Tensor, lengths: Tensor, users: Tensor, vectors: Tensor, prefix: Any) -> Tensor:
        """items [B, T], right-padded; lengths [B]; users [B] → the state that predicts what follows, [B, k].

        Args: vectors: what ``item_vectors`` gave. prefix: what ``prefix`` gave; both are made once for many batches.
        """

    def prefix(self) -> Any:
        """Keys and values of the words that all sequences begin with; None where there are none."""
        return None


class FrozenRecommender(ScoringRecommender):
    """A recommender on a frozen body. Subclasses give the net, its batches, and what an empty history is worth."""

    Config: ClassVar[type[Config]] = FrozenConfig

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.history: list[dict[str, Any]] = []
        self.net: Any = None

    @abstractmethod
    def build(self, counts: NDArray[np.integer]) -> FrozenNet:
        """The net as it starts. Catalogue and users are known."""

    @abstractmethod
    def batches(self, split: Split) -> Callable[[int, tuple[int, int]], Iterator[Any]]:
        """(epoch, shard) → the batches that ``net.forward`` takes, a function of seed, epoch and shard alone."""

    @property
    def answers_empty(self) -> bool:
        """A history without known items has a state all the same; otherwise popularity answers."""
        return False

    @property
    def unvalidated(self) -> int:
        """Epochs at the start in which nothing is learned that validation could see."""
        return 0

    def fit(self, split: Split, **options: Any) -> Self:
        """As of every recommender; what the settings need of this machine is looked for before anything else."""
        device_of(self.config.device)
        check_here(self.config.backbone)
        return super().fit(split, **options)

    def _fit(
        self,
        split: Split,
        *,
        progress: Callable[[dict[str, Any]], None] | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
        exclude_seen: bool = True,
    ) -> None:
        """``exclude_seen``: of the lists that validation judges."""
        config = self.config
        torch.manual_seed(config.seed)
        self.net = self.build(split.counts())
        if not config.backbone.any_corpus:
            body = self.net.body
            check_corpora(body.folder, split, f"backbone {body.config.name!r}", "backbone.any_corpus")
        valid = split.valid_sample(config.valid_cases, config.seed)
        self.history = train(
            self.net,
            self.batches(split),
            config,
            validate=None if valid is None else lambda: self.validate(valid, exclude_seen=exclude_seen),
            log=log,
            checkpoint=checkpoint,
            progress=progress,
            validate_after=self.unvalidated,
        )
        self.about |= {
            "seed": config.seed,
            **outcome(self.history, config.monitor),
            "parameters": sum(p.numel() for p in self.net.parameters() if p.requires_grad),
            "backbone": self.net.body.identity,
        }

    def _reads(self) -> dict[str, Any]:
        return {**super()._reads(), "backbone": digest(locate(self.config.backbone)[0])}

    def validate(self, cases: Cases, *, exclude_seen: bool = True) -> dict[str, float]:
        """HR and NDCG at 10 and 20, and the monitored metric, on ``cases``, with the net as it stands."""
        return validate(self, cases, self.config.monitor, exclude_seen=exclude_seen)

    def item_vectors(self) -> Tensor:
        """[catalog.size, k]: score = ⟨encode, item_vectors⟩."""
        with torch.no_grad():
            return self.net.item_vectors().detach()

    def encode(self, histories: Sequences) -> Tensor:
        """[n, k], zero where a history holds no known item and nothing else speaks for it."""
        return self._encode(histories, self.item_vectors())

    def _encode(self, histories: Sequences, vectors: Tensor) -> Tensor:
        known = histories.where(histories.items > 0).last(self.config.max_length)
        out = torch.zeros(len(known), vectors.shape[1], device=vectors.device)
        self.net.eval()
        self.net.body.place(vectors.device)
        with torch.inference_mode():
            prefix = self.net.prefix()
            for index in plan(known.lengths, READ_TOKENS, None):
                part = known.take(index)
                if not (self.answers_empty or part.lengths.any()):
                    continue
                items = torch.from_numpy(part.padded(max(1, int(part.lengths.max()))).astype(np.int64))
                lengths, users = torch.from_numpy(part.lengths), torch.from_numpy(part.users.astype(np.int64))
                moved = (each.to(vectors.device) for each in (items, lengths, users))
                out[torch.from_numpy(index).to(vectors.device)] = self.net.states(*moved, vectors, prefix)
        if not self.answers_empty:
            out[torch.from_numpy(known.lengths == 0).to(out.device)] = 0
        return out

    def score(self, histories: Sequences) -> Tensor:
        """[n, size]; where nothing speaks for a history, popularity."""
        vectors = self.item_vectors()
        scores = self._encode(histories, vectors) @ vectors.T
        empty = np.bincount(histories.row_ids[histories.items > 0], minlength=len(histories)) == 0
        if empty.any() and not self.answers_empty:
            scores[torch.from_numpy(empty).to(scores.device)] = self.net.counts.log1p()
        return scores

    def state(self) -> dict[str, Tensor]:
        return self.net.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        backbone, revision = self.config.backbone, self.about["backbone"]["revision"]
        if revision is not None and not Path(backbone.name).is_dir():  # the commit that was read, whatever main is now
            pinned = backbone.model_copy(update={"revision": revision})
            self.config = self.config.model_copy(update={"backbone": pinned})
        self.net = self.build(state["counts"].numpy())
        told, found = self.about["backbone"]["digest"], self.net.body.identity["digest"]
        if told != found:
            raise DataError(
                f"{self.name} was trained on a backbone {self.config.backbone.name!r} with digest {told}, and what is "
                f"there now has {found}: put the right one there, or train again"
            )
        self.net.load_state_dict(state)
        self.net.eval().to(device_left(self.config.device))
