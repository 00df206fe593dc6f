"""What the difference of two models is worth: paired comparison of reports over cases, and spread over seeds.

The tests (see :mod:`seqlore.evaluation.paired`) ask whether the models differ on further cases of this kind. They say
nothing of training noise: for that, run several seeds. Reports with one name are seeds of one model, and are averaged
case by case before they are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.errors import ConfigError, DataError
from seqlore.evaluation.paired import holm, paired_test
from seqlore.evaluation.report import Report

Floats = NDArray[np.float64]

#: What must be equal in ``Report.about`` for two reports to be compared.
RULES = ("dataset_hash", "on", "exclude_seen", "candidates")
#: And what beside, for metrics that count how often items are chosen.
COUNTED = {"novelty": ("popularity",), "serendipity": ("popularity",)}


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two models over the same cases.

    Attributes:
        a, b: the models' names. metric: what was compared. mean_a, mean_b: its means.
        mean_difference: mean of a − b over cases. ci: percentile bootstrap interval of it, at ``confidence``.
        p_permutation, p_bootstrap: two-sided p-values, uncorrected.
        p_corrected: ``p_permutation`` after the correction. correction: its name and the number of comparisons.
        n: cases. seeds_a, seeds_b: reports that were averaged.
    """

    a: str
    b: str
    metric: str
    mean_a: float
    mean_b: float
    mean_difference: float
    ci: tuple[float, float]
    confidence: float
    p_permutation: float
    p_bootstrap: float
    p_corrected: float
    correction: str
    n: int
    seeds_a: int = 1
    seeds_b: int = 1

    def __str__(self) -> str:
        return (
            f"{self.a} − {self.b}: {self.metric} {self.mean_difference:+.4f} "
            f"[{self.ci[0]:+.4f}, {self.ci[1]:+.4f}], p = {self.p_corrected:.2g} "
            f"(paired permutation test over {self.n:,} cases; correction: {self.correction})"
        )


def compare(
    a: Report | Sequence[Report],
    b: Report | Sequence[Report],
    metric: str = "ndcg@10",
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Is a better than b? Several reports of one model (seeds) are averaged case by case first.

    Raises: DataError: the reports are about different cases, or were made under different rules.
    """
    side_a, side_b = _reports(a), _reports(b)
    values_a, values_b = _means(side_a, metric, side_a[0]), _means(side_b, metric, side_a[0])
    interval, p_permutation, p_bootstrap = paired_test(
        values_a - values_b, samples=samples, confidence=confidence, seed=seed
    )
    return Comparison(
        a=side_a[0].model,
        b=side_b[0].model,
        metric=metric,
        mean_a=float(values_a.mean()),
        mean_b=float(values_b.mean()),
        mean_difference=float((values_a - values_b).mean()),
        ci=interval,
        confidence=confidence,
        p_permutation=p_permutation,
        p_bootstrap=p_bootstrap,
        p_corrected=p_permutation,
        correction="none",
        n=len(side_a[0]),
        seeds_a=len(side_a),
        seeds_b=len(side_b),
    )


def compare_all(
    reports: Iterable[Report], against: str = "best", metric: str = "ndcg@10", **options: Any
) -> list[Comparison]:
    """Every model against one, Holm-corrected over these comparisons. Reports with one name are seeds of one model.

    Args:
        against: a model's name, or ``"best"``, the one with the highest mean of the metric. It stands as ``b``.
        options: those of :func:`compare`.

    Raises: ConfigError: no model of that name.
    """
    groups = _by_model(reports)
    if against == "best":
        against = max(groups, key=lambda name: np.mean([_value(r, metric) for r in groups[name]]))
    if against not in groups:
        raise ConfigError(f"there is no report of {against!r}; compare against one of {', '.join(groups)}")
    found = [compare(side, groups[against], metric, **options) for name, side in groups.items() if name != against]
    corrected = holm([c.p_permutation for c in found])
    note = f"Holm over {len(found)}" if len(found) > 1 else "none"
    return [replace(c, p_corrected=float(p), correction=note) for c, p in zip(found, corrected, strict=True)]


def comparison_table(comparisons: Iterable[Comparison]) -> pl.DataFrame:
    """One row a comparison; the interval as ``ci_low`` and ``ci_high``."""
    rows = []
    for each in comparisons:
        row = asdict(each)
        row["ci_low"], row["ci_high"] = row.pop("ci")
        rows.append(row)
    return pl.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Summary:
    """One model over several seeds.

    Attributes:
        model: its name. n: reports. seeds: of each report.
        mean, sd: of every metric over the reports; sd is that of a sample (n − 1), None for a single report.
        best: the metrics of the report that is highest in ``best_by``.
    """

    model: str
    n: int
    seeds: list[int | None]
    mean: dict[str, float]
    sd: dict[str, float | None]
    best: dict[str, float]
    best_by: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def summarise(reports: Sequence[Report], best_by: str = "ndcg@10") -> Summary:
    """Mean and standard deviation over seeds, and the best of n by ``best_by``, which some papers report.

    The best of n test results is an optimistic figure; tables name it beside the mean, never instead of it.

    Raises: DataError: no reports, several models, or different rules or cases.
    """
    group = _reports(reports)
    for report in group[1:]:
        _check_pair(group[0], report)
    values = {m: np.array([r.metrics[m] for r in group], float) for m in group[0].metrics}
    if best_by not in values:
        raise ConfigError(f"{best_by} was not computed; choose among {', '.join(values)}")
    return Summary(
        model=group[0].model,
        n=len(group),
        seeds=[r.about.get("seed") for r in group],
        mean={m: float(v.mean()) for m, v in values.items()},
        sd={m: float(v.std(ddof=1)) if len(v) > 1 else None for m, v in values.items()},
        best=dict(group[int(values[best_by].argmax())].metrics),
        best_by=best_by,
    )


def _reports(reports: Report | Sequence[Report]) -> list[Report]:
    group = [reports] if isinstance(reports, Report) else list(reports)
    if not group:
        raise DataError("there are no reports to compare or summarise: give at least one")
    names = list(dict.fromkeys(r.model for r in group))
    if len(names) > 1:
        raise DataError(f"one side of a comparison holds reports of {' and '.join(names)}: give one model's seeds")
    return group


def _by_model(reports: Iterable[Report]) -> dict[str, list[Report]]:
    groups: dict[str, list[Report]] = {}
    for report in reports:
        groups.setdefault(report.model, []).append(report)
    if len(groups) < 2:
        raise DataError("a comparison needs reports of at least two models")
    return groups


def _value(report: Report, metric: str) -> float:
    if metric not in report.metrics:
        raise ConfigError(f"{report.model}: {metric} was not computed; choose among {', '.join(report.metrics)}")
    return report.metrics[metric]


def _means(group: Sequence[Report], metric: str, reference: Report) -> Floats:
    """float64 [n], the metric of each case, in the order of the case numbers, averaged over the reports."""
    total = np.zeros(len(reference))
    for report in group:
        _check_pair(reference, report, (*RULES, *COUNTED.get(metric.partition("@")[0], ())))
        total += report.case_metric(metric)[report.per_case["case"].arg_sort().to_numpy()]
    return total / len(group)


def _check_pair(a: Report, b: Report, rules: Sequence[str] = RULES) -> None:
    """Same rules, same cases. Raises: DataError: naming the first difference."""
    for rule in rules:
        if a.about.get(rule) != b.about.get(rule):
            raise DataError(
                f"the reports of {a.model} and {b.model} were made under different rules "
                f"({rule}: {a.about.get(rule)!r} and {b.about.get(rule)!r}): evaluate both alike"
            )
    keys = ["case", "user_id", "target"]
    first, second = a.per_case.select(keys).sort("case"), b.per_case.select(keys).sort("case")
    if len(first) != len(second):
        raise DataError(
            f"the reports of {a.model} and {b.model} hold {len(first):,} and {len(second):,} cases: "
            "evaluate both on the same split"
        )
    differs = first.select(pl.any_horizontal(pl.col(k).ne_missing(second[k]) for k in keys)).to_series()
    if differs.any():
        row = int(differs.arg_max() or 0)
        raise DataError(
            f"the reports of {a.model} and {b.model} differ at case {first['case'][row]} "
            f"(user {first['user_id'][row]} → {first['target'][row]}, and user {second['user_id'][row]} → "
            f"{second['target'][row]}): evaluate both on the same split"
        )
