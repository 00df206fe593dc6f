"""What an answer is worth: stars, texts, and lists of candidates. Pure functions; per-case values for paired tests.

BLEU: Papineni et al., ACL 2002, of a corpus, by sacrebleu (Post, WMT 2018); BLEU-n has n-grams up to n, in equal
weights. ROUGE: Lin, 2004, F1 of each case by rouge-score, without a stemmer, averaged. Both in per cent, as the tables
of P5 and Chu et al. 2023 give them; their own BLEU is unsmoothed and split at blanks, so that figures differ a little.
Case is ignored by both, since some models write in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import DataError, MissingExtraError
from seqlore.evaluation import metrics

Floats = NDArray[np.float64]
STARS = np.arange(1, 6)


@dataclass(frozen=True, eq=False)
class Scores:
    """Attributes: values: metric → value over all cases. per_case: metric → [n], where it is a mean of cases."""

    values: dict[str, float]
    per_case: dict[str, Floats] = field(default_factory=dict)


def rating_scores(predicted: Floats, ratings: NDArray[np.floating], suffix: str = "") -> Scores:
    """RMSE and MAE of stars; predictions outside 1 … 5 count as the nearest end. Per case: squared and absolute error.

    >>> rating_scores(np.array([4.0, 9.0]), np.array([3.0, 5.0])).values
    {'rmse': 0.7071067811865476, 'mae': 0.5}
    """
    if not len(ratings) or not np.isfinite(predicted).all():
        raise DataError("stars can be judged only where there are cases, and a number for each")
    error = np.clip(predicted, 1, 5).astype(np.float64) - ratings
    per_case = {f"squared_error{suffix}": error**2, f"absolute_error{suffix}": np.abs(error)}
    values = {f"rmse{suffix}": float(np.sqrt((error**2).mean())), f"mae{suffix}": float(np.abs(error).mean())}
    return Scores(values, per_case)


def star_scores(log_p: NDArray[np.floating], ratings: NDArray[np.floating]) -> Scores:
    """Of the log-probabilities of 1 … 5 stars, [n, 5]: the likeliest, and the expected value Σ r·p(r) ("…_expected").

    The likeliest is the answer that the paper's model writes, the expected value the best guess under squared error.
    """
    log_p = np.asarray(log_p, np.float64)
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    expected = (p / p.sum(1, keepdims=True)) @ STARS
    greedy = rating_scores(STARS[log_p.argmax(1)].astype(np.float64), ratings)
    soft = rating_scores(expected, ratings, "_expected")
    return Scores(greedy.values | soft.values, greedy.per_case | soft.per_case)


def text_scores(written: Sequence[str], wanted: Sequence[str], words: int | None = None) -> Scores:
    """BLEU-2, BLEU-4, ROUGE-1, -2 and -L in per cent, of words without case. Per case: the three of ROUGE.

    Args: words: first words of each text, of both sides, that are read; None = all.

    Raises: MissingExtraError: sacrebleu or rouge-score is not installed. DataError: no texts, or not as many.
    """
    if not wanted or len(written) != len(wanted):
        raise DataError(f"{len(written)} texts were written and {len(wanted)} are wanted: give one for each, and some")
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtraError("BLEU and ROUGE need packages: pip install 'seqlore[tasks]'") from error
    written, wanted = ([" ".join(text.lower().split()[:words]) for text in texts] for texts in (written, wanted))
    values = {f"bleu{n}": float(BLEU(max_ngram_order=n).corpus_score(written, [wanted]).score) for n in (2, 4)}
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    found = [scorer.score(right, mine) for right, mine in zip(wanted, written, strict=True)]
    per_case = {
        name: 100 * np.array([each[key].fmeasure for each in found], np.float64)
        for name, key in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougel", "rougeL"))
    }
    return Scores(values | {name: float(each.mean()) for name, each in per_case.items()}, per_case)


def list_scores(
    scores: NDArray[np.floating],
    candidates: NDArray[np.integer],
    targets: NDArray[np.integer],
    at: Sequence[int] = (1, 5, 10),
) -> Scores:
    """HR@k and NDCG@k of candidates ordered by score, and ``listed``, how many a list has.

    A list that is no longer than k has everything among its first k, so that such a k tells nothing and is left out.

    Args: as of :func:`list_places`.
    """
    shortest = int((candidates > 0).sum(1).min(initial=candidates.shape[1]))
    found = place_scores(list_places(scores, candidates, targets), [k for k in at if k < shortest])
    return Scores({**found.values, "listed": float(shortest)}, found.per_case)


def list_places(
    scores: NDArray[np.floating], candidates: NDArray[np.integer], targets: NDArray[np.integer]
) -> NDArray[np.integer]:
    """int [n], where targets stand among candidates ordered by score, equal scores by index, which is a hash order.

    1 = first; 0 = nowhere: its score is −∞, which means that the model did not name it.

    Args: scores, candidates: [n, c], 0 pads. targets: [n], among the candidates.
    """
    if np.isnan(scores).any():
        raise DataError("a score is not a number: the model's training diverged, so lower its learning rate")
    named = np.where(scores > -np.inf, candidates, 0)
    order = np.lexsort((candidates, -np.where(named > 0, scores, -np.inf)), axis=1)
    return metrics.positions(np.take_along_axis(named, order, 1), targets)


def place_scores(position: NDArray[np.integer], at: Sequence[int] = (1, 5, 10)) -> Scores:
    """HR@k and NDCG@k of where targets stand, int [n], 1 = first and 0 = not listed."""
    per_case = {}
    for k in at:
        per_case |= {f"hr@{k}": metrics.hit_rate(position, k), f"ndcg@{k}": metrics.ndcg(position, k)}
    return Scores({name: float(each.mean()) for name, each in per_case.items()}, per_case)
