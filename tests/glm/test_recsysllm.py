"""RecSysLLM beside the parts it is made of; what every model promises is in tests/models/test_conformance.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from seqlore.data import Dataset, Sequences, Split, leave_one_out
from seqlore.errors import ConfigError, MissingExtraError
from seqlore.glm.model import blank_sight
from seqlore.glm.recsysllm import RecSysLLM
from seqlore.glm.training import BlankNet
from seqlore.glm.tree import questions
from seqlore.recommender import load
from toys import make_dataset

TITLES = {"a": "Rose Soap", "b": "Rose Soap strong", "c": "Mint", "d": "Oil, warm. Very", "e": "Mint", "z": ""}
HISTORIES = {"ann": list("abcde"), "bob": list("bacab"), "cyd": list("cabzca"), "dot": list("zb"), "eve": list("edcba")}
SMALL = {
    "start": "random",
    "pretraining": {"shape": "nano", "vocabulary": 300, "context": 64},
    "epochs": 1,
    "learning_rate": 0.01,
    "warmup_steps": 0,
    "batch_tokens": 64,
    "rolling": 1.0,
    "seed": 2,  # one of those that draw two blanks in their one epoch
    "windows": {"shares": (1, 0, 0)},  # five short histories: none of them cut
}


@pytest.fixture(scope="module")
def split() -> Split:
    plain = make_dataset(HISTORIES, TITLES)
    users = pl.DataFrame({"user_id": list(HISTORIES), "mood": ["calm", "Rose", None, "calm", "wild"]})
    return leave_one_out(Dataset.from_frames(plain.interactions, plain.items, users, name="toy"))


def fitted(split: Split, **settings: Any) -> RecSysLLM:
    return RecSysLLM(**{**SMALL, **settings}).fit(split)


@pytest.fixture(scope="module")
def model(split: Split) -> RecSysLLM:
    return fitted(split)


def ask(split: Split, *histories: str, user: str = "") -> Sequences:
    made = Sequences.from_lists([split.catalog.index(list(h)) for h in histories])
    who = int(split.users.index([user])[0]) if user else 0
    return Sequences(made.items, made.offsets, np.full(len(made), who, np.int32))


def log_p(model: RecSysLLM, histories: Sequences, title: str) -> float:
    """log P(title and end mark) in the blank of one question, by one plain pass and the automaton, token by token."""
    asked = model._histories.questions(histories)[0]
    writer, automaton = model._histories.writer, model._histories.automaton
    said = writer.entity(title).tolist()
    state, intra = automaton.begin(1), [1]
    for token in said:
        state = automaton.step(state, torch.tensor([token]))
        intra.append(int(state.intra))
    a = len(asked.ids)
    ids = torch.tensor([[*asked.ids.tolist(), writer.marks.start, *said]])
    inter = torch.tensor([[*range(a), *[asked.mask] * (len(said) + 1)]])
    ids_in = torch.tensor([[*asked.intra.tolist(), *intra]])
    with torch.no_grad():
        hidden = model._glm(ids, inter, ids_in, blank_sight(torch.tensor([a]), ids.shape[1]))
        step = model._glm.logits(hidden)[0].log_softmax(1)
    return float(step[torch.arange(a, ids.shape[1]), torch.tensor([*said, writer.marks.end])].sum())


@pytest.mark.parametrize("positions", [{"intra": "entity", "plain": "restart"}, {"intra": "blank"}])
def test_beams_and_exact_scores_are_the_probabilities_of_titles(split: Split, positions: dict[str, str]):
    model = fitted(split, positions=positions)
    history = ask(split, "azd", user="bob")
    index = {e: int(split.catalog.index([e])[0]) for e in TITLES}
    counts = split.counts()
    expected = {e: log_p(model, history, TITLES[e]) for e in "abcde"}
    for e in "ce":  # one title, divided by counts plus one
        expected[e] += np.log((counts[index[e]] + 1) / (counts[index["c"]] + counts[index["e"]] + 2))
    lists = model.rank(history, 6, exclude_seen=False)
    best = sorted(expected, key=lambda e: -expected[e])
    assert [split.catalog.external(i) for i in lists.items[0] if i] == best
    np.testing.assert_allclose(lists.scores[0, :5], [expected[e] for e in best], atol=1e-4)
    assert model.diagnostics == {"exact_lists": 1.0}
    scores = model.log_likelihoods(history)[0]
    for e, value in expected.items():
        assert float(scores[index[e]]) == pytest.approx(value, abs=1e-4)
    assert float(scores[index["z"]]) == -np.inf


def test_shares_of_what_may_follow_are_learned_and_searched_alike(split: Split):
    model = fitted(split, normalise="children", epochs=2)
    history = ask(split, "ab", "", "dcz")
    scores = model.log_likelihoods(history)
    assert scores.exp().sum(1).tolist() == pytest.approx([1.0] * 3, abs=1e-4), "all that may be written is a title"
    lists = model.rank(history.take([0, 2]), 5, exclude_seen=False)
    expected = scores[[0, 2]].gather(1, torch.from_numpy(lists.items.astype(np.int64)))
    np.testing.assert_allclose(lists.scores, expected.numpy(), atol=1e-4)
    # What is learned is minus that, title by title; its last token's share may be 1, and it counts among the tokens.
    blanked = model._histories.cases(split.test)
    held = split.test.take(model._histories.named[split.test.targets])
    told = held.take(model._histories.fitted(held.histories).lengths > 0)
    net = BlankNet(model._glm.requires_grad_(True), model._trie)
    each = model.log_likelihoods(told.histories)[torch.arange(len(told)), torch.from_numpy(told.targets).long()]
    counts = torch.from_numpy(split.counts())
    twins = [int(i) for i in split.catalog.index(["c", "e"])]
    for row, target in enumerate(told.targets.tolist()):
        if target in twins:  # a title's probability, without the share of its items
            each[row] -= ((counts[target] + 1) / (counts[twins].sum() + 2)).log()
    assert net.log_likelihood(blanked) == pytest.approx(float(each.sum()) / len(blanked.targets), abs=1e-4)


def test_exact_decoding_lists_what_beams_list(split: Split, model: RecSysLLM):
    histories = split.test.histories
    beams = model.rank(histories, 4)
    exact = RecSysLLM(**{**model.config.model_dump(), "decoding": "exact"})
    exact._catalog, exact.users = model.catalog, model.users
    exact.restore(model.state())
    lists = exact.rank(histories, 4)
    np.testing.assert_allclose(np.maximum(lists.scores, -99), np.maximum(beams.scores, -99), atol=1e-4)
    assert (lists.items == beams.items).mean() > 0.9  # equal scores may change places by the last bit


def test_with_beams_enough_the_outlook_changes_nothing(split: Split, model: RecSysLLM):
    histories = split.test.histories
    narrow = fitted(split, outlook=False)
    np.testing.assert_allclose(narrow.rank(histories, 4).scores, model.rank(histories, 4).scores, atol=1e-5)


def test_candidates_of_each_case_are_scored_exactly_and_alone(split: Split, model: RecSysLLM):
    index = {e: int(split.catalog.index([e])[0]) for e in TITLES}
    candidates = np.array([[index["c"], index["b"], 0], [index["d"], index["z"], index["a"]]])
    histories = ask(split, "ab", "c")
    scores = model.log_likelihoods(histories, candidates)
    everything = model.log_likelihoods(histories)
    for i in range(2):
        there = {j for j in candidates[i] if j not in (0, index["z"])}  # e shares c's title and was not asked for
        assert set(torch.nonzero(scores[i] > -torch.inf).flatten().tolist()) == there
        for j in there:
            assert float(scores[i, j]) == pytest.approx(float(everything[i, j]), abs=1e-4)
    shared = model.log_likelihoods(histories, candidates[0])
    torch.testing.assert_close(shared[0], scores[0], atol=1e-4, rtol=0)
    listed = model.rank(histories, 3, candidates=candidates, exclude_seen=False)
    assert set(listed.items[0].tolist()) == {0, index["c"], index["b"]}


def test_seen_items_leave_before_the_search(split: Split, model: RecSysLLM):
    lists = RecSysLLM.rank(model, ask(split, "abcd"), 3)
    assert [split.catalog.external(i) for i in lists.items[0] if i] == ["e"]


def test_users_are_told_and_kept(split: Split, model: RecSysLLM, tmp_path: Path):
    told = {who: model.rank(ask(split, "ab", user=who), 4).scores for who in ("ann", "eve", "cyd", "")}
    assert not np.allclose(told["ann"], told["eve"])
    np.testing.assert_allclose(told["cyd"], told[""], atol=1e-5)  # nothing is known of cyd
    loaded = load(model.save(tmp_path / "model"))
    np.testing.assert_allclose(loaded.rank(ask(split, "ab", user="eve"), 4).scores, told["eve"], atol=1e-5)
    by_id = loaded.recommend([["a", "b"]], 4, users=["eve"])
    np.testing.assert_allclose(by_id.scores, told["eve"], atol=1e-5)
    silent = fitted(split, user_features=False)
    np.testing.assert_allclose(
        silent.rank(ask(split, "ab", user="ann"), 4).scores, silent.rank(ask(split, "ab"), 4).scores, atol=1e-5
    )


def test_what_is_not_on_this_machine_is_told_before_a_body_is_made(split: Split, monkeypatch: pytest.MonkeyPatch):
    def make(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("seqlore.glm.recsysllm.pretrain_glm", make)
    with pytest.raises(ConfigError, match="device='cuda:77': there is none here"):
        fitted(split, start="pretrained", device="cuda:77")
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match="tune = 'lora' needs peft"):
        fitted(split, start="pretrained", tune="lora")


def test_an_exported_model_is_tuned_on_with_lora(split: Split, model: RecSysLLM, tmp_path: Path):
    folder = model.export(tmp_path / "glm")
    weights = model._glm.state_dict()
    tuned = fitted(split, base_model=str(folder), start="pretrained", tune="lora", lora_rank=2, learning_rate=0.05)
    changed = {n for n, w in tuned._glm.state_dict().items() if not torch.equal(w, weights[n])}
    assert changed
    assert all(n.endswith("weight") and "layernorm" not in n and "embeddings" not in n for n in changed)
    assert tuned.about["parameters"] > sum(w.numel() for w in weights.values()) - 1


@pytest.mark.parametrize(
    "change",
    [
        {"masks": {"chronological": False}},
        {"masks": {"units": False}, "masked": 0.6},
        {"positions": {"intra": "blank"}},
        {"windows": {"shares": (0, 0, 1), "days": (1e-6, 1e-6), "least": (2, 2)}},
        {"masked": 0.0},
        {"rolling": 0.0},
        {"max_items": 1},
        {"title_words": 1},
        {"user_features": False},
        {"pretraining": {"shape": "tiny", "vocabulary": 300, "context": 64}},
        {"batch_tokens": 200},
        {"seed": 1},
        {"normalise": "children"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_setting_tells(split: Split, model: RecSysLLM, change: dict[str, Any]):
    histories = ask(split, "abd", "da", user="ann")
    before = model.rank(histories, 3).scores
    assert not np.allclose(before, fitted(split, **change).rank(histories, 3).scores, atol=1e-5)


def test_what_stops_it(split: Split):
    model = fitted(split, monitor="ndcg@10", epochs=2)
    assert set(model.about["valid"]) == {"log_likelihood", "hr@10", "ndcg@10"}
    assert model.about["tokens"] > 0
    assert model.about["collated_tokens_per_second"] > 0
    with pytest.raises(ConfigError, match="no room for a title"):
        fitted(split, pretraining={"shape": "nano", "vocabulary": 300, "context": 16})


def test_a_question_has_one_empty_blank(model: RecSysLLM, split: Split):
    blanked = model._histories.next_titles(ask(split, "abc"), [2])
    with pytest.raises(ValueError, match="one blank"):
        questions(blanked)
