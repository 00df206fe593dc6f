"""GLM weights from a folder: those that :meth:`GLM.save` wrote, and the original checkpoints as they are published.

The original names (``glm.transformer.layers.0.attention.query_key_value.weight`` as transformers has them,
``module.transformer.…`` in the authors' own files) are ours behind a prefix; shapes are the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from seqlore.errors import ConfigError
from seqlore.glm.model import GLM, GLMConfig

#: What stands before our names in checkpoints, outermost first.
PREFIXES = ("module.", "model.", "glm.")


def our_name(name: str) -> str:
    """A checkpoint's name of a weight → ours."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def is_glm(folder: str | Path) -> bool:
    """Whether ``config.json`` tells of a GLM with two position ids, or is missing, so that :func:`load_glm` says so.

    GLM-4 is of the same ``model_type`` in transformers, and an ordinary causal model: it counts blocks in
    ``num_hidden_layers``, as those do.

    Raises: ConfigError: ``config.json`` cannot be read.
    """
    if not (Path(folder).expanduser() / "config.json").is_file():
        return True
    head = _head(Path(folder).expanduser())
    return "block_position_encoding" in head or (
        head.get("model_type", "glm") == "glm" and "num_hidden_layers" not in head
    )


def _head(folder: Path) -> dict[str, Any]:
    try:
        head = json.loads((folder / "config.json").read_text("utf-8"))
        if isinstance(head, dict):
            return head
        fault: object = "no object"
    except (OSError, ValueError) as error:
        fault = error
    raise ConfigError(f"{folder / 'config.json'}: damaged ({fault}); get it anew from where the model is from")


def load_glm(folder: str | Path) -> GLM:
    """A GLM, on the CPU, in eval mode.

    Raises: ConfigError: the folder holds no GLM, a file of it is damaged, its weights are pickled, or they do not fit
        its ``config.json``.
    """
    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no config.json there; name the folder of a GLM, or leave it out to train one")
    head = _head(folder)
    if not head.get("block_position_encoding", False) or head.get("relative_encoding", False):
        raise ConfigError(f"{folder}: no GLM with two position ids a token (config.json: block_position_encoding)")
    config = GLMConfig.parse({k: v for k, v in head.items() if k in GLMConfig.model_fields}, str(folder))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(f"{folder}: no .safetensors there; convert the weights first (pickled ones are not loaded)")
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights |= {our_name(name): weight for name, weight in load_file(file).items()}
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{file}: damaged ({error}); get it anew from where the model is from") from error
    with torch.device("meta"):
        model = GLM(config)
    expected = {name: tuple(w.shape) for name, w in model.state_dict().items()}
    found = {name: tuple(w.shape) for name, w in weights.items() if name in expected}
    if found != expected:
        name = min(k for k in expected if found.get(k) != expected[k])
        raise ConfigError(
            f"{folder}: weight {name} should have shape {expected[name]} and has {found.get(name, 'not been found')}; "
            "config.json and weights belong to different models"
        )
    model.load_state_dict({name: weights[name].float() for name in expected}, assign=True)
    return model.requires_grad_(True).eval()
