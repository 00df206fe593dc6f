"""``evaluate``: the one protocol by which every model is judged.

A model is given the histories of the cases and makes lists, as it would for a user; the metrics see these lists and
the targets, nothing else. The full catalogue is ranked unless the cases bring candidates of their own, seen items are
masked, and every case counts, also one whose target never occurred in training or lies among the masked items. Equal
scores are ordered by the catalogue's hash order (see :mod:`seqlore.ranking`).
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from seqlore import ranking
from seqlore.data import Cases, Split
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import metrics
from seqlore.evaluation.candidates import SampledCases
from seqlore.evaluation.report import ACCURACY, Report
from seqlore.ranking import Lists
from seqlore.recommender import Model, ScoringRecommender
from seqlore.version import __version__

On = Literal["test", "valid"]


def evaluate(
    model: Model,
    split: Split,
    *,
    on: On = "test",
    at: Sequence[int] = (5, 10, 20),
    exclude_seen: bool = True,
    candidates: Literal["catalog", "train"] = "catalog",
    novelty_counts: Literal["train", "all"] = "train",
    masked_popularity: bool = False,
    cases: Cases | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> Report:
    """Judge a fitted model, recommender or reranker, on the cases of a split.

    "Training" means ``split.train`` of the split that is passed here, whatever the model was fitted on: pass the same
    split for all rows of a table, and novelty, the popular list and ``target_count`` mean the same in each.

    Args:
        on: which cases of the split.
        at: the cut-offs k.
        exclude_seen: mask the items of the history. A target that repeats an item of its history is then a miss.
        candidates: ``"catalog"`` ranks all items of the dataset, ``"train"`` only those that occur in training. Cases
            with candidates of their own (see :func:`sample_candidates`) are ranked among these.
        novelty_counts: which interactions are counted for novelty and for the popular list of serendipity. ``"all"``
            counts held-out ones too, as the code of Harte et al. (2023) does.
        masked_popularity: take seen items (and items outside the candidates) out of the popular list too. Harte et al.
            do not.
        cases: ask about these instead of the split's own (a part of them, or with sampled candidates).
        seed: of the model, for tables; default: the setting ``seed`` of the model, where it has one.
        name: for tables; default: the model's own. Reports with one name are taken for seeds of one model.

    Raises:
        DataError: no such cases, another catalogue, or a model that was fitted on what it is asked about.
        ConfigError: a cut-off below 1, or an unknown rule.
    """
    started = time.perf_counter()
    ks = _cutoffs(at)
    for key, value, allowed in (
        ("on", on, ("test", "valid")),
        ("candidates", candidates, ("catalog", "train")),
        ("novelty_counts", novelty_counts, ("train", "all")),
    ):
        if value not in allowed:
            raise ConfigError(f"{key}={value!r}: choose {' or '.join(repr(a) for a in allowed)}")
    cases = _cases(split, on) if cases is None else cases
    if not len(cases):
        raise DataError(f"there are no {on} cases to evaluate on; check the split and its filters")
    catalog, trained = split.catalog, split.counts()
    held = None if split.valid is None else split.valid.rows
    if held is not None and cases.rows is not None and np.isin(cases.rows, held).any():
        on = "valid"  # whatever they were handed over as
    _check_fit(model, split, on)

    allowed = cases.candidates
    if allowed is None and candidates == "train":
        allowed = np.flatnonzero(trained)
    length = min(ks[-1], len(catalog))
    asked = replace(cases, histories=model.own_users(cases.histories, split.users))
    lists, judged = _lists(model, asked, length, exclude_seen, allowed)
    ranked, told = time.perf_counter(), dict(model.diagnostics)

    counts = trained
    if novelty_counts == "all":
        counts = np.bincount(catalog.index_column(split.dataset.interactions["item_id"]), minlength=catalog.size)
    popular = metrics.most_popular(counts, length)
    if masked_popularity:
        popular = _masked_popular(counts, cases, length, exclude_seen, allowed)

    position = metrics.positions(lists.items, cases.targets)
    tied = lists.target_tied if lists.target_tied is not None else _tied_in_list(lists, position)
    beyond = {f"serendipity@{k}": metrics.serendipity(position, cases.targets, popular, k) for k in ks}
    beyond |= {f"novelty@{k}": metrics.novelty(lists.items, counts, k) for k in ks}
    users = pl.Series(split.users.ids, dtype=pl.String)
    items = pl.Series(catalog.ids, dtype=pl.String)
    per_case = pl.DataFrame(
        {
            "case": np.arange(len(cases), dtype=np.int32),
            "user_id": users.gather(_null_zeros(cases.histories.users)),
            "target": items.gather(cases.targets - 1),
            "rank": pl.Series(position).replace(0, None),
            "tied": tied,
            "history_length": cases.histories.lengths.astype(np.int32),
            "target_count": trained[cases.targets],
            **beyond,
        }
    )
    values: dict[str, float] = {"cases": len(cases), "tied_targets": float(tied.mean()), **told}
    for k in ks:
        values |= {f"{kind}@{k}": float(of(position, k).mean()) for kind, of in ACCURACY.items()}
        values[f"coverage@{k}"] = metrics.coverage(lists.items, k, len(catalog))
    values |= {key: float(each.mean()) for key, each in beyond.items()}
    about = {
        "dataset": split.dataset.name,
        "dataset_hash": split.dataset.hash,
        "split": dict(split.how),
        "protocol": split.describe(),
        "on": on,
        "exclude_seen": exclude_seen,
        "candidates": _candidate_rule(cases, allowed, len(catalog)),
        "ties": f"equal scores by a fixed hash of the item id; tied targets judged {judged}",
        "popularity": f"{'training' if novelty_counts == 'train' else 'all'} interactions counted; popular list "
        + ("masked like the model's" if masked_popularity else "not masked"),
        **_provenance(model, seed),
        "seconds": {"ranking": round(ranked - started, 3), "total": round(time.perf_counter() - started, 3)},
    }
    return Report(name or model.name, values, per_case, about)


def _provenance(model: Model, seed: int | None) -> dict[str, Any]:
    return {
        "model": model.name,
        "config": model.config.model_dump(mode="json"),
        "fitted_on": model.about.get("split", {}).get("fitted_on", "train"),
        "seed": getattr(model.config, "seed", None) if seed is None else seed,
        "versions": {
            "seqlore": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def _cutoffs(at: Sequence[int]) -> list[int]:
    ks = sorted(set(at))
    if not ks or ks[0] < 1:
        raise ConfigError(f"at={tuple(at)}: give cut-offs of 1 or more, for example at=(5, 10, 20)")
    return ks


def _cases(split: Split, on: On) -> Cases:
    cases = split.test if on == "test" else split.valid
    if cases is None:
        into = split.how.get("fitted_on", "its training part")
        raise DataError(f"this split has no {on} cases left (they went into {into}); pass the split that has them")
    return cases


def _check_fit(model: Model, split: Split, on: On) -> None:
    """The model shares the catalogue and has not been told the answers."""
    if model.catalog is not split.catalog and model.catalog.hash != split.catalog.hash:
        raise DataError(
            f"{model.name} knows another catalogue ({len(model.catalog):,} items) than the split "
            f"({len(split.catalog):,} items): fit it on this dataset"
        )
    fit, dataset = model.about.get("split"), split.dataset
    if fit is None:
        return
    equal = model.about.get("dataset_hash") == dataset.hash
    # The same events in other company (new columns, rows in another order) have the same answers.
    events = model.about.get("events_hash")  # models of earlier versions do not tell it
    if not equal and events is not None and events != dataset.events_hash:
        return
    told = fit.get("fitted_on", "train")
    if told == "everything" or (told == "train+valid" and on == "valid"):
        if equal or events is not None:
            raise DataError(
                f"{model.name} was fitted on {told}, {on} cases included: evaluate one that was not told them"
            )
        raise DataError(
            f"{model.name} was fitted on {told} of {model.about.get('dataset')} and does not tell which interactions "
            f"these were, so they may hold the {on} cases: fit it again"
        )
    if "fold" in fit or (not equal and events is None):
        return
    if (how := _rules(fit)) != (asked := _rules(split.how)):
        raise DataError(
            f"{model.name} was fitted on another split ({how}) than it is asked about ({asked}), so it may have seen "
            "the answers: fit it on this split"
        )
    cases = split.test if on == "test" else split.valid
    if not equal and cases is not None and model.about.get("held_out", {}).get(on) != cases.digest:
        raise DataError(
            f"{model.name} was fitted on these interactions in another order, which held out other {on} cases, so it "
            "may have seen the answers: fit it on this split"
        )


def _rules(how: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in how.items() if k != "fitted_on"}, sort_keys=True, default=str)


def _lists(
    model: Model, cases: Cases, k: int, exclude_seen: bool, allowed: NDArray[np.integer] | None
) -> tuple[Lists, str]:
    if isinstance(model, ScoringRecommender):
        lists = model.rank(cases.histories, k, exclude_seen=exclude_seen, candidates=allowed, targets=cases.targets)
        return lists, "over all candidates"
    return model.rank(cases.histories, k, exclude_seen=exclude_seen, candidates=allowed), "within the list"


def _masked_popular(
    counts: NDArray[np.integer], cases: Cases, k: int, exclude_seen: bool, allowed: NDArray[np.integer] | None
) -> NDArray[np.int32]:
    """int32 [n, k], the most popular items that may be listed for each case."""
    row = torch.as_tensor(counts, dtype=torch.float32)
    return ranking.rank(
        lambda histories: row.repeat(len(histories), 1),
        cases.histories,
        k,
        size=len(row),
        exclude_seen=exclude_seen,
        candidates=allowed,
    ).items


def _tied_in_list(lists: Lists, position: NDArray[np.integer]) -> NDArray[np.bool_]:
    """bool [n]: the target is listed, and another listed item has its score."""
    own = np.take_along_axis(lists.scores, np.maximum(position - 1, 0)[:, None], 1)
    return (position > 0) & ((lists.scores == own).sum(1) > 1)


def _null_zeros(index: NDArray[np.integer]) -> pl.Series:
    """Dense indices → rows, with null for index 0."""
    return pl.Series(index.astype(np.int64)).replace(0, None) - 1


def _candidate_rule(cases: Cases, allowed: NDArray[np.integer] | None, items: int) -> str:
    if isinstance(cases, SampledCases):
        return cases.rule
    if cases.candidates is not None:
        return f"the cases' own, up to {cases.candidates.shape[1]} each"
    return f"all {items:,} items" if allowed is None else f"the {len(allowed):,} of {items:,} items known to training"
