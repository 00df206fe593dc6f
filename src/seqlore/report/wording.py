"""How names and numbers are written in reports and tables."""

from __future__ import annotations

import math
from typing import Any

#: Metric → (heading, decimals). Anything else is shown under its own name.
METRICS: dict[str, tuple[str, int]] = {
    "ndcg": ("NDCG", 4),
    "hr": ("HR", 4),
    "recall": ("Recall", 4),
    "mrr": ("MRR", 4),
    "map": ("MAP", 4),
    "coverage": ("Coverage", 3),
    "serendipity": ("Serendipity", 4),
    "novelty": ("Novelty", 3),
}
NONE = "–"


def split_metric(key: str) -> tuple[str, int | None]:
    """``"ndcg@10"`` → ``("ndcg", 10)``; ``"rmse"`` → ``("rmse", None)``."""
    name, _, k = key.partition("@")
    return name, int(k) if k.isdigit() else None


def metric_title(key: str) -> str:
    """``"ndcg@10"`` → ``"NDCG@10"``."""
    name, k = split_metric(key)
    title = METRICS.get(name, (name.replace("_", " "), 4))[0]
    return title if k is None else f"{title}@{k}"


def number(value: float | None, key: str = "") -> str:
    """A metric's value with as many decimals as it deserves."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{METRICS.get(split_metric(key)[0], ('', 4))[1]}f}".replace("-", "−")


def signed(value: float | None, key: str = "") -> str:
    """A difference, always with its sign."""
    text = number(value, key)
    return text if text == NONE or text.startswith("−") else f"+{text}"


def percent(value: float | None) -> str:
    """A relative change: ``0.123`` → ``+12.3 %``."""
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:+.1f} %".replace("-", "−")


def share(value: float | None) -> str:
    """A part of a whole: ``0.0312`` → ``3.1 %``."""
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def p_value(value: float | None) -> str:
    """Three decimals, and a bound below that."""
    if value is None or not math.isfinite(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that a person would use."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "< 0.1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(megabytes: float | None) -> str:
    """MB below one GB, GB above."""
    if megabytes is None or not math.isfinite(megabytes):
        return NONE
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.2f} GB"


def count(value: float | None) -> str:
    """A whole number, thousands apart."""
    return NONE if value is None else f"{value:,.0f}"


def plain(value: Any) -> str:
    """Any value of a settings or statistics table as a short text."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return count(value) if value.is_integer() and abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} = {plain(v)}" for k, v in value.items()) or NONE
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value) or NONE
    return str(value)
