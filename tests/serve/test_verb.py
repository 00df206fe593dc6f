"""``seqlore serve`` as a process: it starts, answers, reloads on SIGHUP, stops; and what it refuses beforehand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from seqlore.cli import main
from seqlore.cli.serve import _connections, _is_local
from seqlore.client import Client, ServiceError

COMMAND = [sys.executable, "-c", "import sys; from seqlore.cli import main; main(sys.argv[1:])", "serve"]


@pytest.fixture(scope="module")
def running(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("abc\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (token.parent / "log").open("wb")
    process = subprocess.Popen(
        [*COMMAND, str(run_folder), "--port", str(port), "--token-file", str(token), "--set", "max_k=20"], stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                break
        except httpx.HTTPError:
            time.sleep(0.1)
    assert process.poll() is None, (token.parent / "log").read_text()
    yield process, url
    if process.poll() is None:
        process.kill()
    process.wait()


def test_it_serves_reloads_and_stops(running: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = running
    with Client(url, token="abc", trust_env=False) as client:
        before = client.models().models[0]
        assert len(client.recommend([[]], k=3).lists[0].items) == 3
        with pytest.raises(ServiceError, match="at most 20"):
            client.recommend([[]], k=21)
        time.sleep(1.0)  # ``loaded`` is told in whole seconds
        os.kill(process.pid, signal.SIGHUP)
        for _ in range(100):
            after = client.models().models[0]
            if after.loaded != before.loaded:
                break
            time.sleep(0.1)
        assert after.loaded > before.loaded
        assert after.digest == before.digest
    with Client(url, trust_env=False) as stranger, pytest.raises(ServiceError, match="token") as refused:
        stranger.models()
    assert refused.value.status == 401
    process.terminate()
    assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{missing}"], "neither a model folder nor a run folder"),
        (["{run}", "--set", "concurency=3"], "did you mean 'concurrency'"),
        (["{run}", "--set", "token=x"], "SEQLORE_TOKEN"),
        (["{run}", "--token-file", "{missing}"], "the token cannot be read"),
        (["{run}", "--lore", "{missing}"], "not a file of lore"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_sentence(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    given = [a.format(run=run_folder, missing=tmp_path / "missing") for a in arguments]
    with pytest.raises(SystemExit) as stop:
        main(["serve", *given])
    assert stop.value.code == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.9.9.9", True), ("0.0.0.0", False), ("shop", False)],
)
def test_which_addresses_are_of_this_machine_alone(host: str, local: bool) -> None:
    assert _is_local(host) is local


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("limits", "raised", "most"),
    [((256, 1024), (1024, 1024), 960), ((1024, -1), (65_536, -1), 65_472), ((70, 70), None, 16)],
)
def test_connections_are_limited_by_what_may_be_open(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: tuple[int, int] | None, most: int
) -> None:
    import resource

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, to: asked.append(to))
    assert _connections() == most
    assert asked == ([] if raised is None else [raised])


def test_without_the_extra_it_says_how_to_get_it(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit):
        main(["serve", str(run_folder)])
    assert "pip install 'seqlore[serve]'" in capsys.readouterr().err
