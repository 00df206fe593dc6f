"""The service under load from a second process, over loopback.

    python benchmarks/serve.py load FOLDER [--data DATASET] [--rate 200] [--seconds 300]
    python benchmarks/serve.py overload FOLDER [--rate 3000]
    python benchmarks/serve.py restart FOLDER
    python benchmarks/serve.py memory FOLDER
    python benchmarks/serve.py train-million FOLDER; python benchmarks/serve.py million FOLDER [--rate 50]
    python benchmarks/serve.py fuzz FOLDER [--examples 200]

One JSON object each, with the machine's load average before and after: on a machine that also does other work the
tail of the latencies is that work's. Requests come at random times (Poisson) and wait for nobody, and latency counts
from the time at which a request was due, so a service that stalls is charged for all that it kept waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import psutil


@contextlib.contextmanager
def service(folder: Path, *options: str, port: int | None = None) -> Iterator[tuple[psutil.Process, int]]:
    """``seqlore serve`` as a process of its own, ready; (process, port)."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    code = "import sys; from seqlore.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", str(port), *options]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success:
                    break
            if child.poll() is not None:
                raise SystemExit("the service ended while it started")
            time.sleep(0.25)
        yield psutil.Process(child.pid), port
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait()


class Load:
    """Requests at a rate, each with its status (0 = the connection broke) and latency in milliseconds."""

    def __init__(self, port: int, bodies: Sequence[bytes]) -> None:
        head = b"POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: "
        self._requests = [head + str(len(b)).encode() + b"\r\n\r\n" + b for b in bodies]
        self._port = port
        self._open = asyncio.Semaphore(500)  # connections; who finds none free waits, and is charged for it
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.status: list[int] = []
        self.latency: list[float] = []
        self.due: list[float] = []

    async def run(self, rate: float, seconds: float, seed: int = 0) -> None:
        """Send ``rate`` a second for so long, and wait for the answers."""
        rng, loop = np.random.default_rng(seed), asyncio.get_running_loop()
        due, end, tasks = loop.time(), loop.time() + seconds, set()
        while due < end:
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            task = loop.create_task(self._one(self._requests[int(rng.integers(len(self._requests)))], due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += rng.exponential(1 / rate)
        if tasks:
            await asyncio.wait(tasks, timeout=30)
        for _, writer in self._free:
            writer.close()
        self._free.clear()

    async def _one(self, request: bytes, due: float) -> None:
        async with self._open:
            status = await self._ask(request)
        self.status.append(status)
        self.latency.append(1000 * (asyncio.get_running_loop().time() - due))
        self.due.append(due)

    async def _ask(self, request: bytes) -> int:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            while self._free and self._free[-1][0].at_eof():  # it rested until the service let go of it
                self._free.pop()[1].close()
            pair = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = pair
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self._free.append(pair)
            return status
        return 0

    def told(self) -> dict[str, Any]:
        """Counts by status, and percentiles of what was answered with 200."""
        fine = np.array([ms for ms, s in zip(self.latency, self.status, strict=True) if s == 200])
        counts = {str(k): v for k, v in sorted(Counter(self.status).items())}
        if not len(fine):
            return {"answers": counts}
        cuts = {f"p{q}_ms": round(float(np.percentile(fine, q)), 2) for q in (50, 90, 99, 99.9)}
        return {"answers": counts, **cuts, "max_ms": round(float(fine.max()), 1)}


def bodies(folder: Path, data: Path | None, n: int = 5000) -> list[bytes]:
    """Requests with the histories of users, or, without a dataset, of up to ten items drawn from the catalogue."""
    rng = np.random.default_rng(0)
    if data is not None:
        events = pl.read_parquet(data / "interactions.parquet", columns=["user_id", "item_id"])
        histories = events.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].head(n).to_list()
        histories = [h[:-1][-50:] for h in histories]
    else:
        ids = pl.read_parquet(next(iter(sorted(folder.rglob("items.parquet")))), columns=["item_id"])["item_id"]
        histories = [ids.gather(rng.integers(0, len(ids), int(rng.integers(1, 10)))).to_list() for _ in range(n)]
    return [json.dumps({"history": h, "k": 10}).encode() for h in histories]


def tell(what: str, **values: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps({"what": what, "cores": os.cpu_count(), **values}), flush=True)


def load(args: argparse.Namespace) -> None:
    """Latencies at a rate."""
    before = os.getloadavg()[0]
    with service(args.folder) as (process, port):
        asks = bodies(args.folder, args.data)
        asyncio.run(Load(port, asks).run(50, 3))  # warm
        used = sum(process.cpu_times()[:2])
        one = Load(port, asks)
        asyncio.run(one.run(args.rate, args.seconds))
        used = sum(process.cpu_times()[:2]) - used
        batches = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        tell(
            "load", rate=args.rate, seconds=args.seconds, **one.told(),
            cpu_ms_a_request=round(1000 * used / max(1, len(one.status)), 2),
            rss_mb=round(process.memory_info().rss / 2**20), mean_batch=_mean_batch(batches),
            load_before=before, load_after=os.getloadavg()[0],
        )  # fmt: skip


def _mean_batch(text: str) -> float | None:
    sums = dict.fromkeys(("sum", "count"), 0.0)
    for line in text.splitlines():
        for key in sums:
            if line.startswith(f"seqlore_batch_histories_{key}"):
                sums[key] += float(line.rsplit(" ", 1)[1])
    return round(sums["sum"] / sums["count"], 2) if sums["count"] else None


def overload(args: argparse.Namespace) -> None:
    """Ten seconds of far too much, then what it can bear again."""
    with service(args.folder, "--set", "concurrency=64") as (_, port):
        asks = bodies(args.folder, args.data)
        for name, rate, seconds in (("before", 50, 5), ("overload", args.rate, 10), ("after", 50, 10)):
            time.sleep(1)
            one = Load(port, asks)
            asyncio.run(one.run(rate, seconds))
            tell(f"overload: {name}", rate=rate, seconds=seconds, **one.told(), load=os.getloadavg()[0])


def restart(args: argparse.Namespace) -> None:
    """Killed (SIGKILL) in the middle of load, started again at once by whoever watches: what was lost?"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asks = bodies(args.folder, args.data)

    async def through(pid: int, started: list[float]) -> Load:
        one = Load(port, asks)
        running = asyncio.create_task(one.run(args.rate, 5))
        await asyncio.sleep(4)
        os.kill(pid, signal.SIGKILL)
        started.append(asyncio.get_running_loop().time())
        await running
        return one

    killed: list[float] = []
    with service(args.folder, port=port) as (process, _):
        asyncio.run(Load(port, asks).run(50, 2))
        one = asyncio.run(through(process.pid, killed))
        process.wait()
    broken = [d for s, d in zip(one.status, one.due, strict=True) if s == 0]
    began = time.perf_counter()
    with service(args.folder, port=port):
        ready = time.perf_counter() - began
        again = Load(port, asks)
        asyncio.run(again.run(args.rate, 5))
    tell(
        "restart", rate=args.rate, **one.told(), in_flight_lost=sum(d < killed[0] for d in broken),
        refused_while_down=sum(d >= killed[0] for d in broken), ready_again_s=round(ready, 1), after=again.told(),
        load=os.getloadavg()[0],
    )  # fmt: skip


def memory(args: argparse.Namespace) -> None:
    """Resident memory after 10,000 and after 100,000 requests."""
    with service(args.folder) as (process, port):
        asks, sizes, sent = bodies(args.folder, args.data), {}, 0
        for mark in (10_000, 25_000, 50_000, 75_000, 100_000):
            sent += asyncio.run(_exactly(port, asks, mark - sent))
            sizes[mark] = round(process.memory_info().rss / 2**20, 1)
        tell("memory", sent=sent, rss_mb=sizes, grown_mb=round(sizes[100_000] - sizes[10_000], 1))


async def _exactly(port: int, asks: Sequence[bytes], n: int, workers: int = 16) -> int:
    """``n`` answered requests, as fast as they are answered."""
    one, left = Load(port, asks), iter(range(n))

    async def worker() -> None:
        for i in left:
            await one._one(one._requests[i % len(one._requests)], asyncio.get_running_loop().time())

    await asyncio.gather(*(worker() for _ in range(workers)))
    for _, writer in one._free:
        writer.close()
    if set(one.status) != {200}:
        raise SystemExit(f"not all were answered: {Counter(one.status)}")
    return len(one.status)


def world(items: int, sequences: int, group: int = 500, seed: int = 0) -> Any:
    """Tastes to be learned: users keep to two groups of items, some of which are far better known than others, and so
    are items within a group. As in real catalogues of this size, most items are hardly ever bought.
    """
    from seqlore.data import Dataset

    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 25, sequences)
    user = np.repeat(np.arange(sequences), lengths)
    tastes = (items // group * rng.random((sequences, 2)) ** 3).astype(np.int64)
    chosen = tastes[user, (rng.random(len(user)) < 0.3).astype(int)]
    item = chosen * group + (group * rng.random(len(user)) ** 6).astype(np.int64)
    frame = pl.DataFrame({"user_id": user, "item_id": item, "timestamp": np.arange(len(user))}).with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    )
    return Dataset.from_frames(frame, pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]}))


def train_million(args: argparse.Namespace) -> None:
    """A SASRec on a catalogue of a million items, saved: vectors that were trained, for ``million``.

    That it learned something is told by its validation beside that of what is popular.
    """
    from seqlore.data import leave_one_out
    from seqlore.models import MostPopular, SASRec  # type: ignore[attr-defined]

    split = leave_one_out(world(args.items, args.sequences))
    settings = {"learning_rate": 0.004, "init_std": 0.1, "dropout": 0.1, "batch_tokens": 4096, "layers": 1}
    model = SASRec(epochs=args.epochs, negatives=1024, valid_cases=500, max_length=30, **settings)
    model.fit(split, progress=lambda row: print(row, file=sys.stderr, flush=True))
    model.save(args.folder)
    np.save(args.folder / "asked.npy", split.test.histories.take(np.arange(5000)).padded(30))
    cases = split.valid_sample(500, model.config.seed)
    popular = MostPopular().fit(split).rank(cases.histories, 10).items == cases.targets[:, None]
    tell(
        "train-million", items=args.items, events=len(split.train.items), epochs=args.epochs,
        cpu_s=round(time.process_time()), valid_hr_at_10=model.about["valid"]["hr@10"],
        of_what_is_popular=float(popular.any(1).mean()),
    )  # fmt: skip


def million(args: argparse.Namespace) -> None:
    """Latencies with the index, and its recall@20 on histories of users against exact search."""
    from seqlore.data import Sequences
    from seqlore.serve.folders import open_model
    from seqlore.serve.served import Served
    from seqlore.serve.settings import ServeSettings

    before = os.getloadavg()[0]
    rows = np.load(args.folder / "asked.npy")
    histories = Sequences.from_lists([row[row > 0] for row in rows])
    model, digest = open_model(args.folder)
    began = time.perf_counter()
    served = Served("million", model, digest, ServeSettings())
    built = time.perf_counter() - began
    if served.index is None:
        raise SystemExit("no index reaches the recall asked for")
    asked = histories.take(np.arange(500))
    found = served.rank(asked, 20).items
    exact = model.rank(asked, 20).items
    recall = np.mean([len(np.intersect1d(f, e)) / 20 for f, e in zip(found, exact, strict=True)])
    told = {"depth": served.index.depth, "told_recall": round(served.index.recall, 4)}
    different = len(np.unique(exact))
    ids = model.catalog.ids
    asks = [json.dumps({"history": [ids[i - 1] for i in h], "k": 20}).encode() for h in histories]
    del served, model
    with service(args.folder) as (process, port):
        asyncio.run(Load(port, asks).run(20, 5))
        one = Load(port, asks)
        asyncio.run(one.run(args.rate, args.seconds))
        tell(
            "million", rate=args.rate, seconds=args.seconds, **one.told(), recall_at_20=round(float(recall), 4),
            queries=len(asked), items_in_lists=different, build_s=round(built, 1), **told,
            rss_mb=round(process.memory_info().rss / 2**20), load_before=before, load_after=os.getloadavg()[0],
        )  # fmt: skip


def fuzz(args: argparse.Namespace) -> None:
    """Schemathesis on the service's own OpenAPI: the process ends with its exit status."""
    with service(args.folder) as (_, port), tempfile.TemporaryDirectory() as aside:
        command = [
            str(Path(sys.executable).parent / "schemathesis"), "run", f"http://127.0.0.1:{port}/openapi.json",
            "--checks", "not_a_server_error,response_schema_conformance,content_type_conformance",
            "--max-examples", str(args.examples), "--request-timeout", "120",
            "--phases", "examples,coverage,fuzzing", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=aside)
        counts = Counter()
        for line in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines():
            if line.startswith("seqlore_requests_total"):
                counts[line.split('status="')[1][:3]] += int(float(line.rsplit(" ", 1)[1]))
        tell("fuzz", examples=args.examples, answers=dict(sorted(counts.items())), status=done.returncode)
        raise SystemExit(done.returncode)


def main() -> None:
    """Run the part that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"load": load, "overload": overload, "restart": restart, "memory": memory, "fuzz": fuzz}
    parts |= {"train-million": train_million, "million": million}
    parser.add_argument("part", choices=parts)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="Dataset whose users' histories are asked for.")
    parser.add_argument("--rate", type=float, help="Requests a second.")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--sequences", type=int, default=400_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--examples", type=int, default=200)
    args = parser.parse_args()
    args.rate = args.rate or {"overload": 3000, "million": 50}.get(args.part, 200)
    args.seconds = args.seconds or {"million": 60}.get(args.part, 300)
    parts[args.part](args)


if __name__ == "__main__":
    main()
