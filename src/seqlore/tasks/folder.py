"""A fitted task model as a folder: ``config.json`` with its settings and words, ``model.safetensors`` with the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqlore.errors import DataError
from seqlore.version import __version__


def as_bytes(text: str) -> Tensor:
    """A text among tensors."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def as_text(tensor: Tensor) -> str:
    """And back."""
    return tensor.cpu().numpy().tobytes().decode()


def write_folder(folder: str | Path, model: str, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write both files, ``config.json`` last and in one step, so that where it is the folder is whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    head = {"seqlore": __version__, "task_model": model, **told}
    (folder / "config.json.part").write_text(json.dumps(head, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(folder / "config.json.part", folder / "config.json")
    return folder


def read_folder(folder: str | Path, model: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(what was told, tensors).

    Raises: DataError: there is no such model in the folder, or its files are damaged.
    """
    folder = Path(folder).expanduser()
    try:
        told = json.loads((folder / "config.json").read_text("utf-8"))
        kind, tensors = told["task_model"], load_file(folder / "model.safetensors")
    except OSError as error:
        raise DataError(f"{folder}: no saved {model} there ({error.strerror}); save one with model.save") from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: damaged, or no saved {model} ({error}); save it again") from error
    if kind != model:
        raise DataError(f"{folder}: a saved {kind}, and a {model} is asked for")
    return told, tensors
