"""Nets that are stopped by how they rank: the setting that says by which accuracy, and the validation itself."""

from __future__ import annotations

from pydantic import Field

from seqlore.data import Cases
from seqlore.evaluation import metrics, parse_metric
from seqlore.evaluation.report import Accuracy, accuracies
from seqlore.recommender import Recommender
from seqlore.training import TrainConfig

#: What validation tells beside the monitored accuracy.
TOLD = ("hr@10", "hr@20", "ndcg@10", "ndcg@20")


class RankedConfig(TrainConfig):
    """Settings of the loop for what is stopped by an accuracy of its lists."""

    monitor: Accuracy = Field(default="ndcg@10", description="Validation metric that chooses the epoch.")


def validate(model: Recommender, cases: Cases, monitor: str, *, exclude_seen: bool = True) -> dict[str, float]:
    """HR and NDCG at 10 and 20, and ``monitor``, of ``model`` as it stands, on ``cases``."""
    names = sorted({*TOLD, monitor})
    longest = max(parse_metric(name)[1] for name in names)
    lists = model.rank(cases.histories, longest, exclude_seen=exclude_seen)
    return accuracies(metrics.positions(lists.items, cases.targets), names)
