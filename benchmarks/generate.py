"""Texts a second of a local language model, beside a plain loop over ``model.generate``.

    python benchmarks/generate.py [MODEL_FOLDER] [--dataset DATASET_FOLDER] [--prompts 256] [--batch-size 32]
    python benchmarks/generate.py --random 7b          # a 7-billion-parameter shape with random weights, on a GPU

The prompts are one instruction and a user's titles: as long as histories are, beginning alike. The plain loop takes
them in the order in which they come, in batches of the same size, padded at the left, as transformers' pages show it.
Both write greedily, so the completions are the same; how many are is printed (sums in batches of different shape are
rounded differently, which can decide between two tokens that are equally likely). The two take turns; each figure is
the median of its rounds, and processor seconds stand beside wall seconds, because a busy machine changes them less.

Without a model, one of the tiny preset is trained on a simulated shop first. With random weights nothing ends a text,
so tokens are drawn at temperature 1 and one in 64 of the vocabulary ends it: lengths then vary as those of real texts
do, but the two ways write different texts, and tokens a second are what can be compared. The 7b shape has not been run
by those who wrote it, for want of a GPU; the smaller shapes go the same way on a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqlore.data import Dataset, leave_one_out
from seqlore.data.simulate import simulate
from seqlore.lore import Prompt, Sampling, generate_all
from seqlore.lore.local import LocalModel
from seqlore.lore.pretrain import PretrainConfig, pretrain
from seqlore.lore.tokenizer import as_transformers, train_tokenizer

INSTRUCTION = (
    "Below is what one customer of a shop bought, the latest at the end. Read the list, think of what the things have "
    "in common, of their kinds, brands and prices, and of what they are used for and by whom. Then describe in plain "
    "words what this customer likes, what they are likely to buy next and why, and what they would rather leave.\n\n"
)
#: Width, layers, heads, feed-forward, vocabulary.
SHAPES = {"tiny": (128, 4, 4, 352, 2048), "7b": (4096, 32, 32, 11008, 32000)}
CONTEXT = 1024


def prompts_of(dataset: Dataset, count: int, seed: int = 0) -> list[Prompt]:
    """``count`` users at random, in random order; of long histories the latest 20 titles."""
    split = leave_one_out(dataset)
    histories = split.train.take(split.train.lengths > 0)
    chosen = np.random.default_rng(seed).choice(len(histories), min(count, len(histories)), replace=False)
    titles = ["", *split.catalog.titles]
    return [
        Prompt(INSTRUCTION + "\n".join(f"{n}. {titles[i][:120]}" for n, i in enumerate(histories[u][-20:].tolist(), 1)))
        for u in chosen.tolist()
    ]


def plain_loop(model: LocalModel, prompts: list[Prompt], sampling: Sampling, size: int) -> list[str]:
    """What one writes first: ``generate`` on batches in the order of arrival."""
    texts: list[str] = []
    draw = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0} if sampling.temperature else {}
    for start in range(0, len(prompts), size):
        batch = model.tokenizer(
            [p.text for p in prompts[start : start + size]], return_tensors="pt", padding=True, padding_side="left"
        ).to(model.model.device)
        out = model.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=sampling.max_tokens,
            pad_token_id=model.tokenizer.pad_token_id,
            **(draw or {"do_sample": False}),
        )
        new = out[:, batch["input_ids"].shape[1] :]
        texts += model.tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts


def random_model(shape: str, dataset: Dataset) -> LocalModel:
    """A Llama of this shape with random weights, on the GPU in bf16 where there is one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width, layers, heads, feed_forward, vocabulary = SHAPES[shape]
    tokenizer = as_transformers(train_tokenizer([p.text for p in prompts_of(dataset, 1000)], 2048), CONTEXT)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        pad_token_id=0,
        eos_token_id=list(range(2, vocabulary, 64)),
    )
    on_gpu = torch.cuda.is_available()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return LocalModel.of(model, tokenizer, chat=False)


def compare(
    model: LocalModel, prompts: list[Prompt], sampling: Sampling, rounds: int, size: int
) -> dict[str, dict[str, float]]:
    """Seconds of both ways by turns; the first round warms up and is not counted."""
    chosen = LocalModel.of(model.model, model.tokenizer, chat=False, batch_size=size)
    written: dict[str, list[str]] = {}
    lengths: list[int] = []

    def ours() -> list[str]:
        answers = generate_all(chosen, prompts, sampling)
        lengths[:] = [a.completion_tokens for a in answers]
        return [a.texts[0] for a in answers]

    ways: dict[str, Callable[[], list[str]]] = {
        "plain generate": lambda: plain_loop(chosen, prompts, sampling, size),
        "LocalModel": ours,
    }
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, run in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            written[way] = run()
            if turn:
                seconds[way].append((time.perf_counter() - wall, time.process_time() - processor))
    plain_lengths = [
        len(ids) for ids in model.tokenizer(written["plain generate"], add_special_tokens=False)["input_ids"]
    ]
    tokens = {
        "plain generate": sum(plain_lengths) if sampling.temperature else sum(lengths),
        "LocalModel": sum(lengths),
    }
    measured: dict[str, Any] = {}
    for way, taken in seconds.items():
        wall, processor = (statistics.median(column) for column in zip(*taken, strict=True))
        measured[way] = {
            "seconds": round(wall, 3),
            "processor_seconds": round(processor, 3),
            "tokens_a_second": round(tokens[way] / wall, 1),
        }
    pairs = list(zip(*seconds.values(), strict=True))
    measured["ratio"] = {
        "seconds": round(statistics.median(a[0] / b[0] for a, b in pairs), 2),
        "processor_seconds": round(statistics.median(a[1] / b[1] for a, b in pairs), 2),
        "by_round": [round(a[1] / b[1], 2) for a, b in pairs],
    }
    prompt_lengths = model.count_tokens(prompts)
    same = sum(a == b for a, b in zip(*written.values(), strict=True))
    measured["texts"] = {
        "prompts": len(prompts),
        "prompt_tokens": [int(x) for x in np.percentile(prompt_lengths, [0, 50, 100])],
        "completion_tokens": [int(x) for x in np.percentile(lengths, [0, 50, 100])],
        **({} if sampling.temperature else {"same": same}),
    }
    return measured


def main() -> None:
    """Print one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="folder or hub name; default: a tiny one, trained on the dataset")
    parser.add_argument("--dataset", type=Path, help="folder; default: a simulated shop")
    parser.add_argument("--random", choices=sorted(SHAPES), help="random weights of this shape instead of a model")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    dataset = simulate(users=1000, items=500, seed=0) if args.dataset is None else Dataset.load(args.dataset)
    with tempfile.TemporaryDirectory() as folder:
        if args.random:
            model = random_model(args.random, dataset)
        else:
            if args.model is None:
                pretrain(leave_one_out(dataset), folder, PretrainConfig(tokens=300_000, rounds=5))
            model = LocalModel(args.model or folder, chat=False)
        sampling = Sampling(max_tokens=args.max_tokens, temperature=1.0 if args.random else 0.0)
        device = model.model.device
        print(
            json.dumps(
                {
                    "model": args.random or args.model or "tiny, trained here",
                    "dataset": dataset.name,
                    "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                    "threads": torch.get_num_threads(),
                    "torch": torch.__version__,
                    "batch_size": args.batch_size,
                }
            ),
            flush=True,
        )
        for what, figures in compare(
            model, prompts_of(dataset, args.prompts), sampling, args.rounds, args.batch_size
        ).items():
            print(json.dumps({"what": what, **figures}), flush=True)


if __name__ == "__main__":
    main()
