"""Which item for whom, from pairs alone: BPR-MF, BPR-MLP and SimpleX.

* BPR: Rendle et al., UAI 2009 (arXiv 1205.2618): −log σ(s(u, i) − s(u, j)), one j drawn uniformly for each pair and
  drawn again where the user has it in training. As product of vectors with an item bias, or as an MLP over both
  (Cheng et al., DLRS 2016, arXiv 1606.07792, the deep part).
* SimpleX: Mao et al., CIKM 2021 (arXiv 2109.12613): cosines, the contrastive loss
  (1 − ŷ_ui) + w/|N| Σ_j max(0, ŷ_uj − m), and g·e_u + (1 − g)·V·(mean of the vectors of what the user had). Differs:
  the wrong items are shared by a batch, and the item that is asked about is taken out of the mean that asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqlore.data import Sequences
from seqlore.evaluation import metrics
from seqlore.evaluation.candidates import target_and_unseen
from seqlore.tasks.scores import list_places
from seqlore.tasks.split import Pairs, TaskSplit
from seqlore.training import TrainConfig, train


class DirectScorer(Protocol):
    """What scores candidates."""

    def fit(self, tasks: TaskSplit) -> Self: ...

    def score(self, pairs: Pairs, candidates: NDArray[np.integer]) -> NDArray[np.float32]:
        """float32 [n, c]; of ``pairs`` it may read users and histories."""
        ...


class Popularity:
    """How often an item was taken in training."""

    def fit(self, tasks: TaskSplit) -> Self:
        self.counts = tasks.split.counts().astype(np.float32)
        return self

    def score(self, pairs: Pairs, candidates: NDArray[np.integer]) -> NDArray[np.float32]:
        return self.counts[candidates]


class DirectConfig(TrainConfig):
    """Settings of the three."""

    size: int = Field(default=64, ge=1, description="Of a user's and an item's vector.")
    regularisation: float = Field(default=0.002, ge=0, description="BPR: of the squared norms of a batch's vectors.")
    hidden: tuple[int, ...] = Field(default=(64, 32), description="BPR-MLP: layers.")
    negatives: int = Field(default=512, ge=1, description="SimpleX: wrong items of a batch.")
    margin: float = Field(default=0.0, ge=-1, le=1, description="SimpleX: cosine that a wrong item may have (m).")
    negative_weight: float = Field(
        default=6.0,
        gt=0,
        description="SimpleX: of the wrong items' mean (w). An item rises above the margin for whom it is w times "
        "likelier than an item by chance; where that is too much to ask, all cosines end at the margin.",
    )
    fusion: float = Field(default=0.5, ge=0, le=1, description="SimpleX: share of the user's own vector (g).")
    max_items: int = Field(default=50, ge=1, description="SimpleX: latest items whose mean is taken.")
    batch_size: int = Field(default=2048, ge=1, description="Pairs of a step.")
    valid_cases: int = Field(default=2000, ge=1, description="At most so many validation pairs, drawn.")
    learning_rate: float = Field(default=3e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled decay.")
    epochs: int = Field(default=40, ge=1, description="Most epochs.")
    patience: int = Field(
        default=10, ge=1, description="Validations without improvement; BPR-MLP knows only popularity at first."
    )
    monitor: Literal["ndcg@10"] = Field(default="ndcg@10", description="Among 99 wrong items.")  # type: ignore[assignment]


Kind = Literal["bpr-mf", "bpr-mlp", "simplex"]


class PairNet(nn.Module):
    """``forward(batch)`` is the loss of users, items, wrong items and, for SimpleX, histories."""

    def __init__(self, kind: Kind, users: int, items: int, config: DirectConfig) -> None:
        super().__init__()
        self.kind, self.config = kind, config
        self.user, self.item = (nn.Embedding(n, config.size, padding_idx=0) for n in (users, items))
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.1 if kind == "simplex" else 0.05)
            nn.init.zeros_(table.weight[0])
        if kind == "bpr-mf":
            self.bias = nn.Embedding(items, 1, padding_idx=0)
            nn.init.zeros_(self.bias.weight)
        elif kind == "bpr-mlp":
            widths, layers = (2 * config.size, *config.hidden), []
            for a, b in itertools.pairwise(widths):
                layers += [nn.Linear(a, b), nn.ReLU()]
            self.deep = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        else:
            self.mixed = nn.Linear(config.size, config.size, bias=False)

    def score(self, users: Tensor, items: Tensor, histories: Tensor, without: Tensor | None = None) -> Tensor:
        """[B, c] of items [B, c], or of items [c] that all users share.

        Args: histories: [B, T], 0 pads. without: [B], an item that is left out of each history.
        """
        p, q = self.user(users), self.item(items)  # [B, d], [B, c, d] or [c, d]
        if self.kind == "bpr-mf":
            return torch.einsum("bd,bcd->bc", p, q) + self.bias(items)[..., 0]
        if self.kind == "bpr-mlp":
            return self.deep(torch.cat([p[:, None].expand_as(q), q], 2))[..., 0]
        # As a bag, less what is left out: no [B, T, d] is made.
        total, n = F.embedding_bag(histories, self.item.weight, mode="sum", padding_idx=0), (histories > 0).sum(1, True)
        if without is not None:
            own = (histories == without[:, None]).sum(1, keepdim=True)
            total, n = total - own * self.item(without), n - own
        mean = total / n.clamp_min(1)
        wish = F.normalize(self.config.fusion * p + (1 - self.config.fusion) * self.mixed(mean), dim=1)
        q = F.normalize(q, dim=-1)
        return wish @ q.T if q.ndim == 2 else torch.einsum("bd,bcd->bc", wish, q)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        users, items, wrong, histories = batch
        if self.kind == "simplex":
            right = self.score(users, items[:, None], histories, items)[:, 0]
            other = self.score(users, wrong, histories, items)
            over = (other - self.config.margin).clamp_min(0).mean(1)
            return (1 - right + self.config.negative_weight * over).mean()
        scores = self.score(users, torch.stack([items, wrong], 1), histories)
        norms = (self.user(users) ** 2).sum(1) + (self.item(items) ** 2).sum(1) + (self.item(wrong) ** 2).sum(1)
        return (-F.logsigmoid(scores[:, 0] - scores[:, 1]) + self.config.regularisation * norms).mean()


class _Pairwise:
    kind: Kind

    def __init__(self, config: DirectConfig | None = None) -> None:
        self.config = config or DirectConfig.parse({}, type(self).__name__)
        self.history: list[dict[str, Any]] = []

    def fit(self, tasks: TaskSplit) -> Self:
        config, pairs = self.config, tasks.train
        self._size, known = tasks.split.catalog.size, np.unique(pairs.keys)
        users, items = pairs.users.astype(np.int64), pairs.items.astype(np.int64)
        last = _latest(tasks, config.max_items)
        torch.manual_seed(config.seed)
        self.net = PairNet(self.kind, tasks.split.users.size, self._size, config)

        def batches(epoch: int, shard: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
            rng = np.random.default_rng((config.seed, epoch))
            order = rng.permutation(len(users))
            for start in range(0, len(order), config.batch_size):
                rows = order[start : start + config.batch_size]
                if self.kind == "simplex":
                    wrong = rng.integers(1, self._size, config.negatives)
                else:
                    wrong = _unknown(users[rows], self._size, known, rng)
                told = last[users[rows]] if self.kind == "simplex" else np.zeros((len(rows), 0), np.int64)
                if (start // config.batch_size) % shard[1] == shard[0]:
                    yield tuple(torch.from_numpy(x) for x in (users[rows], items[rows], wrong, told))

        valid = tasks.valid.some(config.valid_cases, config.seed)
        held = target_and_unseen(valid.cases(), min(99, self._room(tasks)), size=self._size, seed=config.seed)

        def validate() -> dict[str, float]:
            places = list_places(self.score(valid, held), held, valid.items)
            return {"ndcg@10": float(metrics.ndcg(places, 10).mean())}

        self.history = train(self.net, batches, config, validate=validate if len(valid) else None)
        return self

    def _room(self, tasks: TaskSplit) -> int:
        """Items that the longest validation history leaves, the target not counted."""
        return self._size - 2 - int(tasks.valid.histories().lengths.max(initial=0))

    @torch.no_grad()
    def score(self, pairs: Pairs, candidates: NDArray[np.integer]) -> NDArray[np.float32]:
        device, out = self.net.user.weight.device, np.zeros(candidates.shape, np.float32)
        told = pairs.histories(self.config.max_items).padded(self.config.max_items).astype(np.int64)
        columns = [torch.from_numpy(x.astype(np.int64)) for x in (pairs.users, candidates, told)]
        self.net.eval()
        for start in range(0, len(pairs), 2048):
            part = slice(start, start + 2048)
            out[part] = self.net.score(*(c[part].to(device) for c in columns)).cpu().numpy()
        return out


def _latest(tasks: TaskSplit, n: int) -> NDArray[np.int64]:
    """int64 [users + 1, n], the latest training items of each user."""
    train: Sequences = tasks.train.sequences
    out = np.zeros((tasks.split.users.size, n), np.int64)
    out[train.users] = train.padded(n)
    return out


def _unknown(
    users: NDArray[np.int64], size: int, known: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """An item for each user that training does not join to it; after 20 draws it is let go."""
    wrong = rng.integers(1, size, len(users))
    for _ in range(20):
        keys = users << 32 | wrong
        bad = np.flatnonzero(known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys)
        if not len(bad):
            break
        wrong[bad] = rng.integers(1, size, len(bad))
    return wrong


class BPRMF(_Pairwise):
    """Product of vectors, and a bias of the item."""

    kind = "bpr-mf"


class BPRMLP(_Pairwise):
    """A network over both vectors."""

    kind = "bpr-mlp"


class SimpleX(_Pairwise):
    """Cosine with the user and the mean of what the user had."""

    kind = "simplex"
