"""Search spaces: those that are shipped fit their models; files of the user go before them; errors are one sentence."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.config import Config
from seqlore.errors import ConfigError
from seqlore.recommender import REGISTRY, model_class
from seqlore.tuning import Choices, Range, Space, space_for
from seqlore.tuning.space import known_setting

optuna.logging.set_verbosity(optuna.logging.WARNING)
WITHOUT = {"MostPopular", "LLMSeqPrompt", "Blend", "ReLRec", "E4SRec", "RecSysLLM", "TwoStage"}


def draws(space: Space, base: Config, n: int = 8) -> list[dict]:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    return [space.suggest(study.ask(), base) for _ in range(n)]


@pytest.mark.parametrize("name", sorted(REGISTRY.keys() - WITHOUT))
def test_what_is_shipped_gives_settings_that_the_model_takes(name: str) -> None:
    cls = model_class(name)
    tried = [cls.Config.parse(each, name) for each in draws(space_for(name), cls.Config())]
    assert len({str(each) for each in tried}) > 1
    for config in tried:
        if "heads" in cls.Config.model_fields:
            assert config.embedding_size % config.heads == 0  # type: ignore[attr-defined]


def test_the_ranges_of_harte_et_al() -> None:
    found = space_for("BERT4Rec").to_dict()
    assert found["learning_rate"] == {"low": 1e-4, "high": 1e-2, "log": True}
    assert found["clip_norm"] == {"low": 1.0, "high": 100.0, "log": True, "or_none": True}
    assert found["mask_probability"] == {"low": 0.05, "high": 0.9}
    assert found["layers"] == {"low": 1, "high": 4}
    assert found["heads"] == {"low": 1, "high": 4, "divisor_of": "embedding_size"}
    assert space_for("VSKNN").to_dict() == {
        "k": {"low": 50, "high": 500},
        "sample_size": {"low": 500, "high": 2000},
        "sampling": {"choices": ["recent", "random"]},
        "similarity": {"choices": ["cosine", "dot"]},
    }


@pytest.mark.parametrize(("value", "of", "nearest"), [(100, 3, 99), (101, 3, 102), (16, 3, 18), (512, 3, 510)])
def test_the_nearest_multiple(value: int, of: int, nearest: int) -> None:
    assert Range(low=16, high=512, multiple_of="heads").multiple(value, of) == nearest


@given(st.integers(1, 200), st.integers(0, 200), st.integers(1, 9), st.data())
def test_a_multiple_is_in_the_range_wherever_the_range_has_one(
    low: int, more: int, of: int, data: st.DataObject
) -> None:
    range_ = Range(low=low, high=low + more, multiple_of="heads")
    found = range_.multiple(data.draw(st.integers(low, low + more)), of)
    assert found % of == 0
    if any(n % of == 0 for n in range(low, low + more + 1)):
        assert low <= found <= low + more


def test_none_is_tried_and_numbers_too() -> None:
    space = Space("SASRec", {"clip_norm": Range(low=1.0, high=2.0, or_none=True)})
    tried = [each["clip_norm"] for each in draws(space, Config(), 30)]
    assert None in tried
    assert all(1 <= value <= 2 for value in tried if value is not None)
    assert len(set(tried)) > 2


def test_a_divisor_that_is_not_searched_is_the_rows_own() -> None:
    base = model_class("SASRec").Config(heads=3, embedding_size=66)  # type: ignore[call-arg]
    space = space_for("SASRec").without(["heads"])
    assert all(each["embedding_size"] % 3 == 0 and "heads" not in each for each in draws(space, base))


def test_a_width_that_is_not_searched_has_only_its_divisors_as_heads() -> None:
    space = space_for("SASRec").without(["embedding_size"])
    found = {each["heads"] for each in draws(space, model_class("SASRec").Config(embedding_size=50), 20)}  # type: ignore[call-arg]
    assert found == {1, 2}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("droput", "keep droput: unknown setting 'droput'; did you mean 'dropout'"),
        ("item_init.reduc", "keep item_init.reduc: unknown setting 'item_init.reduc'; did you mean 'reduce'"),
        ("dropout", None),
        ("item_init.reduce", None),
    ],
)
def test_a_setting_to_keep_is_one_that_there_is(name: str, said: str | None) -> None:
    if said is None:
        known_setting(model_class("SASRec").Config, name, f"keep {name}")
        return
    with pytest.raises(ConfigError, match=said):
        known_setting(model_class("SASRec").Config, name, f"keep {name}")


def test_files_of_the_user_go_before_what_is_shipped_and_near_classes_before_far(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        """
[SASRec]
dropout = { low = 0.1, high = 0.2 }
heads = "keep"
[NetRecommender]
dropout = { low = 0.3, high = 0.4 }
layers = { low = 1, high = 2 }
item_init.reduce = { choices = ["pca", "whiten"] }
[VSKNN]
k = { low = 1, high = 2 }
"""
    )
    found = space_for("SASRec", file).parameters
    assert found["dropout"] == Range(low=0.1, high=0.2)
    assert found["layers"] == Range(low=1, high=2)  # a shipped [SASRec] has 1 … 4
    assert found["item_init.reduce"] == Choices(choices=("pca", "whiten"))
    assert "heads" not in found
    tried = draws(Space("SASRec", {"item_init.reduce": found["item_init.reduce"]}), Config(), 1)[0]
    assert tried["item_init"]["reduce"] in ("pca", "whiten")
    assert space_for("SASRec", file).without(["item_init"]).parameters.keys() == found.keys() - {"item_init.reduce"}


def test_a_model_that_nothing_is_shipped_for_is_tuned_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[MostPopular]\nhalf_life = { low = 1, high = 100, log = true, or_none = true }")
    assert list(space_for("MostPopular", tmp_path / "own.toml").parameters) == ["half_life"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[SASRec]\ndroput = { low = 0, high = 1 }", r"\[SASRec\]: unknown setting 'droput'; did you mean 'dropout'\?"),
        ('[SASRec]\nitem_init.reduc = "keep"', "unknown setting 'item_init.reduc'; did you mean 'reduce'"),
        ("[VSKNN]\nkk = { low = 1, high = 2 }", r"\[VSKNN\]: unknown setting 'kk'"),
        ('[SASRec]\ndroput = "keep"', "unknown setting 'droput'; did you mean 'dropout'"),
        ("[SASRek]\ndropout = 1", r"\[SASRek\] is no model; did you mean 'SASRec'\?"),
        ("[SASRec]\ndropout = { low = 0.0, high = 1.0 }", r"\[SASRec\]: dropout: .*less than 1"),
        ("[SASRec]\ndropout = 0.5", r"\[SASRec\] dropout = 0.5: write \{ low"),
        ("[SASRec]\ndropout = { low = 0.5, hig = 1 }", "unknown setting 'hig'; did you mean 'high'"),
        ("[SASRec]\ndropout = { low = 0.5, high = 0.1 }", "are no range"),
        ("[SASRec]\nweight_decay = { low = 0.0, high = 0.1, log = true }", "has no logarithm"),
        ('[SASRec]\nembedding_size = { low = 8, high = 64, multiple_of = "head" }', "did you mean 'heads'"),
        ('[SASRec]\ndropout = { low = 0.1, high = 0.4, multiple_of = "heads" }', "is whole"),
        ("[SASRec]\nloss = { choices = ['full', 'bse'] }", r"\[SASRec\]: loss: "),
        ("[SASRec]\nseed = { low = 0, high = 9 }", "a seed is not searched"),
        ("[SASRec\n", "not valid TOML"),
        ("SASRec = 1", "is no table"),
    ],
)
def test_a_wrong_space_is_one_sentence_that_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"own.toml.*{said}") as raised:
        space_for("SASRec", tmp_path / "own.toml")
    assert "\n" not in str(raised.value)


def test_no_file_no_model_no_space(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: the search space cannot be read"):
        space_for("SASRec", tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="did you mean 'SASRec'"):
        space_for("SASReck")
    with pytest.raises(ConfigError, match=r"no search space for MostPopular: write one, a table \[MostPopular\]"):
        space_for("MostPopular")
