"""Text vectors → the width of an item table: PCA, whitening, random projection, autoencoder.

PCA is what Harte et al. use (2023, DOI 10.1145/3604915.3610639, section 3.3); random projection and the autoencoder are
further choices of Boz et al., "Improving Sequential Recommendations with LLMs" (2024), arXiv 2402.01339; whitening is
that of Zhang et al., "Are ID Embeddings Necessary? Whitening Pre-trained Text Embeddings for Effective Sequential
Recommendation" (ICDE 2024), arXiv 2402.10602.

Deviations: the mean is taken off before a random projection too, so that zero means "the average item" whichever way
was chosen; the authors' codes bring each reduced row to length 1, here the net decides that; our autoencoder has the
authors' halving layers but GELU between them (theirs are linear throughout, and so a slow PCA).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

Method = Literal["pca", "whiten", "random", "autoencoder"]

#: Numbers that principal components are computed from at most (0.5 GB in double precision): 170,000 vectors of 384
#: dimensions, or 22,000 of 3,072. More rows say nothing new about so few directions.
FIT_NUMBERS = 1 << 26


def reduce(vectors: NDArray[np.float32], width: int, method: Method = "pca", seed: int = 0) -> NDArray[np.float32]:
    """The vectors in ``width`` dimensions, centred.

    Zero rows (items without text) have no part in the fit and stay zero, the place of the average item.

    Args:
        vectors: float32 [n, d].
        method: "pca": principal components, the widest first; "whiten": those with unit variance each; "random":
            Gaussian random projection; "autoencoder": the narrowest layer of a small one.
        seed: for what is random: the projection, the autoencoder, and the choice of rows where there are very many.

    Returns: float32 [n, width].

    Raises: ConfigError: PCA or whitening is asked for more dimensions than there are. DataError: no vectors, or all
        the same.
    """
    known = np.flatnonzero(vectors.any(axis=1))
    full = vectors[known]
    if not len(full) or np.ptp(full, axis=0).max() < 1e-7:
        raise DataError("the text vectors are all the same, so there is nothing to tell items apart by; embed others")
    if method in ("pca", "whiten"):
        reduced = _components(full, width, whiten=method == "whiten", seed=seed)
    else:
        centred = full - full.mean(axis=0, dtype=np.float64).astype(np.float32)
        if method == "random":
            directions = np.random.default_rng(seed).normal(scale=width**-0.5, size=(full.shape[1], width))
            reduced = centred @ directions.astype(np.float32)
        else:
            reduced = _bottleneck(centred, width, seed)
    out = np.zeros((len(vectors), width), np.float32)
    out[known] = reduced
    return out


def _components(full: NDArray[np.float32], width: int, *, whiten: bool, seed: int) -> NDArray[np.float32]:
    from sklearn.decomposition import PCA

    rows, sample = max(1, FIT_NUMBERS // full.shape[1]), full
    if len(full) > rows:
        sample = full[np.sort(np.random.default_rng(seed).choice(len(full), rows, replace=False))]
    # Double precision: the covariance is a small difference of large sums. Signs are fixed by scikit-learn.
    solver = "covariance_eigh" if len(sample) >= sample.shape[1] else "full"
    limit = min(len(sample) - 1, sample.shape[1])
    if width > limit:
        raise ConfigError(
            f"{len(full)} items with text in {full.shape[1]} dimensions have at most {limit} principal components, "
            f"not {width}: choose a narrower table, or reduce='random'"
        )
    pca = PCA(width, whiten=whiten, svd_solver=solver).fit(sample.astype(np.float64))
    if whiten and pca.explained_variance_[-1] < 1e-9 * pca.explained_variance_[0]:
        rank = int((pca.explained_variance_ >= 1e-9 * pca.explained_variance_[0]).sum())
        raise ConfigError(f"only {rank} of {width} components vary, and the others cannot be whitened: ask for fewer")
    blocks = np.array_split(full, range(rows, len(full), rows))
    return np.concatenate([pca.transform(block).astype(np.float32) for block in blocks])


def _bottleneck(centred: NDArray[np.float32], width: int, seed: int, batch: int = 256) -> NDArray[np.float32]:
    """The narrowest layer of an autoencoder, centred. Forty epochs, in 500 to 1,000 steps: seconds on one core."""
    import torch

    steps = min(max(40 * len(centred) // batch, 500), 1000)
    d = centred.shape[1]
    inner = []
    while (nxt := (inner[-1] if inner else width) * 2) < d:
        inner.append(nxt)
    sizes = [d, *reversed(inner), width]
    scale = centred.std()
    data = torch.from_numpy(centred / scale)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        encoder, decoder = _layers(sizes), _layers(sizes[::-1])
        parameters = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=3e-3)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                rows = data[torch.randint(len(data), (batch,))]
                loss = torch.nn.functional.mse_loss(decoder(encoder(rows)), rows)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
    with torch.inference_mode():
        reduced = torch.cat([encoder(block) for block in data.split(8192)]).numpy()
    return reduced - reduced.mean(axis=0)


def _layers(sizes: list[int]) -> nn.Sequential:
    """Linear layers with GELU between them."""
    from torch import nn

    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.GELU()]
    return nn.Sequential(*layers[:-1])
