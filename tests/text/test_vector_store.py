from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqlore.errors import DataError
from seqlore.text.cache import cache_dir, file_digest
from seqlore.text.shelf import RECORD, Rows
from seqlore.text.store import VectorStore
from text.fakes import FakeEncoder, SlowEncoder, vector_of

FAKES = Path(__file__).with_name("fakes.py")


def expected(texts: list[str]) -> np.ndarray:
    return np.array([vector_of(t) for t in texts], np.float32)


def only_shelf(store: VectorStore) -> Path:
    (folder,) = store.folder.iterdir()
    return folder


def test_missing_texts_are_computed_once_and_kept(tmp_path: Path) -> None:
    store, encoder = VectorStore(tmp_path / "vectors"), FakeEncoder()
    first = store.fetch(["b", "a", "b"], encoder)
    assert (first.hits, first.misses) == (0, 2)
    assert np.array_equal(first.vectors, expected(["b", "a", "b"]))
    assert first.vectors.dtype == np.float32
    assert type(first.vectors) is np.ndarray

    second = VectorStore(tmp_path / "vectors").fetch(["c", "a", "b", "c"], encoder)  # as after a restart
    assert (second.hits, second.misses) == (2, 1)
    assert np.array_equal(second.vectors, expected(["c", "a", "b", "c"]))
    assert sorted(encoder.asked) == ["a", "b", "c"]


def test_nothing_is_asked_of_the_encoder_when_all_is_there(tmp_path: Path) -> None:
    class Untouchable:
        identity = "fake"

        @property
        def dimension(self) -> int:
            raise AssertionError("a warm store needs no model")

        def encode(self, texts: object) -> np.ndarray:
            raise AssertionError("a warm store needs no model")

    store = VectorStore(tmp_path)
    store.fetch(["a"], FakeEncoder())
    assert np.array_equal(store.fetch(["a"], Untouchable()).vectors, expected(["a"]))


def test_prompt_is_part_of_the_text_and_of_the_key(tmp_path: Path) -> None:
    store, encoder = VectorStore(tmp_path), FakeEncoder()
    plain = store.fetch(["a"], encoder).vectors
    prompted = store.fetch(["a"], encoder, "item: ").vectors
    assert np.array_equal(plain[0], vector_of("a"))
    assert np.array_equal(prompted[0], vector_of("item: a"))
    assert encoder.asked == ["a", "item: a"]


def test_encoders_do_not_share_vectors(tmp_path: Path) -> None:
    store, one, two = VectorStore(tmp_path), FakeEncoder("one"), FakeEncoder("two", width=4)
    assert store.fetch(["a"], one).vectors.shape == (1, 8)
    assert store.fetch(["a"], two).vectors.shape == (1, 4)
    assert two.asked == ["a"]


def test_empty_and_broken_texts_are_texts(tmp_path: Path) -> None:
    texts = ["", "\ud83d", "日本語", "a\0b"]  # \ud83d: half an emoji
    assert np.array_equal(VectorStore(tmp_path).fetch(texts, FakeEncoder()).vectors, expected(texts))
    assert VectorStore(tmp_path).fetch(texts, FakeEncoder()).hits == 4


def test_vectors_are_memory_mapped(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    store.fetch(["a"], FakeEncoder())
    assert isinstance(store.shelf("fake").rows().vectors, np.memmap)


def test_progress_counts_the_missing_texts(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    store = VectorStore(tmp_path)
    store.fetch(["t0"], FakeEncoder())
    encoder = SlowEncoder(tmp_path / "log", 0)
    store.fetch([f"t{i}" for i in range(10)], encoder, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(4, 9), (8, 9), (9, 9)]


def test_longest_texts_come_first_for_an_encoder_without_batches(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    VectorStore(tmp_path).fetch(["a", "ccc", "bb"], encoder)
    assert encoder.asked == ["ccc", "bb", "a"]


def test_a_flipped_bit_at_the_end_costs_that_row_only(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    texts = ["one", "two", "three", "four"]
    for text in texts:
        store.fetch([text], FakeEncoder())
    path = only_shelf(store) / "vectors.f32"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    encoder = FakeEncoder()
    assert np.array_equal(store.fetch(texts, encoder).vectors, expected(texts))
    assert encoder.asked == ["four"]
    assert path.stat().st_size == 4 * 8 * 4


def test_keys_without_vectors_are_no_hits(tmp_path: Path) -> None:
    """What a power cut leaves where the file system had grown the files but not filled them: zeros."""
    store = VectorStore(tmp_path)
    store.fetch(["one"], FakeEncoder())
    for name, width in (("vectors.f32", 32), ("keys.bin", RECORD.itemsize)):
        with (only_shelf(store) / name).open("ab") as file:
            file.write(b"\xff" * width)
    encoder = FakeEncoder()
    found = store.fetch(["one", "two"], encoder)
    assert np.array_equal(found.vectors, expected(["one", "two"]))
    assert encoder.asked == ["two"]
    assert len(store.shelf("fake").rows().keys) == 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_anywhere_the_files_give_right_vectors_and_lose_only_what_was_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = VectorStore(tmp_path_factory.mktemp("store"))
    texts = [f"text {i}" for i in range(7)]
    store.fetch(texts, FakeEncoder())
    kept = len(texts)
    for name, width in (("vectors.f32", 32), ("keys.bin", RECORD.itemsize)):
        size = data.draw(st.integers(0, 7 * width), label=name)
        os.truncate(only_shelf(store) / name, size)
        kept = min(kept, size // width)
    encoder = FakeEncoder()
    found = store.fetch(texts, encoder)
    assert np.array_equal(found.vectors, expected(texts))
    assert (found.hits, found.misses, len(encoder.asked)) == (kept, 7 - kept, 7 - kept)
    assert store.fetch(texts, FakeEncoder()).hits == 7


def run_fakes(store: Path, log: Path, count: int, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(FAKES), str(store), str(log), str(count), str(seconds)])


def test_a_killed_run_loses_at_most_the_batch_in_flight(tmp_path: Path) -> None:
    store, log, count = VectorStore(tmp_path / "vectors"), tmp_path / "log", 400
    log.touch()
    process = run_fakes(store.folder, log, count, 0.03)
    try:
        for _ in range(6000):
            if len(log.read_text().splitlines()) >= 5 * 4:
                break
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = len(log.read_text().splitlines())
    assert 20 <= begun < count
    encoder = FakeEncoder()
    found = store.fetch([f"text {i}" for i in range(count)], encoder)
    assert np.array_equal(found.vectors, expected([f"text {i}" for i in range(count)]))
    assert found.hits in (begun - 4, begun)
    assert len(encoder.asked) == count - found.hits


def test_two_processes_compute_nothing_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [run_fakes(tmp_path / "vectors", log, 80, 0.05) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert sorted(log.read_text().splitlines()) == sorted(f"text {i}" for i in range(80))


def test_find_tells_keys_apart_that_share_their_first_bytes() -> None:
    keys = np.frombuffer(b"".join(b"same8byt" + bytes([i]) * 24 for i in (3, 1, 2)), RECORD["key"])
    rows = Rows(keys, np.zeros((3, 1), np.float32))
    asked = np.frombuffer(b"".join(b"same8byt" + bytes([i]) * 24 for i in (0, 1, 2, 3, 9)), RECORD["key"])
    assert rows.find(asked).tolist() == [-1, 1, 2, 0, -1]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1, "encoder": "fake", "prompt": "", "dimension": 0}'])
def test_damaged_meta_is_one_clear_sentence(tmp_path: Path, content: str) -> None:
    store = VectorStore(tmp_path)
    store.fetch(["a"], FakeEncoder())
    (only_shelf(store) / "meta.json").write_text(content)
    with pytest.raises(DataError, match=r"meta\.json: damaged.*delete the folder"):
        store.fetch(["a"], FakeEncoder())


def test_an_encoder_that_changes_its_width_is_refused(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    store.fetch(["a"], FakeEncoder("same", width=8))
    with pytest.raises(DataError, match=r"have 4 dimensions, those in .* have 8"):
        store.fetch(["b"], FakeEncoder("same", width=4))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"the vector store cannot be written .*SEQLORE_CACHE$"):
        VectorStore(tmp_path / "file").fetch(["a"], FakeEncoder())


def test_a_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, texts, flushes = VectorStore(tmp_path / "vectors"), [f"text {i}" for i in range(12)], iter(range(100))

    def fsync(_: int) -> None:
        if next(flushes) >= 3:  # two for the first batch, one for the vectors of the second
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(DataError, match="No space left on device"):
            store.fetch(texts, SlowEncoder(tmp_path / "log", 0))
    found = store.fetch(texts, FakeEncoder())
    assert np.array_equal(found.vectors, expected(texts))
    assert found.hits in (4, 8)  # whether the second batch's keys had reached the file is the system's affair


class Wrong(FakeEncoder):
    def __init__(self, answer: np.ndarray) -> None:
        super().__init__("wrong")
        self.answer = answer

    def encode(self, texts: object) -> np.ndarray:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((1, 3)), "2 texts gave an array of shape"),
        (np.zeros((2, 0)), "2 texts gave an array of shape"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), "the vector of 'b' is not finite"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_and_not_kept(tmp_path: Path, answer: np.ndarray, message: str) -> None:
    store = VectorStore(tmp_path)
    with pytest.raises(DataError, match=message):
        store.fetch(["a", "b"], Wrong(answer))
    assert not len(store.shelf("wrong").rows().keys)


def test_default_folder_is_below_the_cache_folder(own_cache: Path) -> None:
    assert cache_dir() == own_cache
    VectorStore().fetch(["a"], FakeEncoder())
    assert only_shelf(VectorStore()).parent == own_cache / "vectors"


def test_file_digest_reads_a_file_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    first = file_digest(path)
    assert first == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    with monkeypatch.context() as patch:
        patch.setattr("seqlore.text.cache.hashlib.file_digest", None)
        assert file_digest(path) == first
    path.write_bytes(b"abcd")
    assert file_digest(path) != first


def test_a_damaged_memory_of_digests_is_only_slower(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    first = file_digest(path)
    (own_cache / "digests.json").write_text('{"half')
    assert file_digest(path) == first
