"""Several fitted models as one: what they must share, and what the whole then knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seqlore.errors import DataError
from seqlore.recommender import Model

#: What a model can have been fitted on, from little to much.
INFORMED = ("train", "train+valid", "everything")


def adopt(whole: Model, parts: Sequence[Model]) -> None:
    """Give ``whole`` catalogue, users and origin of its fitted ``parts``.

    It knows what the best informed of them knows, and is refused as a judge of that.

    Raises: DataError: they do not share a catalogue; or two of them know users, and not the same.
    """
    first, known = parts[0], [part for part in parts if part.users is not None]
    for other in parts[1:]:
        if other.catalog.hash != first.catalog.hash:
            raise DataError(
                f"{whole.name}: {first.name} and {other.name} know different items; fit both on the same dataset"
            )
    for other in known[1:]:
        if other.users.ids != known[0].users.ids:  # type: ignore[union-attr]
            raise DataError(
                f"{whole.name}: {known[0].name} and {other.name} know different users; fit both on the same dataset"
            )
    whole._catalog = first.catalog
    whole.users = known[0].users if known else None
    whole.about = dict(max((part.about for part in parts), key=_informed))


def _informed(about: dict[str, Any]) -> int:
    return INFORMED.index(about.get("split", {}).get("fitted_on", "train"))
