"""Prompts that fit: into a model's context, and into a budget of tokens for what they are written from.

The rule, for one item or user. An entry is a review of an item, or an event of a user with all that is known of it.

1. Entries are taken from the latest backwards as long as each can have its title and categories whole and
   :data:`LEAST` tokens of its texts (review, profile, description). Older ones are dropped whole; the latest stays.
2. What the budget has left is dealt to the texts of these entries in equal shares; a text that is shorter than its
   share is whole, and the others have the rest.
3. A text that is longer than its share is cut at the end of a sentence in the second half of it, else between words.

The budget is ``budget`` tokens or, if that is less, the context without the instructions and the longest completion.
A prompt that proves too long all the same, for tokens do not quite add up, is made again with less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError
from seqlore.lore.model import LanguageModel, Prompt, Sampling
from seqlore.lore.prompts import Facts, PromptSet

#: Tokens that a text of an entry has at least, or the entry is dropped; tokens for the signs around an entry.
LEAST, SIGNS = 32, 6
#: The facts that hold a value for each entry, by task, and those among them that may be cut. All others stay whole.
ENTRIES: dict[str, tuple[str, ...]] = {
    "item-knowledge": ("description",),
    "item-attributes": ("description",),
    "item-label": ("reviews",),
    "user-preference": ("titles", "categories"),
    "user-label": ("titles", "profiles", "reviews"),
    "denoise": ("reviews",),
}
TEXTS = frozenset({"description", "profiles", "reviews"})

_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]]*(?=\s)|[。！？]")


def fit(
    facts: Sequence[Facts], prompts: PromptSet, model: LanguageModel, sampling: Sampling, budget: int
) -> list[Prompt]:
    """A prompt for each of ``facts``, shortened by the rule above.

    Raises: ConfigError: the model's context has no room for the instructions and the latest entry.
    """
    if not facts:
        return []
    names = ENTRIES.get(prompts.task, ())
    tokens = _tokens({text for each in facts for name in names for text in each.get(name, ())}, model)
    room = None if model.context is None else model.context - sampling.max_tokens
    if room is not None:
        instructions = prompts.ask({"variant": facts[0].get("variant", ())})
        budget = min(budget, max(0, room - int(model.count_tokens([instructions])[0])))
    out = [prompts.ask(shortened(each, names, budget, tokens)) for each in facts]
    budgets, open_ = np.full(len(out), budget, np.int64), np.arange(len(out))
    while room is not None and open_.size:
        lengths = model.count_tokens([out[i] for i in open_])
        for i, length in zip(open_[lengths > room], lengths[lengths > room], strict=True):
            if budgets[i] == 0 or not names:
                raise ConfigError(
                    f"prompt set {prompts.name}: with max_tokens = {sampling.max_tokens} the model's context of "
                    f"{model.context} tokens leaves {max(room, 0)} for a prompt, and the shortest has {length}; lower "
                    "max_tokens, shorten the prompt, or take a model with a longer context"
                )
            budgets[i] = max(0, min(budgets[i] - (length - room), int(0.9 * budgets[i])))
            out[i] = prompts.ask(shortened(facts[i], names, int(budgets[i]), tokens))
        open_ = open_[lengths > room]
    return out


def _tokens(texts: set[str], model: LanguageModel) -> dict[str, int]:
    """Tokens of each text by itself."""
    every = sorted(texts)
    counts = model.count_tokens([Prompt(""), *map(Prompt, every)])
    return dict(zip(every, np.maximum(counts[1:] - counts[0], 0).tolist(), strict=True))


def shortened(facts: Facts, names: Sequence[str], budget: int, tokens: Mapping[str, int]) -> Facts:
    """``facts`` with the entries that the facts ``names`` hold brought under ``budget`` tokens.

    Args: tokens: of each text in them.
    """
    entries = {name: facts[name] for name in names if facts.get(name)}
    if not entries:
        return facts
    texts = [name for name in entries if name in TEXTS]
    count = len(next(iter(entries.values())))
    fixed = [SIGNS + sum(tokens[entries[n][i]] for n in entries if n not in TEXTS) for i in range(count)]
    start, needed = count, 0
    while start > 0:
        needed += fixed[start - 1] + sum(min(LEAST, tokens[entries[n][start - 1]]) for n in texts)
        if needed > budget and start < count:
            break
        start -= 1
    lengths = np.array([tokens[value] for n in texts for value in entries[n][start:]], np.int64)
    share = equal_share(lengths, budget - sum(fixed[start:]))
    kept = {
        name: tuple(cut(v, share, tokens[v]) if name in TEXTS else v for v in values[start:])
        for name, values in entries.items()
    }
    return {**facts, **kept}


def equal_share(lengths: NDArray[np.int64], total: int) -> int:
    """The largest s with Σ min(length, s) ≤ total; the greatest length where all have room, at least 0."""
    if not lengths.size:
        return 0
    ordered = np.sort(lengths)
    shares = (total - (np.cumsum(ordered) - ordered)) // np.arange(len(ordered), 0, -1)
    short = shares < ordered
    return max(0, int(shares[short.argmax()])) if short.any() else int(ordered[-1])


def cut(text: str, share: int, tokens: int) -> str:
    """The beginning of a text of ``tokens`` tokens that has about ``share`` of them."""
    if tokens <= share:
        return text
    limit = len(text) * share // tokens
    ends = [m.end() for m in _SENTENCE_END.finditer(text, 0, limit + 1) if limit / 2 <= m.end() <= limit]
    return text[: ends[-1]] if ends else text[: limit + 1].rpartition(" ")[0] or text[:limit]
