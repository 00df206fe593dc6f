"""Writing many texts at once: who is written when, how a token is chosen, and when a text is done.

Rows that are done leave, and waiting ones take their places (continuous batching: Yu et al., "Orca: A Distributed
Serving System for Transformer-Based Generative Models", OSDI 2022). Prompts that begin alike are read from where they
begin to differ. Nucleus sampling: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020), arXiv
1904.09751. Each text has random numbers of its own, so that its neighbours in a batch do not change what is drawn.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.lore.kv import Rows
from seqlore.lore.model import Sampling

#: A beginning is shared where at least so many tokens of so many prompts are the same.
SHARED_TOKENS, SHARED_PROMPTS = 16, 4


@dataclass(slots=True)
class Text:
    """One text in the making.

    Attributes:
        prompt, copy: whose it is. ids: the prompt's tokens, of which the first ``shared`` are shared by its neighbours
            in the queue. limit: most tokens to write. draws: [limit] uniform numbers, or None for the likeliest token.
        written: tokens so far, without the one that ends the text. finish: why it ended; "" while it has not.
        started: when it was admitted, by ``time.perf_counter``.
    """

    prompt: int
    copy: int
    ids: list[int]
    limit: int
    shared: int = 0
    draws: NDArray[np.float64] | None = None
    written: list[int] = field(default_factory=list)
    finish: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is worked on at once.

    Attributes: rows: texts. cached: tokens remembered of all, padding counted. read: prompt tokens read at once.
    """

    rows: int
    cached: int
    read: int


def queue_of(prompts: Sequence[list[int]], limits: Sequence[int], sampling: Sampling) -> list[Text]:
    """The texts to write, in the order in which they are begun: beginnings together, then the longest first."""
    copies = sampling.n if sampling.temperature > 0 else 1
    queue = []
    for shared, members in beginnings(prompts):
        for i in sorted(members, key=lambda i: (-len(prompts[i]), i)):
            for copy in range(copies):
                text = Text(i, copy, prompts[i], limits[i], shared)
                if sampling.temperature > 0:
                    text.draws = draws(prompts[i], copy, limits[i], sampling.seed)
                queue.append(text)
    return queue


def beginnings(prompts: Sequence[list[int]]) -> list[tuple[int, list[int]]]:
    """(tokens shared, positions in ``prompts``) of the groups that begin alike, and with 0 the rest."""
    heads: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        if len(prompt) > SHARED_TOKENS:  # one token at least must be left to read
            heads.setdefault(tuple(prompt[:SHARED_TOKENS]), []).append(i)
    groups = []
    for members in heads.values():
        if len(members) >= SHARED_PROMPTS:
            least, most = (pick(prompts[i] for i in members) for pick in (min, max))
            same = next((k for k, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
            groups.append((min(same, min(len(prompts[i]) for i in members) - 1), members))
    together = {i for _, members in groups for i in members}
    rest = [i for i in range(len(prompts)) if i not in together]
    return [*groups, (0, rest)] if rest else groups


def draws(prompt: Sequence[int], copy: int, count: int, seed: int | None) -> NDArray[np.float64]:
    """[count] uniform numbers in [0, 1) that belong to this prompt, copy and seed; None = new ones each time."""
    if seed is None:
        return np.random.default_rng().random(count)
    digest = hashlib.sha256(np.asarray(prompt, np.int64).tobytes()).digest()
    return np.random.default_rng([seed % 2**64, copy, *digest]).random(count)


def choose(logits: Tensor, uniform: NDArray[np.float64] | None, temperature: float, top_p: float) -> Tensor:
    """The next token of each row, int64 [B].

    Args:
        logits: [B, vocabulary]. uniform: [B] in [0, 1), or None for the likeliest token.
        top_p: draw from the fewest likeliest tokens that together have at least this probability.
    """
    if uniform is None:
        return logits.argmax(-1)
    chances = (logits.float() / temperature).softmax(-1)
    order = None
    if top_p < 1:
        chances, order = chances.sort(dim=-1, descending=True, stable=True)
        chances = chances.masked_fill(chances.cumsum(-1) - chances >= top_p, 0.0)
    mass = chances.cumsum(-1)
    target = torch.from_numpy(uniform).to(mass)[:, None] * mass[:, -1:]
    # A product that was rounded up to the whole mass must not reach past the last token that has any.
    target = torch.minimum(target, torch.nextafter(mass[:, -1:], torch.zeros_like(target)))
    drawn = torch.searchsorted(mass, target, right=True)
    return (drawn if order is None else order.gather(1, drawn))[:, 0]


def write(
    rows: Rows,
    queue: Iterable[Text],
    sampling: Sampling,
    limits: Limits,
    ends: Collection[int],
    tail: Callable[[list[int]], str],
) -> Iterator[Text]:
    """Write the texts of ``queue``; each is yielded when it is done.

    Args:
        ends: tokens that end a text. tail: tokens → text, for stop strings; called with the latest tokens only.
    """
    waiting, active = deque(queue), list[Text]()
    reach = max((len(stop.encode()) for stop in sampling.stop), default=0) + 4  # a token has a byte or more

    def accept(texts: Sequence[Text], logits: Tensor) -> list[Text]:
        """Give each text its next token; returns those that are done now."""
        uniform = None
        if sampling.temperature > 0:
            uniform = np.array([t.draws[min(len(t.written), t.limit - 1)] for t in texts])  # type: ignore[index]
        done = []
        for text, token in zip(
            texts, choose(logits, uniform, sampling.temperature, sampling.top_p).tolist(), strict=True
        ):
            if text.finish:
                continue
            if token in ends:
                text.finish = "stop"
            else:
                text.written.append(token)
                if sampling.stop and any(stop in tail(text.written[-reach:]) for stop in sampling.stop):
                    text.finish = "stop"
                elif len(text.written) == text.limit:
                    text.finish = "length"
            if text.finish:
                done.append(text)
        return done

    # A free place costs its share of a step, and filling it costs a reading: so a few are filled at once.
    enough = max(1, limits.rows // 8)
    while waiting or active:
        done = [i for i, text in enumerate(active) if text.finish]
        alive = [i for i, text in enumerate(active) if not text.finish]
        refill = waiting and rows.refills
        if done and (not alive or (len(done) >= enough and not refill)):
            rows.keep(torch.tensor(alive, dtype=torch.long))
            active, done, alive = [active[i] for i in alive], [], [*range(len(alive))]
        fresh: list[Text] = []
        if waiting and (not alive or (refill and limits.rows - len(alive) >= min(enough, len(waiting)))):
            fresh = _take(waiting, [active[i] for i in alive], limits)
        if fresh:
            places = [*done, *range(len(active), limits.rows)][: len(fresh)]
            for place, text in zip(places, fresh, strict=True):
                text.started = time.perf_counter()
                active[place : place + 1] = [text]
            yield from accept(fresh, rows.admit([t.ids for t in fresh], fresh[0].shared, places))
        if any(not text.finish for text in active):
            latest = torch.tensor([text.written[-1] if text.written else 0 for text in active])
            yield from accept(active, rows.step(latest))


def _take(waiting: deque[Text], alive: Sequence[Text], limits: Limits) -> list[Text]:
    """The next texts of one beginning that fit; one at least where nothing else is being written."""
    width = max((len(t.ids) + t.limit for t in alive), default=0)
    fresh: list[Text] = []
    longest = 0
    while waiting and len(alive) + len(fresh) < limits.rows and waiting[0].shared == (fresh or waiting)[0].shared:
        text = waiting[0]
        if fresh and text.ids[: text.shared] != fresh[0].ids[: text.shared]:
            break
        width = max(width, len(text.ids) + text.limit)
        longest = max(longest, len(text.ids) - text.shared)
        if (alive or fresh) and (len(alive) + len(fresh) + 1) * width > limits.cached:
            break
        if fresh and (len(fresh) + 1) * longest > limits.read:
            break
        fresh.append(waiting.popleft())
    return fresh
