"""What a call raises, and how a wrong field is told, by the service and before anything is sent to it."""

from __future__ import annotations

from collections.abc import Sequence

from seqlore.errors import SeqloreError

#: Steps that pydantic puts behind an item's place: which of its two forms was meant.
ITEM_TAGS = ("by-id", "by-title")


class ServiceError(SeqloreError):
    """The service refused, or cannot be reached; or it would refuse, so it was not asked.

    Attributes: status: HTTP status, None where there was no answer. field: what in the request was wrong, if told.
    """

    def __init__(self, detail: str, status: int | None = None, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail, self.status, self.field = detail, status, field


def fault(kind: str, place: Sequence[int | str], message: str) -> tuple[str, str]:
    """The sentence, and the field as it stands in the request. Args: as pydantic tells an error."""
    steps = [
        str(step)
        for before, step in zip((None, *place), place, strict=False)
        if step not in ITEM_TAGS or not (isinstance(before, int) or before == "item")  # else a key of the user's
    ]
    field = ".".join(steps)
    if kind == "extra_forbidden":
        return f"there is no field {field}", field
    return (f"{field}: {message}" if field else message), field
