"""P5: an encoder–decoder over prompts with users and items as ids, and whole-word embeddings.

Geng et al., "Recommendation as Language Processing (RLP): A Unified Pretrain, Personalized Prompt & Predict Paradigm
(P5)", RecSys 2022 (arXiv 2203.13366), on T5 (Raffel et al., JMLR 2020), whose blocks come from transformers. All tokens
of one word, and of one id, get the same embedding by the number of the word.

Ids: ``random``: digits that say nothing; ``token``: a token of each user's and item's own; ``published``: numbers in
the order in which items occur when the users' whole sequences are read one after another, as the published files have
them. These leak: the held-out item of a user who brought the last new ones is the next number, so such a row is no
result. Differs: from scratch, with a tokenizer of the training texts; stars and candidates are judged by likelihood,
and the catalogue is searched by beams that can only write ids that exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqlore.data import Sequences, Split
from seqlore.glm.texts import Blank, Entity, Example
from seqlore.lore.tokenizer import train_tokenizer
from seqlore.tasks.material import Material, write
from seqlore.tasks.mixing import Mixture, MixtureConfig
from seqlore.tasks.naming import Ids
from seqlore.tasks.prompts import Words, as_text
from seqlore.training import TrainConfig, train
from seqlore.training.batches import plan

IdScheme = Literal["random", "token", "published"]
#: Padding, end of text; the decoder starts from padding, as in T5.
PAD, END = 0, 1
_WORD = re.compile(r"\s*\S+")
_ID = re.compile(r"(user|item)_(\d+)")


class P5Config(TrainConfig):
    """Settings of P5. The defaults are small; T5-small has 512, 6 layers and 8 heads."""

    ids: IdScheme = Field(default="random", description="How users and items are numbered.")
    whole_words: bool = Field(default=True, description="Add whole-word embeddings.")
    width: int = Field(default=64, ge=8, description="Of the model.")
    layers: int = Field(default=2, ge=1, description="Of encoder and decoder each.")
    heads: int = Field(default=4, ge=1, description="Of attention.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Everywhere.")
    vocabulary: int = Field(default=1024, ge=300, description="Tokens of the words; ids come on top.")
    max_tokens: int = Field(default=512, ge=8, description="First tokens of a question that are read (paper: 512).")
    mixture: MixtureConfig = Field(default_factory=MixtureConfig, description="Of families.")
    batch_tokens: int = Field(default=8192, ge=16, description="Padded tokens of a step.")
    beams: int = Field(default=20, ge=1, description="Of a search (paper: 20).")
    answer_tokens: int = Field(default=40, ge=1, description="Most tokens of a text.")
    valid_cases: int = Field(default=200, ge=1, description="At most so many validation pairs of each family.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW (paper: 1e-3).")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm (paper: 1).")
    epochs: int = Field(default=10, ge=1, description="Most epochs (paper: 10).")
    patience: int = Field(default=2, ge=1, description="Validations without improvement.")
    monitor: Literal["log_likelihood"] = Field(default="log_likelihood", description="Of answers, a token.")  # type: ignore[assignment]


def numbers(split: Split, scheme: IdScheme, seed: int = 0) -> Ids:
    """The number of each user and item. "published" reads held-out events too: that is its leak."""
    users, items = split.users.size, split.catalog.size
    if scheme != "published":
        rng = np.random.default_rng(seed)
        return Ids(*([0, *(1 + rng.permutation(n - 1)).tolist()] for n in (items, users)))
    whole = split.train if split.test is None else split.test.joined()
    order = np.argsort(whole.users, kind="stable")
    events = split.catalog.index_column(split.dataset.interactions["item_id"])
    read = np.concatenate([whole.take(order).items, events])  # then what no test sequence has
    first = np.unique(read, return_index=True)
    mine = np.zeros(items, np.int64)
    mine[first[0][np.argsort(first[1])]] = np.arange(1, len(first[0]) + 1)
    rest = np.flatnonzero(mine[1:] == 0) + 1  # items without any event
    mine[rest] = np.arange(len(first[0]) + 1, items)
    return Ids(mine.tolist(), list(range(users)))


class Tokens(NamedTuple):
    """Attributes: ids, words: of equal length; the second the number of the word from 1, for embeddings."""

    ids: list[int]
    words: list[int]


class P5Tokenizer:
    """Words by a tokenizer of the training texts, ids by tokens of their own."""

    def __init__(self, texts: Sequence[str], naming: Ids, scheme: IdScheme, vocabulary: int) -> None:
        self._base, self._scheme = train_tokenizer(texts, vocabulary), scheme
        self._first = 2 + self._base.get_vocab_size()  # 0 and 1 are padding and end
        self._users = 1 + max(naming.users)
        self.size = self._first + (self._users + 1 + max(naming.items) if scheme == "token" else 12)
        self._width = {"user": len(str(max(naming.users))), "item": len(str(max(naming.items)))}
        self._known: dict[str, list[int]] = {}

    def entity(self, text: str) -> list[int]:
        """Of a user or item: one token; or its kind and digits (as many for all, but for published numbers)."""
        match = _ID.fullmatch(text)
        if match is None:
            return self._word(f" {text}")
        kind, digits = match[1], match[2]
        if self._scheme == "token":
            return [self._first + int(digits) + (self._users if kind == "item" else 0)]
        digits = digits if self._scheme == "published" else digits.zfill(self._width[kind])
        return [self._first + (kind == "item"), *(self._first + 2 + int(d) for d in digits)]

    def write(self, words: Words) -> Tokens:
        """The tokens of a text and the word that each belongs to."""
        ids: list[int] = []
        numbers: list[int] = []
        for part in words:
            pieces = [self.entity(part.text)] if isinstance(part, Entity) else map(self._word, _WORD.findall(part))
            for piece in pieces:
                numbers += [1 + (numbers[-1] if numbers else 0)] * len(piece)
                ids += piece
        return Tokens(ids, numbers)

    def read(self, ids: Sequence[int]) -> str:
        """Back to text, ids left out."""
        return self._base.decode([i - 2 for i in ids if 2 <= i < self._first]).strip()

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = [i + 2 for i in self._base.encode(word, add_special_tokens=False).ids]
        return self._known[word]


class P5Net(nn.Module):
    """T5 with whole-word embeddings; ``forward(batch)`` is the mean loss of the answers' tokens."""

    def __init__(self, size: int, config: P5Config) -> None:
        super().__init__()
        from transformers import T5Config, T5ForConditionalGeneration

        body = T5Config(
            vocab_size=size,
            d_model=config.width,
            d_kv=config.width // config.heads,
            d_ff=4 * config.width,
            num_layers=config.layers,
            num_heads=config.heads,
            dropout_rate=config.dropout,
            pad_token_id=PAD,
            eos_token_id=END,
        )
        body.decoder_start_token_id = PAD
        self.t5 = T5ForConditionalGeneration(body)
        self.words = nn.Embedding(config.max_tokens + 1, config.width, padding_idx=0) if config.whole_words else None
        if self.words is not None:
            nn.init.normal_(self.words.weight, std=self.t5.shared.weight.std().item())
            nn.init.zeros_(self.words.weight[0])

    def encoded(self, ids: Tensor, words: Tensor) -> Any:
        """What the encoder makes of questions, int64 [B, T]."""
        vectors = self.t5.shared(ids)
        if self.words is not None:
            vectors = vectors + self.words(words)
        return self.t5.encoder(inputs_embeds=vectors, attention_mask=(ids != PAD).long())

    def written(self, **how: Any) -> Tensor:
        """int64 [B, L], see ``generate`` of transformers."""
        body: Any = self.t5  # its protocols and pyright's do not agree
        return body.generate(**how)

    def log_p(self, encoder: Any, mask: Tensor, answers: Tensor) -> Tensor:
        """[B] log-probabilities of answers, int64 [B, L], end included, padded with 0."""
        before = F.pad(answers, (1, -1), value=PAD)
        out = self.t5(encoder_outputs=encoder, attention_mask=mask, decoder_input_ids=before)
        own = out.logits.float().log_softmax(2).gather(2, answers[..., None])[..., 0]
        return (own * (answers != PAD)).sum(1)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        ids, words, answers = batch
        total = self.log_p(self.encoded(ids, words), (ids != PAD).long(), answers).sum()
        return -total / (answers != PAD).sum()


class P5:
    """P5 for all families. Attributes: history: of the training, an entry an epoch."""

    def __init__(self, config: P5Config | None = None) -> None:
        self.config = config or P5Config.parse({}, "P5")
        self.history: list[dict[str, Any]] = []

    def fit(self, material: Material) -> Self:
        config, split = self.config, material.tasks.split
        self.naming = numbers(split, config.ids, config.seed)
        mixture = Mixture(material, self.naming, config.mixture, config.seed)
        drawn = islice(mixture.epoch(0), 20_000)
        texts = [as_text(part) for e in drawn for part in (_question(e), _answer(e))]
        self._tokens = P5Tokenizer(texts, self.naming, config.ids, config.vocabulary)
        torch.manual_seed(config.seed)
        self.net = P5Net(self._tokens.size, config)

        def batches(epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
            rng, examples = np.random.default_rng((config.seed, epoch)), iter(mixture.epoch(epoch))
            while several := list(islice(examples, 4096)):
                rows = [(self._written(_question(e)), self._tokens.write(_answer(e)).ids) for e in several]
                for index in plan(np.array([len(q.ids) for q, _ in rows]), config.batch_tokens, rng)[
                    shard[0] :: shard[1]
                ]:
                    yield self._batch([rows[i] for i in index])

        held: list[Example] = []
        for family in mixture.families:
            pairs = material.pairs(family, "valid").take(slice(config.valid_cases))
            held += write(material, self.naming, family, pairs, [mixture.prompts(family).of(seen=True)[0]] * len(pairs))
        self._items = [self._tokens.entity(self.naming.item(i).text) for i in range(split.catalog.size)]

        @torch.no_grad()
        def validate() -> dict[str, float]:
            rows = [(self._written(_question(e)), self._tokens.write(_answer(e)).ids) for e in held]
            device, total, n = self._device, 0.0, 0
            for start in range(0, len(rows), 64):
                ids, words, answers = (x.to(device) for x in self._batch(rows[start : start + 64]))
                total += float(self.net.log_p(self.net.encoded(ids, words), (ids != PAD).long(), answers).sum())
                n += int((answers != PAD).sum())
            return {"log_likelihood": total / n}

        self.history = train(self.net, batches, config, validate=validate if held else None)
        return self

    @property
    def _device(self) -> torch.device:
        return self.net.t5.shared.weight.device

    def _written(self, words: Words) -> Tokens:
        """The first of a question's tokens."""
        ids, numbers = self._tokens.write(words)
        return Tokens(ids[: self.config.max_tokens], numbers[: self.config.max_tokens])

    def _batch(self, rows: Sequence[tuple[Tokens, list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
        return (
            _padded([q.ids for q, _ in rows]),
            _padded([q.words for q, _ in rows]),
            _padded([[*a, END] for _, a in rows]),
        )

    def _asked(self, asked: Sequence[Example], several: int = 64) -> Iterator[tuple[slice, Any, Tensor]]:
        """(rows, encoder output, mask) of questions."""
        self.net.eval()
        for start in range(0, len(asked), several):
            rows = slice(start, start + several)
            written = [self._written(_question(e)) for e in asked[rows]]
            ids = _padded([q.ids for q in written]).to(self._device)
            yield rows, self.net.encoded(ids, _padded([q.words for q in written]).to(self._device)), (ids != PAD).long()

    def _likelihoods(self, asked: Sequence[Example], answers: list[list[list[int]]]) -> NDArray[np.floating]:
        """[n, c] of c answers to each question."""
        out = np.zeros((len(asked), len(answers[0])))
        for rows, encoder, mask in self._asked(asked, 8):
            several = [a for each in answers[rows] for a in each]
            c, states = out.shape[1], encoder.last_hidden_state
            wide = type(encoder)(last_hidden_state=states.repeat_interleave(c, 0))
            told = _padded([[*a, END] for a in several]).to(self._device)
            out[rows] = self.net.log_p(wide, mask.repeat_interleave(c, 0), told).reshape(-1, c).cpu().numpy()
        return out

    @torch.no_grad()
    def stars(self, asked: Sequence[Example]) -> NDArray[np.floating]:
        """Log-probabilities of 1 … 5 as the answer."""
        five = [self._tokens.write((str(n),)).ids for n in range(1, 6)]
        return self._likelihoods(asked, [five] * len(asked))

    @torch.no_grad()
    def score(self, asked: Sequence[Example], candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """Log-probabilities of items."""
        return self._likelihoods(asked, [[self._items[i] for i in row] for row in candidates.tolist()])

    @torch.no_grad()
    def write(self, asked: Sequence[Example]) -> list[str]:
        """The likeliest token each time."""
        out = []
        for _, encoder, mask in self._asked(asked):
            ids = self.net.written(
                encoder_outputs=encoder, attention_mask=mask, max_new_tokens=self.config.answer_tokens, do_sample=False
            )
            out += [self._tokens.read(row) for row in ids.tolist()]
        return out

    @torch.no_grad()
    def search(self, asked: Sequence[Example], seen: Sequences, k: int) -> NDArray[np.integer]:
        """Beams that can only write ids of items; what was seen is left out afterwards, so lists may be short."""
        follow: dict[tuple[int, ...], set[int]] = {}
        whole = {tuple(ids): i for i, ids in enumerate(self._items) if i}
        for ids in whole:
            for length, token in enumerate((*ids, END)):
                follow.setdefault(ids[:length], set()).add(token)
        allowed = {prefix: sorted(tokens) for prefix, tokens in follow.items()}
        beams, out = max(self.config.beams, k), np.zeros((len(asked), k), np.int64)
        beams = min(beams, len(whole))
        for rows, encoder, mask in self._asked(asked):
            ids = self.net.written(
                encoder_outputs=encoder,
                attention_mask=mask,
                max_new_tokens=1 + max(map(len, whole)),
                num_beams=beams,
                num_return_sequences=beams,
                prefix_allowed_tokens_fn=lambda _, written: allowed.get(tuple(written.tolist()[1:]), [PAD]),
            )
            found = [whole.get(tuple(t for t in row[1:] if t not in (PAD, END)), 0) for row in ids.tolist()]
            for i in range(*rows.indices(len(asked))):
                had = {0, *seen[i].tolist()}
                first = (i - rows.start) * beams
                good = [item for item in found[first : first + beams] if item not in had][:k]
                out[i, : len(good)] = good
        return out


def _question(example: Example) -> Words:
    return tuple(p for p in example.text if not isinstance(p, Blank))


def _answer(example: Example) -> Words:
    hidden = next(p for p in example.text if isinstance(p, Blank)).hidden
    return tuple(f" {p}" if isinstance(p, str) else p for p in hidden)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return out
