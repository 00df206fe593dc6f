"""The routes of the API and their documentation."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from seqlore.client import wire
from seqlore.serve.board import Boards
from seqlore.serve.metrics import Metrics
from seqlore.serve.refused import Refused
from seqlore.serve.service import Service, info

#: What any request may be answered with.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": wire.Problem, "description": "The body is no JSON."},
    401: {"model": wire.Problem, "description": "The token is missing or wrong."},
    404: {"model": wire.Problem, "description": "No such model or item."},
    413: {"model": wire.Problem, "description": "The body is too long."},
    422: {"model": wire.Problem, "description": "A field is wrong; it is named."},
    429: {"model": wire.Problem, "description": "Too many requests at once; ask again later."},
    503: {"model": wire.Problem, "description": "No answer in time; ask again later."},
}
WRITES = PROBLEMS | {
    403: {"model": wire.Problem, "description": "Writing is switched off."},
    409: {"model": wire.Problem, "description": "Refused as things stand; what was served goes on."},
}

Model = Annotated[str | None, Query(max_length=256, description="A served model; none = the first.")]
ITEM = "B004756YJA"


def _example(summary: str, value: dict[str, Any]) -> dict[str, Any]:
    return {summary: {"summary": summary, "value": value}}


def api(service: Service, boards: Boards) -> APIRouter:
    """Routes under ``/v1``."""
    routes = APIRouter(prefix="/v1", responses=PROBLEMS)

    @routes.post("/recommend", summary="Recommend items for histories")
    async def recommend(
        asked: Annotated[
            wire.RecommendRequest,
            Body(
                openapi_examples=_example("One history by ids", {"history": [ITEM], "k": 5})
                | _example("By title", {"history": [{"title": "green tea face cream"}]})
                | _example(
                    "Many, filtered",
                    {"histories": [[ITEM], []], "filters": {"attributes": {"categories": ["Beauty > Skin Care"]}}},
                )
            ),
        ],
    ) -> wire.RecommendAnswer:
        """A list for each history, best first.

        Ids that the model does not know are skipped and named in `unknown`; an empty history gets what is popular.
        """
        return await service.recommend(asked)

    @routes.post("/similar", summary="Items like an item")
    async def similar(
        asked: Annotated[wire.SimilarRequest, Body(openapi_examples=_example("By id", {"item": ITEM, "k": 5}))],
    ) -> wire.SimilarAnswer:
        """By the cosine of item vectors; a model without vectors tells what it lists after the item alone."""
        return await service.similar(asked)

    @routes.post("/rerank", summary="Put candidates in order")
    async def rerank(
        asked: Annotated[
            wire.RerankRequest,
            Body(openapi_examples=_example("By id", {"history": [ITEM], "candidates": ["B0009P4RHC", "B000142FVW"]})),
        ],
    ) -> wire.RerankAnswer:
        """Candidates as the model would list them after the history. Rerankers are served here only."""
        return await service.rerank(asked)

    @routes.post("/explain", summary="Why items follow a history")
    async def explain(
        asked: Annotated[
            wire.ExplainRequest,
            Body(openapi_examples=_example("Why", {"history": [ITEM], "items": ["B0009P4RHC"]})),
        ],
    ) -> wire.ExplainAnswer:
        """The nearest items of the history, the knowledge held on each item, and the model's own label, if any."""
        return await service.explain(asked)

    @routes.get("/items", summary="Search the catalogue by title, or leaf through it")
    async def items(
        model: Model = None,
        q: Annotated[str, Query(max_length=1000, description="Words of a title; none = all items.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
        offset: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
    ) -> wire.ItemsAnswer:
        """Words in any order, not exact; best first."""
        return await service.items(model, q, limit, offset)

    @routes.get("/items/{item_id:path}", summary="All that is known of an item")
    async def item(item_id: Annotated[str, Path(min_length=1, max_length=512)], model: Model = None) -> wire.ItemDetail:
        """Title, attributes and generated knowledge."""
        return service.item(model, item_id)

    @routes.post("/items", summary="Add items at run time", responses=WRITES)
    async def add_items(
        asked: Annotated[
            wire.AddItemsRequest,
            Body(openapi_examples=_example("One", {"items": [{"item_id": "new-1", "title": "Green tea night cream"}]})),
        ],
    ) -> wire.AddItemsAnswer:
        """From their text alone, for models that can; recommended from the next request on, until the service stops."""
        _may_write(service)
        return await service.add_items(asked)

    @routes.get("/models", summary="What is served")
    async def models() -> wire.ModelsAnswer:
        """The default model first."""
        return service.models()

    @routes.post("/models/{name}/reload", summary="Swap a model for what its folder now holds", responses=WRITES)
    async def reload(name: Annotated[str, Path(max_length=256)]) -> wire.ReloadAnswer:
        """Requests under way end on the old model. A damaged folder is refused and the old model stays."""
        _may_write(service)
        return wire.ReloadAnswer(model=info((await service.registry.reload(name)).served))

    @routes.get("/runs", summary="Leaderboards of the served run folders")
    async def runs() -> wire.RunsAnswer:
        """Rows best first, each with its metrics and 95 % intervals."""
        return await asyncio.to_thread(boards.answer)

    @routes.get("/runs/{run}/plots/{plot}", summary="A figure of a run", response_class=Response)
    async def plot(run: Annotated[int, Path(ge=0, le=1000)], plot: Annotated[int, Path(ge=0, le=1000)]) -> Response:
        """As SVG."""
        return Response(await asyncio.to_thread(boards.svg, run, plot), media_type="image/svg+xml")

    return routes


def health(service: Service, metrics: Metrics) -> APIRouter:
    """Routes for whoever looks after the service."""
    routes = APIRouter()

    @routes.get("/healthz", summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", summary="Requests can be answered", responses={503: {"model": wire.Problem}})
    async def readyz(request: Request) -> Response:
        if getattr(request.app.state, "stopping", False) or not service.registry.lanes:
            return JSONResponse({"detail": "stopping, or no model is loaded", "field": None}, 503)
        return JSONResponse({"status": "ready", "models": len(service.registry.lanes)})

    @routes.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses={401: PROBLEMS[401]})
    async def told() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _may_write(service: Service) -> None:
    if not service.settings.writes:
        raise Refused("this service takes no changes; start it on loopback or with a token", status=403)
