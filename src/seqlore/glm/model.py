"""GLM: one stack of transformer blocks, bidirectional over part A, causal over part B, with two position ids a token.

Du et al., "GLM: General Language Model Pretraining with Autoregressive Blank Infilling", ACL 2022 (arXiv 2103.10360),
as published under THUDM/GLM. A row is part A, the text with its blanks as [MASK], then part B, the blanks'
contents, each behind a start mark: a token of A sees all of A, a token of B sees A and what stands before it in B.
``inter`` is the place in the corrupted text, ``intra`` that within the blank; both have learned tables, one row longer
than the longest sequence. Names and shapes of weights are those of the original checkpoints: query, key and value are
the three thirds of ``query_key_value``, norms stand before their sublayers, words are tied, GELU is the tanh formula.

Differs: attention is PyTorch's fused one, so the original's ``attention_scale``, which divides and multiplies by one
number for the sake of fp16, has no place in it; keys and values are cached, where the original caches hidden states.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from seqlore.config import Config

#: Layers of a block that an adapter is put on (Chu et al., section "Implementation").
LORA_TARGETS = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")


class GLMConfig(Config):
    """Shape of a GLM, in the words of the original's ``config.json``."""

    vocab_size: int = Field(ge=1, description="Rows of the word table.")
    hidden_size: int = Field(default=128, ge=1, description="Width d.")
    num_layers: int = Field(default=4, ge=1, description="Blocks.")
    num_attention_heads: int = Field(default=4, ge=1, description="Heads; they divide the width.")
    max_sequence_length: int = Field(
        default=512, ge=1, description="Largest position id; tokens of A, or of one blank."
    )
    embedding_dropout_prob: float = Field(default=0.1, ge=0, lt=1, description="Dropout on the input.")
    attention_dropout_prob: float = Field(default=0.1, ge=0, lt=1, description="Dropout on attention weights.")
    output_dropout_prob: float = Field(default=0.1, ge=0, lt=1, description="Dropout after each sublayer.")
    layernorm_epsilon: float = Field(default=1e-5, gt=0, description="Of all norms.")
    initializer_range: float = Field(
        default=0.02, gt=0, description="Standard deviation of weights that start at random."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> GLMConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not divide a width of {self.hidden_size}")
        return self


class Cache:
    """Keys and values of what was read, a pair [B, heads, T, d / heads] a layer."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append to a layer; returns all of it."""
        if layer == len(self.layers):
            self.layers.append((key, value))
        else:
            k, v = self.layers[layer]
            self.layers[layer] = torch.cat([k, key], 2), torch.cat([v, value], 2)
        return self.layers[layer]

    def select(self, rows: Tensor) -> Cache:
        """The cache of these rows (indices, which may repeat, or a mask)."""
        chosen = Cache()
        chosen.layers = [(k[rows], v[rows]) for k, v in self.layers]
        return chosen


class SelfAttention(nn.Module):
    """Multi-head attention with one product for query, key and value."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout_prob
        self.query_key_value = nn.Linear(d, 3 * d)
        self.dense = nn.Linear(d, d)
        self.output_dropout = nn.Dropout(config.output_dropout_prob)

    def forward(
        self, x: Tensor, mask: Tensor, layer: int, cache: Cache | None = None, at: Tensor | None = None
    ) -> Tensor:
        """x [B, T, d], mask bool [B, 1, T, all keys] → [B, T, d]; with ``at`` int64 [B, M] of these places, [B, M, d],
        and the mask has M rows."""
        # [B, T, 3d] → three of [B, heads, T, d / heads]: thirds first, heads within each third
        q, k, v = self.query_key_value(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if at is not None:
            q = q.gather(2, at[:, None, :, None].expand(-1, self.heads, -1, q.shape[-1]))
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.output_dropout(self.dense(out.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """d → 4d → d."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 4 * config.hidden_size)
        self.dense_4h_to_h = nn.Linear(4 * config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.output_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        return self.dropout(self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x), approximate="tanh")))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to its input."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)
        self.attention = SelfAttention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, mask: Tensor, layer: int, cache: Cache | None = None, at: Tensor | None = None
    ) -> Tensor:
        """[B, T, d] → [B, T, d], or [B, M, d] of the places ``at``."""
        heard = self.attention(self.input_layernorm(x), mask, layer, cache, at)
        x = (x if at is None else picked(x, at)) + heard
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):
    """Positions, blocks and the last norm."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        rows = config.max_sequence_length + 1
        self.embedding_dropout = nn.Dropout(config.embedding_dropout_prob)
        self.position_embeddings = nn.Embedding(rows, config.hidden_size)
        self.block_position_embeddings = nn.Embedding(rows, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)


class GLM(nn.Module):
    """The language model. ``forward`` gives hidden states; ``logits`` those of words, where they are wanted."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.transformer = Stack(config)
        self.apply(self._start)
        # What is added to the stream starts smaller the deeper the stack is, so that its size does not grow with it.
        deep = config.initializer_range / math.sqrt(2 * config.num_layers)
        for name, weight in self.named_parameters():
            if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
                nn.init.normal_(weight, std=deep)

    def _start(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.word_embeddings.weight.device

    @property
    def size(self) -> int:
        """Rows of the word table."""
        return self.config.vocab_size

    @property
    def longest(self) -> int:
        """Largest position id."""
        return self.config.max_sequence_length

    def widen(self, size: int) -> Tensor:
        """Give the word table ``size`` rows, the new ones at zero; returns it. A table that is as long stays."""
        if size > self.size:
            rows = F.pad(self.word_embeddings.weight.detach(), (0, 0, 0, size - self.size))
            self.word_embeddings = nn.Embedding.from_pretrained(rows, freeze=False)
            self.config = self.config.model_copy(update={"vocab_size": size})
        return self.word_embeddings.weight

    def new_cache(self) -> Cache:
        """An empty one."""
        return Cache()

    def forward(
        self,
        ids: Tensor,
        inter: Tensor,
        intra: Tensor,
        sight: Tensor,
        cache: Cache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [B, T, d], or [B, M, d] of the places ``at``.

        Args: ids, inter, intra: int64 [B, T]. sight: bool [B, T, C + T], what each token sees of what ``cache`` holds
            (C positions) and of the row itself. cache: extended by the row. at: int64 [B, M], places in the row; the
            last block computes no others.
        """
        stack = self.transformer
        x = self.word_embeddings(ids) + stack.position_embeddings(inter) + stack.block_position_embeddings(intra)
        x = stack.embedding_dropout(x)
        mask = sight[:, None]  # [B, 1, T, C + T]
        last = len(stack.layers) - 1
        for i, block in enumerate(stack.layers[:-1]):
            x = block(x, mask, i, cache)
        x = stack.layers[last](x, mask if at is None else picked(sight, at)[:, None], last, cache, at)
        return stack.final_layernorm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, d] → […, vocab_size]."""
        return F.linear(hidden, self.word_embeddings.weight)

    def head(self) -> str:
        """What must be known to build it again, as JSON."""
        return self.config.model_dump_json()

    @classmethod
    def from_head(cls, head: str) -> GLM:
        """The same with random weights."""
        return cls(GLMConfig(**json.loads(head)))

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``; returns the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        head = {"model_type": "glm", "block_position_encoding": True, **self.config.model_dump()}
        (folder / "config.json").write_text(json.dumps(head, indent=2) + "\n")
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors"
        )
        return folder


def picked(x: Tensor, at: Tensor) -> Tensor:
    """x [B, T, …] at the places int64 [B, M] → [B, M, …]."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))


def blank_sight(context: Tensor, length: int) -> Tensor:
    """bool [B, T, T]: every token sees part A (the first ``context`` [B] tokens) and no token after itself."""
    place = torch.arange(length, device=context.device)
    return (place[None, :] <= place[:, None]) | (place < context[:, None])[:, None, :]
