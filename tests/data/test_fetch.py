"""Downloads against a server of our own, in a thread: resumed, cut, refused, changed; every byte sent is counted."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from seqlore.data import Dataset
from seqlore.data.download import Checksum, digest, download
from seqlore.data.fetch import fetch
from seqlore.data.published import File, Published, catalogue, published
from seqlore.errors import DataError

BODY = bytes(range(256)) * 400  # 102,400 bytes
MD5 = hashlib.md5(BODY).hexdigest()


@dataclass
class Shelf:
    """What the server has and how it behaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"a.bin": BODY})
    etag: str | None = '"one"'
    ranges: bool = True
    #: Bytes after which the next connections break; an empty list serves all.
    cuts: list[int] = field(default_factory=list)
    #: Statuses that the next answers have instead of a file.
    errors: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def do_GET(self) -> None:
        shelf = self.shelf
        shelf.asked.append({k: v for k, v in self.headers.items() if k in ("Range", "If-Range", "Accept-Encoding")})
        body = shelf.files.get(self.path.rsplit("/", 1)[-1])
        if shelf.errors or body is None:
            return self.send_error(shelf.errors.pop(0) if shelf.errors else 404)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked and shelf.ranges and self.headers.get("If-Range") == shelf.etag else 0
        if begin and begin >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            return self.end_headers()
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        for name, value in {"Content-Length": str(len(body) - begin), **shelf.headers}.items():
            self.send_header(name, value)
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        self.end_headers()
        part = body[begin:]
        part = part[: shelf.cuts.pop(0)] if shelf.cuts else part
        shelf.sent += len(part)  # before the bytes leave: the reader may be done before this thread runs again
        self.wfile.write(part)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    has = Shelf()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"shelf": has}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    has.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield has
    server.shutdown()
    thread.join()
    server.server_close()


# --- One file --------------------------------------------------------------------------------------------------------


def test_a_plain_download(shelf: Shelf, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = download(f"{shelf.url}/a.bin", tmp_path / "new" / "a.bin", report=lambda *now: seen.append(now))
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [f.name for f in target.parent.iterdir()] == ["a.bin"], "no part, no tag is left"
    assert shelf.asked == [{"Accept-Encoding": "identity"}]


def test_a_cut_connection_goes_on_where_it_broke(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cuts = [40_000, 30_000]
    target = download(f"{shelf.url}/a.bin", tmp_path / "a.bin", wait=0)
    assert target.read_bytes() == BODY
    assert shelf.sent == len(BODY), "no byte was sent twice"
    assert [each.get("Range") for each in shelf.asked] == [None, "bytes=40000-", "bytes=70000-"]
    assert shelf.asked[1]["If-Range"] == '"one"'


def test_a_later_run_goes_on(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cuts = [40_000]
    with pytest.raises(DataError) as caught:
        download(f"{shelf.url}/a.bin", tmp_path / "a.bin", attempts=1)
    message = str(caught.value)
    assert message.startswith(f"{shelf.url}/a.bin: the download failed")
    assert f"40,000 bytes are kept in {tmp_path / 'a.bin.part'}" in message
    assert (
        f"run the command again to go on, or download {shelf.url}/a.bin by hand and put it at {tmp_path / 'a.bin'}"
        in message
    )
    assert download(f"{shelf.url}/a.bin", tmp_path / "a.bin").read_bytes() == BODY
    assert shelf.sent == len(BODY)


def test_a_changed_file_is_not_glued_together(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cuts = [40_000]
    with pytest.raises(DataError):
        download(f"{shelf.url}/a.bin", tmp_path / "a.bin", attempts=1)
    shelf.files["a.bin"], shelf.etag = BODY[::-1], '"two"'
    assert download(f"{shelf.url}/a.bin", tmp_path / "a.bin").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}])
def test_a_server_that_cannot_resume_is_asked_from_the_start(shelf: Shelf, tmp_path: Path, change: dict) -> None:
    vars(shelf).update(change)
    shelf.cuts = [40_000]
    assert download(f"{shelf.url}/a.bin", tmp_path / "a.bin", wait=0).read_bytes() == BODY
    assert shelf.sent == 40_000 + len(BODY)


def test_the_time_of_the_last_change_serves_where_there_is_no_etag(shelf: Shelf, tmp_path: Path) -> None:
    shelf.etag, shelf.headers = None, {"Last-Modified": "Wed, 23 Jul 2014 00:00:00 GMT"}
    shelf.cuts = [40_000]
    download(f"{shelf.url}/a.bin", tmp_path / "a.bin", wait=0)
    assert shelf.asked[1]["If-Range"] == "Wed, 23 Jul 2014 00:00:00 GMT"


@pytest.mark.parametrize("there", [BODY, BODY + b"more"])
def test_a_run_killed_after_the_last_byte(shelf: Shelf, tmp_path: Path, there: bytes) -> None:
    """Complete: taken as it is. Longer than the server's: begun anew."""
    (tmp_path / "a.bin.part").write_bytes(there)
    (tmp_path / "a.bin.part.tag").write_text('"one"')
    assert download(f"{shelf.url}/a.bin", tmp_path / "a.bin", wait=0).read_bytes() == BODY
    assert shelf.sent == (0 if there == BODY else len(BODY))


def test_a_wrong_checksum_discards_the_download(shelf: Shelf, tmp_path: Path) -> None:
    wrong = Checksum("md5", "0" * 32, "the publisher's")
    with pytest.raises(
        DataError, match=rf"its md5 is {MD5}, but the publisher's is 0{{32}}; the download was discarded"
    ):
        download(f"{shelf.url}/a.bin", tmp_path / "a.bin", checksum=wrong)
    assert not list(tmp_path.iterdir())
    right = Checksum("md5", MD5, "the publisher's")
    assert digest(download(f"{shelf.url}/a.bin", tmp_path / "a.bin", checksum=right), "md5") == MD5


def test_a_short_body(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cuts = [50_000] * 2
    shelf.ranges = False
    with pytest.raises(DataError, match=r"the download failed .*; 50,000 bytes are kept"):
        download(f"{shelf.url}/a.bin", tmp_path / "a.bin", attempts=2, wait=0)
    assert not (tmp_path / "a.bin").exists()


def test_errors_of_the_server(shelf: Shelf, tmp_path: Path) -> None:
    shelf.errors = [503, 429]
    assert download(f"{shelf.url}/a.bin", tmp_path / "a.bin", wait=0).read_bytes() == BODY
    with pytest.raises(
        DataError, match=r"gone\.bin: the server answers 404 Not Found; download .* by hand and put it at"
    ):
        download(f"{shelf.url}/gone.bin", tmp_path / "gone.bin", wait=0)
    assert len(shelf.asked) == 4, "a 404 is not asked for again"


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the download failed \(.*\); run the command again to go on, or download http"
    ):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", attempts=2, wait=0)


def test_a_gz_labelled_as_content_encoding_stays_packed(shelf: Shelf, tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    shelf.files["a.json.gz"], shelf.headers = packed, {"Content-Encoding": "gzip"}
    assert download(f"{shelf.url}/a.json.gz", tmp_path / "a.json.gz").read_bytes() == packed


# --- A set -----------------------------------------------------------------------------------------------------------


def movielens_zip(ratings: str = "1\t7\t5\t10\n1\t8\t3\t11\n") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml-100k/u.data", ratings)
        archive.writestr("ml-100k/README", "not needed")
        archive.writestr("../../u.user", "1|24|M|writer|00501\n")
    return packed.getvalue()


def register(monkeypatch: pytest.MonkeyPatch, *sets: Published) -> None:
    known = {**catalogue(), **{each.name: each for each in sets}}
    monkeypatch.setattr("seqlore.data.published.catalogue", lambda: known)


def tiny(md5: str | None) -> Published:
    file = File("tiny.zip", "https://nowhere.invalid/tiny.zip", md5)
    return Published("tiny", "a test", "movielens", (file,), "https://nowhere.invalid", "for tests")


def test_fetch_converts_and_needs_the_network_once(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.files["tiny.zip"] = movielens_zip()
    register(monkeypatch, tiny(hashlib.md5(shelf.files["tiny.zip"]).hexdigest()))
    made = fetch("tiny", tmp_path / "out", base_url=shelf.url, progress=False)
    assert made.name == "tiny"
    assert made.interactions["item_id"].to_list() == ["7", "8"]
    assert made.users is not None, "a path that leads out of the archive is read by its base name, inside"
    assert not (tmp_path / "u.user").exists()
    assert not (tmp_path / "out" / "raw" / "tiny" / "README").exists()
    sha256 = hashlib.sha256(shelf.files["tiny.zip"]).hexdigest()
    assert json.loads((tmp_path / "out" / "raw" / "checksums.json").read_text()) == {"tiny.zip": sha256}
    source = Dataset.load(tmp_path / "out").meta["source"]
    assert source["checksums"] == {"tiny.zip": sha256}
    assert source["terms"] == "for tests"
    again = fetch("tiny", tmp_path / "out", base_url="http://127.0.0.1:9", progress=False)
    assert again.hash == made.hash


def test_a_file_put_there_by_hand_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny("0" * 32))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "tiny.zip").write_bytes(movielens_zip())
    with pytest.raises(
        DataError, match=r"tiny\.zip: its md5 is .*, but the publisher's is 0+; delete the file and run"
    ):
        fetch("tiny", tmp_path, progress=False)


def test_without_a_published_checksum_the_first_download_sets_it(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, tiny(None))
    shelf.files["tiny.zip"] = movielens_zip()
    fetch("tiny", tmp_path, base_url=shelf.url, progress=False)
    (tmp_path / "raw" / "tiny.zip").unlink()
    shelf.files["tiny.zip"] = movielens_zip("1\t9\t1\t1\n")
    with pytest.raises(DataError, match=r"its sha256 is .*, but that of the first download \(.*checksums\.json\) is"):
        fetch("tiny", tmp_path, base_url=shelf.url, progress=False)
    (tmp_path / "raw" / "checksums.json").write_text("{")
    with pytest.raises(DataError, match=r"checksums\.json: not valid JSON .* delete it"):
        fetch("tiny", tmp_path, base_url=shelf.url, progress=False)


def test_reviews_with_metadata(shelf: Shelf, tmp_path: Path) -> None:
    review = {"reviewerID": "u", "asin": "B1", "overall": 5, "unixReviewTime": 1_400_000_000}
    shelf.files = {
        "reviews_Beauty_5.json.gz": gzip.compress(json.dumps(review).encode()),
        "meta_Beauty.json.gz": gzip.compress(repr({"asin": "B1", "title": "Comb"}).encode()),
    }
    made = fetch("amazon2014-beauty", tmp_path, base_url=f"{shelf.url}/", progress=True)
    assert made.items["title"].to_list() == ["Comb"]
    assert made.meta["source"]["format"] == "amazon"


def test_a_damaged_archive(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny(None))
    shelf.files["tiny.zip"] = movielens_zip()[:60]
    with pytest.raises(
        DataError, match=r"tiny\.zip: not a readable zip archive .* delete it and run the command again"
    ):
        fetch("tiny", tmp_path, base_url=shelf.url, progress=False)


def test_a_set_that_wants_a_form(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"yelp: Yelp's dataset licence must be accepted .* put .*review\.json and .*raw"
    ):
        fetch("yelp", tmp_path, progress=False)
    (tmp_path / "raw").mkdir()
    review = {"user_id": "u", "business_id": "b", "stars": 4, "date": "2020-01-01 00:00:00", "text": "x"}
    (tmp_path / "raw" / "yelp_academic_dataset_review.json").write_text(json.dumps(review))
    (tmp_path / "raw" / "yelp_academic_dataset_business.json").write_text('{"business_id": "b", "name": "Bar"}')
    assert fetch("yelp", tmp_path, progress=False).items["title"].to_list() == ["Bar"]


def test_the_table() -> None:
    assert len(catalogue()) == 7 + 24 + 29 + 34 + 3
    assert published("ml-1m").files == (
        File(
            "ml-1m.zip", "https://files.grouplens.org/datasets/movielens/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"
        ),
    )
    assert [f.name for f in published("amazon2018-office-products").files] == [
        "Office_Products_5.json.gz",
        "meta_Office_Products.json.gz",
    ]
    for each in catalogue().values():
        assert all(f.url is None or (f.url.startswith("https://") and "{" not in f.url) for f in each.files)
        assert all(f.md5 is None or re.fullmatch("[0-9a-f]{32}", f.md5) for f in each.files)
    with pytest.raises(DataError, match=r"no published set is called 'ml1m'; did you mean 'ml-1m'\?; .* names all 97"):
        published("ml1m")
