"""One GLM for all families: it learns a small world, and answers in each family's own way."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones import make_backbone
from seqlore.errors import ConfigError, DataError
from seqlore.glm.marks import LEVELS, make_tokenizer
from seqlore.glm.model import GLM, GLMConfig
from seqlore.glm.pretrain import GLMPretrainConfig
from seqlore.glm.recsysllm import RecSysLLMConfig
from seqlore.glm.texts import Example
from seqlore.glm.training import BlankNet
from seqlore.language.trie import Trie, title_trie
from seqlore.tasks.glm import TaskGLM, TaskGLMConfig
from seqlore.tasks.material import Material, MaterialConfig, write
from seqlore.tasks.mixing import Mixture, MixtureConfig
from seqlore.tasks.model import TaskEvaluation, evaluate, sample
from seqlore.tasks.naming import Titles
from seqlore.tasks.p5 import P5, P5Config
from seqlore.tasks.prompts import FAMILIES, load_prompts
from seqlore.tasks.split import TaskSplit


def settings(**changes) -> TaskGLMConfig:
    pretraining = GLMPretrainConfig.parse({"shape": "nano", "vocabulary": 400, "context": 160}, "pretraining")
    given = {"start": "random", "epochs": 8, "patience": 8, "warmup_steps": 10, "learning_rate": 5e-3,
             "batch_tokens": 1024, "valid_cases": 4, "device": "cpu", "beams": 12, "answer_tokens": 12}  # fmt: skip
    return TaskGLMConfig.parse({**given, "pretraining": pretraining, **changes}, "TaskGLM")


@pytest.fixture(scope="module")
def model(material: Material) -> TaskGLM:
    torch.manual_seed(0)
    mixture = MixtureConfig(ratios={"rating": 2, "sequential": 1, "explanation": 2, "review": 0.5, "direct": 1})
    return TaskGLM(settings(mixture=mixture)).fit(material)


def questions(model: TaskGLM, material: Material, family, number: int = 0) -> list[Example]:
    pairs, prompt = material.pairs(family, "test"), load_prompts(family).prompts[number]
    return [Example(e.question, e.task) for e in write(material, model.naming, family, pairs, [prompt] * len(pairs))]


def test_every_family_is_judged_seen_unseen_and_scrambled(model: TaskGLM, material: Material):
    found = evaluate(model, material, TaskEvaluation(wrong=4, at=(1, 2), scrambled=True))
    assert set(found) == set(FAMILIES)
    assert set(found["explanation"]) == {"seen", "unseen", "scrambled", "hint seen", "hint unseen", "hint scrambled"}
    assert {"rmse", "mae", "rmse_expected", "mae_expected"} == set(found["rating"]["seen"].values)
    assert {"bleu2", "bleu4", "rouge1", "rouge2", "rougel"} == set(found["review"]["unseen"].values)
    assert {"hr@1", "ndcg@1", "hr@2", "ndcg@2"} == set(found["sequential"]["seen"].values)
    # What every review of this world says is learned: "The sound is great." or "awful".
    assert found["explanation"]["seen"].values["rouge1"] > 60


def test_a_loss_over_texts_weighs_each_alike(model: TaskGLM, material: Material):
    written = [e for f in ("rating", "explanation") for e in Mixture(material, model.naming, seed=1)._written(
        f, np.arange(3), np.random.default_rng(0))]  # fmt: skip
    part = model._blanked([e.text for e in written])
    alone = [float(BlankNet(model._body)(part.batch(np.array([i])))) for i in range(6)]
    every = part.batch(np.arange(6))
    assert float(BlankNet(model._body, average="texts")(every)) == pytest.approx(np.mean(alone), rel=1e-4)
    assert float(BlankNet(model._body)(every)) != pytest.approx(np.mean(alone), rel=1e-2), "stars are one word"


def test_a_text_weighs_as_it_is_told(model: TaskGLM, material: Material):
    written = [e for f in ("rating", "explanation") for e in Mixture(material, model.naming, seed=1)._written(
        f, np.arange(3), np.random.default_rng(0))]  # fmt: skip
    part = model._blanked([e.text for e in written])
    net, (short, long) = BlankNet(model._body), (np.arange(3), np.arange(3, 6))
    n = np.array([part.b.lengths[short].sum(), part.b.lengths[long].sum()])
    alone = np.array([float(net(part.batch(rows))) for rows in (short, long)])
    weighted = replace(part, weights=np.array([4] * 3 + [1] * 3, np.float32))
    mean = (alone * n) @ [4, 1] / (n @ [4, 1])
    assert float(net(weighted.batch(np.arange(6)))) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("kind", ["glm", "p5"])
def test_the_fit_weighs_families_as_it_is_told(kind: str, material: Material):
    def loss(**weights: float) -> float:
        mixture = MixtureConfig(ratios={"rating": 1, "explanation": 1}, weights=weights)  # type: ignore[arg-type]
        task = (
            TaskGLM(settings(epochs=1, masked=0, mixture=mixture))
            if kind == "glm"
            else P5(P5Config(epochs=1, mixture=mixture))
        )
        return task.fit(material).history[0]["train_loss"]

    plain = loss()
    assert loss(rating=3, explanation=3) == pytest.approx(plain, rel=1e-4), "beside one another, they weigh alike"
    assert loss(rating=30) != pytest.approx(plain, rel=1e-3)


def test_the_tuning_takes_the_mean_that_is_set(material: Material):
    ratios = MixtureConfig(ratios={"rating": 1, "explanation": 1})
    told = {
        m: TaskGLM(settings(epochs=1, average=m, mixture=ratios)).fit(material).history for m in ("tokens", "texts")
    }
    assert told["tokens"][0]["train_loss"] != pytest.approx(told["texts"][0]["train_loss"], rel=1e-3)


def test_stars_are_shares_of_one_likelihood(model: TaskGLM, material: Material):
    asked = questions(model, material, "rating")
    log_p = model.stars(asked)
    assert log_p.shape == (12, 5)
    assert (log_p < 0).all()
    assert (np.exp(log_p).sum(1) < 1.0001).all(), "five of all the texts that it may write"
    assert np.exp(log_p).sum(1).mean() > 0.8, "and it writes nothing else"
    assert model.stars(asked[3:4]) == pytest.approx(log_p[3:4], abs=1e-4)


def test_what_it_writes_is_what_it_finds_likely(model: TaskGLM, material: Material):
    asked = questions(model, material, "rating")
    written = model.write(asked)
    log_p = model.stars(asked)
    sure = np.exp(log_p).max(1) > 0.5  # then no other text can be likelier
    assert [w for w, s in zip(written, sure, strict=True) if s] == [
        str(1 + i) for i, s in zip(log_p.argmax(1), sure, strict=True) if s
    ]


def test_search_leaves_out_what_was_seen_and_agrees_with_exact_scores(model: TaskGLM, material: Material):
    pairs = material.pairs("sequential", "test")
    asked = questions(model, material, "sequential")
    found = model.search(asked, pairs.histories(), 5)
    for row, history in zip(found, pairs.histories(), strict=True):
        assert not set(row[row > 0].tolist()) & set(history.tolist())
    every = np.tile(np.arange(1, 13), (len(pairs), 1))
    scores = model.score(asked, every)
    for row, history, mine in zip(found, pairs.histories(), scores, strict=True):
        mine[np.isin(every[0], history)] = -np.inf
        assert row.tolist() == every[0][np.argsort(-mine, kind="stable")[:5]].tolist()
    exact = copy(model)
    exact.config = model.config.model_copy(update={"decoding": "exact"})
    assert exact.search(asked, pairs.histories(), 5).tolist() == found.tolist()


def test_an_ordinary_causal_model_can_be_the_body(material: Material, tmp_path: Path):
    folder = make_backbone(tmp_path, "llama")
    mixture = MixtureConfig(ratios={"rating": 0.2, "sequential": 0.2}, lists=0.0)
    changes = {"start": "pretrained", "epochs": 1, "mixture": mixture, "tune": "lora", "title_words": 1}
    model = TaskGLM(settings(base_model=str(folder), **changes)).fit(material)
    found = evaluate(model, material, TaskEvaluation(families=("rating", "sequential"), at=(5,)))
    assert 0 < found["rating"]["unseen"].values["rmse_expected"] < 4
    assert set(found["sequential"]["seen"].values) == {"hr@5", "ndcg@5"}


def tuned_on(tasks: TaskSplit, monkeypatch: pytest.MonkeyPatch, **changes) -> list[tuple[list[str], str]]:
    """(marks of its blanks, the text with all filled in) of each text of one epoch."""
    rows: list[tuple[list[int], list[int]]] = []

    def read(_, epoch, *__, **___) -> list:
        for batch in epoch(1, (0, 1)):
            length = (
                np.bincount((batch.at // batch.ids.shape[1]).numpy(), minlength=len(batch.ids)) + batch.context.numpy()
            )
            rows.extend(
                (ids[:a], ids[a:n]) for ids, a, n in zip(batch.ids.tolist(), batch.context, length, strict=True)
            )
        return []

    monkeypatch.setattr("seqlore.tasks.glm.train", read)
    mixture = MixtureConfig(ratios={"sequential": 4.0}, lists=0.0)
    material = Material(tasks, MaterialConfig(max_items=6))
    writer = TaskGLM(settings(mixture=mixture, **changes)).fit(material)._writer
    levels = {writer.marks.of_level(level): level for level in LEVELS}
    found = []
    for a, b in rows:
        starts = [*np.flatnonzero(np.array(b) == writer.marks.start), len(b)]
        spans = iter([b[i + 1 : j] for i, j in pairwise(starts)])
        filled = [token for x in a[1:] for token in (next(spans) if x in levels else [x])]
        found.append(([levels[x] for x in a if x in levels], writer.tokenizer.decode(filled)))
    return found


def test_masked_histories_are_mixed_into_the_tuning(tasks: TaskSplit, monkeypatch: pytest.MonkeyPatch):
    split = tasks.split
    titles = ["", *split.catalog.titles]
    told = set()
    for items in split.train:
        named = [titles[i] for i in items.tolist()]
        for a, b in combinations(range(len(named) + 1), 2):
            told.add(f"Chose {', '.join(named[a:b][:3])}{'. ' + named[a:b][3] if b - a > 3 else ''}.")
    plain = tuned_on(tasks, monkeypatch, masked=0.0)
    assert all(marks == ["mask"] and text not in told for marks, text in plain)
    mixed = tuned_on(tasks, monkeypatch, masked=0.5)
    masked = [row for row in mixed if row[1] in told]
    assert len(masked) == len(mixed) - len(masked) == len(plain)
    assert {level for marks, _ in masked for level in marks} == set(LEVELS)
    assert any(len(marks) > 1 for marks, _ in masked), "and with several blanks, filled in the order of the text"
    assert {len(text.split(",")) for _, text in masked} == {2, 3}
    window = {"shares": (0, 0, 1), "least": (1, 1), "days": (1e-6, 1e-6)}
    short = tuned_on(tasks, monkeypatch, masked=0.5, windows=window, masks={"levels": (0, 0, 1)})
    alone = [marks for marks, text in short if text in told]
    assert alone == [["gmask"]] * len(plain)
    assert all("," not in text for _, text in short if text in told)
    anyhow = tuned_on(tasks, monkeypatch, masked=0.5, masks={"chronological": False, "levels": (1, 0, 0)})
    assert sum(text in told for _, text in anyhow) < len(plain), "out of order"


def test_tails_of_histories_are_mixed_into_the_tuning(tasks: TaskSplit, monkeypatch: pytest.MonkeyPatch):
    plain = tuned_on(tasks, monkeypatch, masked=0.0)
    mixed = tuned_on(tasks, monkeypatch, masked=0.0, rolling=0.5)
    assert not any(text.endswith(".") for _, text in plain), "so that questions are told from histories"
    tails = [(marks, text) for marks, text in mixed if text.endswith(".")]
    assert len(mixed) - len(tails) == len(plain)
    assert len(tails) > len(plain) / 3, "windows of one title ask for nothing"
    told = [1 + text.count(", ") + text.count(". ") for _, text in tails]
    hidden = [len(marks) for marks, _ in tails]
    assert all(1 <= h < n for h, n in zip(hidden, told, strict=True))
    assert max(hidden) > 1
    with pytest.raises(ConfigError, match="no share for questions"):
        settings(masked=0.5, rolling=0.5)


def test_titles_are_learned_as_they_are_searched_and_all_else_by_its_words(model: TaskGLM, material: Material):
    def told(family, net: BlankNet, told_so: bool = True) -> float:
        pairs, prompt = material.pairs(family, "train").some(3, 0), load_prompts(family).prompts[0]
        written = write(material, model.naming, family, pairs, [prompt] * 3)
        titled = np.array([e.names_item for e in written])
        assert titled.all() == titled.any() == (family == "sequential")
        part = replace(model._blanked([e.text for e in written]), titled=titled if told_so else None)
        return float(net(part.batch(np.arange(3))))

    shares, words = BlankNet(model._body, model._trie), BlankNet(model._body)
    assert told("sequential", shares) < told("sequential", words)
    for family in ("rating", "explanation", "review"):
        assert told(family, shares) == pytest.approx(told(family, words))
    stars = BlankNet(model._body, titles_of(["1", "2", "3", "4", "5"], model))
    assert told("rating", stars) == pytest.approx(told("rating", words))
    assert told("rating", stars, told_so=False) < told("rating", words)


def titles_of(titles: list[str], model: TaskGLM) -> Trie:
    def encode(texts: list[str]) -> list[list[int]]:
        return [tokens.tolist() for tokens in model._writer.entities(texts)]

    return title_trie(titles, encode, model._body.size, end=model._writer.marks.end).trie


def test_the_sample_of_cases_is_the_same_each_time(material: Material):
    some = TaskEvaluation(cases=5, seed=3)
    assert sample(material, "rating", some).rows.tolist() == sample(material, "rating", some).rows.tolist()
    assert len(sample(material, "rating", some)) == 5
    assert len(sample(material, "rating", TaskEvaluation())) == 12


def short(context: int, **changes) -> TaskGLM:
    pretraining = {"shape": "nano", "vocabulary": 400, "context": context}
    return TaskGLM(settings(pretraining=GLMPretrainConfig.parse(pretraining, "pretraining"), epochs=1, **changes))


def test_too_long_a_question_is_cut_and_counted(wordy: Material):
    mixture = MixtureConfig(ratios={"rating": 0.2, "review": 0.2}, lists=0.0)
    model = short(60, mixture=mixture).fit(wordy)
    assert model.learned_cut["review"] > 0
    assert not model.room.cut, "what is asked later is counted on its own"
    found = evaluate(model, wordy, TaskEvaluation(families=("rating", "review"), at=(5,), wrong=4))
    assert found["rating"]["unseen"].values["rmse"] > 0
    assert model.room.cut["review"] > 0


def test_a_question_without_room_is_refused_with_the_remedy(material: Material):
    with pytest.raises(ConfigError, match=r"takes \d+ tokens without history and review, and the body reads 14: lower"):
        short(16).fit(material)


def test_no_setting_is_passed_over():
    for given, sentence in (
        ({"base_model": "x", "start": "random"}, "start = 'random' and base_model exclude each other"),
        ({"tune": "lora", "start": "random"}, "tune = 'lora' would freeze a body that has learned nothing"),
        ({"pretraining": {"seed": 3}}, "pretraining.seed: pretraining takes the seed of the tuning, so set seed alone"),
        ({"pretraining": {"device": "cpu"}}, "so set device alone"),
    ):
        for config in (TaskGLMConfig, RecSysLLMConfig):
            with pytest.raises(ConfigError, match=sentence):
                config.parse(given, "model")
    whole = TaskGLMConfig.parse({"seed": 3}, "model").model_dump()
    assert TaskGLMConfig.parse(whole, "model").seed == 3, "what was saved can be read"


def test_validation_pairs_are_drawn(material: Material):
    mixture = Mixture(material, Titles.of(material.tasks.split), MixtureConfig(ratios={"rating": 1.0}), seed=5)
    rows = material.pairs("rating", "valid").some(4, 5).rows.tolist()
    assert rows != material.pairs("rating", "valid").rows[:4].tolist()
    assert len(mixture.held(4)) == 4
    assert mixture.held(4) == mixture.held(4)
    assert mixture.held(4) != Mixture(material, mixture.naming, mixture.config, seed=6).held(4)


def test_what_prompts_tell_as_entities_is_in_the_pool(tasks: TaskSplit):
    material = Material(tasks, MaterialConfig(averages=True))
    assert "sound" in material.values(["explanation"])
    assert not material.values(["sequential"])
    model = short(160, mixture=MixtureConfig(ratios={"rating": 0.2, "explanation": 0.2})).fit(material)
    for text in ("sound", "-0.3", "4.2"):
        node = torch.zeros(1, dtype=torch.int64)
        for token in model._writer.entity(text).tolist():
            node = model._automaton.pool.step(node, torch.tensor([token]))
        assert (node > 0).all(), text


@pytest.mark.parametrize(
    ("tokens", "base", "single"), [(None, False, True), (False, False, False), (None, True, False)]
)
def test_told_numbers_are_tokens_and_a_saved_model_keeps_them(
    tasks: TaskSplit, tmp_path: Path, tokens: bool | None, base: bool, single: bool
):
    material = Material(tasks, MaterialConfig(averages=True))
    changes: dict = {"mixture": MixtureConfig(ratios={"rating": 0.2}), "number_tokens": tokens}
    if base:
        tokenizer = make_tokenizer(["How many stars will it get?"] * 3, 300)
        body = GLM(
            GLMConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_layers=1, num_attention_heads=2)
        )
        tokenizer.save(str(body.save(tmp_path / "base") / "tokenizer.json"))
        changes |= {"base_model": str(tmp_path / "base"), "start": "pretrained"}
    model = short(160, **changes).fit(material)
    assert (len(model._writer.entity("-0.3")) == 1) is single
    loaded = TaskGLM.load(model.save(tmp_path / "model"))
    asked = questions(model, material, "rating")
    assert loaded.stars(asked) == pytest.approx(model.stars(asked), abs=1e-5)
    assert loaded._writer.entity("-0.3").tolist() == model._writer.entity("-0.3").tolist()


def test_a_body_is_pretrained_once_and_a_model_is_saved(material: Material, tmp_path: Path):
    pretraining = {"shape": "nano", "vocabulary": 400, "context": 160, "tokens": 2000, "epochs": 2, "batch_tokens": 512}
    mixture = MixtureConfig(ratios={"rating": 0.2, "sequential": 0.2}, lists=0.0)
    changes = {"pretraining": pretraining, "start": "pretrained", "mixture": mixture, "epochs": 1}
    bodies, steps, log = tmp_path / "bodies", tmp_path / "steps", tmp_path / "log.jsonl"
    model = TaskGLM(settings(**changes)).fit(material, bodies=bodies, checkpoint=steps, log=log)
    assert (steps / "state.json").is_file()
    assert len(log.read_text().splitlines()) == 1
    (body,) = bodies.iterdir()
    made = (body / "model.safetensors").stat().st_mtime_ns
    TaskGLM(settings(**{**changes, "beams": 3})).fit(material, bodies=bodies)
    assert [(b.name, (b / "model.safetensors").stat().st_mtime_ns) for b in bodies.iterdir()] == [(body.name, made)]
    loaded = TaskGLM.load(model.save(tmp_path / "model"))
    asked = questions(model, material, "sequential")
    assert loaded.stars(asked) == pytest.approx(model.stars(asked), abs=1e-5)
    histories = material.pairs("sequential", "test").histories()
    assert loaded.search(asked, histories, 5).tolist() == model.search(asked, histories, 5).tolist()
    assert loaded.history == model.history
    with pytest.raises(DataError, match="no saved TaskGLM there"):
        TaskGLM.load(tmp_path / "none")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(DataError, match="damaged"):
        TaskGLM.load(tmp_path / "model")
