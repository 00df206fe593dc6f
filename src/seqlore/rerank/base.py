"""Phase 0: a backbone that was trained without augmentation, as the start of one that has some.

An augmented backbone may start from the base's item vectors, as UR4Rec does (the paper does not say how its backbone
starts in joint training), or go on from the whole base (:class:`Continued`). The second asks what an augmentation adds
to a model that has learned what it can; the first also which of the two learns faster. The control is the base gone on
with nothing beside its items (``Continuation``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from torch import Tensor

from seqlore.config import Config
from seqlore.errors import ConfigError
from seqlore.rerank.augment import NoAugmentation

if TYPE_CHECKING:
    from seqlore.rerank.ranker import NetReranker, RankerConfig, RankerNet

#: What both fits must share (keys of ``about``), and what it is called where they do not.
SHARED = {"dataset_hash": "another dataset", "split": "another split", "candidates": "other lists"}


class Continued(Config):
    """The loop where joint training goes on from a whole base: short, and down to a rate of nothing.

    At the rate at which a base was trained, the noise of the loop adds and takes more than an augmentation does: see
    docs/reranking.md.
    """

    epochs: int = Field(default=15, ge=1, description="Epochs, all of them: nothing stops it early.")
    learning_rate: float = Field(default=5e-4, gt=0, description="Peak rate.")
    schedule: Literal["constant", "cosine"] = Field(default="cosine", description="Of the rate.")

    def loop(self, config: RankerConfig) -> RankerConfig:
        """``config`` with these settings of the loop."""
        own = {**self.model_dump(), "patience": self.epochs, "schedule_epochs": None}
        return config.model_copy(update=own)


def check_base(base: NetReranker, reranker: NetReranker) -> None:
    """Whether ``reranker``, whose fit has begun, may start from ``base``.

    Raises: ConfigError: the base is not this backbone, has another catalogue or width, has an augmentation, or was
        fitted on another dataset, split or kind of lists.
    """
    name = reranker.name
    fits = type(base) is type(reranker) and base.catalog.hash == reranker.catalog.hash
    if not fits or base.config.embedding_size != reranker.config.embedding_size:
        raise ConfigError(f"{name}: the base must be a fitted {name} of the same items and width")
    if base.config.augmentation.name != NoAugmentation.__name__:
        raise ConfigError(f"{name}: the base has an augmentation; fit one without")
    for key, what in SHARED.items():
        mine, its = (json.dumps(each.about.get(key), sort_keys=True, default=str) for each in (reranker, base))
        if mine != its:  # a saved base has lists where a fresh one has tuples
            raise ConfigError(
                f"{name}: the base was fitted on {what} and may know what this fit is judged by: fit it on the same "
                "split and candidates"
            )


def items_of(base: NetReranker) -> Tensor:
    """The item vectors of a fitted base, [size, d]."""
    return base.net.items.table().detach().cpu().clone()


def go_on(net: RankerNet, base: RankerNet, name: str) -> None:
    """Give ``net`` all weights of ``base``, and the augmentation no say yet, so that its scores are those of ``base``.

    Extra vectors, whose numbers spread about one, are scaled to the spread of the base's item vectors: see
    docs/reranking.md.

    Raises: ConfigError: the base is built otherwise.
    """
    given, mine = base.state_dict(), net.state_dict()
    rest = {key for key in mine if not key.startswith(("augmentation.", "join."))}
    if rest != given.keys() or any(mine[key].shape != given[key].shape for key in rest):
        raise ConfigError(f"{name}: continued takes all weights of the base, which has others: fit one alike")
    net.load_state_dict({**mine, **given})
    net.join.silence(scale=float(base.items.table()[1:].detach().std()))
