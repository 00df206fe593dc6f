"""Published sets by name: downloaded, verified, converted into a dataset folder.

The files stay in ``FOLDER/raw``: a second run, or one by hand-downloaded files, needs no network. Where the publisher
names a checksum, the file must have it. Where none is named, the SHA-256 of the first download is kept in
``raw/checksums.json`` and later ones must equal it: that finds damage and silent change, not a wrong first download.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from seqlore.data.dataset import Dataset
from seqlore.data.download import Checksum, Report, digest, download, verify
from seqlore.data.published import File, Published, published
from seqlore.data.readers import read
from seqlore.errors import DataError

#: What is unpacked from an archive; the rest (tags, genome scores, scripts) is not read.
_MEMBERS = ("u.data", "u.item", "u.user", "ratings.dat", "movies.dat", "users.dat", "ratings.csv", "movies.csv")


def fetch(
    name: str,
    folder: str | Path,
    *,
    base_url: str | None = None,
    client: httpx.Client | None = None,
    progress: bool = True,
) -> Dataset:
    """Download a published set into ``folder/raw``, convert it, save it in ``folder``; returns it.

    Args:
        name: a key of :func:`seqlore.data.published.catalogue`.
        base_url: take the files from here (a mirror) instead of the publisher; the checksums stay the same.
        progress: a progress bar on standard error.

    Raises: DataError: unknown name, no network, a wrong checksum, a damaged file, or a set that must be fetched by
        hand; says what to put where.
    """
    chosen, folder = published(name), Path(folder)
    raw = folder / "raw"
    with _reporting(progress) as reporter:
        for file in chosen.files:
            _provide(chosen, file, raw, base_url, client, reporter(file.name))
    with Console(stderr=True).status(f"reading {name}") if progress else nullcontext():
        dataset = _convert(chosen, raw)
    about = {
        **dataset.meta,
        "source": {**dataset.meta["source"], "page": chosen.page, "terms": chosen.terms, "checksums": _locked(raw)},
    }
    dataset = replace(dataset, meta=about)
    dataset.save(folder)
    return dataset


def _convert(chosen: Published, raw: Path) -> Dataset:
    first = raw / chosen.files[0].name
    if first.suffix == ".zip":
        return read(_unpack(first, raw / first.stem), chosen.format, name=chosen.name)
    return read(first, chosen.format, name=chosen.name, items=raw / chosen.files[1].name)


def _provide(
    chosen: Published, file: File, raw: Path, base_url: str | None, client: httpx.Client | None, report: Report
) -> None:
    """See that the file is in ``raw`` and is what it should be."""
    target, locked = raw / file.name, _locked(raw).get(file.name)
    checksum = None
    if file.md5:
        checksum = Checksum("md5", file.md5, "the publisher's")
    elif locked:
        checksum = Checksum("sha256", locked, f"that of the first download ({raw / 'checksums.json'})")
    if target.is_file():
        if checksum is not None:
            verify(target, checksum, "delete the file and run the command again")
    elif file.url:
        url = f"{base_url.rstrip('/')}/{file.name}" if base_url else file.url
        download(url, target, checksum=checksum, client=client, report=report)
    else:
        wanted = " and ".join(f.name for f in chosen.files)
        raise DataError(
            f"{chosen.name}: {chosen.terms}: open {chosen.page}, unpack what you get there, put {wanted} into {raw}, "
            "and run the command again"
        )
    if not locked:
        _lock(raw, file.name, digest(target))


def _locked(raw: Path) -> dict[str, str]:
    path = raw / "checksums.json"
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); delete it to accept the files as they are") from error


def _lock(raw: Path, filename: str, sha256: str) -> None:
    checksums = {**_locked(raw), filename: sha256}
    (raw / "checksums.json").write_text(json.dumps(checksums, indent=2, sort_keys=True) + "\n")


def _unpack(archive: Path, folder: Path) -> Path:
    """The members that a reader reads, by their base name alone, so that no path can lead out of ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                if (name := Path(member.filename).name) in _MEMBERS:
                    with opened.open(member) as inside, open(folder / name, "wb") as out:
                        while chunk := inside.read(1 << 20):
                            out.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{archive}: not a readable zip archive ({error}); delete it and run the command again"
        ) from error
    return folder


@contextmanager
def _reporting(show: bool) -> Iterator:
    """Yields ``filename → Report``; each report that is called gets a bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bars:

        def reporter(filename: str) -> Report:
            task = None

            def report(done: int, total: int | None) -> None:
                nonlocal task
                task = bars.add_task(filename) if task is None else task
                bars.update(task, completed=done, total=total)

            return report

        yield reporter
