from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from lore.fake_model import FakeModel
from seqlore.errors import DataError
from seqlore.lore import Answer, Prompt, Sampling
from seqlore.lore.database import FORMAT
from seqlore.lore.model import PromptError
from seqlore.lore.store import LoreStore, Origin, Subject, Told, answer_key

PROMPTS = [Prompt("a"), Prompt("b"), Prompt("a"), Prompt("c")]
FAKES = Path(__file__).with_name("fake_model.py")


@pytest.fixture
def store(tmp_path: Path) -> LoreStore:
    return LoreStore(tmp_path / "below" / "lore.sqlite")


def texts(store: LoreStore, model: FakeModel, prompts: list[Prompt], sampling: Sampling | None = None) -> list[str]:
    told = list(store.ask(model, prompts, sampling or Sampling()))
    assert sorted(t.index for t in told) == list(range(len(prompts)))
    return [t.answer.texts[0] for t in sorted(told, key=lambda t: t.index)]


def test_asks_each_different_prompt_once_and_then_never_again(store: LoreStore) -> None:
    model = FakeModel()
    assert texts(store, model, PROMPTS) == ["re: a", "re: b", "re: a", "re: c"]
    assert model.asked == ["a", "b", "c"]
    assert texts(LoreStore(store.path), model, [*PROMPTS, Prompt("d")])[-1] == "re: d"
    assert model.asked == ["a", "b", "c", "d"]


def test_says_what_is_fresh_and_keeps_the_whole_answer(store: LoreStore) -> None:
    model = FakeModel(cost=0.25)
    first = list(store.ask(model, [Prompt("x y")], Sampling(n=2)))
    again = list(store.ask(model, [Prompt("x y")], Sampling(n=2)))
    assert [t.fresh for t in first] == [True]
    assert [t.fresh for t in again] == [False]
    assert again[0].answer == first[0].answer
    assert (again[0].answer.texts, again[0].answer.cost) == (("re: x y", "re: x y #1"), 0.25 * (2 + 7))


def test_missing_tells_what_would_be_asked(store: LoreStore) -> None:
    model = FakeModel()
    assert store.missing(model, PROMPTS, Sampling()) == [0, 1, 3]
    assert not store.path.exists()  # looking makes no file
    texts(store, model, PROMPTS[:1])
    assert store.missing(model, PROMPTS, Sampling()) == [1, 3]


@pytest.mark.parametrize(
    ("model", "prompt", "sampling"),
    [
        (FakeModel(identity="other"), Prompt("a"), Sampling()),
        (FakeModel(), Prompt("b"), Sampling()),
        (FakeModel(), Prompt("a", system="be kind"), Sampling()),
        (FakeModel(), Prompt("a"), Sampling(temperature=1)),
        (FakeModel(), Prompt("a"), Sampling(json_schema={"type": "object"})),
        (FakeModel(reads_facts=True), Prompt("a", task="t"), Sampling()),
        (FakeModel(reads_facts=True), Prompt("a", facts=(("title", ("x",)),)), Sampling()),
    ],
)
def test_whatever_an_answer_depends_on_is_in_its_key(model: FakeModel, prompt: Prompt, sampling: Sampling) -> None:
    assert answer_key(model, prompt, sampling) != answer_key(FakeModel(), Prompt("a"), Sampling())


def test_what_a_model_does_not_read_is_not_in_the_key() -> None:
    told = Prompt("a", task="t", facts=(("title", ("x",)),))
    assert answer_key(FakeModel(), told, Sampling()) == answer_key(FakeModel(), Prompt("a"), Sampling())


def test_each_answer_is_kept_before_it_is_told(store: LoreStore) -> None:
    model = FakeModel(in_flight=2)
    telling = store.ask(model, PROMPTS, Sampling())
    assert next(telling).answer.texts == ("re: b",)
    assert LoreStore(store.path).missing(model, PROMPTS, Sampling()) == [0, 3]
    telling.close()
    assert model.asked == ["a", "b"]  # closing has stopped the model


def test_what_came_before_an_error_stays(store: LoreStore) -> None:
    with pytest.raises(RuntimeError, match="gone away"):
        list(store.ask(FakeModel(in_flight=2, fails_at="c"), PROMPTS, Sampling()))
    model = FakeModel()
    assert texts(store, model, PROMPTS) == ["re: a", "re: b", "re: a", "re: c"]
    assert model.asked == ["c"]


def test_prompts_without_an_answer_keep_no_other_from_having_one(
    store: LoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqlore.lore.store.WINDOW", 2)
    prompts = [Prompt(text) for text in "abcabd"]
    told: list[Told] = []
    with pytest.raises(PromptError, match=r"^no word to 'a' \(and 2 more prompts have no answer\)$") as caught:
        told.extend(each for each in store.ask(FakeModel(refuses="ac"), prompts, Sampling()))
    assert [(each.index, each.answer.texts[0]) for each in told] == [(1, "re: b"), (4, "re: b"), (5, "re: d")]
    assert sorted(caught.value.failures) == [0, 2, 3]
    later = FakeModel()
    assert texts(store, later, prompts) == [f"re: {text}" for text in "abcabd"]
    assert later.asked == ["a", "c"]


def kill_when(log: Path, asked: int, store: Path, n: int) -> None:
    """Run the script, and kill -9 it as soon as it has asked so much."""
    process = subprocess.Popen([sys.executable, FAKES, store, log, str(n)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not log.exists() or log.read_bytes().count(b"\n") < asked:
            assert process.poll() is None, "it was done before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_killed_twice_in_ten_thousand_nothing_is_lost_and_only_what_was_in_flight_is_asked_again(
    tmp_path: Path,
) -> None:
    n, in_flight, log, path = 10_000, 8, tmp_path / "asked.txt", tmp_path / "lore.sqlite"
    kill_when(log, 1500, path, n)
    model, prompts = FakeModel(log=log), [Prompt(f"prompt {i}") for i in range(n)]
    asked = log.read_text().splitlines()
    open_ = len(LoreStore(path).missing(model, prompts, Sampling()))
    assert len(asked) - in_flight <= n - open_ <= len(asked)  # all that was answered is there, but for the last batch
    kill_when(log, 4000, path, n)
    with LoreStore(path) as store:
        before = store.stats()["answers"].item()
        assert texts(store, model, prompts) == [f"re: prompt {i}" for i in range(n)]
    assert len(model.asked) == n - before
    asked = log.read_text().splitlines()
    assert len(set(asked)) == n
    assert n <= len(asked) <= n + 2 * in_flight  # two kills, at most what was in flight at each


def test_several_processes_fill_one_store(tmp_path: Path) -> None:
    path, n = tmp_path / "lore.sqlite", 500
    logs = [tmp_path / f"{i}.txt" for i in range(3)]
    running = [subprocess.Popen([sys.executable, FAKES, path, log, str(n)], stdout=subprocess.DEVNULL) for log in logs]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    assert LoreStore(path).stats()["answers"].item() == n


class Echo(FakeModel):
    """Another process gives the same prompt its answer while this model thinks."""

    def __init__(self, path: Path, prompt: Prompt) -> None:
        super().__init__()
        self.path, self.prompt = path, prompt

    def generate(self, prompts, sampling):
        list(LoreStore(self.path).ask(FakeModel(), [self.prompt], sampling))
        yield from super().generate(prompts, sampling)

    def answer(self, prompt: Prompt, n: int) -> str:
        return "late"


def test_of_two_answers_to_one_prompt_the_first_stays_and_both_tell_it(store: LoreStore) -> None:
    assert texts(store, Echo(store.path, Prompt("a")), [Prompt("a"), Prompt("b")]) == ["re: a", "late"]


def test_the_frame_says_what_each_text_is_for(store: LoreStore) -> None:
    origin = Origin("item-label", "item-label", "labels", "d1", "hash", "leave-one-out")
    subjects = [Subject("item", "i1"), Subject("item", "i2"), Subject("item", "i3"), Subject("user", "u1", 2)]
    prompts = [Prompt("a", system="s"), Prompt("b"), Prompt("a", system="s"), Prompt("ü")]
    list(store.ask(FakeModel(cost=0.5), prompts, Sampling(n=2), origin=origin, subjects=subjects))
    frame = store.frame()
    assert len(frame) == 8  # four subjects, two completions each
    told = frame.filter(id="i3").sort("completion").row(1, named=True)
    assert told["key"] == answer_key(FakeModel(), prompts[0], Sampling(n=2)).hex()
    wanted = {"task": "item-label", "stage": "item-label", "kind": "item", "version": 0, "completion": 1}
    wanted |= {"text": "re: a #1", "finish": "stop", "model": "fake", "system": "s", "prompt": "a", "cost": 3.0}
    wanted |= {"prompt_tokens": 1, "completion_tokens": 5, "seconds": 0.5, "prompt_set": "labels"}
    wanted |= {"prompt_digest": "d1", "dataset": "hash", "split": "leave-one-out"}
    assert {key: told[key] for key in wanted} == wanted
    assert '"n": 2' in told["sampling"]
    assert frame.schema["time"] == pl.Datetime("us", "UTC")
    assert store.frame(kind="user")["text"].to_list() == ["re: ü", "re: ü #1"]
    assert store.frame(id="i1", limit=1)["completion"].to_list() == [0, 1]
    assert store.frame(task="other").is_empty()
    assert store.uses().row(0)[-2:] == (4, 4)


def test_old_answers_are_noted_for_new_subjects_too(store: LoreStore) -> None:
    model, origin = FakeModel(), Origin("t", "t")
    for subject in ("i1", "i2", "i2"):
        list(store.ask(model, [Prompt("a")], Sampling(), origin=origin, subjects=[Subject("item", subject)]))
    assert store.frame()["id"].to_list() == ["i1", "i2"]
    assert model.asked == ["a"]


def test_stats_add_up_and_an_unknown_cost_stays_unknown(store: LoreStore) -> None:
    texts(store, FakeModel(cost=1.0), [Prompt("a"), Prompt("b c")])
    texts(store, FakeModel(identity="free", cost=0.0), [Prompt("a")])
    texts(store, FakeModel(identity="riddle", cost=None), [Prompt("a")])
    assert store.stats().rows() == [
        ("fake", 2, 3, 5, 1.0, 8.0),
        ("free", 1, 1, 2, 0.5, 0.0),
        ("riddle", 1, 1, 2, 0.5, None),
    ]


def test_export_writes_the_frame(store: LoreStore, tmp_path: Path) -> None:
    texts(store, FakeModel(), PROMPTS)
    assert store.export(tmp_path / "new" / "lore.parquet") == 3
    assert pl.read_parquet(tmp_path / "new" / "lore.parquet").equals(store.frame())
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["lore.parquet"]


def test_half_an_emoji_is_no_obstacle(store: LoreStore) -> None:
    assert texts(store, FakeModel(), [Prompt("\ud83d"), Prompt("a")])[1] == "re: a"
    assert LoreStore(store.path).missing(FakeModel(), [Prompt("\ud83d")], Sampling()) == []
    prompt, origin, subject = (
        Prompt("b", system="\ud83d"),
        Origin("t", "t", dataset="\ud83d"),
        Subject("item", "\ud83d"),
    )
    list(store.ask(FakeModel(), [prompt], Sampling(), origin=origin, subjects=[subject]))
    assert store.frame(id="\ud83d")["id"].to_list() == ["?"]


def test_half_an_emoji_in_an_answer_is_told_as_it_is_kept(store: LoreStore) -> None:
    assert Answer(("rose \ud83d",), ("stop",), 1, 1, 0.0).texts == ("rose ?",)


def test_a_file_that_is_no_store_is_refused_in_a_sentence_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lore.sqlite"
    path.write_bytes(b"not SQLite at all, " * 100)
    with pytest.raises(DataError, match=r"lore\.sqlite: not a lore store, or a damaged one"):
        LoreStore(path).stats()
    assert path.read_bytes() == b"not SQLite at all, " * 100
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);")
    before = other.read_bytes()
    with pytest.raises(DataError, match="the tables of another program"):
        list(LoreStore(other).ask(FakeModel(), PROMPTS, Sampling()))
    assert other.read_bytes() == before


def test_a_store_of_another_format_is_refused(store: LoreStore) -> None:
    texts(store, FakeModel(), PROMPTS)
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(DataError, match=f"format {FORMAT + 1}, and this Seqlore reads format {FORMAT}"):
        store.stats()


def test_no_store_no_room_no_folder(tmp_path: Path, store: LoreStore) -> None:
    with pytest.raises(DataError, match="there is no lore store; `seqlore lore make` fills one"):
        LoreStore(tmp_path / "none.sqlite").frame()
    with pytest.raises(DataError, match="cannot be used"):
        list(LoreStore(tmp_path).ask(FakeModel(), PROMPTS, Sampling()))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="its folder cannot be made"):
        list(LoreStore(tmp_path / "file" / "lore.sqlite").ask(FakeModel(), PROMPTS, Sampling()))
    texts(store, FakeModel(), PROMPTS)
    with pytest.raises(DataError, match=r"file/x\.parquet: cannot be written"):
        store.export(tmp_path / "file" / "x.parquet")
