"""The service as an ASGI app: models loaded, routes, the page, and errors that name the field."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from seqlore.client.errors import fault
from seqlore.errors import SeqloreError
from seqlore.serve.api import api, health
from seqlore.serve.board import Boards
from seqlore.serve.folders import find_models
from seqlore.serve.knowledge import Knowledge
from seqlore.serve.metrics import Metrics
from seqlore.serve.refused import Refused
from seqlore.serve.registry import Registry
from seqlore.serve.service import Service
from seqlore.serve.settings import ServeSettings
from seqlore.serve.shield import Shield
from seqlore.version import __version__

PAGE = Path(__file__).parent / "page"
#: The page's files, by the path under which they are served; no other file is.
NAMES = ("page.js", "dom.js", "picker.js", "recommend.js", "views.js", "page.css", "icon.svg")
FILES = {"/": "index.html"} | {f"/page/{name}": name for name in NAMES}

logger = logging.getLogger("seqlore.serve")


def create_app(
    folders: Sequence[str | Path], settings: ServeSettings | None = None, *, lore: Sequence[str | Path] = ()
) -> FastAPI:
    """The service for model folders and run folders. Everything is loaded when this returns.

    Args: lore: files of knowledge about items, as ``seqlore lore make`` writes them.

    Raises: DataError: a folder or file is damaged, of a newer version, or neither.
    """
    settings = settings or ServeSettings()
    sources, runs = find_models(folders)
    knowledge, metrics = Knowledge(lore), Metrics()
    registry = Registry(settings, metrics)
    registry.open(sources)
    service = Service(registry, knowledge, settings)
    boards = Boards(runs, {source.folder.resolve(): source.name for source in sources})
    app = FastAPI(
        title="Seqlore",
        version=__version__,
        summary="Sequential recommendations.",
        docs_url=None,  # its scripts come from elsewhere; the page is at /
        redoc_url=None,
        lifespan=_lifespan(registry),
    )
    app.include_router(api(service, boards))
    app.include_router(health(service, metrics))
    for path, name in FILES.items():
        app.add_api_route(path, _file(PAGE / name), include_in_schema=False)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_middleware(Shield, settings=settings, metrics=metrics)
    app.state.registry = registry
    return app


def _lifespan(registry: Registry):
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks: set[asyncio.Task[None]] = set()

        async def reload_all() -> None:
            for lane in registry.lanes:
                try:
                    await registry.reload(lane.served.name)
                    logger.info("reloaded %s", lane.served.name)
                except SeqloreError as error:
                    logger.error("%s", error)

        def hang_up() -> None:
            tasks.add(task := asyncio.create_task(reload_all()))
            task.add_done_callback(tasks.discard)

        here = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP")
        if here:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
        yield
        app.state.stopping = True
        if here:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    return lifespan


def _file(path: Path):
    async def send() -> FileResponse:
        return FileResponse(path, headers={"cache-control": "no-cache"})

    return send


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return JSONResponse({"detail": error.detail, "field": error.field}, error.status)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong, with the field as it stands in the request."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] in ("json_invalid", "json_type"):
        return JSONResponse({"detail": f"the body is no JSON: {first['msg']}", "field": "body"}, 400)
    detail, field = fault(first["type"], first["loc"][1:] or first["loc"], first["msg"])
    return JSONResponse({"detail": detail, "field": field}, 422)


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": str(error.detail), "field": None}, error.status_code, error.headers)
