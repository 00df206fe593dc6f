"""ReLRec: a frozen language model that recommends, and that must be able to tell what users and items are like.

H. Na, M. Gang, Y. Ko, J. Seol, S. Lee, "Enhancing large language model based sequential recommender systems with
pseudo labels reconstruction", Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423.

A sequence is a user token, then item tokens, and no words. The next item is a softmax over the items, tied to their
projected vectors (equation 1). Labels of users and items are reconstructed over the words, each as a row of its own: a
random prompt with the id token, then a random wording of the label, with the loss on the label alone (equations 2, 3).
Each loss is a mean within a row, then over the rows; L = α·L_seq + β·L_item + γ·L_user (equation 4).

Beyond the paper: ``user_dropout``, ``label_share``, ``label_epochs``, ``negatives``.
Settled here, since the paper leaves it open: see the settings, :class:`ProjectionConfig` and docs/papers/na2024.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Cases, Sequences, Split
from seqlore.errors import ConfigError, DataError
from seqlore.language.backbone import Backbone
from seqlore.language.frozen import FrozenNet, FrozenRecommender
from seqlore.language.label_rows import (
    LabelRows,
    Prompts,
    averaging_weights,
    label_rows,
    labels_alone,
    token_of,
    tokenised,
)
from seqlore.language.labels import KINDS, Kind, LabelSet
from seqlore.language.projection import IdTable
from seqlore.language.relrec_settings import UNTRAINED, ReLRecConfig
from seqlore.language.tokens import Tokens, padded
from seqlore.models.layers import Dropout
from seqlore.training.batches import windows
from seqlore.training.objectives import draw_items, draw_weights, full_softmax, sampled_softmax


class ReLRecNet(FrozenNet):
    """Rows of tokens → loss; histories → states.

    Attributes: trained: bool [users], whose tokens were trained; the others get the mean of these.
    """

    #: The mean user, made once for all that is asked until the mode is set again.
    _stranger: Tensor | None = None
    trained: Tensor
    log_q: Tensor
    cumulative: Tensor

    def __init__(self, body: Backbone, counts: NDArray[np.integer], users: int, config: ReLRecConfig) -> None:
        """Args: counts: int [size], of items in training. users: rows of the user table, the stranger's included."""
        super().__init__(body, counts)
        self.config = config
        mean, spread = body.vocabulary_mean()
        self.items = IdTable(len(counts), body.width, config.projection, mean, spread)
        self.users = IdTable(users, body.width, config.projection, mean, spread) if config.users != "none" else None
        self.register_buffer("trained", torch.zeros(users, dtype=torch.bool))
        self.scale, self.negatives = body.item_scale(), config.negatives
        log_q, cumulative = draw_weights(counts, 0.5)
        self.register_buffer("log_q", log_q, persistent=False)
        self.register_buffer("cumulative", cumulative, persistent=False)
        self.dropout = Dropout(config.dropout)
        self.begin = body.begin if config.begin else []
        body.check_length(len(self.begin) + 1 + config.max_length, "max_length")

    def train(self, mode: bool = True) -> ReLRecNet:
        self._stranger = None
        super().train(mode)
        return self

    def item_vectors(self) -> Tensor:
        return self.items()

    def embed(self, tokens: Tensor, items: Tensor) -> Tensor:
        """As of the base, with users; one who was not in training gets the mean of those who were."""
        out = super().embed(tokens, items)
        here = tokens >= self.tokens.first_user
        if self.users is not None and here.any():
            index, rows = (tokens[here] - self.tokens.first_user).unique(return_inverse=True)
            known, strange = self.users(index), ~self.trained[index]
            if strange.any():
                if self.training or self._stranger is None:
                    self._stranger = self.mean_user()
                known = torch.where(strange[:, None], self._stranger, known)
            out = out.masked_scatter(here[..., None], known[rows])
        return torch.where((tokens < self.tokens.words)[..., None], out, self.dropout(out))

    def mean_user(self) -> Tensor:
        """The mean vector of the users in training, [d]."""
        assert self.users is not None
        rows = self.trained.nonzero()[:, 0]
        return self.users(rows).mean(0) if len(rows) else self.users()[1:].mean(0)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """(sequences, their weights, labels, theirs), each [R, L], or empty → loss; the weight at t is that of token
        t + 1."""
        sequences, sequence_weights, labels, label_weights = batch
        self.body.place(sequences.device)
        drawn = None
        if self.negatives is not None:
            drawn = draw_items(self.cumulative, self.negatives if sequences.numel() else 0)
        vectors = self.items() if drawn is None else self._rows_of(drawn, sequences, labels)
        loss = vectors.new_zeros(())
        if sequences.numel():
            hidden, targets, weights = self._read(sequences, sequence_weights, vectors)
            hidden, targets = self.scale * hidden, targets - self.tokens.words
            if drawn is None:
                loss = full_softmax(hidden, targets, vectors, weights=weights)
            else:
                own, others = vectors[targets], vectors[drawn]
                loss = sampled_softmax(hidden, own, targets, others, drawn, self.log_q, weights=weights)
        if labels.numel():
            hidden, targets, weights = self._read(labels, label_weights, vectors)
            loss = loss + F.cross_entropy(self.body.word_logits(hidden), targets, reduction="none") @ weights
        return loss

    def _read(self, tokens: Tensor, weights: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(state [M, d], token that follows [M], its weight [M]) where a loss reads them, and nowhere else."""
        read = weights[:, :-1] > 0
        hidden = self.body.hidden(self.embed(tokens[:, :-1], vectors))[read]
        return hidden, tokens[:, 1:][read], weights[:, :-1][read]

    def _rows_of(self, drawn: Tensor, *tokens: Tensor) -> Tensor:
        """Item vectors [size, d] of which only those of ``drawn`` and in ``tokens`` are computed; the others are 0."""
        told = torch.cat([each.flatten() for each in tokens]) - self.tokens.words
        needed = torch.cat([drawn, told[(told > 0) & (told < len(self.log_q))]]).unique()
        rows = self.items(needed)
        return rows.new_zeros(len(self.log_q), rows.shape[1]).index_copy(0, needed, rows)

    def states(self, items: Tensor, lengths: Tensor, users: Tensor, vectors: Tensor, prefix: Any) -> Tensor:
        front = [] if self.users is None else [(users + self.tokens.first_user)[:, None]]
        tokens = torch.cat([*front, torch.where(items > 0, items + self.tokens.words, 0)], 1)
        hidden = self.body.hidden(self.embed(tokens, vectors), prefix)
        last = lengths - 1 + len(front)  # −1, the end of the padding, where nothing precedes: not asked for
        return self.scale * hidden[torch.arange(len(items), device=items.device), last]

    def prefix(self) -> Any:
        return self.body.prefix(torch.tensor(self.begin, dtype=torch.int64))


class ReLRec(FrozenRecommender):
    """Reconstruction-based recommendation with a frozen language model."""

    paper = "Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423"
    Config: ClassVar[type[Config]] = ReLRecConfig
    uses_users = True
    #: Set while the model is validated, which is done with everyone's own token.
    _validating = False

    def _learns_from(self, split: Split) -> None:
        super()._learns_from(split)
        if self.config.users == "none":
            self.users = None

    def build(self, counts: NDArray[np.integer]) -> ReLRecNet:
        users = 1 if self.users is None else self.users.size
        return ReLRecNet(Backbone(self.config.backbone, seed=self.config.seed), counts, users, self.config)

    @property
    def answers_empty(self) -> bool:
        return self.config.users != "none" and self.config.first_item  # else no state was trained to begin with

    @property
    def unvalidated(self) -> int:
        return self.config.label_epochs

    def batches(self, split: Split) -> Callable[[int, tuple[int, int]], Iterator[Any]]:
        """Each batch: sequences of like length, their users' labels, and as many labels of random items.

        Not in the paper: ``label_share`` below 1 reconstructs that share of them, at that share of their cost. A mean
        over rows drawn at random is the mean over all, give or take noise, so α, β and γ keep their meaning.
        """
        c, tokens = self.config, self.net.tokens
        learn = windows(split.train, c.max_length + 1)
        learn = learn.take(learn.lengths >= (1 if c.first_item and c.users != "none" else 2))
        if c.users != "none":
            self.net.trained[torch.from_numpy(np.unique(learn.users[learn.users > 0]).astype(np.int64))] = True
        weights = c.label_weights
        rows = self._label_rows(split, [*weights])
        self.about["labels"] = {kind: each.about() for kind, each in rows.items()}

        def epoch(number: int, shard: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
            rng = np.random.default_rng((c.seed, number))
            if number <= c.label_epochs:
                yield from labels_alone(rows, weights, c.batch_size, rng, shard)
                return
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
                if c.user_dropout and c.users != "none":
                    strange = rng.random(len(part)) < c.user_dropout
                    part = replace(part, users=np.where(strange, np.int32(0), part.users))
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
        """The prompts of one kind; with the longest there is room for the labels."""
        c, body = self.config, self.net.body
        prompts = Prompts(body, c.item_prompts if kind == "item" else c.user_prompts, self.net.begin)
        body.check_length(prompts.longest + (c.label_tokens or 2), "label_tokens, with the longest prompt,")
        return prompts

    def _room(self, prompts: Prompts) -> int | None:
        """Tokens that the body reads behind the longest prompt."""
        positions = self.net.body.positions
        return None if positions is None else positions - prompts.longest

    def _label_rows(self, split: Split, kinds: Sequence[Kind]) -> dict[Kind, LabelRows]:
        c = self.config
        if not kinds:
            return {}
        labels, out = c.labels.read(split, c.seed, kinds), {}
        for kind in kinds:
            prompts = self._prompts(kind)
            out[kind] = label_rows(
                labels, kind, prompts, self.net.body, split.catalog, split.users,
                limit=c.label_tokens or self._room(prompts), names=c.names, train=split.train,
            )  # fmt: skip
        return out

    def _reads(self) -> dict[str, Any]:
        return {**super()._reads(), "labels": self.config.labels.digests()}

    def as_trained(self, labels: LabelSet, kind: Kind, train: Sequences | None = None) -> list[tuple[str, ...]]:
        """The wordings of each item or user as training would have them written, names replaced and cut to
        ``label_tokens``, [size].

        Args: train: training sequences, where users' labels name items (``names="iid"``).
        """
        c, body = self.config, self.net.body
        assert self.users is not None or kind == "item"
        limit = c.label_tokens or self._room(self._prompts(kind))
        users = self.catalog if self.users is None else self.users  # not read where items are asked for
        rows = tokenised(labels, kind, body, self.catalog, users, limit=limit, names=c.names, train=train)
        return [tuple(body.decode(each.tokens[each.words]) for each in wordings) for wordings in rows]

    def validate(self, cases: Cases, *, exclude_seen: bool = True) -> dict[str, float]:
        self._validating = True
        try:
            return super().validate(cases, exclude_seen=exclude_seen)
        finally:
            self._validating = False

    def _encode(self, histories: Sequences, vectors: Tensor) -> Tensor:
        if self.config.users == "permuted" and not self._validating:
            assert self.users is not None
            known = self.net.trained.nonzero()[:, 0].cpu().numpy()
            histories = permuted_users(histories, self.users.size, self.config.seed, known)
        return super()._encode(histories, vectors)

    def knows_user(self, id: str) -> bool:
        """Whether this user was in training, and so has a token of its own."""
        return self.users is not None and bool(self.net.trained[int(self.users.index([id])[0])])

    @torch.inference_mode()
    def explain(self, ids: Sequence[str], kind: Kind = "item", *, max_tokens: int | None = None) -> list[str]:
        """What the model says that items or users are like: their labels, reconstructed word by word, [n].

        Each is asked by a prompt drawn by seed and id, and takes the likeliest word each time, up to ``max_tokens``
        (None = as many as the longest label in training). A user who was not in training is told of as the mean user.

        Raises: DataError: an unknown item, or users of a model without user tokens. ConfigError: no such kind, or a
            number of tokens that the body cannot write.
        """
        if kind not in KINDS:
            raise ConfigError(f"explain: kind = {kind!r} is neither 'item' nor 'user'")
        if isinstance(ids, str):
            raise DataError(f"explain takes a list of ids: wrap a single one as [{ids!r}]")
        vocabulary = self.catalog if kind == "item" else self.users
        if vocabulary is None:
            raise DataError(f"{self.name} was trained without user tokens, so it can only explain items")
        index = vocabulary.index(ids)
        if kind == "item" and (index == 0).any():
            raise DataError(
                f"item {ids[int((index == 0).argmax())]!r} is not in the catalogue, so nothing is known of it"
            )
        prompts = self._prompts(kind)
        length = self._length(kind, prompts) if max_tokens is None else max_tokens
        if length < 1:
            raise ConfigError(f"explain: max_tokens = {length}: ask for at least one")
        self.net.body.check_length(prompts.longest + length, f"max_tokens = {length}, with the longest prompt,")
        drawn = np.array([self._drawn(kind, id, len(prompts)) for id in ids], np.int64)
        self.net.eval()
        vectors, out = self.item_vectors(), [""] * len(index)
        self.net.body.place(vectors.device)
        for at in range(len(prompts)):  # rows of one prompt are of one length, so none is padded
            for part in np.array_split(same := np.flatnonzero(drawn == at), max(1, -(-len(same) // 64))):
                rows = [prompts.around(at, token_of(kind, int(index[i]), self.net.tokens)) for i in part]
                if rows:
                    tokens = torch.from_numpy(np.stack(rows)).to(vectors.device)
                    texts = self.net.body.write(self.net.embed(tokens, vectors), length)
                    for i, text in zip(part, texts, strict=True):
                        out[i] = text
        return out

    def _length(self, kind: Kind, prompts: Prompts) -> int:
        """Tokens of the longest label in training, or of an ordinary one where none was trained on."""
        told = self.about.get("labels", {}).get(kind, {}).get("longest", self.config.label_tokens or UNTRAINED)
        return min(told, self._room(prompts) or told)

    def _drawn(self, kind: Kind, id: str, prompts: int) -> int:
        """Which prompt asks about an id, whatever else is asked."""
        key = hashlib.blake2b(f"{self.config.seed}\0{kind}\0{id}".encode(), digest_size=8).digest()
        return int.from_bytes(key, "big") % prompts


def permuted_users(histories: Sequences, size: int, seed: int, among: NDArray[np.integer] | None = None) -> Sequences:
    """The same histories under the tokens of other users, in a cycle through all ``size`` − 1 known ones, or through
    those of ``among``; the rest stay as they are."""
    order = np.random.default_rng(seed).permutation(np.arange(1, size) if among is None else among)
    other = np.arange(size, dtype=np.int32)
    other[order] = np.roll(order, 1)
    return Sequences(histories.items, histories.offsets, other[histories.users], histories.rows)
