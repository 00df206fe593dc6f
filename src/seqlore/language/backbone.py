"""A frozen causal language model that is fed vectors instead of words.

The body keeps no weight gradients and no optimiser state, yet gradients cross it on their way to the vectors that
went in. It stands outside the module tree of the net that uses it, so that snapshots, checkpoints and saved folders
hold what was trained and nothing else; ``trained`` are the weights of an adapter, or of the whole body where it is
tuned. Sequences are padded on the right, where a causal body never looks: no mask is made, and what else is in a
batch changes nothing (but under 8-bit weights, whose kernels scale by all that they are given).

Any Hugging Face causal model by folder or hub name; weights are read from safetensors only. Words go in through the
model's own embedding module, and logits come out with its own scale and cap; that this is the model itself is tried out
once on a few words (:meth:`Backbone.check_vectors`).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqlore.errors import ConfigError
from seqlore.language.loading import (
    BackboneConfig,
    check_here,
    checkpointed,
    digest,
    locate,
    open_shared,
    opened,
    tuned,
)
from seqlore.language.prefixes import prefix_row, prefix_rows
from seqlore.text.encodable import encodable

#: Of a model's settings, what its logits are multiplied by (Cohere, Falcon-H1) and divided by (Granite).
TIMES, OVER = ("logit_scale", "lm_head_multiplier"), ("logits_scaling",)
#: How far logits may be from the model's own, as a share of the largest, by type or quantisation: LLM.int8() chooses
#: the columns that it keeps whole by all that it is given, so shorter inputs come out otherwise.
CLOSE = {"fp32": 1e-3, "bf16": 0.05, "8bit": 0.1, "4bit": 0.1}
#: What families raise that are tried out with a cache, or with masks and positions, and have theirs in another way.
UNABLE = (AttributeError, TypeError, ValueError, RuntimeError)


class Backbone:
    """A causal model between vectors: [B, T, d] in, hidden states [B, T, d] out.

    Attributes:
        trained: the weights of the body that learn, by name; empty where it is frozen.
        identity: name, revision and digest, for the model folder. folder: where its files lie.
        width: d. size: rows of the word table.
        logit_scale: what the product of a state and a row of the head is multiplied by. cap: c in c·tanh(logit / c).
    """

    def __init__(self, config: BackboneConfig, *, seed: int = 0) -> None:
        """Args: seed: of random weights and of an adapter. Raises: ConfigError, MissingExtraError: see :func:`load`."""
        check_here(config)
        folder, commit = locate(config)
        self.config = config
        self.identity = {"name": config.name, "revision": commit, "digest": digest(folder)}
        self.folder = folder
        fixed = config.model_copy(update={"name": "", "revision": None, "any_corpus": False})
        shared = config.tune == "none" and not config.gradient_checkpointing
        # A frozen body never changes, so every model of a run may read the same one.
        draw = seed if config.weights == "random" else 0
        open_ = open_shared if shared else opened
        self.model, self.tokenizer = open_(str(folder), self.identity["digest"], fixed, draw)  # type: ignore[arg-type]
        self.trained = tuned(self.model, config, seed)
        self.decoder: nn.Module = self.model.get_decoder()
        self._layers = checkpointed(self.model) if config.gradient_checkpointing else []
        self._fixed_place = config.device_map is not None or config.quantize is not None
        told = self.model.config
        self.logit_scale, self.cap = 1.0, getattr(told, "final_logit_softcapping", None)
        for name in (*TIMES, *OVER):
            if (scale := getattr(told, name, None)) is not None:
                self.logit_scale *= scale if name in TIMES else 1 / scale
        self._kind: str = config.quantize or config.dtype
        self._packs: bool | None = None
        self._caches = "past_key_values" in inspect.signature(self.decoder.forward).parameters

    @property
    def words(self) -> Tensor:
        """The table of words, [size, d]; what goes in is :meth:`embed`, which may be a multiple of it (Gemma)."""
        return self.model.get_input_embeddings().weight

    def embed(self, tokens: Tensor) -> Tensor:
        """Words [...] → the vectors that the body reads, [..., d], where the body is and in its type."""
        return self.model.get_input_embeddings()(tokens.to(self.words.device))

    @torch.no_grad()
    def item_scale(self) -> float:
        """What ⟨state, input vector⟩ is multiplied by to be a logit as the head makes them of words: its scale, over
        that of the input vectors. 1 for Llama and most others."""
        some = torch.arange(0, self.size, max(1, self.size // 64), device=self.words.device)
        input_scale = self.embed(some).float().norm() / self.words[some].float().norm()
        return self.logit_scale / round(float(input_scale), 4) if input_scale > 0 else self.logit_scale

    @property
    def size(self) -> int:
        return len(self.words)

    @property
    def width(self) -> int:
        return self.words.shape[1]

    @property
    def positions(self) -> int | None:
        """The most tokens that it reads; None where nothing limits them."""
        return getattr(self.model.config, "max_position_embeddings", None)

    def check_length(self, positions: int, why: str) -> None:
        """Raises: ConfigError: the body cannot read so many; ``why`` names the settings that ask for them."""
        if self.positions is not None and positions > self.positions:
            raise ConfigError(
                f"{why} needs {positions} positions, and backbone {self.config.name!r} reads {self.positions}: lower it"
            )

    def vocabulary_mean(self) -> tuple[Tensor, float]:
        """(mean of the words' input vectors [d], standard deviation of their entries around it), in fp32."""
        with torch.no_grad():
            words = self.embed(torch.arange(self.size)).float().cpu()
        mean = words.mean(0)
        return mean, float((words - mean).square().mean().sqrt())

    def place(self, device: torch.device) -> None:
        """Go where the net is, unless a device map or a quantised load has fixed the place."""
        if not self._fixed_place and self.words.device != device:
            self.model.to(device)

    def train(self, mode: bool) -> None:
        """Dropout where weights learn; a frozen body has none."""
        if self.config.tune == "full":
            self.model.train(mode)
        for name, module in self.model.named_modules():
            if "lora_dropout" in name:
                module.train(mode)

    def hidden(self, vectors: Tensor, prefix: Any = None, places: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Hidden states [B, T, d] in fp32 for [B, T, d] after ``prefix``, on the device of ``vectors``.

        Args: places: (which positions each one sees, bool [B, T, T], and where each stands, int64 [B, T]) in place of
            the usual order, where the body :meth:`packs`.
        """
        for layer in self._layers:
            layer.training = torch.is_grad_enabled()
        front = 0
        if isinstance(prefix, Tensor):
            front = len(prefix)
            vectors = torch.cat([prefix.to(vectors).expand(len(vectors), -1, -1), vectors], 1)
            prefix = None
        options: dict[str, Any] = {"use_cache": False}
        if prefix is not None:
            prefix = copy.deepcopy(prefix)  # the body appends to what it is given
            prefix.batch_repeat_interleave(len(vectors))
            options = {"use_cache": True, "past_key_values": prefix}
        if places is not None:
            seen = torch.zeros(places[0].shape, dtype=self.words.dtype, device=self.words.device)
            seen.masked_fill_(~places[0].to(seen.device), torch.finfo(seen.dtype).min)
            options |= {"attention_mask": seen[:, None], "position_ids": places[1].to(seen.device)}
        out = self.decoder(inputs_embeds=vectors.to(self.words.device, self.words.dtype), **options)
        return out.last_hidden_state[:, front:].to(vectors.device, torch.float32)

    @torch.no_grad()
    def packs(self, positions: int) -> bool:
        """Whether rows of up to ``positions`` may say who sees whom, and where each stands; tried out once."""
        window = getattr(self.model.config, "sliding_window", None)
        if window is not None and window < positions:
            return False
        if self._packs is None:
            items = np.arange(3) % self.size
            cuts = np.array([1, 3])
            rows = prefix_rows([prefix_row([], items, cuts, cuts, [self.size - 1])])  # three items, a word a cut
            vectors = self.embed(rows.tokens)
            alone = torch.stack([self.hidden(vectors[:, [*range(cut), 3]])[0, -1] for cut in cuts])
            try:
                both = self.hidden(vectors, places=(rows.mask(), rows.positions))[0, 3:]
                self._packs = bool((both - alone).abs().max() <= CLOSE[self._kind] * alone.abs().max())
            except UNABLE:
                self._packs = False
        return self._packs

    @torch.no_grad()
    def prefix(self, tokens: Tensor) -> Any:
        """What all rows begin with, ``tokens`` [P], computed once: keys and values, or, of a body that keeps none
        (Mamba), the vectors [P, d], which every row then carries itself; None where P = 0."""
        if not len(tokens):
            return None
        for layer in self._layers:
            layer.training = False
        vectors = self.embed(tokens)
        if not self._caches:
            return vectors
        return self.decoder(inputs_embeds=vectors[None], use_cache=True).past_key_values

    def word_logits(self, hidden: Tensor) -> Tensor:
        """[M, d] → [M, size] in fp32. Ask only for positions that a loss or a decoder reads."""
        head = self.model.get_output_embeddings()
        logits = head(hidden.to(self.words.device, self.words.dtype)).to(hidden.device, torch.float32)
        if self.logit_scale != 1:
            logits = logits * self.logit_scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    @torch.no_grad()
    def check_vectors(self) -> None:
        """Try on a few words whether vectors in and states out are the model itself; one whose cache does not give that
        is used without.

        Raises: ConfigError: logits are not the model's own, a state depends on what stands to its right, or no gradient
            comes back to what went in.
        """
        tokens = torch.linspace(0, self.size - 1, 6, dtype=torch.int64)[None].to(self.words.device)
        own = self.model(input_ids=tokens, use_cache=False).logits[0].float()
        vectors, close = self.embed(tokens), CLOSE[self._kind]

        def same(states: Tensor, logits: Tensor) -> bool:
            return bool((self.word_logits(states) - logits).abs().max() <= close * logits.abs().max().clamp_min(1e-6))

        whole = self.hidden(vectors)[0]
        if not same(whole, own) or not same(self.hidden(vectors[:, :3])[0], own[:3]):
            raise ConfigError(
                f"backbone {self.config.name!r}: fed vectors, it does not say what it says of the words themselves "
                f"({type(self.model).__name__}); take a causal model that can be, such as Llama or Qwen"
            )
        self._check_gradient(vectors)
        if self._caches:
            try:
                self._caches = same(self.hidden(vectors[:, 3:], self.prefix(tokens[0, :3]))[0], own[3:])
            except UNABLE:
                self._caches = False

    @torch.enable_grad()
    def _check_gradient(self, vectors: Tensor) -> None:
        """Some kernels for quantised weights lose it, and a frozen body would teach its ids nothing."""
        fed = vectors.detach().float().requires_grad_()
        # No plain sum: after a layer norm that is a constant, as the sum of squares is after an RMS norm.
        (back,) = torch.autograd.grad(self.hidden(fed)[0, -1] @ torch.linspace(-1, 1, self.width).to(fed), fed)
        if not (back[0, 0].abs().max() > 0):
            raise ConfigError(
                f"backbone {self.config.name!r}: no gradient comes back through it to the first of a few words, so "
                f"nothing could be learned (quantize = {self.config.quantize!r}); load it without quantize"
            )

    def write(self, vectors: Tensor, max_tokens: int) -> list[str]:
        """Texts that follow [B, T, d], the likeliest word each time, [B]."""
        from transformers import GenerationConfig

        end = self.tokenizer.eos_token_id
        how = GenerationConfig(
            do_sample=False, max_new_tokens=max_tokens, eos_token_id=end, pad_token_id=0 if end is None else end
        )
        fed = vectors.to(self.words.device, self.words.dtype)
        mask = torch.ones(fed.shape[:2], dtype=torch.int64, device=fed.device)
        written = self.model.generate(inputs_embeds=fed, attention_mask=mask, generation_config=how)
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def encode(self, text: str) -> list[int]:
        """Word tokens of a text, no special ones."""
        # Without warnings: length is the caller's affair.
        return self.tokenizer.encode(encodable(text), add_special_tokens=False, verbose=False)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of word tokens, without special ones."""
        return self.tokenizer.decode([int(t) for t in tokens], skip_special_tokens=True).strip()

    @property
    def begin(self) -> list[int]:
        """The token that begins a text, as the tokenizer sets it; [] for families that have none (Qwen, …)."""
        first = self.tokenizer("").input_ids[:1]
        return first if first and first[0] == self.tokenizer.bos_token_id else []
