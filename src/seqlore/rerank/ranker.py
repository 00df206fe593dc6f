"""What all backbones share: item vectors joined with augmented ones, the listwise loss, the phases of a fit, scoring.

A backbone's file holds what is its own: how a list (and, where it reads one, a history) becomes scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.evaluation import metrics
from seqlore.evaluation.candidates import SampledCases
from seqlore.evaluation.report import accuracies
from seqlore.models.items import ItemTable
from seqlore.models.ranked import RankedConfig
from seqlore.ranking import Lists
from seqlore.rerank.augment import Augmentation, AugmentationSettings, Host, NoAugmentation, augmentation_class
from seqlore.rerank.base import Continued, check_base, go_on, items_of
from seqlore.rerank.candidates import CandidateSource
from seqlore.rerank.layers import Join
from seqlore.rerank.lists import ListBatch, ListData, list_batch, listwise_softmax
from seqlore.rerank.reranker import Reranker
from seqlore.training import outcome, train
from seqlore.training.device import device_of

#: Lists that are scored together when nothing is learned.
READ_LISTS = 64

#: What validation tells beside the monitored accuracy.
TOLD = tuple(f"{kind}@{cut}" for kind in ("map", "ndcg") for cut in (1, 5, 10, 20))


class RankerConfig(RankedConfig):
    """Settings that every backbone has."""

    embedding_size: int = Field(default=64, ge=1, description="Width d of item vectors and hidden states.")
    history_length: int = Field(
        default=10, ge=1, description="Latest events that the backbone and its augmentation read."
    )
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Dropout on the input, in attention and after each sublayer."
    )
    init_std: float = Field(default=0.02, gt=0, description="Standard deviation of item vectors at the start.")
    batch_size: int = Field(default=32, ge=1, description="Lists in a batch.")
    targets: int = Field(default=1, ge=1, description="Lists of each training user in an epoch, one a target.")
    first_target: int | None = Field(
        default=None, ge=2, description="Earliest position of a target; None = the split's, or 2."
    )
    target_pool: int | None = Field(
        default=None,
        ge=1,
        description="Epochs go round so many draws of targets, a phase; None = new targets each epoch.",
    )
    target_step: int | None = Field(
        default=None,
        ge=1,
        description="Targets at every so many events only, where texts about users are written then; None = anywhere.",
    )
    valid_cases: int | None = Field(
        default=None, ge=1, description="At most so many validation cases an epoch; None = all."
    )
    augmentation: AugmentationSettings = Field(
        default_factory=AugmentationSettings, description="What stands beside the item vectors."
    )
    start: Literal["base", "fresh"] = Field(
        default="base",
        description="Where an augmentation needs a trained base: its item vectors are the start, or are not.",
    )
    continued: Continued | None = Field(
        default=None, description="With any augmentation: train the base, and go on from all of it, by this schedule."
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.continued and self.start == "fresh":
            raise ValueError('start = "fresh" cannot go with continued, which starts from a whole base: drop one')
        return self


class RankerNet(nn.Module):
    """Base of the backbones. Subclasses give ``order``, and say in ``reads_history`` whether they read one."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        """Args: size: ``catalog.size``. augmentation: with its knowledge; it is built here."""
        super().__init__()
        self.config = config
        self.items = ItemTable(size, config.embedding_size, init_std=config.init_std)
        self.augmentation = augmentation
        augmentation.build(size, config.embedding_size)
        self.join = Join(config.embedding_size, augmentation.width)

    @property
    @abstractmethod
    def reads_history(self) -> bool:
        """Whether ``order`` is given the history's vectors."""

    @abstractmethod
    def order(self, batch: ListBatch, candidates: Tensor, listed: Tensor, history: Tensor | None) -> Tensor:
        """Scores [B, C] of ``candidates`` [B, C, d]; listed: bool [B, C], some in each row; history [B, T, d]."""

    def scores(self, batch: ListBatch) -> Tensor:
        """[B, C]; −∞ where no candidate stands."""
        extra = self.augmentation(batch, self.items, self.reads_history)
        candidates = self.join(self.items(batch.candidates), extra.candidates)
        history = None if extra.history is None else self.join(self.items(batch.items), extra.history)
        listed = batch.listed.clone()
        listed[:, 0] |= ~listed.any(1)  # attention over nothing is not a number
        scores = self.order(batch, candidates, listed, history)
        return scores.float().masked_fill(~batch.listed, -torch.inf)

    def forward(self, batch: ListBatch) -> Tensor:
        """The loss of a batch."""
        return listwise_softmax(self.scores(batch), batch.target)


class NetReranker(Reranker):
    """A backbone, with or without augmentation, as a reranker. Subclasses set ``Net`` and ``Config``."""

    Config: ClassVar[type[Config]] = RankerConfig
    Net: ClassVar[type[RankerNet]]
    uses_users: ClassVar[bool] = True  # texts about users are found by user
    #: Scores candidates by the state after a long history, which decides what augmentations' defaults are.
    sequential: ClassVar[bool] = False

    def __init__(
        self, config: Config | None = None, /, *, augmentation: Augmentation | Any = None, **settings: Any
    ) -> None:
        """Args: augmentation: one that has its knowledge, or the settings of one (see AugmentationSettings)."""
        self._given = augmentation if isinstance(augmentation, Augmentation) else None
        if self._given is not None:
            augmentation = AugmentationSettings.of(self._given).model_dump(mode="json")
        if augmentation is not None:
            settings["augmentation"] = augmentation
        super().__init__(config, **settings)
        c = self.config
        host = Host(self.name, self.sequential, c.history_length, c.seed, c.continued is not None)
        plain = c.augmentation.name == NoAugmentation.__name__  # is a base, and has none to go on from
        suited: dict[str, Any] = {"augmentation": c.augmentation.on(host), **({"continued": None} if plain else {})}
        self.config = c.model_copy(update=suited)
        self.history: list[dict[str, Any]] = []
        self.net: Any = None

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.net.parameters() if p.requires_grad)

    @property
    def starts_from_base(self) -> bool:
        """Whether a phase of ``fit`` needs this backbone, trained without augmentation."""
        c = self.config
        return augmentation_class(c.augmentation.name).needs_base or c.continued is not None

    def base(self) -> Self:
        """The same backbone without augmentation, unfitted."""
        return type(self)(self.config.parse({**self.config.model_dump(), "augmentation": {}}, self.name))

    def lists(self, split: Split, source: CandidateSource) -> ListData:
        """The lists that ``fit`` learns from and stops on."""
        c = self.config
        return ListData(
            split,
            source.fitted(split),
            targets=c.targets,
            first=c.first_target,
            pool=c.target_pool,
            step=c.target_step,
            valid_cases=c.valid_cases,
            seed=c.seed,
        )

    def _fit(
        self,
        split: Split,
        source: CandidateSource,
        *,
        base: NetReranker | None = None,
        progress: Callable[[dict[str, Any]], None] | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        """``base``: this backbone, trained without augmentation on the same split and candidates; None: trained here
        where needed.

        The phases keep their logs and checkpoints apart, as ``base-…``, ``pretrain-…``, and the name that was given.
        """
        c = self.config
        device_of(c.device)  # before anything is written about anybody
        lists = self.lists(split, source)
        augmentation = c.augmentation.make() if self._given is None else self._given.fresh()
        augmentation.config = c.augmentation.parsed()
        augmentation.gather(lists)

        def phase(name: str) -> dict[str, Any]:
            def of(path: Path | None) -> Path | None:
                return None if path is None else path.with_name(f"{name}-{path.name}")

            def tell(row: dict[str, Any]) -> None:
                if progress is not None:
                    progress({"stage": name, **row})

            return {"progress": tell, "log": of(log), "checkpoint": of(checkpoint)}

        if self.starts_from_base:
            base = base or self.base().fit(split, source, **phase("base"))
            check_base(base, self)
        torch.manual_seed(c.seed)
        self.net = self.Net(split.catalog.size, c, augmentation)
        if base is not None and augmentation.needs_base:
            h = items_of(base)
            self.about["pretraining"] = augmentation.pretrain(h, lists, device=c.device, **phase("pretrain"))
            if c.start == "base":
                with torch.no_grad():
                    self.net.items.table().copy_(h if augmentation.start is None else augmentation.start)
        if base is not None and c.continued:
            go_on(self.net, base.net, self.name)
        if self.starts_from_base:
            torch.manual_seed(c.seed + 1)  # whatever the phases before have drawn
        self.history = train(
            self.net,
            lambda epoch, shard: lists.batches(epoch, shard, size=c.batch_size, length=c.history_length),
            c.continued.loop(c) if c.continued else c,
            validate=None if lists.valid is None else lambda: self.validate(lists.valid),  # type: ignore[arg-type]
            log=log,
            checkpoint=checkpoint,
            progress=progress,
        )
        self.about |= {
            "seed": c.seed,
            **outcome(self.history, c.monitor),
            "parameters": self.parameters,
            "seconds_per_epoch": round(float(np.mean([row["seconds"] for row in self.history])), 3),
        }

    def validate(self, cases: SampledCases) -> dict[str, float]:
        """NDCG and MAP at 1, 5, 10 and 20, and the monitored metric, over the lists of ``cases``."""
        assert cases.candidates is not None
        position = metrics.positions(self.rerank(cases.histories, cases.candidates).items, cases.targets)
        return accuracies(position, sorted({*TOLD, self.config.monitor}))

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> Lists:
        """As :meth:`Reranker.rank`; ``diagnostics`` tells which share of the lists had no text of their own, if any."""
        lists = super().rank(histories, k, exclude_seen=exclude_seen, candidates=candidates)
        users, known = (torch.from_numpy(each.astype(np.int64)) for each in (histories.users, histories.lengths))
        untold = self.net.augmentation.untold(users, known)
        share = 0.0 if untold is None or not len(untold) else float(untold.float().mean())
        self.diagnostics = {"without_own_text": share} if share else {}
        return lists

    @torch.no_grad()
    def score(self, histories: Sequences, candidates: NDArray[np.integer]) -> Tensor:
        """[n, c]; lists with histories of like length are scored together."""
        device = next(self.net.parameters()).device
        self.net.eval()
        out = torch.full(candidates.shape, -torch.inf)
        order = np.argsort(np.minimum(histories.lengths, self.config.history_length), kind="stable")
        for start in range(0, len(order), READ_LISTS):
            index = order[start : start + READ_LISTS]
            batch = list_batch(histories.take(index), candidates[index], self.config.history_length)
            scores = self.net.scores(ListBatch(*(each.to(device) for each in batch)))
            out[torch.from_numpy(index)] = scores.cpu()
        return out

    def state(self) -> dict[str, Tensor]:
        return self.net.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        prefix = "augmentation."
        mine = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        chosen = self.config.augmentation
        augmentation = augmentation_class(chosen.name).rebuilt(chosen.parsed(), mine)
        self.net = self.Net(len(state["items.embedding.weight"]), self.config, augmentation)
        if self.net.join.map is not None:  # saved before extra vectors had a scale
            state = {"join.scale": torch.tensor(1.0), **state}
        self.net.load_state_dict(state)
        self.net.eval()
