"""The settings of the service, with limits that a shared machine can live with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from seqlore.config import Config


class ServeSettings(Config):
    """What the service refuses, how it batches, and when it builds an index."""

    token: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = Field(
        default=None, repr=False, description="Bearer token that requests must show."
    )
    writes: bool = Field(default=True, description="Items may be added and models reloaded over HTTP.")
    hosts: tuple[str, ...] = Field(
        default=("localhost", "127.0.0.1", "[::1]"), description="Host names that requests may address; '*' = any."
    )
    max_body: int = Field(default=1 << 20, ge=1024, description="Bytes of a request's body.")
    max_history: int = Field(default=1000, ge=1, description="Items of one history.")
    max_histories: int = Field(default=256, ge=1, description="Histories of one request.")
    max_k: int = Field(default=1000, ge=1, description="Length of a list.")
    max_items: int = Field(
        default=1000, ge=1, description="Items named in one request: candidates, filters, explained, new."
    )
    max_titles: int = Field(default=50, ge=1, description="Items named by title in one request; each is a search.")
    concurrency: int = Field(default=256, ge=1, description="Requests at work at once; more are answered 429.")
    timeout: float = Field(default=10.0, gt=0, description="Seconds until a request that waits is answered 503.")
    change_timeout: float = Field(
        default=300.0, gt=0, description="The same for requests that add items or reload a model."
    )
    batch: int = Field(default=64, ge=1, description="Histories that are scored together.")
    index_from: int = Field(
        default=200_000, ge=1, description="Items from which on a catalogue is searched by an index."
    )
    index_recall: float = Field(
        default=0.99, gt=0, le=1, description="Recall@20 that the index must reach, or is not used."
    )
    added_items: int = Field(default=10_000, ge=0, description="Items that may be added to one model at run time.")
