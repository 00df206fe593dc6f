"""Constrained decoding beside scoring every title by itself."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from seqlore.data import Sequences
from seqlore.errors import ConfigError
from seqlore.language.decoding import TrieLogitsProcessor, beam_search
from seqlore.language.trie import Trie

V, END = 12, 11
COUNTS = np.arange(40) % 5


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    if request.param == "llama":
        size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        net = LlamaForCausalLM(LlamaConfig(vocab_size=V, max_position_embeddings=64, **size))
    else:
        net = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=64))
    for p in net.parameters():  # far from uniform, or every title would be as good as the next
        p.data.mul_(3.0)
    return net.eval()


@pytest.fixture(scope="module")
def sequences() -> list[list[int]]:
    """36 titles over tokens 1 to 6, some the beginning of others, and items 35 and 36 with the titles of 1 and 2."""
    rng = np.random.default_rng(0)
    every = [list(t) for n in (1, 2, 3, 5) for t in itertools.product(range(1, 7), repeat=n)]
    chosen = [every[i] for i in rng.choice(len(every), 30, replace=False)] + [[1], [1, 2], [1, 2, 3], [4]]
    return [*chosen, chosen[0], chosen[1]]


@pytest.fixture(scope="module")
def trie(sequences) -> Trie:
    ended = [[*s, END] for s in sequences]
    offsets = np.cumsum([0] + [len(s) for s in ended])
    return Trie.build(np.concatenate(ended), offsets, np.arange(1, len(ended) + 1), V, COUNTS)


PROMPTS = [[7, 8, 9], [10], [7, 7, 1, 2, 3, 9, 8], [2, 2]]


@pytest.fixture(scope="module")
def exhaustive(model, sequences) -> torch.Tensor:
    """[prompts, items + 1]: log P of each item, title after title, one plain forward pass each."""
    shares = dict.fromkeys(range(1, 37), 1.0)
    for a, b in ((1, 35), (2, 36)):
        total = COUNTS[a] + COUNTS[b] + 2
        shares |= {a: (COUNTS[a] + 1) / total, b: (COUNTS[b] + 1) / total}
    out = torch.full((len(PROMPTS), 37), -torch.inf)
    for p, prompt in enumerate(PROMPTS):
        for i, sequence in enumerate(sequences, 1):
            ids = torch.tensor([[*prompt, *sequence, END]])
            with torch.no_grad():
                log_p = model(ids).logits[0].log_softmax(1)
            out[p, i] = log_p[range(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt) :]].sum()
            out[p, i] += np.log(shares[i])
    return out


def expected(scores: torch.Tensor, k: int) -> tuple[list[int], list[float]]:
    order = sorted(range(1, len(scores)), key=lambda i: (-float(scores[i]), i))[:k]
    return order, [float(scores[i]) for i in order]


def test_enough_beams_rank_as_exhaustive_scoring_does(model, trie, exhaustive):
    found = beam_search(model, PROMPTS, trie, 36, beams=40)
    for p in range(len(PROMPTS)):
        items, scores = expected(exhaustive[p], 36)
        assert found.lists.items[p].tolist() == items
        np.testing.assert_allclose(found.lists.scores[p], scores, atol=1e-4)
    assert found.exact.all()


def test_a_list_that_is_called_exact_is(model, trie, exhaustive):
    called = 0
    for beams, k in itertools.product((1, 2, 3, 5, 8), (1, 3)):
        found = beam_search(model, PROMPTS, trie, k, beams=beams)
        for p in np.flatnonzero(found.exact):
            assert found.lists.items[p].tolist() == expected(exhaustive[p], k)[0]
        called += int(found.exact.sum())
    assert 0 < called < 40  # the promise was made, and not always
    one = beam_search(model, PROMPTS, trie, 3, beams=1)
    truth = [expected(exhaustive[p], 3)[0] for p in range(len(PROMPTS))]
    assert one.lists.items.tolist() != truth  # a single beam is greedy, so the test above could have failed


def test_neither_batch_nor_company_changes_a_list(model, trie):
    together = beam_search(model, PROMPTS, trie, 10, beams=6)
    for p, prompt in enumerate(PROMPTS):
        alone = beam_search(model, [prompt], trie, 10, beams=6)
        assert alone.lists.items[0].tolist() == together.lists.items[p].tolist()
        np.testing.assert_allclose(alone.lists.scores[0], together.lists.scores[p], atol=1e-5)
    split = beam_search(model, PROMPTS, trie, 10, beams=6, batch_tokens=1)
    assert split.lists.items.tolist() == together.lists.items.tolist()


def test_seen_items_take_no_beam(model, trie, exhaustive):
    # With one beam and the greedy choice seen, the beam must go on to the best of what is left.
    best = [expected(exhaustive[p], 20)[0] for p in range(len(PROMPTS))]
    seen = Sequences.from_lists([*best[:3], []])
    left = exhaustive.clone()
    for p in range(3):
        left[p, best[p]] = -torch.inf
    found = beam_search(model, PROMPTS, trie, 36, beams=40, seen=seen)
    for p in range(len(PROMPTS)):
        items, _ = expected(left[p], 16 if p < 3 else 36)
        assert found.lists.items[p].tolist() == items + [0] * (36 - len(items))
        assert np.isneginf(found.lists.scores[p][len(items) :]).all()
    narrow = beam_search(model, PROMPTS, trie, 1, beams=1, seen=seen)
    assert (narrow.lists.items > 0).all()
    for p in range(3):
        assert narrow.lists.items[p, 0] not in best[p]


def test_only_one_item_of_a_shared_title_is_seen(model, trie, exhaustive):
    found = beam_search(model, PROMPTS[:1], trie, 36, beams=40, seen=Sequences.from_lists([[1, 36]]))
    left = exhaustive[0].clone()
    left[[1, 36]] = -torch.inf
    assert found.lists.items[0].tolist() == [*expected(left, 34)[0], 0, 0]


@pytest.mark.parametrize("each", [False, True])
def test_candidates_are_all_that_is_listed(model, trie, exhaustive, each: bool):
    rows = np.array([[3, 5, 35, 0, 8], [9, 10, 99, 2, 4], [1, 2, 3, 4, 5], [36, 2, 1, 0, 0]])
    candidates = rows if each else rows[0]
    seen = Sequences.from_lists([[5, 7], [9], [], [1]])
    found = beam_search(model, PROMPTS, trie, 6, beams=5, seen=seen, candidates=candidates)  # a beam each
    for p, case in enumerate(seen):
        allowed = set(rows[p if each else 0].tolist()) & set(range(1, 37)) - set(case.tolist())
        left = torch.full_like(exhaustive[p], -torch.inf)
        left[list(allowed)] = exhaustive[p, list(allowed)]
        items, _ = expected(left, len(allowed))
        assert found.lists.items[p].tolist() == items + [0] * (6 - len(items))


def test_normalised_over_children_all_items_have_probability_one(model, trie):
    found = beam_search(model, PROMPTS, trie, 36, beams=40, normalise="children")
    np.testing.assert_allclose(np.exp(found.lists.scores).sum(1), 1.0, atol=1e-5)
    whole = beam_search(model, PROMPTS, trie, 36, beams=40)
    assert (np.exp(whole.lists.scores).sum(1) < 0.9).all()


@pytest.mark.parametrize("normalise", ["vocabulary", "children"])
def test_beam_search_of_transformers_agrees(model, trie, sequences, normalise):
    prompt = torch.tensor([PROMPTS[2]])
    processor = TrieLogitsProcessor(trie, prompt.shape[1], end=END, normalise=normalise)
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        num_beams=40,
        num_return_sequences=5,
        max_new_tokens=6,
        eos_token_id=END,
        pad_token_id=END,
        length_penalty=0.0,
        do_sample=False,
        logits_processor=[processor],
        return_dict_in_generate=True,
        output_scores=True,
    )
    shared = {tuple(s): {i for i, t in enumerate(sequences, 1) if t == s} for s in sequences}
    ours = beam_search(model, PROMPTS[2:3], trie, 36, beams=40, normalise=normalise).lists
    by_title: dict[tuple[int, ...], float] = {}
    for item, score in zip(ours.items[0].tolist(), ours.scores[0].tolist(), strict=True):
        key = tuple(sequences[item - 1])
        by_title[key] = by_title.get(key, 0.0) + float(np.exp(score))
    titles = sorted(by_title, key=lambda t: -by_title[t])[:5]
    theirs = [tuple(t for t in row[prompt.shape[1] :].tolist() if t != END) for row in out.sequences]
    assert theirs == titles
    assert all(t in shared for t in theirs)
    np.testing.assert_allclose(out.sequences_scores.exp(), [by_title[t] for t in titles], rtol=1e-4)


def test_samples_are_titles(model, trie, sequences):
    torch.manual_seed(0)
    prompt = torch.tensor([PROMPTS[0]])
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=True,
        num_return_sequences=50,
        max_new_tokens=8,
        eos_token_id=END,
        pad_token_id=0,
        logits_processor=[TrieLogitsProcessor(trie, 3, end=END)],
    )
    drawn = {tuple(t for t in row[3:].tolist() if t not in (0, END)) for row in out}
    assert drawn <= {tuple(s) for s in sequences}
    assert len(drawn) > 3


def test_nonsense_is_refused(model, trie):
    for bad in ({"k": 0, "beams": 1}, {"k": 1, "beams": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            beam_search(model, PROMPTS, trie, **bad)
    with pytest.raises(ConfigError, match="must have a token"):
        beam_search(model, [[1], []], trie, 1, beams=1)
    assert len(beam_search(model, [], trie, 3, beams=2).lists) == 0
