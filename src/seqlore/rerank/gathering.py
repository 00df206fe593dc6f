"""From lists to knowledge: which texts are needed, who writes them, and their vectors.

Texts come from the lore store (:mod:`seqlore.lore`), written by any language model, and vectors from the vector store,
so that what was made once is never made again.

Zhang et al., COLING 2025, section 3.1: the preference prompt holds the user's individual information and title and
categories of the history; the item prompt title and brand; both ask about the same aspects. The extractive model, which
knows nothing of the world, reads categories and description of an item too, in place of what a large model would know.
With ``texts = "raw"`` nothing is generated, and the encoder reads histories and items themselves: their BERT-aug, and
"w/o LLM". Histories too long for an encoder are read in pieces, each a vector.

Each held-out case has a text written from its own history. So has each training sample where targets come from a pool;
else, or with ``every``, it has the latest of texts written every so many events: fewer texts for more samples, and
never from what came after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.errors import DataError
from seqlore.lore.extractive.english import sentences
from seqlore.lore.locate import language_model
from seqlore.lore.make import LoreSettings, make_lore
from seqlore.lore.material import known_texts
from seqlore.lore.model import LanguageModel
from seqlore.lore.prompts import Task
from seqlore.lore.store import LoreStore
from seqlore.rerank.augment import Host
from seqlore.rerank.knowledge import Knowledge
from seqlore.rerank.lists import ListData
from seqlore.rerank.points import STEP, layers, text_points
from seqlore.rerank.texts import UserTexts
from seqlore.text import TextSource
from seqlore.text.encoder import Precision

#: Events of a raw history that are encoded together: an encoder cuts what is longer than it reads (all-MiniLM-L6-v2
#: reads 256 word pieces, and a film takes ten).
PIECE = 20


class KnowledgeSettings(Config):
    """Which texts, by whom, and their encoder."""

    texts: Literal["lore", "raw"] = Field(
        default="lore", description="Generated, or titles and categories as they are."
    )
    model: str = Field(default="extractive", description="Language model, see seqlore.lore.locate.")
    store: Path | None = Field(default=None, description="Lore store; None = the one in the cache folder.")
    encoder: str = Field(default="all-MiniLM-L6-v2", description="Encoder of the texts, see TextSource.")
    precision: Precision = Field(default="fp32", description='Arithmetic of a local encoder; "bf16" is faster.')
    vectors: Path | None = Field(default=None, description="Vector store; None = the one in the cache folder.")
    history: int | None = Field(
        default=None,
        ge=1,
        description="Latest events of which the preference text is written; None = 10, for sequence backbones 150.",
    )
    every: int | None = Field(
        default=None,
        ge=1,
        description="Texts of training users every so many events; None = at each target of the pool, else as the "
        f"backbone's target_step, else {STEP}.",
    )
    hidden: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of training samples from which the text about the user is withheld, so that users without "
        "one can be served.",
    )
    budget: int = Field(default=4096, ge=1, description="Most tokens of the history in a preference prompt.")
    sentences: bool = Field(
        default=False, description="A vector for each sentence of the preference; False = one a text."
    )
    most: int = Field(default=12, ge=1, description="Sentences that have a vector.")
    standardize: bool = Field(
        default=True, description="Vectors of preferences, and of items, with mean 0 and variance 1 in each dimension."
    )
    item: str = Field(default="item", description='What an item is called in prompts, say "movie".')
    items: str = Field(default="items", description="The same for several.")
    chosen: str = Field(default="chosen", description='What users did with them, say "watched".')
    aspects: str = Field(default="kind, maker, style, quality, audience", description="What both prompts ask about.")
    user_columns: tuple[str, ...] | None = Field(
        default=None, description="Of the users, told in the prompt; None = all."
    )

    @property
    def source(self) -> TextSource:
        """What encodes the texts."""
        return TextSource(encoder=self.encoder, precision=self.precision, store=self.vectors)


class RawSettings(KnowledgeSettings):
    """The same, with titles and categories as they are unless something else is asked for."""

    texts: Literal["lore", "raw"] = Field(default="raw", description="Titles and categories as they are, or generated.")


def events(sequential: bool) -> int:
    """Latest events of which Zhang et al. write texts: of a backbone that reads long histories, and of others."""
    return 150 if sequential else 10


def with_suited(config: Any, host: Host) -> Any:
    """Settings of an augmentation with those of its ``knowledge`` filled in by the backbone."""
    known = config.knowledge
    if known.history is not None:
        return config
    return config.model_copy(update={"knowledge": known.model_copy(update={"history": events(host.sequential)})})


def gather_knowledge(
    lists: ListData, settings: KnowledgeSettings, *, pretraining: bool = False
) -> tuple[Knowledge, Sequences]:
    """Preferences and items' knowledge, and the histories that the preferences were written from.

    Args: pretraining: a phase before asks ``lists.pretraining()``.

    Raises: DataError: no item has any text.
    """
    points = text_points(lists, settings.every, pretraining=pretraining)
    preferences, written = preference_vectors(lists.split, points, settings)
    return Knowledge(preferences, item_vectors(lists.split, settings)), written


def preference_vectors(split: Split, points: Sequences, settings: KnowledgeSettings) -> tuple[UserTexts, Sequences]:
    """Vectors of a text about each user at each point, and the points that have one.

    Where a language model gave none (it refused, or nothing is known of the history), the user's text before stands.

    Raises: DataError: nothing is known of any of the items.
    """
    pieces = _raw_histories(split, points, settings) if settings.texts == "raw" else _written(split, points, settings)
    if settings.sentences:
        pieces = [[each for text in texts for each in in_sentences(text)][: settings.most] for texts in pieces]
    given = np.flatnonzero([len(texts) > 0 for texts in pieces])
    points, pieces = points.take(given), [pieces[i] for i in given]
    counts = np.array([len(texts) for texts in pieces], np.int64)
    flat = settings.source.embed_texts([text for texts in pieces for text in texts])
    vectors = np.zeros((len(pieces), counts.max(initial=1), flat.shape[1]), np.float32)
    there = np.arange(vectors.shape[1]) < counts[:, None]
    vectors[there] = flat
    of = np.isin(points.users, split.train.users)
    return UserTexts(points, _scaled(vectors, there, of, settings), counts, settings.hidden), points


def item_vectors(split: Split, settings: KnowledgeSettings) -> Tensor:
    """float32 [catalog.size, d]: of the knowledge about each item, or of its own texts; zero where there is none."""
    texts = _item_texts(split)
    if settings.texts == "lore":
        with LoreStore(settings.store) as store:
            model = _model(split, "item-knowledge", settings)
            words = {"item": settings.item, "aspects": settings.aspects}
            texts = make_lore(
                split, "item-knowledge", model, store, LoreSettings(prompts=("ur4rec-item",), words=words)
            ).texts("item")
    vectors = settings.source.embed_texts(texts)
    there = np.array([bool(text) for text in texts])
    return torch.from_numpy(np.pad(_scaled(vectors, there, np.ones_like(there), settings), ((1, 0), (0, 0))))


def standardized(vectors: NDArray[np.floating], there: NDArray[np.bool_], of: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean 0 and variance 1 in each dimension over the texts of the rows ``of``; 0 where there is no text.

    Texts of one kind have much in common (the mean of a shop's item vectors is two thirds as long as one of them). What
    all share tells no two apart, and attention, which averages, would keep little else.

    Args: vectors: [n, d] or [n, S, d]. there: bool [n] or [n, S], which are of a text. of: bool [n].
    """
    known = vectors[there & of.reshape(-1, *[1] * (there.ndim - 1))]
    if not len(known):
        return np.asarray(vectors, np.float32)
    spread = known.std(0)
    scaled = (vectors - known.mean(0)) / np.where(spread > 0, spread, 1)
    return np.where(there[..., None], scaled, 0).astype(np.float32)


def _scaled(
    vectors: NDArray[np.floating], there: NDArray[np.bool_], of: NDArray[np.bool_], settings: KnowledgeSettings
) -> NDArray[np.floating]:
    return standardized(vectors, there, of) if settings.standardize else vectors


def in_sentences(text: str) -> list[str]:
    """The sentences of a text, where lines end sentences too."""
    return [each for line in text.splitlines() for each in sentences(line)]


def _model(split: Split, task: Task, settings: KnowledgeSettings) -> LanguageModel:
    return language_model(settings.model, texts=lambda: known_texts(split, task))


def _written(split: Split, points: Sequences, settings: KnowledgeSettings) -> list[list[str]]:
    """A preference text for each point, [n]; none where the language model gave none.

    ``make_lore`` writes one text a user, from the training part of a split: each layer, the j-th point of every user,
    is given to it as such, and it sees nothing else of these users.
    """
    model = _model(split, "user-preference", settings)
    words = {"items": settings.items, "chosen": settings.chosen, "aspects": settings.aspects}
    length = settings.history or events(False)
    lore = LoreSettings(words=words, history=length, budget=settings.budget, user_columns=settings.user_columns)
    texts: list[list[str]] = [[] for _ in range(len(points))]
    with LoreStore(settings.store) as store:
        for layer in layers(points.users):
            how = {**split.how, "read": "what came before targets"}
            part = replace(split, train=points.take(layer), valid=None, test=None, folds=[], how=how)
            found = make_lore(part, "user-preference", model, store, lore)
            if not found.frame.is_empty():
                about = found.texts("user")
                for row in layer:
                    texts[row] += filter(None, [about[points.users[row] - 1]])
    return texts


def _item_texts(split: Split) -> list[str]:
    """Title and categories of each item, [len(catalog)]. Raises: DataError: no item has either."""
    fields = [name for name in ("title", "categories") if name in split.catalog.items.columns]
    texts = split.catalog.texts(fields) if fields else [""] * len(split.catalog)
    if not any(texts):
        raise DataError(f"{split.dataset.name}: no item has a title or categories, so there is nothing to know of them")
    return texts


def _raw_histories(split: Split, points: Sequences, settings: KnowledgeSettings) -> list[list[str]]:
    """The titles and categories of each history, latest first, in as many pieces as an encoder needs to read all."""
    about: Sequence[str] = ["", *_item_texts(split)]
    length = settings.history or events(False)

    def pieces(history: NDArray[np.integer]) -> list[str]:
        told = [about[i] for i in history[-length:][::-1] if about[i]]
        return ["\n".join(told[start : start + PIECE]) for start in range(0, len(told), PIECE)]

    return [pieces(history) for history in points]
