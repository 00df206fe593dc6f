"""Recommenders over histories, one file a model. ``seqlore.models.SASRec`` imports only what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqlore.recommender import REGISTRY, model_class

if TYPE_CHECKING:
    from seqlore.recommender import Recommender


def __getattr__(name: str) -> type[Recommender]:
    if name in REGISTRY:
        return model_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(REGISTRY)
