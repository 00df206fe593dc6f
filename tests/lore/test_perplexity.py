"""Perplexity against hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from seqlore.data import Sequences
from seqlore.lore.perplexity import perplexities, surprise
from seqlore.lore.tokenizer import encode, token_bytes, train_tokenizer


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return LlamaForCausalLM(LlamaConfig(vocab_size=8, max_position_embeddings=32, initializer_range=0.5, **size)).eval()


def test_surprise_is_that_of_each_document_by_itself() -> None:
    net, lists = model(), [[1, 5, 6, 2], [1, 7, 2], [1, 3, 3, 4, 5, 6, 7, 2]]
    found = surprise(net, Sequences.from_lists(lists))
    at = 0
    for document in lists:
        with torch.inference_mode():
            chances = net(torch.tensor([document])).logits[0].log_softmax(-1)
        expected = [0.0, *(-chances[i, t].item() for i, t in enumerate(document[1:]))]
        assert found[at : at + len(document)] == pytest.approx(expected, abs=1e-5)
        at += len(document)


def test_perplexity_by_hand() -> None:
    net = model()
    torch.nn.init.zeros_(net.lm_head.weight)  # every token is as likely as another: 1 in 8
    held = {
        "x": Sequences.from_lists([[1, 5, 6, 2]]),
        "empty": Sequences.from_lists([]),
        "y": Sequences.from_lists([[1, 5, 2]]),
    }
    learned = np.array([1, 5, 5, 2, 1, 6, 2])  # with one more each, of 15: 1: 3, 2: 3, 5: 3, 6: 2
    sizes = np.array([0, 0, 0, 1, 1, 2, 3, 1])
    total, x, y = perplexities(net, held, learned, sizes)
    assert (total.corpus, x.corpus, y.corpus) == ("all", "x", "y")
    assert (total.documents, total.tokens, total.bytes) == (2, 5, 7)
    assert (x.documents, x.tokens, x.bytes) == (1, 3, 5)
    assert total.token == pytest.approx(8)
    assert y.token == pytest.approx(8)
    assert x.byte == pytest.approx(8 ** (3 / 5))
    assert x.unigram_token == pytest.approx((15 / 3 * 15 / 2 * 15 / 3) ** (1 / 3))
    assert y.unigram_byte == pytest.approx(math.sqrt(15 / 3 * 15 / 3))


TOKENIZER = train_tokenizer(["rose soap rose soap", "rose oil rose oil", "soap oil"], 300)


@given(st.text())
def test_every_text_is_written_in_tokens_that_know_their_bytes(text: str) -> None:
    (ids,) = [each.tolist() for each in encode(TOKENIZER, [text])]
    assert (ids[0], ids[-1]) == (1, 2)
    assert TOKENIZER.decode(ids[1:-1], skip_special_tokens=False) == text
    assert token_bytes(TOKENIZER)[ids].sum() == len(text.encode())


def test_the_names_of_special_tokens_are_only_text() -> None:
    (ids,) = encode(TOKENIZER, ["<s>a</s><pad>"])
    assert not {0, 1, 2} & set(ids[1:-1].tolist())
