"""What learns: a body that fills blanks, in the one training loop; batches of it; an adapter where one is wanted.

The loss is the mean cross-entropy of the tokens of the blanks, end marks included (Chu et al. 2023, equation 1); or of
each text first, as P5 has it, so that a rating, one word, weighs as much as a tail of titles.
Adapter: Hu et al., "LoRA", ICLR 2022 (arXiv 2106.09685), from peft, on the four kinds of layers that the paper names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlore.glm.blanks import Batch, Blanked
from seqlore.glm.model import LORA_TARGETS, blank_sight
from seqlore.language.loading import adapters
from seqlore.language.trie import Trie
from seqlore.training.batches import plan

#: What a loss is a mean of.
Average = Literal["tokens", "texts"]
#: Documents that are blanked together.
CHUNK = 8192
#: Padded tokens of a batch in which nothing is learned.
READ_TOKENS = 16_384


class BlankNet(nn.Module):
    """The body as the loop has it; what is frozen stays outside the module tree, so out of checkpoints.

    A body is a :class:`seqlore.glm.model.GLM`, or what offers the same: called with ids, both position ids and what
    each token sees it gives hidden states, and it has ``logits``, ``new_cache``, ``head``, ``device``, ``size`` and
    ``longest``.
    """

    def __init__(self, body: Any, trie: Trie | None = None, average: Average = "tokens") -> None:
        """Args: trie: of titles. A token within one is then learned as a share of what may follow there, as it is
        searched with ``normalise = "children"``; what can only go on in one way asks nothing of the body. Rows
        that are not ``titled`` are learned as shares of all tokens.
            average: over target tokens, or over texts, of which each has the mean of its own."""
        super().__init__()
        self._trie, self._average = trie, average
        self.trained = nn.ParameterList(p for p in body.parameters() if p.requires_grad)
        self._body = [body]  # in a list, where the module tree does not look
        self._place: torch.device | None = None

    @property
    def body(self) -> Any:
        return self._body[0]

    def train(self, mode: bool = True) -> BlankNet:
        self.body.train(mode)
        return super().train(mode)

    def losses(self, batch: Batch) -> Tensor:
        """−log p of each target, [M]."""
        if self._place != batch.ids.device:  # what learns was moved by the loop, the rest was not
            self.body.to(batch.ids.device)
            self._trie = None if self._trie is None else self._trie.to(batch.ids.device)
            self._place = batch.ids.device
        width = batch.ids.shape[1]
        row, place = batch.at // width, batch.at % width
        place = place - batch.context[row]  # in part B, of which all and nothing else is asked
        most = int(place.max()) + 1
        b = (batch.context[:, None] + torch.arange(most, device=place.device)).clamp_max(width - 1)
        hidden = self.body(batch.ids, batch.inter, batch.intra, blank_sight(batch.context, width), at=b)  # [B, most, d]
        read = hidden[row, place]  # [M, d]
        if self._trie is not None:
            return self._shares(self._trie, read, batch)
        return F.cross_entropy(self.body.logits(read).float(), batch.targets, reduction="none")

    def _shares(self, trie: Trie, read: Tensor, batch: Batch) -> Tensor:
        """−log of the share of what may follow, [M]; of all tokens where a target goes on no title."""
        node = nodes_of(trie, batch).masked_fill(~batch.titled[:, None], -1).flatten()[batch.at]
        onward = torch.where(node >= 0, trie.step(node.clamp_min(0), batch.targets), -1) >= 0
        several = ~onward | (trie.first_child[node.clamp_min(0) + 1] - trie.first_child[node.clamp_min(0)] > 1)
        some = several.nonzero().flatten()
        logits = self.body.logits(read[some]).float()
        row, _, token = trie.children(node[some].clamp_min(0))
        allowed = (~onward[some])[:, None].repeat(1, logits.shape[1])
        allowed[row, token] = True
        found = F.cross_entropy(logits.masked_fill(~allowed, -torch.inf), batch.targets[some], reduction="none")
        return torch.zeros(len(read), device=found.device).index_put((some,), found)

    def forward(self, batch: Batch) -> Tensor:
        """Mean loss, weighted by text."""
        row = batch.at // batch.ids.shape[1]
        weight = batch.weight[row]  # of each target
        if self._average == "texts":
            weight = weight / row.bincount(minlength=len(batch.ids))[row]
        return (self.losses(batch) * weight).sum() / weight.sum()

    @torch.no_grad()
    def log_likelihood(self, blanked: Blanked) -> float:
        """Mean log-probability of a target."""
        total, device = 0.0, self.trained[0].device
        for batch in batches([blanked], READ_TOKENS):
            total -= float(self.losses(Batch(*(t.to(device) for t in batch))).double().sum())
        return total / len(blanked.targets)


def nodes_of(trie: Trie, batch: Batch) -> Tensor:
    """int64 [B, T]: the node of ``trie`` that each token of B leads to from the start mark before it, −1 for none."""
    start = batch.ids.gather(1, batch.context[:, None])  # B begins with one
    node = torch.full_like(start[:, 0], -1)
    out = []
    for token in batch.ids.T:
        node = torch.where(node >= 0, trie.step(node.clamp_min(0), token), -1)
        node = torch.where(token == start[:, 0], 0, node)
        out.append(node)
    return torch.stack(out, 1)


def batches(
    parts: Iterable[Blanked], tokens: int, rng: np.random.Generator | None = None, shard: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Rows of like length under a budget of padded tokens, part by part; shuffled where ``rng`` is given."""
    rank, world = shard
    for part in parts:
        every = plan(part.lengths, tokens, rng)
        for index in every[rank : len(every) - len(every) % world if world > 1 else None : world]:
            yield part.batch(index)


def chunks(n: int, make: Callable[[np.ndarray], Blanked], order: np.ndarray | None = None) -> Iterator[Blanked]:
    """``make(rows)`` for 0 … n − 1 in ``order``, so many at a time that none is long waited for."""
    order = np.arange(n) if order is None else order
    for start in range(0, len(order), CHUNK):
        yield make(order[start : start + CHUNK])


def add_lora(body: Any, rank: int, alpha: float, dropout: float, seed: int) -> None:
    """Freeze the body and put an adapter on its blocks' four kinds of linear layers, in place.

    Raises: MissingExtraError: peft is not installed.
    """
    peft = adapters("tune")
    targets = getattr(body, "lora_targets", LORA_TARGETS)
    adapter = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)
    body.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(adapter, body)
    for name, weight in body.named_parameters():
        weight.requires_grad_("lora_" in name)
    for weight in getattr(body, "own", []):
        weight.requires_grad_(True)
