"""An approximate index for catalogues that are too large to be scored whole, with its recall measured.

Inverted lists around k-means centroids (Jégou et al., TPAMI 2011, 10.1109/TPAMI.2010.57; ``IndexIVFFlat`` of FAISS,
arXiv 2401.08281), searched by inner product. The vectors in the lists are exact, so only lists that are not looked
into cost recall. How many are looked into is the least that reaches the recall asked for, measured against exact
search on queries that the model itself makes; an index that cannot reach it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import MissingExtraError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: The list length at which recall is told.
AT = 20
#: Vectors a list that k-means learns from.
SAMPLE = 64


@dataclass(frozen=True, eq=False)
class VectorIndex:
    """Items found by the inner product of their vectors with a query.

    Attributes: recall: share of the exact top 20 found, the mean over ``queries`` queries. probes: lists looked into.
    """

    _index: Any
    recall: float
    queries: int
    probes: int
    lists: int
    k: int = AT
    kind: str = "IVFFlat"

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """(items [n, k], scores [n, k]) of ``queries`` [n, d], best first; −1 and −inf where nothing is left."""
        scores, items = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return items, np.where(items < 0, -np.inf, scores).astype(np.float32)


def build_index(vectors: torch.Tensor, queries: torch.Tensor, *, recall: float, seed: int = 0) -> VectorIndex | None:
    """The index of ``vectors`` [size, d], whose row 0 is padding; rows of zeros (items unknown to it) are left out.

    Args: queries: [q, d], as the model makes them. recall: share of the exact top 20 to be reached.

    Returns: None where ``recall`` cannot be reached by looking into a quarter of the lists.
    """
    faiss = import_faiss()
    table = np.ascontiguousarray(vectors.detach().float().cpu().numpy())
    asked = np.ascontiguousarray(queries.detach().float().cpu().numpy())
    known = np.flatnonzero(table.any(1))
    known = known[known > 0]
    lists = max(1, int(np.sqrt(len(known))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(table.shape[1]), table.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = seed + 1, 8
    sample = np.random.default_rng(seed).choice(known, min(len(known), SAMPLE * lists), replace=False)
    index.train(table[np.sort(sample)])
    index.add_with_ids(table[known], known)
    exact = _exact(table, known, asked, min(AT, len(known)))
    probes = 4
    while probes <= max(4, lists // 4):
        index.nprobe = probes
        _, found = index.search(asked, exact.shape[1])
        reached = recall_of(found, exact)
        if reached >= recall:
            return VectorIndex(index, reached, len(asked), probes, lists)
        probes = int(np.ceil(probes * 1.5))
    return None


def recall_of(found: Ints, exact: Ints) -> float:
    """Mean share of the exact lists [n, k] that ``found`` [n, k] holds."""
    return float(np.mean([len(np.intersect1d(f, e)) / len(e) for f, e in zip(found, exact, strict=True)]))


def _exact(table: Floats, known: Ints, queries: Floats, k: int) -> Ints:
    """Items [q, k] with the highest inner products, by plain search."""
    faiss = import_faiss()
    # In slices of the queries, for a row of scores over a million items is 4 MB.
    _, rows = faiss.knn(queries, table[known], k, metric=faiss.METRIC_INNER_PRODUCT)
    return known[rows]


def import_faiss() -> Any:
    """FAISS. Raises: MissingExtraError: it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("a large catalogue's index needs FAISS: pip install 'seqlore[serve]'") from error
    return faiss
