"""One file over HTTP: streamed, resumed where a server allows it, verified.

A download grows in ``NAME.part``; ``NAME.part.tag`` keeps the server's validator (ETag, else Last-Modified), so that
a later run asks for the rest with ``Range`` and ``If-Range`` (RFC 9110, sections 13.1.5 and 14.2) and never glues two
versions of a file together. Without a validator, or from a server without ranges, the download begins anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from seqlore.errors import DataError
from seqlore.version import __version__

#: (bytes there, bytes in all where the server says) after every chunk.
Report = Callable[[int, int | None], None]
_HEADERS = {"User-Agent": f"seqlore/{__version__}", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes must hash to, and who says so ("the publisher's", "that of the first download")."""

    algorithm: str
    digest: str
    whose: str


class _Retry(Exception):
    """The attempt failed in a way that another one may mend."""


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def verify(path: Path, checksum: Checksum, remedy: str) -> None:
    """Raises: DataError: the file has another checksum; ``remedy`` ends the sentence."""
    found = digest(path, checksum.algorithm)
    if found != checksum.digest:
        raise DataError(
            f"{path}: its {checksum.algorithm} is {found}, but {checksum.whose} is {checksum.digest}; {remedy}"
        )


def download(
    url: str,
    target: Path,
    *,
    checksum: Checksum | None = None,
    client: httpx.Client | None = None,
    attempts: int = 4,
    wait: float = 1.0,
    report: Report | None = None,
) -> Path:
    """Bring ``url`` to ``target``, going on from where an earlier attempt or run ended.

    Args:
        attempts: how often a broken connection is taken up again; ``wait`` seconds, then twice that, … in between.

    Raises: DataError: no network, an HTTP error, a connection that keeps breaking, or a wrong checksum (the file is
        then removed); says what to fetch by hand and where to put it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    own = client is None
    client = client or httpx.Client(timeout=30, follow_redirects=True)
    by_hand = f"download {url} by hand and put it at {target}"
    try:
        for attempt in range(attempts):
            try:
                _go_on(client, url, part, report)
                break
            except (httpx.TransportError, _Retry) as error:
                if attempt == attempts - 1:
                    kept = f"; {part.stat().st_size:,} bytes are kept in {part}" if part.exists() else ""
                    raise DataError(
                        f"{url}: the download failed ({error or type(error).__name__}){kept}; run the command again to "
                        f"go on, or {by_hand}"
                    ) from error
                time.sleep(wait * 2**attempt)
            except httpx.HTTPError as error:
                raise DataError(f"{url}: {error}; {by_hand}") from error
    finally:
        if own:
            client.close()
    if checksum is not None:
        try:
            verify(part, checksum, f"the download was discarded: run the command again, or {by_hand}")
        except DataError:
            _discard(part)
            raise
    part.replace(target)
    _tag(part).unlink(missing_ok=True)
    return target


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _go_on(client: httpx.Client, url: str, part: Path, report: Report | None) -> None:
    """One attempt. Returns when ``part`` is complete as far as the server tells."""
    have = part.stat().st_size if part.exists() else 0
    validator = _tag(part).read_text() if _tag(part).exists() else ""
    headers = {**_HEADERS, "Range": f"bytes={have}-", "If-Range": validator} if have and validator else _HEADERS
    with client.stream("GET", url, headers=headers) as response:
        code, length = response.status_code, response.headers.get("Content-Length", "")
        if code == 416:  # nothing beyond what is there: either it is complete, or it belongs to another version
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            _discard(part)
            raise _Retry("the partial file did not fit the server's")
        if code >= 500 or code == 429:
            raise _Retry(f"the server answers {code} {response.reason_phrase}")
        if code not in (200, 206):
            raise httpx.HTTPError(f"the server answers {code} {response.reason_phrase}")
        begin = have if code == 206 else 0
        if code == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            _discard(part)
            raise _Retry("the server sent another range than was asked for")
        total = begin + int(length) if length.isdigit() else None
        _tag(part).write_text(_validator(response))
        done = begin
        # Raw bytes: some servers label a .gz file as content encoding, and httpx would unpack it.
        with open(part, "ab" if begin else "wb") as out:
            for chunk in response.iter_raw():
                out.write(chunk)
                done += len(chunk)
                if report is not None:
                    report(done, total)
    if total is not None and done != total:
        raise _Retry(f"the connection ended after {done:,} of {total:,} bytes")


def _validator(response: httpx.Response) -> str:
    """A strong ETag, else the time of the last change; a weak ETag does not promise equal bytes."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
