"""Each problem planted by hand, and datasets without any."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from seqlore.data import Dataset, Sequences, Split, leave_one_out, ratio, temporal_sessions
from seqlore.data.audit import AuditReport, Finding, audit
from seqlore.data.findings import percent
from seqlore.data.simulate import simulate
from seqlore.errors import DataError

ROW = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}


def events(*rows: tuple[str, str, int | None], items: dict[str, list] | None = None, **columns: list) -> Dataset:
    """A dataset from (user, item, time) in file order."""
    frame = pl.DataFrame(rows, schema=ROW, orient="row").with_columns(**{k: pl.Series(v) for k, v in columns.items()})
    return Dataset.from_frames(frame, None if items is None else pl.DataFrame(items), name="planted")


def one_day(orders: list[list[str]], **options: dict[str, list]) -> Dataset:
    """Each list is a user with all events at one time."""
    return events(*((f"u{n}", item, 7) for n, order in enumerate(orders) for item in order), **options)


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return simulate(users=150, items=120, interactions_per_user=8, seed=4)


def test_a_clean_dataset_has_nothing_but_ok(shop: Dataset) -> None:
    report = audit(shop)
    assert report.worst == "ok"
    assert {f.severity for f in report.findings} == {"ok"}
    assert len(report.findings) >= 13


@pytest.mark.parametrize("split", [leave_one_out, temporal_sessions, ratio])
def test_honest_splits_hold_no_danger(shop: Dataset, split) -> None:
    report = audit(shop, split(shop))
    assert report.worst != "danger"
    for name in ("test", "valid"):
        for check in ("in_training", "in_history", "late"):
            assert report[f"split.{name}_{check}"].severity == "ok"


# --- ids


def test_ids_that_grow_with_time() -> None:
    report = audit(events(*(("u", f"i{n}", 10 * n) for n in range(40))))
    assert report["ids.time"].share == pytest.approx(1.0)
    assert report["ids.time"].severity == "warning"
    assert report["ids.file"].share == pytest.approx(1.0)


def test_ids_are_read_as_numbers_where_they_end_in_one() -> None:
    # Alphabetically i10 stands before i2, and 40 ids in time order would correlate only in part.
    assert audit(events(*(("u", f"B{n}", n) for n in range(40))))["ids.time"].share == pytest.approx(1.0)
    mixed = audit(events(*(("u", f"{'xy'[n % 2]}{n}", n) for n in range(40))))["ids.time"].share
    assert mixed is not None
    assert mixed < 0.7


def test_a_handful_of_ids_may_be_in_order_by_chance() -> None:
    assert "ids.time" not in audit(events(*(("u", f"i{n}", n) for n in range(7))))
    assert "ids.time" in audit(events(*(("u", f"i{n}", n) for n in range(8))))


def test_ids_that_shrink_with_time_are_found_too() -> None:
    found = audit(events(*(("u", f"i{n:02d}", -n) for n in range(40))))["ids.time"]
    assert found.share == pytest.approx(-1.0)
    assert found.severity == "warning"


# --- ties


def test_ties_sorted_by_item_id() -> None:
    report = audit(one_day([["a", "b", "c"], ["b", "c", "d"]] * 8))
    assert report["ties.share"].share == 1.0
    assert report["ties.item_id"].share == 1.0  # 32 pairs, all ascending
    assert report["ties.item_id"].severity == "danger"
    assert 'ties="shuffled"' in report["ties.item_id"].detail
    assert report["ties.targets"].share == 1.0
    assert report["ties.targets"].severity == "danger"
    assert "100.0 % of these have the larger item id" in report["ties.targets"].detail


def test_ties_without_order_are_a_warning_only() -> None:
    report = audit(one_day([["a", "b", "c"], ["c", "b", "a"]] * 8))
    assert report["ties.item_id"].share == 0.5
    assert report["ties.item_id"].severity == "ok"
    assert report["ties.share"].severity == "warning"
    assert report["ties.targets"].severity == "warning"


def test_a_few_ascending_ties_may_be_chance() -> None:
    assert audit(one_day([["a", "b"]] * 15))["ties.item_id"].severity == "ok"  # 15 heads: below four deviations
    assert audit(one_day([["a", "b"]] * 16))["ties.item_id"].severity == "danger"


def test_ties_sorted_by_title() -> None:
    items = {"item_id": ["a", "b", "c"], "title": ["Zinc", "Moss", "Ash"]}
    report = audit(one_day([["c", "b", "a"], ["b", "a"]] * 8, items=items))
    assert report["ties.title"].share == 1.0
    assert report["ties.title"].severity == "danger"
    assert report["ties.item_id"].share == 0.0


def test_the_share_of_ties_by_hand() -> None:
    # u: two of three events share a time, and the target is not one of them. v: three singles.
    rows = [("u", "a", 1), ("u", "b", 1), ("u", "c", 2), ("v", "a", 1), ("v", "b", 2), ("v", "c", 3)]
    report = audit(events(*rows))
    assert report["ties.share"].share == pytest.approx(2 / 6)
    assert report["ties.targets"].share == 0.0
    assert report["ties.targets"].severity == "ok"


def test_events_without_time_are_not_tied() -> None:
    report = audit(events(("u", "a", None), ("u", "b", None), ("u", "c", 5)))
    assert report["ties.share"].share == 0.0
    assert report["time.missing"].share == pytest.approx(2 / 3)
    assert report["time.missing"].severity == "danger"
    assert "fill them in" in report["time.missing"].detail
    placed = audit(events(("u", "a", None), ("u", "b", None), ("u", "c", 5), position=[1, 2, 0]))
    assert placed["time.missing"].severity == "warning", "a published order needs no times"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.permutations("abcdef").map(lambda p: p[:4]), min_size=1, max_size=8))
def test_reversing_all_ids_reverses_the_direction(orders: list[list[str]]) -> None:
    mirrored = [[chr(ord("a") + ord("f") - ord(item)) for item in order] for order in orders]
    share = audit(one_day(orders))["ties.item_id"].share
    assert share is not None
    assert audit(one_day(mirrored))["ties.item_id"].share == pytest.approx(1 - share)


# --- order


def test_position_against_time() -> None:
    rows = [("u", "a", 1), ("u", "b", 3), ("u", "c", 2), ("u", "d", 4)]
    assert audit(events(*rows, position=[0, 1, 2, 3]))["order.position"].share == pytest.approx(1 / 3)
    assert audit(events(*rows, position=[0, 1, 2, 3]))["order.position"].severity == "warning"
    assert audit(events(*rows, position=[0, 2, 1, 3]))["order.position"].severity == "ok"


def test_file_order_against_time() -> None:
    report = audit(events(("u", "a", 3), ("u", "b", 1), ("u", "c", 2)))
    assert report["order.file"].share == pytest.approx(1 / 2)
    assert report["order.file"].severity == "note"
    assert "order.position" not in report


def test_no_times_at_all() -> None:
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "b"]})
    report = audit(Dataset.from_frames(frame))
    assert report["time.missing"].share == 1.0
    assert report["time.missing"].severity == "warning"
    assert "ties.share" not in report


# --- repeats


def test_repeated_targets_and_duplicate_pairs() -> None:
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "a", 1), ("v", "b", 2), ("v", "b", 2)]
    report = audit(events(*rows, ("w", "a", 1), ("w", "c", 2)))
    assert report["repeats.targets"].share == pytest.approx(2 / 3)  # u and v, not w
    assert report["repeats.pairs"].share == pytest.approx(2 / 8)
    assert report["repeats.events"].share == pytest.approx(1 / 8)  # v bought b twice in one second
    assert report["repeats.events"].severity == "warning"


# --- texts


def test_items_without_text_and_with_the_same() -> None:
    items = {
        "item_id": ["a", "b", "c", "d", "e"],
        "title": ["Red  Soap", "red soap ", None, "  ", "Towel"],
        "tags": [["x"], [], None, ["y"], ["z"]],
    }
    report = audit(events(("u", "a", 1), ("u", "b", 2), items=items))
    assert report["text.title"].share == pytest.approx(2 / 5)
    assert report["text.title"].severity == "warning"
    assert report["text.tags"].share == pytest.approx(2 / 5)
    assert report["text.tags"].severity == "note"
    assert report["text.same_title"].share == pytest.approx(2 / 3)  # of the three that have a title


def test_no_titles_at_all() -> None:
    items = {"item_id": ["a", "b"], "colour": ["red", "blue"]}
    report = audit(events(("u", "a", 1), ("u", "b", 2), items=items))
    assert report["text.title"].severity == "warning"
    assert "text.same_title" not in report


# --- splits


@pytest.fixture
def two_users() -> Dataset:
    """Leave-one-out: u trains on a@1 and is asked for c@3; v trains on a@4, b@5 and is asked for d@7."""
    u = [("u", "a", 1), ("u", "b", 2), ("u", "c", 3)]
    return events(*u, ("v", "a", 4), ("v", "b", 5), ("v", "c", 6), ("v", "d", 7))


def test_the_future_by_hand(two_users: Dataset) -> None:
    report = audit(two_users, leave_one_out(two_users))
    assert report["split.overlap"].share == pytest.approx(2 / 3)  # a@4 and b@5 are later than c@3
    assert report["split.future"].share == pytest.approx(1 / 2)  # u's target, not v's
    assert "on average than 33.3 %" in report["split.future"].detail  # (2/3 + 0) / 2
    assert report["split.future"].severity == "note"
    assert report["split.unknown"].share == 1.0  # training knows a and b only
    assert report["split.users"].share == 1.0
    assert report.split == "leave-one-out, ties as in the file"


def _training_with(split: Split, row: int) -> Split:
    train = split.train
    assert train.rows is not None
    more = Sequences(np.array([1], np.int32), np.array([0, 1]), rows=np.array([row]), timestamps=np.array([0]))
    return replace(split, train=Sequences.concat([replace(train, ratings=None), more]))


def test_test_events_in_training(two_users: Dataset) -> None:
    report = audit(two_users, _training_with(leave_one_out(two_users), row=2))  # c of u
    assert report["split.test_in_training"].share == 0.5
    assert report["split.test_in_training"].severity == "danger"
    assert report["split.valid_in_training"].severity == "ok"
    assert report.worst == "danger"


def test_validation_events_in_training(two_users: Dataset) -> None:
    report = audit(two_users, _training_with(leave_one_out(two_users), row=1))  # b of u
    assert report["split.valid_in_training"].severity == "danger"
    assert report["split.test_in_training"].severity == "ok"


def test_a_history_that_holds_its_target_or_the_future(two_users: Dataset) -> None:
    split = leave_one_out(two_users)
    assert split.test is not None
    assert split.test.rows is not None
    whole = replace(split.test, histories=split.test.joined())
    report = audit(two_users, replace(split, test=whole))
    assert report["split.test_in_history"].share == 1.0
    assert report["split.test_in_history"].severity == "danger"
    early = replace(split.test, rows=np.array([0, 6]))  # u is asked for its first event, with the second in its history
    report = audit(two_users, replace(split, test=early))
    assert report["split.test_late"].share == 0.5
    assert report["split.test_late"].severity == "danger"


def test_a_temporal_split_whose_users_come_back_is_a_warning(two_users: Dataset) -> None:
    split = leave_one_out(two_users)
    report = audit(two_users, replace(split, how={"protocol": "temporal sessions", "ties": "file"}))
    assert report["split.users"].severity == "warning"
    assert report["split.future"].severity == "warning"


def test_a_split_without_rows_says_that_it_cannot_be_compared(two_users: Dataset) -> None:
    split = leave_one_out(two_users)
    found = audit(two_users, replace(split, train=replace(split.train, rows=None)))["split.test_in_training"]
    assert found.severity == "note"
    assert found.share is None


def test_a_split_of_nothing_but_training(two_users: Dataset) -> None:
    report = audit(two_users, leave_one_out(two_users).with_everything())
    assert not any(f.check.startswith("split.") for f in report.findings)
    assert report["repeats.targets"].detail.startswith("0.0 % of the leave-one-out targets")


def test_the_split_must_be_of_this_dataset(two_users: Dataset, shop: Dataset) -> None:
    with pytest.raises(DataError, match=r"made from Dataset\('simulated-shop'.*audit it with its own data"):
        audit(two_users, leave_one_out(shop))


# --- the report


def test_report_as_json_and_as_table(two_users: Dataset) -> None:
    report = audit(replace(two_users, name="[bold]odd"), leave_one_out(two_users))
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.to_dict()["worst"] == "warning"  # no item has a title
    console = Console(width=160, record=True)
    report.render(console)
    lines = console.export_text().splitlines()
    assert lines[0].startswith("Audit of [bold]odd, leave-one-out")
    body = [line for line in lines if line.startswith("│")]
    assert body[0].startswith("│ warning │ Items without title")  # gravest first
    assert body[-1].startswith("│ ok")
    with pytest.raises(KeyError, match="nothing"):
        report["nothing"]


def test_worst_is_the_gravest() -> None:
    found = [Finding("a", "warning", "", ""), Finding("b", "danger", "", ""), Finding("c", "ok", "", "")]
    assert AuditReport("d", None, found).worst == "danger"
    assert AuditReport("d", None, []).worst == "ok"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.435, "43.5 %"), (1e-5, "under 0.1 %"), (1 - 1e-5, "over 99.9 %")],
)
def test_percent_never_rounds_to_none_or_all(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.realdata
def test_beauty(beauty: Dataset) -> None:
    report = audit(beauty)
    assert report["ties.item_id"].share == 1.0
    assert report["ties.targets"].share == pytest.approx(0.435, abs=5e-4)
    assert "100.0 % of these have the larger item id" in report["ties.targets"].detail
    assert report["ties.share"].share == pytest.approx(114_204 / 198_502)
    assert report["repeats.pairs"].share == 0.0
    assert report["text.title"].share == pytest.approx(7 / 12_101)
    assert report.worst == "danger"
