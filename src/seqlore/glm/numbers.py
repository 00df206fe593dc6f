"""Numbers as tokens: what prompts tell of stars is one token a number, and near numbers start alike.

A tokenizer of words spells "-0.4" with four tokens, and a small model adds up no digits. A vector a number, read off in
one place, makes their sum linear; and as vectors of neighbours start alike, what is learned of one holds for those
beside it, most of which are rare. (Golkar et al., "xVal", 2023, arXiv 2310.02989, go further: one vector, times the
number.) docs/papers/chu2023.md has what each of the two is worth.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def smooth_rows(table: Tensor, first: int, count: int, seed: int, reach: float = 6.0) -> None:
    """Set ``count`` rows of a word table, from ``first`` on: draws that are averaged with those beside them.

    Args: table: [rows, d]; draws have the mean and the spread of its other rows. count: of numbers in rising order, as
        far from one another. reach: of the average, a Gaussian, in numbers: so far apart, two have 0.78 in common.
    """
    others, place = table[:first].float(), torch.arange(count, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / reach) ** 2)
    draws = torch.randn(count, table.shape[1], generator=torch.Generator().manual_seed(seed))
    smooth = (weights / weights.norm(dim=1, keepdim=True)) @ draws  # each of unit variance, as the draws
    rows = others.mean(0) + others.std(0) * smooth.to(table.device)
    table[first : first + count] = rows.to(table.dtype)
