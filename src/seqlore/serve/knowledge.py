"""Generated knowledge that the service holds on items: lore files, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from seqlore.errors import DataError


class Knowledge:
    """External item id → its texts, in the order of the files."""

    def __init__(self, files: Iterable[str | Path] = ()) -> None:
        """Args: files: as ``seqlore lore make`` writes them; of texts in several wordings the first is taken.

        Raises: DataError: a file cannot be read or is no lore.
        """
        self._texts: dict[str, list[str]] = defaultdict(list)
        for file in files:
            try:
                frame = pl.read_parquet(file, columns=["kind", "id", "version", "text"])
            except (OSError, pl.exceptions.PolarsError) as error:
                what = str(error).splitlines()[0]
                raise DataError(f"{file}: not a file of lore ({what}); `seqlore lore make` writes one") from error
            rows = frame.filter((pl.col("kind") == "item") & (pl.col("version") == 0)).select("id", "text")
            for item, text in rows.iter_rows():
                self._texts[item].append(text)

    def __len__(self) -> int:
        """Items on which there is something."""
        return len(self._texts)

    def of(self, item_id: str) -> list[str]:
        """The texts on one item, perhaps none."""
        return self._texts.get(item_id, [])
