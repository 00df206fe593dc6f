"""``seqlore explain``, and ``recommend --user``: what a model says of items and users."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import seqlore as sl
from toys import make_dataset


@pytest.fixture(scope="module")
def folders(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(ReLRec's folder, Markov's, the dataset's)."""
    home = tmp_path_factory.mktemp("explain")
    histories = {f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}
    reviews = [f"A sturdy strap number {n % 5}. It is great and works well." for n in range(32)]
    data = make_dataset(histories, {f"i{i}": f"thing {i}" for i in range(6)}, review=reviews)
    split = sl.leave_one_out(data)
    store = {"store": str(home / "lore.sqlite"), "lore": {"versions": 1}}
    model = sl.models.ReLRec(backbone={"name": str(tiny_backbone)}, epochs=1, beta=0, gamma=0, labels=store)
    return (
        model.fit(split).save(home / "relrec"),
        sl.models.Markov().fit(split).save(home / "markov"),
        data.save(home / "data"),
    )


def test_items_and_users_are_told_of(cli: Callable, folders: tuple[Path, Path, Path]) -> None:
    done = cli("explain", folders[0], "--item", "i1", "--item", "i2", "--user", "u1", "--user", "who", "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)["told"]
    assert [(t["kind"], t["id"]) for t in told] == [("item", "i1"), ("item", "i2"), ("user", "u1"), ("user", "who")]
    assert [told[0]["title"], told[2]["known"], told[3]["known"]] == ["thing 1", True, False]
    assert told[0]["text"] == sl.load(folders[0]).explain(["i1"])[0]  # type: ignore[attr-defined]
    assert "not in training: the mean user" in cli("explain", folders[0], "--user", "who").out


def test_the_report(cli: Callable, folders: tuple[Path, Path, Path], tiny_encoder: Path) -> None:
    asked = ("explain", folders[0], "--report", folders[2], "--encoder", tiny_encoder, "--cases", "2")
    done = cli(*asked)
    assert done.status == 0, done.err
    assert "similarity" in done.out
    assert done.out.count("- came next:") == 2
    found = json.loads(cli(*asked, "--json").out)
    assert {row["kind"] for row in found["reconstruction"]} == {"item", "user"}
    assert found["report"].count("- came next:") == 2


def test_the_report_is_of_the_dataset_that_was_learned(
    cli: Callable, folders: tuple[Path, Path, Path], tiny_encoder: Path, tmp_path: Path
) -> None:
    data = sl.Dataset.load(folders[2])
    shorter = replace(data, interactions=data.interactions.filter(pl.col("user_id") != "u0"))
    shorter.save(tmp_path / "shorter")
    done = cli("explain", folders[0], "--report", tmp_path / "shorter", "--encoder", tiny_encoder)
    assert done.status == 2
    assert "name the folder that it was fitted on" in done.err


def test_a_report_on_items_alone(
    cli: Callable, folders: tuple[Path, Path, Path], tiny_encoder: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    store = {"store": str(tmp_path / "lore.sqlite"), "lore": {"versions": 1}}
    split = sl.leave_one_out(sl.Dataset.load(folders[2]))
    model = sl.models.ReLRec(backbone={"name": str(tiny_backbone)}, epochs=1, gamma=0, labels=store).fit(split)
    model.save(tmp_path / "items")
    done = cli("explain", tmp_path / "items", "--report", folders[2], "--encoder", tiny_encoder, "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert [row["kind"] for row in found["reconstruction"]] == ["item"]
    assert found["report"] == "No users beside their lists: the model tells of items alone."


def test_lists_for_a_user(cli: Callable, folders: tuple[Path, Path, Path]) -> None:
    def items(*arguments: str) -> list[str]:
        done = cli("recommend", folders[0], "--json", *arguments)
        assert done.status == 0, done.err
        return [(row["item_id"], row["score"]) for row in json.loads(done.out)["recommendations"]]

    model = sl.load(folders[0])
    for history, arguments in (([], []), (["i1"], ["--history", "i1"])):
        expected = model.recommend([history], users=["u3"])
        assert [i for i, _ in items("--user", "u3", *arguments)] == expected.items[0]
    assert items("--user", "u3", "--history", "i1") != items("--history", "i1")
    assert "does not know user who" in cli("recommend", folders[0], "--user", "who").err
    assert "after: nothing, by u3" in cli("recommend", folders[0], "--user", "u3").out


@pytest.mark.parametrize(
    ("which", "arguments", "sentence"),
    [
        (0, ["explain"], "--item ID, --user ID or --report DATASET"),
        (1, ["explain", "--item", "i1"], "Markov writes no labels"),
        (0, ["explain", "--item", "i77"], "'i77' is not in the catalogue"),
        (1, ["recommend", "--user", "u1", "--history", "i1"], "Markov does not use users: leave --user out"),
        (0, ["recommend", "--user", "u1", "--all-users", "x"], "leave --user out"),
    ],
)
def test_errors_name_the_remedy(
    cli: Callable, folders: tuple[Path, Path, Path], which: int, arguments: list[str], sentence: str
) -> None:
    verb, *rest = arguments
    done = cli(verb, folders[which], *rest)
    assert done.status == 2
    assert sentence in done.err
