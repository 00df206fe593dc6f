"""Items that came after training, given to a model from their text alone.

Only models in which text is all that an item's place depends on can take them: LLMSeqSim on unreduced vectors, nets
whose text vectors are frozen behind an adapter, and models that have ``with_items`` of their own (Recformer). In the
others a vector was learned from interactions, and a new item has none.

New items stand behind the others in the catalogue: the indices that a model has learned stay what they are. So among
equal scores new items come last, and not by the hash of their id.
"""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

import polars as pl
import torch

from seqlore.data import Catalog
from seqlore.errors import DataError
from seqlore.models.llmseqsim import LLMSeqSim
from seqlore.models.net import NetRecommender
from seqlore.models.newcomers import new_items
from seqlore.recommender import Model
from seqlore.text.source import TextSource


@runtime_checkable
class HasWithItems(Protocol):
    """A model that extends itself, and checks what it is given as :func:`seqlore.models.newcomers.new_items` does."""

    def with_items(self, items: pl.DataFrame) -> Model: ...


def takes_new_items(model: Model) -> bool:
    """Whether :func:`with_new_items` can extend this model."""
    return isinstance(model, HasWithItems) or _source(model) is not None


def with_new_items(model: Model, items: pl.DataFrame) -> Model:
    """A copy of the model whose catalogue ends with ``items`` (item_id, title, …); the model itself stays as it is.

    Raises: DataError: the model cannot; or see :func:`seqlore.models.newcomers.new_items`.
    """
    if isinstance(model, HasWithItems):
        return model.with_items(items)
    if (source := _source(model)) is None:
        raise DataError(f"{model.name} learns an item's place from interactions, so it takes no new items")
    new = new_items(items, model.catalog, source.fields)
    catalog = Catalog(pl.concat([model.catalog.items, new]), ordered=True)
    vectors = torch.from_numpy(source.embed_texts(Catalog(new, ordered=True).texts(source.fields)))
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


def _longer(vector: torch.Tensor, by: int, value: float) -> torch.Tensor:
    return torch.cat([vector, torch.full((by,), value, dtype=vector.dtype)])
