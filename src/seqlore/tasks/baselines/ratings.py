"""Stars from who and what: global mean, user and item bias, matrix factorisation, and an MLP.

* Biases, MF: Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8),
  2009 (10.1109/MC.2009.263): r = μ + b_u + b_i, and + p_u·q_i. Biases are solved for in turns (ridge); MF learns all
  by AdamW in batches, with the squared norms of a batch's rows in the loss, in place of SGD rating by rating.
* ToldNumbers: a linear regression on the numbers that prompts tell (:mod:`seqlore.tasks.averages`): beside it a table
  shows what a language model adds that is told them.
* MLP: Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016 (arXiv 1606.07792): the wide part is the
  two biases, the deep part ReLU layers over both vectors.

A user or item that training does not know has the mean of all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.errors import DataError
from seqlore.tasks.averages import Averages
from seqlore.tasks.scores import rating_scores
from seqlore.tasks.split import Pairs, TaskSplit
from seqlore.training import TrainConfig, train

Floats = NDArray[np.float64]


class Rater(Protocol):
    """What guesses stars."""

    def fit(self, tasks: TaskSplit) -> Self: ...

    def rate(self, pairs: Pairs) -> Floats:
        """float64 [n], guesses; of ``pairs`` it may read users, items and histories."""
        ...


class GlobalMean:
    """The mean of the training part, for everybody."""

    def fit(self, tasks: TaskSplit) -> Self:
        self.mean = float(tasks.ratings[tasks.train.rows].mean())
        return self

    def rate(self, pairs: Pairs) -> Floats:
        return np.full(len(pairs), self.mean)


class BiasesConfig(Config):
    """Settings of the biases."""

    user_damping: float = Field(default=5.0, ge=0, description="Ratings of μ that each user is taken to have given.")
    item_damping: float = Field(default=5.0, ge=0, description="Ratings of μ that each item is taken to have.")
    rounds: int = Field(default=10, ge=1, description="Times that users and items are solved for in turn.")


class Biases:
    """μ + b_u + b_i."""

    def __init__(self, config: BiasesConfig | None = None) -> None:
        self.config = config or BiasesConfig()

    def fit(self, tasks: TaskSplit) -> Self:
        rated, users, items = tasks.ratings[tasks.train.rows].astype(np.float64), tasks.train.users, tasks.train.items
        self.mean = float(rated.mean())
        self.users, self.items = np.zeros(tasks.split.users.size), np.zeros(tasks.split.catalog.size)
        for _ in range(self.config.rounds):
            for mine, own, other, theirs, damping in (
                (self.items, items, self.users, users, self.config.item_damping),
                (self.users, users, self.items, items, self.config.user_damping),
            ):
                left = rated - self.mean - other[theirs]
                n = np.bincount(own, minlength=len(mine))
                # Without damping, who gave no rating has 0 / 1.
                mine[:] = np.bincount(own, left, len(mine)) / np.maximum(n + damping, 1e-9 + (n == 0))
        return self

    def rate(self, pairs: Pairs) -> Floats:
        return self.mean + self.users[pairs.users] + self.items[pairs.items]


class ToldNumbers:
    """A linear regression on :class:`seqlore.tasks.averages.Told`, of a sample of the training part."""

    def fit(self, tasks: TaskSplit) -> Self:
        pairs, self._averages = tasks.train.some(200_000, 0), Averages(tasks)
        self._line = LinearRegression().fit(np.stack(self._averages.of(pairs), 1), tasks.ratings[pairs.rows])
        return self

    def rate(self, pairs: Pairs) -> Floats:
        return self._line.predict(np.stack(self._averages.of(pairs), 1))


class FactorConfig(TrainConfig):
    """Settings of MF and MLP."""

    size: int = Field(default=32, ge=1, description="Of a user's and an item's vector.")
    regularisation: float = Field(default=0.06, ge=0, description="Of the squared norms of a batch's vectors.")
    bias_regularisation: float = Field(default=0.002, ge=0, description="Of its squared biases.")
    hidden: tuple[int, ...] = Field(default=(64, 32), description="Layers of the MLP.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="After each of them.")
    batch_size: int = Field(default=8192, ge=1, description="Ratings of a step.")
    learning_rate: float = Field(default=4e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled decay, beside the two above.")
    epochs: int = Field(default=40, ge=1, description="Most epochs.")
    patience: int = Field(default=2, ge=1, description="Validations without improvement.")
    monitor: Literal["negative_rmse"] = Field(default="negative_rmse", description="Of the validation ratings.")  # type: ignore[assignment]


class RatingNet(nn.Module):
    """``forward(users, items, stars)`` is the loss. Users and items from 1; 0 is a stranger, whose rows stay 0."""

    def __init__(self, kind: Literal["mf", "mlp"], users: int, items: int, mean: float, config: FactorConfig) -> None:
        super().__init__()
        self.config, self.kind, self.mean = config, kind, mean
        self.user, self.item = (nn.Embedding(n, config.size, padding_idx=0) for n in (users, items))
        self.user_bias, self.item_bias = (nn.Embedding(n, 1, padding_idx=0) for n in (users, items))
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.05)
            nn.init.zeros_(table.weight[0])
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.item_bias.weight)
        widths, layers = (2 * config.size, *config.hidden), []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(config.dropout)]
        self.deep = nn.Sequential(*layers, nn.Linear(widths[-1], 1)) if kind == "mlp" else None

    def guess(self, users: Tensor, items: Tensor) -> Tensor:
        """[B] stars."""
        p, q = self.user(users), self.item(items)  # [B, d]
        pair = (p * q).sum(1) if self.deep is None else self.deep(torch.cat([p, q], 1))[:, 0]
        return self.mean + self.user_bias(users)[:, 0] + self.item_bias(items)[:, 0] + pair

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        users, items, stars = batch
        norms = (self.user(users) ** 2).sum(1) + (self.item(items) ** 2).sum(1)
        biases = self.user_bias(users)[:, 0] ** 2 + self.item_bias(items)[:, 0] ** 2
        penalty = self.config.regularisation * norms + self.config.bias_regularisation * biases
        return ((self.guess(users, items) - stars) ** 2 + penalty).mean()


class _Factors:
    kind: Literal["mf", "mlp"]

    def __init__(self, config: FactorConfig | None = None) -> None:
        self.config = config or FactorConfig.parse({}, type(self).__name__)
        self.history: list[dict[str, Any]] = []

    def fit(self, tasks: TaskSplit) -> Self:
        """Raises: DataError: the training part is empty."""
        config, pairs = self.config, tasks.train
        if not len(pairs):
            raise DataError("the training part has no rating to learn from")
        stars = torch.from_numpy(tasks.ratings[pairs.rows])
        columns = torch.from_numpy(pairs.users.astype(np.int64)), torch.from_numpy(pairs.items.astype(np.int64)), stars
        torch.manual_seed(config.seed)
        self.net = RatingNet(self.kind, tasks.split.users.size, tasks.split.catalog.size, float(stars.mean()), config)

        def batches(epoch: int, shard: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
            order = torch.from_numpy(np.random.default_rng((config.seed, epoch)).permutation(len(stars)))
            for rows in order.split(config.batch_size)[shard[0] :: shard[1]]:
                yield tuple(each[rows] for each in columns)

        def validate() -> dict[str, float]:
            return {"negative_rmse": -rating_scores(self.rate(tasks.valid), self._valid).values["rmse"]}

        self._valid = tasks.ratings[tasks.valid.rows]
        self.history = train(self.net, batches, config, validate=validate if len(tasks.valid) else None)
        return self

    @torch.no_grad()
    def rate(self, pairs: Pairs) -> Floats:
        device = self.net.user.weight.device
        users, items = (torch.from_numpy(x.astype(np.int64)).to(device) for x in (pairs.users, pairs.items))
        return self.net.guess(users, items).cpu().numpy().astype(np.float64)


class MF(_Factors):
    """μ + b_u + b_i + p_u·q_i."""

    kind = "mf"


class MLP(_Factors):
    """μ + b_u + b_i + a network over both vectors."""

    kind = "mlp"
