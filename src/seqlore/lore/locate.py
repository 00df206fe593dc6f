"""Which language model a name means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from seqlore.errors import ConfigError
from seqlore.lore.model import LanguageModel


def language_model(name: str, *, texts: Callable[[], Iterable[str]] | None = None, **settings: Any) -> LanguageModel:
    """The model that ``name`` means.

    Args:
        name: "extractive", which needs no model; "openai:MODEL" or "openai:MODEL@URL", a server; else the folder or hub
            name of a local model.
        texts: gives training texts, for the extractive model to know what is common among them; no other reads them.
        settings: of that kind of model.

    Raises: ConfigError: the model or a setting does not exist. MissingExtraError: its library is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "extractive":
        from seqlore.lore.extractive import ExtractiveModel

        if rest or settings:
            raise ConfigError(f"language model {name!r}: the extractive model has no settings; write extractive alone")
        return ExtractiveModel() if texts is None else ExtractiveModel.fit(texts())
    if kind == "openai":
        from seqlore.lore.openai import OpenAIModel

        model, _, address = rest.partition("@")
        if not model:
            raise ConfigError(f"language model {name!r} names no model: write openai:MODEL or openai:MODEL@URL")
        return OpenAIModel(model, **({"base_url": address} if address else {}), **settings)
    from seqlore.lore.local import LocalModel

    return cast(LanguageModel, LocalModel(name, **settings))  # pyright takes a cached property for no property
