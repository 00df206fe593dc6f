"""The lore store: every text that a language model gave, in one SQLite file; nothing that was paid for is asked twice.

A text is kept under the SHA-256 of all that it depends on: prompt, system message, model identity, sampling, and, for
a model that reads them, task and facts. Beside it stand what it cost and what it was asked for (:class:`Origin`,
:class:`Subject`); several subjects may share one text.

Each answer is committed as it comes, in write-ahead-log mode: a killed process loses the requests that were in flight
and no answer. Answers that cost money, or may, are also flushed to the disk (``synchronous=FULL``, some milliseconds
each), so that a power cut loses none either; after one, free answers of the last moments may have to be made again.

Several processes may write. Each looks up what is missing when it begins a window of :data:`WINDOW` prompts; two that
make the same at the same time may both ask for a prompt of such a window, and the first answer stays.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.errors import DataError
from seqlore.lore.database import FORMAT, Database, Origin, Subject, canonical, keep, note
from seqlore.lore.model import Answer, LanguageModel, Prompt, PromptError, Sampling
from seqlore.text.cache import cache_dir
from seqlore.text.encodable import encodable

#: Prompts that are looked up and asked together: enough for a model to sort by length.
WINDOW = 1024
#: Parameters of one SQL statement.
SLICE = 500
#: Types of the columns of the view ``lore``; what they mean stands in docs/lore.md.
TYPES: dict[str, Any] = {
    **dict.fromkeys(("task", "stage", "kind", "id"), pl.String),
    "version": pl.Int64,
    **dict.fromkeys(("texts", "finish", "model", "sampling", "system", "prompt"), pl.String),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), pl.Int64),
    **dict.fromkeys(("seconds", "cost", "time"), pl.Float64),
    **dict.fromkeys(("prompt_set", "prompt_digest", "dataset", "split", "key"), pl.String),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An answer out of the store.

    Attributes: index: into the prompts. fresh: the model was asked for it just now (of equal prompts, for the first).
    """

    index: int
    answer: Answer
    fresh: bool


def answer_key(model: LanguageModel, prompt: Prompt, sampling: Sampling) -> bytes:
    """32 bytes: equal where the same model is asked the same in the same way."""
    read = [prompt.task, prompt.facts] if model.reads_facts else []
    asked = [FORMAT, model.identity, prompt.system, prompt.text, canonical(sampling), read]
    return hashlib.sha256(json.dumps(asked).encode()).digest()


class LoreStore:
    """Generated texts in the SQLite file ``path``, made with its folder when the first is asked for."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Args: path: None = ``lore.sqlite`` in the cache folder (``SEQLORE_CACHE`` names another)."""
        self.path = cache_dir() / "lore.sqlite" if path is None else Path(path)
        self._database = Database(self.path)

    def __enter__(self) -> LoreStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._database.close()

    def ask(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        origin: Origin | None = None,
        subjects: Sequence[Subject] | None = None,
    ) -> Iterator[Told]:
        """An answer to each prompt: first those that are here, then, each as it comes, those that the model gives.

        Equal prompts are asked once. Each answer is kept before it is yielded; closing the iterator stops the model.

        Args: origin, subjects: what the answers are for, one subject a prompt; recorded with old answers too.

        Raises: PromptError: at the end, of prompts to which the model has no answer. DataError: the store is damaged or
            cannot be written. Anything else that the model raises, at once; what it gave before is kept.
        """
        positions: dict[bytes, list[int]] = {}
        for i, prompt in enumerate(prompts):
            positions.setdefault(answer_key(model, prompt, sampling), []).append(i)

        def write_down(connection: sqlite3.Connection, generation: int, key: bytes) -> None:
            if origin is not None and subjects is not None:
                note(connection, generation, origin, [subjects[i] for i in positions[key]])

        def recall(keys: Sequence[bytes]) -> Generator[Told, None, list[bytes]]:
            """Yields what is here; returns the keys of what is not."""
            found = self._find(keys)
            if found:
                with self._database.transaction() as connection:
                    for key, (generation, _) in found.items():
                        write_down(connection, generation, key)
            for key, (_, answer) in found.items():
                yield from (Told(i, answer, False) for i in positions[key])
            return [key for key in keys if key not in found]

        missing = yield from recall(list(positions))
        failures: dict[int, str] = {}
        durable = model.price(1000, 1000) != 0
        for start in range(0, len(missing), WINDOW):
            keys = missing[start : start + WINDOW]
            if start:  # another process may have been at work meanwhile
                keys = yield from recall(keys)
            if not keys:
                continue
            asked = [prompts[positions[key][0]] for key in keys]
            answers = model.generate(asked, sampling)
            try:
                for j, answer in answers:
                    with self._database.transaction(durable) as connection:
                        generation, new = keep(connection, keys[j], model.identity, asked[j], sampling, answer)
                        write_down(connection, generation, keys[j])
                    if not new:  # another process was first, and all shall tell the same
                        _, answer = self._find([keys[j]])[keys[j]]
                    yield from (Told(i, answer, i == positions[keys[j]][0]) for i in positions[keys[j]])
            except PromptError as error:
                failures |= {i: why for j, why in error.failures.items() for i in positions[keys[j]]}
            finally:
                if (close := getattr(answers, "close", None)) is not None:
                    close()
        if failures:
            raise PromptError(failures)

    def missing(self, model: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling) -> list[int]:
        """Indices of the prompts, each different one once, that :meth:`ask` would ask the model."""
        first: dict[bytes, int] = {}
        for i, prompt in enumerate(prompts):
            first.setdefault(answer_key(model, prompt, sampling), i)
        found = self._find(list(first)) if self.path.is_file() else {}
        return [i for key, i in first.items() if key not in found]

    def frame(
        self, *, task: str | None = None, kind: str | None = None, id: str | None = None, limit: int | None = None
    ) -> pl.DataFrame:
        """One row a completion and subject, newest last; the columns are in docs/lore.md.

        Args: task, kind, id: of these only. limit: the latest so many answers.

        Raises: DataError: there is no store, or it is damaged.
        """
        wanted = {column: value for column, value in (("task", task), ("kind", kind), ("id", id)) if value is not None}
        where = " AND ".join(f"{column} = ?" for column in wanted) or "1"
        order = "time DESC, key, kind DESC, id DESC, version DESC"
        latest = f"SELECT {', '.join(TYPES)} FROM lore WHERE {where} ORDER BY {order} LIMIT ?"
        rows = self._read(latest, (*map(encodable, wanted.values()), -1 if limit is None else limit))[::-1]
        frame = pl.DataFrame(rows, schema=TYPES, orient="row").with_columns(
            pl.col("texts", "finish").str.json_decode(pl.List(pl.String)),
            pl.from_epoch((pl.col("time") * 1e6).cast(pl.Int64), "us").dt.replace_time_zone("UTC"),
        )
        frame = frame.with_columns(completion=pl.int_ranges(pl.col("texts").list.len())).rename({"texts": "text"})
        return frame.explode("text", "finish", "completion")

    def export(self, path: str | Path, **selection: Any) -> int:
        """Write :meth:`frame` (with its ``selection``) to a Parquet file; returns the number of rows."""
        path, frame = Path(path), self.frame(**selection)
        unfinished = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(unfinished)
            unfinished.replace(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}); name another file") from error
        return len(frame)

    def stats(self) -> pl.DataFrame:
        """What was generated: a row for each model, with its answers, tokens, seconds and cost (null = not known)."""
        rows = self._read(
            "SELECT s.model, count(*), sum(g.prompt_tokens), sum(g.completion_tokens), sum(g.seconds), "
            "CASE WHEN count(g.cost) = count(*) THEN sum(g.cost) END "
            "FROM generations g JOIN setups s ON s.id = g.setup GROUP BY s.model ORDER BY s.model"
        )
        counts = dict.fromkeys(("answers", "prompt_tokens", "completion_tokens"), pl.Int64)
        schema = {"model": pl.String, **counts, "seconds": pl.Float64, "cost": pl.Float64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def uses(self) -> pl.DataFrame:
        """What the answers are for: a row for each origin and model, with the number of texts and of subjects."""
        names = [field.name for field in fields(Origin)]
        rows = self._read(
            f"SELECT {', '.join('o.' + name for name in names)}, s.model, count(*), count(DISTINCT u.subject) "
            "FROM uses u JOIN origins o ON o.id = u.origin JOIN generations g ON g.id = u.generation "
            "JOIN setups s ON s.id = g.setup GROUP BY o.id, s.model ORDER BY o.id, s.model"
        )
        schema = {**dict.fromkeys((*names, "model"), pl.String), "texts": pl.Int64, "subjects": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _find(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, Answer]]:
        """(row, answer) of each key that is there, in the order of ``keys``."""
        rows: dict[bytes, tuple[int, Answer]] = {}
        for start in range(0, len(keys), SLICE):
            some = keys[start : start + SLICE]
            marks = ", ".join("?" * len(some))
            with self._database.connection() as connection:
                found = connection.execute(
                    "SELECT key, id, texts, finish, prompt_tokens, completion_tokens, seconds, cost "
                    f"FROM generations WHERE key IN ({marks})",
                    some,
                ).fetchall()
            for key, number, texts, finish, *counts in found:
                rows[key] = (number, Answer(tuple(json.loads(texts)), tuple(json.loads(finish)), *counts))
        return {key: rows[key] for key in keys if key in rows}

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        if not self.path.is_file():
            raise DataError(f"{self.path}: there is no lore store; `seqlore lore make` fills one")
        with self._database.connection() as connection:
            return connection.execute(query, values).fetchall()
