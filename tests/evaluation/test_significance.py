"""Paired tests against exact enumeration and a reference; comparisons and summaries of reports."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqlore.data import leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import (
    Report,
    compare,
    compare_all,
    comparison_table,
    evaluate,
    holm,
    paired,
    paired_test,
    summarise,
)
from seqlore.models import MostPopular
from toys import make_dataset


def report(model: str, ranks: Sequence[int | None], seed: int = 0, **about: object) -> Report:
    """A report with these ranks in lists of ten."""
    n = len(ranks)
    per_case = pl.DataFrame(
        {"case": range(n), "user_id": [f"u{i}" for i in range(n)], "target": [f"i{i % 5}" for i in range(n)]}
    ).with_columns(rank=pl.Series(ranks, dtype=pl.Int32))
    made = Report(model, {"hr@10": 0.0, "ndcg@10": 0.0, "cases": n, "tied_targets": 0.0}, per_case)
    made.metrics |= {m: float(made.case_metric(m).mean()) for m in ("hr@10", "ndcg@10")}
    made.about |= {"dataset_hash": "d", "on": "test", "exclude_seen": True, "candidates": "all", "seed": seed, **about}
    return made


def random_ranks(seed: int, n: int = 400, hits: float = 0.3) -> list[int | None]:
    rng = np.random.default_rng(seed)
    return [int(rng.integers(1, 11)) if rng.random() < hits else None for _ in range(n)]


def exact_p(differences: np.ndarray) -> float:
    """Two-sided sign-flip p-value over all 2^n assignments of signs."""
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))


@pytest.mark.parametrize(
    "differences",
    [
        [0.5, 0.5, 1.0, -0.25, 0, 0, 0.3, 1.0, 1.0, -0.5],  # equal ones drawn together where grouping is forced
        [0.31, -0.2, 0.45, 0.12, 0.07, -0.05, 0.6, 0.22, 0.9],  # all distinct
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [0.4, -0.4],
    ],
)
@pytest.mark.parametrize("grouped", [0.0, 1.0])
def test_permutation_agrees_with_exact_enumeration(
    differences: list[float], grouped: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "GROUPED", grouped)
    values = np.array(differences)
    _, p, _ = paired_test(values, samples=20_000, seed=1)
    exact = exact_p(values)
    assert p == pytest.approx(exact, abs=4.5 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.parametrize("grouped", [0.0, 1.0])
def test_bootstrap_agrees_with_scipy(grouped: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "GROUPED", grouped)
    values = np.random.default_rng(3).choice([0, 0, 0, 0.5, 1, -0.63], 300)
    (low, high), _, _ = paired_test(values, samples=20_000, seed=2)
    peer = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=5).confidence_interval
    spread = values.std() / np.sqrt(300)
    assert low == pytest.approx(peer.low, abs=0.08 * spread)
    assert high == pytest.approx(peer.high, abs=0.08 * spread)


def test_p_values_are_roughly_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    found = np.array([paired_test(rng.choice([-1, -0.5, 0, 0.5, 1], 120), samples=400, seed=i)[1:] for i in range(300)])
    for share in (0.1, 0.5):
        # 300 draws of a Bernoulli(share): three standard deviations, and a little for the discreteness.
        assert np.abs((found <= share).mean(0) - share).max() < 3 * np.sqrt(share * (1 - share) / 300) + 0.03


def test_a_clear_difference_is_found_and_none_is_not() -> None:
    clear = np.random.default_rng(1).choice([0, 0, 1, 0.5, -0.5], 2000)
    (low, high), p, p_bootstrap = paired_test(clear)
    assert 0 < low < clear.mean() < high
    assert p == pytest.approx(1 / 10_001)
    assert p_bootstrap < 0.001
    assert paired_test(np.zeros(10)) == ((0, 0), 1.0, 1.0)


values = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.63, 1.0]), min_size=1, max_size=30)


@given(differences=values, seed=st.integers(0, 5))
def test_laws_of_the_paired_test(differences: list[float], seed: int) -> None:
    array = np.array(differences)
    (low, high), p, p_bootstrap = paired_test(array, samples=200, seed=seed)
    assert array.min() - 1e-12 <= low <= high <= array.max() + 1e-12
    assert 0 < p <= 1
    assert 0 < p_bootstrap <= 1
    shuffled = np.random.default_rng(seed).permutation(array)
    assert paired_test(shuffled, samples=200, seed=seed) == ((low, high), p, p_bootstrap)
    assert paired_test(-array, samples=200, seed=seed)[1] == p


@pytest.mark.parametrize("grouped", [0.0, 1.0])
@pytest.mark.parametrize("block", [1, 700, 10_000])
def test_the_size_of_a_block_changes_nothing(grouped: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).choice([-1, 0, 0.25, 0.5, 1], 77)
    monkeypatch.setattr(paired, "GROUPED", grouped)
    expected = paired_test(array, samples=301, seed=4)
    monkeypatch.setattr(paired, "BLOCK", block)
    assert paired_test(array, samples=301, seed=4) == expected
    assert paired_test(array, samples=301, seed=5) != expected


def test_bad_arguments_of_the_paired_test() -> None:
    with pytest.raises(DataError, match="at least one case"):
        paired_test(np.zeros(0))
    with pytest.raises(DataError, match="finite difference"):
        paired_test(np.array([1.0, np.nan]))
    with pytest.raises(ConfigError, match="samples=0"):
        paired_test(np.ones(3), samples=0)
    with pytest.raises(ConfigError, match="confidence=95"):
        paired_test(np.ones(3), confidence=95)


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1 = .02 .03 .06 .04, never falling: .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([]).tolist() == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p: list[float]) -> None:
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_compare_by_hand() -> None:
    a, b = report("A", [1, 1, 3, None]), report("B", [1, 3, None, None])
    found = compare(a, b, "ndcg@10")
    assert found.mean_a == pytest.approx(2.5 / 4)
    assert found.mean_b == pytest.approx(1.5 / 4)
    assert found.mean_difference == pytest.approx(0.25)
    assert found.n == 4
    assert found.correction == "none"
    assert found.p_permutation == pytest.approx(exact_p(np.array([0, 0.5, 0.5, 0])), abs=0.02)  # 2 of 4 sign choices
    assert compare(b, a).mean_difference == -found.mean_difference
    assert "A − B: ndcg@10 +0.2500" in str(found)


def test_cases_are_paired_by_key_and_not_by_row() -> None:
    a, b = report("A", random_ranks(0)), report("B", random_ranks(1))
    expected = compare(a, b)
    b.per_case = b.per_case.sample(fraction=1, shuffle=True, seed=3)
    assert compare(a, b) == expected


def test_seeds_are_averaged_case_by_case() -> None:
    a = [report("A", [1, None], 0), report("A", [1, 1], 1)]
    b = [report("B", [None, None])]
    found = compare(a, b, "hr@10")
    assert found.mean_difference == pytest.approx(0.75)
    assert (found.seeds_a, found.seeds_b) == (2, 1)
    assert found.ci == pytest.approx((0.5, 1))


def test_other_cases_are_refused() -> None:
    a = report("A", [1, 2, 3])
    with pytest.raises(DataError, match="hold 3 and 2 cases"):
        compare(a, report("B", [1, 2]))
    other = report("B", [1, 2, 3])
    other.per_case = other.per_case.with_columns(target=pl.Series(["i0", "x", "i2"]))
    with pytest.raises(DataError, match=r"differ at case 1 .*u1 → i1.*u1 → x"):
        compare(a, other)
    stranger = report("B", [1, 2, 3])
    stranger.per_case = stranger.per_case.with_columns(user_id=pl.Series(["u0", "u1", None]))
    with pytest.raises(DataError, match="differ at case 2"):
        compare(a, stranger)
    assert compare(stranger, stranger).mean_difference == 0


@pytest.mark.parametrize("rule", ["dataset_hash", "on", "exclude_seen", "candidates"])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(DataError, match=f"different rules .{rule}"):
        compare(report("A", [1, 2]), report("B", [1, 2], **{rule: "other"}))


def test_all_against_one_with_holm() -> None:
    reports = [
        report("weak", random_ranks(1, hits=0.2)),
        report("base", random_ranks(2, hits=0.3)),
        report("strong", random_ranks(3, hits=0.5), 0),
        report("strong", random_ranks(4, hits=0.5), 1),
    ]
    found = compare_all(reports, against="base")
    assert [c.a for c in found] == ["weak", "strong"]
    assert {c.b for c in found} == {"base"}
    assert {c.correction for c in found} == {"Holm over 2"}
    assert [c.p_corrected for c in found] == pytest.approx(holm([c.p_permutation for c in found]))
    assert found[1].seeds_a == 2
    assert found[0].mean_difference < 0 < found[1].mean_difference
    assert {c.b for c in compare_all(reports)} == {"strong"}
    assert compare_all(reports[:2], against="base")[0].correction == "none"
    table = comparison_table(found)
    assert table["a"].to_list() == ["weak", "strong"]
    assert table["ci_low"].to_list() == [c.ci[0] for c in found]
    with pytest.raises(ConfigError, match="no report of 'bese'"):
        compare_all(reports, against="bese")
    with pytest.raises(DataError, match="at least two models"):
        compare_all(reports[2:])


def test_summary_over_seeds() -> None:
    reports = [report("A", [1, None], 5), report("A", [1, 1], 6), report("A", [None, None], 7)]
    found = summarise(reports, best_by="hr@10")
    assert found.mean["hr@10"] == pytest.approx(0.5)
    assert found.sd["hr@10"] == pytest.approx(0.5)  # of a sample: sqrt((0 + .25 + .25) / 2)
    assert found.best["hr@10"] == 1
    assert found.seeds == [5, 6, 7]
    assert found.n == 3
    single = summarise(reports[:1])
    assert single.sd["hr@10"] is None
    assert single.to_dict()["best_by"] == "ndcg@10"
    with pytest.raises(DataError, match="reports of A and B"):
        summarise([*reports, report("B", [1, 1])])
    with pytest.raises(DataError, match="different rules"):
        summarise([*reports, report("A", [1, 1], on="valid")])
    with pytest.raises(DataError, match="no reports"):
        summarise([])
    with pytest.raises(ConfigError, match="hr@20 was not computed"):
        summarise(reports, best_by="hr@20")


def test_novelty_is_compared_only_where_the_same_interactions_were_counted() -> None:
    split = leave_one_out(make_dataset({f"u{i}": [f"i{(i + j) % 7}" for j in range(4)] for i in range(9)}))
    model = MostPopular().fit(split)
    trained, everything = (evaluate(model, split, at=(5,), novelty_counts=n) for n in ("train", "all"))
    with pytest.raises(DataError, match=r"different rules .popularity"):
        compare(trained, everything, "novelty@5")
    assert compare(trained, everything, "ndcg@5").mean_difference == 0
