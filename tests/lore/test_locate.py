from __future__ import annotations

import pytest

from seqlore.errors import ConfigError
from seqlore.lore.locate import language_model
from seqlore.lore.openai import OpenAIModel


def test_a_server_with_and_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model = language_model("openai:small@http://localhost:8000/v1", concurrency=3)
    assert isinstance(model, OpenAIModel)
    assert (model.settings.model, model.settings.base_url) == ("small", "http://localhost:8000/v1")
    assert model.settings.concurrency == 3
    plain = language_model("openai:gpt-5-mini")
    assert isinstance(plain, OpenAIModel)
    assert (plain.settings.model, plain.settings.base_url) == ("gpt-5-mini", None)


@pytest.mark.parametrize("name", ["openai:", "openai:@http://localhost/v1"])
def test_a_server_needs_a_model(name: str) -> None:
    with pytest.raises(ConfigError, match=r"names no model: write openai:MODEL or openai:MODEL@URL"):
        language_model(name)
