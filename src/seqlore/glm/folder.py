"""A body, its tokenizer and the users' features as tensors by name, so that one file and one digest hold them all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqlore.glm.model import GLM
from seqlore.glm.texts import Entity, Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = "weights/"


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _text(tensor: Tensor) -> str:
    return tensor.cpu().numpy().tobytes().decode()


def body_state(body: Any, tokenizer: Tokenizer, users: list[Text]) -> dict[str, Tensor]:
    """Everything as tensors. Tied weights are written once."""
    told = [[[p.text] if isinstance(p, Entity) else p for p in user] for user in users]
    weights, seen = {}, set()
    for name, weight in body.state_dict().items():
        if weight.data_ptr() not in seen:
            weights[WEIGHTS + name] = weight
        seen.add(weight.data_ptr())
    texts = {"head": body.head(), "tokenizer": tokenizer.to_str(), "users": json.dumps(told)}
    return {**weights, **{name: _bytes(text) for name, text in texts.items()}}


def saved_body(state: dict[str, Tensor]) -> tuple[Any, Tokenizer, list[Text]]:
    """What :func:`body_state` was given."""
    from tokenizers import Tokenizer

    from seqlore.glm.causal import CausalBody

    head = _text(state["head"])
    body = GLM.from_head(head) if "model_type" not in json.loads(head) else CausalBody.from_head(head)
    weights = {name.removeprefix(WEIGHTS): w for name, w in state.items() if name.startswith(WEIGHTS)}
    body.load_state_dict(weights, strict=isinstance(body, GLM))  # tied weights of others have one name here
    tokenizer = Tokenizer.from_str(_text(state["tokenizer"]))
    tokenizer.encode_special_tokens = True
    rows = json.loads(_text(state["users"]))
    return body, tokenizer, [tuple(Entity(p[0]) if isinstance(p, list) else p for p in row) for row in rows]
