"""``seqlore data``: each verb through the runner, as a person would call it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from seqlore.cli.data import app
from seqlore.data import Dataset, Split
from seqlore.errors import ConfigError, DataError, SeqloreError

CSV = """reviewer,product,stars,day
u,1,5,2020-01-01
u,2,4,2020-01-02
u,1,5,2020-01-03
v,1,2,2020-01-01
v,2,5,2020-01-02
"""
MAPPED = ["--column", "user_id=reviewer", "--column", "item_id=product", "--column", "rating=stars"]


def call(*arguments: object, fails: type[SeqloreError] | None = None) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if fails is not None:
        assert isinstance(result.exception, fails), result.output
    else:
        assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "e.csv").write_text(CSV)
    (tmp_path / "p.csv").write_text("sku,name\n1,Tea\n2,Cup\n3,Pot\n")
    return tmp_path


def imported(shop: Path, *arguments: object) -> Dataset:
    call("import", shop / "e.csv", "--out", shop / "out", *MAPPED, *arguments)
    return Dataset.load(shop / "out")


def test_import_with_mapped_columns(shop: Path) -> None:
    dataset = imported(
        shop, "--column", "timestamp=day", "--items", shop / "p.csv", "--item-column", "item_id=sku",
        "--item-column", "title=name", "--name", "tea shop",
    )  # fmt: skip
    assert dataset.name == "tea shop"
    assert dataset.interactions["timestamp"].to_list()[0] == 1_577_836_800
    assert dict(dataset.items.select("item_id", "title").rows()) == {"1": "Tea", "2": "Cup", "3": "Pot"}


def test_import_says_what_it_did(shop: Path) -> None:
    out = call(
        "import", shop / "e.csv", "--out", shop / "out", *MAPPED, "--column", "timestamp=day", "--min-rating", 4
    ).output
    assert "2 users, 2 items (2 with interactions), 4 interactions" in out
    assert "filter: rating >= 4 (1 interactions removed)" in out
    assert "note: timestamp: dates in ISO 8601" in out


@pytest.mark.parametrize(
    ("options", "left", "filters"),
    [
        (["--min-rating", 4], [("u", "1"), ("u", "2"), ("u", "1"), ("v", "2")], 1),
        (["--drop-duplicates", "first"], [("u", "1"), ("u", "2"), ("v", "1"), ("v", "2")], 1),
        (["--drop-duplicates", "last"], [("u", "2"), ("u", "1"), ("v", "1"), ("v", "2")], 1),
        (["--min-length", 3], [("u", "1"), ("u", "2"), ("u", "1")], 1),
        # v's item 1 goes by its rating, u's second 1 as a repeat; each user and item keeps one; then v is too short.
        (
            ["--min-rating", 4, "--drop-duplicates", "first", "--k-core", 1, "--min-length", 2],
            [("u", "1"), ("u", "2")],
            4,
        ),
    ],
)
def test_import_filters_in_order(shop: Path, options: list, left: list, filters: int) -> None:
    dataset = imported(shop, *options)
    assert dataset.interactions.select("user_id", "item_id").rows() == left
    assert len(dataset.meta["filters"]) == filters


def test_import_keeps_all_items_or_not(shop: Path) -> None:
    described = ["--items", shop / "p.csv", "--item-column", "item_id=sku"]
    assert len(imported(shop, *described).items) == 3
    assert len(imported(shop, *described, "--seen-items", "--overwrite").items) == 2
    assert len(imported(shop, *described, "--k-core", 1, "--overwrite").items) == 2
    assert len(imported(shop, *described, "--k-core", 1, "--all-items", "--overwrite").items) == 3


def test_import_of_a_headless_csv(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_bytes("José|1|5\n".encode("latin-1"))
    options = ["--header", "user_id,item_id,rating", "--separator", "|", "--encoding", "latin-1"]
    call("import", tmp_path / "r.txt", "--out", tmp_path / "out", *options)
    assert Dataset.load(tmp_path / "out").interactions["user_id"].to_list() == ["José"]


def test_import_filters_a_dataset_folder(shop: Path) -> None:
    imported(shop)
    result = call("import", shop / "out", "--out", shop / "small", "--min-length", 3, "--json")
    numbers = json.loads(result.stdout)
    assert numbers["interactions"] == 3
    assert numbers["folder"] == str(shop / "small")


def test_nothing_is_overwritten_by_accident(shop: Path) -> None:
    imported(shop)
    before = (shop / "out" / "interactions.parquet").read_bytes()
    result = call("import", shop / "e.csv", "--out", shop / "out", *MAPPED, "--min-rating", 5, fails=DataError)
    assert "there already is a dataset; name another --out, or add --overwrite" in str(result.exception)
    assert (shop / "out" / "interactions.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["--column", "user_id"], ConfigError, "--column 'user_id' is not OURS=THEIRS"),
        (["--column", "a=b", "--column", "a=c"], ConfigError, "--column names 'a' twice: 'b' and 'c'"),
        (
            ["--column", "user_id=reviewr"],
            DataError,
            "no column 'reviewr' to map to 'user_id'; did you mean 'reviewer'",
        ),
        ([], DataError, "column 'user_id' is missing"),
        (["--format", "csvv"], ConfigError, "format 'csvv' is unknown; did you mean 'csv'"),
        ([*MAPPED, "--drop-duplicates", "all"], ConfigError, "keep='all' is not a rule"),
        ([*MAPPED, "--k-core", 9], DataError, "no interaction is left"),
    ],
)
def test_import_faults(shop: Path, arguments: list, error: type[SeqloreError], says: str) -> None:
    result = call("import", shop / "e.csv", "--out", shop / "out", *arguments, fails=error)
    assert says in str(result.exception)
    assert not (shop / "out").exists(), "a failed import leaves nothing behind"


def test_show(shop: Path) -> None:
    dataset = imported(shop)
    assert dataset.hash in call("show", shop / "out").output
    assert json.loads(call("show", shop / "out", "--json").stdout)["users"] == 2
    assert "no interactions.parquet" in str(call("show", shop, fails=DataError).exception)


def test_fetch_lists_and_refuses(tmp_path: Path) -> None:
    assert "amazon2014-beauty" in call("fetch", "--list").output
    assert {"name": "ml-1m"}.items() <= json.loads(call("fetch", "--json").stdout)[1].items()
    assert "did you mean 'ml-1m'" in str(call("fetch", "ml-1", "--out", tmp_path, fails=DataError).exception)


def test_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(name: str, folder: Path, **options: Any) -> Dataset:
        asked.update(name=name, folder=folder, **options)
        return Dataset.from_frames(pl.DataFrame({"user_id": ["u"], "item_id": ["i"]}), name=name)

    asked: dict[str, Any] = {}
    monkeypatch.setattr("seqlore.data.fetch.fetch", fake)
    call("fetch", "ml-1m", "--out", tmp_path, "--mirror", "http://m")
    assert asked == {"name": "ml-1m", "folder": tmp_path, "base_url": "http://m", "progress": True}
    call("fetch", "ml-1m", "--json")
    assert asked["folder"] == Path("data/ml-1m")
    assert asked["progress"] is False


def test_simulate(tmp_path: Path) -> None:
    options = ["--users", 40, "--items", 60, "--interactions-per-user", 6, "--seed", 3]
    one = json.loads(call("simulate", "--out", tmp_path / "a", *options, "--json").stdout)
    two = json.loads(call("simulate", "--out", tmp_path / "b", *options, "--json").stdout)
    assert one["users"] == 40
    assert one["hash"] == two["hash"]
    call("simulate", "--out", tmp_path / "a", *options, fails=DataError)


def test_audit(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit_module = pytest.importorskip("seqlore.data.audit")
    asked: list[Split | None] = []

    def fake(dataset: Dataset, split: Split | None = None) -> Any:
        asked.append(split)
        return SimpleNamespace(to_dict=lambda: {"findings": []}, render=lambda console: console.print("all quiet"))

    imported(shop)
    monkeypatch.setattr(audit_module, "audit", fake)
    assert "all quiet" in call("audit", shop / "out").output
    assert json.loads(
        call("audit", shop / "out", "--protocol", "leave-one-out", "--ties", "shuffled", "--json").stdout
    ) == {"findings": []}
    assert asked[0] is None
    assert asked[1] is not None
    assert asked[1].how["ties"] == "shuffled"


def test_limits_of_filters_are_told_by_their_options(tmp_path: Path) -> None:
    source = tmp_path / "e.csv"
    source.write_text("user_id,item_id\nu,1\n")
    for option in ("--k-core", "--min-length"):
        refused = CliRunner().invoke(app, ["import", str(source), "--out", str(tmp_path / "out"), option, "0"])
        assert refused.exit_code == 2
        assert option in refused.output
    assert not (tmp_path / "out").exists()
