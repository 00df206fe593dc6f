"""Phase 0: a backbone that was trained without augmentation, as the start of one that has some."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch import Tensor

from seqlore.errors import ConfigError
from seqlore.rerank.augment import NoAugmentation

if TYPE_CHECKING:
    from seqlore.rerank.ranker import NetReranker

#: What both fits must share (keys of ``about``), and what it is called where they do not.
SHARED = {"dataset_hash": "another dataset", "split": "another split", "candidates": "other lists"}


def items_of(base: NetReranker, reranker: NetReranker) -> Tensor:
    """The item vectors of ``base``, [size, d], for ``reranker``, whose fit has begun.

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
    return base.net.items.table().detach().cpu().clone()
