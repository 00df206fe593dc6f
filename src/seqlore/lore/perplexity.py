"""Perplexity of a causal language model on documents, a token and a byte, beside a unigram model's.

A token's perplexity is exp of the mean negative log-likelihood of all tokens but the first of a document (its start).
It depends on how the tokenizer cuts the text; a byte's, exp of the same sum over the bytes of the text, does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from seqlore.data.sequences import Sequences
from seqlore.training.batches import plan

#: Tokens of a batch, padding counted.
BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well documents are predicted. The unigram model knows only how frequent each token was in training.

    Attributes:
        corpus: whose documents, or "all". documents, tokens, bytes: how many were predicted; the end of a document
            is a token. token, byte: perplexity. unigram_token, unigram_byte: that of the unigram model.
    """

    corpus: str
    documents: int
    tokens: int
    bytes: int
    token: float
    byte: float
    unigram_token: float
    unigram_byte: float


@torch.inference_mode()
def surprise(model: Any, documents: Sequences) -> NDArray[np.float64]:
    """float64 [m], aligned with ``documents.items``: −log p(token | tokens before it in its document), 0 for the first.

    Args: model: a causal model of transformers. documents: token ids > 0, none longer than the model's context.
    """
    result = np.zeros(len(documents.items))
    places = Sequences(np.arange(len(documents.items), dtype=np.int32), documents.offsets)
    places = places.slice(documents.offsets[:-1] + 1, documents.offsets[1:])
    for index in plan(documents.lengths, BATCH_TOKENS, None):
        ids = torch.from_numpy(documents.take(index).padded().astype(np.int64)).to(model.device)  # [B, T], 0 pads
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # [B, T - 1, vocabulary]
        losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        result[places.take(index).items] = losses[ids[:, 1:].flatten() > 0].double().cpu().numpy()
    return result


def perplexities(
    model: Any, held: dict[str, Sequences], learned: NDArray[np.integer], token_bytes: NDArray[np.int64]
) -> list[Perplexity]:
    """Of all held-out documents together, and of each corpus that has some.

    Args: held: corpus → documents. learned: the tokens trained on. token_bytes: [vocabulary], text bytes of a token.
    """
    counts = np.bincount(learned, minlength=len(token_bytes)) + 1.0  # one more each: a token unseen is not impossible
    unigram = -np.log(counts / counts.sum())
    parts = {name: documents for name, documents in held.items() if len(documents)}
    everything = Sequences.concat(parts.values())
    own = surprise(model, everything)
    first = np.zeros(len(own), bool)
    first[everything.offsets[:-1]] = True
    base = np.where(first, 0.0, unigram[everything.items])

    def measure(name: str, start: int, stop: int) -> Perplexity:
        at = slice(int(everything.offsets[start]), int(everything.offsets[stop]))
        tokens, size = int((~first[at]).sum()), int(token_bytes[everything.items[at]].sum())

        def mean(values: NDArray[np.float64], of: int) -> float:
            return math.exp(values[at].sum() / of)

        return Perplexity(
            name, stop - start, tokens, size, mean(own, tokens), mean(own, size), mean(base, tokens), mean(base, size)
        )

    ends = np.cumsum([len(documents) for documents in parts.values()]).tolist()
    each = [measure(name, start, stop) for name, start, stop in zip(parts, [0, *ends], ends, strict=False)]
    return [measure("all", 0, len(everything)), *each]
