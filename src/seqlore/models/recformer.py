"""Recformer: items are their texts, a history is one long text, and a language model reads both. No item has an id.

Li et al., "Text Is All You Need: Learning Language Representations for Sequential Recommendation", KDD 2023
(10.1145/3580305.3599519).

As published: an item is a flat list of its attributes, name and value; a history is <s> and its items, latest first;
vectors of token, place, kind (<s>, name, value) and item position are summed; one vector stands for a history, and for
an item as a history of one; scores are cosines over a temperature of 0.05. Pre-training matches a history with
its next item against those of the batch, with masked-token prediction at weight 0.1. Tuning predicts one random event
of each sequence in each epoch from those before it, over all items, whose vectors are made anew before each of the
first ``refresh_epochs`` epochs and then stand still (the paper's second stage).

An item that training never saw is encoded like any other; :meth:`Recformer.with_items` adds items to a fitted model.
The encoder of the last making anew is kept beside the net, so that added items are read as the others were.

Differs: published weights start from Longformer and are pre-trained on seven other categories; here the encoder and its
vocabulary are small and learned on the catalogue at hand, so a figure of this class is none of theirs. Attention is
full instead of within 64 tokens. The second stage begins at a fixed epoch instead of at the best of the first, and
every chosen token of the masked prediction is masked. What a small encoder needs that a pretrained one does not: the
mean of all states stands for a text (``pooling="begin"``: that of <s>, as published), weights start by Glorot's rule
and vectors of place, kind and position a quarter as large as those of words, or all texts have one vector and
pre-training leaves it so; attention weights are not dropped (``attention_dropout``; published: 0.1).
docs/models-sequential.md says what each is worth.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from seqlore.config import Config
from seqlore.data import Catalog, Sequences, Split
from seqlore.data.catalog import as_text
from seqlore.errors import DataError
from seqlore.lore.tokenizer import PAD, SPECIAL, START, train_tokenizer
from seqlore.models.layers import Block, Dropout, through
from seqlore.models.net import NetConfig, NetRecommender, SequenceNet
from seqlore.models.newcomers import new_items
from seqlore.text.source import TextInit
from seqlore.training.batches import plan
from seqlore.training.memory import given_back_at_once

#: Kinds of tokens, as :class:`RecformerNet` tells them apart.
BEGIN, NAME, VALUE = range(3)

#: Tokens that are encoded together when nothing is learned.
READ_TEXT = 8_192


class RecformerConfig(NetConfig):
    """Settings of Recformer."""

    embedding_size: int = Field(default=128, ge=1, description="Width d of tokens, items and histories.")
    fields: tuple[str, ...] = Field(
        default=("title", "brand", "categories"),
        min_length=1,
        description="Attributes of an item; absent columns are skipped.",
    )
    attribute_tokens: int = Field(default=32, ge=1, description="Most tokens of an attribute, its name included.")
    max_tokens: int = Field(default=512, ge=2, description="Most tokens of a history; the oldest fall off.")
    vocabulary: int = Field(
        default=8000, ge=300, description="Most tokens of the vocabulary, which is learned on the items."
    )
    layers: int = Field(default=2, ge=1, description="Transformer blocks.")
    heads: int = Field(default=2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    pre_norm: bool = Field(default=False, description="Layer norm before each sublayer (else after, as published).")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout on the input, in and after each sublayer.")
    attention_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout of attention weights (published: 0.1); without it no matrix of tokens by tokens is kept.",
    )
    pooling: Literal["mean", "begin"] = Field(
        default="mean", description="What stands for a text: the mean state of its tokens, or (published) that of <s>."
    )
    temperature: float = Field(default=0.05, gt=0, description="Divides cosines.")
    batch_tokens: int = Field(default=3072, ge=1, description="Tokens of text in a batch.")
    learning_rate: float = Field(
        default=3e-4, gt=0, description="Of tuning: the items' vectors stand still while what reads histories moves."
    )
    refresh_epochs: int | None = Field(
        default=16, ge=1, description="Epochs before each of which items are encoded anew; None = all."
    )
    pretrain_epochs: int = Field(default=3, ge=0, description="Epochs of pre-training.")
    pretrain_rate: float = Field(default=1e-3, gt=0, description="Learning rate of pre-training.")
    mask_probability: float = Field(default=0.15, gt=0, lt=1, description="Share of tokens that pre-training masks.")
    mask_weight: float = Field(default=0.1, ge=0, description="Weight of masked-token prediction.")
    output_bias: bool = Field(default=False, description="A learned bias for each item; a new item has none.")

    @field_validator("item_init")
    @classmethod
    def _texts_are_read_already(cls, init: TextInit | None) -> TextInit | None:
        if init is not None:
            raise ValueError("Recformer reads the items' texts itself and has no item vectors to start: leave it out")
        return init


class EncodedItems(nn.Module):
    """Where the vectors of all items stand between two encodings, [size, d]."""

    vectors: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, width))

    def forward(self, items: Tensor) -> Tensor:
        return self.vectors[items]

    def table(self) -> Tensor:
        return self.vectors


def item_tokens(items: pl.DataFrame, tokenizer: Any, fields: tuple[str, ...], most: int) -> dict[str, Tensor]:
    """Tokens of all items one after another: ``tokens`` [m], ``kinds`` [m] and, with item 0 empty, ``ends`` [n + 1]."""
    tokens, kinds, ends = [], [], [0]
    have = [f for f in fields if f in items.columns]
    names = {f: tokenizer.encode(f, add_special_tokens=False).ids for f in have}
    for row in items.select(have).iter_rows(named=True):
        for field, value in row.items():
            text = as_text(value)
            if text:
                name, words = names[field], tokenizer.encode(" " + text, add_special_tokens=False).ids
                tokens += (name + words)[:most]
                kinds += ([NAME] * len(name) + [VALUE] * len(words))[:most]
        ends.append(len(tokens))
    return {k: torch.tensor(v) for k, v in {"tokens": tokens, "kinds": kinds, "ends": ends}.items()}


class RecformerNet(SequenceNet):
    """Items [B, T] → the state of <s>, [B, d], of length 1 / temperature."""

    config: RecformerConfig
    items: EncodedItems
    tokens: Tensor
    kinds: Tensor
    ends: Tensor
    encoder: Tensor

    def __init__(self, counts: np.ndarray, config: RecformerConfig, _: Tensor | None, texts: dict[str, Tensor]) -> None:
        """Args: counts, config: as of ``SequenceNet``. texts: of ``item_tokens``, and ``tokenizer``, JSON in bytes."""
        super().__init__(counts, config, None)
        d = config.embedding_size
        self.items = EncodedItems(len(counts), d)
        for name, tensor in texts.items():
            self.register_buffer(name, tensor)
        self.word = nn.Embedding(config.vocabulary + 1, d)  # the last is the mask
        self.place, self.kind = nn.Embedding(config.max_tokens, d), nn.Embedding(3, d)
        self.item_place = nn.Embedding(config.max_length + 1, d)
        self.input_norm, self.dropout = nn.LayerNorm(d), Dropout(config.dropout)
        inner = config.inner_size or 4 * d
        self.blocks = nn.ModuleList(
            Block(
                d,
                config.heads,
                config.dropout,
                inner=inner,
                pre_norm=config.pre_norm,
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.layers)
        )
        self.output_norm = nn.LayerNorm(d) if config.pre_norm else nn.Identity()
        for part in self.blocks.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)
                nn.init.zeros_(part.bias)
        # A token is its word first, and attention and feed-forward say something from the start: with the usual 0.02 in
        # all of them a net as narrow as this gives all texts one vector, and stays there.
        nn.init.normal_(self.word.weight, std=0.02)
        for embedding in (self.place, self.kind, self.item_place):
            nn.init.normal_(embedding.weight, std=0.005)
        #: All weights that read a text, as the items' vectors were last made with.
        self.register_buffer("encoder", parameters_to_vector(self.reading().values()).detach())
        self.register_load_state_dict_pre_hook(_own_encoder)

    def lengths(self) -> Tensor:
        """Tokens of each item, [size]; none of item 0."""
        return F.pad(self.ends.diff(), (1, 0))

    def assemble(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The texts of histories, latest item first: tokens, kinds, item positions and which are real, all [B, N]."""
        most = items.shape[1]
        step = torch.arange(most, device=items.device)
        recent = items.gather(1, (lengths[:, None] - 1 - step).clamp_min(0))
        count = self.lengths()[recent] * (step < lengths[:, None])
        ends = count.cumsum(1)  # of each item in the text
        total = ends[:, -1].clamp_max(self.config.max_tokens - 1)
        place = torch.arange(int(total.max()), device=items.device).expand(len(items), -1).contiguous()
        of = torch.searchsorted(ends, place, right=True).clamp_max(most - 1)  # the item that a token belongs to
        real = place < total[:, None]
        first = F.pad(self.ends, (1, 0))[recent].gather(1, of)
        index = (first + place - (ends - count).gather(1, of)).where(real, 0)
        tokens = self.tokens[index].where(real, SPECIAL.index(PAD)) if len(self.tokens) else torch.zeros_like(index)
        kinds = self.kinds[index] if len(self.tokens) else torch.zeros_like(index)
        return (
            F.pad(tokens, (1, 0), value=SPECIAL.index(START)),
            F.pad(kinds, (1, 0), value=BEGIN),
            F.pad(of + 1, (1, 0)),
            F.pad(real, (1, 0), value=True),
        )

    def read(self, tokens: Tensor, kinds: Tensor, positions: Tensor, real: Tensor, at: Tensor | None = None) -> Tensor:
        """What ``assemble`` gave → states of all tokens, [B, N, d], or of the one at ``at`` [B], [B, 1, d]."""
        place = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.word(tokens) + self.place(place) + self.kind(kinds) + self.item_place(positions)
        x = self.dropout(self.input_norm(x))
        keys = None if bool(real.all()) else real
        return self.output_norm(through(self.blocks, x, causal=False, keys=keys, at=at))

    def direction(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What stands for a history: [B, d], of length 1."""
        text = self.assemble(items, lengths)
        if self.config.pooling == "begin":
            return F.normalize(self.read(*text, at=torch.zeros_like(lengths))[:, 0], dim=1)
        real = text[-1][..., None].to(self.word.weight.dtype)
        return F.normalize((self.read(*text) * real).sum(1), dim=1)

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, d], a few rows at a time: a row of items is many of tokens."""
        longest = int((self.lengths()[items].sum(1) + 1).clamp_max(self.config.max_tokens).max())
        rows = max(1, READ_TEXT // longest)
        parts = [self.direction(*each) for each in zip(items.split(rows), lengths.split(rows), strict=True)]
        return torch.cat(parts) / self.config.temperature

    def reading(self) -> dict[str, nn.Parameter]:
        """The weights that read a text, by name."""
        return {name: weight for name, weight in self.named_parameters() if name != "bias"}

    def encoded(self, items: Tensor) -> Tensor:
        """Items [n], each read as a history of one → [n, d]."""
        return self.last_hidden(items[:, None], torch.ones_like(items)) * self.config.temperature

    @torch.no_grad()
    def refresh(self) -> None:
        """Encode all items as they would be read now."""
        training = self.training
        self.eval()
        self.items.vectors[1:] = self.encoded(torch.arange(1, len(self.items.vectors), device=self.ends.device))
        self.encoder = parameters_to_vector(self.reading().values()).detach()
        self.train(training)

    @torch.no_grad()
    def encode_as_before(self, first: int) -> None:
        """Encode the items from ``first`` on, with the weights of the last ``refresh``."""
        reader = copy.deepcopy(self).eval()
        vector_to_parameters(self.encoder, reader.reading().values())
        self.items.vectors[first:] = reader.encoded(
            torch.arange(first, len(self.items.vectors), device=self.ends.device)
        )

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(items [B, T], lengths [B], targets [B]) → loss of predicting the targets."""
        items, lengths, targets = batch
        return self.objective(self.direction(items, lengths) / self.config.temperature, targets)


def _own_encoder(net: RecformerNet, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """States that were saved without ``encoder`` have their own weights in its place."""
    if f"{prefix}encoder" not in state:
        state[f"{prefix}encoder"] = torch.cat([state[prefix + name].flatten() for name in net.reading()])


class Pretraining(nn.Module):
    """A history meets its next item among those of the batch; and masked tokens are predicted."""

    def __init__(self, net: RecformerNet) -> None:
        super().__init__()
        d = net.config.embedding_size
        self.net = net
        self.head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d))

    def masked_loss(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Mean cross-entropy of masked tokens; zero where the draw masked none."""
        net, share = self.net, self.net.config.mask_probability
        tokens, kinds, positions, real = net.assemble(items, lengths)
        masked = (torch.rand(tokens.shape, device=tokens.device) < share) & real & (kinds != BEGIN)
        states = net.read(tokens.masked_fill(masked, len(net.word.weight) - 1), kinds, positions, real)[masked]
        scores = self.head(states) @ net.word.weight[:-1].T
        return F.cross_entropy(scores, tokens[masked], reduction="sum") / max(len(states), 1)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(items [B, T], lengths [B], targets [B]) → loss."""
        items, lengths, targets = batch
        c, item, one = self.net.config, targets[:, None], torch.ones_like(targets)
        cosines = self.net.direction(items, lengths) @ self.net.direction(item, one).T
        twins = (targets[:, None] == targets) & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
        own = torch.arange(len(targets), device=targets.device)
        matched = F.cross_entropy((cosines / c.temperature).masked_fill(twins, -torch.inf), own)
        return matched + c.mask_weight * (self.masked_loss(items, lengths) + self.masked_loss(item, one))


class Recformer(NetRecommender):
    """A language model over histories of item texts."""

    paper = "Li et al., KDD 2023, 10.1145/3580305.3599519"
    Config: ClassVar[type[Config]] = RecformerConfig
    Net = RecformerNet

    def net_arguments(self, split: Split) -> dict[str, Any]:
        c, items = self.config, split.catalog.items
        have = [field for field in c.fields if field in items.columns]
        texts = [text for text in split.catalog.texts(have) if text] if have else []
        if not texts:
            raise DataError(
                f"no item has a text in {', '.join(map(repr, c.fields))}, and Recformer knows items by nothing else: "
                "name columns of the items in the setting 'fields'"
            )
        tokenizer = train_tokenizer([*have, *texts], c.vocabulary)
        spelled = torch.frombuffer(bytearray(tokenizer.to_str().encode()), dtype=torch.uint8)
        return {"texts": item_tokens(items, tokenizer, c.fields, c.attribute_tokens) | {"tokenizer": spelled}}

    def saved_arguments(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"texts": {name: state[name] for name in ("tokens", "kinds", "ends", "tokenizer")}}

    def build(self, split: Split, **files: Any) -> SequenceNet:
        """A pre-trained net."""
        net, c = super().build(split), self.config
        assert isinstance(net, RecformerNet)
        self.net = net
        if c.pretrain_epochs:
            learn = self.training_sequences(split)
            learn = learn.take(learn.lengths >= 2)
            self.pretrain(Pretraining(net), lambda epoch, shard: self.batches(learn, -epoch, shard), **files)
        return net

    def _fit(self, split: Split, **how: Any) -> None:
        with given_back_at_once():  # no batch of texts has the shape of another
            super()._fit(split, **how)

    def before_epoch(self, train: Sequences, epoch: int) -> None:
        if self.config.refresh_epochs is None or epoch <= self.config.refresh_epochs:
            self.net.refresh()

    def batches(self, train: Sequences, epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
        """(items [B, T], lengths [B], targets [B]): of each sequence one event, drawn anew, and those before it.

        Negative epochs are those of pre-training.
        """
        c = self.config
        rng = np.random.default_rng((c.seed, abs(epoch), int(epoch < 0)))
        lengths = 1 + (rng.random(len(train)) * (train.lengths - 1)).astype(np.int64)  # of the history
        stops = train.offsets[:-1] + lengths
        histories = train.slice(train.offsets[:-1], stops)
        size = self.net.lengths().cpu().numpy()
        words = np.bincount(histories.row_ids, size[histories.items], minlength=len(train)).astype(np.int64) + 1
        rank, world = shard
        if epoch < 0:  # pre-training reads the targets' texts too
            words = np.maximum(words, size[train.items[stops]] + 1)
        chosen = plan(np.minimum(words, c.max_tokens), c.batch_tokens, rng)
        for index in chosen[rank : len(chosen) - len(chosen) % world if world > 1 else None : world]:
            padded = histories.take(index).padded().astype(np.int64)
            targets = train.items[stops[index]].astype(np.int64)
            yield tuple(torch.from_numpy(each) for each in (padded, lengths[index], targets))

    def with_items(self, items: pl.DataFrame) -> Recformer:
        """A copy of this model that also knows ``items`` (``item_id`` and the fields it reads), by their texts alone.

        They are encoded with the weights that made the vectors of the others: an item with the same texts as another
        has the same vector.

        Raises: DataError: see :func:`seqlore.models.newcomers.new_items`.
        """
        from tokenizers import Tokenizer

        items = new_items(items, self.catalog, self.config.fields)
        c, state = self.config, {name: tensor.clone() for name, tensor in self.state().items()}
        tokenizer = Tokenizer.from_str(bytes(state["tokenizer"].tolist()).decode())
        new = item_tokens(items, tokenizer, c.fields, c.attribute_tokens)
        new["ends"] = new["ends"][1:] + len(state["tokens"])
        for name, tensor in new.items():
            state[name] = torch.cat([state[name], tensor.to(state[name])])
        for name, value in (("counts", 0.0), ("log_q", float(state["log_q"][1:].min())), ("bias", 0.0)):
            if name in state:
                state[name] = F.pad(state[name], (0, len(items)), value=value)
        state["items.vectors"] = F.pad(state["items.vectors"], (0, 0, 0, len(items)))
        more = copy.copy(self)
        more._catalog = Catalog(pl.concat([self.catalog.items, items]), ordered=True)
        more.restore(state)
        more.net.to(self.net.ends.device)
        more.net.encode_as_before(self.catalog.size)
        return more
