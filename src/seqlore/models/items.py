"""The item side of a net: one table of vectors, tied between input and output, from ids, from text, or from both.

* no ``item_init``: ids only, N(0, ``init_std``²).
* ``mode="init"``: the table starts from the reduced text vectors and trains freely (Harte et al., RecSys 2023, 3.3).
* ``mode="frozen"``: text vectors stay; a small adapter maps them into the net (as UniSRec and others do), so that an
  item without interactions has a place.
* ``mode="nullspace"``: the semantic subspace stays frozen, ids are learned in its null space (AlphaFuse, SIGIR 2025,
  arXiv 2504.19218).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqlore.data import Catalog
from seqlore.text.source import TextInit


class ItemTable(nn.Module):
    """Vectors of items, [size, d]; row 0, padding, is zero."""

    def __init__(self, size: int, width: int, *, init_std: float = 0.02, row_sparse: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, width, sparse=row_sparse)
        nn.init.normal_(self.embedding.weight, std=init_std)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        if row_sparse:
            self.embedding.weight.row_sparse = True  # type: ignore[attr-defined]

    def forward(self, items: Tensor) -> Tensor:
        """[...] item indices → [..., d]."""
        return self.embedding(items)

    def table(self) -> Tensor:
        """All vectors, [size, d]."""
        return self.embedding.weight


class FrozenTextTable(nn.Module):
    """A learned adapter over text vectors that stay as they are."""

    def __init__(self, text: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("text", text)  # [size, d_text]
        hidden = max(width, min(4 * width, text.shape[1]))
        self.adapter = nn.Sequential(nn.Linear(text.shape[1], hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, items: Tensor) -> Tensor:
        return self.adapter(self.text[items])  # type: ignore[index]

    def table(self) -> Tensor:
        return self.adapter(self.text)


class NullSpaceTable(nn.Module):
    """Text vectors that stay, plus ids learned in the dimensions where the text says least."""

    def __init__(self, text: Tensor, free: int) -> None:
        """Args: text: [size, d], widest direction first. free: how many of its last dimensions ids are learned in."""
        super().__init__()
        self.register_buffer("text", text)
        self.ids = nn.Embedding(len(text), free)
        nn.init.zeros_(self.ids.weight)

    def forward(self, items: Tensor) -> Tensor:
        return self._joined(self.text[items], self.ids(items))  # type: ignore[index]

    def table(self) -> Tensor:
        return self._joined(self.text, self.ids.weight)  # type: ignore[arg-type]

    def _joined(self, text: Tensor, ids: Tensor) -> Tensor:
        meaning = text.shape[-1] - ids.shape[-1]
        return torch.cat([text[..., :meaning], text[..., meaning:] + ids], -1)


def text_start(catalog: Catalog, width: int, init: TextInit | None, seed: int = 0) -> Tensor | None:
    """What the table starts from, [size, ·] with a zero row for padding; encodes the texts through the store.

    Args: seed: of the model, which draws another permutation where ``init`` asks for one.

    Raises: ConfigError: ``init`` sets what its mode does not read; otherwise as :class:`TextInit` says.
    """
    if init is None:
        return None
    init.check()
    if init.mode == "frozen":
        vectors = init.frozen_vectors(catalog, seed)
    elif init.mode == "nullspace":
        vectors = init.null_space(catalog, width, seed)[0]
    else:
        vectors = init.matrix(catalog, width, seed)
    return nn.functional.pad(torch.from_numpy(vectors), (0, 0, 1, 0))


def item_table(
    size: int,
    width: int,
    init: TextInit | None,
    text: Tensor | None,
    *,
    init_std: float = 0.02,
    row_sparse: bool = False,
) -> nn.Module:
    """The table that ``init`` asks for. ``text`` is what :func:`text_start` gave, or None before a state is loaded."""
    if init is not None and init.mode == "frozen":
        assert text is not None
        return FrozenTextTable(text, width)
    if init is not None and init.mode == "nullspace":
        assert text is not None
        return NullSpaceTable(text, round(width * init.null_share))
    table = ItemTable(size, width, init_std=init_std, row_sparse=row_sparse)
    if text is not None:
        with torch.no_grad():
            table.embedding.weight.copy_(text)
    return table
