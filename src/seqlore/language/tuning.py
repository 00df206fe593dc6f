"""A causal language model learns pairs of prompt and completion: full tuning or an adapter, in the one training loop.

Adapter: E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022 (arXiv 2106.09685), from peft;
it is merged into the weights when training is over. The loss is read on the completion's tokens, end mark included;
``prompt_weight`` adds the prompt's at a fraction (hosted tuning of the time of Harte et al. used 0.01).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlore.data import Sequences
from seqlore.language.backbone import Backbone
from seqlore.text.quiet import quiet
from seqlore.training import TrainConfig, train
from seqlore.training.batches import plan
from seqlore.training.loop import Progress

#: Tokens of a batch in which nothing is learned.
READ_TOKENS = 16_384


class Pairs:
    """Prompts and completions as tokens. Attributes: tokens: prompt and completion of each pair. prompt: int64 [n],
    tokens of it that are the prompt's."""

    def __init__(self, prompts: Sequence[Sequence[int]], items: NDArray[np.integer], completions: Sequences) -> None:
        """Args: items: whose completion follows each prompt. completions: of every item, as tokens."""
        ends = [completions[int(i)] for i in items]
        self.tokens = Sequences.from_lists([*p, *e.tolist()] for p, e in zip(prompts, ends, strict=True))
        self.prompt = np.array([len(p) for p in prompts], np.int64)

    def __len__(self) -> int:
        return len(self.prompt)

    def batches(self, tokens: int, rng: np.random.Generator | None, shard: tuple[int, int] = (0, 1)) -> Iterator[Any]:
        """(ids [B, T] padded on the right, lengths [B], prompt lengths [B]), rows of like length together."""
        rank, world = shard
        every = plan(self.tokens.lengths, tokens, rng)
        for index in every[rank : len(every) - len(every) % world if world > 1 else None : world]:
            part = self.tokens.take(index)
            ids = torch.from_numpy(part.padded().astype(np.int64))
            yield ids, torch.from_numpy(part.lengths), torch.from_numpy(self.prompt[index])


class PairNet(nn.Module):
    """The language model as the loop has it; what is frozen stays outside the module tree, so out of checkpoints."""

    def __init__(self, body: Backbone, prompt_weight: float) -> None:
        super().__init__()
        self.trained = nn.ParameterList(body.trained.values())
        self.prompt_weight = prompt_weight
        self._body = [body]  # in a list, where the module tree does not look
        self._place: torch.device | None = None

    @property
    def body(self) -> Backbone:
        return self._body[0]

    def train(self, mode: bool = True) -> PairNet:
        self.body.train(mode)
        return super().train(mode)

    def losses(self, batch: tuple[Tensor, Tensor, Tensor], everything: bool) -> tuple[Tensor, Tensor]:
        """(−log p of the tokens that are read [M], whether they are a completion's [M]); all tokens or completions'."""
        ids, lengths, prompt = batch
        if self._place != ids.device:  # what learns was moved by the loop, the rest was not
            self.body.model.to(ids.device)
            self._place = ids.device
        hidden = self.body.decoder(input_ids=ids[:, :-1], use_cache=False).last_hidden_state  # [B, T - 1, d]
        place = torch.arange(1, ids.shape[1], device=ids.device)
        real = place < lengths[:, None]
        completion = real & (place >= prompt[:, None])
        read = real if everything else completion
        logits = self.body.word_logits(hidden[read])
        return F.cross_entropy(logits, ids[:, 1:][read], reduction="none"), completion[read]

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Mean loss of the completions' tokens, plus that of the prompts' at their weight."""
        losses, completion = self.losses(batch, self.prompt_weight > 0)
        weights = torch.where(completion, 1.0, self.prompt_weight)
        return (losses * weights).sum() / weights.sum()

    @torch.no_grad()
    def log_likelihood(self, pairs: Pairs) -> float:
        """Mean log-probability of a completion's token."""
        total, count, device = 0.0, 0, self.trained[0].device
        for batch in pairs.batches(READ_TOKENS, None):
            ids, lengths, prompt = (t.to(device) for t in batch)
            losses, _ = self.losses((ids, lengths, prompt), False)
            total, count = total - float(losses.double().sum()), count + len(losses)
        return total / count


def tune(
    body: Backbone,
    pairs: Pairs,
    valid: Pairs | None,
    config: TrainConfig,
    *,
    batch_tokens: int,
    prompt_weight: float = 0.0,
    log: Path | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Teach ``body`` the pairs until the loss on ``valid`` stops falling; an adapter is then part of the weights.

    Returns: the rows of :func:`seqlore.training.train`, whose validation metric is ``log_likelihood``.
    """
    net = PairNet(body, prompt_weight)

    def batches(epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
        return pairs.batches(batch_tokens, np.random.default_rng((config.seed, epoch)), shard)

    history = train(
        net,
        batches,
        config,
        validate=None if valid is None or not len(valid) else lambda: {"log_likelihood": net.log_likelihood(valid)},
        log=log,
        checkpoint=checkpoint,
        progress=progress,
    )
    if body.config.tune == "lora":
        merge(body.model)
    return history


def merge(model: nn.Module) -> None:
    """Fold every LoRA adapter into the layer that it adapts, in place."""
    with quiet():
        from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            parent, _, child = name.rpartition(".")
            module.merge()
            setattr(model.get_submodule(parent), child, module.get_base_layer())
