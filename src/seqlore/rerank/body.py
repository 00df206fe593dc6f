"""The transformer body that the retriever starts from: the first blocks of a BERT encoder, read from safetensors.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019
(10.18653/v1/N19-1423). Only self-attention, feed-forward and their norms are taken; embeddings and pooler are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from seqlore.errors import ConfigError
from seqlore.text.locate import find_model

#: Of BERT's layer norms.
EPSILON = 1e-12
#: The name of no body.
RANDOM = "random"
#: What the first checkpoints of BERT, google-bert/bert-base-uncased among them, call a layer norm's parameters.
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
#: Of each block, with ``weight`` and ``bias``.
PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


@dataclass(frozen=True)
class Body:
    """Shape, and weights where there are some.

    Attributes: blocks: one a block, BERT's names below ``encoder.layer.N.`` → tensors; () = start at random.
    """

    width: int
    heads: int
    inner: int
    blocks: tuple[dict[str, Tensor], ...] = ()

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"a retriever of width {self.width} cannot have {self.heads} heads: one must divide it")

    @classmethod
    def read(cls, name: str, layers: int) -> Body:
        """The first ``layers`` blocks of the encoder ``name``, found as :func:`seqlore.text.locate.find_model` does.

        Raises: ConfigError: it is not found, no BERT, has fewer blocks, or one of them is not whole.
        """
        folder = _transformer(find_model(name), name)
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if settings.get("model_type") != "bert" or settings.get("hidden_act", "gelu") != "gelu":
            raise ConfigError(
                f"retriever body {name!r} is {settings.get('model_type')!r} and not a BERT with gelu; name another, or "
                f"{RANDOM!r}"
            )
        if settings["num_hidden_layers"] < layers:
            raise ConfigError(
                f"retriever body {name!r} has {settings['num_hidden_layers']} blocks, fewer than layers = {layers}"
            )
        blocks = tuple(_block(folder, number) for number in range(layers))
        for number, block in enumerate(blocks):
            for name_of in (f"{part}.{kind}" for part in PARTS for kind in ("weight", "bias")):
                if name_of not in block:
                    raise ConfigError(
                        f"retriever body {name!r}: block {number} has no {name_of!r} in {folder}; name another, or "
                        f"{RANDOM!r}"
                    )
        return cls(settings["hidden_size"], settings["num_attention_heads"], settings["intermediate_size"], blocks)


def _transformer(folder: Path, name: str) -> Path:
    """The folder with the weights: a sentence-transformers folder may hold its transformer in one below."""
    below: Iterable[Path] = sorted(each for each in folder.iterdir() if each.is_dir())
    for each in (folder, *below):
        if (each / "config.json").is_file() and any(each.glob("*.safetensors")):
            return each
    raise ConfigError(f"retriever body {name!r}: no transformer with config.json and safetensors weights in {folder}")


def _block(folder: Path, number: int) -> dict[str, Tensor]:
    inside, found = f"encoder.layer.{number}.", {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 — no mapping
                if (at := key.find(inside)) >= 0:
                    part = key[at + len(inside) :]
                    for old, new in LEGACY.items():
                        part = part.replace(old, new)
                    found[part] = file.get_tensor(key).to(torch.float32)
    return found
