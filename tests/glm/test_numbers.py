"""Numbers as tokens: one each, near ones alike, in every body; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from seqlore.glm.causal import load_causal
from seqlore.glm.marks import make_tokenizer
from seqlore.glm.model import GLM, GLMConfig
from seqlore.glm.numbers import smooth_rows
from seqlore.glm.texts import Entity, Writer

NUMBERS = [f"{n / 10}" for n in range(-5, 6)]
TEXTS = ["How many stars will it get? It has -0.4 and 0.4 on average."] * 3


def test_a_number_is_one_token_where_it_is_an_entity():
    plain = Writer(make_tokenizer(TEXTS, 300))
    writer = Writer(plain.tokenizer, NUMBERS)
    assert writer.size == plain.size + len(NUMBERS)
    assert [writer.entity(n).tolist() for n in NUMBERS] == [[plain.size + i] for i in range(len(NUMBERS))]
    assert len(plain.entity("-0.4")) > 1
    text = ("It has ", Entity("-0.4"), " and 0.4 or ", Entity("0.44"))
    digits, token = plain.entity("-0.4").tolist(), writer.entity("-0.4").tolist()
    (spelled, _), (told, _) = (each.write([text]) for each in (plain, writer))
    at = told.tokens.tolist().index(token[0])
    assert spelled.tokens.tolist() == [*told.tokens[:at], *digits, *told.tokens[at + 1 :]], "words stay what they are"


def test_near_numbers_start_alike_and_the_other_rows_stay():
    torch.manual_seed(0)
    body = GLM(GLMConfig(vocab_size=300, hidden_size=64, num_layers=1, num_attention_heads=2))
    before = body.word_embeddings.weight.detach().clone()
    table = body.widen(300 + 91)
    smooth_rows(table, 300, 91, seed=3)
    assert body.size == body.config.vocab_size == 391
    assert torch.equal(table[:300], before)
    rows = (table[300:].detach() - before.mean(0)) / before.std(0)
    assert float(rows.std()) == pytest.approx(1.0, abs=0.1)
    alike = [float((rows[n:] * rows[: 91 - n]).mean()) for n in (1, 6, 40)]
    assert alike == pytest.approx([0.99, 0.78, 0.0], abs=0.1)
    assert table.requires_grad
    assert body.widen(200) is body.word_embeddings.weight, "a table never shrinks"
    again = GLM.from_head(body.head())
    again.load_state_dict(body.state_dict())


def test_a_causal_model_is_widened_with_its_output(tmp_path: Path):
    tokenizer = make_tokenizer(TEXTS, 300)
    config = GPT2Config(vocab_size=tokenizer.get_vocab_size(), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    body, tokenizer = load_causal(tmp_path)
    first = body.size
    smooth_rows(body.widen(first + len(NUMBERS)), first, len(NUMBERS), seed=0)
    ids = torch.tensor([[1, first, first + 5]])
    hidden = body(ids, torch.ones_like(ids), torch.ones_like(ids), torch.ones(1, 3, 3, dtype=torch.bool))
    assert body.logits(hidden).shape == (1, 3, first + len(NUMBERS))
    assert not torch.equal(hidden[0, 1], hidden[0, 2])
