"""Many completions of each of many prompts, drawn with each prompt read once (:mod:`seqlore.language.tree`).

:class:`seqlore.lore.local.LocalModel` draws the same texts, by the same numbers, for any kind of model; it gives every
text a row of its own, as is best for a completion or two of each prompt. Where a short list of titles is completed
twenty times, nearly all of a row is the prompt, and reading that twenty times a step is what takes the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqlore.language.tree import Tree, together
from seqlore.lore.decode import choose, draws
from seqlore.lore.model import Sampling

Ints = NDArray[np.int64]


@torch.inference_mode()
def complete(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[tuple[str, ...]]:
    """``sampling.n`` completions of each prompt, without the tokens or strings that ended them.

    A completion depends on its prompt, its number and the seed alone. At temperature 0 all of a prompt are the same.

    Args: model: causal model of transformers, in eval mode. prompts: token ids, ≥ 1 each, with room in the context for
        ``sampling.max_tokens`` more. sampling: its JSON schema is not read.
    """
    n = sampling.n if sampling.temperature > 0 else 1
    lengths = np.array([len(p) for p in prompts], np.int64)
    found: list[tuple[str, ...]] = [()] * len(prompts)
    ends = _Ends(tokenizer, sampling.stop)
    for rows in together(lengths, n, sampling.max_tokens, model.device):
        part = [prompts[i] for i in rows.tolist()]
        written = _write(Tree(model, part), part, n, sampling, ends)
        texts = ends.texts([ids[ids >= 0].tolist() for copies in written for ids in copies])
        for i, row in enumerate(rows.tolist()):
            found[row] = tuple(texts[i * n : (i + 1) * n]) * (sampling.n // n)
    return found


def _write(tree: Tree, prompts: list[Sequence[int]], n: int, sampling: Sampling, ends: _Ends) -> Ints:
    """Tokens of n completions of each prompt, [c, n, max_tokens]; −1 after its end."""
    c, limit = len(prompts), sampling.max_tokens
    uniform = None
    if sampling.temperature > 0:
        uniform = np.array([[draws(p, copy, limit, sampling.seed) for copy in range(n)] for p in prompts])
    written = np.full((c, n, limit), -1, np.int64)
    logits = tree.root()  # [c, 1, V]
    case, copy = np.arange(c), np.tile(np.arange(n), (c, 1))  # [r]; [r, W], −1 where a text has ended
    for step in range(limit):
        row, column = np.nonzero(copy >= 0)
        of, number = case[row], copy[row, column]
        parent = column if step else np.zeros_like(column)  # at first all texts of a prompt are the prompt
        each = logits[torch.from_numpy(row).to(logits.device), torch.from_numpy(parent).to(logits.device)]
        numbers = None if uniform is None else uniform[of, number, step]
        token = choose(each, numbers, sampling.temperature, sampling.top_p).cpu().numpy()
        written[of, number, step] = token
        on = ~ends.reached(written[of, number, : step + 1])
        if step + 1 == limit or not on.any():
            return written
        row, parent, token, number = row[on], parent[on], token[on], number[on]
        alive = np.bincount(row, minlength=len(case)) > 0
        if alive.sum() <= len(case) // 2:
            tree.keep(torch.from_numpy(alive).to(logits.device))
            row, case = (np.cumsum(alive) - 1)[row], case[alive]
        place = np.arange(len(row)) - np.searchsorted(row, row)  # rows ascend
        shape = (len(case), int(place.max()) + 1)
        copy, parents, tokens = np.full(shape, -1), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        copy[row, place], parents[row, place], tokens[row, place] = number, parent, token
        logits = tree.grow(*(torch.from_numpy(x).to(logits.device) for x in (parents, tokens)))
    return written


class _Ends:
    """What ends a completion: the tokenizer's end of text, or a string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop, self._end = tokenizer, [s for s in stop if s], tokenizer.eos_token_id
        #: Tokens with which a stop string may be complete: those that hold the last character of one.
        words = tokenizer.batch_decode([[i] for i in range(len(tokenizer))]) if self._stop else []
        self._marks = np.array([any(s[-1] in word for s in self._stop) for word in words], bool)
        self._reach = max((len(s.encode()) for s in self._stop), default=0) + 4  # a token has a byte or more

    def reached(self, ids: Ints) -> NDArray[np.bool_]:
        """bool [m]: each of the texts [m, t] ends with its latest token."""
        last = ids[:, -1]
        ended = np.zeros(len(last), bool) if self._end is None else last == self._end
        if self._stop:
            for i in np.flatnonzero(~ended & self._marks[np.minimum(last, len(self._marks) - 1)]):
                tail = self._tokenizer.decode(ids[i, -self._reach :].tolist(), skip_special_tokens=True)
                ended[i] = any(stop in tail for stop in self._stop)
        return ended

    def texts(self, ids: list[list[int]]) -> list[str]:
        """Words of finished texts, up to the first stop string."""
        words = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [w[: min((at for s in self._stop if (at := w.find(s)) >= 0), default=len(w))] for w in words]
