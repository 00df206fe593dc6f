from __future__ import annotations

import json
import logging
import re
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from seqlore.errors import ConfigError, DataError, SeqloreError
from seqlore.language import hosted
from seqlore.language.hosted import HostedTuning, TuningEvent, TuningSettings
from seqlore.language.pairs import Pair, session_completion, session_prompt, write_pairs
from seqlore.language.training_file import check_file

openai = pytest.importorskip("openai", reason="the openai client is not installed")
KEY = "sk-secret-1234"
PAIRS = [Pair(session_prompt([f"Soap {i}"]), session_completion(f"Cream {i}")) for i in range(12)]
SETTINGS = TuningSettings(model="base-mini", suffix="beauty", epochs=3)


class Provider(ThreadingHTTPServer):
    """/v1/files and /v1/fine_tuning/jobs on a real socket. A job goes one step with each look at it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.end = "succeeded"
        self.tricks: list[tuple[str, str]] = []  #: (method and beginning of the path, what goes wrong), once each
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None: ...

    def job(self, name: str) -> dict[str, Any]:
        look = self.looks[name]
        status = ["validating_files", "queued", "running", "running", self.end][min(look, 4)]
        model = "ft:base-mini:beauty:1" if status == "succeeded" else None
        error = {"code": "bad", "message": f"no\ngood: {KEY}", "param": None} if status == "failed" else None
        return {**self.jobs[name], "status": status, "fine_tuned_model": model, "error": error}

    def events(self, name: str) -> list[dict[str, Any]]:
        """Newest first: one an earlier look, and losses at some."""
        made = []
        for i in range(min(self.looks[name], 4) + 1):
            data = {"step": i, "total_steps": 4, "train_loss": 2.0 - i / 4} if i else None
            made.append({"id": f"e{i}", "object": "fine_tuning.job.event", "created_at": 100 + i, "level": "info"})
            made[-1] |= {"message": f"event {i}", "data": data, "type": "metrics" if i else "message"}
        return made[::-1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        if self.path == "/v1/files":
            content = re.search(rb'name="file".*?\r\n\r\n(.*?)\r\n--', body, re.DOTALL)
            assert content is not None
            assert b"fine-tune" in body
            name = f"file-{len(server.files)}"

            def done() -> dict[str, Any]:
                server.files[name] = content[1]
                return {"id": name, "object": "file"}

        elif self.path.endswith("/cancel"):
            name = self.path.split("/")[-2]

            def done() -> dict[str, Any]:
                server.end, server.looks[name] = "cancelled", 9
                return server.job(name)

        else:
            name = f"ftjob-{len(server.jobs)}"

            def done() -> dict[str, Any]:
                server.jobs[name] = {**json.loads(body), "id": name, "object": "fine_tuning.job"}
                server.looks[name] = 0
                return server.job(name)

        self.answer(done)

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        after = re.search(r"after=(\w+)", self.path)
        name = path.removeprefix("/v1/fine_tuning/jobs").strip("/").partition("/")[0]

        def done() -> dict[str, Any]:
            if not name:
                return {"object": "list", "data": [server.job(n) for n in reversed(server.jobs)], "has_more": False}
            if path.endswith("/events"):  # two a page
                events = server.events(name)
                ids = [event["id"] for event in events]
                start = ids.index(after[1]) + 1 if after else 0
                return {"object": "list", "data": events[start : start + 2], "has_more": start + 2 < len(ids)}
            found = server.job(name)
            server.looks[name] += 1
            return found

        self.answer(done if not name or name in server.jobs else None)

    def answer(self, done: Any) -> None:
        server, key = self.server, self.headers["Authorization"]
        server.keys.append(key)
        trick = next((t for t in server.tricks if f"{self.command} {self.path}".startswith(t[0])), None)
        if trick is not None:
            server.tricks.remove(trick)
        status = 404 if done is None else 200
        if trick is not None and trick[1].isdecimal():
            status = int(trick[1])
        refused = {"error": {"message": f"no good: {key.removeprefix('Bearer ')}"}}
        content = json.dumps(done() if status == 200 else refused).encode()
        if trick is not None and trick[1] == "lost":  # done, and the answer never arrives
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEQLORE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
        monkeypatch.setattr(f"openai._base_client.{name}", 0.01, raising=False)


@pytest.fixture
def provider() -> Iterator[Provider]:
    it = Provider()
    thread = threading.Thread(target=it.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield it
    it.shutdown()
    it.server_close()
    thread.join()


@pytest.fixture
def training(tmp_path: Path) -> Path:
    write_pairs(tmp_path / "train.jsonl", PAIRS)
    return tmp_path / "train.jsonl"


def test_the_whole_way(provider: Provider, training: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "valid.jsonl", PAIRS[:10])
    events: list[TuningEvent] = []
    tuning = HostedTuning(provider.url, api_key=KEY)
    name = tuning.tune(training, SETTINGS, validation=tmp_path / "valid.jsonl", on_event=events.append, poll=0.01)
    assert name == "ft:base-mini:beauty:1"
    assert provider.files == {
        "file-0": training.read_bytes(),
        "file-1": (tmp_path / "valid.jsonl").read_bytes(),
    }
    assert provider.jobs["ftjob-0"] == {
        "id": "ftjob-0",
        "object": "fine_tuning.job",
        "model": "base-mini",
        "suffix": "beauty",
        "seed": 0,
        "training_file": "file-0",
        "validation_file": "file-1",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    }
    assert [event.message for event in events] == [f"event {i}" for i in range(5)], "each once, the oldest first"
    assert events[0] == TuningEvent("e0", 100, "info", "event 0")
    assert (events[2].step, events[2].steps, events[2].loss, events[2].valid_loss) == (2, 4, 1.5, None)
    assert set(provider.keys) == {f"Bearer {KEY}"}


def test_a_process_that_was_killed_goes_on_with_its_job(provider: Provider, training: Path) -> None:
    job = HostedTuning(provider.url).start(training, SETTINGS)
    again = HostedTuning(provider.url)  # another process
    assert again.start(training, SETTINGS) == job
    assert again.follow(job, poll=0.01) == "ft:base-mini:beauty:1"
    assert again.tune(training, SETTINGS) == "ft:base-mini:beauty:1"
    assert (len(provider.files), len(provider.jobs)) == (1, 1)


def test_a_job_whose_answer_was_lost_is_found_again(provider: Provider, training: Path) -> None:
    provider.tricks = [("POST /v1/fine_tuning/jobs", "lost")]
    with pytest.raises(SeqloreError, match="run it again and it goes on with what was begun"):
        HostedTuning(provider.url).start(training, SETTINGS)
    assert len(provider.jobs) == 1, "it was made, and is not made again"
    assert HostedTuning(provider.url).start(training, SETTINGS) == "ftjob-0"
    assert (len(provider.files), len(provider.jobs)) == (1, 1)


def test_another_wish_is_another_job(provider: Provider, training: Path) -> None:
    tuning = HostedTuning(provider.url)
    assert tuning.start(training, SETTINGS) == "ftjob-0"
    assert tuning.start(training, SETTINGS.model_copy(update={"epochs": 1})) == "ftjob-1"
    write_pairs(training, PAIRS[::-1])
    assert tuning.start(training, SETTINGS) == "ftjob-2"


def test_a_job_that_failed_is_begun_anew(provider: Provider, training: Path) -> None:
    provider.end = "failed"
    tuning = HostedTuning(provider.url, api_key=KEY)
    with pytest.raises(SeqloreError, match=r"job ftjob-0 has ended as failed: no good: …$"):
        tuning.tune(training, SETTINGS, poll=0.01)
    assert tuning.start(training, SETTINGS) == "ftjob-1"
    assert len(provider.files) == 1, "the file is there already"


def test_a_job_after_a_failed_one_is_not_paid_for_twice(
    provider: Provider, training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.end = "failed"
    tuning = HostedTuning(provider.url, api_key=KEY)
    with pytest.raises(SeqloreError, match="has ended as failed"):
        tuning.tune(training, SETTINGS, poll=0.01)

    def killed(self: object, key: str, value: str) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hosted._State, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            tuning.start(training, SETTINGS)
    assert list(provider.jobs) == ["ftjob-0", "ftjob-1"]
    assert tuning.start(training, SETTINGS) == "ftjob-1"
    assert len(provider.jobs) == 2


def test_a_job_can_be_cancelled(provider: Provider, training: Path) -> None:
    tuning = HostedTuning(provider.url)
    job = tuning.start(training, SETTINGS)
    tuning.cancel(job)
    with pytest.raises(SeqloreError, match=r"has ended as cancelled: no reason is given$"):
        tuning.follow(job)


def test_what_may_pass_is_asked_again(provider: Provider, training: Path) -> None:
    looks = "GET /v1/fine_tuning/jobs/ftjob-0"
    provider.tricks = [("POST /v1/files", "500"), (looks, "429"), (looks, "lost"), (looks + "/events", "503")]
    assert HostedTuning(provider.url).tune(training, SETTINGS, poll=0.01) == "ft:base-mini:beauty:1"
    assert provider.tricks == []


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        (("POST /v1/files", "401"), "refuses the key; set SEQLORE_API_KEY"),
        (("POST /v1/fine_tuning", "400"), r"refuses the request \(400, a job for base-mini\): no good: …"),
        (("POST /v1/fine_tuning", "404"), r"no such model or path \(a job for base-mini\)"),
    ],
)
def test_refusals_never_show_the_key(
    provider: Provider, training: Path, trick: tuple[str, str], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider.tricks = [trick]
    tuning = HostedTuning(provider.url, api_key=KEY)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError, match=message) as caught:
        tuning.start(training, SETTINGS)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    files = b"".join(path.read_bytes() for path in training.parent.iterdir())
    seen = "".join(shown.format()) + repr(caught.value.__context__) + repr(tuning) + caplog.text
    assert KEY not in seen + files.decode()


def test_a_job_that_nobody_knows(provider: Provider) -> None:
    with pytest.raises(ConfigError, match=r"no such model or path \(job ftjob-7\)"):
        HostedTuning(provider.url).follow("ftjob-7")


def test_a_file_is_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, [*PAIRS, Pair("1. x\n\n###\n", " ###"), PAIRS[3], Pair("long " * 20, " y ###")], "completion")
    found = check_file(path, tokens=20)
    assert (found.format, found.examples, found.empty, found.duplicates, found.long) == (
        "completion",
        15,
        (13,),
        (14,),
        (15,),
    )
    # By hand: 100 characters / 3.5 = 28.6 and " y ###" 6 / 3.5 = 1.7, each rounded up.
    assert found.longest == 29 + 2
    assert found.faults == (
        "empty completions in lines 13",
        "more than 20 tokens (estimated) in lines 15",
    )
    assert check_file(path, most_bytes=100).faults[0].endswith("bytes, at most 100 are taken")
    write_pairs(path, PAIRS[:3])
    assert check_file(path).faults == ("3 examples, at least 10 are asked for",)
    assert check_file(path, examples=3).faults == ()


def test_a_faulty_file_is_not_sent(provider: Provider, tmp_path: Path) -> None:
    write_pairs(tmp_path / "few.jsonl", PAIRS[:3])
    with pytest.raises(DataError, match=r"few.jsonl: a provider would refuse this file: 3 examples"):
        HostedTuning(provider.url).start(tmp_path / "few.jsonl", SETTINGS)
    assert provider.keys == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[]", "line 2: neither"),
        ('{"prompt": "a", "completion": 3}', "line 2: neither"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "line 2: neither"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "line 2: neither"),
        ('{"prompt": "a", "completion": "b"}', "line 2: the lines before are in another format"),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, PAIRS[:1])
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(DataError, match=message):
        check_file(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read .*write_pairs"):
        check_file(tmp_path / "none.jsonl")


def test_a_damaged_state_is_named(provider: Provider, training: Path) -> None:
    (training.parent / "train.jsonl.job.json").write_text("{")
    with pytest.raises(DataError, match=r"train\.jsonl\.job\.json: cannot be read .*delete it to begin anew"):
        HostedTuning(provider.url).start(training, SETTINGS)
