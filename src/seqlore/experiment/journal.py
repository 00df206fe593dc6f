"""``log.jsonl`` of a run folder: what the run did, one JSON object a step, and what of it is still good."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from seqlore import manifest

Key = tuple[str, str, int]
#: Of a trial.
STEPS = ("begin", "trial")


class Journal:
    """Appends steps; reads back the finished trials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "log.jsonl"
        if self.path.is_file() and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("ab") as file:  # a kill cut the last line short; the next one starts anew
                file.write(b"\n")

    def write(self, step: str, **facts: Any) -> None:
        """Append one step, with the time."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now(), "step": step, **facts}, default=str, ensure_ascii=False) + "\n")

    def finished(self) -> dict[Key, dict[str, Any]]:
        """The latest record of each trial (label, ties, seed) that ended and whose files are there and whole.

        A trial that was begun again and did not end has none: its files may be half written. A line that a kill cut
        short, or that is damaged, is passed over.
        """
        records: dict[Key, dict[str, Any]] = {}
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        for line in text.splitlines():
            try:
                step = json.loads(line)
                key = (str(step["label"]), str(step["ties"]), int(step["seed"])) if step["step"] in STEPS else None
            except (ValueError, KeyError, TypeError):
                continue
            if key is not None:
                records.pop(key, None)
            if key is not None and step["step"] == "trial":
                records[key] = step
        return {key: record for key, record in records.items() if self._there(record)}

    def _there(self, record: dict[str, Any]) -> bool:
        """A record without its model or its cases is of no use: the trial is done again."""
        try:
            pl.read_parquet(self.folder / record["cases"])
            return manifest.is_there(self.folder / record["model_folder"])
        except (KeyError, TypeError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return False


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step: a reader, or a kill, meets the old one or the new one."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
