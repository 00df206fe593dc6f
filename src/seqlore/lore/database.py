"""The SQLite file below the lore store: tables, connection, rows; errors in one sentence."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from seqlore.errors import DataError
from seqlore.lore.model import Answer, Prompt, Sampling
from seqlore.text.encodable import encodable

#: Of the file, as SQLite's ``user_version``; and what tells it from other SQLite files (``application_id``, "lore").
FORMAT, APPLICATION = 1, 0x6C6F7265
SCHEMA = """
CREATE TABLE setups (id INTEGER PRIMARY KEY, model TEXT NOT NULL, system TEXT NOT NULL, sampling TEXT NOT NULL,
    UNIQUE (model, system, sampling));
CREATE TABLE generations (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, setup INTEGER NOT NULL REFERENCES setups,
    prompt TEXT NOT NULL, texts TEXT NOT NULL, finish TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, cost REAL, time REAL NOT NULL);
CREATE TABLE origins (id INTEGER PRIMARY KEY, task TEXT NOT NULL, stage TEXT NOT NULL, prompt_set TEXT NOT NULL,
    prompt_digest TEXT NOT NULL, dataset TEXT NOT NULL, split TEXT NOT NULL,
    UNIQUE (task, stage, prompt_set, prompt_digest, dataset, split));
CREATE TABLE uses (generation INTEGER NOT NULL REFERENCES generations, origin INTEGER NOT NULL REFERENCES origins,
    kind TEXT NOT NULL, subject TEXT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (generation, origin, kind, subject, version)) WITHOUT ROWID;
CREATE INDEX uses_by_subject ON uses (kind, subject);
CREATE VIEW lore AS SELECT o.task, o.stage, u.kind, u.subject AS id, u.version, g.texts, g.finish, s.model, s.sampling,
    s.system, g.prompt, g.prompt_tokens, g.completion_tokens, g.seconds, g.cost, g.time, o.prompt_set, o.prompt_digest,
    o.dataset, o.split, lower(hex(g.key)) AS key
    FROM generations g JOIN setups s ON s.id = g.setup
    LEFT JOIN uses u ON u.generation = g.id LEFT JOIN origins o ON o.id = u.origin;
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Why prompts are asked.

    Attributes:
        task: what shall come of it, say "item-label". stage: this step of it: the task's name, "denoise" or "reword".
        prompt_set, prompt_digest: name and content hash of the prompt set.
        dataset: its content hash. split: the training part that was read; "" = none of it.
    """

    task: str
    stage: str
    prompt_set: str = ""
    prompt_digest: str = ""
    dataset: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a text is about: an "item" or a "user" by external id, and which wording of the text it is."""

    kind: str
    id: str
    version: int = 0


class Database:
    """A lore store's file, opened when it is first used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: sqlite3.Connection | None = None
        self._durable: bool | None = None

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = self._durable = None

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing of what is written inside. Args: durable: it shall outlive a power cut too."""
        with self.connection() as connection:
            if durable != self._durable:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection. Raises: DataError: what SQLite complains of, in one sentence."""
        try:
            if self._open is None:
                self._open = self._connect()
            yield self._open
        except sqlite3.OperationalError as error:
            raise DataError(
                f"{self.path}: the lore store cannot be used ({error}); make room there, or name another file with "
                "--store or SEQLORE_CACHE"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path}: not a lore store, or a damaged one ({error}); move it away, or name another file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path}: its folder cannot be made ({error.strerror}); name another") from error
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            if _pragma(connection, "application_id") != APPLICATION:
                _create(connection)
            if (version := _pragma(connection, "user_version")) != FORMAT:
                raise DataError(
                    f"{self.path}: a lore store of format {version}, and this Seqlore reads format {FORMAT}; "
                    "use the Seqlore that wrote it, or name another file"
                )
            connection.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
        except BaseException:
            connection.close()
            raise
        return connection


def canonical(sampling: Sampling) -> str:
    return json.dumps(sampling.model_dump(), sort_keys=True)


def keep(
    connection: sqlite3.Connection, key: bytes, model: str, prompt: Prompt, sampling: Sampling, answer: Answer
) -> tuple[int, bool]:
    """Insert an answer unless the key has one; the row of the key's answer, and whether it is this one."""
    setup = _row(connection, "setups", ("model", "system", "sampling"), (model, prompt.system, canonical(sampling)))
    said = (json.dumps(answer.texts, ensure_ascii=False), json.dumps(answer.finish))
    counts = (answer.prompt_tokens, answer.completion_tokens, answer.seconds, answer.cost)
    inserted = connection.execute(
        "INSERT OR IGNORE INTO generations (key, setup, prompt, texts, finish, prompt_tokens, completion_tokens, "
        "seconds, cost, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key, setup, prompt.text, *said, *counts, time.time()),
    )
    (number,) = connection.execute("SELECT id FROM generations WHERE key = ?", (key,)).fetchone()
    return number, inserted.rowcount == 1


def note(connection: sqlite3.Connection, generation: int, origin: Origin, subjects: Sequence[Subject]) -> None:
    """Write down what an answer is for."""
    number = _row(connection, "origins", [field.name for field in fields(Origin)], astuple(origin))
    rows = [(generation, number, subject.kind, encodable(subject.id), subject.version) for subject in subjects]
    connection.executemany("INSERT OR IGNORE INTO uses VALUES (?, ?, ?, ?, ?)", rows)


def _row(connection: sqlite3.Connection, table: str, columns: Sequence[str], values: Sequence[str]) -> int:
    """The id of the row of ``table`` with these values, inserted where it is new."""
    values = [encodable(value) for value in values]
    query = f"SELECT id FROM {table} WHERE " + " AND ".join(f"{column} = ?" for column in columns)
    found = connection.execute(query, values).fetchone()
    if found is None:
        marks = ", ".join("?" * len(columns))
        connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
        found = connection.execute(query, values).fetchone()
    return found[0]


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file; another process may be about it too."""
    connection.execute("BEGIN IMMEDIATE")
    if _pragma(connection, "application_id") != APPLICATION:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it holds the tables of another program")
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
