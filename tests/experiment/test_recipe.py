"""Recipes: TOML in, strict settings, TOML out; and every recipe of the repository is valid."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from seqlore.config import may_be_none
from seqlore.errors import ConfigError
from seqlore.experiment import Recipe, SplitSettings
from seqlore.experiment.data import expand
from seqlore.experiment.pairs import PairRecipe
from seqlore.recommender import REGISTRY, model_class
from seqlore.tasks.recipe import TaskRecipe

ROOT = Path(__file__).parents[2]

SMALL = """
name = "small"
seeds = [0, 1]
[dataset.simulate]
users = 50
items = 60
[split]
ties = ["file", "shuffled"]
[evaluation]
at = [5, 10]
baseline = "popular"
[[models]]
label = "popular"
model = "MostPopular"
[[models]]
model = "SASRec"
seeds = [3]
published = { "ndcg@10" = 0.5 }
[models.settings]
embedding_size = 8
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_recipe_is_what_it_says(small: Path) -> None:
    recipe = Recipe.load(small)
    popular, net = recipe.models
    assert (popular.label, net.label) == ("popular", "SASRec")
    assert recipe.seeds_of(net) == (3,)
    assert recipe.seeds_of(popular) == (0,), "there is no chance in it, so one fit says all"
    model = net.build(seed=7)
    assert (model.config.embedding_size, model.config.seed) == (8, 7)


def test_a_seed_that_nothing_reads_is_not_repeated(small: Path) -> None:
    def seeds(model: str, **settings: object) -> tuple[int, ...]:
        row = {"model": model, "label": "row", "settings": settings}
        recipe = Recipe.load(small)
        given = recipe.model_dump(mode="json", exclude_none=True) | {"models": [row], "seeds": [4, 2]}
        recipe = Recipe.parse({**given, "evaluation": {}}, "test")
        return recipe.seeds_of(recipe.models[0])

    assert seeds("VSKNN") == (4,)
    assert seeds("VSKNN", sampling="random") == (4, 2)
    assert seeds("LLMSeqSim") == (4,)
    assert seeds("LLMSeqSim", reduce="random") == (4, 2)
    parts = [{"model": "VSKNN"}, {"model": "Markov"}]
    assert seeds("Blend", models=parts) == (4,)
    assert seeds("Blend", models=[*parts, {"model": "SASRec"}]) == (4, 2)


def test_written_out_it_holds_every_default_and_reads_as_the_same_recipe(small: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(small)
    written = tmp_path / "written.toml"
    written.write_text(recipe.to_toml())
    again = Recipe.load(written)
    assert again.to_toml() == recipe.to_toml()
    assert [m.config for m in again.models] == [m.config for m in recipe.models]
    settings = tomllib.loads(written.read_text())["models"][1]["settings"]
    assert settings["embedding_size"] == 8
    assert settings["layers"] == 2, "a default, written out"
    assert tomllib.loads(written.read_text())["evaluation"]["exclude_seen"] is True


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["seeds=0"], "seeds: write a list: [0]"),
        (["name=../elsewhere"], "name: it is the name of a folder in runs/: no slash, no dot at its beginning"),
        (["seeds=[1, 2, 1]"], "seeds: 1 stands there twice"),
        (["models.SASRec.seeds=[3, 3]"], "models.1.seeds: 3 stands there twice"),
        (['split.ties=["file", "file"]'], "split.ties: the same rule stands there twice"),
        (
            ['models.SASRec.settings.item_init={ mode = "frozen", scale = 1.0 }'],
            "item_init: mode 'frozen' does not read 'scale': leave it out",
        ),
        (["sedes=[1]"], "unknown setting 'sedes'; did you mean 'seeds'?"),
        (["split.tie=file"], "unknown setting 'split.tie'; did you mean 'ties'?"),
        (["dataset.simulate.user=3"], "unknown setting 'dataset.simulate.user'; did you mean 'users'?"),
        (["models.SASRec.setings={}"], "unknown setting 'models.1.setings'; did you mean 'settings'?"),
        (
            ["models.SASRec.settings.embeding_size=3"],
            "models.SASRec.settings: unknown setting 'embeding_size'; did you mean 'embedding_size'?",
        ),
        (["models.SASRec.model=SasRek"], "there is no model 'SasRek'; did you mean 'SASRec'?"),
        (["models.SASRek.model=x"], "there is no row 'SASRek'; did you mean 'SASRec'?"),
        (["models.SASRec.settings.seed=3"], "models.SASRec.settings.seed: write seeds = [...] beside model instead"),
        (["models.SASRec.label=popular"], "two models are labelled 'popular': give each its own label"),
        (
            ["models.SASRec.label=pop ular", "models.popular.label=pop-ular"],
            "'pop-ular' and 'pop ular' would both be kept as 'pop-ular': give one another label",
        ),
        (["evaluation.baseline=SASRek"], "baseline 'SASRek' is no label of this recipe (popular, SASRec)"),
        (["evaluation.metric=ndcg@20"], "metric 'ndcg@20' has a cut-off that is not among at = [5, 10]"),
        (
            ['models.SASRec.published={"hr@20"=0.1}'],
            "models.SASRec.published: 'hr@20' is not computed: add 20 to evaluation.at = [5, 10]",
        ),
        (["evaluation.metric=ndgc@10"], "there is no metric 'ndgc'; did you mean 'ndcg'?"),
        (["dataset.path=x"], 'dataset: give either path = "FOLDER" or a [dataset.simulate] table'),
        (["split.parts=[8, 1, 1]"], "'parts' belongs to protocol 'ratio' and 'user-ratio', not to 'leave-one-out'"),
        (["split.ties=random"], "split.ties.0: Input should be 'file' or 'shuffled'"),
        (["name.x=1"], "--set name.x=1: name is a value and holds no settings"),
        (["models.x"], "--set models.x: write it as path.to.key=value"),
        (["models=3", "models.x=4"], "--set models.x=4: models is a value and holds no settings"),
    ],
)
def test_a_mistake_is_one_sentence(small: Path, changes: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        Recipe.load(small, changes)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_changes_are_typed_as_in_toml(small: Path) -> None:
    changes = [
        "split.ties=file",
        "seeds=[4, 5]",
        'models.0.label="most bought"',
        "evaluation.baseline=SASRec",
        "models.SASRec.settings.dropout=0.25",
        "models.SASRec.settings.item_init.permute=true",
    ]
    recipe = Recipe.load(small, changes)
    assert recipe.split.ties == ("file",)
    assert recipe.models[0].label == "most bought"
    assert recipe.models[1].config.dropout == 0.25  # type: ignore[attr-defined]
    assert recipe.models[1].config.item_init.permute  # type: ignore[attr-defined]
    assert recipe.seeds == (4, 5)
    assert recipe.changed(["name=other"]).name == "other"


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: cannot be read"):
        Recipe.load(tmp_path / "absent.toml")
    (tmp_path / "torn.toml").write_text("name = ")
    with pytest.raises(ConfigError, match=r"torn.toml: not valid TOML \(.*end of document"):
        Recipe.load(tmp_path / "torn.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.load(tmp_path)


def test_labels_may_be_chosen(small: Path) -> None:
    recipe = Recipe.load(small)
    assert recipe.labels() == ["popular", "SASRec"]
    assert recipe.labels(["SASRec"]) == ["SASRec"]
    with pytest.raises(ConfigError, match="has no row 'poplar'; did you mean 'popular'"):
        recipe.labels(["poplar"])


def test_every_part_of_a_blend_gets_the_seed(small: Path) -> None:
    parts = '[{model="SASRec", settings={embedding_size=8}}, {model="MostPopular"}]'
    entry = Recipe.load(small, ["models.SASRec.model=Blend", f"models.1.settings={{models={parts}}}"]).models[1]
    assert entry.random
    net, popular = entry.build(seed=9).config.models
    assert net.settings == {"embedding_size": 8, "seed": 9}
    assert popular.settings == {}


def test_environment_variables_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLORE_TEST_ROOT", "/somewhere")
    assert expand("${SEQLORE_TEST_ROOT}/beauty") == Path("/somewhere/beauty")
    assert expand("$SEQLORE_TEST_ROOT/beauty") == Path("/somewhere/beauty")
    monkeypatch.delenv("SEQLORE_TEST_ROOT")
    with pytest.raises(ConfigError, match=r"variable SEQLORE_TEST_ROOT is not set; export SEQLORE_TEST_ROOT=FOLDER"):
        expand("${SEQLORE_TEST_ROOT}/beauty")


@pytest.mark.parametrize(
    "settings",
    [
        {"ties": "shuffled", "seed": 3},
        {"protocol": "temporal-sessions", "test_fraction": 0.3, "drop_unknown": False},
        {"protocol": "ratio", "parts": (7, 2, 1)},
    ],
)
def test_the_settings_of_a_split_are_found_again(settings: dict) -> None:
    from seqlore.data.simulate import simulate

    dataset = simulate(users=40, items=60, seed=1)
    asked = SplitSettings(**settings)
    split = asked.make(dataset, asked.ties[0])
    again = SplitSettings.of(split.how).make(dataset, asked.ties[0])
    assert again.how == split.how
    assert again.test is not None
    assert split.test is not None
    assert again.test.targets.tolist() == split.test.targets.tolist()


def test_defaults_stand_under_the_settings_of_every_row_of_a_class_and_those_derived(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        """
        [dataset.simulate]
        users = 50
        [defaults.NetRecommender]
        epochs = 3
        patience = 2
        [defaults.LLM2SASRec]
        patience = 7
        item_init = { fields = ["title"], reduce = "pca" }
        [[models]]
        model = "LLM2SASRec"
        [[models]]
        label = "b"
        model = "LLM2SASRec"
        [models.settings]
        item_init = { reduce = "whiten" }
        [[models]]
        model = "SASRec"
        """
    )
    recipe = Recipe.load(path, ["defaults.LLM2SASRec.layers=1"])
    assert recipe.models[0].settings == {
        "epochs": 3,
        "patience": 7,
        "layers": 1,
        "item_init": {"fields": ["title"], "reduce": "pca"},
    }
    assert recipe.models[1].settings["item_init"] == {"fields": ["title"], "reduce": "whiten"}
    assert recipe.models[2].settings == {"epochs": 3, "patience": 2}
    assert tomllib.loads(recipe.to_toml())["models"][1]["settings"]["epochs"] == 3  # written into the rows
    with pytest.raises(ConfigError, match=r"defaults.SASRek: no row has this model; did you mean 'SASRec'\?"):
        Recipe.load(path, ["defaults.SASRek.layers=1"])


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.toml")), ids=lambda p: p.name)
def test_the_recipes_of_the_repository_are_valid(path: Path) -> None:
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    if "backbones" in given:  # for `seqlore rerank`
        pairs = PairRecipe.load(path)
        assert pairs.name == path.stem
        assert any(pairs.pairs())
    elif "families" in given.get("evaluation", {}):  # for `seqlore tasks run`; loading builds every row
        assert TaskRecipe.load(path).name == path.stem
    else:
        recipe = Recipe.load(path)
        assert recipe.name == path.stem
        for entry in recipe.models:
            entry.build(seed=0)


def emptied(name: str) -> list[str]:
    """Settings that have a value unless told, and may have none, of a model that needs no setting told."""
    fields = model_class(name).Config.model_fields
    if any(field.is_required() for field in fields.values()):
        return []
    return [key for key, f in fields.items() if f.get_default() is not None and may_be_none(f.annotation)]


@pytest.mark.parametrize("name", [name for name in sorted(REGISTRY) if emptied(name)])
def test_a_setting_without_value_is_written_and_read_back(name: str) -> None:
    given = {"dataset": {"simulate": {}}, "models": [{"model": name, "settings": dict.fromkeys(emptied(name))}]}
    recipe = Recipe.parse(given, "given")
    bare = Recipe.parse({**given, "models": [{"model": name}]}, "bare")
    for again in (
        Recipe.parse(tomllib.loads(recipe.to_toml()), "written"),
        recipe.changed(["name=other"]),
        bare.changed([f"models.{name}.settings.{key}=none" for key in emptied(name)]),
    ):
        assert again.models[0].config == recipe.models[0].config
        assert {again.models[0].config.model_dump()[key] for key in emptied(name)} == {None}
    assert bare.models[0].config != recipe.models[0].config
