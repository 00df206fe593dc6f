"""LLMSeqPrompt: a language model that is tuned to name the next product.

J. Harte et al., "Leveraging large language models for sequential recommendation", RecSys 2023,
10.1145/3604915.3610639, section 3.2: a session without its last product is the prompt, its last product's title the
completion (figure 1); the tuned model completes a prompt several times, and the completions are ranked by frequency
(:mod:`seqlore.language.slate`).

Differs from the paper: any local causal model stands in place of OpenAI's ada, and where none is named a small one is
first trained from scratch on the training sessions (:mod:`seqlore.lore.pretrain`); items that a user has seen are left
out of lists; an empty history is answered by popularity. ``decoding="beam"`` is ours: the model is held to titles of
the catalogue and items are ranked by the exact probability of their titles (:mod:`seqlore.language.decoding`).
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from seqlore.config import Config, digest
from seqlore.data import Sequences, Split
from seqlore.language.backbone import Backbone, BackboneConfig
from seqlore.language.decoding import Normalise, beam_search
from seqlore.language.folder_state import as_folder, to_state
from seqlore.language.loading import adapters
from seqlore.language.pairs import COMPLETION_END, parse_completion
from seqlore.language.sampling import complete
from seqlore.language.sessions import SessionWriter, documents, short_titles
from seqlore.language.slate import SlateMaker
from seqlore.language.trie import Trie
from seqlore.language.tuning import PairNet, Pairs, tune
from seqlore.lore.corpus import AnyCorpus, Corpus, check_corpora
from seqlore.lore.model import Sampling
from seqlore.lore.pretrain import PretrainConfig, pretrain
from seqlore.ranking import Lists, or_popular
from seqlore.recommender import Recommender
from seqlore.text.quiet import quiet
from seqlore.text.source import TextSource
from seqlore.training import TrainConfig, outcome
from seqlore.training.batches import windows
from seqlore.training.device import device_left, device_of
from seqlore.training.loop import Progress


class SessionPretraining(PretrainConfig):
    """Pretraining on sessions alone: short texts, and many small steps of them."""

    context: int = Field(default=256, ge=16, description="Longest text in tokens, and length of the packed blocks.")
    tokens: int | None = Field(default=8_000_000, ge=1, description="Tokens to train on; None = by the preset.")
    batch_tokens: int = Field(default=1024, ge=16, description="Tokens of a step.")


class LLMSeqPromptConfig(TrainConfig):
    """Settings of LLMSeqPrompt. Those of training are the tuning's."""

    base_model: str | None = Field(
        default=None,
        description="Folder or hub name of a causal model; None = a small one is pretrained on the sessions.",
    )
    any_corpus: AnyCorpus = False
    pretraining: SessionPretraining = Field(
        default_factory=SessionPretraining,
        description="How that is done; it reads the training sessions only, whatever its corpus says.",
    )
    title_words: int | None = Field(
        default=8, ge=1, description="Words of a title that are read and written; None = all. Fewer are faster."
    )
    max_items: int = Field(default=10, ge=1, description="Latest items of a history that stand in its prompt.")
    context: int = Field(
        default=512, ge=16, description="Most tokens of a prompt and its completion; the model may have fewer."
    )
    pairs: Literal["last", "all"] = Field(
        default="last",
        description="A training session gives one pair, for its last item (paper), or one for each but the first.",
    )
    tune: Literal["full", "lora", "none"] = Field(
        default="full",
        description="What learns the pairs: all weights, an adapter, or nothing (the base model is asked as it is).",
    )
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Type of the model's weights and arithmetic.")
    lora_rank: int = Field(default=16, ge=1, description="Rank of the adapter.")
    lora_alpha: float = Field(default=32.0, gt=0, description="Scale of the adapter, divided by its rank.")
    lora_dropout: float = Field(default=0.05, ge=0, lt=1, description="Dropout on the adapter's input.")
    prompt_weight: float = Field(
        default=0.0, ge=0, le=1, description="Weight in the loss of the prompt's tokens, where the completion's have 1."
    )
    batch_tokens: int = Field(default=2048, ge=16, description="Padded tokens of a step of tuning.")
    decoding: Literal["sample", "beam"] = Field(
        default="sample",
        description="Completions are drawn and counted (paper), or titles of the catalogue ranked by probability.",
    )
    samples: int = Field(default=20, ge=1, description="Completions drawn of each prompt; lists are at most so long.")
    temperature: float = Field(default=0.25, ge=0, description="Of the draws; 0 = the likeliest token each time.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the likeliest tokens that together have this mass."
    )
    beams: int = Field(default=40, ge=1, description="Open prefixes of each case (decoding='beam').")
    normalise: Normalise = Field(
        default="vocabulary",
        description="What a token's probability is a share of: all tokens, or those that continue a title.",
    )
    text: TextSource = Field(default_factory=TextSource, description="Finds the item nearest to what was written.")
    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate of AdamW.")
    warmup_steps: int = Field(default=50, ge=0, description="Steps over which the learning rate rises linearly from 0.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm; None = no clipping.")
    epochs: int = Field(
        default=10, ge=1, description="Most epochs of tuning; exactly this many without validation cases."
    )
    patience: int = Field(
        default=1, ge=1, description="Epochs without a lower validation loss after which tuning stops."
    )
    monitor: Literal["log_likelihood"] = Field(  # type: ignore[assignment]
        default="log_likelihood", description="Of the validation completions, a token: minus the validation loss."
    )


class LLMSeqPrompt(Recommender):
    """A language model that completes a list of titles."""

    paper: ClassVar[str] = "Harte et al., RecSys 2023, 10.1145/3604915.3610639"
    Config: ClassVar[type[Config]] = LLMSeqPromptConfig

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.history: list[dict[str, Any]] = []

    def _fit(
        self,
        split: Split,
        *,
        progress: Progress | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        config = self.config
        device_of(config.device)
        if config.tune == "lora":
            adapters("tune")
        titles = short_titles(split.catalog, config.title_words)
        with TemporaryDirectory() as scratch:
            home = Path(scratch if checkpoint is None else checkpoint)
            base = self._base(split, titles, home, progress)
            body = Backbone(self._body_config(base), seed=config.seed)
        writer = self._writing(titles, body)
        self.about |= {"seed": config.seed, "untitled_items": int((~writer.named[1:]).sum())}
        if config.tune != "none":
            self._tune(body, writer, split, progress=progress, log=log, checkpoint=checkpoint and checkpoint / "tuning")
        self.about["parameters"] = sum(p.numel() for p in body.model.parameters())
        self._counts = torch.from_numpy(split.counts())
        self._vectors = torch.zeros(split.catalog.size, 0)  # a search needs no encoder
        if config.decoding == "sample":
            self._vectors = pad(torch.from_numpy(config.text.vectors(split.catalog)), (0, 0, 1, 0))
        self._prepare(body)

    def _base(self, split: Split, titles: list[str], home: Path, progress: Progress | None) -> str:
        """The folder or name of the base model; one of the data's own is trained in ``home``, or taken up there
        where it was made by the same settings.

        Raises: DataError: the base model says that it read what ``split`` holds out, see ``check_corpora``.
        """
        config = self.config
        if config.base_model is not None:
            if not config.any_corpus:
                check_corpora(Path(config.base_model), split, f"base_model {config.base_model!r}", "any_corpus")
            return config.base_model
        settings = config.pretraining.model_copy(update={"seed": config.seed, "device": config.device})
        told = settings.model_dump(mode="json", exclude={"device"})
        home = home / f"base-{digest(8, settings=told, titles=config.title_words, items=config.max_items)}"
        if not (home / "config.json").is_file() or (home / "checkpoint").is_dir():
            texts = tuple(documents(titles, windows(split.train, config.max_items + 1)))
            source = {"dataset": split.dataset.name, "hash": split.dataset.hash, "split": dict(split.how)}
            corpus = Corpus(f"{split.dataset.name}: sessions", texts, source={**source, "kind": "sessions"})
            pretrain(corpus, home, settings, progress=progress)
        told = json.loads((home / "pretraining.json").read_text())
        self.about["pretraining"] = {k: told[k] for k in ("trained_tokens", "best_round", "seconds")} | {
            "perplexity": told["perplexity"][0]["token"]
        }
        return str(home)

    def _body_config(self, name: str, tune: Literal["none", "lora", "full"] | None = None) -> BackboneConfig:
        c = self.config
        adapter = {"lora_rank": c.lora_rank, "lora_alpha": c.lora_alpha, "lora_dropout": c.lora_dropout}
        return BackboneConfig(name=name, tune=tune or c.tune, dtype=c.dtype, **adapter)

    def _writing(self, titles: list[str], body: Backbone) -> SessionWriter:
        known = getattr(body.model.config, "max_position_embeddings", None)
        context = min(self.config.context, known or self.config.context)
        return SessionWriter(titles, body.tokenizer, context=context, max_items=self.config.max_items)

    def _tune(self, body: Backbone, writer: SessionWriter, split: Split, **options: Any) -> None:
        config = self.config
        pairs = Pairs(*writer.pairs(split.train, config.pairs == "all"), writer.completions)
        valid = None
        if split.valid is not None:
            valid = Pairs(*writer.pairs(split.valid.joined(), False), writer.completions)
            self.about["untuned"] = {"log_likelihood": PairNet(body, 0.0).log_likelihood(valid)} if len(valid) else None
        shared = {"batch_tokens": config.batch_tokens, "prompt_weight": config.prompt_weight}
        self.history = tune(body, pairs, valid, config, **shared, **options)
        self.about |= {"pairs": len(pairs), **outcome(self.history, "log_likelihood")}

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> Lists:
        """As in the contract; a history without a title is answered by popularity.

        ``diagnostics`` has the shares of completions that were invented, duplicate, barred or empty, or of lists that
        are proven exact.
        """
        told = self._writer.fitted(histories).lengths > 0
        answer = self._drawn if self.config.decoding == "sample" else self._searched
        self.diagnostics = {}
        return or_popular(answer, told, self._counts, histories, k, exclude_seen, candidates)

    def _drawn(self, histories: Sequences, k: int, exclude_seen: bool, candidates: NDArray[np.integer] | None) -> Lists:
        """Completions are drawn, counted, and mapped to items."""
        config = self.config
        sampling = Sampling(
            max_tokens=self._writer.longest,
            temperature=config.temperature,
            top_p=config.top_p,
            n=config.samples,
            stop=(COMPLETION_END,),
            seed=config.seed,
        )
        prompts = self._writer.tokens(self._writer.prompts(histories))
        drawn = complete(self._model, self._writer.tokenizer, prompts, sampling)
        completions = [[parse_completion(text) for text in texts] for texts in drawn]
        lists, written = self._slates.lists(completions, histories, k, exclude_seen=exclude_seen, candidates=candidates)
        self.diagnostics = written.to_dict()
        return lists

    def _searched(
        self, histories: Sequences, k: int, exclude_seen: bool, candidates: NDArray[np.integer] | None
    ) -> Lists:
        """Titles of the catalogue by their probability."""
        found = beam_search(
            self._model,
            self._writer.tokens(self._writer.prompts(histories)),
            self._trie,
            k,
            beams=self.config.beams,
            seen=histories if exclude_seen else None,
            candidates=candidates,
            normalise=self.config.normalise,
        )
        self.diagnostics = {"exact_lists": float(found.exact.mean())}
        return found.lists

    def _prepare(self, body: Backbone) -> None:
        """What answers are made with, from the tuned model, the item vectors and the counts."""
        config = self.config
        titles = short_titles(self.catalog, config.title_words)
        self._model = body.model.to(device_left(config.device)).requires_grad_(False).eval()
        self._writer = self._writing(titles, body)
        self._slates = SlateMaker(titles, self._counts.numpy(), self._vectors, config.text.embed_texts)
        named = np.flatnonzero(self._writer.named)
        ends = self._writer.completions.take(named)
        self._trie = Trie.build(ends.items, ends.offsets, named, body.size, self._counts.numpy())

    def export(self, folder: str | Path) -> Path:
        """Write the tuned language model as an ordinary Hugging Face folder, to be served or tuned on; returns it."""
        with quiet():
            self._model.save_pretrained(folder)
        self._writer.tokenizer.save_pretrained(folder)
        return Path(folder)

    def state(self) -> dict[str, Tensor]:
        """The language model with any adapter merged, the item vectors, and the counts."""
        return {**to_state(self._model, self._writer.tokenizer), "vectors": self._vectors, "counts": self._counts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._vectors, self._counts = state["vectors"], state["counts"]
        with as_folder(state) as folder:
            self._prepare(Backbone(self._body_config(str(folder), "none")))
