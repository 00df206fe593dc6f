"""``import seqlore as sl``: every promised name is there, and the import itself is light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import seqlore as sl
from seqlore.recommender import REGISTRY


@pytest.mark.parametrize("name", sl.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(sl, name) is not None
    assert name in dir(sl)


def test_the_table_of_names_and_the_promise_agree() -> None:
    assert set(sl.__all__) == {*sl._HOME, "models"}
    assert sl.__all__ == sorted(sl.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SASRek'"):
        sl.SASRek  # noqa: B018


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_registered_model_is_reached_by_its_name(name: str) -> None:
    model = getattr(sl.models, name)
    assert model.__name__ == name
    assert model.paper, "the table of models prints this line"


def test_importing_seqlore_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "polars", "sklearn", "scipy", "transformers", "sentence_transformers", "pydantic"]
    code = f"import sys, seqlore; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_importing_the_command_line_does_not_import_torch() -> None:
    code = "import sys, seqlore.cli; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
