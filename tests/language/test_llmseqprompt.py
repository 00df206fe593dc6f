"""LLMSeqPrompt beside the parts it is made of; what every model promises is in tests/models/test_conformance.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqlore.language.llmseqprompt as module
from seqlore.data import Sequences, Split, leave_one_out
from seqlore.errors import ConfigError, DataError, MissingExtraError
from seqlore.language.llmseqprompt import LLMSeqPrompt
from seqlore.lore.pretrain import PretrainConfig, pretrain
from seqlore.recommender import load
from toys import make_dataset

TITLES = {"a": "Rose Soap pure", "b": "Rose Soap strong", "c": "Mint", "d": "Oil", "e": "Mint", "z": ""}
#: Written so that what is held out from ann (d, then e) is in nobody's training part.
HISTORIES = {"ann": list("abcde"), "bob": list("bacab"), "cyd": list("cabzca"), "dot": list("zb")}


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(make_dataset(HISTORIES, TITLES))


@pytest.fixture
def build(tiny_backbone: Path, tiny_encoder: Path):
    """A model that asks the tiny random language model as it is, so that nothing has to be trained."""

    def make(**settings: Any) -> LLMSeqPrompt:
        text = {"encoder": str(tiny_encoder), "store": str(tiny_encoder.parent / "store")}
        common = {"base_model": str(tiny_backbone), "tune": "none", "text": text, "samples": 6, "title_words": None}
        return LLMSeqPrompt(**{**common, **settings})

    return make


def log_p(model: LLMSeqPrompt, prompt: str, completion: str) -> float:
    """log P(completion and end of text | prompt), by one plain forward pass over both."""
    tokenizer: Any = model._writer.tokenizer
    told, said = tokenizer(prompt).input_ids, tokenizer(completion, add_special_tokens=False).input_ids
    ids = torch.tensor([[*told, *said, tokenizer.eos_token_id]])
    with torch.no_grad():
        step = model._model(ids).logits[0].log_softmax(1)
    return float(step[torch.arange(len(told) - 1, ids.shape[1] - 1), ids[0, len(told) :]].sum())


def test_beams_rank_titles_by_their_exact_probability(build, split: Split):
    model = build(decoding="beam").fit(split)
    index = {e: int(split.catalog.index([e])[0]) for e in TITLES}
    history = Sequences.from_lists([[index["a"], index["z"], index["d"]]])
    lists = model.rank(history, 6, exclude_seen=False)
    prompt = "1. Rose Soap pure\n2. Oil\n\n###\n"
    counts = split.counts()
    expected = {e: log_p(model, prompt, f" {TITLES[e]} ###") for e in "abcde"}
    for e in "ce":  # one title, divided by counts plus one
        expected[e] += np.log((counts[index[e]] + 1) / (counts[index["c"]] + counts[index["e"]] + 2))
    best = sorted(expected, key=lambda e: -expected[e])
    assert [split.catalog.external(i) for i in lists.items[0] if i] == best
    np.testing.assert_allclose(lists.scores[0, :5], [expected[e] for e in best], atol=1e-3)
    assert model.diagnostics == {"exact_lists": 1.0}


def test_completions_are_drawn_counted_and_told_of(build, split: Split, monkeypatch: pytest.MonkeyPatch):
    model = build().fit(split)
    said = {"1. Mint\n\n###\n": ["Oil", " Oil ### more", "Mint", "", "Rose Soap strong\n2. Oil", "Unheard Of"]}

    def answer(model, tokenizer, prompts, sampling):
        assert (sampling.n, sampling.stop, sampling.seed) == (6, (" ###",), 0)
        return [tuple(said[tokenizer.decode(ids, skip_special_tokens=True)]) for ids in prompts]

    monkeypatch.setattr(module, "complete", answer)
    history = Sequences.from_lists([split.catalog.index(["c"])])
    lists = model.rank(history, 6)
    ids = [split.catalog.external(i) for i in lists.items[0] if i]
    assert ids[0] == "d"  # named twice
    assert lists.scores[0, 0] == pytest.approx(2 / 6)
    # Mint is c, which is seen, or e, which is not; and "Unheard Of" is the nearest item that is left.
    assert set(ids[1:4]) == {"e", "b", "a"}
    assert model.diagnostics == pytest.approx(
        {
            "invented_completions": 1 / 6,
            "duplicate_completions": 1 / 6,
            "barred_completions": 0.0,
            "empty_completions": 1 / 6,
        },
        abs=1e-6,
    )


def test_draws_depend_on_seed_and_settings_alone(build, split: Split, monkeypatch: pytest.MonkeyPatch):
    histories = split.test.histories
    said: list[str] = []
    monkeypatch.setattr(module, "parse_completion", lambda text: said.append(text) or text)

    def completions(**settings: Any) -> tuple[list[list[int]], list[str]]:
        said.clear()
        lists = build(samples=8, **settings).fit(split).rank(histories, 5)
        return lists.items.tolist(), list(said)

    first = completions()
    assert len(first[1]) == 8 * 3  # the fourth history has no title
    assert first == completions()
    assert first[1] != completions(seed=1)[1]
    greedy = completions(temperature=0.0)
    assert len(set(greedy[1])) <= 3
    assert completions(top_p=1e-6)[1] == greedy[1]


def test_an_item_without_title_is_neither_read_nor_written(build, split: Split):
    z, b = split.catalog.index(["z", "b"]).tolist()
    for decoding in ("sample", "beam"):
        model = build(decoding=decoding).fit(split)
        assert model.about["untitled_items"] == 1
        with_z = model.rank(Sequences.from_lists([[b, z], [z]]), 6)
        without = model.rank(Sequences.from_lists([[b], []]), 6)
        assert with_z.items[0].tolist() == without.items[0].tolist()
        assert z not in with_z.items[0]
        popular = np.argsort(-split.counts()[1:], kind="stable")[0] + 1
        assert with_z.items[1, 0] == without.items[1, 0] == popular  # nothing can be told: by popularity


def test_what_is_pretrained_and_tuned_on_is_the_training_part(split: Split, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []

    class Enough(Exception):
        pass

    def listen(corpus, home, settings, progress):
        read.extend(corpus.documents)
        raise Enough

    monkeypatch.setattr(module, "pretrain", listen)
    with pytest.raises(Enough):
        LLMSeqPrompt().fit(split)
    assert sorted(read) == [
        "1. Mint\n2. Rose Soap pure\n\n###\n Rose Soap strong ###",
        "1. Rose Soap pure\n2. Rose Soap strong\n\n###\n Mint ###",
        "1. Rose Soap strong\n2. Rose Soap pure\n\n###\n Mint ###",
    ]


def test_fit_alone_works_and_is_taken_up_again(split: Split, build, tmp_path: Path):
    small = {"tokens": 2000, "context": 96, "batch_tokens": 192, "rounds": 1, "vocabulary": 300, "held_out": 0.3}
    settings = {
        "base_model": None,
        "pretraining": {**small, "samples": 0},
        "tune": "full",
        "epochs": 2,
        "context": 96,
        "decoding": "beam",
        "device": "cpu",
    }
    model = build(**settings).fit(split, checkpoint=tmp_path / "checkpoint", log=tmp_path / "log.jsonl")
    about = model.about
    assert about["pretraining"]["trained_tokens"] == 10 * 192
    assert about["pairs"] == 3
    assert about["epochs"] == len((tmp_path / "log.jsonl").read_text().splitlines())
    assert about["untuned"]["log_likelihood"] < about["valid"]["log_likelihood"] < 0
    (weights,) = (tmp_path / "checkpoint").glob("base-*/model.safetensors")
    made = weights.stat().st_mtime_ns
    again = build(**settings).fit(split, checkpoint=tmp_path / "checkpoint")
    assert weights.stat().st_mtime_ns == made
    longer = {**settings, "pretraining": {**small, "tokens": 4000, "samples": 0}, "tune": "none"}
    other = build(**longer).fit(split, checkpoint=tmp_path / "checkpoint")
    assert other.about["pretraining"]["trained_tokens"] == 21 * 192, "other settings are another base"
    with pytest.raises(DataError, match="of a fit on other data"):
        build(**longer).fit(split.with_everything(), checkpoint=tmp_path / "checkpoint")
    histories = split.test.histories
    np.testing.assert_allclose(again.rank(histories, 5).scores, model.rank(histories, 5).scores)
    model.save(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    assert loaded.rank(histories, 5).items.tolist() == model.rank(histories, 5).items.tolist()
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == [
        "README.md",
        "config.json",
        "items.parquet",
        "model.safetensors",
    ]


def test_a_base_that_read_what_is_held_out_is_refused(split: Split, build, tmp_path: Path):
    few = {"tokens": 400, "rounds": 1, "context": 64, "batch_tokens": 64, "vocabulary": 300, "samples": 0}
    told = {"preset": "tiny", "corpus": {"sequences": True}}
    pretrain(split.with_everything(), tmp_path / "all", PretrainConfig.parse({**few, **told}, "pretraining"))
    settings = {"base_model": str(tmp_path / "all"), "tune": "none", "decoding": "beam"}
    with pytest.raises(DataError, match=r"base_model .*/all'.*, if that is meant, set any_corpus = true"):
        build(**settings).fit(split)
    assert build(**settings, any_corpus=True).fit(split).about["parameters"]


def test_a_full_tuning_needs_no_adapters(split: Split, build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    monkeypatch.setitem(sys.modules, "peft.tuners.lora", None)
    assert build(tune="full", epochs=1, decoding="beam").fit(split).about["epochs"] == 1


def test_what_is_not_on_this_machine_is_told_before_a_base_is_made(
    split: Split, build, monkeypatch: pytest.MonkeyPatch
):
    def make(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("seqlore.language.llmseqprompt.pretrain", make)
    for tune in ("full", "none"):
        with pytest.raises(ConfigError, match="device='cuda:77': there is none here"):
            build(base_model=None, tune=tune, device="cuda:77").fit(split)
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"tune = 'lora' needs peft: pip install 'seqlore\[llm\]'"):
        build(base_model=None, tune="lora").fit(split)


@pytest.mark.parametrize("way", ["full", "lora"])
def test_tuning_teaches_the_pairs(build, split: Split, way: str, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    untaught = build(decoding="beam").fit(split)
    settings = {"epochs": 15, "patience": 15, "learning_rate": 0.02, "warmup_steps": 0, "batch_tokens": 400}
    model = build(decoding="beam", tune=way, device="cpu", pairs="all", **settings).fit(split)
    prompt = "1. Rose Soap strong\n\n###\n"
    assert log_p(model, prompt, " Rose Soap pure ###") > log_p(untaught, prompt, " Rose Soap pure ###") + 10
    assert model.about["pairs"] == 6
    model.export(tmp_path / "hf")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    ids = torch.tensor([[0, 60, 61, 62]])
    with torch.no_grad():
        torch.testing.assert_close(exported(ids).logits, model._model(ids).logits)


def test_settings_change_what_is_told(build, split: Split):
    history = Sequences.from_lists([split.catalog.index(["a", "b", "c", "d"])])
    told = build(max_items=2, title_words=1).fit(split)._writer.prompts(history)
    assert told == ["1. Mint\n2. Oil\n\n###\n"]
    assert build(title_words=1).fit(split)._writer.prompts(history) == ["1. Rose\n2. Rose\n3. Mint\n4. Oil\n\n###\n"]
    vocabulary, children = (
        build(decoding="beam", normalise=n).fit(split).rank(history, 3, exclude_seen=False).scores
        for n in ("vocabulary", "children")
    )
    assert (children > vocabulary).all()
    assert build(decoding="beam", beams=1).fit(split).config.beams == 1


def test_bad_input_is_one_sentence(build, split: Split):
    with pytest.raises(ConfigError, match=r"no room for a title of \d+ tokens"):
        build(context=40).fit(split)
    with pytest.raises(ConfigError, match="there is no such folder"):
        build(base_model="./nowhere").fit(split)
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        LLMSeqPrompt(temprature=1)
    with pytest.raises(DataError, match=r"no (item has a title|text field)|items have no text field 'title'"):
        build().fit(leave_one_out(make_dataset(HISTORIES)))
