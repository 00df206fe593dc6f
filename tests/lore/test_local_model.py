"""Local models write what ``model.generate`` writes, however they are batched."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from seqlore.errors import ConfigError
from seqlore.lore import LanguageModel, Prompt, Sampling, generate_all
from seqlore.lore.kv import Batch, Seq2Seq, Slots, open_rows
from seqlore.lore.local import LocalModel
from seqlore.lore.model import PromptError
from seqlore.lore.tokenizer import as_transformers, train_tokenizer

WORDS = ["rose", "soap", "lily", "oil", "mint", "gum"]
RNG = random.Random(0)
#: Of all lengths, some equal; most begin alike.
TEXTS = [
    "Say what it is, in words that a friend would use: " + " ".join(RNG.choices(WORDS, k=1 + i % 7)) for i in range(13)
]
TEXTS += ["rose", "", TEXTS[3]]
PROMPTS = [Prompt(text, system="Be brief." if i == 5 else "") for i, text in enumerate(TEXTS)]
LENGTH = 24


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return as_transformers(train_tokenizer([*TEXTS, *WORDS * 3], 300), 128)


LLAMA = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
LLAMA |= {"hidden_size": 32, "intermediate_size": 48, "bos_token_id": 1, "pad_token_id": 0}
MODELS: dict[str, Callable[..., Any]] = {
    "llama": lambda **ids: LlamaForCausalLM(LlamaConfig(**LLAMA, **ids)),
    "mistral": lambda **ids: MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=12, **ids)),
    "gpt2": lambda **ids: GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, **ids)
    ),
    "t5": lambda **ids: T5ForConditionalGeneration(
        T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, **ids)
    ),
    "bart": lambda **ids: BartForConditionalGeneration(
        BartConfig(
            d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, decoder_start_token_id=1, bos_token_id=1, pad_token_id=0,
            max_position_embeddings=128, forced_eos_token_id=None, tie_word_embeddings=False, **ids,
        )
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Random models of lively weights; one token in six ends a text, so that lengths differ."""
    made = {}
    for name, make in MODELS.items():
        torch.manual_seed(1)
        made[name] = make(vocab_size=300, eos_token_id=[2, *range(5, 300, 6)]).eval()
        for parameter in made[name].parameters():
            if parameter.ndim > 1:
                parameter.data *= 5
    return made


def plain(model: Any, ids: list[int], length: int = LENGTH) -> list[int]:
    """What ``generate`` writes after one prompt by itself, without the token that ends it."""
    given = torch.tensor([ids])
    out = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=length, pad_token_id=0
    )
    new = out[0, 1:] if model.config.is_encoder_decoder else out[0, len(ids) :]
    return [t for t in new.tolist() if t not in model.generation_config.eos_token_id]


@pytest.mark.parametrize("name", list(MODELS))
def test_greedy_answers_are_those_of_generate(name: str, models: dict[str, Any], tokenizer: Any) -> None:
    model = models[name]
    ids = LocalModel.of(model, tokenizer).encode(PROMPTS)
    expected = [plain(model, each) for each in ids]
    assert len({len(each) for each in expected}) > 3  # a mix of lengths, or this proves little
    for settings in ({}, {"batch_size": 1}, {"batch_size": 3}, {"batch_size": 8, "batch_tokens": 300}):
        answers = generate_all(LocalModel.of(model, tokenizer, **settings), PROMPTS, Sampling(max_tokens=LENGTH))
        for answer, given, tokens in zip(answers, ids, expected, strict=True):
            assert answer.texts == (tokenizer.decode(tokens, skip_special_tokens=True),)
            assert answer.finish == ("length" if len(tokens) == LENGTH else "stop",)
            assert (answer.prompt_tokens, answer.completion_tokens) == (len(given), len(tokens))


@pytest.mark.parametrize(
    ("name", "kind"), [("llama", Slots), ("gpt2", Slots), ("mistral", Batch), ("t5", Seq2Seq), ("bart", Seq2Seq)]
)
def test_padding_and_neighbours_move_no_score(name: str, kind: type, models: dict[str, Any]) -> None:
    model = models[name]
    prompts = [[1, 7, 9, 4], [1, 7, 9, 4], [1, 7, 9, 8, 30, 31, 32, 33], [1, 7, 9, 6, 3]]
    together = open_rows(model)
    assert type(together) is kind
    shared = 3 if kind is Slots else 0
    found = [together.admit(prompts, shared, [0, 1, 2, 3])]
    found.append(together.step(torch.tensor([10, 11, 12, 13])))
    together.keep(torch.tensor([1, 3]))
    found.append(together.step(torch.tensor([14, 15])))
    if kind is Slots:  # one gives its place, and another comes
        found.append(together.admit([[1, 3], [1, 40, 41]], 0, [0, 2]))
        found.append(together.step(torch.tensor([17, 16, 18])))
    expected: list[list[Any]] = [[] for _ in found]
    ways = {0: [10], 1: [11, 14], 2: [12], 3: [13, 15, 16]}
    for i, tokens in ways.items():
        alone = open_rows(model)
        seen = [alone.admit([prompts[i]], 0, [0]), *(alone.step(torch.tensor([t])) for t in tokens)]
        for moment, logits in enumerate(seen):
            if moment < 3:
                expected[moment].append(logits)
            elif kind is Slots:
                expected[4].append(logits)
    if kind is Slots:
        for prompt, token in (([1, 3], 17), ([1, 40, 41], 18)):
            alone = open_rows(model)
            expected[3].append(alone.admit([prompt], 0, [0]))
            expected[4].append(alone.step(torch.tensor([token])))
        expected[4] = [expected[4][i] for i in (1, 0, 2)]
    for logits, single in zip(found, expected, strict=True):
        assert (logits - torch.cat(single)).abs().max() < 1e-5 * max(1, logits.abs().max())


def texts(model: LocalModel, prompts: Sequence[Prompt], **sampling: object) -> list[tuple[str, ...]]:
    settings = Sampling.parse({"max_tokens": LENGTH, **sampling}, "test")
    return [answer.texts for answer in generate_all(model, prompts, settings)]


def test_drawn_answers_are_the_same_in_any_company(models: dict[str, Any], tokenizer: Any) -> None:
    model = LocalModel.of(models["llama"], tokenizer, batch_size=5)
    drawn = texts(model, PROMPTS, temperature=1.5, top_p=0.9, n=3, seed=4)
    assert all(len(each) == 3 for each in drawn)
    assert len({t for each in drawn for t in each}) > len(PROMPTS)
    assert texts(model, PROMPTS[::-1], temperature=1.5, top_p=0.9, n=3, seed=4)[::-1] == drawn
    assert texts(model, PROMPTS[4:6], temperature=1.5, top_p=0.9, n=3, seed=4) == drawn[4:6]
    assert texts(model, PROMPTS[4:6], temperature=1.5, top_p=0.9, n=2, seed=4) == [each[:2] for each in drawn[4:6]]
    assert texts(model, PROMPTS, temperature=1.5, top_p=0.9, n=3, seed=5) != drawn
    assert texts(model, PROMPTS, temperature=1.5, top_p=0.9, seed=None) != texts(
        model, PROMPTS, temperature=1.5, top_p=0.9, seed=None
    )
    assert texts(model, PROMPTS[:3], temperature=1.5, top_p=1e-6) == texts(model, PROMPTS[:3])
    assert texts(model, PROMPTS[:2], n=2) == [each * 2 for each in texts(model, PROMPTS[:2])]


def test_draws_follow_the_models_probabilities(models: dict[str, Any], tokenizer: Any) -> None:
    model = LocalModel.of(models["llama"], tokenizer, batch_size=500)
    ids = model.encode([Prompt("rose")])
    with torch.inference_mode():
        chances = (models["llama"](torch.tensor(ids)).logits[0, -1] / 4).softmax(-1)
    ends = [t for t in range(300) if t in model._ends]
    (answer,) = generate_all(model, [Prompt("rose")], Sampling(max_tokens=1, temperature=4, n=2000))
    share = answer.finish.count("stop") / 2000
    expected = chances[ends].sum().item()
    assert 0.02 < expected < 0.98
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 2000) ** 0.5


def test_stop_strings_end_a_text_and_are_no_part_of_it(models: dict[str, Any], tokenizer: Any) -> None:
    model = LocalModel.of(models["llama"], tokenizer)
    (whole,) = max(texts(model, PROMPTS), key=lambda each: len(each[0]))
    i = texts(model, PROMPTS).index((whole,))
    middle = whole[len(whole) // 2 :][:2]
    (answer,) = generate_all(model, [PROMPTS[i]], Sampling(max_tokens=LENGTH, stop=("nowhere", middle)))
    assert answer.texts == (whole[: whole.index(middle)],)
    assert answer.finish == ("stop",)
    with pytest.raises(ConfigError, match="a stop string is empty"):
        model.generate(PROMPTS, Sampling(stop=("",)))


def test_what_does_not_fit_the_context(models: dict[str, Any], tokenizer: Any) -> None:
    model = LocalModel.of(models["llama"], tokenizer)
    assert model.context == 128
    long = Prompt("z" * 120)
    room = 128 - int(model.count_tokens([long])[0])
    assert 0 < room < 8
    assert generate_all(model, [long], Sampling(max_tokens=50))[0].completion_tokens <= room
    answers = model.generate([Prompt("z" * 200), long], Sampling(max_tokens=2))
    assert next(answers)[0] == 1  # what fits is answered
    with pytest.raises(
        PromptError, match=r"prompt 0 has 20\d tokens and the context of 'LlamaForCausalLM' is 128: shorten"
    ):
        next(answers)
    assert generate_all(model, [], Sampling()) == []


@pytest.mark.parametrize("name", ["gpt2", "mistral", "bart"])
def test_a_text_that_fills_the_context_does_not_disturb_the_others(
    name: str, models: dict[str, Any], tokenizer: Any
) -> None:
    prompts = [Prompt("z" * 123), *PROMPTS]  # done after a token or two, and remains in the batch for a while
    settings = Sampling(max_tokens=LENGTH)
    answers = generate_all(LocalModel.of(models[name], tokenizer, batch_size=17), prompts, settings)
    assert answers[0].prompt_tokens > 120
    assert [a.texts for a in answers[1:]] == texts(LocalModel.of(models[name], tokenizer), PROMPTS)


def test_what_a_local_model_cannot_do_is_an_error(models: dict[str, Any], tokenizer: Any) -> None:
    model = LocalModel.of(models["llama"], tokenizer)
    with pytest.raises(ConfigError, match="cannot be held to a JSON schema"):
        model.generate(PROMPTS, Sampling(json_schema={"type": "object"}))
    assert isinstance(model, LanguageModel)
    assert model.price(10, 10) == 0
    assert not model.reads_facts


def test_chat_templates(models: dict[str, Any], tokenizer: Any) -> None:
    prompt = Prompt("rose {{ soap }}", system="Be brief.")
    chat = LocalModel.of(models["llama"], tokenizer)
    assert tokenizer.decode(chat.encode([prompt])[0]) == "<s>Be brief.\n\nrose {{ soap }}\n\n"
    text = LocalModel.of(models["llama"], tokenizer, chat=False)
    assert tokenizer.decode(text.encode([prompt])[0]) == "<s>Be brief.\n\nrose {{ soap }}"
    assert chat.count_tokens([prompt]).tolist() == [len(chat.encode([prompt])[0])]
    assert text.identity == f"{chat.identity} chat=False"


def test_a_special_token_in_a_text_is_only_text(models: dict[str, Any], tokenizer: Any) -> None:
    prompt = Prompt("rose</s><s> soap", system="a <pad> b")
    for chat, start in ((True, "<s>a <pad> b\n\nrose</s><s> soap\n\n"), (False, "<s>a <pad> b\n\nrose</s><s> soap")):
        (ids,) = LocalModel.of(models["llama"], tokenizer, chat=chat).encode([prompt])
        assert tokenizer.decode(ids) == start
        assert ids[0] == 1
        assert not {0, 1, 2} & set(ids[1:])


def test_a_template_that_refuses_is_named(models: dict[str, Any], tokenizer: Any) -> None:
    import copy

    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(ConfigError, match=r"refuses a prompt \(no system here\)"):
        LocalModel.of(models["llama"], strict).encode([Prompt("x", system="y")])
    strict.chat_template = None
    assert LocalModel.of(models["llama"], strict).encode([Prompt("rose")]) == tokenizer(["rose"])["input_ids"]
    with pytest.raises(ConfigError, match="has no chat template"):
        LocalModel.of(models["llama"], strict, chat=True).encode([Prompt("x")])


def test_a_folder_is_loaded_when_it_is_needed(models: dict[str, Any], tokenizer: Any, tmp_path: Path) -> None:
    models["llama"].save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    model = LocalModel(str(tmp_path / "m"), device="cpu")
    assert "_loaded" not in vars(model)
    assert texts(model, PROMPTS) == texts(LocalModel.of(models["llama"], tokenizer), PROMPTS)
    identity = model.identity
    assert LocalModel(str(tmp_path / "m"), batch_size=2).identity == identity  # not what changes speed only
    half = LocalModel(str(tmp_path / "m"), dtype="bf16")
    assert half.identity == f"{identity} dtype=bf16"
    assert half.model.dtype == torch.bfloat16
    assert LocalModel(str(tmp_path / "m"), device_map="cpu").model.device.type == "cpu"
    (tmp_path / "m" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert LocalModel(str(tmp_path / "m")).identity != identity


def test_identity_of_a_model_in_memory_is_that_of_its_weights(models: dict[str, Any], tokenizer: Any) -> None:
    import copy

    changed = copy.deepcopy(models["llama"])
    before = LocalModel.of(changed, tokenizer).identity
    assert before == LocalModel.of(models["llama"], tokenizer).identity
    changed.lm_head.weight.data[3, 3] += 1
    assert LocalModel.of(changed, tokenizer).identity != before


def test_models_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def none(name: str, **_: object) -> str:
        asked.append(name)
        raise OSError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", none)
    with pytest.raises(ConfigError, match="there is no such folder"):
        LocalModel(str(tmp_path / "nowhere"))
    assert asked == []
    with pytest.raises(ConfigError, match="not in the hub's cache, and the hub did not give it"):
        LocalModel("someone/model")
    assert asked == ["someone/model"] * 2
    with pytest.raises(ConfigError, match=r"holds no config\.json with safetensors weights"):
        LocalModel(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is an adapter only"):
        LocalModel(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        LocalModel(str(tmp_path)).encode([Prompt("x")])
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        LocalModel(str(tmp_path), batchsize=3)
    with pytest.raises(ConfigError, match="leave one out"):
        LocalModel(str(tmp_path), device="cpu", device_map="auto")


def test_a_device_that_is_not_there_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"local model '.*': device='klingon': no such device"):
        LocalModel(str(tmp_path), device="klingon")
    with pytest.raises(ConfigError, match="device='cuda:77': there is none here"):
        LocalModel(str(tmp_path), device="cuda:77")
    for where in ("cuda:77", {"": 77}):
        with pytest.raises(ConfigError, match=r"local model '.*': device_map='cuda:77': there is none here"):
            LocalModel(str(tmp_path), device_map=where)


def test_half_an_emoji_in_a_prompt_is_a_question_mark(models: dict[str, Any], tokenizer: Any) -> None:
    model = LocalModel.of(models["llama"], tokenizer, chat=False)
    whole, half = Prompt("a ? b", system="?"), Prompt("a \ud83d b", system="\ud83d", facts=(("title", ("\ud83d",)),))
    assert model.encode([half]) == model.encode([whole])
    assert half.fact("title") == ("?",)
