"""The protocol on worlds worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from torch import Tensor

from evaluation.worlds import Fixed, LastPlus, Lister, Popular
from seqlore import ranking
from seqlore.data import Cases, Sequences, Split, leave_one_out, temporal_sessions
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation import Report, SampledCases, buckets, evaluate, sample_candidates
from toys import make_dataset

# Leave-one-out leaves ab | ba | ac | ca to training: a 4, b 2, c 2, and d, e, g never.
# The tests are abc → d | bae → a (seen) | acb → b (seen) | cag → e.
HISTORIES = {"ann": list("abcd"), "bob": list("baea"), "cyd": list("acbb"), "eve": list("cage")}


@pytest.fixture
def split() -> Split:
    return leave_one_out(make_dataset(HISTORIES))


def random_split(users: int = 60, items: int = 30, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return leave_one_out(
        make_dataset({f"u{i}": [f"i{j}" for j in rng.integers(0, items, rng.integers(3, 9))] for i in range(users)})
    )


def test_figures_by_hand(split: Split) -> None:
    report = evaluate(Fixed({"b": 4, "e": 3, "d": 2, "a": 1}).fit(split), split, at=(1, 2, 3))
    # Lists without seen items: ann e d g | bob d, then c and g at 0 | cyd e d g | eve b e d.
    assert report.per_case["rank"].to_list() == [2, None, None, 2]
    assert report.per_case["user_id"].to_list() == ["ann", "bob", "cyd", "eve"]
    assert report.per_case["target"].to_list() == ["d", "a", "b", "e"]
    assert report.per_case["history_length"].to_list() == [3, 3, 3, 3]
    assert report.per_case["target_count"].to_list() == [0, 4, 2, 0]
    expected = {"hr@1": 0, "hr@2": 0.5, "ndcg@2": 0.5 / math.log2(3), "mrr@3": 0.25, "map@3": 0.25, "cases": 4}
    assert {m: report.metrics[m] for m in expected} == pytest.approx(expected)
    assert report.metrics["coverage@1"] == pytest.approx(3 / 6)  # e, d, b of six items
    assert report.metrics["serendipity@2"] == 0.5  # neither d nor e is among the two most popular
    # Bits: b and c 2 (2 of 8), d, e and g 3 (never bought, counted as once). bob's second is c or g, by their hash.
    bob = 2.5 if split.catalog.ids.index("c") < split.catalog.ids.index("g") else 3
    assert report.per_case["novelty@2"].to_list() == pytest.approx([3, bob, 3, 2.5])


def test_every_case_counts_also_those_that_cannot_be_hit(split: Split) -> None:
    report = evaluate(Fixed({"a": 9, "b": 8}).fit(split), split, at=(2,))
    assert len(report) == 4
    # a and b are the answers of bob and cyd, but stand in their histories.
    assert report.per_case["rank"][1:3].to_list() == [None, None]
    listed = evaluate(Fixed({"a": 9, "b": 8}).fit(split), split, at=(2,), exclude_seen=False)
    assert listed.per_case["rank"].to_list() == [None, 1, 2, None]
    assert "listed too" in str(listed)


def test_lists_of_a_model_without_scores_are_judged_as_they_are(split: Split) -> None:
    report = evaluate(Lister(["d", "e"], [1.0, 1.0]).fit(split), split, at=(1, 5))
    assert report.per_case["rank"].to_list() == [1, None, None, 2]
    assert report.metrics["coverage@5"] == pytest.approx(2 / 6)
    assert report.per_case["tied"].to_list() == [True, False, False, True]
    assert "within the list" in report.about["ties"]


def test_share_of_targets_tied_over_the_whole_catalogue(split: Split) -> None:
    # The targets d and e tie with each other; a and b are masked, so what they tie with does not matter.
    report = evaluate(Fixed({"d": 2, "e": 2, "b": 1}).fit(split), split, at=(1,))
    assert report.per_case["tied"].to_list() == [True, False, False, True]
    assert report.metrics["tied_targets"] == 0.5
    single = evaluate(Fixed({"d": 3, "e": 2, "b": 1}).fit(split), split, at=(1,))
    assert single.metrics["tied_targets"] == 0


def test_candidates_known_to_training(split: Split) -> None:
    model = Fixed({"d": 3, "e": 2}).fit(split)
    report = evaluate(model, split, at=(3,), candidates="train")
    assert report.metrics["hr@3"] == 0  # d and e do not occur in training
    assert "3 of 6" in report.about["candidates"]
    assert report.table()["candidates"].to_list() == [report.about["candidates"]]


def test_novelty_and_the_popular_list_can_count_held_out_events(split: Split) -> None:
    model = Fixed({"d": 3}).fit(split)
    # The first of each list is d, which is the target of one of the 16 events, and of none of the 8 in training.
    report = evaluate(model, split, at=(1,), novelty_counts="all")
    assert report.metrics["novelty@1"] == pytest.approx(4)
    assert evaluate(model, split, at=(1,)).metrics["novelty@1"] == pytest.approx(3)
    assert "all interactions" in report.about["popularity"]


def test_popular_list_with_and_without_seen_items(split: Split) -> None:
    # Popular are a, b, c. Without what somebody has seen only three items are left, so any hit was to be expected.
    model = Fixed({"d": 3, "e": 2}).fit(split)
    plain = evaluate(model, split, at=(3,))
    masked = evaluate(model, split, at=(3,), masked_popularity=True)
    assert plain.metrics["serendipity@3"] == plain.metrics["hr@3"] == 0.5
    assert masked.per_case["serendipity@3"].to_list() == [
        0,
        0,
        0,
        0,
    ]


def test_strangers_have_no_user_id(split: Split) -> None:
    cases = Cases(Sequences.from_lists([split.catalog.index(["a"])]), split.catalog.index(["d"]))
    report = evaluate(Fixed({"d": 1}).fit(split), split, cases=cases)
    assert report.per_case["user_id"].to_list() == [None]
    assert report.metrics["hr@5"] == 1


def test_a_catalogue_smaller_than_k(split: Split) -> None:
    report = evaluate(Popular().fit(split), split, at=(50,))
    assert report.metrics["coverage@50"] == pytest.approx(5 / 6)  # all but a, which everybody has seen
    assert report.metrics["hr@50"] == 0.5


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_the_size_of_a_block_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    split = random_split()
    model = LastPlus().fit(split)
    expected = evaluate(model, split)
    monkeypatch.setattr(ranking, "BLOCK", block)
    found = evaluate(model, split)
    assert found.metrics == expected.metrics
    assert found.per_case.equals(expected.per_case)


def test_the_order_of_the_cases_changes_nothing() -> None:
    split = random_split()
    model = LastPlus().fit(split)
    assert split.test is not None
    order = np.random.default_rng(1).permutation(len(split.test))
    expected, found = evaluate(model, split), evaluate(model, split, cases=split.test.take(order))
    assert found.metrics == pytest.approx(expected.metrics)
    assert found.per_case.drop("case").equals(expected.per_case[order].drop("case"))
    assert 0 < expected.metrics["hr@5"] < 1


def test_case_metrics_average_to_the_metrics() -> None:
    split = random_split()
    report = evaluate(LastPlus().fit(split), split, at=(3, 7))
    for name, value in report.metrics.items():
        if "@" in name and not name.startswith("coverage"):
            assert report.case_metric(name).mean() == pytest.approx(value)
    assert report.case_metric("hr@5").mean() >= report.metrics["hr@3"]  # any cut-off within the lists
    for name, message in (
        ("hr@8", "the lists end at 7"),
        ("coverage@3", "no value per case"),
        ("novelty@5", "was not computed"),
        ("ndgc@3", "did you mean 'ndcg'"),
        ("hr", "names no cut-off"),
    ):
        with pytest.raises(ConfigError, match=message):
            report.case_metric(name)


def test_provenance(split: Split) -> None:
    about = evaluate(Fixed({"d": 1}).fit(split), split, on="valid", seed=7, name="mine").about
    assert about["dataset_hash"] == split.dataset.hash
    assert about["split"] == split.how
    assert (about["on"], about["seed"], about["exclude_seen"]) == ("valid", 7, True)
    assert about["candidates"] == "all 6 items"
    assert about["model"] == "Fixed"
    assert {"seqlore", "torch", "numpy", "python"} <= about["versions"].keys()
    assert about["seconds"]["total"] >= about["seconds"]["ranking"] >= 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"at": ()}, ConfigError, "give cut-offs of 1 or more"),
        ({"at": (0, 5)}, ConfigError, "give cut-offs of 1 or more"),
        ({"on": "train"}, ConfigError, "on='train': choose 'test' or 'valid'"),
        ({"candidates": "all"}, ConfigError, "choose 'catalog' or 'train'"),
        ({"novelty_counts": "test"}, ConfigError, "choose 'train' or 'all'"),
    ],
)
def test_unknown_rules_are_refused(split: Split, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate(Popular().fit(split), split, **options)


def test_a_split_without_cases_is_refused(split: Split) -> None:
    with pytest.raises(DataError, match="no valid cases left"):
        evaluate(Popular().fit(split), split.with_validation(), on="valid")
    assert split.test is not None
    with pytest.raises(DataError, match="no test cases"):
        evaluate(Popular().fit(split), split, cases=split.test.take(np.zeros(4, bool)))


def test_another_catalogue_is_refused(split: Split) -> None:
    with pytest.raises(DataError, match="another catalogue"):
        evaluate(Popular().fit(random_split()), split)


def test_a_model_that_was_told_the_answers_is_refused(split: Split) -> None:
    with pytest.raises(DataError, match="fitted on everything"):
        evaluate(Popular().fit(split.with_everything()), split)
    told = Popular().fit(split.with_validation())
    assert evaluate(told, split).about["fitted_on"] == "train+valid"
    with pytest.raises(DataError, match=r"fitted on train\+valid"):
        evaluate(told, split, on="valid")
    with pytest.raises(DataError, match=r"fitted on train\+valid, valid cases included"):
        evaluate(told, split, cases=split.valid)
    assert evaluate(Popular().fit(split), split, cases=split.valid).about["on"] == "valid"
    with pytest.raises(DataError, match="another split"):
        evaluate(Popular().fit(leave_one_out(split.dataset, ties="shuffled", seed=3)), split)


def test_a_model_is_recognised_by_its_interactions_whatever_else_the_dataset_has(split: Split) -> None:
    data = split.dataset
    described = replace(data, items=data.items.with_columns(brand=pl.lit("a brand")))
    rated = replace(data, interactions=data.interactions.with_columns(rating=pl.lit(5.0)))
    shuffled = replace(data, interactions=data.interactions.sample(fraction=1.0, shuffle=True, seed=1))
    told, honest = Popular().fit(split.with_everything()), Popular().fit(split)
    for other in map(leave_one_out, (described, rated, shuffled)):
        assert other.dataset.hash != data.hash
        with pytest.raises(DataError, match="fitted on everything"):
            evaluate(told, other)
        assert evaluate(honest, other).metrics["cases"] == 4, "the same events are held out"
        with pytest.raises(DataError, match="another split"):
            evaluate(honest, leave_one_out(other.dataset, ties="shuffled"))
    fewer = leave_one_out(make_dataset({**HISTORIES, "ann": list("abdc")[:3], "zoe": list("gea")}))
    assert evaluate(told, fewer).metrics["cases"] == 5, "other interactions with the same items"


def test_the_same_interactions_in_another_order_hold_out_others() -> None:
    data = make_dataset(HISTORIES)
    untimed = data.interactions.drop("timestamp")
    model = Popular().fit(leave_one_out(replace(data, interactions=untimed)))
    with pytest.raises(DataError, match="in another order, which held out other test cases"):
        evaluate(model, leave_one_out(replace(data, interactions=untimed.reverse())))


def test_a_model_of_earlier_versions_does_not_tell_its_interactions(split: Split) -> None:
    other = replace(split.dataset, items=split.dataset.items.with_columns(brand=pl.lit("a brand")))
    for fitted in (split, split.with_everything()):
        model = Popular().fit(fitted)
        del model.about["events_hash"], model.about["held_out"]
        if fitted is split:
            assert evaluate(model, split) is not None
            assert evaluate(model, leave_one_out(other)) is not None
        else:
            with pytest.raises(DataError, match="fitted on everything, test cases included"):
                evaluate(model, split)
            with pytest.raises(DataError, match="does not tell which interactions"):
                evaluate(model, leave_one_out(other))


def test_users_of_another_dataset_are_found_by_their_ids(split: Split) -> None:
    """The lists of a model that knows users go by who somebody is, not by the place among the dataset's users."""

    class Personal(Fixed):
        uses_users = True

        def score(self, histories: Sequences) -> Tensor:
            assert self.users is not None
            who = [self.users.external(int(u)) if u else "a stranger" for u in histories.users]
            self.asked = who
            return super().score(histories)

    model = Personal({"d": 1.0}).fit(split)
    other = leave_one_out(make_dataset({"zoe": list("gec"), **HISTORIES, "tom": list("abe")}))
    report = evaluate(model, other)
    assert model.asked == ["a stranger", "ann", "bob", "cyd", "eve", "a stranger"]
    assert report.per_case["user_id"].to_list() == ["zoe", "ann", "bob", "cyd", "eve", "tom"]


def test_a_fold_is_judged_by_its_own_model_only() -> None:
    sequences = {f"u{i}": ["a", "b", "c"] for i in range(20)}
    whole = temporal_sessions(make_dataset(sequences, timestamp=[i // 3 * 10 + i % 3 for i in range(60)]), folds=2)
    fold = whole.folds[0]
    assert evaluate(Popular().fit(fold), fold, at=(1,)).per_case.height == len(fold.test) > 0
    with pytest.raises(DataError, match="another split"):
        evaluate(Popular().fit(whole), fold)


def test_sampled_candidates_are_the_target_and_unseen_items() -> None:
    split = random_split()
    cases = sample_candidates(split, 7, seed=3)
    assert cases.candidates is not None
    assert cases.candidates.shape == (60, 8)
    for history, target, row in zip(cases.histories, cases.targets, cases.candidates, strict=True):
        assert target in row
        assert len(set(row.tolist())) == 8
        assert set(row.tolist()) - {target} <= set(range(1, split.catalog.size)) - set(history.tolist())
    assert (cases.candidates == sample_candidates(split, 7, seed=3).candidates).all()
    assert (cases.candidates != sample_candidates(split, 7, seed=4).candidates).any()


def test_sampled_candidates_are_uniform() -> None:
    split = leave_one_out(make_dataset({f"u{i}": ["a", "b", "c"] for i in range(3000)} | {"z": list("defghij")}))
    cases = sample_candidates(split, 3, seed=0)
    assert cases.candidates is not None
    drawn = np.bincount(cases.candidates[:3000].ravel(), minlength=split.catalog.size)
    others = drawn[split.catalog.index("defghij")]
    # 7 items, 3 of them a case: each is expected 3000·3/7 ≈ 1286 times with a standard deviation of 27.
    assert others.sum() == 9000
    assert (np.abs(others - 9000 / 7) < 4.5 * 27).all()


def test_all_unseen_items_can_be_drawn_but_not_more() -> None:
    split = leave_one_out(make_dataset({"u": ["a", "b", "c"], "v": ["d", "e", "f"]}))
    assert sample_candidates(split, 3).candidates is not None
    with pytest.raises(DataError, match="leaves 3 unseen items, fewer than n=4"):
        sample_candidates(split, 4)
    with pytest.raises(DataError, match="draw at least one"):
        sample_candidates(split, 0)
    with pytest.raises(DataError, match="no valid cases left"):
        sample_candidates(split.with_validation(), 1, on="valid")


def test_figures_from_sampled_candidates_say_so() -> None:
    split = random_split()
    model = LastPlus().fit(split)
    report = evaluate(model, split, cases=sample_candidates(split, 9, seed=5), at=(10,))
    assert report.metrics["hr@10"] == pytest.approx(
        np.mean([t not in h for h, t in zip(split.test.histories, split.test.targets, strict=True)])  # type: ignore
    )
    rule = "target + 9 items drawn uniformly from the unseen ones (seed 5)"
    assert report.about["candidates"] == rule
    assert rule in str(report)
    assert report.table()["candidates"][0] == rule
    half = sample_candidates(split, 9, seed=5).take(slice(30))
    assert isinstance(half, SampledCases)
    assert evaluate(model, split, cases=half).about["candidates"] == rule
    plain = Cases(half.histories, half.targets, half.candidates)
    assert evaluate(model, split, cases=plain).about["candidates"] == "the cases' own, up to 10 each"


def test_a_report_survives_its_folder(split: Split, tmp_path) -> None:
    report = evaluate(Popular().fit(split), split, at=(2, 3), seed=1)
    loaded = Report.load(report.save(tmp_path / "out"))
    assert loaded.metrics == report.metrics
    assert loaded.about == report.about
    assert loaded.per_case.equals(report.per_case)
    assert loaded.at == [2, 3]
    assert str(loaded) == str(report)


def test_a_damaged_report_is_refused_in_one_sentence(split: Split, tmp_path) -> None:
    report = evaluate(Popular().fit(split), split)
    with pytest.raises(DataError, match=r"no metrics\.json there"):
        Report.load(tmp_path)
    report.save(tmp_path)
    text = (tmp_path / "metrics.json").read_text()
    for content, message in (
        (text[:40], "damaged"),
        ("{}", "damaged"),
        (text.replace('"format": 1', '"format": 99'), "newer Seqlore"),
        (text.replace('"cases": 4', '"cases": 5'), "do not belong together"),
    ):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(DataError, match=message):
            Report.load(tmp_path)
    (tmp_path / "metrics.json").write_text(text)
    (tmp_path / "per_case.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged"):
        Report.load(tmp_path)


def test_table_and_text(split: Split) -> None:
    report = evaluate(Popular().fit(split), split, at=(3, 2), name="pop")
    table = report.table()
    assert table["k"].to_list() == [2, 3]
    assert table["model"].to_list() == ["pop", "pop"]
    assert table["ndcg"][1] == report.metrics["ndcg@3"]
    assert table["seen"].to_list() == ["masked", "masked"]
    text = str(report)
    assert "pop on test: 4 cases of toy, leave-one-out, ties as in the file" in text
    assert "seen items masked; candidates: all 6 items" in text
    assert f"{report.metrics['ndcg@3']:.4f}" in text.splitlines()[-1]


def test_buckets_by_popularity_history_and_novelty_of_the_target() -> None:
    per_case = pl.DataFrame(
        {
            "case": range(6),
            "user_id": list("uvwxyz"),
            "target": list("abcdef"),
            "rank": [1, None, 2, None, 1, 1],
            "history_length": [1, 1, 2, 3, 5, 9],
            "target_count": [0, 0, 3, 3, 3, 10],
        }
    )
    report = Report("m", {"hr@10": 0.0}, per_case)
    popular = buckets(report, metrics=("hr@10",), bins=2)
    assert popular["bucket"].to_list() == ["cold", "3", "10"]
    assert popular["cases"].to_list() == [2, 3, 1]
    assert popular["hr@10"].to_list() == pytest.approx([1 / 2, 2 / 3, 1])
    assert popular["hr@10_se"].to_list() == [pytest.approx(0.5), pytest.approx(1 / 3), None]
    assert popular["share"].sum() == pytest.approx(1)
    history = buckets(report, "history", metrics=("hr@10",), bins=3)
    assert history["bucket"].to_list() == ["1", "2–3", "5–9"]
    assert history.select("low", "high").rows() == [(1, 1), (2, 3), (5, 9)]
    known = buckets(report, "known", metrics=("hr@10",))
    assert known["bucket"].to_list() == ["never in training", "in training"]
    assert known["cases"].to_list() == [2, 4]
    with pytest.raises(ConfigError, match="choose 'popularity', 'history' or 'known'"):
        buckets(report, "price")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one bucket"):
        buckets(report, bins=0)


def test_buckets_hold_every_case_once_and_average_to_the_whole() -> None:
    split = random_split(seed=4)
    report = evaluate(LastPlus().fit(split), split)
    for by in ("popularity", "history", "known"):
        for bins in (1, 3, 50):
            found = buckets(report, by, bins=bins)
            assert found["cases"].sum() == len(report)
            assert (found["ndcg@10"] * found["share"]).sum() == pytest.approx(report.metrics["ndcg@10"])
            assert by == "known" or (found["low"][1:] > found["high"][:-1]).all()


def test_buckets_where_no_target_was_ever_bought(split: Split) -> None:
    report = evaluate(Popular().fit(split), split)
    cold = replace(report, per_case=report.per_case.with_columns(target_count=pl.lit(0)))
    assert buckets(cold)["bucket"].to_list() == ["cold"]


def test_what_a_model_tells_of_its_lists_stands_beside_the_metrics(split: Split) -> None:
    class Teller(Lister):
        def rank(self, histories, k, **rules):
            self.diagnostics = {"invented_completions": 0.25}
            return super().rank(histories, k, **rules)

    report = evaluate(Teller(list("de"), [2.0, 1.0]).fit(split), split, at=(2,))
    assert report.metrics["invented_completions"] == 0.25
    assert "invented completions: 25.0%" in str(report)
