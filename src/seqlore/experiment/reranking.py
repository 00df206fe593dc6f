"""``run_pairs``: a reranking recipe → fitted pairs and one table; may be killed at any time and started again.

Pairs with phases start from the fitted pair of their backbone without augmentation, which is fitted first. Models are
compared over users: their cases are averaged first, since several cases of one user are not independent.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.config import nearest
from seqlore.errors import ConfigError, SeqloreError
from seqlore.evaluation import Report, evaluate
from seqlore.evaluation.paired import holm, paired_test
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import now, write_json, write_text
from seqlore.experiment.judged import Alone, Judged, Pair
from seqlore.experiment.pairs import PairRecipe
from seqlore.experiment.screen import Screen
from seqlore.models.popular import MostPopular
from seqlore.rerank.augment import NoAugmentation
from seqlore.rerank.reranker import Reranker

Floats = NDArray[np.float64]


def run_pairs(
    recipe: PairRecipe | str | Path,
    *,
    out: str | Path | None = None,
    set: Iterable[str] = (),
    only: Sequence[str] = (),
    resume: bool = True,
    progress: bool = False,
) -> dict[str, Any]:
    """Carry out a reranking recipe; returns what ``results.json`` in the run folder holds.

    Args:
        out: the run folder; default ``runs/NAME``.
        only: labels of backbones, augmentations, pairs ("PRM · UR4Rec") or recommenders to work on, and what these
            start from; finished others stay in it.
        resume: leave out pairs that the folder holds with the same settings; else fit these again, those of ``only``
            alone where it names some.

    A pair that fails, however it does, becomes an entry of ``errors``, and its traceback goes to ``failed.jsonl``; the
    others go on. Pairs of other settings stay in the folder.

    Raises: ConfigError: the recipe is wrong. DataError: the data is.
    """
    recipe = recipe if isinstance(recipe, PairRecipe) else PairRecipe.load(recipe, set)
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    with Screen(progress) as screen:
        dataset = open_dataset(recipe.dataset)
        split = recipe.split.make(dataset, recipe.split.ties[0])
        source = recipe.candidates.source(folder / "retrievers").fitted(split)
        cases = source.asked(split.test, (recipe.candidates.seed, 7))
        write_text(folder / "recipe.toml", recipe.to_toml())
        every: list[Pair | Alone] = []
        for seed in recipe.seeds:
            shared: dict[str, Any] = {"recipe": recipe, "seed": seed, "split": split, "root": folder}
            every += [Pair(**shared, backbone=backbone, column=column) for backbone, column in recipe.pairs()]
            every += [Alone(**shared, row=row) for row in recipe.recommenders]
        wanted = _wanted(every, only)
        again = [] if resume else [id(pair) for pair in wanted]
        todo = [pair for pair in _with_bases(wanted, every) if pair.record() is None or id(pair) in again]
        screen.trials(len(todo))
        errors: dict[str, str] = {}
        for pair in todo:
            screen.begin(name := f"{pair.label} · seed {pair.seed}")
            if not resume:
                pair.forget()
            try:
                pair.run(source, cases, screen, _base(pair, every))
                found = pair.report().metrics[recipe.evaluation.metric]
            except Exception as error:  # whatever one pair does, the others go on
                errors[name] = _sentence(error)
                failed = {"time": now(), "pair": name, "error": errors[name], "traceback": traceback.format_exc()}
                with (folder / "failed.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(failed, ensure_ascii=False) + "\n")
                screen.end(f"{name}: failed: {errors[name]}")
                continue
            screen.end(f"{name}: {recipe.evaluation.metric} {found:.4f}")
        popular = evaluate(MostPopular().fit(split), split, cases=cases, at=recipe.evaluation.at)
        results = _results(recipe, [pair for pair in every if pair.record()], popular, errors)
        write_json(folder / "results.json", results)
        return results


def _sentence(error: Exception) -> str:
    first = (str(error) or "no message").splitlines()[0]
    return first if isinstance(error, SeqloreError) else f"{type(error).__name__}: {first} (traceback in failed.jsonl)"


def _base(pair: Pair | Alone, every: Sequence[Pair | Alone]) -> Pair | None:
    """The pair of the same backbone and seed without augmentation, where it is another one."""
    if isinstance(pair, Alone) or pair.column.name == NoAugmentation.__name__:
        return None
    plain = (p for p in every if isinstance(p, Pair) and p.column.name == NoAugmentation.__name__)
    return next((p for p in plain if (p.backbone, p.seed) == (pair.backbone, pair.seed)), None)


def _with_bases(wanted: Sequence[Pair | Alone], every: Sequence[Pair | Alone]) -> list[Pair | Alone]:
    """Before each that starts from a base, its base, where that is a row: once for all that share it."""
    found: dict[int, Pair | Alone] = {}
    for pair in wanted:
        base = _base(pair, every)
        if base is not None and isinstance(pair, Pair) and pair.starts_from_base:
            found.setdefault(id(base), base)
        found.setdefault(id(pair), pair)
    return list(found.values())


def _names(one: Pair | Alone) -> set[str]:
    return {one.label} if isinstance(one, Alone) else {one.label, one.backbone.label, one.column.label}


def _wanted(every: Sequence[Pair | Alone], only: Sequence[str]) -> list[Pair | Alone]:
    known = {label for one in every for label in _names(one)}
    for label in only:
        if label not in known:
            raise ConfigError(
                f"--only {label}: no such backbone, augmentation, pair or recommender{nearest(label, known)}"
            )
    return [one for one in every if not only or _names(one) & {*only}]


def _results(
    recipe: PairRecipe, finished: Sequence[Pair | Alone], popular: Report, errors: dict[str, str]
) -> dict[str, Any]:
    """The table and the comparisons."""
    metrics = [f"{kind}@{k}" for kind in ("map", "ndcg") for k in recipe.evaluation.at]
    done = [one for one in finished if isinstance(one, Pair)]
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in done:
        groups.setdefault((pair.backbone.label, pair.column.label), []).append(pair)
    alone: dict[str, list[Alone]] = {}
    for one in finished:
        if isinstance(one, Alone):
            alone.setdefault(one.label, []).append(one)
    pace = {key: _mean([p.record()["seconds_per_epoch"] for p in group]) for key, group in groups.items()}  # type: ignore[index]
    plain = {p.backbone.label: p.column.label for p in done if p.column.name == NoAugmentation.__name__}
    rows = []
    for (backbone, column), group in groups.items():
        base = pace.get((backbone, plain.get(backbone, "")))
        rows.append(
            {
                "backbone": backbone,
                "augmentation": column,
                **_measured(group, metrics),
                "published": recipe.published.of(backbone, column),
                "seconds_per_epoch": pace[backbone, column],
                "epoch_times_base": None if not base else round(pace[backbone, column] / base, 2),
            }
        )
    return {
        "name": recipe.name,
        "candidates": popular.about["candidates"],
        "protocol": popular.about["protocol"],
        "cases": len(popular),
        "popularity": {m: popular.metrics[m] for m in metrics},
        "rows": rows,
        "recommenders": [
            {"label": label, **_measured(group, metrics), "published": recipe.published.recommenders.get(label, {})}
            for label, group in alone.items()
        ],
        "comparisons": _comparisons(recipe, groups, alone),
        "errors": errors,
    }


def _measured(group: Sequence[Judged], metrics: Sequence[str]) -> dict[str, Any]:
    """Means over seeds, and standard deviations where there are several."""
    found = {m: [one.report().metrics[m] for one in group] for m in metrics}
    return {
        "seeds": [one.seed for one in group],
        "folders": [one.folder.relative_to(one.root).as_posix() for one in group],
        "metrics": {m: _mean(values) for m, values in found.items()},
        "sd": {m: float(np.std(values, ddof=1)) for m, values in found.items()} if len(group) > 1 else None,
    }


def _comparisons(
    recipe: PairRecipe, groups: Mapping[tuple[str, str], Sequence[Pair]], alone: Mapping[str, Sequence[Alone]]
) -> list[dict[str, Any]]:
    """Each pair with those of its backbone that ``against`` names, and with them each recommender; Holm over all.

    Two are compared on the seeds that both have; where there are none, they are not.
    """
    metric, against = recipe.evaluation.metric, recipe.evaluation.against
    compared: list[tuple[str, str, str, Sequence[Judged], Sequence[Judged]]] = []
    for place, other in enumerate(against):
        for backbone, column in groups:
            if column not in against[: place + 1] and (backbone, other) in groups:  # each two once
                compared.append((backbone, column, other, groups[backbone, column], groups[backbone, other]))
    for label, group in alone.items():
        compared += [(b, c, label, groups[b, c], group) for b, c in groups if c in against]
    reports = {id(one): one.report() for *_, first, second in compared for one in (*first, *second)}
    found = []
    for backbone, a, b, first, second in compared:
        seeds = sorted({one.seed for one in first} & {one.seed for one in second})
        if not seeds:
            continue
        values = [by_user([reports[id(one)] for one in each if one.seed in seeds], metric) for each in (first, second)]
        difference = values[0] - values[1]
        interval, p, _ = paired_test(difference)
        found.append(
            {
                "backbone": backbone,
                "a": a,
                "b": b,
                "metric": metric,
                "difference": float(difference.mean()),
                "ci": interval,
                "p": p,
                "users": len(difference),
                "seeds": seeds,
            }
        )
    for each, corrected in zip(found, holm([each["p"] for each in found]), strict=True):
        each["p_holm"] = float(corrected)
    return found


def by_user(reports: Sequence[Report], metric: str) -> Floats:
    """The metric of each user, averaged over the user's cases and over reports (seeds); users in the order of ids."""
    frames = [
        pl.DataFrame({"user": report.per_case["user_id"], "value": report.case_metric(metric)}) for report in reports
    ]
    return pl.concat(frames).group_by("user").agg(pl.col("value").mean()).sort("user")["value"].to_numpy()


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def model_of(folder: str | Path, label: str, seed: int = 0) -> Reranker:
    """A fitted pair of a run folder; of several settings, that of the latest table.

    Raises: ConfigError: there is none of that label and seed; names the nearest.
    """
    found, table = {}, Path(folder) / "results.json"
    rows = json.loads(table.read_text(encoding="utf-8"))["rows"] if table.is_file() else []
    shown = {Path(folder) / name for row in rows for name in row.get("folders", ())}
    for path in sorted(Path(folder).glob("pairs/*/pair.json"), key=lambda p: (p.parent in shown, p.stat().st_mtime)):
        head = json.loads(path.read_text(encoding="utf-8"))
        found[f"{head['label']} · seed {head['seed']}"] = path.parent / "model"
    name = f"{label} · seed {seed}"
    if name not in found:
        raise ConfigError(f"{folder}: no finished pair {name!r}{nearest(name, found)}")
    return Reranker.load(found[name])
