"""Seqlore gives sequential recommenders what language models know.

``import seqlore as sl`` costs next to nothing: every name below is imported when it is first asked for (PEP 562),
so that a script which only reads a table does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqlore import models
    from seqlore.data import (
        Cases,
        Catalog,
        Dataset,
        Sequences,
        Split,
        leave_one_out,
        ratio,
        temporal_sessions,
        user_ratio,
    )
    from seqlore.errors import ConfigError, DataError, MissingExtraError, SeqloreError
    from seqlore.evaluation import Report, evaluate
    from seqlore.experiment import Recipe, RunResult, run
    from seqlore.recommender import Recommendations, Recommender, load, register
    from seqlore.report import write_report
    from seqlore.text import TextInit, TextSource
    from seqlore.version import __version__

#: Public name → the module that holds it.
_HOME = {
    **dict.fromkeys(
        ("Cases", "Catalog", "Dataset", "Sequences", "Split"),
        "seqlore.data",
    ),
    **dict.fromkeys(
        ("leave_one_out", "ratio", "temporal_sessions", "user_ratio"),
        "seqlore.data",
    ),
    **dict.fromkeys(("ConfigError", "DataError", "MissingExtraError", "SeqloreError"), "seqlore.errors"),
    **dict.fromkeys(("Report", "evaluate"), "seqlore.evaluation"),
    **dict.fromkeys(("Recipe", "RunResult", "run"), "seqlore.experiment"),
    **dict.fromkeys(("Recommendations", "Recommender", "load", "register"), "seqlore.recommender"),
    "write_report": "seqlore.report",
    **dict.fromkeys(("TextInit", "TextSource"), "seqlore.text"),
    "__version__": "seqlore.version",
}

__all__ = [
    "Cases",
    "Catalog",
    "ConfigError",
    "DataError",
    "Dataset",
    "MissingExtraError",
    "Recipe",
    "Recommendations",
    "Recommender",
    "Report",
    "RunResult",
    "SeqloreError",
    "Sequences",
    "Split",
    "TextInit",
    "TextSource",
    "__version__",
    "evaluate",
    "leave_one_out",
    "load",
    "models",
    "ratio",
    "register",
    "run",
    "temporal_sessions",
    "user_ratio",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "models":
        return importlib.import_module("seqlore.models")
    if name not in _HOME:
        raise AttributeError(f"module 'seqlore' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
