"""Sentences from who, what and how many stars: the explanation baselines of P5 and Chu et al. 2023.

* Attn2Seq: Dong et al., "Learning to Generate Product Reviews from Attributes", EACL 2017 (E17-1059): attributes (user,
  item, stars) start an LSTM, which looks back at them with attention at every word.
* NRT: Li et al., "Neural Rating Regression with Abstractive Tips Generation", SIGIR 2017 (arXiv 1708.00154): a network
  guesses the stars, which with user and item start a GRU; stars and words are learned together, and a bag of words too.
* PETER, PETER+: Li, Zhang and Chen, "Personalized Transformer for Explainable Recommendation", ACL 2021 (arXiv
  2105.11601): user and item are the first tokens of a transformer, which see each other; the user's place guesses the
  stars, the item's place a bag of the sentence's words; + has the hint word as a third token.

Differ: words are learned from the training sentences, in lower case; the likeliest word is written each time, as PETER
does; small sizes. Attn2Seq is told the stars of the event, as P5's prompts are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqlore.tasks.material import Material
from seqlore.tasks.split import Pairs
from seqlore.training import TrainConfig, train

PAD, BEGIN, END, UNKNOWN = range(4)
_WORD = re.compile(r"\w+(?:['-]\w+)*|[^\w\s]")
_GLUED = re.compile(r" ([.,!?;:)%])")


class ExplainerConfig(TrainConfig):
    """Settings of all four."""

    size: int = Field(default=64, ge=8, description="Of vectors and states.")
    layers: int = Field(default=2, ge=1, description="PETER: blocks. Attn2Seq: layers of the LSTM.")
    heads: int = Field(default=2, ge=1, description="PETER: of attention.")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Everywhere.")
    vocabulary: int = Field(default=20_000, ge=10, description="Most frequent words (PETER: 20,000).")
    words: int = Field(
        default=30,
        ge=1,
        description="Most words and marks of a sentence that are learned and written; one is judged "
        "by its first `material.sentence_words` words, as those of all models are.",
    )
    rating_weight: float = Field(default=0.1, ge=0, description="NRT, PETER: of the squared error of stars.")
    context_weight: float = Field(default=1.0, ge=0, description="NRT, PETER: of the bag of words.")
    batch_size: int = Field(default=128, ge=1, description="Sentences of a step (PETER: 128).")
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm (PETER: 1).")
    epochs: int = Field(default=50, ge=1, description="Most epochs.")
    patience: int = Field(default=3, ge=1, description="Validations without improvement.")
    monitor: Literal["log_likelihood"] = Field(default="log_likelihood", description="Of words.")  # type: ignore[assignment]


#: users, items, stars, hints: [B]; words: [B, L] from BEGIN to END, padded with 0.
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class ExplainerNet(nn.Module):
    """A net that says the logits of the next word at each place; ``forward(batch)`` is the loss."""

    def __init__(self, users: int, items: int, words: int, config: ExplainerConfig) -> None:
        super().__init__()
        self.config = config
        self.user, self.item = nn.Embedding(users, config.size), nn.Embedding(items, config.size)
        self.word = nn.Embedding(words, config.size, padding_idx=PAD)
        self.out = nn.Linear(config.size, words)
        self.drop = nn.Dropout(config.dropout)
        for table in (self.user, self.item, self.word):
            nn.init.normal_(table.weight, std=0.1)

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(words [B, L, V], stars [B] or None, bag of words [B, V] or None), the first of what follows each word."""
        raise NotImplementedError

    def word_loss(self, batch: Batch, logits: Tensor) -> Tensor:
        """Mean −log p of a word."""
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[4][:, 1:].flatten(), ignore_index=PAD)

    def forward(self, batch: Batch) -> Tensor:
        logits, stars, bag = self.logits(batch)
        loss, words = self.word_loss(batch, logits), batch[4][:, 1:]
        if stars is not None:
            loss = loss + self.config.rating_weight * F.mse_loss(stars, batch[2].float())
        if bag is not None:
            own = bag.log_softmax(1).gather(1, words) * (words != PAD)
            loss = loss - self.config.context_weight * own.sum() / (words != PAD).sum()
        return loss


class Attn2SeqNet(ExplainerNet):
    """An LSTM with attention on three attributes."""

    def __init__(self, users: int, items: int, words: int, config: ExplainerConfig) -> None:
        super().__init__(users, items, words, config)
        d, n = config.size, config.layers
        self.stars = nn.Embedding(6, d)
        self.start = nn.Linear(3 * d, 2 * n * d)
        self.body = nn.LSTM(d, d, n, batch_first=True, dropout=config.dropout if n > 1 else 0.0)
        self.keys, self.queries, self.score = nn.Linear(d, d, bias=False), nn.Linear(d, d), nn.Linear(d, 1, bias=False)
        self.joined = nn.Linear(2 * d, d)

    def logits(self, batch: Batch) -> tuple[Tensor, None, None]:
        users, items, stars, _, words = batch
        told = torch.stack([self.user(users), self.item(items), self.stars(stars)], 1)  # [B, 3, d]
        first = torch.tanh(self.start(told.flatten(1))).view(len(users), 2, self.config.layers, -1)
        h, c = first.permute(1, 2, 0, 3).contiguous()
        states, _ = self.body(self.drop(self.word(words)), (h, c))  # [B, L, d]
        weight = self.score(torch.tanh(self.keys(told)[:, None] + self.queries(states)[:, :, None]))  # [B, L, 3, 1]
        looked = (weight.softmax(2) * told[:, None]).sum(2)
        return self.out(self.drop(torch.tanh(self.joined(torch.cat([states, looked], 2))))), None, None


class NRTNet(ExplainerNet):
    """A GRU that starts from user, item and the stars that it guesses."""

    def __init__(self, users: int, items: int, words: int, config: ExplainerConfig) -> None:
        super().__init__(users, items, words, config)
        d = config.size
        self.rate = nn.Sequential(nn.Linear(2 * d, d), nn.Sigmoid(), nn.Linear(d, d), nn.Sigmoid(), nn.Linear(d, 1))
        self.bag = nn.Sequential(nn.Linear(2 * d, d), nn.Sigmoid(), nn.Linear(d, words))
        self.start = nn.Linear(2 * d + 5, d)
        self.body = nn.GRU(d, d, batch_first=True)

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        users, items, _, _, words = batch
        both = torch.cat([self.user(users), self.item(items)], 1)
        stars = 3 + self.rate(both)[:, 0]
        shown = F.one_hot(stars.detach().round().clamp(1, 5).long() - 1, 5).float()
        h = torch.tanh(self.start(torch.cat([both, shown], 1)))
        states, _ = self.body(self.drop(self.word(words)), h[None])
        return self.out(self.drop(states)), stars, self.bag(both)


class PETERNet(ExplainerNet):
    """A transformer over user, item, perhaps a hint, and words."""

    hinted: ClassVar[bool] = False

    def __init__(self, users: int, items: int, words: int, config: ExplainerConfig) -> None:
        super().__init__(users, items, words, config)
        d = config.size
        block = nn.TransformerEncoderLayer(d, config.heads, 4 * d, config.dropout, batch_first=True)
        self.body = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.place = nn.Embedding(5 + config.words, d)  # user, item, hint, and the words with their two marks
        self.rate = nn.Sequential(nn.Linear(d, d), nn.Sigmoid(), nn.Linear(d, 1))
        nn.init.normal_(self.place.weight, std=0.1)

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        users, items, _, hints, words = batch
        first = [self.user(users), self.item(items), *([self.word(hints)] if self.hinted else [])]
        n, length = len(first), len(first) + words.shape[1]
        x = torch.cat([torch.stack(first, 1), self.word(words)], 1) + self.place.weight[:length]
        hidden = torch.ones(length, length, dtype=torch.bool, device=words.device).triu(1)
        hidden[:n, :n] = False  # user, item and hint see each other
        states = self.body(self.drop(x), mask=hidden)
        return self.out(states[:, n:]), 3 + self.rate(states[:, 0])[:, 0], self.out(states[:, 1])


class PETERPlusNet(PETERNet):
    """With the hint."""

    hinted: ClassVar[bool] = True


class Explainer:
    """Fits a net to the training sentences, and writes. Attributes: history: of the training."""

    net_class: ClassVar[type[ExplainerNet]]

    def __init__(self, config: ExplainerConfig | None = None) -> None:
        self.config = config or ExplainerConfig.parse({}, type(self).__name__)
        self.history: list[dict[str, Any]] = []

    def fit(self, material: Material) -> Self:
        config, split = self.config, material.tasks.split
        self._material = material
        pairs, valid = (material.pairs("explanation", part) for part in ("train", "valid"))
        said = [split_words(material.answer("explanation", item, row)) for _, item, row in pairs]
        counts = Counter(word for words in said for word in words)
        ordered = sorted(counts, key=lambda w: (-counts[w], w))[: config.vocabulary]
        self._words = ["", "", "", "", *ordered]
        self._index = {word: i for i, word in enumerate(ordered, start=4)}
        torch.manual_seed(config.seed)
        self.net = self.net_class(split.users.size, split.catalog.size, len(self._words), config)
        learned, held = self._batch(pairs), self._batch(valid)

        def batches(epoch: int, shard: tuple[int, int]) -> Iterator[Batch]:
            order = torch.from_numpy(np.random.default_rng((config.seed, epoch)).permutation(len(pairs)))
            for rows in order.split(config.batch_size)[shard[0] :: shard[1]]:
                yield tuple(each[rows] for each in learned)  # type: ignore[misc]

        @torch.no_grad()
        def validate() -> dict[str, float]:
            batch: Batch = tuple(x.to(self.net.user.weight.device) for x in held)  # type: ignore[assignment]
            return {"log_likelihood": -float(self.net.word_loss(batch, self.net.logits(batch)[0]))}

        self.history = train(self.net, batches, config, validate=validate if len(valid) else None)
        return self

    @torch.no_grad()
    def write(self, pairs: Pairs) -> list[str]:
        """A sentence for each pair of the explanation family, the likeliest word each time."""
        self.net.eval()
        device, out = self.net.user.weight.device, []
        every = self._batch(pairs)
        for start in range(0, len(pairs), 256):
            told = [x[start : start + 256].to(device) for x in every[:4]]
            words = torch.full((len(told[0]), 1), BEGIN, device=device)
            for _ in range(self.config.words):
                logits = self.net.logits((*told, words))[0][:, -1]  # type: ignore[arg-type]
                logits[:, [PAD, BEGIN, UNKNOWN]] = -torch.inf
                words = torch.cat([words, logits.argmax(1, keepdim=True)], 1)
            for row in words[:, 1:].tolist():
                said = row[: row.index(END)] if END in row else row
                out.append(_GLUED.sub(r"\1", " ".join(self._words[i] for i in said)))
        return out

    def _batch(self, pairs: Pairs) -> Batch:
        """All pairs as tensors; hints and stars are those of the events, handed over as in P5."""
        rows = pairs.rows.tolist()
        found = [self._material.explanation(row) for row in rows]
        hints = [self._ids(f.feature)[0] if f else UNKNOWN for f in found]
        said = [[BEGIN, *self._ids(f.sentence if f else "")[: self.config.words], END] for f in found]
        words = np.zeros((len(rows), self.config.words + 2), np.int64)
        for line, ids in zip(words, said, strict=True):
            line[: len(ids)] = ids
        stars = self._material.tasks.ratings[pairs.rows].astype(np.int64)
        columns = (pairs.users.astype(np.int64), pairs.items.astype(np.int64), stars, np.array(hints, np.int64), words)
        return tuple(map(torch.from_numpy, columns))  # type: ignore[return-value]

    def _ids(self, text: str) -> list[int]:
        return [self._index.get(word, UNKNOWN) for word in split_words(text)] or [UNKNOWN]


def split_words(text: str | int) -> Sequence[str]:
    """Words and marks, in lower case."""
    return _WORD.findall(str(text).lower())


class Attn2Seq(Explainer):
    """Dong et al. 2017."""

    net_class = Attn2SeqNet


class NRT(Explainer):
    """Li et al. 2017."""

    net_class = NRTNet


class PETER(Explainer):
    """Li, Zhang and Chen 2021."""

    net_class = PETERNet


class PETERPlus(Explainer):
    """With the hint word; beside rows that have no hint it is no fair match, beside those that have one it is."""

    net_class = PETERPlusNet
