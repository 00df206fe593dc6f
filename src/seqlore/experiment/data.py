"""``[dataset]`` of a recipe → the filtered dataset."""

from __future__ import annotations

import os
import re
from pathlib import Path

from seqlore.data import Dataset
from seqlore.data.filters import drop_duplicates, k_core, min_length, min_rating
from seqlore.data.simulate import simulate
from seqlore.errors import ConfigError, DataError
from seqlore.experiment.recipe import DatasetSettings


def expand(path: str, key: str = "dataset.path") -> Path:
    """``${NAME}`` and ``~`` filled in. Raises: ConfigError: the variable is not set; names it and the remedy."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ConfigError(
                f"{key} = {path!r}: the environment variable {name} is not set; "
                f"export {name}=FOLDER, or name the folder with --set {key}=FOLDER"
            )
        return os.environ[name]

    return Path(re.sub(r"\$\{(\w+)\}|\$(\w+)", value, path)).expanduser()


def open_dataset(settings: DatasetSettings) -> Dataset:
    """The dataset as the recipe asks for it: read or simulated, then filtered.

    Filters are applied in this order: rating, duplicates, k-core, length, as `seqlore data import` does.

    Raises: ConfigError: the path names a variable that is not set. DataError: the folder is absent or damaged.
    """
    if settings.simulate is not None:
        dataset = simulate(**settings.simulate.model_dump())
    else:
        assert settings.path is not None  # validated: one of the two is there
        folder = expand(settings.path)
        if not folder.is_dir():
            raise DataError(
                f"dataset.path = {settings.path!r}: there is no folder {folder}; make it with `seqlore data import` "
                "or `seqlore data fetch`, or name another with --set dataset.path=FOLDER"
            )
        dataset = Dataset.load(folder)
    if settings.min_rating is not None:
        dataset = min_rating(dataset, settings.min_rating, keep_items=settings.keep_items)
    if settings.duplicates != "all":
        dataset = drop_duplicates(dataset, settings.duplicates)
    if settings.core is not None:
        dataset = k_core(dataset, *settings.core, keep_items=settings.keep_items)
    if settings.min_length is not None:
        dataset = min_length(dataset, settings.min_length, keep_items=settings.keep_items)
    return dataset
