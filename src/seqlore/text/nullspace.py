"""Where ids are learned beside the text: the null space of the language embeddings.

AlphaFuse: Hu, Zhang, Liu, Cai, Yang and Wang, "AlphaFuse: Learn ID Embeddings for Sequential Recommendation in Null
Space of Language Embeddings" (SIGIR 2025), arXiv 2504.19218. The covariance of the language embeddings is decomposed;
its widest directions carry the meaning, its narrowest next to none. Of the narrow ones all but a few are clipped, so
that ``width`` directions remain; these are standardised to unit variance and frozen. Ids are learned in the narrowest
of the remaining ones, added to the little that the text says there.

Deviations: the share of directions for ids is given, not a threshold on the singular values, which depends on the
encoder's scale (the authors' code takes the number too, 64 of 128); all items weigh alike in the covariance (the
authors' default; they also offer popularity); an item without text is frozen at zero, the average, and lives by its id.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError
from seqlore.text.reduce import reduce


def null_space(vectors: NDArray[np.float32], width: int, null_share: float = 0.5) -> tuple[NDArray[np.float32], slice]:
    """The frozen part of an item table, and the dimensions in which ids are learned.

    With ``frozen, free = null_space(…)`` the vector of item i is ``frozen[i]``, plus the row of a trainable table
    [n, free.stop − free.start] in the dimensions ``free``.

    Args:
        vectors: float32 [n, d]; zero rows are items without text.
        width: of the item table, at most d.
        null_share: share of ``width`` in which ids are learned.

    Returns: (float32 [n, width], unit variance in each dimension, the widest direction first; the last dimensions).

    Raises: ConfigError: the share leaves no dimension for ids or none for the text, or ``width`` is too large.
    """
    nullity = round(width * null_share)
    if not 0 < nullity < width:
        raise ConfigError(
            f"null_share={null_share} of {width} dimensions leaves none for {'ids' if not nullity else 'text'}"
        )
    return reduce(vectors, width, "whiten"), slice(width - nullity, width)
