from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import tomli_w

from lore.fake_model import FakeModel
from seqlore.data import Split, leave_one_out, ratio
from seqlore.errors import ConfigError, DataError
from seqlore.lore import Prompt, Sampling
from seqlore.lore.book import load_lore
from seqlore.lore.make import LoreSettings, Progress, check_task, make_lore, plan_lore
from seqlore.lore.store import LoreStore
from toys import make_dataset

HISTORIES = {"ann": ["a", "b", "c", "d"], "bob": ["b", "a", "c"], "cyd": ["c", "a", "b"], "dan": ["d", "a"]}
TITLES = {"a": "Apple", "b": "Bread", "c": "Corn", "d": "Dill"}
N = sum(map(len, HISTORIES.values()))


class Labeller(FakeModel):
    """Says what it is asked to do and about what: "item-label: ann1 bob0", "denoise <item-label: …>", …."""

    def answer(self, prompt: Prompt, n: int) -> str:
        if prompt.task in ("denoise", "reword"):
            return f"{prompt.task}{''.join(prompt.fact('variant'))} <{prompt.fact('label')[0]}>"
        return f"{prompt.task}: {' '.join(prompt.fact('reviews') or prompt.fact('titles') or prompt.fact('title'))}"

    def generate(self, prompts, sampling):
        self.sampling = sampling
        return super().generate(prompts, sampling)


@pytest.fixture
def split() -> Split:
    reviews = [f"{user}{i}" for user, items in HISTORIES.items() for i in range(len(items))]
    return leave_one_out(make_dataset(HISTORIES, TITLES, review=reviews))


@pytest.fixture
def store(tmp_path: Path) -> LoreStore:
    return LoreStore(tmp_path / "lore.sqlite")


def test_a_text_for_each_item_that_has_training_reviews(split: Split, store: LoreStore) -> None:
    lore = make_lore(split, "item-label", Labeller(), store)
    # training: ann a b, bob b, cyd c, dan d; by time within an item
    wanted = {"a": "item-label: ann0", "b": "item-label: bob0 ann1", "c": "item-label: cyd0", "d": "item-label: dan0"}
    assert lore.texts("item") == [wanted[id] for id in split.catalog.ids]
    assert lore.frame.columns == ["kind", "id", "version", "text"]
    assert lore.versions("item") == 1
    assert lore.versions("user") == 0


def test_texts_are_aligned_and_empty_where_there_is_none(split: Split, store: LoreStore) -> None:
    lore = make_lore(split, "user-label", Labeller(), store, LoreSettings(limit=2))
    texts = dict(zip(split.users.ids, lore.texts("user"), strict=True))
    assert sorted(texts.values())[:2] == ["", ""]
    assert {user for user, text in texts.items() if text} == set(lore.frame["id"])
    with pytest.raises(DataError, match="this lore has no version 1 about kind 'user': it has user 0"):
        lore.texts("user", 1)
    with pytest.raises(DataError, match="about kind 'item'"):
        lore.texts("item")


def test_noise_is_taken_out_first_and_the_clean_text_is_said_in_other_words(split: Split, store: LoreStore) -> None:
    model = Labeller()
    lore = make_lore(split, "item-label", model, store, LoreSettings(denoise=True, versions=3))
    at = split.catalog.ids.index("c")
    clean = "denoise <item-label: cyd0>"
    versions = [lore.texts("item", v)[at] for v in range(3)]
    assert versions == [clean, f"reword0 <{clean}>", f"reword1 <{clean}>"]
    assert len(model.asked) == 4 * (1 + 1 + 2)
    denoising = next(p for p in model.prompts if p.task == "denoise" and p.fact("label") == ("item-label: cyd0",))
    assert denoising.fact("reviews") == ("cyd0",)
    assert denoising.fact("title") == ("Corn",)


def test_nothing_is_asked_twice_and_a_change_asks_only_what_it_changes(split: Split, store: LoreStore) -> None:
    model = Labeller()
    first = make_lore(split, "item-label", model, store, LoreSettings(versions=2))
    again = make_lore(split, "item-label", model, store, LoreSettings(versions=2))
    assert len(model.asked) == 8
    assert again.frame.equals(first.frame)
    assert (first.about["fresh"], again.about["fresh"]) == (8, 0)
    make_lore(split, "item-label", model, store, LoreSettings(versions=3))
    assert len(model.asked) == 12


def test_a_run_that_broke_off_goes_on_where_it_was(split: Split, store: LoreStore) -> None:
    whole = make_lore(
        split, "item-label", Labeller(), LoreStore(store.path.with_name("other")), LoreSettings(versions=2)
    )
    prompts = Labeller(in_flight=1)
    make_lore(split, "item-label", prompts, LoreStore(store.path.with_name("third")), LoreSettings(versions=2))
    breaks = Labeller(in_flight=1, fails_at=prompts.asked[5])
    with pytest.raises(RuntimeError, match="gone away"):
        make_lore(split, "item-label", breaks, store, LoreSettings(versions=2))
    model = Labeller(in_flight=1)
    assert make_lore(split, "item-label", model, store, LoreSettings(versions=2)).frame.equals(whole.frame)
    assert model.asked == prompts.asked[5:]


class Mute(Labeller):
    """Has nothing to say in one task, and about Corn in any."""

    def __init__(self, silent: str) -> None:
        super().__init__()
        self.silent = silent

    def answer(self, prompt: Prompt, n: int) -> str:
        return " \n" if prompt.task == self.silent or "Corn" in prompt.text else super().answer(prompt, n)


def test_an_empty_answer_is_no_text(split: Split, store: LoreStore) -> None:
    settings = LoreSettings(denoise=True, versions=2)
    at = split.catalog.ids.index("c")
    lore = make_lore(split, "item-label", Mute("denoise"), store, settings)
    assert lore.texts("item")[at] == ""
    assert [text for i, text in enumerate(lore.texts("item")) if i != at] == [
        f"item-label: {said}"
        for id in split.catalog.ids
        if id != "c"
        for said in [{"a": "ann0", "b": "bob0 ann1", "d": "dan0"}[id]]
    ]  # what was not cleaned stays as it was
    lore = make_lore(split, "item-label", Mute("reword"), LoreStore(store.path.with_name("b")), settings)
    assert lore.versions("item") == 1


def test_prompts_without_an_answer_are_told_and_all_others_made(split: Split, store: LoreStore, tmp_path: Path) -> None:
    asked = Labeller()
    settings = LoreSettings(denoise=True, versions=2)
    make_lore(split, "item-label", asked, LoreStore(tmp_path / "other"), settings)
    label = next(p.text for p in asked.prompts if p.task == "item-label" and p.fact("reviews") == ("cyd0",))
    clean = next(p.text for p in asked.prompts if p.task == "denoise" and p.fact("reviews") == ("ann0",))
    lore = make_lore(split, "item-label", Labeller(refuses=(label, clean)), store, settings)
    texts = dict(zip(split.catalog.ids, lore.texts("item"), strict=True))
    assert (texts["a"], texts["c"]) == ("item-label: ann0", "")  # not cleaned; not made
    assert texts["d"] == "denoise <item-label: dan0>"
    assert dict(zip(split.catalog.ids, lore.texts("item", 1), strict=True))["a"] == "reword0 <item-label: ann0>"
    assert lore.about["failed"] == 2
    assert lore.about["failures"] == [f"no word to {label!r}", f"no word to {clean!r}"]
    again = Labeller()
    assert make_lore(split, "item-label", again, store, settings).about["failed"] == 0
    assert again.asked[0] == label
    assert {p.task for p in again.prompts[1:]} == {"denoise", "reword"}


def test_progress_counts_stages_answers_cost_and_time(split: Split, store: LoreStore) -> None:
    seen: list[Progress] = []
    make_lore(split, "item-label", Labeller(cost=0.01), store, LoreSettings(limit=1))
    make_lore(split, "item-label", Labeller(cost=0.01), store, LoreSettings(versions=2), progress=seen.append)
    assert [(p.stage, p.number, p.done, p.total, p.fresh) for p in seen] == [
        *(("item-label", 1, done, 4, done - 1) for done in range(1, 5)),
        *(("reword", 2, done, 4, done + 3) for done in range(1, 5)),
    ]
    assert seen[0].seconds_left is None  # it was in the store: no pace yet
    assert seen[3].seconds_left == 0
    costs = store.stats()["cost"].item() - store.frame(limit=99)["cost"][0]
    assert seen[-1].cost == pytest.approx(costs)
    assert {p.stages for p in seen} == {2}


def test_an_unknown_price_stays_unknown(split: Split, store: LoreStore) -> None:
    assert make_lore(split, "item-label", Labeller(cost=None), store).about["cost"] is None


def test_a_plan_asks_nothing_and_knows_the_store(split: Split, store: LoreStore) -> None:
    model = Labeller(cost=0.5)
    settings = LoreSettings(denoise=True, versions=3, sampling={"max_tokens": 20})
    plan = plan_lore(split, "item-label", model, store, settings)
    assert {stage: each.prompts for stage, each in plan.items()} == {"item-label": 4, "denoise": 4, "reword": 8}
    assert [each.completion_tokens for each in plan.values()] == [80, 80, 160]
    assert model.asked == []
    assert not store.path.exists()
    make_lore(split, "item-label", model, store, settings)
    used = store.frame().group_by("stage").agg(pl.col("prompt_tokens").sum())
    for stage, tokens in used.iter_rows():  # the real texts are shorter than the longest allowed
        assert tokens <= plan[stage].prompt_tokens
    assert plan_lore(split, "item-label", model, store, settings)["item-label"].prompts == 0


def test_where_texts_come_from_is_recorded(split: Split, store: LoreStore) -> None:
    make_lore(split, "item-label", Labeller(), store, LoreSettings(denoise=True))
    make_lore(split, "item-knowledge", Labeller(), store)
    uses = {(row["task"], row["stage"]): row for row in store.uses().iter_rows(named=True)}
    assert set(uses) == {("item-label", "item-label"), ("item-label", "denoise"), ("item-knowledge", "item-knowledge")}
    label = uses["item-label", "denoise"]
    assert (label["dataset"], label["prompt_set"], label["subjects"]) == (split.dataset.hash, "denoise", 4)
    assert json.loads(label["split"]) == split.how
    assert uses["item-knowledge", "item-knowledge"]["split"] == ""  # no interaction was read


def test_own_prompts_words_and_sampling(split: Split, store: LoreStore, tmp_path: Path) -> None:
    own = {"name": "own", "task": "item-label", "prompt": "{who}: {reviews}", "words": {"who": "people"}}
    (tmp_path / "own.toml").write_text(tomli_w.dumps(own))
    model = Labeller()
    settings = LoreSettings(
        prompts=(str(tmp_path / "own.toml"),), words={"who": "cooks"}, sampling={"max_tokens": 7, "temperature": 1}
    )
    make_lore(split, "item-label", model, store, settings)
    assert "cooks: bob0, ann1" in model.asked
    assert (model.sampling.max_tokens, model.sampling.temperature) == (7, 1)


def test_json_answers_and_the_schema_where_the_server_has_it(split: Split, store: LoreStore) -> None:
    class Json(Labeller):
        def answer(self, prompt: Prompt, n: int) -> str:
            return json.dumps({"summarization": super().answer(prompt, n), "reasoning": "x"})

    model = Json()
    lore = make_lore(split, "item-label", model, store, LoreSettings(prompts=("rlmrec-item",), structured=True))
    assert "item-label: cyd0" in lore.texts("item")
    assert model.sampling.json_schema is not None
    assert model.sampling.json_schema["required"] == ["summarization", "reasoning"]
    make_lore(split, "item-label", model, store, LoreSettings(prompts=("rlmrec-item",)))
    assert model.sampling.json_schema is None


def test_a_model_that_reads_facts_gives_the_text_itself(split: Split, store: LoreStore) -> None:
    lore = make_lore(split, "item-label", Labeller(reads_facts=True), store, LoreSettings(prompts=("rlmrec-item",)))
    assert "item-label: cyd0" in lore.texts("item")


def test_a_text_said_again_may_be_as_long_as_at_first(split: Split, store: LoreStore) -> None:
    model = Labeller()
    make_lore(split, "user-preference", model, store, LoreSettings(versions=2))
    assert model.sampling.max_tokens == 300
    make_lore(split, "user-preference", model, store, LoreSettings(versions=2, sampling={"max_tokens": 9}))
    assert model.sampling.max_tokens == 9


def test_answers_that_were_cut_are_counted(split: Split, store: LoreStore) -> None:
    class Talkative(Labeller):
        def generate(self, prompts, sampling):
            for i, answer in super().generate(prompts, sampling):
                yield i, replace(answer, finish=("length" if "Corn" in prompts[i].text else "stop",))

    assert make_lore(split, "item-label", Talkative(), store).about["cut"] == 1


def test_profiles_of_items_join_the_prompts_about_users(split: Split, store: LoreStore) -> None:
    items = make_lore(split, "item-label", Labeller(), store)
    model = Labeller()
    make_lore(split, "user-label", model, store, profiles=items)
    ann = next(p for p in model.prompts if p.fact("reviews") == ("ann0", "ann1"))
    assert ann.fact("profiles") == ("item-label: ann0", "item-label: bob0 ann1")
    assert '{"title": "Apple", "profile": "item-label: ann0", "review": "ann0"}' in ann.text
    with pytest.raises(ConfigError, match="profiles of items are for task 'user-label'"):
        make_lore(split, "item-label", model, store, profiles=items)
    other = leave_one_out(split.dataset, ties="shuffled", seed=3)
    with pytest.raises(DataError, match="profiles: was written from another training part"):
        make_lore(other, "user-label", model, store, profiles=items)


def test_saved_and_loaded(split: Split, store: LoreStore, tmp_path: Path) -> None:
    lore = make_lore(split, "item-label", Labeller(), store, LoreSettings(versions=2))
    path = lore.save(tmp_path / "new" / "lore.parquet")
    loaded = load_lore(path, split)
    assert loaded.frame.equals(lore.frame)
    assert loaded.about == lore.about
    assert loaded.texts("item", 1) == lore.texts("item", 1)
    assert [p.name for p in path.parent.iterdir()] == ["lore.parquet"]


def test_lore_that_may_know_what_a_split_holds_out_is_refused(split: Split, store: LoreStore, tmp_path: Path) -> None:
    def saved(split: Split, task: str) -> Path:
        return make_lore(split, check_task(task), Labeller(), store).save(tmp_path / "lore.parquet")

    path = saved(split, "item-label")
    assert load_lore(path, split.with_validation()).about["task"] == "item-label"  # reads more than was read
    for other in (ratio(split.dataset), leave_one_out(split.dataset, ties="shuffled")):
        with pytest.raises(DataError, match=r"lore\.parquet: was written from another training part"):
            load_lore(path, other)
    with pytest.raises(DataError, match="make it again with this split"):
        load_lore(saved(split.with_everything(), "user-preference"), split)
    with pytest.raises(DataError, match="is about dataset"):
        load_lore(path, leave_one_out(make_dataset({"ann": ["a", "b"]})))
    load_lore(saved(split.with_everything(), "item-knowledge"), split)  # the catalogue holds nothing out


def test_files_that_are_no_lore(split: Split, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load_lore(tmp_path / "none.parquet", split)
    (tmp_path / "text.parquet").write_text("x")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "other.parquet")
    for name in ("text", "other"):
        with pytest.raises(DataError, match=rf"{name}\.parquet: not a file of lore"):
            load_lore(tmp_path / f"{name}.parquet", split)
    of = split.dataset.hash
    for about in ([], {}, {"dataset": of}, {"dataset": None, "training": None}, {"dataset": of, "training": "so"}):
        written(tmp_path / "about.parquet", {"text": ["x"]}, about)
        with pytest.raises(DataError, match=r"about\.parquet: not a file of lore"):
            load_lore(tmp_path / "about.parquet", split)


def written(path: Path, changes: dict[str, list], about: object) -> None:
    """A file of lore about item "apple", with columns (None: without them) and rows of one's own."""
    rows = len(next(iter(changes.values())) or [0])
    whole = {"kind": ["item"] * rows, "id": ["apple"] * rows, "version": list(range(rows)), "text": ["x"] * rows}
    columns = {name: values for name, values in {**whole, **changes}.items() if values}
    pl.DataFrame(columns, strict=False).write_parquet(path, metadata={"seqlore": json.dumps(about)})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text": []}, r"column 'text' is missing \(columns there: kind, id, version\)"),
        ({"text": [["x"]]}, r"column 'text' is of type List\(String\); it must be String"),
        ({"version": ["0", "one"]}, "row 2 has version 'one', which is no Int32; mend it"),
        ({"version": [0.0, 1.5]}, "row 2 has version 1.5, which is no Int32"),
        ({"version": [0, -1]}, "item 'apple' has version -1; number its wordings 0, 1, 2, …"),
        ({"version": [1, 1]}, "item 'apple' has version 1 twice; number its wordings 0, 1, 2, …"),
        ({"id": ["apple", None]}, "row 2 has no id; fill it in, or leave the row out"),
        ({"version": [None, 1]}, "row 1 has no version"),
        ({"kind": ["item", "shop"]}, "row 2: kind 'shop' is neither 'item' nor 'user'"),
    ],
)
def test_odd_rows_of_lore_are_named(changes: dict[str, list], sentence: str, split: Split, tmp_path: Path) -> None:
    written(tmp_path / "odd.parquet", changes, {"dataset": split.dataset.hash, "training": None})
    with pytest.raises(DataError, match=rf"odd\.parquet: {sentence}"):
        load_lore(tmp_path / "odd.parquet", split)


def test_a_row_of_lore_without_text_says_nothing(split: Split, tmp_path: Path) -> None:
    about = {"dataset": split.dataset.hash, "training": None}
    written(tmp_path / "x.parquet", {"text": [None, "x", " "], "id": [None, "apple", "apple"]}, about)
    assert load_lore(tmp_path / "x.parquet", split).frame.rows() == [("item", "apple", 1, "x")]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"versions": 99}, "prompt set reword has 6 wordings, so at most 7 versions"),
        ({"words": {"itms": "x"}}, r"no word 'itms'; did you mean 'items'\?"),
        (
            {"prompts": ("rlmrec-user",)},
            "prompt set rlmrec-user is for 'user-label'; this run has the steps item-label",
        ),
        ({"sampling": {"n": 2}}, "n has no place here"),
        ({"sampling": {"max_token": 2}}, r"sampling: unknown setting 'max_token'; did you mean 'max_tokens'\?"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_asked(
    split: Split, store: LoreStore, settings: dict, sentence: str
) -> None:
    model = Labeller()
    with pytest.raises(ConfigError, match=sentence):
        make_lore(split, "item-label", model, store, LoreSettings(**settings))
    assert model.asked == []


def test_the_tasks_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown task 'item-labels'; did you mean 'item-label'\?; there are"):
        check_task("item-labels")
    with pytest.raises(ConfigError, match="unknown task 'reword'"):
        check_task("reword")


def test_the_sampling_of_a_prompt_set_is_its_default(split: Split, store: LoreStore) -> None:
    model = Labeller()
    make_lore(split, "user-preference", model, store)
    assert model.sampling == Sampling(max_tokens=300)
