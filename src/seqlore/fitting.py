"""Fits with options that not every family has: a log, a checkpoint, a report of progress."""

from __future__ import annotations

import inspect
from typing import Any

from seqlore.data import Split
from seqlore.recommender import Model, Recommender


def fit_options(model: type[Model]) -> set[str]:
    """Names of the options that ``fit`` takes; those of the base too where ``_fit`` hands the rest to it."""
    named: set[str] = set()
    for own in (each.__dict__["_fit"] for each in model.__mro__ if "_fit" in each.__dict__):
        known = inspect.signature(own).parameters.values()
        named |= {each.name for each in known if each.kind is each.KEYWORD_ONLY}
        if not any(each.kind is each.VAR_KEYWORD for each in known):
            break
    return named


def fit_with(model: Recommender, split: Split, **options: Any) -> Recommender:
    """``model.fit`` with those of ``options`` (``progress``, ``log``, ``checkpoint``, …) that its family has."""
    known = fit_options(type(model))
    return model.fit(split, **{name: value for name, value in options.items() if name in known})
