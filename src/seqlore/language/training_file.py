"""A training file for hosted fine-tuning, looked through before anything is paid for.

Both formats of :mod:`seqlore.language.pairs`. What a provider would refuse is a fault; pairs that stand there twice
are told but allowed, for sessions do repeat.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqlore.errors import DataError
from seqlore.lore.cost import estimate_tokens

#: What OpenAI asks of a file for supervised fine-tuning: so many examples at least, so large at most, and so many
#: tokens an example (of today's models; what is longer is cut).
EXAMPLES, BYTES, TOKENS = 10, 512 * 2**20, 65_536


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """What was found in a file; lines count from 1.

    Attributes:
        format: "chat" or "completion". digest: SHA-256 of the content, hexadecimal.
        tokens: of all examples, estimated; a provider charges them once for each epoch. longest: of one example.
        empty: lines whose completion is empty. long: lines above the limit. duplicates: lines that repeat an earlier.
        faults: why it would be refused, a sentence each.
    """

    path: Path
    format: str
    digest: str
    examples: int
    tokens: int
    longest: int
    empty: tuple[int, ...]
    long: tuple[int, ...]
    duplicates: tuple[int, ...]
    faults: tuple[str, ...]


def check_file(
    path: str | Path, *, examples: int = EXAMPLES, most_bytes: int = BYTES, tokens: int = TOKENS
) -> TrainingFile:
    """Look through the training file ``path``; limits as the provider sets them.

    Raises: DataError: there is no such file, or a line is no example, or the lines are of two formats.
    """
    path = Path(path)
    digest, lengths, formats = hashlib.sha256(), list[int](), set[str]()
    empty, long, duplicates, seen = list[int](), list[int](), list[int](), set[bytes]()
    for number, line in _lines(path):
        digest.update(line)
        kind, texts = _example(line, f"{path}, line {number}")
        formats.add(kind)
        if len(formats) > 1:
            raise DataError(f"{path}, line {number}: the lines before are in another format; keep to one in a file")
        lengths.append(sum(map(estimate_tokens, texts)))
        if not texts[-1].removesuffix("###").strip():
            empty.append(number)
        if lengths[-1] > tokens:
            long.append(number)
        key = hashlib.sha256(json.dumps(texts).encode()).digest()
        if key in seen:
            duplicates.append(number)
        seen.add(key)
    faults = []
    if len(lengths) < examples:
        faults.append(f"{len(lengths)} examples, at least {examples} are asked for")
    if (size := path.stat().st_size) > most_bytes:
        faults.append(f"{size:,} bytes, at most {most_bytes:,} are taken")
    if empty:
        faults.append(f"empty completions in lines {_some(empty)}")
    if long:
        faults.append(f"more than {tokens:,} tokens (estimated) in lines {_some(long)}")
    return TrainingFile(
        path,
        next(iter(formats), "chat"),
        digest.hexdigest(),
        len(lengths),
        sum(lengths),
        max(lengths, default=0),
        tuple(empty),
        tuple(long),
        tuple(duplicates),
        tuple(faults),
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file, start=1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); write it with write_pairs") from error


def _example(line: bytes, where: str) -> tuple[str, list[str]]:
    """Format and texts of a line, the completion last."""
    try:
        example: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: no JSON ({error}); write the file with write_pairs") from None
    if isinstance(example, dict) and set(example) == {"prompt", "completion"}:
        texts = [example["prompt"], example["completion"]]
        if all(isinstance(text, str) for text in texts):
            return "completion", texts
    if isinstance(example, dict) and set(example) == {"messages"} and isinstance(example["messages"], list):
        messages = [m for m in example["messages"] if isinstance(m, dict) and isinstance(m.get("content"), str)]
        roles = [m.get("role") for m in messages]
        known = len(messages) == len(example["messages"]) and set(roles) <= {"system", "user", "assistant"}
        if known and "user" in roles and roles[-1] == "assistant":
            return "chat", [m["content"] for m in messages]
    raise DataError(f"{where}: neither prompt and completion nor messages that end in the assistant's")


def _some(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    return shown if len(lines) <= 5 else f"{shown} and {len(lines) - 5} more"
