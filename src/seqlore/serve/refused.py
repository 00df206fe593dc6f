"""The error that becomes a 4xx answer."""

from __future__ import annotations

from seqlore.errors import SeqloreError


class Refused(SeqloreError):
    """A request that cannot be answered: one sentence, the field at fault, and the HTTP status."""

    def __init__(self, detail: str, field: str | None = None, status: int = 422) -> None:
        super().__init__(detail)
        self.detail, self.field, self.status = detail, field, status
