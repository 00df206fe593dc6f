"""GLM beside a plain implementation of the published architecture, and original checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from seqlore.errors import ConfigError
from seqlore.glm.marks import load_tokenizer
from seqlore.glm.model import GLM, LORA_TARGETS, Cache, GLMConfig, blank_sight
from seqlore.glm.original import is_glm, load_glm, our_name
from seqlore.glm.training import add_lora
from seqlore.language.tuning import merge

CONFIG = GLMConfig(vocab_size=40, hidden_size=24, num_layers=2, num_attention_heads=3, max_sequence_length=16)


@pytest.fixture
def model() -> GLM:
    torch.manual_seed(0)
    model = GLM(CONFIG).eval()
    with torch.no_grad():
        for weight in model.parameters():  # large enough that every part of the formula shows
            weight.add_(torch.randn_like(weight) * 0.2)
    return model


def row(length: int = 9, context: int = 5) -> tuple[Tensor, Tensor, Tensor, int]:
    ids = torch.randint(0, 40, (1, length), generator=torch.Generator().manual_seed(1))
    inter = torch.tensor([[*range(context), *[2] * (length - context)]])
    intra = torch.tensor([[*[0] * context, *range(1, length - context + 1)]])
    return ids, inter, intra, context


def published_logits(w: dict[str, Tensor], ids: list[int], inter: list[int], intra: list[int], context: int) -> Tensor:
    """[T, V]: the architecture as published, with loops and full matrices, from original names of weights."""

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]
        )

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    p = "glm.transformer."
    x = torch.stack(
        [
            w["glm.word_embeddings.weight"][i]
            + w[p + "position_embeddings.weight"][a]
            + w[p + "block_position_embeddings.weight"][b]
            for i, a, b in zip(ids, inter, intra, strict=True)
        ]
    )
    t, d = x.shape
    ltor = torch.tensor([[1.0 if j < context or j <= i else 0.0 for j in range(t)] for i in range(t)])
    for layer in range(2):
        name = f"{p}layers.{layer}."
        mixed = linear(norm(x, name + "input_layernorm"), name + "attention.query_key_value")
        q, k, v = mixed[:, :d], mixed[:, d : 2 * d], mixed[:, 2 * d :]
        heads = []
        for h in range(3):
            part = slice(8 * h, 8 * (h + 1))
            scores = q[:, part] @ k[:, part].T / math.sqrt(8)
            scores = scores * ltor - 65504.0 * (1 - ltor)
            heads.append(scores.softmax(-1) @ v[:, part])
        x = x + linear(torch.cat(heads, 1), name + "attention.dense")
        inner = linear(norm(x, name + "post_attention_layernorm"), name + "mlp.dense_h_to_4h")
        inner = 0.5 * inner * (1 + torch.tanh(0.7978845608028654 * inner * (1 + 0.044715 * inner * inner)))
        x = x + linear(inner, name + "mlp.dense_4h_to_h")
    return norm(x, p + "final_layernorm") @ w["glm.word_embeddings.weight"].T


def test_logits_are_those_of_the_published_architecture(model: GLM):
    ids, inter, intra, context = row()
    golden = {f"glm.{name}": weight for name, weight in model.state_dict().items()}
    expected = published_logits(golden, ids[0].tolist(), inter[0].tolist(), intra[0].tolist(), context)
    found = model.logits(model(ids, inter, intra, blank_sight(torch.tensor([context]), 9)))[0]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_names_and_shapes_are_those_of_the_original_checkpoints(model: GLM):
    shapes = {name: tuple(w.shape) for name, w in model.state_dict().items()}
    assert shapes["transformer.position_embeddings.weight"] == (17, 24)
    assert shapes["transformer.block_position_embeddings.weight"] == (17, 24)
    assert shapes["transformer.layers.1.attention.query_key_value.weight"] == (72, 24)
    assert shapes["transformer.layers.1.mlp.dense_h_to_4h.bias"] == (96,)
    assert len(shapes) == 3 + 2 * 12 + 2


@pytest.mark.parametrize("prefix", ["", "glm.", "module.", "module.model."])
def test_an_original_checkpoint_loads(model: GLM, tmp_path: Path, prefix: str):
    published = {**CONFIG.model_dump(), "model_type": "glm", "block_position_encoding": True, "attention_scale": 8.0}
    (tmp_path / "config.json").write_text(json.dumps({**published, "parallel_output": True}))
    half = {f"{prefix}{name}": w.half() for name, w in model.state_dict().items()}
    names = sorted(half)
    save_file({n: half[n] for n in names[:10]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({n: half[n] for n in names[10:]}, tmp_path / "model-00002-of-00002.safetensors")
    loaded = load_glm(tmp_path)
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, model.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_saved_and_loaded_it_is_the_same(model: GLM, tmp_path: Path):
    loaded = load_glm(model.save(tmp_path / "glm"))
    assert loaded.config == CONFIG
    assert all(torch.equal(w, model.state_dict()[n]) for n, w in loaded.state_dict().items())


def test_what_is_no_glm_is_refused(model: GLM, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load_glm(tmp_path)
    head = {**CONFIG.model_dump(), "block_position_encoding": False}
    (tmp_path / "config.json").write_text(json.dumps(head))
    with pytest.raises(ConfigError, match="two position ids"):
        load_glm(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**head, "block_position_encoding": True}))
    with pytest.raises(ConfigError, match=r"no \.safetensors"):
        load_glm(tmp_path)
    weights = dict(model.state_dict())
    weights["transformer.position_embeddings.weight"] = torch.zeros(16, 24)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(
        ConfigError, match=r"position_embeddings.weight should have shape \(17, 24\) and has \(16, 24\)"
    ):
        load_glm(tmp_path)
    assert our_name("module.transformer.final_layernorm.bias") == "transformer.final_layernorm.bias"
    with pytest.raises(ConfigError, match="5 heads do not divide"):
        GLMConfig.parse({"vocab_size": 9, "num_attention_heads": 5}, "glm")


def test_damaged_folders_are_refused_in_a_sentence(model: GLM, tmp_path: Path):
    folder = model.save(tmp_path / "glm")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: no tokenizer that can be read"):
        load_tokenizer(folder)
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ConfigError, match=r"model\.safetensors: damaged"):
        load_glm(folder)
    for text in ("{", "[]", "\udcff"):
        (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        for read in (is_glm, load_glm):
            with pytest.raises(ConfigError, match=r"config\.json: damaged"):
                read(folder)


def test_glm_4_is_an_ordinary_causal_model(model: GLM, tmp_path: Path):
    assert is_glm(model.save(tmp_path / "glm"))
    assert is_glm(tmp_path / "nowhere")
    head = {
        "model_type": "glm",
        "architectures": ["GlmForCausalLM"],
        "num_hidden_layers": 40,
        "partial_rotary_factor": 0.5,
    }
    (tmp_path / "config.json").write_text(json.dumps(head))
    assert not is_glm(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "glm", "num_layers": 2}))
    assert is_glm(tmp_path), "a GLM without the key: load_glm says what it lacks"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert not is_glm(tmp_path)


def test_a_is_seen_both_ways_and_b_causally(model: GLM):
    ids, inter, intra, context = row()

    def hidden(ids: Tensor) -> Tensor:
        return model(ids, inter, intra, blank_sight(torch.tensor([context]), 9))[0]

    before = hidden(ids)
    for place in range(9):
        other = ids.clone()
        other[0, place] = (other[0, place] + 1) % 40
        changed = ((hidden(other) - before).abs().amax(1) > 1e-6).tolist()
        assert changed == [place < context or i >= place for i in range(9)], place


def test_the_cache_changes_nothing(model: GLM):
    ids, inter, intra, context = row()
    whole = model(ids, inter, intra, blank_sight(torch.tensor([context]), 9))
    cache = Cache()
    sight = blank_sight(torch.tensor([context]), 9)
    parts = [model(ids[:, :context], inter[:, :context], intra[:, :context], sight[:, :context, :context], cache)]
    for t in range(context, 9):
        at = slice(t, t + 1)
        parts.append(model(ids[:, at], inter[:, at], intra[:, at], sight[:, at, : t + 1], cache))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_the_last_block_computes_what_is_wanted_and_no_more(model: GLM):
    ids, inter, intra = (torch.cat([x, x.flip(1)]) for x in row()[:3])
    sight, at = blank_sight(torch.tensor([5, 3]), 9), torch.tensor([[5, 8, 8], [0, 3, 4]])
    rows: list[int] = []
    for block in model.transformer.layers:
        block.mlp.register_forward_pre_hook(lambda _, x: rows.append(x[0].shape[1]))
    every = model(ids, inter, intra, sight)
    some = model(ids, inter, intra, sight, at=at)
    torch.testing.assert_close(some, torch.stack([every[i, places] for i, places in enumerate(at)]))
    assert rows == [9, 9, 9, 3]


def test_lora_finds_four_layers_a_block_and_folds_into_them(model: GLM):
    ids, inter, intra, context = row()
    sight = blank_sight(torch.tensor([context]), 9)
    before = model(ids, inter, intra, sight)
    add_lora(model, rank=8, alpha=16, dropout=0.0, seed=0)
    learns = {n: w for n, w in model.named_parameters() if w.requires_grad}
    assert {n.split(".lora_")[0].rsplit(".", 1)[1] for n in learns} == set(LORA_TARGETS)
    assert len(learns) == 2 * 2 * len(LORA_TARGETS)
    torch.testing.assert_close(model(ids, inter, intra, sight), before)
    with torch.no_grad():
        for weight in learns.values():
            weight.normal_(std=0.1)
    adapted = model(ids, inter, intra, sight)
    assert (adapted - before).abs().max() > 0.01
    merge(model)
    torch.testing.assert_close(model(ids, inter, intra, sight), adapted, atol=1e-5, rtol=1e-4)
    assert set(model.state_dict()) == set(GLM(CONFIG).state_dict())
