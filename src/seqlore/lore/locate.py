"""Which language model a name means."""

from __future__ import annotations

from typing import Any

from seqlore.errors import ConfigError
from seqlore.lore.model import LanguageModel


def language_model(name: str, **settings: Any) -> LanguageModel:
    """The model that ``name`` means.

    Args:
        name: "extractive", which needs no model; "openai:MODEL" or "openai:MODEL@URL", a server; else the folder or hub
            name of a local model.
        settings: of that kind of model.

    Raises: ConfigError: the model or a setting does not exist. MissingExtraError: its library is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "extractive":
        from seqlore.lore.extractive import ExtractiveModel

        if rest:
            raise ConfigError(f"language model {name!r}: write extractive alone; its settings come beside it")
        return ExtractiveModel(**settings)
    if kind == "openai":
        from seqlore.lore.openai import OpenAIModel

        model, _, address = rest.partition("@")
        if not model:
            raise ConfigError(f"language model {name!r} names no model: write openai:MODEL or openai:MODEL@URL")
        return OpenAIModel(model, **({"base_url": address} if address else {}), **settings)
    from seqlore.lore.local import LocalModel

    return LocalModel(name, **settings)
