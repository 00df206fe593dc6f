"""GLM weights from a folder: those that :meth:`GLM.save` wrote, and the original checkpoints as they are published.

The original names (``glm.transformer.layers.0.attention.query_key_value.weight`` as transformers has them,
``module.transformer.…`` in the authors' own files) are ours behind a prefix; shapes are the same.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
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
    """Whether ``config.json`` names a GLM, or is missing, so that :func:`load_glm` tells what is wrong."""
    path = Path(folder).expanduser() / "config.json"
    return not path.is_file() or json.loads(path.read_text()).get("model_type", "glm") == "glm"


def load_glm(folder: str | Path) -> GLM:
    """A GLM, on the CPU, in eval mode.

    Raises: ConfigError: the folder holds no GLM, its weights are pickled, or they do not fit its ``config.json``.
    """
    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no config.json there; name the folder of a GLM, or leave it out to train one")
    head = json.loads((folder / "config.json").read_text())
    if not head.get("block_position_encoding", False) or head.get("relative_encoding", False):
        raise ConfigError(f"{folder}: no GLM with two position ids a token (config.json: block_position_encoding)")
    config = GLMConfig.parse({k: v for k, v in head.items() if k in GLMConfig.model_fields}, str(folder))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(f"{folder}: no .safetensors there; convert the weights first (pickled ones are not loaded)")
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= {our_name(name): weight for name, weight in load_file(file).items()}
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
