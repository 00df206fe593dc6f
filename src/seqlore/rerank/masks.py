"""Who may read whom in the retriever: the three masks of Zhang et al., COLING 2025, Figure 3, as pure functions.

Positions are K proxies first, then items. ``True`` = the row's position may read the column's.

(a) proxies alone, all to all; (b) proxies and one item, all to all; (c) proxies and many items: no item reads another.

Deviation: :func:`blind`, a (c) in which proxies do not read items. In (c) as published they do, and so items learn of
one another through them from the second block on.
"""

from __future__ import annotations

import torch
from torch import Tensor


def together(proxies: int, items: int = 0) -> Tensor:
    """(a) for ``items = 0``, (b) for ``items = 1``: bool [K + items, K + items], all true."""
    n = proxies + items
    return torch.ones(n, n, dtype=torch.bool)


def apart(proxies: int, listed: Tensor) -> Tensor:
    """(c): bool [B, K + C, K + C]. Proxies read proxies and items; an item reads proxies and itself.

    Args: listed: bool [B, C], an item stands here; what pads is read by itself only.
    """
    return _items(proxies, listed, read=True)


def blind(proxies: int, listed: Tensor) -> Tensor:
    """(c) with proxies that read proxies only: what becomes of an item does not depend on the others. As ``apart``."""
    return _items(proxies, listed, read=False)


def _items(k: int, listed: Tensor, *, read: bool) -> Tensor:
    b, c = listed.shape
    mask = torch.zeros(b, k + c, k + c, dtype=torch.bool, device=listed.device)
    mask[:, :, :k] = True
    mask[:, k:, k:] = torch.eye(c, dtype=torch.bool, device=listed.device)
    if read:
        mask[:, :k, k:] = listed[:, None, :]
    return mask
