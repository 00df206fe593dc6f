"""RecSysLLM: a GLM, tuned to read items and attributes as entities, recommends by writing the next title.

Chu et al., "Leveraging Large Language Models for Pre-trained Recommender Systems", 2023 (arXiv 2308.10837): masks of
whole entities, blanks in chronological order, entity positions, and their automaton when the model writes. The history
is text with a mask where the next title belongs; what may be written is the catalogue's trie, less what was seen.

Differs: any GLM in a folder stands in place of GLM-10B, and where none is named a small one is first pretrained on the
texts of the training part; a tail of titles is learned in one pass, each in a blank of its own (``rolling``); an empty
history is answered by popularity. Items that share a title share its probability (:mod:`seqlore.language.trie`).
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from seqlore.config import Config, digest
from seqlore.data import Cases, Sequences, Split
from seqlore.errors import ConfigError
from seqlore.evaluation import metrics
from seqlore.glm.causal import load_causal
from seqlore.glm.folder import body_state, saved_body
from seqlore.glm.histories import lead_of, user_texts
from seqlore.glm.learning import Curriculum, HistoryWriter
from seqlore.glm.likelihood import item_scores
from seqlore.glm.marks import load_tokenizer, make_tokenizer
from seqlore.glm.model import GLM
from seqlore.glm.names import item_names
from seqlore.glm.original import is_glm, load_glm
from seqlore.glm.outlook import largest_share
from seqlore.glm.positions import Automaton, PositionConfig, entity_trie
from seqlore.glm.pretrain import SHAPES, GLMPretrainConfig, checked_start, pretrain_glm, split_texts
from seqlore.glm.spans import MaskConfig
from seqlore.glm.texts import Entity, Text, Writer
from seqlore.glm.training import BlankNet, add_lora
from seqlore.glm.tree import BlankTree
from seqlore.glm.windows import WindowConfig
from seqlore.language.decoding import Normalise, beam_search
from seqlore.language.loading import adapters
from seqlore.language.trie import title_trie
from seqlore.language.tuning import merge
from seqlore.lore.corpus import AnyCorpus, check_corpora
from seqlore.ranking import Lists, mask_, or_popular, top_k
from seqlore.recommender import Recommender
from seqlore.training import TrainConfig, train
from seqlore.training.device import device_left, device_of
from seqlore.training.loop import Progress


class RecSysLLMConfig(TrainConfig):
    """Settings of RecSysLLM. Those of training are the tuning's."""

    base_model: str | None = Field(
        default=None,
        description="Folder of a GLM, ours or an original checkpoint, or of another causal model, which then gets the "
        "mechanism as an addition; None = a GLM of the data's own.",
    )
    any_corpus: AnyCorpus = False
    pretraining: GLMPretrainConfig = Field(
        default_factory=lambda: GLMPretrainConfig.parse({}, "pretraining"),
        description="Shape and pretraining of that one.",
    )
    start: Literal["pretrained", "random"] = Field(
        default="pretrained", description="Random leaves the pretraining out: tuning from scratch, the ablation."
    )
    title_words: Annotated[int, Field(ge=1)] | Literal["distinct"] | None = Field(
        default=8, description="Words of a title; None = all; 'distinct' = as few as tell it from others."
    )
    user_features: bool = Field(default=True, description="Write the columns of the users' table before the history.")
    max_items: int = Field(default=20, ge=1, description="Latest items of a history that are told.")
    masks: MaskConfig = Field(default_factory=MaskConfig, description="What of a history is blanked.")
    positions: PositionConfig = Field(default_factory=PositionConfig, description="Rule of the position ids.")
    windows: WindowConfig = Field(default_factory=WindowConfig, description="Long-, medium- and short-term histories.")
    masked: float = Field(
        default=0.3, ge=0, lt=1, description="Share of texts that are masked histories, not next titles."
    )
    rolling: float = Field(
        default=0.5, ge=0, le=1, description="Share of next-title texts that ask for a whole tail, title by title."
    )
    tune: Literal["full", "lora"] = Field(
        default="full", description="What learns: all weights, or an adapter (paper)."
    )
    lora_rank: int = Field(default=8, ge=1, description="Rank of the adapter.")
    lora_alpha: float = Field(default=16.0, gt=0, description="Scale of the adapter, divided by its rank.")
    lora_dropout: float = Field(default=0.05, ge=0, lt=1, description="Dropout on the adapter's input.")
    batch_tokens: int = Field(default=2048, ge=16, description="Padded tokens of a step of tuning.")
    decoding: Literal["beam", "exact"] = Field(
        default="beam", description="Search titles with beams, or score them all (slow; candidate lists always are)."
    )
    beams: int = Field(default=80, ge=1, description="Open prefixes of each case.")
    outlook: bool = Field(
        default=True, description="Choose beams by what the likeliest title below a prefix may have, not by its all."
    )
    normalise: Normalise = Field(
        default="vocabulary",
        description="What a title's token is a share of, in training and search: all tokens, or what may follow there.",
    )
    valid_cases: int | None = Field(default=1000, ge=1, description="At most so many validation cases; None = all.")
    learning_rate: float = Field(
        default=3e-3, gt=0, description="Peak learning rate of AdamW; 1e-5 for GLM-10B (paper)."
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="Course of the learning rate after warm-up."
    )
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm; None = no clipping.")
    epochs: int = Field(default=8, ge=1, description="Most epochs of tuning (paper: 8).")
    patience: int = Field(default=2, ge=1, description="Validations without improvement after which tuning stops.")
    monitor: Literal["log_likelihood", "ndcg@10", "hr@10"] = Field(  # type: ignore[assignment]
        default="log_likelihood", description="Of validation titles, a token; or what beams find."
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        return checked_start(self)


class RecSysLLM(Recommender):
    """A GLM that fills in the next title."""

    paper: ClassVar[str] = "Chu et al., 2023, arXiv 2308.10837"
    Config: ClassVar[type[Config]] = RecSysLLMConfig
    uses_users: ClassVar[bool] = True

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
        titles = item_names(split.catalog, config.title_words)
        users = user_texts(split) if config.user_features else []
        self._counts = torch.from_numpy(split.counts())
        self.about |= {"seed": config.seed, "untitled_items": sum(not t for t in titles[1:])}
        with TemporaryDirectory() as scratch:
            body, writer = self._body(split, titles, Path(scratch if checkpoint is None else checkpoint), progress)
        self._prepare(body, writer, users)
        if config.tune == "lora":
            add_lora(body, config.lora_rank, config.lora_alpha, config.lora_dropout, config.seed)
        self._tune(split, progress=progress, log=log, checkpoint=checkpoint and checkpoint / "tuning")
        if config.tune == "lora":
            merge(body)
        body.requires_grad_(False).eval()
        self._place()

    def _body(self, split: Split, titles: list[str], home: Path, progress: Progress | None) -> tuple[Any, Writer]:
        """The body to tune and its tokenizer; one of the data's own is pretrained in ``home``, or taken up there."""
        config = self.config
        torch.manual_seed(config.seed)
        if config.base_model is None and config.start == "random":
            texts = [*split_texts(split, config.pretraining.corpus), *titles[1:]]
            size = config.pretraining.vocabulary or SHAPES[config.pretraining.shape][3]
            writer = Writer(make_tokenizer(texts, size))
            return GLM(config.pretraining.shaped(writer.size)), writer
        settings = config.pretraining.model_copy(update={"seed": config.seed, "device": config.device})
        made = digest(8, settings=settings.model_dump(mode="json", exclude={"device"}))
        folder = Path(config.base_model or home / f"base-{made}")
        if config.base_model is None and not (folder / "pretraining.json").is_file():
            pretrain_glm(split, folder, settings, progress=progress, checkpoint=home / f"pretraining-{made}")
        elif config.base_model is not None and not config.any_corpus:
            check_corpora(folder, split, f"base_model {config.base_model!r}", "any_corpus")
        if (folder / "pretraining.json").is_file():
            told = json.loads((folder / "pretraining.json").read_text())
            self.about["pretraining"] = {key: value for key, value in told.items() if key != "corpora"}
        if not is_glm(folder):
            body, tokenizer = load_causal(folder, config.seed)
            return body, Writer(tokenizer)
        return load_glm(folder), Writer(load_tokenizer(folder))

    def _prepare(self, body: Any, writer: Writer, users: list[Text]) -> None:
        """What questions and answers are made with."""
        config = self.config
        titles = item_names(self.catalog, config.title_words)
        values = {p.text for user in users for p in user if isinstance(p, Entity)}

        def encode(texts: list[str]) -> list[list[int]]:
            return [tokens.tolist() for tokens in writer.entities(texts)]

        pool = entity_trie(encode([*titles, *sorted(values)]), writer.size)
        automaton = Automaton(pool, writer.marks.start, config.positions)
        self._glm, self._users = body, users
        lead = lead_of(self.catalog)
        self._histories = HistoryWriter(writer, titles, users, automaton, body.longest, config.max_items, lead)
        self._trie = title_trie(titles[1:], encode, body.size, end=writer.marks.end, counts=self._counts.numpy()).trie
        self._outlook = largest_share(self._trie, self._counts.numpy())

    def _tune(self, split: Split, **options: Any) -> None:
        config, body, histories = self.config, self._glm, self._histories
        learn = split.train.where(histories.named[split.train.items])
        curriculum = Curriculum(
            histories=histories,
            train=learn.take(learn.lengths >= 2),
            masks=config.masks,
            windows=config.windows,
            masked=config.masked,
            rolling=config.rolling,
            batch_tokens=config.batch_tokens,
            seed=config.seed,
            shuffle=split.how.get("ties") == "shuffled",
        )
        valid = split.valid if split.valid is not None and len(split.valid) else None
        if valid is not None and config.valid_cases is not None and len(valid) > config.valid_cases:
            valid = valid.take(np.random.default_rng(config.seed).choice(len(valid), config.valid_cases, replace=False))
        net = BlankNet(body, self._trie if config.normalise == "children" else None)
        held = None if valid is None else histories.cases(valid)

        def validate() -> dict[str, float]:
            assert held is not None
            assert valid is not None
            found = {"log_likelihood": net.log_likelihood(held)}
            return found if config.monitor == "log_likelihood" else found | self._accuracy(valid)

        watched = validate if held is not None and len(held) else None
        self.history = train(net, curriculum.batches, config, validate=watched, **options)
        scored = [row for row in self.history if "valid" in row]
        best = max(scored, key=lambda row: row["valid"][config.monitor]) if scored else self.history[-1]
        self.about |= {
            "epochs": len(self.history),
            "best_epoch": best["epoch"],
            "valid": best.get("valid"),
            "parameters": sum(p.numel() for p in body.parameters()),
            "tokens": histories.pace.tokens,
            "tokens_per_second": round(histories.pace.tokens / sum(row["seconds"] for row in self.history)),
            "collated_tokens_per_second": round(histories.pace.rate),
        }

    def _accuracy(self, cases: Cases) -> dict[str, float]:
        self._place()
        position = metrics.positions(self.rank(cases.histories, 10).items, cases.targets)
        return {
            "hr@10": float(metrics.hit_rate(position, 10).mean()),
            "ndcg@10": float(metrics.ndcg(position, 10).mean()),
        }

    def _place(self) -> None:
        """Put what searches need where the body is."""
        device = self._glm.device
        self._trie = self._trie.to(device)
        self._automaton = self._histories.automaton.to(device)

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> Lists:
        """As in the contract; a history without a title is answered by popularity, candidate lists are scored exactly.

        ``diagnostics`` has the share of lists that are proven exact.
        """
        told = self._histories.fitted(histories).lengths > 0
        self.diagnostics = {}
        listed = candidates is not None and candidates.ndim == 2
        answer = self._scored if listed or self.config.decoding == "exact" else self._searched
        return or_popular(answer, told, self._counts, histories, k, exclude_seen, candidates)

    def _searched(
        self, histories: Sequences, k: int, exclude_seen: bool, candidates: NDArray[np.integer] | None
    ) -> Lists:
        found = beam_search(
            self._glm,
            self._histories.questions(histories),
            self._trie,
            k,
            beams=self.config.beams,
            seen=histories if exclude_seen else None,
            candidates=candidates,
            normalise=self.config.normalise,
            grow=lambda body, asked: BlankTree(body, asked, self._automaton),
            outlook=self._outlook if self.config.outlook else None,
        )
        self.diagnostics = {"exact_lists": float(found.exact.mean())}
        return found.lists

    def log_likelihoods(self, histories: Sequences, candidates: NDArray[np.integer] | None = None) -> Tensor:
        """Exact log-probabilities of items as next titles, [n, size]; −∞ outside ``candidates`` ([c] or [n, c])."""
        asked, size = self._histories.questions(histories), self.catalog.size
        return item_scores(
            self._glm,
            asked,
            self._trie,
            self._automaton,
            size=size,
            candidates=candidates,
            normalise=self.config.normalise,
        )

    def _scored(
        self, histories: Sequences, k: int, exclude_seen: bool, candidates: NDArray[np.integer] | None
    ) -> Lists:
        scores = self.log_likelihoods(histories, candidates)
        mask_(scores, histories, exclude_seen=exclude_seen, candidates=candidates)
        items, values = top_k(scores, k)
        return Lists(items.cpu().numpy().astype(np.int32), values.cpu().numpy())

    def export(self, folder: str | Path) -> Path:
        """Write the tuned GLM and its tokenizer, to be tuned on as ``base_model``; returns the folder.

        Raises: ConfigError: the body is no GLM.
        """
        if not isinstance(self._glm, GLM):
            raise ConfigError("export writes GLMs; this body is another causal model: save the recommender instead")
        self._histories.writer.tokenizer.save(str(self._glm.save(folder) / "tokenizer.json"))
        return Path(folder)

    def state(self) -> dict[str, Tensor]:
        """The GLM with any adapter merged, tokenizer, users' features and counts."""
        return {**body_state(self._glm, self._histories.writer.tokenizer, self._users), "counts": self._counts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._counts = state["counts"]
        body, tokenizer, users = saved_body(state)
        self._prepare(body.to(device_left(self.config.device)).requires_grad_(False).eval(), Writer(tokenizer), users)
        self._place()
