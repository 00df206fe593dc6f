"""Caser: the latest items as an image, read by horizontal and vertical convolutions, beside the user's vector.

Tang & Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018
(10.1145/3159652.3159656).

As in the authors' code: horizontal filters of every height 1 … L, rectified, with the maximum over the window; vertical
filters without activation; a rectified layer maps both to the width of the items and stands beside the user's vector;
output vectors are a table of their own, twice as wide. A window that begins before the first event has zeros there.

The filters slide once over the whole sequence, and windows are cut from what they found: the same numbers as a
convolution of each window, L times cheaper. Differs: full softmax over the catalogue instead of BCE with three sampled
negatives (``loss`` has others); the next ``targets`` events are targets of a window, one unless told otherwise (T of
the paper, 1 to 3 there); a share of the training sequences is read as a stranger's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.causal import PersonalConfig, PersonalNet, PersonalRecommender, sliding
from seqlore.models.items import ItemTable
from seqlore.models.layers import Dropout


class CaserConfig(PersonalConfig):
    """Settings of Caser."""

    embedding_size: int = Field(
        default=50, ge=1, description="Width d of item and user vectors; states are twice as wide."
    )
    window: int = Field(default=5, ge=1, description="Latest events that are read: L.")
    targets: int = Field(default=1, ge=1, description="Next events that a window predicts: T.")
    horizontal: int = Field(default=16, ge=1, description="Horizontal filters of each height.")
    vertical: int = Field(default=4, ge=1, description="Vertical filters.")


class CaserNet(PersonalNet):
    """Items [B, T] and users [B] → states [B, T, 2 d]; the state at t predicts event t + 1 (… t + ``targets``)."""

    config: CaserConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        d = c.embedding_size
        self.dropout = Dropout(c.dropout)
        self.across = nn.ModuleList(nn.Linear(d * height, c.horizontal) for height in range(1, c.window + 1))
        self.down = nn.Linear(c.window, c.vertical)
        self.output = nn.Linear(c.window * c.horizontal + c.vertical * d, d)
        #: The half of the output vectors that meets the user's vector; the other half is ``outputs``.
        self.taste = ItemTable(len(self.counts), d, init_std=c.init_std, row_sparse=self.row_sparse)

    @property
    def width(self) -> int:
        return 2 * self.config.embedding_size

    def table(self) -> Tensor:
        return torch.cat([super().table(), self.taste.table()], 1)

    def vectors(self, items: Tensor) -> Tensor:
        return torch.cat([super().vectors(items), self.taste(items)], -1)

    def convolved(self, x: Tensor) -> Tensor:
        """What the filters see in the window that ends at each step: [B, T, d] → [B, T, L·horizontal + d·vertical]."""
        window = self.config.window
        padded = F.pad(x, (0, 0, window - 1, 0))  # [B, T + L − 1, d]
        seen = []
        for height, conv in enumerate(self.across, start=1):
            found = F.relu(conv(padded.unfold(1, height, 1).flatten(2)))  # a filter of this height, at every step
            seen.append(found.unfold(1, window - height + 1, 1).amax(3))  # fits so many times into a window
        return torch.cat([*seen, self.down(sliding(x, window)).flatten(2)], 2)

    def hidden(self, items: Tensor, users: Tensor) -> Tensor:
        """[B, T, 2 d]."""
        x = self.items(items) * (items > 0)[..., None]
        z = F.relu(self.output(self.dropout(self.convolved(x))))
        return torch.cat([z, self.users(users)[:, None].expand_as(z)], 2)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """(items [B, T + 1], users [B]) → loss of predicting from each window the ``targets`` events after it."""
        items, users = batch
        hidden = self.hidden(items[:, :-1], self.known(users))
        following = sliding(items.flip(1), self.config.targets).flip(1)[:, 1:]  # [B, T, targets], 0 behind the end
        read = following > 0
        states = torch.cat([hidden[read[..., j]] for j in range(self.config.targets)])
        return self.objective(states, torch.cat([following[..., j][read[..., j]] for j in range(self.config.targets)]))


class Caser(PersonalRecommender):
    """Convolutions over the latest items."""

    paper = "Tang & Wang, WSDM 2018, 10.1145/3159652.3159656"
    Config: ClassVar[type[Config]] = CaserConfig
    Net = CaserNet
