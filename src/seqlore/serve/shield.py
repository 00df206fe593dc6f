"""What stands before every route: who may ask, how much, how many at once, how long; and what every answer says.

Plain ASGI, since each layer of a framework's middleware costs a request more than scoring a history does.

* The host that a request addresses must be one of ours, and a page from elsewhere may not write: without this a web
  site could reach a service on loopback through its visitor's browser (DNS rebinding, cross-site requests).
* A token is compared in constant time. The page and its files, health and the schema of the API hold no data and need
  none.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from seqlore.serve.metrics import Metrics
from seqlore.serve.settings import ServeSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The page's own files and nothing else; no inline code, no other host.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
GUARDED = ("/v1/", "/metrics")
#: What adds items or swaps a model, when it is posted.
CHANGES = ("/v1/items", "/v1/models/")

logger = logging.getLogger("seqlore.serve")


class Shield:
    """The app behind these rules."""

    def __init__(self, app: App, settings: ServeSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, answered = time.perf_counter(), Answered(send)
        self._at_work += 1
        self.metrics.at_work.set(self._at_work)
        try:
            await self._answer(scope, receive, answered)
        except TimeoutError:
            await answered.problem(503, f"no answer within {self._limit(scope):g} s; ask again later", retry=True)
        except Exception:
            logger.exception("%s %s", scope["method"], scope["path"])
            await answered.problem(500, "the service failed at this request; its log says how")
        finally:
            self._at_work -= 1
            self.metrics.at_work.set(self._at_work)
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(answered.status)).inc()
            self.metrics.latency.labels(route).observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, answered: Answered) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        guarded = scope["path"].startswith(GUARDED)
        if not self._is_ours(headers.get(b"host", "")):
            await answered.problem(421, "this service does not answer to that host name; allow it with --allow-host")
        elif scope["method"] not in ("GET", "HEAD") and not _same_origin(headers):
            await answered.problem(403, "pages from elsewhere may not use this service")
        elif guarded and not self._may(headers.get(b"authorization", "")):
            await answered.problem(401, "give the service's token: Authorization: Bearer …", authenticate=True)
        elif guarded and self._at_work > self.settings.concurrency:
            await answered.problem(429, f"{self.settings.concurrency} requests are at work already", retry=True)
        else:
            async with asyncio.timeout(self._limit(scope)):
                body = await self._body(headers, receive)
                if body is None:
                    await answered.problem(413, f"a request's body may have {self.settings.max_body:,} bytes", "body")
                    return
                await self.app(scope, _replay(body, receive), answered)

    def _limit(self, scope: Scope) -> float:
        """Seconds: reading a model's folder, or loading the encoder of new items, takes longer than any question."""
        change = scope["method"] == "POST" and scope["path"].startswith(CHANGES)
        return self.settings.change_timeout if change else self.settings.timeout

    def _is_ours(self, host: str) -> bool:
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        return "*" in self.settings.hosts or name.lower() in self.settings.hosts

    def _may(self, authorization: str) -> bool:
        if self.settings.token is None:
            return True
        kind, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self.settings.token.encode())
        return right and kind.lower() == "bearer"

    async def _body(self, headers: dict[bytes, str], receive: Receive) -> bytes | None:
        """The body, or None where it is too long."""
        told = headers.get(b"content-length", "0")
        if told.isdecimal() and int(told) > self.settings.max_body:
            return None
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.settings.max_body:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)


class Answered:
    """``send``, remembering the status and putting our headers on the answer."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *((n, v) for n, v in HEADERS if n not in own)]
        await self._send(message)

    async def problem(
        self, status: int, detail: str, field: str | None = None, *, retry: bool = False, authenticate: bool = False
    ) -> None:
        """Answer so, unless an answer has begun."""
        if self.status:
            return
        body = json.dumps({"detail": detail, "field": field}, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(b"retry-after", b"1")] if retry else []
        headers += [(b"www-authenticate", b"Bearer")] if authenticate else []
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _same_origin(headers: dict[bytes, str]) -> bool:
    origin = headers.get(b"origin")
    return origin is None or origin.partition("://")[2] == headers.get(b"host")


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
