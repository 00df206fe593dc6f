"""Draft."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA


def reduce(vectors: NDArray[np.float32], width: int, method: str = "pca", seed: int = 0) -> NDArray[np.float32]:
    known = np.any(vectors != 0, axis=1)
    out = np.zeros((len(vectors), width), np.float32)
    out[known] = PCA(width, whiten=method == "whiten", svd_solver="covariance_eigh").fit_transform(vectors[known])
    return out
