"""RecSysLLM's beams: what they find of an exhaustive search, and how long they take beside plain ``generate``.

    python benchmarks/beams.py MODEL DATASET [--users 100] [--k 20] [--beams 40]

MODEL is a fitted RecSysLLM's folder (``model.save``), whose body is a GLM. The plain way is the ``generate`` of
transformers with a ``prefix_allowed_tokens_fn`` over a dictionary of prefixes, as its pages show it: the same weights,
a key-value cache, the same number of beams, all users' questions in batches padded at the left. The two take turns; a
figure is the median of its rounds, and processor seconds stand beside wall seconds, because a busy machine changes them
less. Recall is the share of the k best titles by exact likelihood of the whole catalogue (items that the user has are
left out) that beams list.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from seqlore.data import Dataset, Sequences, leave_one_out
from seqlore.glm.model import blank_sight
from seqlore.glm.recsysllm import RecSysLLM
from seqlore.glm.tree import BlankTree, Question
from seqlore.language.decoding import beam_search
from seqlore.recommender import load


class Layers:
    """A cache of transformers as the GLM's blocks extend it."""

    def __init__(self, inner: DynamicCache) -> None:
        self.inner = inner

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append to a layer; returns all of it."""
        return self.inner.update(key, value, layer)


class Plain(PreTrainedModel, GenerationMixin):
    """The GLM as ``generate`` wants a model: prompts are part A and the start mark, padded at the left."""

    config_class = PretrainedConfig

    def __init__(self, model: RecSysLLM, pad: int, end: int) -> None:
        super().__init__(PretrainedConfig(vocab_size=model._glm.size, pad_token_id=pad, eos_token_id=end))
        self.glm, self.automaton = model._glm, model._automaton
        self.config.num_hidden_layers = len(self.glm.transformer.layers)
        self.generation_config.pad_token_id, self.generation_config.eos_token_id = pad, end

    def ask(self, questions: list[Question]) -> dict[str, Tensor]:
        """Inputs of ``generate``; what stands beside the ids is kept here, by question."""
        width = max(map(len, questions))
        ids, mask = torch.zeros(len(questions), width, dtype=torch.int64), torch.zeros(len(questions), width)
        self.intra = torch.zeros_like(ids)
        for i, q in enumerate(questions):
            at = width - len(q)
            ids[i, at:] = torch.tensor([*q.ids, self.automaton.start])
            self.intra[i, at:], mask[i, at:] = torch.tensor([*q.intra, 1]), 1
        self.inter = torch.tensor([q.mask for q in questions])
        self.prompt = width
        return {"input_ids": ids, "attention_mask": mask.long()}

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        return {"input_ids": input_ids, **{k: kwargs.get(k) for k in ("attention_mask", "past_key_values")}}

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, past_key_values: DynamicCache, **_: Any
    ) -> CausalLMOutputWithPast:
        before, there = past_key_values.get_seq_length(), attention_mask.bool()
        mask = self.inter.repeat_interleave(len(input_ids) // len(self.inter))
        if not before:
            intra = self.intra.repeat_interleave(len(input_ids) // len(self.intra), 0)
            inter = (there.cumsum(1) - 1).clamp_min(0)
            inter[:, -1] = mask
            lengths = torch.full((len(input_ids),), self.prompt - 1)
            sight = blank_sight(lengths, self.prompt) & there[:, None]
            new = input_ids
        else:
            state = self.automaton.begin(len(input_ids))
            for token in input_ids[:, self.prompt :].T:
                state = self.automaton.step(state, token)
            new, inter, intra, sight = input_ids[:, -1:], mask[:, None], state.intra[:, None], there[:, None]
        hidden = self.glm(new, inter, intra, sight, Layers(past_key_values))
        return CausalLMOutputWithPast(logits=self.glm.logits(hidden[:, -1:]), past_key_values=past_key_values)


def plain_way(model: RecSysLLM, histories: Sequences, k: int, beams: int, size: int) -> Callable[[], np.ndarray]:
    """``generate`` over a dictionary of prefixes; ready to be timed."""
    marks, trie = model._histories.writer.marks, model._trie
    follow: dict[tuple[int, ...], list[int]] = {}
    title: dict[tuple[int, ...], int] = {}
    for item in trie.items.tolist():
        written = (*model._histories.writer.entity(model._histories.titles[item]).tolist(), marks.end)
        title.setdefault(written, item)
        for n in range(len(written)):
            follow.setdefault(written[:n], []).append(written[n])
    allowed = {prefix: sorted(set(tokens)) for prefix, tokens in follow.items()}
    wrapped = Plain(model, marks.pad, marks.end).eval()

    @torch.inference_mode()
    def run() -> np.ndarray:
        asked = model._histories.questions(histories)
        rows = []
        for start in range(0, len(asked), size):
            inputs = wrapped.ask(asked[start : start + size])
            out = wrapped.generate(
                **inputs,
                num_beams=beams,
                num_return_sequences=k,
                length_penalty=0.0,
                renormalize_logits=model.config.normalise == "children",
                max_new_tokens=max(map(len, title)),
                prefix_allowed_tokens_fn=lambda _, ids: allowed.get(tuple(ids[wrapped.prompt :].tolist()), [marks.end]),
            )
            for row in out[:, wrapped.prompt :].tolist():
                ids = tuple(row[: row.index(marks.end) + 1]) if marks.end in row else tuple(row)
                rows.append(title.get(ids, 0))
        return np.array(rows).reshape(-1, k)

    return run


def our_way(model: RecSysLLM, histories: Sequences, k: int, beams: int, seen: bool) -> Callable[[], np.ndarray]:
    """Seqlore's beams."""

    def run() -> np.ndarray:
        return beam_search(
            model._glm,
            model._histories.questions(histories),
            model._trie,
            k,
            beams=beams,
            seen=histories if seen else None,
            grow=lambda body, asked: BlankTree(body, asked, model._automaton),
            normalise=model.config.normalise,
            outlook=model._outlook,
        ).lists.items

    return run


def recalls(model: RecSysLLM, histories: Sequences, k: int, several: list[int]) -> dict[int, float]:
    """Number of beams → mean share of the exhaustive top k that so many list."""
    scores = model.log_likelihoods(histories)
    scores[histories.row_ids, histories.items] = -torch.inf
    best = scores.topk(k, 1).indices.tolist()
    out = {}
    for beams in several:
        found = our_way(model, histories, k, beams, seen=True)().tolist()
        out[beams] = float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found, best, strict=True)]))
    return out


def main() -> None:
    """Print one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--beams", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16, help="of the plain way")
    parser.add_argument("--exhaustive", type=int, default=50, help="users whose recall is measured")
    parser.add_argument("--recall", type=int, nargs="*", default=[20, 40, 80], help="numbers of beams to judge")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load(args.model)
    assert isinstance(model, RecSysLLM)
    split = leave_one_out(Dataset.load(args.dataset))
    chosen = np.random.default_rng(0).permutation(len(split.test))[: args.users]
    histories = split.test.histories.take(chosen)
    if args.recall:  # exhaustive scoring is slow, so of the first users only
        for beams, share in recalls(model, histories.take(slice(args.exhaustive)), args.k, args.recall).items():
            print(json.dumps({"beams": beams, f"recall@{args.k}": round(share, 4)}), flush=True)
    ways = {
        "generate": plain_way(model, histories, args.k, args.beams, args.batch_size),
        "ours": our_way(model, histories, args.k, args.beams, seen=False),
    }
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    lists: dict[str, np.ndarray] = {}
    for _ in range(args.rounds):
        for way, run in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            lists[way] = run()
            taken[way].append((time.perf_counter() - wall, time.process_time() - processor))
    for way, seconds in taken.items():
        wall, processor = (round(statistics.median(s), 2) for s in zip(*seconds, strict=True))
        print(json.dumps({"way": way, "users": args.users, "seconds": wall, "processor_seconds": processor}))
    ratios = [a[1] / b[1] for a, b in zip(taken["generate"], taken["ours"], strict=True)]
    shared = np.mean(
        [len(set(a) & set(b)) / args.k for a, b in zip(*(x.tolist() for x in lists.values()), strict=True)]
    )
    print(
        json.dumps(
            {"ratio": round(statistics.median(ratios), 2), "beams": args.beams, "in both lists": round(shared, 3)}
        )
    )


if __name__ == "__main__":
    main()
