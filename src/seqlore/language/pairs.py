"""Prompt–completion pairs: what a language model is tuned on, and the two files that hold them.

The session format is that of Harte et al., "Leveraging Large Language Models for Sequential Recommendation", RecSys
2023 (DOI 10.1145/3604915.3610639), section 3.2 and figure 1: the titles of a session but its last, numbered and one a
line, closed by an empty line and ``###``; the completion is a blank, the last title, and ``###``.

Deviations, each to keep a pair readable by machine: a title is written on one line, with single blanks; three or more
``#`` within a title are written as two, because the mark ends the completion; an item without a title is left out of
the list. The model that the paper tuned (ada) is gone, and those that a provider tunes today take chat messages: there
roles say where a message ends, so both marks are left out, and a system message says what is wanted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seqlore.errors import ConfigError, DataError
from seqlore.lore.model import Prompt

#: Where a prompt and a completion end.
PROMPT_END, COMPLETION_END = "\n\n###\n", " ###"
#: What a chat model is told before the list.
SYSTEM = "The user lists products in the order in which one customer chose them. Name the product chosen next."

Format = Literal["chat", "completion"]


@dataclass(frozen=True, slots=True)
class Pair:
    """An input and the output that is wanted for it, marks included (see the top of this file)."""

    prompt: str
    completion: str


def written(title: str) -> str:
    """``title`` as it stands in pairs: one line, single blanks, no end mark within."""
    return re.sub("#{3,}", "##", " ".join(title.split()))


def session_prompt(titles: Sequence[str]) -> str:
    """The titles of a session's items, oldest first, as figure 1 writes them: ``"1. A\\n2. B\\n\\n###\\n"``."""
    return _numbered(titles) + PROMPT_END


def session_completion(title: str) -> str:
    """The title that comes next, as figure 1 writes it: ``" C ###"``. Raises: DataError: there is no title."""
    if not (words := written(title)):
        raise DataError("an item without a title cannot be a completion: leave out sessions that end in one")
    return f" {words}{COMPLETION_END}"


def session_question(titles: Sequence[str]) -> Prompt:
    """What to ask a model that was tuned on the chat file: the list of :func:`session_prompt` without its mark."""
    return Prompt(_numbered(titles), system=SYSTEM, task="next-title", facts=(("titles", tuple(titles)),))


def parse_completion(text: str) -> str:
    """The title in what a model wrote: its first line with words, up to the mark if there is one; "" if there is none.

    ``parse_completion(session_completion(title)) == written(title)``.
    """
    lines = (" ".join(line.split()) for line in text.split(COMPLETION_END.strip(), 1)[0].splitlines())
    return next((line for line in lines if line), "")


def chat_messages(pair: Pair, system: str = SYSTEM) -> list[dict[str, str]]:
    """A pair as chat: system message ("" = none), the prompt and the completion without their marks."""
    asked = Prompt(pair.prompt.removesuffix(PROMPT_END), system=system)
    return [*asked.messages, {"role": "assistant", "content": pair.completion.removesuffix(COMPLETION_END).strip()}]


def write_pairs(path: str | Path, pairs: Iterable[Pair], format: Format = "chat", system: str = SYSTEM) -> int:
    """Write a training file, JSON lines, and return how many.

    Args:
        path: the file; it is there whole or not at all.
        pairs: in the order in which they are written.
        format: ``"chat"``: ``{"messages": [...]}``, what hosted tuning takes today; ``"completion"``: ``{"prompt": …,
            "completion": …}``, the paper's.
        system: system message of the chat format; "" = none.

    Raises: ConfigError: no such format.
    """
    if format not in ("chat", "completion"):
        raise ConfigError(f"write_pairs: no format {format!r}: write 'chat' or 'completion'")
    path, count = Path(path), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for pair in pairs:
                paper = {"prompt": pair.prompt, "completion": pair.completion}
                line = {"messages": chat_messages(pair, system)} if format == "chat" else paper
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _numbered(titles: Sequence[str]) -> str:
    named = [words for title in titles if (words := written(title))]
    return "\n".join(f"{number}. {words}" for number, words in enumerate(named, start=1))
