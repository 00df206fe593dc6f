"""A language model of the data's own, from texts to folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from seqlore.cli.pretrain import pretrain as verb
from seqlore.data import Split
from seqlore.errors import ConfigError, DataError, SeqloreError
from seqlore.lore import pretrain as module
from seqlore.lore.corpus import Corpus, read_split
from seqlore.lore.pretrain import PretrainConfig, PretrainReport, build, pretrain
from toys import make_dataset, make_split

SHORT: dict[str, Any] = {
    "context": 32,
    "batch_tokens": 128,
    "tokens": 128 * 24,
    "rounds": 3,
    "vocabulary": 320,
    "warmup_steps": 2,
    "precision": "fp32",
    "device": "cpu",
    "samples": 1,
}


def shop() -> Split:
    titles = {f"i{k}": f"{colour} {thing}" for k, (colour, thing) in enumerate(pairs())}
    return make_split({"u": ["i0", "i1", "i2"], "v": ["i3", "i4"]}, titles)


def pairs() -> list[tuple[str, str]]:
    return [(c, t) for c in ("Red", "Blue", "Green") for t in ("Soap", "Oil", "Cream", "Balm")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PretrainReport:
    return pretrain(shop(), tmp_path_factory.mktemp("lm") / "shop-lm", PretrainConfig(**SHORT))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_the_folder_is_an_ordinary_hugging_face_model(made: PretrainReport) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(made.folder)
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert sum(p.numel() for p in model.parameters()) == made.parameters
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 32
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    ids = tokenizer("Red Soap é")["input_ids"]
    assert ids[0] == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Red Soap é"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{ Hi }}"}]
    shown = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert shown == "<s>Be brief.\n\n{{ Hi }}\n\n"
    answered = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": "Yes"}], tokenize=False)
    assert answered == shown + "Yes</s>"
    assert not (made.folder / "checkpoint").exists()
    assert not list(made.folder.glob("*.bin"))


def test_the_report_says_what_was_read_and_reached(made: PretrainReport) -> None:
    assert made.trained_tokens == 24 * 128
    assert [row["epoch"] for row in made.rounds] == [1, 2, 3]
    total = made.perplexity[0]
    assert (total.corpus, total.documents) == ("all", 1)
    assert 1 < total.token < made.vocabulary
    best = max(made.rounds, key=lambda row: row["valid"]["log_likelihood"])
    assert made.best_round == best["epoch"]
    assert len(made.samples) == 1
    assert [c["name"] for c in made.corpora] == ["toy: items"]
    assert made.corpora[0]["hash"] == shop().dataset.hash
    stored = json.loads((made.folder / "pretraining.json").read_text())
    assert stored["perplexity"][0]["token"] == total.token
    assert PretrainConfig(**stored["config"]) == made.config


def test_the_card_names_data_figures_and_limits(made: PretrainReport) -> None:
    card = (made.folder / "README.md").read_text()
    assert "# shop-lm" in card
    assert shop().dataset.hash in card
    assert f"{made.perplexity[0].token:.2f}" in card
    assert "no dictionary of general English" in card
    assert "- `seed`: 0" in card


def test_more_training_predicts_better_than_frequencies(tmp_path: Path) -> None:
    texts = tuple(f"{c} {t} number {n}" for c, t in pairs() for n in range(9))
    config = PretrainConfig(**{**SHORT, "tokens": 128 * 60, "learning_rate": 0.01})
    total = pretrain(Corpus("x", texts), tmp_path / "m", config).perplexity[0]
    assert total.token < total.unigram_token / 3
    assert total.byte < total.unigram_byte


def test_equal_seeds_give_equal_weights_and_a_killed_run_ends_as_if_it_had_not_been(
    made: PretrainReport, tmp_path: Path
) -> None:
    class Killed(Exception): ...

    def kill(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        pretrain(shop(), tmp_path / "m", made.config, progress=kill)
    rounds: list[int] = []
    again = pretrain(shop(), tmp_path / "m", made.config, progress=lambda row: rounds.append(row["epoch"]))
    assert rounds == [3]
    assert same(again.folder, made.folder)
    assert again.perplexity == made.perplexity
    assert again.samples == made.samples
    other = pretrain(shop(), tmp_path / "other", made.config.model_copy(update={"seed": 1, "rounds": 1, "tokens": 128}))
    assert not torch.equal(next(iter(weights(other.folder).values())), next(iter(weights(made.folder).values())))


def test_a_checkpoint_of_other_texts_or_settings_is_refused(tmp_path: Path) -> None:
    class Killed(Exception): ...

    def kill(row: dict[str, Any]) -> None:
        raise Killed

    config = PretrainConfig(**{**SHORT, "tokens": 384})
    with pytest.raises(Killed):
        pretrain(shop(), tmp_path, config, progress=kill)
    for sources, changed in ((shop(), {"held_out": 0.5}), (Corpus("x", ("other", "texts")), {})):
        with pytest.raises(DataError, match="checkpoint was made from other texts or settings; delete it"):
            pretrain(sources, tmp_path, config.model_copy(update=changed))


def test_a_model_that_is_there_is_not_overwritten(made: PretrainReport) -> None:
    with pytest.raises(DataError, match="there already is a model"):
        pretrain(shop(), made.folder, made.config)


def test_a_file_is_no_folder_and_a_device_may_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "train_tokenizer", work)
    file = tmp_path / "model"
    file.write_text("x")
    for out in (file, file / "below"):
        with pytest.raises(DataError, match=f"{out}: a model is a folder, and {file} is a file; name another folder"):
            pretrain(shop(), out, PretrainConfig(**SHORT))
    for length in ({}, {"tokens": None, "minutes": 1.0}):
        with pytest.raises(ConfigError, match="device='cuda:77': there is none here"):
            pretrain(shop(), tmp_path / "new", PretrainConfig(**{**SHORT, **length, "device": "cuda:77"}))
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="pretraining: device: 'klingon' is no device"):
        PretrainConfig.parse({"device": "klingon"}, "pretraining")


def test_half_an_emoji_is_read_and_told_of(tmp_path: Path) -> None:
    texts = ["half \ud83d of it", *(f"{colour} {thing} is good" for colour, thing in pairs())]
    source = {"file": "\udcff.txt"}  # as Python has file names that are no UTF-8
    report = pretrain(Corpus("mine", tuple(texts), source=source), tmp_path / "lm", PretrainConfig(**SHORT))
    assert json.loads((report.folder / "pretraining.json").read_text())["corpora"][0]["file"] == "?.txt"


def test_a_dataset_is_refused_because_it_holds_held_out_reviews(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not Dataset: split a dataset first"):
        pretrain(shop().dataset, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (Corpus("x", ("one text",)), "at least two different documents"),
        ([Corpus("x", ("a", "b")), Corpus("x", ("c", "d"))], "two corpora have the same name"),
    ],
)
def test_sources_that_do_not_do(sources: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SeqloreError, match=sentence):
        pretrain(sources, tmp_path)


def test_what_is_held_out_of_one_corpus_is_learned_from_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    train_tokenizer = module.train_tokenizer
    monkeypatch.setattr(
        module, "train_tokenizer", lambda documents, size: (read.extend(documents), train_tokenizer(documents, size))[1]
    )
    texts = tuple(f"text {i}" for i in range(20))
    config = PretrainConfig(**{**SHORT, "tokens": 128, "rounds": 1, "held_out": 0.25, "held_out_limit": 4})
    report = pretrain([Corpus("x", texts), Corpus("y", texts, weight=2.0)], tmp_path / "m", config)
    held = {p.corpus: p.documents for p in report.perplexity}
    assert held == {"all": 8, "x": 4, "y": 4}
    assert len(set(texts) - set(read)) in range(4, 9)
    assert read.count("text 0") in (0, 2)


def test_minutes_become_tokens_by_the_speed_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds_a_step", lambda *_: 0.85)
    config = PretrainConfig(**{**SHORT, "tokens": None, "minutes": 0.1, "rounds": 2})
    report = pretrain(shop(), tmp_path / "m", config)
    assert report.trained_tokens == 6 * 128  # 6 s, of which 15 % for the rest: 6 steps of 0.85 s
    with pytest.raises(ConfigError, match="leave one of them out"):
        pretrain(shop(), tmp_path / "n", config.model_copy(update={"tokens": 5}))


def test_the_speed_is_tried_on_a_copy() -> None:
    config = PretrainConfig(**SHORT)
    net = module._Net(build(320, config))
    before = [p.clone() for p in net.parameters()]
    text = module.PackedTokens([module.Sequences.from_lists([[1, 5, 2]])], [1.0], length=32, rows=4, seed=0)
    assert module._seconds_a_step(net, text, config, "bf16") > 0
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(("preset", "millions"), [("tiny", 1), ("small", 5), ("base", 30)])
def test_presets_have_their_size(preset: Any, millions: int) -> None:
    with torch.device("meta"):
        model = build(module.PRESETS[preset].vocabulary, PretrainConfig(preset=preset))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6 * millions, rel=0.1)


def test_the_loss_is_the_models_own() -> None:
    torch.manual_seed(0)
    net = module._Net(build(320, PretrainConfig(context=16)))
    blocks = torch.randint(0, 320, (3, 9))
    logits = net.model(blocks[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), blocks[:, 1:].flatten())
    assert net(blocks).item() == pytest.approx(expected.item(), abs=1e-5)


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(verb)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_verb(tmp_path: Path) -> None:
    reviews = ["kept words", "valid HELDOUT", "test HELDOUT"] * 3
    items = [[f"i{k}", f"i{k + 1}", f"i{k + 2}"] for k in (0, 3, 6)]
    titles = {f"i{k}": f"{c} {t}" for k, (c, t) in enumerate(pairs())}
    make_dataset(dict(zip("uvw", items, strict=True)), titles, review=reviews).save(tmp_path / "shop")
    settings = [f"--set={k}={v}" for k, v in {**SHORT, "tokens": 256, "rounds": 1}.items()]
    done = run(tmp_path / "shop", "--out", tmp_path / "m", "--sequences", "--weight", 2, "--json", *settings)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [(c["name"], c["weight"]) for c in report["corpora"]] == [("toy: items", 2.0), ("toy: reviews", 2.0)]
    assert report["corpora"][1]["documents"] == 1  # the one review of training; no sequence is longer than one
    assert report["corpora"][0]["split"]["protocol"] == "leave-one-out"
    assert "HELDOUT" not in (tmp_path / "m" / "tokenizer.json").read_text()
    shown = run(tmp_path / "shop", "--out", tmp_path / "n", *settings)
    assert "perplexity a token" in shown.stdout
    wrong = run(tmp_path / "shop", "--out", tmp_path / "n", "--weight", 1, "--weight", 2)
    assert "give one a dataset" in str(wrong.exception)
    assert "did you mean 'tokens'" in str(run(tmp_path / "shop", "--out", tmp_path / "n", "--set", "token=3").exception)


@pytest.mark.realdata
def test_musical_instruments_read_no_held_out_review(data_root: Path) -> None:
    from seqlore.data import Dataset, leave_one_out

    dataset = Dataset.load(data_root / "amazon2014-musical-instruments-reviews")
    split = leave_one_out(dataset)
    assert split.valid is not None
    assert split.test is not None
    assert split.train.rows is not None
    (corpus,) = read_split(split)
    reviews = dataset.interactions["review"].to_list()
    seen = {" ".join((reviews[i] or "").split()) for i in split.train.rows.tolist()}
    rows = [i for cases in (split.valid, split.test) for i in cases.rows.tolist()]  # type: ignore[union-attr]
    hidden = {" ".join((reviews[i] or "").split()) for i in rows}
    told = {document.partition("\n")[2] for document in corpus.documents}
    assert len(rows) == 2 * 1429
    assert len(seen & told) > 7000
    assert (hidden - seen) & told <= {""}
