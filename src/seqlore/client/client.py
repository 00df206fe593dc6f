"""The clients of ``seqlore serve``: :class:`Client`, and :class:`AsyncClient`, whose methods are awaited.

A request that found the service busy (429, 503), or nobody there while it restarts, is sent again after a pause that
grows; one that changes something, only where it cannot have arrived.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx
from pydantic import BaseModel, ValidationError

from seqlore.client import calls, wire
from seqlore.client.calls import Call, Ref
from seqlore.client.errors import ServiceError

A = TypeVar("A", bound=BaseModel)
BUSY = (429, 503)
#: Seconds that a change may take: a model is read anew, an encoder loaded.
CHANGE = 310.0
HERE = "http://127.0.0.1:8000"


class _Base:
    """What both clients do alike."""

    def __init__(self, url: str, token: str | None, timeout: float | None, retries: int) -> None:
        self.url, self._retries = url.rstrip("/"), retries
        token = (token or os.environ.get("SEQLORE_TOKEN") or "").strip()
        if not token.isprintable():
            raise ServiceError("the token holds characters that no header can carry; give it as one line of text")
        self._options: dict[str, Any] = {
            "base_url": self.url,
            "timeout": timeout,
            "headers": {"authorization": f"Bearer {token}".encode()} if token else {},
        }

    def _sent(self, call: Call[Any]) -> dict[str, Any]:
        headers = {} if call.content is None else {"content-type": "application/json"}
        sent: dict[str, Any] = {"params": call.params, "content": call.content, "headers": headers}
        if call.once:
            timeout = self._options["timeout"]
            sent["timeout"] = None if timeout is None else max(timeout, CHANGE)
        return sent

    def _pause(self, attempt: int, call: Call[Any], got: httpx.Response | httpx.HTTPError) -> float | None:
        """Seconds until the call is sent again; None = that was it."""
        if isinstance(got, httpx.Response):
            # A change that the service did not answer in time (503) may be made all the same.
            again = got.status_code == 429 if call.once else got.status_code in BUSY
        else:
            again = isinstance(got, httpx.ConnectError) or not call.once
        return min(5.0, 0.1 * 2**attempt) if again and attempt < self._retries else None

    def _read(self, got: httpx.Response | httpx.HTTPError, kind: type[A]) -> A:
        """Raises: ServiceError: the service refused, this is no answer of it, or there was none."""
        if isinstance(got, httpx.TimeoutException) and not isinstance(got, httpx.ConnectTimeout):
            raise ServiceError(
                f"{self.url} did not answer in time; give the client a longer timeout, or ask later"
            ) from got
        if isinstance(got, httpx.HTTPError):
            why = str(got) or type(got).__name__
            raise ServiceError(f"{self.url} cannot be reached ({why}); is `seqlore serve` running there?") from got
        try:
            if got.is_success:
                return kind.model_validate_json(got.content)
            problem = wire.Problem.model_validate_json(got.content)
        except ValidationError as error:
            if (status := got.status_code) in BUSY:  # said by the server in front of the service, or by a balancer
                raise ServiceError(f"{self.url} is busy ({status}); ask again later", status) from None
            raise ServiceError(
                f"{self.url} answered {got.status_code}, not as a Seqlore service does; is the address right?",
                got.status_code,
            ) from error
        raise ServiceError(problem.detail, got.status_code, problem.field)


class Client(_Base):
    """The service at ``url``. Close it, or use it in a ``with`` statement; several threads may share it.

    All methods raise ServiceError where the service refuses or cannot be reached.

    >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     client.recommend([["B004756YJA"]], k=5).lists[0].items
    """

    def __init__(
        self, url: str = HERE, *, token: str | None = None, timeout: float | None = 30.0, retries: int = 3, **http: Any
    ) -> None:
        """Args: token: None = SEQLORE_TOKEN. timeout: seconds; None: no end. http: more of ``httpx.Client``."""
        super().__init__(url, token, timeout, retries)
        self._http = httpx.Client(**self._options, **http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def send(self, call: Call[A]) -> A:
        """Any call of :mod:`seqlore.client.calls`."""
        attempt = 0
        while True:
            try:
                got: httpx.Response | httpx.HTTPError = self._http.request(call.method, call.path, **self._sent(call))
            except httpx.HTTPError as error:
                got = error
            if (pause := self._pause(attempt, call, got)) is None:
                return self._read(got, call.answer)
            time.sleep(pause)
            attempt += 1

    def recommend(
        self, histories: Sequence[Sequence[Ref]], k: int = 10, **options: Unpack[calls.Recommend]
    ) -> wire.RecommendAnswer:
        """The k best items for each history."""
        return self.send(calls.recommend(histories, k, **options))

    def similar(self, item: Ref, k: int = 10, **options: Unpack[calls.Similar]) -> wire.SimilarAnswer:
        """Items like one item."""
        return self.send(calls.similar(item, k, **options))

    def rerank(
        self, history: Sequence[Ref], candidates: Sequence[Ref], **options: Unpack[calls.Rerank]
    ) -> wire.RerankAnswer:
        """The candidates in the model's order."""
        return self.send(calls.rerank(history, candidates, **options))

    def explain(
        self, history: Sequence[Ref], items: Sequence[str], **options: Unpack[calls.Explain]
    ) -> wire.ExplainAnswer:
        """Why the items follow the history."""
        return self.send(calls.explain(history, items, **options))

    def items(self, q: str = "", **options: Unpack[calls.Items]) -> wire.ItemsAnswer:
        """Items by words of their title; without any, the catalogue."""
        return self.send(calls.items(q, **options))

    def item(self, item_id: str, *, model: str | None = None) -> wire.ItemDetail:
        """All that is known of an item."""
        return self.send(calls.item(item_id, model))

    def add_items(self, items: Sequence[wire.NewItem], *, model: str | None = None) -> wire.AddItemsAnswer:
        """New items from their text, for one model or all that can take them."""
        return self.send(calls.add_items(items, model))

    def models(self) -> wire.ModelsAnswer:
        """What is served, the default first."""
        return self.send(calls.models())

    def reload(self, name: str) -> wire.ReloadAnswer:
        """Swap a model for what its folder now holds."""
        return self.send(calls.reload(name))

    def runs(self) -> wire.RunsAnswer:
        """The leaderboards of the served run folders."""
        return self.send(calls.runs())


class AsyncClient(_Base):
    """As :class:`Client`, for ``async`` code."""

    def __init__(
        self, url: str = HERE, *, token: str | None = None, timeout: float | None = 30.0, retries: int = 3, **http: Any
    ) -> None:
        """Args: as of :class:`Client`; http: more of ``httpx.AsyncClient``."""
        super().__init__(url, token, timeout, retries)
        self._http = httpx.AsyncClient(**self._options, **http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def send(self, call: Call[A]) -> A:
        """Any call of :mod:`seqlore.client.calls`."""
        attempt = 0
        while True:
            try:
                got: httpx.Response | httpx.HTTPError = await self._http.request(
                    call.method, call.path, **self._sent(call)
                )
            except httpx.HTTPError as error:
                got = error
            if (pause := self._pause(attempt, call, got)) is None:
                return self._read(got, call.answer)
            await asyncio.sleep(pause)
            attempt += 1

    async def recommend(
        self, histories: Sequence[Sequence[Ref]], k: int = 10, **options: Unpack[calls.Recommend]
    ) -> wire.RecommendAnswer:
        """The k best items for each history."""
        return await self.send(calls.recommend(histories, k, **options))

    async def similar(self, item: Ref, k: int = 10, **options: Unpack[calls.Similar]) -> wire.SimilarAnswer:
        """Items like one item."""
        return await self.send(calls.similar(item, k, **options))

    async def rerank(
        self, history: Sequence[Ref], candidates: Sequence[Ref], **options: Unpack[calls.Rerank]
    ) -> wire.RerankAnswer:
        """The candidates in the model's order."""
        return await self.send(calls.rerank(history, candidates, **options))

    async def explain(
        self, history: Sequence[Ref], items: Sequence[str], **options: Unpack[calls.Explain]
    ) -> wire.ExplainAnswer:
        """Why the items follow the history."""
        return await self.send(calls.explain(history, items, **options))

    async def items(self, q: str = "", **options: Unpack[calls.Items]) -> wire.ItemsAnswer:
        """Items by words of their title; without any, the catalogue."""
        return await self.send(calls.items(q, **options))

    async def item(self, item_id: str, *, model: str | None = None) -> wire.ItemDetail:
        """All that is known of an item."""
        return await self.send(calls.item(item_id, model))

    async def add_items(self, items: Sequence[wire.NewItem], *, model: str | None = None) -> wire.AddItemsAnswer:
        """New items from their text, for one model or all that can take them."""
        return await self.send(calls.add_items(items, model))

    async def models(self) -> wire.ModelsAnswer:
        """What is served, the default first."""
        return await self.send(calls.models())

    async def reload(self, name: str) -> wire.ReloadAnswer:
        """Swap a model for what its folder now holds."""
        return await self.send(calls.reload(name))

    async def runs(self) -> wire.RunsAnswer:
        """The leaderboards of the served run folders."""
        return await self.send(calls.runs())
