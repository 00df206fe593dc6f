"""One shelf of the vector store: the vectors of one encoder and one prompt, in a folder.

- ``meta.json``: encoder identity, prompt, dimension;
- ``vectors.f32``: rows of float32, appended, never rewritten;
- ``keys.bin``: a record a row: SHA-256 of the text, then CRC-32 of the vector.

A batch is appended vectors first, keys second, each flushed to the disk, so a row counts only once both are there: a
killed run loses the batch in flight and nothing else. What a crash left half-written at the end is found by length and
checksum, ignored by readers, and cut by the next writer. Writers of one shelf take turns (a file lock that the
operating system releases when a process dies); one that waited finds the other's vectors instead of computing them
again. Readers never wait. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from seqlore.errors import DataError
from seqlore.text.encoder import TextEncoder

FORMAT = 1
RECORD = np.dtype([("key", "V32"), ("crc", "<u4")])
#: Rows at the end whose checksum is verified on opening: more than a crash can have torn.
TAIL = 4096
#: Texts a batch, for an encoder that does not make batches of its own.
BATCH = 256

#: Called with (texts computed, texts to compute).
Progress = Callable[[int, int], None]


def text_keys(texts: Sequence[str]) -> NDArray[np.void]:
    """V32 [n], SHA-256 of each text. Half an emoji, as broken files have them, is no error."""
    digests = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
    return np.frombuffer(b"".join(digests), RECORD["key"])


@dataclass(frozen=True, eq=False)
class Rows:
    """A snapshot of a shelf, memory-mapped.

    Attributes: keys: V32 [n]. vectors: float32 [n, d].
    """

    keys: NDArray[np.void]
    vectors: NDArray[np.float32]

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """First eight bytes of every key, sorted, and the rows in that order."""
        prefix = _prefix(self.keys)
        order = np.argsort(prefix, kind="stable")
        return prefix[order], order

    def find(self, keys: NDArray[np.void]) -> NDArray[np.int64]:
        """int64 [m], the row of each key; −1 where it is not there."""
        prefix, order = self._sorted
        asked = _prefix(keys)
        at, end = np.searchsorted(prefix, asked, "left"), np.searchsorted(prefix, asked, "right")
        found = np.full(len(keys), -1, np.int64)
        # One step as good as always; more only where two digests share their first eight bytes.
        while (open_ := np.flatnonzero((found < 0) & (at < end))).size:
            rows = order[at[open_]]
            same = self.keys[rows] == keys[open_]
            found[open_[same]] = rows[same]
            at[open_] += 1
        return found


def _prefix(keys: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys).view("<u8").reshape(-1, 4)[:, 0]


class Shelf:
    """The vectors of one encoder and one prompt. Made by :meth:`VectorStore.shelf`."""

    def __init__(self, folder: Path, identity: str, prompt: str) -> None:
        self.folder, self.identity, self.prompt = folder, identity, prompt
        self._meta, self._vectors, self._keys = folder / "meta.json", folder / "vectors.f32", folder / "keys.bin"

    def dimension(self) -> int | None:
        """Width of the vectors; None where nothing has been written yet.

        Raises: DataError: ``meta.json`` is damaged or describes something else.
        """
        if not self._meta.is_file():
            return None
        try:
            meta = json.loads(self._meta.read_text(encoding="utf-8"))
            fits = (meta["format"], meta["encoder"], meta["prompt"]) == (FORMAT, self.identity, self.prompt)
            dimension = int(meta["dimension"])
        except (ValueError, KeyError, TypeError):
            fits, dimension = False, 0
        if not fits or dimension < 1:
            raise DataError(
                f"{self._meta}: damaged, or of another version; delete the folder, and its vectors are computed again"
            )
        return dimension

    def rows(self) -> Rows:
        """Everything that is complete at this moment."""
        dimension = self.dimension()
        n = 0 if dimension is None else self._intact(dimension)
        if dimension is None or n == 0:
            return Rows(np.zeros(0, RECORD["key"]), np.zeros((0, dimension or 0), np.float32))
        records = np.memmap(self._keys, RECORD, "r", shape=(n,))
        return Rows(records["key"], np.memmap(self._vectors, np.float32, "r", shape=(n, dimension)))

    def _intact(self, dimension: int) -> int:
        """Rows that have both vector and key, less those at the end whose checksum does not fit."""
        if not (self._keys.is_file() and self._vectors.is_file()):
            return 0
        n = min(self._keys.stat().st_size // RECORD.itemsize, self._vectors.stat().st_size // (4 * dimension))
        if n == 0:
            return 0
        start = max(0, n - TAIL)
        crc = np.memmap(self._keys, RECORD, "r", shape=(n,))["crc"][start:]
        tail = np.memmap(self._vectors, np.float32, "r", shape=(n, dimension))[start:]
        torn = np.flatnonzero(crc != _checksums(tail))
        return n if not torn.size else start + int(torn[0])

    def fill(self, texts: Sequence[str], encoder: TextEncoder, progress: Progress | None = None) -> None:
        """Compute and append those of ``texts`` (all different) that are not there. Waits for another writer.

        Raises: DataError: the folder cannot be written, or the encoder's vectors do not fit.
        """
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            lock.acquire()
        try:
            with self._writing():
                self._cut()
            keys = text_keys(texts)
            absent = np.flatnonzero(self.rows().find(keys) < 0)
            todo = [texts[i] for i in absent.tolist()]
            done = 0
            for index, vectors in _batches(encoder, [self.prompt + text for text in todo]):
                self._append(keys[absent[index]], vectors, [todo[i] for i in index.tolist()])
                done += len(index)
                if progress:
                    progress(done, len(todo))
        finally:
            lock.release()

    def _append(self, keys: NDArray[np.void], vectors: NDArray[np.float32], texts: list[str]) -> None:
        """Write a batch so that it survives whatever happens next (the lock is held)."""
        vectors = self._checked(vectors, texts)
        records = np.empty(len(keys), RECORD)
        records["key"], records["crc"] = keys, _checksums(vectors)
        with self._writing():
            for path, block in ((self._vectors, vectors), (self._keys, records)):
                with path.open("ab") as file:
                    file.write(block.tobytes())
                    file.flush()
                    os.fsync(file.fileno())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.folder}: the vector store cannot be written ({error.strerror or error}); make room there, or "
                "name another folder with store or SEQLORE_CACHE"
            ) from error

    def _cut(self) -> None:
        """Remove what a crash left half-written (the lock is held)."""
        dimension = self.dimension()
        n = 0 if dimension is None else self._intact(dimension)
        for path, width in ((self._vectors, 4 * (dimension or 0)), (self._keys, RECORD.itemsize)):
            if path.is_file() and path.stat().st_size != n * width:
                os.truncate(path, n * width)

    def _checked(self, vectors: NDArray[np.float32], texts: list[str]) -> NDArray[np.float32]:
        """``vectors`` as they may be written. The first ones ever fix the shelf's dimension."""
        vectors = np.ascontiguousarray(vectors, "<f4")
        if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.shape[1]:
            raise DataError(f"encoder {self.identity}: {len(texts)} texts gave an array of shape {vectors.shape}")
        bad = np.flatnonzero(~np.isfinite(vectors).all(1))
        if bad.size:
            raise DataError(f"encoder {self.identity}: the vector of {texts[bad[0]][:80]!r} is not finite")
        dimension = self.dimension()
        if dimension is None:
            meta = {"format": FORMAT, "encoder": self.identity, "prompt": self.prompt, "dimension": vectors.shape[1]}
            new = self._meta.with_suffix(".new")
            with self._writing():
                new.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
                os.replace(new, self._meta)
        elif dimension != vectors.shape[1]:
            raise DataError(
                f"encoder {self.identity}: vectors have {vectors.shape[1]} dimensions, those in {self.folder} have "
                f"{dimension}; delete that folder if the encoder has changed"
            )
        return vectors


def _checksums(vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.fromiter((zlib.crc32(row) for row in np.ascontiguousarray(vectors)), np.uint32, len(vectors))


def _batches(encoder: TextEncoder, texts: list[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(positions in ``texts``, vectors), in the encoder's own batches where it makes such."""
    own = getattr(encoder, "batches", None)
    if own is not None:
        yield from own(texts)
        return
    order = np.argsort([-len(t) for t in texts], kind="stable")  # alike in length, so that little is padded
    for start in range(0, len(order), BATCH):
        index = order[start : start + BATCH]
        yield index, encoder.encode([texts[i] for i in index])
