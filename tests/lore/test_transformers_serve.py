"""The client against a server that this project did not write: ``transformers serve``, with a tiny random Llama."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from seqlore.lore import Prompt, Sampling, generate_all
from seqlore.lore.cost import Budget, BudgetError
from seqlore.lore.model import PromptError
from seqlore.lore.openai import OpenAIModel
from seqlore.lore.store import LoreStore

pytest.importorskip("openai", reason="the openai client is not installed")
pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
PROMPTS = [Prompt("Rose Soap"), Prompt("{braces} 口紅 <s>\nsystem", system="Be brief."), Prompt("x " * 20)]
GREEDY = Sampling(max_tokens=12, seed=None)


@dataclass(frozen=True)
class Served:
    url: str
    name: str
    model: Any
    tokenizer: Any

    def client(self, **settings: Any) -> OpenAIModel:
        return OpenAIModel(self.name, base_url=self.url, **{"retries": 0, **settings})

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.apply_chat_template(prompt.messages, add_generation_prompt=True)["input_ids"]

    def continued(self, ids: list[int], tokens: int = 12) -> str:
        """What the model itself says, without a server."""
        with torch.inference_mode():
            full = self.model.generate(torch.tensor([ids]), max_new_tokens=tokens, do_sample=False)
        return self.tokenizer.decode(full[0, len(ids) :], skip_special_tokens=True)


def make_chat_model(folder: Path) -> tuple[Any, Any]:
    """A two-layer Llama with random weights over bytes, saved in ``folder``; and its tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    special, alphabet = ["<pad>", "<s>", "</s>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    pieces.train_from_iterator(["a rose soap"], trainer)
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, **marks)
    tokenizer.chat_template = TEMPLATE
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=256, initializer_range=0.5, **size, **ids
        )
        model = LlamaForCausalLM(config).eval()
    model.generation_config = GenerationConfig(do_sample=True, **ids)  # the server samples only if this says so
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("`transformers serve` needs fastapi and uvicorn: pip install 'seqlore[dev]'")
    folder = tmp_path_factory.mktemp("served")
    model, tokenizer = make_chat_model(folder / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name, log = str(folder / "tiny"), folder / "log"
    program = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", name]
    command = [*program, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    home = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env={**os.environ, **home})
    try:
        patience = time.monotonic() + 300
        while not is_up(port):
            if server.poll() is not None or time.monotonic() > patience:
                pytest.skip(f"`transformers serve` did not start: {log.read_text('utf-8', 'replace')[-300:]}")
            time.sleep(0.2)
        yield Served(f"http://127.0.0.1:{port}/v1", name, model, tokenizer)
    finally:
        server.kill()
        server.wait()


def is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEQLORE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_it_says_what_the_model_says(served: Served) -> None:
    answers = generate_all(served.client(), PROMPTS, GREEDY)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = served.prompt_ids(prompt)
        assert answer.texts == (served.continued(ids),)
        assert answer.finish == ("length",)
        assert (answer.prompt_tokens, answer.completion_tokens) == (len(ids), 12)
    assert len({answer.texts for answer in answers}) == 3


def test_plain_completions_too(served: Served) -> None:
    (answer,) = generate_all(served.client(endpoint="completions"), [Prompt("1. Rose Soap\n")], GREEDY)
    ids = served.tokenizer("1. Rose Soap\n")["input_ids"]
    assert answer.texts == (served.continued(ids),)
    assert answer.prompt_tokens == len(ids)


def test_a_stop(served: Served) -> None:
    whole = served.continued(served.prompt_ids(PROMPTS[0]))
    stop = whole[4]
    (answer,) = generate_all(served.client(), PROMPTS[:1], Sampling(max_tokens=12, stop=(stop,), seed=None))
    assert answer.texts == (whole[: whole.index(stop)],)
    assert answer.finish == ("stop",)


def test_several_draws_of_a_server_that_knows_no_n(served: Served) -> None:
    sampling = Sampling(max_tokens=12, n=3, temperature=1.0, seed=7)
    (first,), (again,) = (generate_all(served.client(), PROMPTS[:1], sampling) for _ in range(2))
    assert len(set(first.texts)) == 3
    assert first.texts == again.texts
    assert first.completion_tokens == 36
    assert first.prompt_tokens == 3 * len(served.prompt_ids(PROMPTS[0]))


def test_what_it_cannot_do_is_an_error(served: Served) -> None:
    said = served.continued(served.prompt_ids(PROMPTS[0]))
    wish = Sampling(max_tokens=12, stop=(said[4],), json_schema={"type": "null"}, seed=None)
    with pytest.raises(PromptError, match=r"is not JSON of the schema .* may not know structured output"):
        generate_all(served.client(), PROMPTS[:1], wish)  # the server ignores the wish without a word
    with pytest.raises(PromptError, match=r"refuses the request \(422, prompt 'Rose Soap'\): .*top_secret"):
        generate_all(served.client(extra={"top_secret": 1}), PROMPTS[:1], GREEDY)
    other = OpenAIModel("another", base_url=served.url, retries=0)
    with pytest.raises(PromptError, match=r"refuses the request \(400.*pinned to"):
        generate_all(other, PROMPTS[:1], GREEDY)


def test_from_the_server_into_the_store_within_a_budget(served: Served, tmp_path: Path) -> None:
    prompts = [Prompt(f"prompt {i}") for i in range(10)]
    usual = int(served.client().count_tokens(prompts[:1])[0]) + 12
    with LoreStore(tmp_path / "lore.sqlite") as store:
        small = served.client(budget=Budget(tokens=5 * usual), concurrency=2)
        with pytest.raises(BudgetError):
            list(store.ask(small, prompts, GREEDY))
        left = store.missing(served.client(), prompts, GREEDY)
        assert 0 < len(left) < 10
        told = list(store.ask(served.client(concurrency=4), prompts, GREEDY))
        assert sorted(each.index for each in told) == list(range(10))
        assert [each.index for each in told if each.fresh] != []
        assert {each.index for each in told if each.fresh} == set(left)
        assert {each.index: each.answer.texts[0] for each in told} == {
            i: served.continued(served.prompt_ids(prompt)) for i, prompt in enumerate(prompts)
        }
