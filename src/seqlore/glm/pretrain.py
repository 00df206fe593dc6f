"""A GLM of the data's own: tokenizer and model, from scratch, on the texts of a split. The body that is tuned here.

Plain GLM (Du et al. 2022, arXiv 2103.10360): every token a unit, blanks in random order, positions within blanks. Texts
are those of :mod:`seqlore.lore.corpus`: of items, and of training interactions alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from pydantic import Field

from seqlore.data import Split
from seqlore.errors import DataError
from seqlore.glm.blanks import Blanked, Documents, Spans, blank
from seqlore.glm.marks import make_tokenizer
from seqlore.glm.model import GLM, GLMConfig
from seqlore.glm.positions import Automaton, PositionConfig
from seqlore.glm.spans import MaskConfig, sample_blanks
from seqlore.glm.texts import Writer
from seqlore.glm.training import BlankNet, batches, chunks
from seqlore.lore.corpus import CorpusConfig, read_split
from seqlore.training import TrainConfig, train
from seqlore.training.loop import Progress

#: Width, blocks, heads, vocabulary: about 0.2, 0.6, 1.1, 6 and 30 million weights.
SHAPES = {
    "nano": (64, 2, 2, 1024),
    "tiny": (96, 3, 3, 2048),
    "mini": (128, 4, 4, 2048),
    "small": (256, 6, 4, 4096),
    "base": (512, 8, 8, 8192),
}


class GLMPretrainConfig(TrainConfig):
    """Settings of a GLM of the data's own. An epoch is a round of ``tokens / epochs`` tokens."""

    shape: Literal["nano", "tiny", "mini", "small", "base"] = Field(
        default="tiny", description="About 0.2, 0.6, 1.1, 6 or 30 million weights."
    )
    vocabulary: int | None = Field(default=None, ge=300, description="Tokens of the tokenizer; None = by the shape.")
    context: int = Field(default=256, ge=16, description="Largest position id: tokens of a document.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="On input, attention and sublayers.")
    corpus: CorpusConfig = Field(
        default_factory=lambda: CorpusConfig(sequences=True), description="Which texts of the split are read."
    )
    masks: MaskConfig = Field(
        default_factory=lambda: MaskConfig(units=False, chronological=False), description="What is blanked."
    )
    tokens: int = Field(default=3_000_000, ge=1, description="Tokens of documents that are read, repeats counted.")
    batch_tokens: int = Field(default=4096, ge=16, description="Padded tokens of a step.")
    held_out: int = Field(
        default=200, ge=1, description="Documents that are kept to choose the round, at the most a tenth."
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak learning rate of AdamW.")
    schedule: Literal["constant", "cosine"] = Field(default="cosine", description="Course of the learning rate.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm; None = no clipping.")
    epochs: int = Field(default=10, ge=1, description="Rounds; each ends with a validation and a checkpoint.")
    monitor: Literal["log_likelihood"] = Field(default="log_likelihood", description="Of held-out blanks, a token.")  # type: ignore[assignment]

    def shaped(self, vocabulary: int) -> GLMConfig:
        """The model's shape."""
        width, layers, heads, _ = SHAPES[self.shape]
        return GLMConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_layers=layers,
            num_attention_heads=heads,
            max_sequence_length=self.context,
            embedding_dropout_prob=self.dropout,
            attention_dropout_prob=self.dropout,
            output_dropout_prob=self.dropout,
            # The usual 0.02 is right at a width of 1024; at 0.02 so small a body takes long to tell its inputs apart.
            initializer_range=0.02 * (1024 / width) ** 0.5,
        )


class Tuned(Protocol):
    """Settings of a model whose body is tuned."""

    @property
    def base_model(self) -> str | None: ...
    @property
    def pretraining(self) -> GLMPretrainConfig: ...
    @property
    def start(self) -> Literal["pretrained", "random"]: ...
    @property
    def tune(self) -> Literal["full", "lora"]: ...


T = TypeVar("T", bound=Tuned)


def checked_start(config: T) -> T:
    """The settings of a tuning, when none of them would be passed over. Raises: ValueError: one would."""
    if config.start == "random" and config.base_model is not None:
        raise ValueError("start = 'random' and base_model exclude each other: leave one of them out")
    if config.start == "random" and config.tune == "lora":
        raise ValueError(
            "tune = 'lora' would freeze a body that has learned nothing: take tune = 'full', or leave start out"
        )
    for name in ("seed", "device"):
        own, outer = getattr(config.pretraining, name), getattr(config, name)
        if own not in (GLMPretrainConfig.model_fields[name].default, outer):
            raise ValueError(f"pretraining.{name}: pretraining takes the {name} of the tuning, so set {name} alone")
    return config


class MaskedTexts:
    """Documents that are blanked anew each time they are read."""

    def __init__(self, documents: Documents, writer: Writer, automaton: Automaton, masks: MaskConfig) -> None:
        self.documents, self.writer, self.automaton, self.masks = documents, writer, automaton, masks

    def blanked(self, index: np.ndarray, rng: np.random.Generator) -> Blanked:
        """The documents at ``index`` with new blanks; one in which nothing could be blanked is left out."""
        part = self.documents.take(index)
        cut = part.offsets
        spans = Spans.collect(
            sample_blanks(part.entity[a:b], part.ends[a:b], rng, self.masks) for a, b in pairwise(cut)
        )
        order = None if self.masks.chronological else rng
        return blank(part, spans, self.writer.marks, self.automaton, order)


def pretrain_glm(
    split: Split,
    out: str | Path,
    config: GLMPretrainConfig | None = None,
    *,
    words: Sequence[str] = (),
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train tokenizer and GLM on the texts of the training part; write them to ``out`` and return what came of it.

    Args: words: texts that will be asked, from which the tokenizer learns too; a catalogue's own has no words for them.

    Raises: DataError: there is too little text.
    """
    config, out = config or GLMPretrainConfig.parse({}, "pretraining"), Path(out)
    corpora = read_split(split, config.corpus)
    texts = [d for corpus in corpora for d in corpus.documents]
    writer = Writer(make_tokenizer([*texts, *words], config.vocabulary or SHAPES[config.shape][3]))
    documents = in_windows(writer.write((t,) for t in texts)[0], config.context - 2)
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(documents))
    held, learned = np.split(order, [min(config.held_out, len(order) // 10)])
    if not len(held):
        raise DataError("there is too little text to pretrain on: a GLM needs at least ten documents")
    rule = Automaton(None, writer.marks.start, PositionConfig(intra="blank"))
    source = MaskedTexts(documents, writer, rule, config.masks)
    torch.manual_seed(config.seed)
    body = GLM(config.shaped(writer.size))
    net = BlankNet(body)
    asked = source.blanked(held, np.random.default_rng(config.seed))
    share = config.tokens / config.epochs

    def rounds(epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
        rng = np.random.default_rng((config.seed, epoch))
        passes = int(np.ceil(share / documents.lengths[learned].sum()))
        rows = np.concatenate([rng.permutation(learned) for _ in range(passes)])
        rows = rows[: int(np.searchsorted(np.cumsum(documents.lengths[rows]), share)) + 1]
        parts = chunks(len(rows), lambda index: source.blanked(index, rng), rows)
        return batches(parts, config.batch_tokens, rng, shard)

    started = time.perf_counter()
    history = train(
        net,
        rounds,
        config,
        validate=lambda: {"log_likelihood": net.log_likelihood(asked)},
        checkpoint=checkpoint,
        progress=progress,
    )
    best = max(history, key=lambda row: row["valid"]["log_likelihood"])
    body.save(out)
    writer.tokenizer.save(str(out / "tokenizer.json"))
    told = {
        "documents": len(documents),
        "read_tokens": int(share) * len(history),
        "best_round": best["epoch"],
        "log_likelihood": best["valid"]["log_likelihood"],
        "seconds": time.perf_counter() - started,
        "parameters": sum(p.numel() for p in body.parameters()),
        "corpora": [{"name": c.name, **c.source, "documents": len(c.documents)} for c in corpora],
    }
    (out / "pretraining.json").write_text(json.dumps(told, indent=2) + "\n")
    return told


def split_texts(split: Split, config: CorpusConfig) -> list[str]:
    """All documents of a split's training part."""
    return [d for corpus in read_split(split, config) for d in corpus.documents]


def in_windows(documents: Documents, length: int) -> Documents:
    """Plain documents cut into windows of at most ``length`` tokens."""
    counts = np.maximum(-(-documents.lengths // length), 1)
    of = np.repeat(np.arange(len(documents)), counts)
    place = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    cuts = documents.offsets[:-1][of] + place * length
    return Documents(documents.tokens, np.r_[cuts, documents.offsets[-1]], documents.entity, documents.ends)
