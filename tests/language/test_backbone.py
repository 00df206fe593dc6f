"""The frozen body: gradients cross it, its weights stay, pads and neighbours change nothing, prefixes are exact."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from backbones import make_backbone
from seqlore.errors import ConfigError, MissingExtraError
from seqlore.language.backbone import Backbone, BackboneConfig

FAMILIES = ("llama", "gpt2", "qwen2", "mistral")
#: The head's scale over that of the words that go in.
SCALED = {"llama": 1.0, "gemma": 32**-0.5, "gemma2": 32**-0.5, "granite": 0.25, "cohere": 0.25}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory) -> Path:
    return make_backbone(tmp_path_factory.mktemp(request.param), request.param)


def body_of(folder: Path, **settings) -> Backbone:
    return Backbone(BackboneConfig(name=str(folder), **settings))


def test_gradients_cross_the_body_and_none_stays_in_it(folder: Path):
    body = body_of(folder)
    vectors = torch.randn(2, 5, body.width, requires_grad=True)
    body.word_logits(body.hidden(vectors)[:, -1]).logsumexp(1).sum().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum((0, 2)) > 0).all()
    assert all(p.grad is None and not p.requires_grad for p in body.model.parameters())
    assert body.trained == {}


def test_what_stands_to_the_right_or_beside_changes_nothing(folder: Path):
    body = body_of(folder)
    torch.manual_seed(1)
    short, other = torch.randn(1, 3, body.width), torch.randn(1, 6, body.width)
    alone = body.hidden(short)
    batch = torch.cat([torch.nn.functional.pad(short, (0, 0, 0, 3), value=9.0), other])
    torch.testing.assert_close(body.hidden(batch)[:1, :3], alone, atol=1e-5, rtol=1e-5)


def test_a_prefix_computed_once_equals_the_prefix_in_every_row(folder: Path):
    body = body_of(folder)
    words = torch.tensor(body.begin + body.encode("what"))
    rows = torch.randn(3, 4, body.width)
    front = torch.nn.functional.embedding(words, body.words).expand(3, -1, -1)
    whole = body.hidden(torch.cat([front, rows], 1))[:, len(words) :]
    with torch.no_grad():
        prefix = body.prefix(words)
        torch.testing.assert_close(body.hidden(rows, prefix), whole, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(body.hidden(rows[:2], prefix), whole[:2], atol=1e-5, rtol=1e-5)  # and used again
    assert body.prefix(torch.zeros(0, dtype=torch.int64)) is None


def test_recomputing_layers_changes_no_gradient_and_spares_the_prefix(folder: Path):
    plain, thrifty = body_of(folder), body_of(folder, gradient_checkpointing=True)
    vectors = torch.randn(2, 5, plain.width)
    grads = []
    for body in (plain, thrifty):
        fed = vectors.clone().requires_grad_()
        body.hidden(fed).square().sum().backward()
        grads.append(fed.grad)
    torch.testing.assert_close(*grads)
    with torch.no_grad():
        prefix = thrifty.prefix(torch.tensor([5, 6]))
        torch.testing.assert_close(
            thrifty.hidden(vectors, prefix), plain.hidden(vectors, plain.prefix(torch.tensor([5, 6])))
        )


def test_adapters_learn_and_the_rest_does_not(folder: Path):
    body = body_of(folder, tune="lora", lora_rank=2)
    assert body.trained
    assert all("lora_" in name for name in body.trained)
    assert {p for p in body.model.parameters() if p.requires_grad} == set(body.trained.values())
    body.hidden(torch.randn(1, 3, body.width)).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in body.trained.values())
    assert body_of(folder).trained == {}, "a body that learns is not shared with those that do not"


def test_all_of_it_learns_where_that_is_asked_for(folder: Path):
    body = body_of(folder, tune="full")
    assert len(body.trained) == len(list(body.model.parameters()))


def test_random_weights_keep_the_shape_and_depend_on_the_seed(folder: Path):
    config = BackboneConfig(name=str(folder), weights="random")
    one, again, other = Backbone(config, seed=1), Backbone(config, seed=1), Backbone(config, seed=2)
    assert one.words.shape == body_of(folder).words.shape
    assert torch.equal(one.words, again.words)
    assert not torch.equal(one.words, other.words)


def test_vocabulary_mean_and_spread(folder: Path):
    body = body_of(folder)
    mean, spread = body.vocabulary_mean()
    words = body.words
    torch.testing.assert_close(mean, words.sum(0) / len(words))
    assert spread == pytest.approx(float(((words - mean) ** 2).mean()) ** 0.5, rel=1e-5)


def test_half_precision_is_a_setting(folder: Path):
    body = body_of(folder, dtype="bf16")
    assert body.words.dtype == torch.bfloat16
    assert body.hidden(torch.randn(1, 2, body.width)).dtype == torch.float32


def test_a_device_map_is_a_setting(folder: Path):
    body = body_of(folder, device_map="cpu")
    body.place(torch.device("meta"))  # fixed by the map: it does not follow the net
    assert body.words.device.type == "cpu"
    torch.testing.assert_close(
        body.hidden(torch.ones(1, 2, body.width)), body_of(folder).hidden(torch.ones(1, 2, body.width))
    )


def test_the_digest_follows_the_content_and_not_the_place(folder: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first = body_of(folder).identity
    assert first["digest"] == body_of(copy).identity["digest"]
    config = copy / "config.json"
    config.write_text(config.read_text() + "\n")
    assert first["digest"] != body_of(copy).identity["digest"]


@pytest.mark.parametrize("family", [*SCALED, "mamba"])
def test_vectors_in_and_logits_out_are_the_model_itself(tmp_path: Path, family: str):
    body = body_of(make_backbone(tmp_path / "m", family))
    tokens = torch.tensor([[0, *body.encode("what")], [0, *body.encode("goes")]])
    with torch.no_grad():
        own = body.model(input_ids=tokens).logits
        torch.testing.assert_close(body.word_logits(body.hidden(body.embed(tokens))), own, atol=1e-4, rtol=1e-4)
        rest = body.hidden(body.embed(tokens[:, 2:]), body.prefix(tokens[0, :2]))[0]
        torch.testing.assert_close(body.word_logits(rest), own[0, 2:], atol=1e-4, rtol=1e-4)
        assert body.item_scale() == pytest.approx(SCALED.get(family, 1.0), rel=1e-3)
        mean, spread = body.vocabulary_mean()
        every = body.model.get_input_embeddings()(torch.arange(body.size))
        torch.testing.assert_close(mean, every.mean(0))
        assert spread == pytest.approx(float((every - mean).square().mean().sqrt()), rel=1e-4)
        body.check_vectors()
        written = body.model.generate(input_ids=tokens[:1], max_new_tokens=4, do_sample=False)[:, tokens.shape[1] :]
        assert body.write(body.embed(tokens[:1]), 4) == [body.decode(written[0])]


def test_a_body_that_reads_vectors_in_another_way_is_refused(folder: Path):
    body = body_of(folder, weights="random")
    body.check_vectors()
    body.logit_scale = 2.0
    with pytest.raises(ConfigError, match="it does not say what it says of the words themselves"):
        body.check_vectors()


def test_a_body_that_lets_no_gradient_back_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    body, hidden = body_of(folder), Backbone.hidden
    monkeypatch.setattr(Backbone, "hidden", lambda self, vectors, prefix=None: hidden(self, vectors, prefix) * 1.0)
    body.check_vectors()

    def cut(self: Backbone, vectors: torch.Tensor, prefix: object = None) -> torch.Tensor:
        out = hidden(self, vectors.detach(), prefix)
        return out + 0 * vectors if vectors.shape == out.shape else out

    monkeypatch.setattr(Backbone, "hidden", cut)
    with pytest.raises(ConfigError, match="no gradient comes back through it"):
        body.check_vectors()


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_gradients_cross_quantised_weights_also_after_the_body_was_asked(tmp_path: Path, quantize: str):
    pytest.importorskip("bitsandbytes", reason="quantised weights need bitsandbytes")
    body = body_of(make_backbone(tmp_path / "m", width=64), quantize=quantize)
    vectors = body.embed(torch.arange(5, 11)[None]).float()
    exact = body_of(tmp_path / "m")
    found = []
    for each in (body, exact, body):
        fed = vectors.clone().requires_grad_()
        found.append(torch.autograd.grad(each.hidden(fed)[0, -1] @ torch.linspace(-1, 1, body.width), fed)[0].flatten())
        with torch.no_grad():
            each.hidden(vectors)
    assert torch.cosine_similarity(found[0], found[2], 0) > 0.999
    assert torch.cosine_similarity(found[0], found[1], 0) > (0.99 if quantize == "8bit" else 0.5)


def test_what_a_folder_sets_for_writing_is_not_read(tmp_path: Path):
    plain, other = make_backbone(tmp_path / "plain"), make_backbone(tmp_path / "other")
    path = other / "generation_config.json"
    told = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**told, "repetition_penalty": 9.0, "min_new_tokens": 30}))
    texts = [body.write(body.embed(torch.tensor([body.encode("a rose")])), 40) for body in map(body_of, (plain, other))]
    assert texts[0] == texts[1]


def test_what_cannot_be_is_refused_by_name(folder: Path):
    with pytest.raises(ConfigError, match="is for the hub: leave it out"):
        body_of(folder, revision="main")
    with pytest.raises(ConfigError, match=r"lora_targets = .*no_such"):
        body_of(folder, tune="lora", lora_targets=("no_such",))
    for unheard in ({"device_map": "auto"}, {"quantize": "8bit"}):
        with pytest.raises(ConfigError, match="drawn, not loaded"):
            BackboneConfig.parse({"name": str(folder), "weights": "random", **unheard}, "backbone")


def test_what_is_not_on_this_machine_is_told_before_a_model_is_looked_for(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"backbone\.device_map='cuda:77': there is none here"):
        Backbone(BackboneConfig(name="./nowhere", device_map="cuda:77"))
    with pytest.raises(ConfigError, match=r"backbone\.device_map='klingon': no such device"):
        Backbone(BackboneConfig(name="./nowhere", device_map="klingon"))
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"backbone\.tune = 'lora' needs peft: pip install 'seqlore\[llm\]'"):
        Backbone(BackboneConfig(name="./nowhere", tune="lora"))


def test_half_an_emoji_is_a_question_mark(folder: Path):
    body = body_of(folder)
    assert body.encode("a \ud83d b") == body.encode("a ? b")


def test_begin_token_only_where_the_tokenizer_sets_one(tmp_path: Path):
    assert body_of(make_backbone(tmp_path / "with")).begin == [0]
    assert body_of(make_backbone(tmp_path / "without", begin=False)).begin == []


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch):
    with pytest.raises(ConfigError, match=r"no such folder.*seqlore lore pretrain"):
        body_of(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="environment variable"):
        Backbone(BackboneConfig(name="${SEQLORE_NOT_SET}/model"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="safetensors"):
        body_of(tmp_path / "empty")
    folder = make_backbone(tmp_path / "model")
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqlore\[quantize\]'"):
        body_of(folder, quantize="8bit")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        body_of(folder)
    wider = make_backbone(tmp_path / "wider")
    told = json.loads((wider / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps({**told, "hidden_size": 2 * told["hidden_size"]}))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        body_of(wider)
    (folder / "config.json").write_text('{"model_type": "no-such-thing"}')
    with pytest.raises(ConfigError, match="cannot be loaded"):
        body_of(folder)
