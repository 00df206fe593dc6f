"""ReLRec: a frozen language model that recommends, and that must be able to tell what users and items are like.

H. Na, M. Gang, Y. Ko, J. Seol, S. Lee, "Enhancing large language model based sequential recommender systems with
pseudo labels reconstruction", Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423.

A sequence is a user token, then item tokens, and no words. The next item is a softmax over the items, tied to their
projected vectors (equation 1). Labels of users and items are reconstructed over the words, each as a row of its own: a
random prompt with the id token, then a random wording of the label, with the loss on the label alone (equations 2, 3).
Each loss is a mean within a row, then over the rows; L = α·L_seq + β·L_item + γ·L_user (equation 4).

Settled here, since the paper leaves it open: see the settings, :class:`ProjectionConfig` and docs/papers/na2024.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.errors import DataError
from seqlore.language.backbone import Backbone
from seqlore.language.frozen import FrozenConfig, FrozenNet, FrozenRecommender, IdTable, ProjectionConfig
from seqlore.language.label_rows import LabelRows, Prompts, averaging_weights, label_rows, token_of
from seqlore.language.labels import Kind, LabelSource
from seqlore.language.tokens import Tokens, padded
from seqlore.models.layers import Dropout
from seqlore.training.batches import windows

ITEM_PROMPTS = (
    "Here is what is known about {id}.",
    "What buyers find in {id}, in a few words:",
    "A short portrait of {id} follows.",
    "Description of {id}:",
)
USER_PROMPTS = (
    "Here is what {id} is like as a customer.",
    "What {id} looks for, in a few words:",
    "A short portrait of {id} follows.",
    "Taste of {id}:",
)


class ReLRecConfig(FrozenConfig):
    """Settings of ReLRec; the paper's arms are switches of these."""

    projection: ProjectionConfig = Field(
        default_factory=ProjectionConfig, description="From the tables of ids to the body."
    )
    labels: LabelSource = Field(default=LabelSource(), description="What is reconstructed.")
    alpha: float = Field(default=0.75, ge=0, description="Weight of the next item.")
    beta: float = Field(default=0.3, ge=0, description="Weight of the items' labels; 0 = not reconstructed.")
    gamma: float = Field(default=0.9, ge=0, description="Weight of the users' labels; 0 = not reconstructed.")
    users: Literal["own", "permuted", "none"] = Field(
        default="own",
        description="User token before the items; permuted = trained so, but asked with another's (a control).",
    )
    first_item: bool = Field(
        default=True, description="The first item of a sequence is predicted too, from the user token."
    )
    begin: bool = Field(
        default=True, description="The body's begin-of-text token stands before each row, where it has one."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the id vectors that go into the body.")
    label_tokens: int = Field(default=64, ge=2, description="Most tokens of a label; a longer one is cut.")
    label_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of a batch's labels that are reconstructed, drawn anew each time."
    )
    names: Literal["this item", "iid", "keep"] = Field(
        default="this item", description="What becomes of item names in labels; see seqlore.language.label_rows."
    )
    item_prompts: tuple[str, ...] = Field(default=ITEM_PROMPTS, min_length=1, description="With {id} once in each.")
    user_prompts: tuple[str, ...] = Field(default=USER_PROMPTS, min_length=1, description="With {id} once in each.")


class ReLRecNet(FrozenNet):
    """Rows of tokens → loss; histories → states."""

    def __init__(self, body: Backbone, counts: NDArray[np.integer], users: int, config: ReLRecConfig) -> None:
        """Args: counts: int [size], of items in training. users: rows of the user table, the stranger's included."""
        super().__init__(body, counts)
        self.config = config
        mean, spread = body.vocabulary_mean()
        self.items = IdTable(len(counts), body.width, config.projection, mean, spread)
        self.users = IdTable(users, body.width, config.projection, mean, spread) if config.users != "none" else None
        self.dropout = Dropout(config.dropout)
        self.begin = body.begin if config.begin else []
        body.check_length(len(self.begin) + 1 + config.max_length, "max_length")

    def item_vectors(self) -> Tensor:
        return self.items()

    def embed(self, tokens: Tensor, items: Tensor) -> Tensor:
        """As of the base, with users; a stranger gets the mean user token."""
        out = super().embed(tokens, items)
        here = tokens >= self.tokens.first_user
        if self.users is not None and here.any():
            index, rows = (tokens[here] - self.tokens.first_user).unique(return_inverse=True)
            known = self.users(index)
            if index[0] == 0:
                known = torch.cat([self.users()[1:].mean(0, keepdim=True), known[1:]])
            out = out.masked_scatter(here[..., None], known[rows])
        return torch.where((tokens < self.tokens.words)[..., None], out, self.dropout(out))

    def forward(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """(sequences, their weights, labels, theirs), each [R, L] → loss; the weight at t is that of token t + 1."""
        sequences, sequence_weights, labels, label_weights = batch
        self.body.place(sequences.device)
        vectors = self.items()
        loss = self._weighted(sequences, sequence_weights, vectors, self._item_losses)
        return loss + self._weighted(labels, label_weights, vectors, self._word_losses) if labels.numel() else loss

    def _weighted(
        self, tokens: Tensor, weights: Tensor, vectors: Tensor, losses: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        read = weights[:, :-1] > 0
        hidden = self.body.hidden(self.embed(tokens[:, :-1], vectors))[read]  # logits only where a loss reads them
        return losses(hidden, tokens[:, 1:][read], vectors) @ weights[:, :-1][read]

    def _item_losses(self, hidden: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        return F.cross_entropy(hidden @ vectors[1:].T, targets - self.tokens.words - 1, reduction="none")

    def _word_losses(self, hidden: Tensor, targets: Tensor, _: Tensor) -> Tensor:
        return F.cross_entropy(self.body.word_logits(hidden), targets, reduction="none")

    def states(self, items: Tensor, lengths: Tensor, users: Tensor, vectors: Tensor, prefix: Any) -> Tensor:
        front = [] if self.users is None else [(users + self.tokens.first_user)[:, None]]
        tokens = torch.cat([*front, torch.where(items > 0, items + self.tokens.words, 0)], 1)
        hidden = self.body.hidden(self.embed(tokens, vectors), prefix)
        last = lengths - 1 + len(front)  # −1, the end of the padding, where nothing precedes: not asked for
        return hidden[torch.arange(len(items), device=items.device), last]

    def prefix(self) -> Any:
        return self.body.prefix(torch.tensor(self.begin, dtype=torch.int64))


class ReLRec(FrozenRecommender):
    """Reconstruction-based recommendation with a frozen language model."""

    paper = "Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423"
    Config: ClassVar[type[Config]] = ReLRecConfig
    uses_users = True

    def build(self, counts: NDArray[np.integer]) -> ReLRecNet:
        assert self.users is not None
        return ReLRecNet(Backbone(self.config.backbone, seed=self.config.seed), counts, self.users.size, self.config)

    @property
    def answers_empty(self) -> bool:
        return self.config.users != "none"

    def batches(self, split: Split) -> Callable[[int, tuple[int, int]], Iterator[Any]]:
        """Each batch: sequences of like length, their users' labels, and as many labels of random items.

        Not in the paper: ``label_share`` below 1 reconstructs that share of them, at that share of their cost. A mean
        over rows drawn at random is the mean over all, give or take noise, so α, β and γ keep their meaning.
        """
        c, tokens = self.config, self.net.tokens
        learn = windows(split.train, c.max_length + 1)
        learn = learn.take(learn.lengths >= (1 if c.first_item and c.users != "none" else 2))
        weights = {"item": c.beta, "user": c.gamma if c.users != "none" else 0.0}
        rows = self._label_rows(split, [kind for kind, weight in weights.items() if weight])  # type: ignore[misc]
        self.about["labels"] = {kind: len(each.known) for kind, each in rows.items()}

        def epoch(number: int, shard: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
            rng = np.random.default_rng((c.seed, number))
            order = np.lexsort((rng.random(len(learn)), learn.lengths))
            parts = [order[i : i + c.batch_size] for i in range(0, len(order), c.batch_size)]
            rng.shuffle(parts)  # type: ignore[arg-type]
            rank, world = shard
            for number, index in enumerate(parts[: len(parts) - len(parts) % world]):
                part = learn.take(index)
                blocks = []
                for kind, each in rows.items():
                    drawn = part.users if kind == "user" else rng.choice(each.known, len(part))
                    if c.label_share < 1:
                        drawn = rng.choice(drawn, max(1, round(c.label_share * len(part))), replace=False)
                    said, share = each.batch(drawn, rng)
                    blocks += [(t, weights[kind] * w) for t, w in zip(said, share, strict=True)]
                if number % world != rank:
                    continue
                sequences, read = self._sequences(part, tokens)
                labels, shares = padded([t for t, _ in blocks], np.int64), padded([w for _, w in blocks], np.float32)
                arrays = (sequences, np.float32(c.alpha) * averaging_weights(read), labels, shares)
                yield tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)

        return epoch

    def _sequences(self, part: Sequences, tokens: Tokens) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(tokens [B, L], read [B, L]): begin, user, items; read where the next token is an item to be predicted."""
        items = part.padded()
        front = [np.full((len(part), 1), t) for t in self.net.begin]
        if self.config.users != "none":
            front.append(tokens.of_users(part.users)[:, None])
        rows = np.concatenate([*front, tokens.of_items(items)], 1)
        read = np.zeros(rows.shape, bool)
        read[:, len(front) : -1] = items[:, 1:] > 0
        if self.config.first_item and self.config.users != "none":
            read[:, len(front) - 1] = True
        return rows, read

    def _prompts(self, kind: Kind) -> Prompts:
        c = self.config
        prompts = Prompts(self.net.body, c.item_prompts if kind == "item" else c.user_prompts, kind)
        self.net.body.check_length(prompts.longest + c.label_tokens, "label_tokens, with the longest prompt,")
        return prompts

    def _label_rows(self, split: Split, kinds: Sequence[Kind]) -> dict[Kind, LabelRows]:
        c = self.config
        if not kinds:
            return {}
        labels = c.labels.read(split, c.seed)
        return {
            kind: label_rows(
                labels, kind, self._prompts(kind), self.net.body, split.catalog, split.users,
                limit=c.label_tokens, names=c.names, train=split.train,
            )
            for kind in kinds
        }  # fmt: skip

    def _encode(self, histories: Sequences, vectors: Tensor) -> Tensor:
        if self.config.users == "permuted":
            assert self.users is not None
            histories = permuted_users(histories, self.users.size, self.config.seed)
        return super()._encode(histories, vectors)

    @torch.inference_mode()
    def explain(self, ids: Sequence[str], kind: Kind = "item", *, max_tokens: int | None = None) -> list[str]:
        """What the model says that items or users are like: their labels, reconstructed word by word, [n].

        Each is asked by a prompt drawn by the seed, and takes the likeliest word each time. An unknown user is told of
        as the mean user.

        Raises: DataError: an unknown item, or users of a model without user tokens.
        """
        vocabulary = self.catalog if kind == "item" else self.users
        if vocabulary is None or (kind == "user" and self.net.users is None):
            raise DataError(f"{self.name} was trained without user tokens, so it can only explain items")
        index = vocabulary.index(ids)
        if kind == "item" and (index == 0).any():
            raise DataError(
                f"item {ids[int((index == 0).argmax())]!r} is not in the catalogue, so nothing is known of it"
            )
        prompts = self._prompts(kind)
        drawn = np.random.default_rng(self.config.seed).integers(len(prompts), size=len(index))
        self.net.eval()
        vectors, out = self.item_vectors(), [""] * len(index)
        self.net.body.place(vectors.device)
        for at in range(len(prompts)):  # rows of one prompt are of one length, so none is padded
            for part in np.array_split(same := np.flatnonzero(drawn == at), max(1, -(-len(same) // 64))):
                rows = [prompts.around(at, token_of(kind, int(index[i]), self.net.tokens)) for i in part]
                if rows:
                    tokens = torch.from_numpy(np.stack(rows)).to(vectors.device)
                    texts = self.net.body.write(self.net.embed(tokens, vectors), max_tokens or self.config.label_tokens)
                    for i, text in zip(part, texts, strict=True):
                        out[i] = text
        return out


def permuted_users(histories: Sequences, size: int, seed: int) -> Sequences:
    """The same histories under the tokens of other users, in a cycle through all ``size`` − 1 known ones."""
    order = 1 + np.random.default_rng(seed).permutation(size - 1)
    other = np.zeros(size, np.int32)
    other[order] = np.roll(order, 1)
    return Sequences(histories.items, histories.offsets, other[histories.users], histories.rows)
