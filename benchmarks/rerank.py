"""The retriever's one pass for 100 candidates beside a pass a candidate, and how long one user waits.

    python benchmarks/rerank.py --threads 2

Both read Z through the same keys and values, computed once; the single candidates run as one batch. Weights are those
of all-MiniLM-L6-v2, two blocks of width 384; Z is one preference vector and ten of the history. Medians; CPU time
stands beside the wall clock, since on a busy machine it is the steadier figure. One JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from seqlore.data import user_ratio
from seqlore.data.simulate import simulate
from seqlore.rerank import PRM, GRU4RecReranker, Knowledge, SASRecReranker, Uniform, UR4Rec, UserTexts
from seqlore.rerank.body import Body
from seqlore.rerank.ranker import NetReranker
from seqlore.rerank.retriever import Form, Retriever

CANDIDATES, HISTORY, TEXT = 100, 10, 384


def milliseconds(call: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median wall and CPU time of ``call``, in ms."""
    wall, cpu = [], []
    for _ in range(runs + 2):
        started, spent = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return 1000 * statistics.median(wall[2:]), 1000 * statistics.median(cpu[2:])


def shown(times: tuple[float, float]) -> dict[str, float]:
    """For the line."""
    return {"wall_ms": round(times[0], 2), "cpu_ms": round(times[1], 2)}


@torch.inference_mode()
def passes(users: int, proxies: int, runs: int) -> dict[str, object]:
    """One pass and 100 for ``users`` lists."""
    body = Body.read("all-MiniLM-L6-v2", 2)
    model = Retriever(body, layers=2, proxies=proxies, item_width=64, text_width=TEXT, dropout=0.1).eval()
    items, listed = torch.randn(users, CANDIDATES, 64), torch.ones(users, CANDIDATES, dtype=torch.bool)
    z, there = torch.randn(users, 1 + HISTORY, TEXT), torch.ones(users, 1 + HISTORY, dtype=torch.bool)

    def run(form: Form) -> tuple[float, float]:
        return milliseconds(lambda: model.retrieve(model.enter(items), listed, model.memory(z, there), form), runs)

    joint, single = run("joint"), run("single")
    return {
        "what": "passes",
        "users": users,
        "proxies": proxies,
        "one_pass": shown(joint),
        "a_pass_a_candidate": shown(single),
        "times_as_fast": {"wall": round(single[0] / joint[0], 2), "cpu": round(single[1] / joint[1], 2)},
    }


def latency(backbone: type[NetReranker], runs: int) -> dict[str, object]:
    """One user with a long history and 100 candidates, with UR4Rec as each backbone has it, from indices to an order.

    A scorer reads 150 events, has as many in Z and augments them beside the candidates, with 16 proxies; a listwise
    backbone has 10 and 8.
    """
    split = user_ratio(simulate(40, 1000, 200, reviews=False), targets=1, first=160)
    source = Uniform(CANDIDATES - 1).fitted(split)
    texts = UserTexts(split.train, np.random.default_rng(0).standard_normal((len(split.train), TEXT)))
    knowledge = Knowledge(texts, torch.randn(split.catalog.size, TEXT))
    model = backbone(epochs=1, augmentation=UR4Rec(texts=knowledge, pretrain=False)).fit(split, source)
    asked = source.asked(split.test).take([0])
    times = milliseconds(lambda: model.rerank(asked.histories, asked.candidates), runs)
    read = min(int(asked.histories.lengths[0]), model.config.history_length)
    return {"what": "latency", "backbone": model.name, "events": read, **shown(times)}


def main() -> None:
    """Print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for proxies in (8, 16):
        for users in (1, 8):
            print(json.dumps({**passes(users, proxies, args.runs), "threads": args.threads}), flush=True)
    for backbone in (PRM, SASRecReranker, GRU4RecReranker):
        print(json.dumps({**latency(backbone, args.runs), "threads": args.threads}), flush=True)


if __name__ == "__main__":
    main()
