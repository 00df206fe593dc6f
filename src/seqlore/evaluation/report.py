"""``Report``: what an evaluation found, overall and case by case, with everything that the figures depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import AfterValidator

from seqlore.config import nearest
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import metrics

FORMAT = 1

#: Metrics that follow from the position of the target: available at every k up to the length of the lists.
ACCURACY: dict[str, Callable[[NDArray[np.integer], int], NDArray[np.float64]]] = {
    "hr": metrics.hit_rate,
    "ndcg": metrics.ndcg,
    "mrr": metrics.mrr,
    "map": metrics.average_precision,
}
#: Metrics that need the lists, so only the cut-offs that were asked for exist. Coverage has no value per case.
BEYOND = ("coverage", "serendipity", "novelty")
NAMES = (*ACCURACY, *BEYOND)
HEADINGS = {"hr": "HR", "ndcg": "NDCG", "mrr": "MRR", "map": "MAP"}


def parse_metric(name: str) -> tuple[str, int]:
    """``"ndcg@10"`` → ``("ndcg", 10)``. Raises: ConfigError: no such metric, or no cut-off."""
    kind, _, cut = name.partition("@")
    if kind not in NAMES:
        raise ConfigError(f"there is no metric {kind!r}{nearest(kind, NAMES)}; choose among {', '.join(NAMES)}")
    if not cut.isdecimal() or int(cut) < 1:
        raise ConfigError(f"metric {name!r} names no cut-off: write it as {kind}@10")
    return kind, int(cut)


def _accuracy(name: str) -> str:
    if parse_metric(name)[0] not in ACCURACY:
        raise ConfigError(f"{name} is no accuracy of each case: choose among {', '.join(ACCURACY)}")
    return name


#: A setting that names one of ``ACCURACY`` at a cut-off.
Accuracy = Annotated[str, AfterValidator(_accuracy)]


def accuracies(positions: NDArray[np.integer], names: Iterable[str]) -> dict[str, float]:
    """Means over ``positions`` (int [n], 1 = first, 0 = not listed) of each of ``names``, all of them accuracies."""
    wanted = {name: parse_metric(name) for name in names}
    return {name: float(ACCURACY[kind](positions, cut).mean()) for name, (kind, cut) in wanted.items()}


@dataclass(eq=False)
class Report:
    """One model judged on one set of cases.

    Attributes:
        model: name for tables. Reports with one name are taken for seeds of one model.
        metrics: ``"ndcg@10"`` and the like, means over cases; ``"cases"``; ``"tied_targets"``, the share of cases whose
            target shared its score with another item.
        per_case: one row a case: ``case`` (from 0), ``user_id`` (null for a stranger), ``target`` (item id), ``rank``
            (1 = first in the list, null = not listed), ``tied``, ``history_length``, ``target_count`` (interactions of
            the target in training), and ``serendipity@k``, ``novelty@k`` for each k that was asked for.
        about: data hash, split, tie, seen and candidate rules, seed, versions, seconds.
    """

    model: str
    metrics: dict[str, float]
    per_case: pl.DataFrame
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.per_case)

    @property
    def at(self) -> list[int]:
        """The cut-offs that were asked for, ascending."""
        return sorted({parse_metric(m)[1] for m in self.metrics if "@" in m})

    def case_metric(self, name: str) -> NDArray[np.float64]:
        """The metric of each case, float64 [n]; its mean is ``metrics[name]``.

        Raises: ConfigError: no such metric, a cut-off beyond the lists, or coverage, which no single case has.
        """
        kind, k = parse_metric(name)
        if kind in ACCURACY:
            if k > max(self.at):
                raise ConfigError(f"{name}: the lists end at {max(self.at)}; evaluate again with at=({k},)")
            return ACCURACY[kind](self.per_case["rank"].fill_null(0).to_numpy(), k)
        if kind == "coverage":
            raise ConfigError(f"{name} belongs to all lists together and has no value per case; compare hr or ndcg")
        if name not in self.per_case.columns:
            raise ConfigError(f"{name} was not computed; evaluate again with {k} among at={tuple(self.at)}")
        return self.per_case[name].to_numpy()

    def table(self) -> pl.DataFrame:
        """One row a cut-off: ``model``, ``k``, every metric, and the rules under which the lists were made."""
        rows = [
            {
                "model": self.model,
                "k": k,
                **{kind: self.metrics[f"{kind}@{k}"] for kind in NAMES},
                "cases": len(self),
                "seen": "masked" if self.about.get("exclude_seen", True) else "listed",
                "candidates": self.about.get("candidates", ""),
            }
            for k in self.at
        ]
        return pl.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """All but the cases, ready for JSON."""
        return {"model": self.model, "metrics": self.metrics, "about": self.about}

    def save(self, folder: str | Path) -> Path:
        """Write ``metrics.json`` and ``per_case.parquet`` into the folder (made where absent); returns it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.per_case.write_parquet(folder / "per_case.parquet")
        text = json.dumps({"format": FORMAT, **self.to_dict()}, indent=2, ensure_ascii=False, default=str)
        (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read what :meth:`save` wrote. Raises: DataError: a file is missing or damaged, or from a newer Seqlore."""
        folder = Path(folder)
        for name in ("metrics.json", "per_case.parquet"):
            if not (folder / name).is_file():
                raise DataError(f"{folder}: no {name} there, so this is no report; write one with report.save(folder)")
        try:
            head = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            report = cls(head["model"], head["metrics"], pl.read_parquet(folder / "per_case.parquet"), head["about"])
            newer, complete = head["format"] > FORMAT, report.metrics["cases"] == len(report)
        except (ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            first = (str(error) or "empty").splitlines()[0]
            raise DataError(f"{folder}: the report is damaged ({first}); evaluate again") from error
        if newer:
            raise DataError(f"{folder}: the report was written by a newer Seqlore; upgrade to read it")
        if not complete:
            raise DataError(f"{folder}: metrics.json and per_case.parquet do not belong together; evaluate again")
        return report

    def __str__(self) -> str:
        about = self.about
        lines = [
            f"{self.model} on {about.get('on', '?')}: {len(self):,} cases of {about.get('dataset', '?')}, "
            f"{about.get('protocol', '?')}",
            f"seen items {'masked' if about.get('exclude_seen', True) else 'listed too'}; "
            f"candidates: {about.get('candidates', '?')}; target tied in score: {self.metrics['tied_targets']:.1%}",
            *(f"{name.replace('_', ' ')}: {value:.1%}" for name, value in diagnostics(self.metrics).items()),
            f"{'k':>4}" + "".join(f"{HEADINGS.get(kind, kind):>{_width(kind)}}" for kind in NAMES),
        ]
        for k in self.at:
            values = (f"{self.metrics[f'{kind}@{k}']:>{_width(kind)}.4f}" for kind in NAMES)
            lines.append(f"{k:>4}" + "".join(values))
        return "\n".join(lines)


def diagnostics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a model told of its lists (see :class:`seqlore.recommender.Model`), among the metrics of a report."""
    return {k: v for k, v in metrics.items() if "@" not in k and k not in ("cases", "tied_targets")}


def _width(kind: str) -> int:
    return max(len(kind) + 2, 9)
