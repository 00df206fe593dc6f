"""ICLRec: contrastive learning with latent intents, which are clusters of the sequences' own states.

Chen et al., "Intent Contrastive Learning for Sequential Recommendation", WWW 2022 (10.1145/3485447.3512090).

Expectation-maximisation as published: before each epoch all training sequences are encoded and clustered by k-means
(E); in it, views of a sequence are drawn to their partner, and to the centre of the cluster nearest to the sequence,
against the centres of the others in the batch (M). Sequences of one intent are not told apart (the paper's
false-negative mitigation). Shares of the views (0.2, 0.7, 0.2), both weights 0.1, 256 intents, one block: as in the
authors' script for Beauty; a sequence is the mean of its states, and centres have length 1 in the loss, as in their
code.
Differs: similarities are cosines over 0.1, as in CL4SRec here and for its reason; the net and its main loss are this
package's SASRec (see there); the contrast between views takes means of states too, where the authors' code lays the
states of 50 padded positions end to end; two different distortions are drawn for a sequence, where theirs may be the
same; the centres' term is the paper's, without the code's other negatives.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences
from seqlore.models.cl4srec import CL4SRec, CL4SRecConfig, CL4SRecNet, contrast


class ICLRecConfig(CL4SRecConfig):
    """Settings of ICLRec."""

    layers: int = Field(default=1, ge=1, description="Transformer blocks.")
    crop: float = Field(default=0.2, gt=0, le=1, description="Share of a sequence that a crop keeps.")
    mask: float = Field(default=0.7, ge=0, le=1, description="Share of its items that a mask hides.")
    reorder: float = Field(default=0.2, ge=0, le=1, description="Share of a sequence that a reordering shuffles.")
    intents: int = Field(default=256, ge=1, description="Clusters; at most as many as there are training sequences.")
    intent_weight: float = Field(default=0.1, ge=0, description="Weight of the contrast with intents.")
    mitigate: bool = Field(default=True, description="Sequences of one intent are not told apart.")


def mean_state(states: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, d] → [B, d], the mean over the first ``lengths`` [B] positions."""
    real = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
    return (states * real[..., None]).sum(1) / lengths[:, None]


def intent_contrast(views: Tensor, centers: Tensor, intent: Tensor, temperature: float, mitigate: bool) -> Tensor:
    """Mean of −log softmax of a view's own centre among those of the batch.

    Args: views: [N, d]. centers: [N, d], of length 1, of each sequence's ``intent`` [N]. mitigate: centres of the same
        intent, which are the same centre, are no negatives.
    """
    similarity = views @ centers.T / temperature
    if mitigate:
        own = torch.eye(len(views), dtype=torch.bool, device=views.device)
        similarity = similarity.masked_fill((intent[:, None] == intent) & ~own, -torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(views), device=views.device))


class ICLRecNet(CL4SRecNet):
    """SASRec with a contrast of views and one of intents; ``centers`` [K, d] are set before each epoch."""

    config: ICLRecConfig
    centers: Tensor

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("centers", torch.zeros(1, self.config.embedding_size), persistent=False)

    def whole(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What is clustered: the mean state of a sequence, [B, d]."""
        return mean_state(self.hidden(items, lengths), lengths)

    def view(self, view: Tensor) -> Tensor:
        x, lengths = self.distorted(view)
        return self.compared(mean_state(self.states(x, lengths), lengths))

    def forward(self, batch: tuple[Tensor, ...]) -> Tensor:
        """(items [B, T + 1], users [B], first [B, ·], second [B, ·]) → the three losses, weighted."""
        c = self.config
        items, _, first, second = batch
        targets = items[:, 1:]
        read = targets > 0
        hidden = self.hidden(items[:, :-1], read.sum(1))
        whole = mean_state(hidden.detach(), read.sum(1))
        intent = torch.cdist(whole, self.centers).argmin(1)
        centers = F.normalize(self.centers[intent], dim=1)
        views = self.view(first), self.view(second)
        alike = intent[:, None] == intent if c.mitigate else None
        toward = sum(intent_contrast(v, centers, intent, c.temperature, c.mitigate) for v in views) / 2
        return (
            self.objective(hidden[read], targets[read])
            + c.contrast_weight * contrast(*views, c.temperature, alike)
            + c.intent_weight * toward
        )


class ICLRec(CL4SRec):
    """Contrastive learning with intents found by clustering."""

    paper = "Chen et al., WWW 2022, 10.1145/3485447.3512090"
    Config: ClassVar[type[Config]] = ICLRecConfig
    Net = ICLRecNet

    def before_epoch(self, train: Sequences, epoch: int) -> None:
        """The E step: cluster what the net, as it stands, makes of all training sequences."""
        net, c = self.net, self.config
        whole = self._encode(train.drop_last(), net.whole, c.embedding_size).cpu().numpy()
        clusters = KMeans(min(c.intents, len(whole)), n_init="auto", max_iter=20, random_state=c.seed).fit(whole)
        net.centers = torch.from_numpy(clusters.cluster_centers_).to(net.centers)
