"""Keys, seen from the outside: whatever a server says, none ends up in a file, on the screen or in a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from lore.chat_server import ChatServer
from seqlore.lore import exchange

pytest.importorskip("openai", reason="the openai client is not installed")
KEY = "sk-secret-1234567890"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ChatServer]:
    """One that tells its visitors their key."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEQLORE_API_KEY", KEY)
    monkeypatch.setenv("SEQLORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(exchange, "FIRST_PAUSE", 0.01)
    it = ChatServer()
    it.habits = {"echoes the key"}
    yield it
    it.stop()


def assert_no_key_below(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert [str(path) for path in files if KEY.encode() in path.read_bytes()] == []


def test_in_no_lore_no_store_and_no_word_of_the_command(
    cli: Any, shop: Path, server: ChatServer, tmp_path: Path
) -> None:
    make = ("lore", "make", shop, "--task", "item-knowledge", "--limit", 4, "--model", f"openai:small@{server.url}")
    plain = cli(*make, "--out", tmp_path / "all.parquet", "--json")
    assert json.loads(plain.out)["texts"] == 4
    prompts = list(server.prompts)
    server.tricks = {prompts[0]: ["400"], prompts[1]: ["500"] * 2}
    some = cli(
        *make, "--out", tmp_path / "some.parquet", "--store", tmp_path / "own.sqlite", "--model-set", "retries=1"
    )
    assert some.status == 1
    assert "2 prompts have no answer" in some.err
    assert "no good: …" in some.err
    shown = cli("lore", "show", "--prompt").out + cli("lore", "stats").out
    cli("lore", "export", tmp_path / "export.parquet")
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert KEY not in plain.out + plain.err + some.out + some.err + shown
    assert_no_key_below(tmp_path)


def test_in_no_run_folder_and_no_report(cli: Any, shop: Path, server: ChatServer, tmp_path: Path) -> None:
    server.tricks = {"embeddings": ["400"] * 9}
    recipe = {
        "name": "keys",
        "dataset": {"path": str(shop)},
        "evaluation": {"at": [5], "metric": "ndcg@5"},
        "models": [
            {"model": "MostPopular"},
            {"model": "LLMSeqSim", "settings": {"text": {"encoder": f"openai:small@{server.url}"}}},
        ],
    }
    path = tmp_path / "keys.toml"
    path.write_bytes(tomli_w.dumps(recipe).encode())
    outcome = cli("run", path, "--out", tmp_path / "run")
    assert outcome.status == 1  # the server says what is wrong with the key in it
    assert (tmp_path / "run" / "report.html").is_file()
    assert f"Bearer {KEY}" in server.keys
    assert "no good: …" in outcome.out + outcome.err + (tmp_path / "run" / "report.html").read_text()
    assert KEY not in outcome.out + outcome.err
    assert_no_key_below(tmp_path)
