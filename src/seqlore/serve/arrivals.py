"""Items that came after training, given to a model from their text alone.

Only models in which text is all that an item's place depends on can take them: LLMSeqSim on unreduced vectors, nets
whose text vectors are frozen behind an adapter, and models that have ``with_items`` of their own (Recformer). In the
others a vector was learned from interactions, and a new item has none.

New items stand behind the others in the catalogue: the indices that a model has learned stay what they are. So among
equal scores new items come last, and not by the hash of their id.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import polars as pl
import torch

from seqlore.data import Catalog
from seqlore.errors import DataError
from seqlore.models.llmseqsim import LLMSeqSim
from seqlore.models.net import NetRecommender
from seqlore.recommender import Model
from seqlore.text.source import TextSource


@runtime_checkable
class HasWithItems(Protocol):
    """A model that extends itself. ``config.fields``: columns of the items that it reads."""

    config: Any

    def with_items(self, items: pl.DataFrame) -> Model: ...


def takes_new_items(model: Model) -> bool:
    """Whether :func:`with_new_items` can extend this model."""
    return isinstance(model, HasWithItems) or _source(model) is not None


def with_new_items(model: Model, items: pl.DataFrame) -> Model:
    """A copy of the model whose catalogue ends with ``items`` (item_id, title, …); the model itself stays as it is.

    Raises: DataError: the model cannot, an id is known already, an item has no text in the fields that are read, or an
        attribute is not what the catalogue has there.
    """
    source = _source(model)
    if isinstance(model, HasWithItems):
        fields = tuple(model.config.fields)
    elif source is not None:
        fields = source.fields
    else:
        raise DataError(f"{model.name} learns an item's place from interactions, so it takes no new items")
    known = [item for item in items["item_id"] if item in model.catalog]
    if known:
        raise DataError(f"item {known[0]!r} is in the catalogue already; give new items ids of their own")
    old = model.catalog.items
    # Columns that the catalogue lacks are dropped, those that the items lack are null; types are the catalogue's.
    given = items.with_columns(pl.lit(None).alias(c) for c in old.columns if c not in items.columns)
    new = pl.DataFrame([_as(dtype, given[name], items["item_id"]) for name, dtype in old.schema.items()])
    texts = [_joined(row, fields) for row in items.iter_rows(named=True)]
    if not all(texts):
        missing = items["item_id"][texts.index("")]
        raise DataError(f"item {missing!r} has no text in {', '.join(fields)}, which {model.name} reads")
    if source is None:
        assert isinstance(model, HasWithItems)
        return model.with_items(new)
    catalog = Catalog(pl.concat([old, new]), ordered=True)
    vectors = torch.from_numpy(source.embed_texts(texts))
    state = {name: tensor.clone() for name, tensor in model.state().items()}
    if isinstance(model, LLMSeqSim):
        state["vectors"] = torch.cat([state["vectors"], vectors])
        state["popularity"] = _longer(state["popularity"], len(vectors), 0.0)
    else:
        state["items.text"] = torch.cat([state["items.text"], vectors])
        for name in ("counts", "log_q"):
            state[name] = _longer(state[name], len(vectors), float(state[name].min()) if name == "log_q" else 0.0)
        if "bias" in state:  # that of an ordinary item: nobody can know yet whether this one sells
            state["bias"] = _longer(state["bias"], len(vectors), float(state["bias"][1:].median()))
    extended = copy.copy(model)
    extended._catalog = catalog
    extended.restore(state)
    return extended


def _source(model: Model) -> TextSource | None:
    """The texts from which a new item's place follows, if it does."""
    if isinstance(model, LLMSeqSim):
        return model.config.text if model.config.reduce is None else None
    if isinstance(model, NetRecommender):
        init = model.config.item_init
        if init is None or init.mode != "frozen" or init.permute:
            return None
        # A net with other rows for items has learned something of each that a new one lacks.
        of_items = {name for name, tensor in model.state().items() if tensor.ndim and len(tensor) == model.catalog.size}
        return init if of_items <= {"items.text", "counts", "log_q", "bias"} else None
    return None


def _as(dtype: pl.DataType, column: pl.Series, ids: pl.Series) -> pl.Series:
    """The column as the catalogue has it. Raises: DataError: a value that would be lost, or would not be the same."""
    try:
        if dtype.is_temporal() and column.dtype == pl.String():
            cast = column.str.strptime(dtype, strict=False)  # type: ignore[arg-type]
        else:
            cast = column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        cast = pl.Series(column.name, [None] * len(column), dtype=dtype)
    for item, given, taken in zip(ids, column.to_list(), cast.to_list(), strict=True):
        if not _kept(given, taken):
            raise DataError(f"item {item!r}: {column.name} {given!r} is no {dtype}, which the catalogue has there")
    return cast


def _kept(given: object, taken: object) -> bool:
    if isinstance(given, list):
        return isinstance(taken, list) and all(map(_kept, given, taken))
    cut = isinstance(given, float) and isinstance(taken, int) and given != taken
    return given is None or (taken is not None and not cut)


def _joined(row: dict, fields: tuple[str, ...]) -> str:
    from seqlore.data.catalog import as_text

    return ". ".join(text for field in fields if (text := as_text(row.get(field))))


def _longer(vector: torch.Tensor, by: int, value: float) -> torch.Tensor:
    return torch.cat([vector, torch.full((by,), value, dtype=vector.dtype)])
