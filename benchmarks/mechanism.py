"""What each part of RecSysLLM's mechanism is worth, beside plain GLM, at equal tokens: paired, over seeds.

    python benchmarks/mechanism.py                       # three small worlds in each of which one part must matter
    python benchmarks/mechanism.py --dataset FOLDER --set epochs=4              # on data, validation cases

The worlds are made so that it is known beforehand what should happen:

* masks: a title is two words, of which either tells the other, and items follow one another by a rule. Blanks of single
  tokens are filled from within the title; blanks of whole entities can only be filled from their neighbours.
* order: an item follows from the one before it and not from the one behind it. A tail of blanks in the order of the
  text shows each its predecessor; in random order half of them cannot see it.
* positions: some titles hold a comma ("red, blue" beside "red" and "blue"), so that two histories read alike, token by
  token, and only the positions within entities tell them apart. What follows depends on which it was.

Their measure is the hit rate at 1 of the next item, that of data is NDCG@10. All arms read the same texts, so as many
tokens but for what blanks of another size cost in marks (printed); what a part is "worth" is the full mechanism's
figure less that of the arm without it, case by case, seeds averaged.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from seqlore.data import Dataset, Split, leave_one_out
from seqlore.evaluation import metrics, paired_test
from seqlore.glm.recsysllm import RecSysLLM

#: Each part's other value, which is plain GLM's.
WITHOUT: dict[str, dict[str, Any]] = {
    "entity masks": {"masks": {"units": False}},
    "chronological order": {"masks": {"chronological": False}},
    "entity positions": {"positions": {"intra": "blank"}},
    "growing ids of plain text": {"positions": {"plain": "restart"}},
    "all of it": {"masks": {"units": False, "chronological": False}, "positions": {"intra": "blank"}},
}
TINY = {
    "start": "random",
    "pretraining": {"shape": "nano", "vocabulary": 400, "context": 96},
    "masks": {"mean_length": 1.0},
    "batch_tokens": 1024,
    "warmup_steps": 20,
    "patience": 99,
    "beams": 20,
}


def shop(histories: list[list[str]], name: str) -> Dataset:
    """A dataset in which every item's title is its id."""
    rows = [(f"u{u}", item, t) for u, each in enumerate(histories) for t, item in enumerate(each)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    titles = sorted({item for each in histories for item in each})
    return Dataset.from_frames(events, pl.DataFrame({"item_id": titles, "title": titles}), name=name)


def world_of_masks(rng: np.random.Generator, users: int = 400, items: int = 12) -> Dataset:
    """Item i is "a_i b_i" and is followed by item p(i), or one time in ten by any."""
    names = [f"{_word(i)} {_word(i + items)}" for i in range(items)]
    after = rng.permutation(items)
    return shop([_chain(rng, names, after, 0.1) for _ in range(users)], "masks")


def world_of_order(rng: np.random.Generator, users: int = 400, items: int = 24) -> Dataset:
    """Item i is followed by item f(i); f sends many items to one, so nothing leads back."""
    names = [_word(i) for i in range(items)]
    after = rng.integers(0, items, items)
    return shop([_chain(rng, names, after, 0.3) for _ in range(users)], "order")


def world_of_positions(rng: np.random.Generator, users: int = 400, words: int = 5) -> Dataset:
    """Again and again two words, as one item with a comma or as two items, and then "one" or "two"."""
    names, histories = [_word(i) for i in range(words)], []
    for _ in range(users):
        events: list[str] = []
        for _ in range(int(rng.integers(1, 5))):
            a, b = (names[int(i)] for i in rng.choice(words, 2, replace=False))
            events += [f"{a}, {b}", "one"] if rng.random() < 0.5 else [a, b, "two"]
        histories.append(events)
    return shop(histories, "positions")


def _word(i: int) -> str:
    return "".join("bdfglmnprstvz"[i // 13**k % 13] + "aeiou"[(i + k) % 5] for k in range(2))


def _chain(rng: np.random.Generator, names: list[str], after: np.ndarray, chance: float) -> list[str]:
    at, out = int(rng.integers(len(names))), []
    for _ in range(int(rng.integers(4, 12))):
        out.append(names[at])
        at = int(rng.integers(len(names))) if rng.random() < chance else int(after[at])
    return out


#: Of whole sentences none: those take titles whole in either arm.
NO_SENTENCES = {"levels": (0.7, 0.0, 0.3), "mean_length": 1.0}
#: World → (maker, the part that must matter, settings that all arms share).
WORLDS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "masks": (world_of_masks, "entity masks", {"masks": NO_SENTENCES, "masked": 0.95, "rolling": 0.0, "epochs": 1}),
    "order": (world_of_order, "chronological order", {"masked": 0.0, "rolling": 1.0, "epochs": 16}),
    "positions": (world_of_positions, "entity positions", {"masked": 0.0, "rolling": 0.0, "epochs": 16}),
}


def hits(split: Split, settings: dict[str, Any], cases: Any, k: int) -> tuple[np.ndarray, dict[str, Any]]:
    """(NDCG@k of each case, what the model tells of itself)."""
    model = RecSysLLM(**settings).fit(split)
    lists = model.rank(cases.histories, k, exclude_seen=False)
    return metrics.ndcg(metrics.positions(lists.items, cases.targets), k), model.about


def compare(
    split: Split, cases: Any, arms: dict[str, dict[str, Any]], shared: dict[str, Any], seeds: int, k: int
) -> None:
    """Print the full mechanism's figure, and its difference from each arm."""
    full: list[np.ndarray] = []
    tokens: list[int] = []
    for seed in range(seeds):
        values, about = hits(split, {**shared, "seed": seed}, cases, k)
        full.append(values)
        tokens.append(about["tokens"])
    _say(what="full mechanism", ndcg=_means(full), tokens=tokens)
    for part, change in arms.items():
        found, read = [], []
        for seed in range(seeds):
            values, about = hits(split, {**_merged(shared, change), "seed": seed}, cases, k)
            found.append(values)
            read.append(about["tokens"])
        each = np.mean(full, 0) - np.mean(found, 0)
        interval, p, _ = paired_test(each)
        _say(
            what=f"without {part}",
            ndcg=_means(found),
            tokens=read,
            worth=round(float(each.mean()), 4),
            interval=[round(x, 4) for x in interval],
            p=round(p, 4),
            by_seed=[round(float(a.mean() - b.mean()), 4) for a, b in zip(full, found, strict=True)],
        )


def _merged(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {**a, **{k: {**a.get(k, {}), **v} if isinstance(v, dict) else v for k, v in b.items()}}


def _means(values: list[np.ndarray]) -> list[float]:
    return [round(float(v.mean()), 4) for v in values]


def _say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    """Print one JSON object an arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=sorted(WORLDS), action="append", help="default: all of them")
    parser.add_argument("--dataset", type=Path, help="a folder instead of worlds; validation cases are asked")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of all arms, TOML")
    parser.add_argument("--arm", choices=sorted(WITHOUT), action="append", help="with --dataset; default: all")
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    given = tomllib.loads("\n".join(args.set))
    if args.dataset is not None:
        split = leave_one_out(Dataset.load(args.dataset))
        chosen = np.random.default_rng(1).permutation(len(split.valid))[: args.cases]
        arms = {a: WITHOUT[a] for a in args.arm or WITHOUT}
        compare(split, split.valid.take(chosen), arms, given, args.seeds, 10)
        return
    for world in args.world or sorted(WORLDS):
        make, part, settings = WORLDS[world]
        # Without validation cases every arm learns for as long as the others.
        split = replace(leave_one_out(make(np.random.default_rng(0))), valid=None)
        _say(world=world, users=len(split.users), items=split.catalog.size - 1)
        # Positions that no training text reaches have learned nothing: the shorter half of the users is asked.
        lengths = split.test.histories.lengths
        short = split.test.take(np.flatnonzero(lengths < np.median(lengths)))
        compare(split, short, {part: WITHOUT[part]}, {**TINY, **settings, **given}, args.seeds, 1)


if __name__ == "__main__":
    main()
