"""``run``, ``train``, ``evaluate``, ``recommend``, ``models``, ``doctor``: what they print, write and refuse."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import seqlore as sl
from seqlore.cli._common import print_table
from seqlore.cli.doctor import EXTRAS
from seqlore.experiment.screen import Screen
from seqlore.recommender import model_class

RECIPE = """
name = "tiny"
[dataset]
path = "{shop}"
[split]
ties = ["file", "shuffled"]
[evaluation]
at = [5, 10]
baseline = "MostPopular"
[[models]]
model = "MostPopular"
[[models]]
model = "Markov"
"""


@pytest.fixture(scope="module")
def run_folder(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(RECIPE.format(shop=shop))
    sl.run(folder / "tiny.toml", out=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def model_folder(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = sl.leave_one_out(sl.Dataset.load(shop))
    return sl.models.Markov().fit(split).save(tmp_path_factory.mktemp("markov"))


def test_run_prints_the_board_and_writes_the_report(cli: Callable, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE.format(shop=shop))
    done = cli("run", tmp_path / "tiny.toml", "--out", tmp_path / "out", "--set", "split.ties=file")
    assert done.status == 0
    assert "Markov" in done.out
    assert "ties: file" in done.out
    assert "shuffled" not in done.out
    assert (tmp_path / "out" / "report.html").is_file()
    again = cli("run", tmp_path / "tiny.toml", "--out", tmp_path / "out", "--set", "split.ties=file", "--json")
    assert "2 of 2 trials are finished already" in again.err
    assert {row["label"] for row in json.loads(again.out)["rows"]} == {"MostPopular", "Markov"}


def test_run_tells_of_a_failed_row_and_ends_with_status_1(cli: Callable, shop: Path, tmp_path: Path) -> None:
    text = RECIPE.format(shop=shop) + '[[models]]\nlabel = "none"\nmodel = "LLMSeqSim"\n'
    (tmp_path / "tiny.toml").write_text(text + '[models.settings.text]\nfields = ["colour"]\n')
    done = cli("run", tmp_path / "tiny.toml", "--out", tmp_path / "out", "--set", "split.ties=file")
    assert done.status == 1
    assert "none failed: items have no text field 'colour'" in done.out
    assert "Markov" in done.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "absent.toml"], "absent.toml: cannot be read"),
        (["train", "absent", "SASRec", "--out", "x"], "absent: no interactions.parquet there"),
        (["train", "--out", "x"], "name a DATASET folder and a MODEL, or --refit RUN_FOLDER"),
        (["train", "absent", "SASRek", "--out", "x"], "there is no model 'SASRek'; did you mean 'SASRec'"),
        (
            ["train", "absent", "SASRec", "--out", "x", "--set", "layer=3"],
            "'layer'; did you mean 'layers'",
        ),
        (["run", "seeds.toml"], "seeds.0: Input should be greater than or equal to 0"),
        (["data", "simulate", "--out", "seeds.toml/d", "--users", "20"], "seeds.toml/d: cannot be written"),
        (["evaluate", "absent", "absent"], "absent: neither a model folder nor a run folder"),
        (["recommend", "absent", "--history", "a"], "absent: neither a model folder nor a run folder"),
        (["recommend", "absent"], "give one of --history, --titles and --all-users"),
        (["recommend", "absent", "--history", "a", "--titles", "b"], "not --history and --titles"),
        (["models", "SASRek"], "there is no model 'SASRek'; did you mean 'SASRec'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    row = '[[models]]\nmodel = "MostPopular"\n'
    (tmp_path / "seeds.toml").write_text(f'name = "x"\nseeds = [-1]\n[dataset]\npath = "d"\n{row}')
    done = cli(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert sentence in done.err
    assert done.err.startswith("seqlore: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--out", "--checkpoint", "--log"])
def test_where_nothing_can_be_written_nothing_is_trained(
    cli: Callable, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(sl.models.MostPopular, "fit", lambda *_, **__: pytest.fail("hours are lost"))
    (tmp_path / "file").touch()
    given = {"--out": str(tmp_path / "m"), option: str(tmp_path / "file" / "in" / "it")}
    done = cli("train", shop, "MostPopular", *(word for pair in given.items() for word in pair))
    assert done.status == 2
    assert "file is a file, so no folder can be there; name another one" in done.err
    assert done.err.count("\n") == 1


def test_what_the_system_refuses_is_one_line_too(
    cli: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sl.models.MostPopular, "save", lambda self, folder: (tmp_path / "file" / "in").mkdir())
    done = cli("train", shop, "MostPopular", "--out", str(tmp_path / "m"))
    assert done.status == 2
    assert done.err.endswith("file/in: Not a directory; name another path\n")


def test_train_evaluate_and_recommend_go_together(cli: Callable, shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    done = cli("train", shop, "ItemKNN", "--out", folder, "--ties", "shuffled", "--split-seed", 5, "--set", "k=7")
    assert done.status == 0
    loaded = sl.load(folder)
    assert loaded.config.k == 7
    assert loaded.about["split"] == {"protocol": "leave-one-out", "ties": "shuffled", "seed": 5}

    told = json.loads(cli("evaluate", folder, shop, "--at", 3, "--json", "--out", tmp_path / "judged").out)
    split = sl.leave_one_out(sl.Dataset.load(shop), ties="shuffled", seed=5)
    assert told["metrics"] == pytest.approx(sl.evaluate(loaded, split, at=(3,)).metrics)
    assert len(pl.read_parquet(tmp_path / "judged" / "per_case.parquet")) == 120

    item = loaded.catalog.ids[4]
    told = json.loads(cli("recommend", folder, "--history", item, "-k", 3, "--json").out)
    expected = loaded.recommend([[item]], 3)
    assert [row["item_id"] for row in told["recommendations"]] == expected.items[0]
    assert [row["title"] for row in told["recommendations"]] == expected.titles[0]
    assert told["history"] == [{"item_id": item, "title": loaded.catalog.titles[4]}]
    assert told["milliseconds"] > 0


def test_recommend_understands_titles(cli: Callable, model_folder: Path) -> None:
    model = sl.load(model_folder)
    title = max(model.catalog.titles, key=lambda t: len(t.split()))
    typed = title.upper().replace("E", "", 1)
    done = cli("recommend", model_folder, "--titles", typed, "-k", 2)
    assert done.status == 0
    assert title in " ".join(done.out.split())
    assert "ms" in done.out
    nothing = cli("recommend", model_folder, "--titles", "qqqq")
    assert (nothing.status, nothing.err) == (2, "seqlore: no title resembles 'qqqq'\n")


def test_recommend_skips_items_that_the_model_does_not_know(cli: Callable, model_folder: Path) -> None:
    known = sl.load(model_folder).catalog.ids[0]
    done = cli("recommend", model_folder, "--history", f"nowhere, {known}", "--json")
    assert "skipped items that the model does not know: nowhere" in done.err
    assert [each["item_id"] for each in json.loads(done.out)["history"]] == [known]
    nothing = cli("recommend", model_folder, "--history", "nowhere")
    assert nothing.status == 2
    assert "the model knows none of the items nowhere" in nothing.err


def test_recommend_for_all_users_of_a_run_folder(cli: Callable, run_folder: Path, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "recs.parquet"
    done = cli("recommend", run_folder, "--all-users", shop, "--out", out, "-k", 4)
    assert done.status == 0, done.err
    frame = pl.read_parquet(out)
    dataset = sl.Dataset.load(shop)
    assert frame.columns == ["user_id", "rank", "item_id", "title", "score"]
    assert frame["user_id"].n_unique() == dataset.interactions["user_id"].n_unique()
    seen = dataset.interactions.select("user_id", "item_id")
    assert frame.join(seen, on=["user_id", "item_id"]).is_empty()
    without = cli("recommend", run_folder, "--all-users", shop)
    assert (without.status, "--out FILE.parquet" in without.err) == (2, True)
    other = cli("recommend", run_folder, "--all-users", shop, "--out", tmp_path / "recs.csv")
    assert (other.status, "ends in .parquet" in other.err) == (2, True)


def test_train_refits_the_winner_of_a_run_on_everything(cli: Callable, run_folder: Path, tmp_path: Path) -> None:
    done = cli("train", "--refit", run_folder, "--out", tmp_path / "final", "--json")
    assert done.status == 0, done.err
    model = sl.load(tmp_path / "final")
    winner = json.loads((run_folder / "leaderboard.json").read_text())["winner"]
    assert model.name == winner["label"]
    assert model.about["split"]["fitted_on"] == "everything"
    recipe = tomllib.loads((run_folder / "recipe.toml").read_text())
    refused = cli("evaluate", tmp_path / "final", recipe["dataset"]["path"])
    assert refused.status == 2
    assert "was fitted on everything" in refused.err


def test_a_train_that_was_killed_goes_on(
    cli: Callable, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [a for s in ("embedding_size=8", "epochs=2", "max_length=6", "layers=1") for a in ("--set", s)]
    kept = ["--checkpoint", tmp_path / "unfinished", "--log", tmp_path / "log.jsonl"]
    with monkeypatch.context() as patched:

        def killed(self: Screen, row: dict) -> None:
            raise OSError("killed")

        patched.setattr(Screen, "epoch", killed)
        with pytest.raises(OSError, match="killed"):
            cli("train", shop, "SASRec", *sets, *kept, "--out", tmp_path / "model")
    shown: list[int] = []
    monkeypatch.setattr(Screen, "epoch", lambda self, row: shown.append(row["epoch"]))
    done = cli("train", shop, "SASRec", *sets, *kept, "--out", tmp_path / "model")
    assert done.status == 0, done.err
    assert shown == [2]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "unfinished").exists()
    assert cli("train", shop, "SASRec", *sets, "--include-seen", "--out", tmp_path / "seen").status == 0
    valid = [sl.load(tmp_path / name).about["valid"] for name in ("model", "seen")]
    assert valid[0] != valid[1]
    refused = cli("train", shop, "Markov", *kept, "--out", tmp_path / "markov")
    assert refused.status == 2
    assert "Markov takes no 'checkpoint' when it is fitted: leave it out" in refused.err


def test_another_dataset_is_judged_on_demand_only(cli: Callable, shop: Path, tmp_path: Path) -> None:
    data = sl.Dataset.load(shop)
    sl.models.MostPopular().fit(sl.leave_one_out(data)).save(tmp_path / "model")
    replace(data, items=data.items.with_columns(colour=pl.lit("red"))).save(tmp_path / "described")
    assert cli("evaluate", tmp_path / "model", tmp_path / "described").status == 0, "the same interactions"
    data.with_interactions(data.interactions[:-1], "one less").save(tmp_path / "shorter")
    refused = cli("evaluate", tmp_path / "model", tmp_path / "shorter")
    assert refused.status == 2
    assert "was fitted on another dataset" in refused.err
    assert "add --other-dataset" in refused.err
    assert cli("evaluate", tmp_path / "model", tmp_path / "shorter", "--other-dataset").status == 0
    fewer = data.interactions.filter(pl.col("item_id") != data.interactions["item_id"][0])
    replace(
        data.with_interactions(fewer, "fewer items"),
        items=data.items.filter(pl.col("item_id").is_in(fewer["item_id"].implode())),
    ).save(tmp_path / "fewer")
    for accept in ((), ("--other-dataset",)):
        refused = cli("evaluate", tmp_path / "model", tmp_path / "fewer", *accept)
        assert (refused.status, "import it with these filters" in refused.err) == (2, True)


def test_models_lists_every_model_and_the_settings_of_one(cli: Callable) -> None:
    listed = json.loads(cli("models", "--json").out)
    assert {"SASRec", "LLM2BERT4Rec", "MostPopular"} <= {each["name"] for each in listed}
    assert all(each["paper"] for each in listed)
    needed = {each["setting"]: each for each in json.loads(cli("models", "ReLRec", "--json").out)["settings"]}
    assert (needed["backbone"]["default"], needed["backbone"]["required"]) == (None, True)
    assert not needed["seed"]["required"]
    assert " required " in cli("models", "ReLRec").out
    settings = json.loads(cli("models", "SASRec", "--json").out)["settings"]
    heads = next(each for each in settings if each["setting"] == "heads")
    assert heads["default"] == 2
    assert "heads" in heads["about"]
    assert "embedding_size" in cli("models", "SASRec").out


def test_doctor_waits_for_nobody(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqlore.cli.doctor.PATIENCE", 0.05)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    done = cli("doctor", "--json")
    found = json.loads(done.out)
    assert done.status == 0
    assert found["torch"]["ok"]
    assert not found["hub"]["ok"]
    assert "all-MiniLM-L6-v2" in found["encoder"]["found"]


def test_doctor_knows_every_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"all"}
    for name, package in EXTRAS.items():
        assert any(line.startswith(package) for line in extras[name])


def test_settings_are_shown_with_what_they_mean(cli: Callable) -> None:
    told = json.loads(cli("models", "VSKNN", "--json").out)["settings"]
    about = {each["setting"]: each["about"] for each in told}
    assert about["k"] == "Neighbours whose items are counted."
    assert all(about.values())


def test_a_title_may_look_like_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("title", "n"), [("[red] nail [/] polish", 0.5)])
    assert "[red] nail [/] polish  0.5000" in capsys.readouterr().out


def test_the_demonstration_is_the_recipe_of_the_repository() -> None:
    packaged = Path(sl.__file__).parent / "cli" / "demo.toml"
    assert packaged.read_text() == (Path(__file__).parents[2] / "recipes" / "demo.toml").read_text()


def test_the_demonstration_runs(cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["dataset.simulate.users=60", "dataset.simulate.items=60", "dataset.simulate.interactions_per_user=6"]
    nets = [f"models.{net}.settings.{s}" for net in ("SASRec", "LLM2SASRec") for s in ("epochs=1", "embedding_size=8")]
    changes = [argument for change in small + nets for argument in ("--set", change)]
    done = cli("demo", "--out", tmp_path / "demo", *changes)
    assert done.status == 0, done.err
    assert "LLM2SASRec" in done.out
    assert "recommends" in done.out
    command = done.out.strip().splitlines()[-1].split("--titles ")
    shown = cli("recommend", tmp_path / "demo", "--titles", json.loads(command[1]))
    assert shown.status == 0


def test_a_demonstration_in_which_every_model_fails_says_so(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, split: object, **options: object) -> None:
        raise sl.SeqloreError("no")

    for name in ("MostPopular", "Markov", "VSKNN", "LLMSeqSim", "SASRec", "LLM2SASRec"):
        monkeypatch.setattr(model_class(name), "_fit", broken)
    small = ["dataset.simulate.users=60", "dataset.simulate.items=60", "dataset.simulate.interactions_per_user=6"]
    done = cli("demo", "--out", tmp_path / "demo", *(argument for change in small for argument in ("--set", change)))
    assert done.status == 1
    assert "There is no best model to ask, for none was fitted; the report says why." in done.out
    assert "Traceback" not in done.err


def test_a_dry_run_needs_no_key(cli: Callable, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    asked = ("lore", "make", shop, "--task", "item-knowledge", "--model", "openai:gpt-4o-mini")
    assert cli(*asked, "--dry-run").status == 0
    assert "OpenAI needs a key" in cli(*asked, "--out", tmp_path / "lore.parquet").err
