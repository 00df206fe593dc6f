"""A GLM, its tokenizer and the users' features as tensors by name, so that one file and one digest hold them all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqlore.glm.model import GLM, GLMConfig
from seqlore.glm.texts import Entity, Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = "weights/"


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _text(tensor: Tensor) -> str:
    return tensor.cpu().numpy().tobytes().decode()


def glm_state(body: GLM, tokenizer: Tokenizer, users: list[Text]) -> dict[str, Tensor]:
    """Everything as tensors."""
    told = [[[p.text] if isinstance(p, Entity) else p for p in user] for user in users]
    return {
        **{WEIGHTS + name: weight for name, weight in body.state_dict().items()},
        "config": _bytes(body.config.model_dump_json()),
        "tokenizer": _bytes(tokenizer.to_str()),
        "users": _bytes(json.dumps(told)),
    }


def saved_glm(state: dict[str, Tensor]) -> tuple[GLM, Tokenizer, list[Text]]:
    """What :func:`glm_state` was given."""
    from tokenizers import Tokenizer

    with torch.device("meta"):
        body = GLM(GLMConfig(**json.loads(_text(state["config"]))))
    weights = {name.removeprefix(WEIGHTS): w for name, w in state.items() if name.startswith(WEIGHTS)}
    body.load_state_dict(weights, assign=True)
    tokenizer = Tokenizer.from_str(_text(state["tokenizer"]))
    tokenizer.encode_special_tokens = True
    users = [
        tuple(Entity(p[0]) if isinstance(p, list) else p for p in user) for user in json.loads(_text(state["users"]))
    ]
    return body, tokenizer, users
