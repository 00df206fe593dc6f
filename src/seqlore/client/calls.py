"""Every call of the API, as data: what is sent, and the type of the answer. How it is sent is the clients' matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from seqlore.client import wire
from seqlore.client.errors import ServiceError, fault

A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=wire.Request)
#: An item: its id, or ``ByTitle(title=…)``.
Ref = str | wire.ByTitle


@dataclass(frozen=True)
class Call(Generic[A]):
    """One request. ``once``: it changes something, so it is not sent again where it may have arrived."""

    method: str
    path: str
    answer: type[A]
    content: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    once: bool = False


class Recommend(TypedDict, total=False):
    """Options of ``recommend``: which model, users (one a history), seen items, filters."""

    model: str | None
    users: list[str] | None
    exclude_seen: bool
    filters: wire.Filters | None


class Similar(TypedDict, total=False):
    """Options of ``similar``."""

    model: str | None
    filters: wire.Filters | None


class Rerank(TypedDict, total=False):
    """Options of ``rerank``."""

    model: str | None
    user: str | None
    exclude_seen: bool


class Explain(TypedDict, total=False):
    """Options of ``explain``: how many events of the history to name, whether the model shall write a label."""

    model: str | None
    user: str | None
    nearest: int
    label: bool


class Items(TypedDict, total=False):
    """Options of ``items``."""

    model: str | None
    limit: int
    offset: int


def recommend(histories: Sequence[Sequence[Ref]], k: int, **options: Unpack[Recommend]) -> Call[wire.RecommendAnswer]:
    """Raises: TypeError: a single history that was not wrapped in a list."""
    if isinstance(histories, str) or any(isinstance(h, (str, wire.ByTitle)) for h in histories):
        raise TypeError("histories is a list of histories: wrap a single one as [[…]]")
    asked = _asked(wire.RecommendRequest, histories=[_listed(h) for h in histories], k=k, **options)
    return _post("/v1/recommend", asked, wire.RecommendAnswer)


def similar(item: Ref, k: int, **options: Unpack[Similar]) -> Call[wire.SimilarAnswer]:
    return _post("/v1/similar", _asked(wire.SimilarRequest, item=item, k=k, **options), wire.SimilarAnswer)


def rerank(history: Sequence[Ref], candidates: Sequence[Ref], **options: Unpack[Rerank]) -> Call[wire.RerankAnswer]:
    asked = _asked(wire.RerankRequest, history=_listed(history), candidates=_listed(candidates), **options)
    return _post("/v1/rerank", asked, wire.RerankAnswer)


def explain(history: Sequence[Ref], items: Sequence[str], **options: Unpack[Explain]) -> Call[wire.ExplainAnswer]:
    asked = _asked(wire.ExplainRequest, history=_listed(history), items=_listed(items), **options)
    return _post("/v1/explain", asked, wire.ExplainAnswer)


def items(q: str, **options: Unpack[Items]) -> Call[wire.ItemsAnswer]:
    params = {name: value for name, value in {"q": q, **options}.items() if value is not None}
    return Call("GET", "/v1/items", wire.ItemsAnswer, params=params)


def item(item_id: str, model: str | None) -> Call[wire.ItemDetail]:
    params = {} if model is None else {"model": model}
    return Call("GET", f"/v1/items/{quote(item_id)}", wire.ItemDetail, params=params)


def add_items(items: Sequence[wire.NewItem], model: str | None) -> Call[wire.AddItemsAnswer]:
    asked = _asked(wire.AddItemsRequest, items=_listed(items), model=model)
    return _post("/v1/items", asked, wire.AddItemsAnswer, once=True)


def models() -> Call[wire.ModelsAnswer]:
    return Call("GET", "/v1/models", wire.ModelsAnswer)


def reload(name: str) -> Call[wire.ReloadAnswer]:
    return Call("POST", f"/v1/models/{quote(name, safe='')}/reload", wire.ReloadAnswer, once=True)


def runs() -> Call[wire.RunsAnswer]:
    return Call("GET", "/v1/runs", wire.RunsAnswer)


def _listed(values: Any) -> Any:
    """A list, where ``values`` is one of items: a text is none of its letters."""
    return values if isinstance(values, str) or not isinstance(values, Iterable) else list(values)


def _asked(kind: type[R], /, **values: Any) -> R:
    """Raises: ServiceError: what the service would refuse; ``status`` is None, as it was not asked."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        detail, field = fault(first["type"], first["loc"], first["msg"])
        raise ServiceError(detail, field=field) from None


def _post(path: str, asked: wire.Request, answer: type[A], *, once: bool = False) -> Call[A]:
    return Call("POST", path, answer, asked.model_dump_json(exclude_none=True), once=once)
