"""Numbers as tokens: what prompts tell of stars is one token a number, and starts on a line.

A tokenizer of words spells "-0.4" with four tokens, and a small model adds up no digits: tuned on MovieLens-1M, one of
0.6 million weights gave stars that correlated by 0.66 with the sum of the two averages it was told. A vector a number,
read off in one place, makes that sum linear; and as those vectors start in their order on a line (as continuous
encodings have them: Golkar et al., "xVal", 2023, arXiv 2310.02989), what is learned of one holds for its neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def on_a_line(table: Tensor, first: int, count: int, seed: int) -> None:
    """Set ``count`` rows of a word table, from ``first`` on: one draw for all, and one that grows with the number.

    Args: table: [rows, d]; draws have the spread of its other rows, and at both ends the second counts twice. count: of
        numbers in rising order, as far from one another.
    """
    others = table[:first].float()
    what, slope = torch.randn(2, table.shape[1], generator=torch.Generator().manual_seed(seed)).to(table.device)
    way = torch.linspace(-2, 2, count, device=table.device)[:, None]
    rows = others.mean(0) + others.std(0) * (what + way * slope)
    table[first : first + count] = rows.to(table.dtype)
