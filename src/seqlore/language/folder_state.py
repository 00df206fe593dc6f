"""A language model inside a Seqlore model folder: the files of an ordinary Hugging Face folder, as tensors.

Weights keep their names; every other file (config.json, tokenizer.json, …) becomes its bytes. So one digest covers all
of it, and nothing but safetensors is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqlore.text.quiet import quiet

WEIGHTS, FILES = "weights/", "files/"


def to_state(model: Any, tokenizer: Any) -> dict[str, Tensor]:
    """A model and tokenizer of transformers as tensors by name."""
    state: dict[str, Tensor] = {}
    with TemporaryDirectory() as folder:
        with quiet():
            model.save_pretrained(folder)  # knows which weights are tied, and writes them once
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            if path.suffix == ".safetensors":
                state |= {WEIGHTS + name: weight for name, weight in load_file(path).items()}
            elif not path.name.endswith(".index.json"):  # shards are joined again
                state[FILES + path.name] = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    return state


@contextmanager
def as_folder(state: dict[str, Tensor]) -> Iterator[Path]:
    """The folder that :func:`to_state` read, for as long as it is needed; other tensors are passed over."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        weights = {name.removeprefix(WEIGHTS): w for name, w in state.items() if name.startswith(WEIGHTS)}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        for name, content in state.items():
            if name.startswith(FILES):
                (folder / Path(name).name).write_bytes(content.numpy().tobytes())
        yield folder
