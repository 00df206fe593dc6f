"""P5: an encoder–decoder over prompts with users and items as ids, and whole-word embeddings.

Geng et al., "Recommendation as Language Processing (RLP): A Unified Pretrain, Personalized Prompt & Predict Paradigm
(P5)", RecSys 2022 (arXiv 2203.13366), on T5 (Raffel et al., JMLR 2020), whose blocks come from transformers. All tokens
of one word, and of one id, get the same embedding by the number of the word.

Ids are those of :mod:`seqlore.tasks.ids`. Differs: from scratch, with a tokenizer of the training texts; stars and
candidates are judged by likelihood, and the catalogue is searched by beams that can only write ids of unseen items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.data import Sequences
from seqlore.glm.numbers import smooth_rows
from seqlore.glm.texts import Blank, Example, Text
from seqlore.lore.tokenizer import train_tokenizer
from seqlore.tasks.folder import read_folder, write_folder
from seqlore.tasks.ids import END, PAD, IdScheme, P5Tokenizer, Tokens, numbers
from seqlore.tasks.material import Material
from seqlore.tasks.mixing import Mixture, MixtureConfig
from seqlore.tasks.naming import Ids
from seqlore.tasks.prompts import Words, as_text
from seqlore.tasks.room import Room
from seqlore.training import TrainConfig, train
from seqlore.training.batches import plan
from seqlore.training.device import device_left, device_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class P5Config(TrainConfig):
    """Settings of P5. The defaults are small; T5-small has 512, 6 layers and 8 heads."""

    ids: IdScheme = Field(default="random", description="How users and items are numbered.")
    whole_words: bool = Field(default=True, description="Add whole-word embeddings.")
    width: int = Field(default=64, ge=8, description="Of the model.")
    layers: int = Field(default=2, ge=1, description="Of encoder and decoder each.")
    heads: int = Field(default=4, ge=1, description="Of attention.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Everywhere.")
    vocabulary: int = Field(default=1024, ge=300, description="Tokens of the words; ids come on top.")
    number_tokens: bool = Field(
        default=True, description="A token for each number that prompts tell of stars, in place of its digits."
    )
    max_tokens: int = Field(default=512, ge=8, description="Tokens of a question that are read (paper: 512).")
    mixture: MixtureConfig = Field(default_factory=MixtureConfig, description="Of families.")
    batch_tokens: int = Field(default=8192, ge=16, description="Padded tokens of a step.")
    beams: int = Field(default=20, ge=1, description="Of a search (paper: 20).")
    answer_tokens: int = Field(default=60, ge=1, description="Most tokens of a text that is written.")
    valid_cases: int = Field(default=2000, ge=1, description="At most so many validation pairs of each family, drawn.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW (paper: 1e-3).")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="Of the learning rate after the warm-up (paper: linearly to 0)."
    )
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm (paper: 1).")
    epochs: int = Field(default=10, ge=1, description="Most epochs (paper: 10).")
    patience: int = Field(default=2, ge=1, description="Validations without improvement.")
    monitor: Literal["log_likelihood"] = Field(default="log_likelihood", description="Of answers, a token.")  # type: ignore[assignment]

    @model_validator(mode="after")
    def _heads_have_a_width(self) -> Self:
        if self.heads > self.width:
            raise ValueError(f"heads = {self.heads} is more than width = {self.width}: lower it")
        return self


class P5Net(nn.Module):
    """T5 with whole-word embeddings; ``forward(batch)`` is the loss: the mean of each answer's tokens, averaged."""

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

    def forward(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """(ids, words, answers, weights [B] of the answers) → loss."""
        ids, words, answers, weight = batch
        log_p = self.log_p(self.encoded(ids, words), (ids != PAD).long(), answers) / (answers != PAD).sum(1)
        return -(log_p * weight).sum() / weight.sum()


class P5:
    """P5 for all families.

    Attributes: history: of the training, an entry an epoch. room: what it reads, and how many questions were cut since
    the fit. learned_cut: family → examples that were cut in it, each time that they were read.
    """

    def __init__(self, config: P5Config | None = None) -> None:
        self.config = config or P5Config.parse({}, "P5")
        self.history: list[dict[str, Any]] = []
        self.learned_cut: dict[str, int] = {}

    def fit(self, material: Material, *, checkpoint: Path | None = None, log: Path | None = None) -> Self:
        """Train on the training part. Args: checkpoint, log: of the loop.

        Raises: ConfigError: ``max_tokens`` has no room for a question.
        """
        config, split = self.config, material.tasks.split
        device_of(config.device)
        self.naming = numbers(split, config.ids, config.seed)
        mixture = Mixture(material, self.naming, config.mixture, config.seed)
        drawn = islice(mixture.epoch(0), 20_000)
        texts = [as_text(part) for e in drawn for part in (_question(e.text), _answer(e))]
        torch.manual_seed(config.seed)
        told = material.numbers(mixture.families) if config.number_tokens else []
        self._prepare(train_tokenizer(texts, config.vocabulary), told)
        if told:
            smooth_rows(self.net.t5.shared.weight, self._tokens.size - len(told), len(told), config.seed)
        mixture.room = self.room

        def batches(epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
            rng, examples = np.random.default_rng((config.seed, epoch)), iter(mixture.epoch(epoch))
            while several := list(islice(examples, 4096)):
                rows = [(self._tokens.write(_question(e.text)), self._tokens.write(_answer(e)).ids) for e in several]
                for index in plan(np.array([len(q.ids) for q, _ in rows]), config.batch_tokens, rng)[
                    shard[0] :: shard[1]
                ]:
                    weight = torch.tensor([mixture.weight(several[i]) for i in index])
                    yield (*self._batch([rows[i] for i in index]), weight)

        held = mixture.held(config.valid_cases)

        @torch.no_grad()
        def validate() -> dict[str, float]:
            rows = [(self._tokens.write(_question(e.text)), self._tokens.write(_answer(e)).ids) for e in held]
            device, total, n = self._device, 0.0, 0
            for start in range(0, len(rows), 64):
                ids, words, answers = (x.to(device) for x in self._batch(rows[start : start + 64]))
                total += float(self.net.log_p(self.net.encoded(ids, words), (ids != PAD).long(), answers).sum())
                n += int((answers != PAD).sum())
            return {"log_likelihood": total / n}

        watch = validate if held else None
        self.history = train(self.net, batches, config, validate=watch, checkpoint=checkpoint, log=log)
        self.learned_cut = dict(self.room.cut)
        self.room.cut.clear()
        return self

    def _prepare(self, base: Tokenizer, told: Sequence[str]) -> None:
        """The net, untrained, and what questions and answers are made with. Args: told: numbers of a token each."""
        config = self.config
        self._tokens = tokens = P5Tokenizer(base, self.naming, config.ids, told)
        self.net = P5Net(tokens.size, config)
        self._items = [tokens.entity(self.naming.item(i).text) for i in range(len(self.naming.items))]

        def lengths(texts: Sequence[Text]) -> NDArray[np.integer]:
            return np.array([len(tokens.write(_question(text)).ids) for text in texts], np.int64)

        self.room = Room(lengths, config.max_tokens)

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model; returns the folder."""
        told = {
            "settings": self.config.model_dump(mode="json"),
            "items": list(self.naming.items),
            "users": list(self.naming.users),
            "tokenizer": self._tokens.base.to_str(),
            "numbers": list(self._tokens.numbers),
            "history": self.history,
            "learned_cut": self.learned_cut,
        }
        state = self.net.state_dict()
        return write_folder(
            folder, "P5", told, {k: w.clone() for k, w in state.items()}
        )  # tied ones have several names

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What :meth:`save` wrote; it answers as it did. Raises: DataError: there is none, or it is damaged."""
        from tokenizers import Tokenizer

        told, state = read_folder(folder, "P5")
        model = cls(P5Config.parse(told["settings"], str(folder)))
        model.naming = Ids(told["items"], told["users"])
        model._prepare(Tokenizer.from_str(told["tokenizer"]), told.get("numbers", ()))
        model.net.load_state_dict(state)
        model.net.to(device_left(model.config.device)).eval()
        model.history, model.learned_cut = told["history"], told["learned_cut"]
        return model

    @property
    def _device(self) -> torch.device:
        return self.net.t5.shared.weight.device

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
            written = [self._tokens.write(_question(e.text)) for e in asked[rows]]
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
        five = [self._tokens.write(_spaced((str(n),))).ids for n in range(1, 6)]
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
        """Beams by likelihood that can only write ids of items that were not seen."""
        whole = {tuple(ids): i for i, ids in enumerate(self._items) if i}
        follow: dict[tuple[int, ...], list[int]] = {}
        for prefix in dict.fromkeys(prefix for ids in whole for prefix in _prefixes(ids)):
            follow.setdefault(prefix[:-1], []).append(prefix[-1])
        below = Counter(prefix for ids in whole for prefix in _prefixes(ids))
        beams = min(max(self.config.beams, k), len(whole))
        out = np.zeros((len(asked), k), np.int64)
        for rows, encoder, mask in self._asked(asked):
            n = rows.indices(len(asked))[0]
            had = [set(seen[i].tolist()) - {0} for i in range(*rows.indices(len(asked)))]
            gone = [Counter(prefix for i in each for prefix in _prefixes(self._items[i])) for each in had]

            def allowed(row: int, written: Tensor, gone: list[Counter[tuple[int, ...]]] = gone) -> list[int]:
                prefix = tuple(written.tolist()[1:])
                onward = [t for t in follow.get(prefix, ()) if below[(*prefix, t)] > gone[row][(*prefix, t)]]
                return onward or [PAD]

            ids = self.net.written(
                encoder_outputs=encoder,
                attention_mask=mask,
                max_new_tokens=1 + max(map(len, whole)),
                num_beams=beams,
                num_return_sequences=beams,
                length_penalty=0.0,  # else ids of more tokens would be preferred to likelier ones
                do_sample=False,
                prefix_allowed_tokens_fn=allowed,
            )
            found = [whole.get(tuple(t for t in row[1:] if t not in (PAD, END)), 0) for row in ids.tolist()]
            for i, each in enumerate(had):
                good = [item for item in dict.fromkeys(found[i * beams : (i + 1) * beams]) if item not in {0, *each}]
                out[n + i, : len(good[:k])] = good[:k]
        return out


def _prefixes(ids: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """What an id begins with, and all of it with its end."""
    whole = (*ids, END)
    return (whole[:n] for n in range(1, len(whole) + 1))


def _question(text: Text) -> Words:
    return tuple(p for p in text if not isinstance(p, Blank))


def _answer(example: Example) -> Words:
    return _spaced(next(p for p in example.text if isinstance(p, Blank)).hidden)


def _spaced(answer: Words) -> Words:
    """As answers are written: behind a blank."""
    return tuple(f" {p}" if isinstance(p, str) else p for p in answer)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return out
