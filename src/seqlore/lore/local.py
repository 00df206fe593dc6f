"""Local language models: any causal or encoder–decoder model of Hugging Face transformers, as a ``LanguageModel``.

How texts are written at once is in :mod:`seqlore.lore.decode`, what a model remembers of them in
:mod:`seqlore.lore.kv`. Only the sampling that is asked for is applied: settings that a model's generation_config.json
proposes (temperature, top_k, repetition_penalty, …) are not, save for the tokens that end a text.

Texts of a prompt are only text: the name of a special token in a review, ``</s>`` say, is read as characters.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqlore.config import Config
from seqlore.errors import ConfigError
from seqlore.lore.model import Answer, Prompt, PromptError, Sampling
from seqlore.text.cache import file_digest
from seqlore.text.locate import UNWANTED, WANTED, model_digest
from seqlore.text.quiet import quiet

#: Files that change answers, beside those that change a model's vectors.
ANSWER_FILES = ("generation_config.json", "chat_template.jinja", "chat_template.json")
#: Texts in the making, and prompt tokens that are read at once, on a CPU and on a GPU.
ROWS_CPU, ROWS_GPU, READ_CPU, READ_GPU = 32, 256, 4096, 16384
#: Memory for what the model remembers of its texts: bytes on a CPU, and the share of what is free on a GPU.
CACHE_CPU, CACHE_GPU = 2 << 30, 0.4


class LocalConfig(Config):
    """Settings of a local model."""

    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Of the weights; 'auto' = as stored."
    )
    device: str | None = Field(default=None, description="'cpu', 'cuda:1', …; None = the GPU where there is one.")
    device_map: str | dict[str, int | str] | None = Field(
        default=None,
        description="How layers are spread over devices, as in transformers ('auto'); then leave device out.",
    )
    chat: bool | None = Field(
        default=None, description="Write prompts as a chat; None = where the tokenizer has a template."
    )
    batch_size: int | None = Field(default=None, ge=1, description="Most texts written at once; None = by the device.")
    batch_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens remembered of all these texts; None = by the memory there is."
    )


class LocalModel:
    """A model in a folder, or on the hub, by name. Loaded when the first prompt has to be answered or counted."""

    reads_facts = False

    def __init__(self, name: str, config: LocalConfig | None = None, /, **settings: Any) -> None:
        """Find the model; nothing is loaded yet.

        Raises: ConfigError: it is nowhere, has no safetensors weights, or a setting or device does not exist.
        """
        self.name = name
        self.config = config or LocalConfig.parse(settings, f"local model {name!r}")
        if self.config.device is not None and self.config.device_map is not None:
            raise ConfigError(f"local model {name!r}: device and device_map both say where it is; leave one out")
        if self.config.device is not None or self.config.device_map is not None:
            from seqlore.training.device import check_map, device_of

            if self.config.device_map is not None:
                check_map(self.config.device_map, f"local model {name!r}: device_map")
            device_of(self.config.device, f"local model {name!r}: device")
        self.folder: Path | None = find_language_model(name)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, **settings: Any) -> Self:
        """A model and tokenizer of transformers that are loaded already, on the device where they are."""
        made = cls.__new__(cls)
        made.name, made.folder = type(model).__name__, None
        made.config = LocalConfig.parse(settings, "local model")
        made.__dict__["_loaded"] = (model.eval(), tokenizer)
        return made

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._loaded[1]

    @cached_property
    def identity(self) -> str:
        """Digest of the files (or of the weights in memory), and the settings that change what is written."""
        digest = hashlib.sha256()
        if self.folder is None:
            import torch

            for key, tensor in self.model.state_dict().items():
                digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            digest.update(self.model.config.to_json_string().encode())
            digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
            digest.update(json.dumps(self.tokenizer.chat_template).encode())
        else:
            digest.update(model_digest(self.folder).encode())
            for name in ANSWER_FILES:
                if (self.folder / name).is_file():
                    digest.update(f"{name} {file_digest(self.folder / name)}".encode())
        settings = {"dtype": self.config.dtype, "chat": self.config.chat}
        changed = "".join(f" {k}={v}" for k, v in settings.items() if v not in ("auto", None))
        return f"transformers:{digest.hexdigest()[:32]}{changed}"

    @cached_property
    def context(self) -> int | None:
        """Most tokens of prompt and completion together; None = the model has no limit."""
        from seqlore.lore.kv import context_of

        return context_of(self.model)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """0: the electricity is yours."""
        return 0.0

    def count_tokens(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """int64 [n], special tokens and those of the chat template included."""
        return np.array([len(ids) for ids in self.encode(prompts)], np.int64)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        """(index, answer), each as soon as all its completions are there; closing the iterator stops the work.

        Greedy answers do not depend on what else is asked, nor do drawn ones: each has random numbers that belong to
        its prompt, its number among the ``n`` and the seed. (Sums are rounded differently in batches of different
        shape; where two tokens are as good as equally likely, that can decide.) A completion ends where the context
        is full.

        Raises: ConfigError: a JSON schema, or an empty stop string, is asked for. PromptError: at the end, of prompts
            that are empty or fill the context.
        """
        if sampling.json_schema is not None:
            raise ConfigError(
                "a local model cannot be held to a JSON schema: leave json_schema out, or ask a server that can"
            )
        if "" in sampling.stop:
            raise ConfigError("a stop string is empty: leave it out")
        return self._generate(prompts, sampling)

    def _generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        from seqlore.lore.decode import queue_of, write
        from seqlore.lore.kv import open_rows

        ids = self.encode(prompts)
        rooms = [self._room(each, sampling) for each in ids]
        failures = {i: f"prompt {i} {room}" for i, room in enumerate(rooms) if isinstance(room, str)}
        asked = [i for i in range(len(ids)) if i not in failures]
        queue = queue_of([ids[i] for i in asked], [room for room in rooms if isinstance(room, int)], sampling)
        unfinished: dict[int, list[Any]] = {}
        copies = sampling.n if sampling.temperature > 0 else 1

        def tail(tokens: list[int]) -> str:
            return self.tokenizer.decode(tokens, skip_special_tokens=True)

        for text in write(open_rows(self.model), queue, sampling, self._limits(), self._ends, tail):
            texts = unfinished.setdefault(text.prompt, [])
            texts.append(text)
            if len(texts) == copies:
                texts = sorted(unfinished.pop(text.prompt), key=lambda t: t.copy) * (sampling.n // copies)
                yield (
                    asked[text.prompt],
                    Answer(
                        texts=tuple(self._worded(t.written, sampling.stop) for t in texts),
                        finish=tuple(t.finish for t in texts),
                        prompt_tokens=len(text.ids),
                        completion_tokens=sum(len(t.written) for t in texts),
                        seconds=time.perf_counter() - min(t.started for t in texts),
                        cost=0.0,
                    ),
                )
        if failures:
            raise PromptError(failures)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt, as the model reads it. Raises: ConfigError: the chat template refuses it."""
        from jinja2.exceptions import TemplateError

        if not prompts:
            return []
        if not self._chat:
            texts = [f"{p.system}\n\n{p.text}" if p.system else p.text for p in prompts]
            return self.tokenizer(texts, split_special_tokens=True, verbose=False)["input_ids"]
        try:
            texts = [self._rendered(p.messages) for p in prompts]
            ids = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            for i, prompt in enumerate(prompts):
                if any(name in prompt.text or name in prompt.system for name in self._special):
                    ids[i] = self._encode_apart(prompt)
        except TemplateError as error:
            raise ConfigError(
                f"local model {self.name!r}: its chat template refuses a prompt ({error}); write prompts without a "
                "system message, or set chat=False"
            ) from error
        return ids

    def _encode_apart(self, prompt: Prompt) -> list[int]:
        """As ``encode``, with the messages' words read as characters and the template's as what they are."""
        marks = {f"\ue000{n}\ue001": message["content"] for n, message in enumerate(prompt.messages)}
        stand_ins = [{**m, "content": mark} for m, mark in zip(prompt.messages, marks, strict=True)]
        left, ids = self._rendered(stand_ins), []
        for mark, content in marks.items():
            before, _, left = left.partition(mark)
            ids += self.tokenizer(before, add_special_tokens=False, verbose=False)["input_ids"]
            ids += self.tokenizer(content, add_special_tokens=False, split_special_tokens=True, verbose=False)[
                "input_ids"
            ]
        return ids + self.tokenizer(left, add_special_tokens=False, verbose=False)["input_ids"]

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _worded(self, tokens: list[int], stops: Sequence[str]) -> str:
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]

    def _room(self, ids: list[int], sampling: Sampling) -> int | str:
        """Most tokens of a completion, or why there is none: no room for one, or nothing to read."""
        if not ids:
            return "has no tokens: leave it out, or say something in it"
        if self.context is None:
            return sampling.max_tokens
        apart = self.model.config.is_encoder_decoder  # encoder and decoder have the context to themselves
        room = self.context - (1 if apart else len(ids))
        if room < 1 or len(ids) > self.context:
            return (
                f"has {len(ids):,} tokens and the context of {self.name!r} is {self.context:,}: "
                "shorten the prompt, or choose a model with more context"
            )
        return min(sampling.max_tokens, room)

    def _limits(self) -> Any:
        import torch

        from seqlore.lore.decode import Limits

        gpu = self.model.device.type == "cuda"
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        a_token = 2 * config.num_hidden_layers * heads * width * self.model.dtype.itemsize
        memory = CACHE_GPU * torch.cuda.mem_get_info(self.model.device)[0] if gpu else CACHE_CPU
        return Limits(
            rows=self.config.batch_size or (ROWS_GPU if gpu else ROWS_CPU),
            cached=self.config.batch_tokens or int(memory / a_token),
            read=READ_GPU if gpu else READ_CPU,
        )

    @cached_property
    def _chat(self) -> bool:
        has = bool(self.tokenizer.chat_template)
        if self.config.chat and not has:
            raise ConfigError(f"local model {self.name!r} has no chat template: leave chat out, or set chat=False")
        return has if self.config.chat is None else self.config.chat

    @cached_property
    def _special(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return sorted({*self.tokenizer.all_special_tokens, *(str(token) for token in added)})

    @cached_property
    def _ends(self) -> frozenset[int]:
        for holder in (self.model.generation_config, self.model.config, self.tokenizer):
            ends = getattr(holder, "eos_token_id", None)
            if ends is not None:
                return frozenset(ends if isinstance(ends, list) else [ends])
        return frozenset()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        from seqlore.training.device import device_of

        assert self.folder is not None  # a model in memory is there already
        dtypes = {"auto": "auto", "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        where = {"device_map": self.config.device_map} if self.config.device_map is not None else {}
        try:
            with quiet():
                about = AutoConfig.from_pretrained(self.folder, local_files_only=True)
                kind: Any = AutoModelForSeq2SeqLM if about.is_encoder_decoder else AutoModelForCausalLM
                model = kind.from_pretrained(
                    self.folder, local_files_only=True, use_safetensors=True, dtype=dtypes[self.config.dtype], **where
                )
                tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, ImportError, KeyError, SafetensorError, RuntimeError) as error:
            raise ConfigError(f"local model {self.name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
        if not where:
            model.to(device_of(self.config.device))
        return model.eval(), tokenizer


def find_language_model(name: str) -> Path:
    """The folder of a model: a local one, or one in the hub's cache, or fetched from the hub.

    Raises: ConfigError: it is nowhere to be found, or has no safetensors weights (pickled ones are never loaded).
    """
    from huggingface_hub import snapshot_download

    folder = Path(name).expanduser()
    if not folder.is_dir():
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ConfigError(f"local model {name!r}: there is no such folder")
        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except Exception:  # not in the cache; the hub's client raises its own errors, httpx's and the system's
            try:
                folder = Path(snapshot_download(name, allow_patterns=[*WANTED, "*.jinja"], ignore_patterns=UNWANTED))
            except Exception as error:
                raise ConfigError(
                    f"local model {name!r} is not a local folder and not in the hub's cache, and the hub did not give "
                    f"it ({type(error).__name__}): check the name, or give the folder of a copy"
                ) from error
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ConfigError(f"local model {name!r} is an adapter only: merge it into its model and give that folder")
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"local model {name!r}: {folder} holds no config.json with safetensors weights; save a model there with "
            "save_pretrained"
        )
    return folder
