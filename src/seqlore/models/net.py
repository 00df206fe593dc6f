"""What all nets over item sequences share: the item table, batches, objectives, early stopping, scoring.

A net file holds what is its own: how a sequence becomes hidden states. Scores are inner products of the last hidden
state and the item table (tied with the input unless a model says otherwise) plus an output bias.

Decisions that the papers leave open: training sequences longer than ``max_length`` are cut into windows and none of
their events is lost; an empty history is answered by popularity; an item that training never saw has a vector that
nothing taught. Read through a learned map (``mode="frozen"``) or held by its text (``mode="nullspace"``) it has a fair
place; where vectors train freely, also from text (``mode="init"``), those of the others move away from it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Cases, Sequences, Split
from seqlore.models.items import item_table, text_start
from seqlore.models.ranked import RankedConfig, validate
from seqlore.recommender import ScoringRecommender
from seqlore.text.source import TextInit
from seqlore.training import outcome, train
from seqlore.training.batches import padded_batches, shuffle_ties, windows
from seqlore.training.device import device_of
from seqlore.training.objectives import binary, draw_items, draw_weights, full_softmax, gbce_beta, sampled_softmax

#: Catalogues above this size take sampled softmax with row-sparse updates unless told otherwise.
LARGE_CATALOG = 100_000

#: Padded positions in a batch when nothing is learned.
READ_TOKENS = 16_384


class NetConfig(RankedConfig):
    """Settings that every net has."""

    embedding_size: int = Field(default=64, ge=1, description="Width d of item vectors and hidden states.")
    max_length: int = Field(default=50, ge=1, description="Latest events of a history that the net reads.")
    dropout: float = Field(
        default=0.5, ge=0, lt=1, description="Dropout on the input, in attention and after each sublayer."
    )
    item_init: TextInit | None = Field(
        default=None, description="Start of the item vectors from texts; None = ids only."
    )
    init_std: float = Field(default=0.02, gt=0, description="Standard deviation of item vectors that start at random.")
    output_bias: bool = Field(default=True, description="A learned bias for each item in the scores.")
    loss: Literal["auto", "full", "sampled", "bce", "gbce"] = Field(
        default="auto",
        description="Full softmax, sampled softmax, BCE or gBCE; auto = full up to 100,000 items, else sampled.",
    )
    negatives: int = Field(
        default=1024,
        ge=1,
        description="Sampled softmax: shared by a batch. BCE, gBCE: for each target, drawn among all items.",
    )
    negative_power: float = Field(
        default=0.5, ge=0, description="Sampled softmax draws items by count to this power (plus one)."
    )
    calibration: float = Field(default=0.75, ge=0, le=1, description="t of gBCE.")
    batch_tokens: int = Field(default=1024, ge=1, description="Padded positions in a batch.")
    windows: Literal["all", "last"] = Field(
        default="all", description="Whether the older events of long histories are trained on."
    )
    shuffle_ties: bool | None = Field(
        default=None,
        description="Put events of one time in a new order each epoch: they have none, and a net that sees many learns "
        "none. None = where the split shuffles ties too.",
    )
    valid_cases: int | None = Field(
        default=None, ge=1, description="At most so many validation cases an epoch; None = all."
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        width, heads = self.embedding_size, getattr(self, "heads", 1)
        if width % heads:
            fitting = [str(n) for n in range(1, min(width, 16) + 1) if width % n == 0]
            raise ValueError(
                f"heads = {heads} do not divide embedding_size = {width}: take embedding_size = "
                f"{-(-width // heads) * heads}, or heads out of {', '.join(fitting)}"
            )
        return self


class SequenceNet(nn.Module):
    """Base of the nets: item table, output bias, objective. Subclasses give ``last_hidden`` and ``forward``.

    Nets of personal recommenders (``uses_users``) take users [B] as a third argument of ``last_hidden``.
    """

    counts: Tensor
    log_q: Tensor
    cumulative: Tensor

    def __init__(self, counts: np.ndarray, config: NetConfig, text: Tensor | None) -> None:
        """Args: counts: int64 [size], of items in training. text: what ``text_start`` gave."""
        super().__init__()
        self.config = config
        large = len(counts) > LARGE_CATALOG
        self.loss_name = config.loss if config.loss != "auto" else ("sampled" if large else "full")
        self.row_sparse = large and self.loss_name != "full"
        self.items = item_table(
            len(counts),
            config.embedding_size,
            config.item_init,
            text,
            init_std=config.init_std,
            row_sparse=self.row_sparse,
        )
        self.bias = nn.Parameter(torch.zeros(len(counts))) if config.output_bias else None
        log_q, cumulative = draw_weights(counts, config.negative_power)
        self.register_buffer("counts", torch.as_tensor(counts, dtype=torch.float32))
        self.register_buffer("log_q", log_q)
        self.register_buffer("cumulative", cumulative, persistent=False)

    @abstractmethod
    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """items [B, T], right-padded; lengths [B] ≥ 1 → the state that predicts what follows, [B, d]."""

    @property
    def width(self) -> int:
        """Width of states, and of the vectors with which they are compared."""
        return self.config.embedding_size

    def table(self) -> Tensor:
        """Vectors with which states are compared, [size, width]."""
        return self.items.table()  # type: ignore[operator]

    def vectors(self, items: Tensor) -> Tensor:
        """Rows of ``table``: item indices [...] → [..., width]."""
        return self.items(items)

    def objective(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Loss of states [M, d] for item indices [M] ≥ 1."""
        c, bias = self.config, self.bias
        if self.loss_name == "full":
            return full_softmax(hidden, targets, self.table(), bias)
        if self.loss_name == "sampled":
            sampled = draw_items(self.cumulative, c.negatives)
            own, others = self.vectors(targets), self.vectors(sampled)
            return sampled_softmax(hidden, own, targets, others, sampled, self.log_q, bias)
        n = len(self.log_q)
        drawn = torch.randint(1, n, (len(targets), c.negatives), device=hidden.device)
        beta = gbce_beta(c.negatives, n - 1, c.calibration) if self.loss_name == "gbce" else 1.0
        return binary(
            hidden,
            self.vectors(targets),
            self.vectors(drawn),
            positive_bias=None if bias is None else bias[targets],
            negative_bias=None if bias is None else bias[drawn],
            beta=beta,
        )


class NetRecommender(ScoringRecommender):
    """A net as a recommender. Subclasses set ``Net`` and, where an epoch's masks are made anew, ``batches``."""

    Config: ClassVar[type[Config]] = NetConfig
    Net: ClassVar[Any]  # a SequenceNet; what it takes beside counts, settings and text is between it and its model

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.history: list[dict[str, Any]] = []
        #: Epochs of a stage before, where a net has one.
        self.pretraining_history: list[dict[str, Any]] = []
        self.net: Any = None

    @property
    def best_epoch(self) -> int | None:
        """Epoch whose weights were kept; None before ``fit``."""
        return self.about.get("best_epoch")

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.net.parameters() if p.requires_grad)

    def batches(self, train: Sequences, epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
        """(items [B, T], users [B]) of one epoch, a function of seed and epoch alone."""
        rng = np.random.default_rng((self.config.seed, epoch))
        for _, items, users in padded_batches(train, self.config.batch_tokens, rng, shard):
            yield items, users

    def build(self, split: Split, **files: Any) -> SequenceNet:
        """The net as the loop finds it; what trains in stages has the first behind it (``files``: of ``pretrain``)."""
        c = self.config
        text = text_start(split.catalog, c.embedding_size, c.item_init, c.seed)
        return self.Net(split.counts(), c, text, **self.net_arguments(split))

    def pretrain(
        self,
        stage: nn.Module,
        batches: Callable[[int, tuple[int, int]], Iterator[Any]],
        *,
        progress: Callable[[dict[str, Any]], None] | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        """Train ``stage``, which holds the net, for ``pretrain_epochs`` at ``pretrain_rate``; else as the fit trains.

        The fit's ``progress`` gets each row with ``stage`` = "pretraining"; log and checkpoint stand beside the fit's:
        ``NAME-pretraining.jsonl``, and a folder ``pretraining``. A killed stage goes on from its last epoch.
        """
        c = self.config
        own = {"epochs": c.pretrain_epochs, "learning_rate": c.pretrain_rate, "ema_decay": None}
        own["schedule_epochs"] = None  # that of the fit
        self.pretraining_history = train(
            stage,
            batches,
            c.model_copy(update=own),  # all of it, so that a checkpoint of other settings is refused
            log=None if log is None else log.with_stem(f"{log.stem}-pretraining"),
            checkpoint=None if checkpoint is None else checkpoint / "pretraining",
            progress=None if progress is None else lambda row: progress({**row, "stage": "pretraining"}),
        )

    def net_arguments(self, split: Split) -> dict[str, Any]:
        """What ``Net`` is told beside counts, settings and text."""
        return {}

    def saved_arguments(self, state: dict[str, Tensor]) -> dict[str, Any]:
        """The same, or placeholders of the same shape, from a saved state."""
        return {}

    def before_epoch(self, train: Sequences, epoch: int) -> None:
        """Called before each epoch with what the net learns from."""

    def training_sequences(self, split: Split) -> Sequences:
        """Windows that a causal net learns from: inputs and their successors, so one event more than it reads."""
        return windows(split.train, self.config.max_length + 1, self.config.windows)

    def _fit(
        self,
        split: Split,
        *,
        progress: Callable[[dict[str, Any]], None] | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
        exclude_seen: bool = True,
    ) -> None:
        """``exclude_seen``: of the lists by which validation stops the net."""
        config = self.config
        device_of(config.device)  # before texts are encoded
        torch.manual_seed(config.seed)
        self.net = self.build(split, progress=progress, log=log, checkpoint=checkpoint)
        learn = self.training_sequences(split)
        learn = learn.take(learn.lengths >= 2)
        valid = split.valid_sample(config.valid_cases, config.seed)
        mixed = split.how.get("ties") == "shuffled" if config.shuffle_ties is None else config.shuffle_ties

        def batches(epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
            shown = shuffle_ties(learn, np.random.default_rng((config.seed, epoch, 1))) if mixed else learn
            return self.batches(shown, epoch, shard)

        self.history = train(
            self.net,
            batches,
            config,
            validate=None if valid is None else lambda: self.validate(valid, exclude_seen=exclude_seen),
            log=log,
            checkpoint=checkpoint,
            progress=progress,
            on_epoch=lambda epoch, _: self.before_epoch(learn, epoch),
        )
        self.about |= {
            "seed": config.seed,
            **outcome(self.history, config.monitor),
            "parameters": self.parameters,
        }

    def validate(self, cases: Cases, *, exclude_seen: bool = True) -> dict[str, float]:
        """HR and NDCG at 10 and 20, and the monitored metric, on ``cases``, with the net as it stands."""
        return validate(self, cases, self.config.monitor, exclude_seen=exclude_seen)

    def _encode(self, histories: Sequences, step: Callable[..., Tensor], width: int) -> Tensor:
        """``step(items, lengths)`` over batches of like length; a history without known items gives a zero row.

        A model that ``uses_users`` is asked ``step(items, lengths, users)``.
        """
        device = next(self.net.parameters()).device
        known = histories.where(histories.items > 0).last(self.read_length)
        out = torch.zeros(len(known), width, device=device)
        if self.net.training:  # telling every module so costs a lone request a twentieth of its time
            self.net.eval()
        with torch.no_grad():
            for index, items, users in padded_batches(known, READ_TOKENS):
                lengths = torch.from_numpy(known.lengths[index])
                full = lengths > 0
                asked = (items[full], lengths[full], *([users[full]] if self.uses_users else []))
                if full.any():
                    out[torch.from_numpy(index)[full].to(device)] = step(*(each.to(device) for each in asked)).float()
        return out

    @property
    def read_length(self) -> int:
        """Latest events that the net reads when it is asked."""
        return self.config.max_length

    def encode(self, histories: Sequences) -> Tensor:
        """[n, d + 1] (a one is appended for the output bias): score = ⟨encode, item_vectors⟩."""
        hidden = self._encode(histories, self.net.last_hidden, self.net.width)
        return torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)

    def item_vectors(self) -> Tensor:
        """[catalog.size, d + 1]; the last column is the output bias."""
        with torch.no_grad():
            table = self.net.table()
            bias = torch.zeros_like(table[:, :1]) if self.net.bias is None else self.net.bias[:, None]
            return torch.cat([table, bias], 1).detach()

    def score(self, histories: Sequences) -> Tensor:
        """[n, size]; a history without any known item is scored by popularity."""
        hidden = self._encode(histories, self.net.last_hidden, self.net.width)
        with torch.no_grad():
            table, bias = self.net.table(), self.net.bias
            scores = hidden @ table.T if bias is None else torch.addmm(bias, hidden, table.T)
            empty = np.bincount(histories.row_ids[histories.items > 0], minlength=len(histories)) == 0
            if empty.any():
                scores[torch.from_numpy(empty).to(scores.device)] = self.net.counts.log1p()
        return scores

    def state(self) -> dict[str, Tensor]:
        return self.net.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        # A frozen table needs its text vectors to be built, and they are part of the state: no encoder is asked.
        state = {name: tensor.cpu() for name, tensor in state.items()}  # where a net is built
        text, arguments = state.get("items.text"), self.saved_arguments(state)
        self.net = self.Net(state["counts"].numpy(), self.config, text, **arguments)
        self.net.load_state_dict(state)
        self.net.eval()
