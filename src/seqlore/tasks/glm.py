"""All families from one model: a GLM that is tuned on a mixture of tasks, with the mechanism of Chu et al. 2023.

Chu et al., "Leveraging Large Language Models for Pre-trained Recommender Systems" (arXiv 2308.10837): examples of five
families, written by many prompts, tune one GLM; items and attributes are entities in all of them. A share of masked
histories is mixed in (:mod:`seqlore.glm.learning`): blanks of entities, sentences and tails, in windows of the long,
the medium and the short term. Answers are spans of part B: stars by the likelihood of each, texts written token by
token, items by exact likelihood or by beams over the trie of titles.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from seqlore.data import Sequences, Split
from seqlore.glm.blanks import Blanked, blank
from seqlore.glm.causal import load_causal
from seqlore.glm.folder import body_state, saved_body
from seqlore.glm.histories import lead_of
from seqlore.glm.learning import HistoryWriter, masked_too
from seqlore.glm.likelihood import item_scores
from seqlore.glm.marks import load_tokenizer, make_tokenizer
from seqlore.glm.model import GLM
from seqlore.glm.numbers import smooth_rows
from seqlore.glm.original import is_glm, load_glm
from seqlore.glm.outlook import largest_share
from seqlore.glm.positions import Automaton, entity_trie
from seqlore.glm.pretrain import SHAPES, pretrain_glm, split_texts
from seqlore.glm.texts import Blank, Entity, Example, Text, Writer
from seqlore.glm.training import BlankNet, add_lora, batches
from seqlore.glm.tree import BlankTree, Question, questions
from seqlore.language.decoding import beam_search
from seqlore.language.loading import adapters
from seqlore.language.trie import title_trie
from seqlore.language.tuning import merge
from seqlore.lore.corpus import check_corpora
from seqlore.ranking import mask_, top_k
from seqlore.tasks.folder import read_folder, write_folder
from seqlore.tasks.glm_config import TaskGLMConfig
from seqlore.tasks.material import Material
from seqlore.tasks.mixing import Mixture
from seqlore.tasks.naming import Titles
from seqlore.tasks.prompts import as_text
from seqlore.tasks.room import Room
from seqlore.training import train
from seqlore.training.batches import shuffle_ties
from seqlore.training.device import device_left, device_of
from seqlore.version import __version__

#: Examples that are blanked together; a batch is drawn from so many.
TOGETHER = 4096
#: Questions that are answered together.
ASKED = 64
#: Questions from which the tokenizer of a GLM of the data's own learns their words.
WORDED = 8192


class TaskGLM:
    """A GLM for all families.

    Attributes: history: of the tuning, an entry an epoch. room: what the body reads, and how many questions were cut
    since the fit. learned_cut: family → examples that were cut in it, each time that they were read.
    """

    def __init__(self, config: TaskGLMConfig | None = None) -> None:
        self.config = config or TaskGLMConfig.parse({}, "TaskGLM")
        self.history: list[dict[str, Any]] = []
        self.learned_cut: dict[str, int] = {}

    def fit(
        self,
        material: Material,
        *,
        bodies: Path | None = None,
        checkpoint: Path | None = None,
        log: Path | None = None,
    ) -> Self:
        """Tune on the training part.

        Args: bodies: where pretrained bodies are kept, each in a folder by what made it; None = nowhere. checkpoint,
            log: of the loop.

        Raises: ConfigError: the body's context has no room for a question, or the device is not there.
            MissingExtraError: tune = "lora", and peft is not installed.
        """
        config, split = self.config, material.tasks.split
        device_of(config.device)
        if config.tune == "lora":
            adapters("tune")
        self.naming = Titles.of(split, config.title_words, material.config.user_features)
        mixture = Mixture(material, self.naming, config.mixture, config.seed)
        torch.manual_seed(config.seed)
        self._writer, self._body = self._start(split, mixture, bodies)
        tokens = config.base_model is None if config.number_tokens is None else config.number_tokens
        if tokens and (numbers := material.numbers(mixture.families)):
            first = self._writer.size
            self._writer = Writer(self._writer.tokenizer, numbers)
            smooth_rows(self._body.widen(self._writer.size), first, len(numbers), config.seed)
        self._prepare(material.values(mixture.families), split.counts())
        mixture.room = self.room
        if config.tune == "lora":
            add_lora(self._body, config.lora_rank, 2.0 * config.lora_rank, 0.05, config.seed)
        self._tune(material, mixture, checkpoint, log)
        if config.tune == "lora":
            merge(self._body)
        self.learned_cut = dict(self.room.cut)
        self.room.cut.clear()
        return self._placed()

    def _prepare(self, values: Collection[str], counts: NDArray[np.integer]) -> None:
        """What questions and answers are made with.

        Args: values: what prompts tell as entities, beside users and items. counts: of items in training.
        """
        writer, config = self._writer, self.config
        titles, self._values, self._counts = [e.text for e in self.naming.items], sorted(values), counts
        of_users = {p.text for user in self.naming.users for p in user if isinstance(p, Entity)}

        def encode(texts: list[str]) -> list[list[int]]:
            return [tokens.tolist() for tokens in writer.entities(texts)]

        pool = entity_trie(encode([*titles, *sorted(of_users | set(values))]), writer.size)
        self._automaton = Automaton(pool, writer.marks.start, config.positions)
        self._trie = title_trie(titles[1:], encode, self._body.size, end=writer.marks.end, counts=counts).trie
        self._size, self._outlook = len(titles), largest_share(self._trie, counts)
        # Beside a question stand [CLS] and the mask, beside an answer its start mark.
        longest = self._body.longest - 2
        self.room = Room(lambda texts: writer.write(texts)[0].lengths, longest, longest)

    def _placed(self) -> Self:
        """Ready to answer, with what searches need where the body is."""
        self._body.requires_grad_(False).eval()
        self._device = self._body.device
        self._trie, self._moved = self._trie.to(self._device), self._automaton.to(self._device)
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model, any adapter merged; returns the folder."""
        told = {
            "settings": self.config.model_dump(mode="json"),
            "items": [e.text for e in self.naming.items],
            "values": self._values,
            "numbers": self._writer.numbers,
            "history": self.history,
            "learned_cut": self.learned_cut,
        }
        state = body_state(self._body, self._writer.tokenizer, list(self.naming.users))  # type: ignore[arg-type]
        return write_folder(folder, "TaskGLM", told, {**state, "counts": torch.from_numpy(np.asarray(self._counts))})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What :meth:`save` wrote; it answers as it did. Raises: DataError: there is none, or it is damaged."""
        told, state = read_folder(folder, "TaskGLM")
        model = cls(TaskGLMConfig.parse(told["settings"], str(folder)))
        body, tokenizer, users = saved_body(state)
        model._body = body.to(device_left(model.config.device))
        model._writer = Writer(tokenizer, told.get("numbers", ()))
        model.naming = Titles([Entity(text, i) for i, text in enumerate(told["items"])], users)  # type: ignore[arg-type]
        model.history, model.learned_cut = told["history"], told["learned_cut"]
        model._prepare(told["values"], state["counts"].numpy())
        return model._placed()

    def _start(self, split: Split, mixture: Mixture, bodies: Path | None) -> tuple[Writer, Any]:
        config = self.config
        if config.base_model is not None:
            folder = Path(config.base_model)
            if not config.any_corpus:
                check_corpora(folder, split, f"base_model {config.base_model!r}", "any_corpus")
            if is_glm(folder):
                return Writer(load_tokenizer(folder)), load_glm(folder)
            body, tokenizer = load_causal(folder, config.seed)
            return Writer(tokenizer), body
        asked = [as_text(e.question[:-1]) for e in islice(mixture.epoch(0), WORDED)]  # type: ignore[arg-type]
        if config.start == "pretrained":
            with TemporaryDirectory() as scratch:
                folder = _pretrained(split, config, asked, Path(scratch) if bodies is None else bodies)
                return Writer(load_tokenizer(folder)), load_glm(folder)
        texts = [*split_texts(split, config.pretraining.corpus), *asked]
        writer = Writer(make_tokenizer(texts, config.pretraining.vocabulary or SHAPES[config.pretraining.shape][3]))
        return writer, GLM(config.pretraining.shaped(writer.size))

    def _blanked(self, texts: Sequence[Text], masked: int = 0, rng: np.random.Generator | None = None) -> Blanked:
        """Args: masked: how many texts at the end have no blank, and get some by ``rng``."""
        documents, spans = self._writer.write(texts)
        if rng is None:
            return blank(documents, spans, self._writer.marks, self._automaton)
        masks, rows = self.config.masks, np.arange(len(texts) - masked, len(texts))
        spans = masked_too(documents, spans, rows, masks, rng)
        order = None if masks.chronological else rng
        return blank(documents, spans, self._writer.marks, self._automaton, order)

    def _tune(self, material: Material, mixture: Mixture, checkpoint: Path | None, log: Path | None) -> None:
        config, split = self.config, material.tasks.split
        net = BlankNet(self._body, self._trie if config.normalise == "children" else None, config.average)
        asked_share = 1 - config.rolling - config.masked

        def drawn(
            learn: Sequences, asked: int, share: float, rng: np.random.Generator, tails: bool = False
        ) -> list[Text]:
            if histories is None:
                return []
            return histories.drawn(learn, round(asked * share / asked_share), config.windows, rng, tails)

        def parts(epoch: int) -> Iterator[Blanked]:
            examples, rng = iter(mixture.epoch(epoch)), np.random.default_rng((config.seed, epoch, 1))
            learn = shuffle_ties(split.train, rng) if split.how.get("ties") == "shuffled" else split.train
            while several := list(islice(examples, TOGETHER)):
                tails = drawn(learn, len(several), config.rolling, rng, tails=True)
                masked = drawn(learn, len(several), config.masked, rng)
                extra = len(tails) + len(masked)
                weights = [mixture.weight(e) for e in several] + [1.0] * extra
                titled = [e.names_item for e in several] + [True] * extra
                made = self._blanked([*(e.text for e in several), *tails, *masked], len(masked), rng)
                yield replace(made, weights=np.array(weights, np.float32), titled=np.array(titled))

        def of_epoch(epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
            return batches(parts(epoch), config.batch_tokens, np.random.default_rng((config.seed, epoch)), shard)

        held = mixture.held(config.valid_cases)
        asked = self._blanked([e.text for e in held]) if held else None
        if asked is not None:
            asked = replace(asked, titled=np.array([e.names_item for e in held]))
        histories = self._histories(material) if asked_share < 1 else None
        watch = None if asked is None else lambda: {"log_likelihood": net.log_likelihood(asked)}
        self.history = train(net, of_epoch, config, validate=watch, checkpoint=checkpoint, log=log)

    def _histories(self, material: Material) -> HistoryWriter:
        """What writes histories that are masked."""
        titles, users = [e.text for e in self.naming.items], [tuple(user) for user in self.naming.users]
        at_most, lead = material.config.max_items, lead_of(material.tasks.split.catalog)
        return HistoryWriter(self._writer, titles, users, self._automaton, self._body.longest, at_most, lead)

    def _chunks(self, asked: Sequence[Example]) -> Iterator[tuple[slice, BlankTree]]:
        for start in range(0, len(asked), ASKED):
            rows = slice(start, start + ASKED)
            found = questions(self._blanked([e.question for e in asked[rows]]))
            yield rows, BlankTree(self._body, found, self._moved)

    @torch.no_grad()
    def stars(self, asked: Sequence[Example]) -> NDArray[np.floating]:
        """Of each number of stars, its tokens and the end mark."""
        filled = [_filled(e, str(n)) for e in asked for n in range(1, 6)]
        out = np.zeros(len(filled))
        net = BlankNet(self._body)
        for start in range(0, len(filled), 5 * ASKED):
            part = self._blanked(filled[start : start + 5 * ASKED])
            # All of one batch: a target's document is told by its place.
            batch = part.batch(np.arange(len(part.lengths)))
            batch = type(batch)(*(t.to(self._device) for t in batch))
            row = (batch.at // batch.ids.shape[1]).cpu().numpy()
            out[start : start + 5 * ASKED] = -np.bincount(row, net.losses(batch).cpu().numpy(), len(part.lengths))
        return out.reshape(-1, 5)

    @torch.no_grad()
    def write(self, asked: Sequence[Example]) -> list[str]:
        """The likeliest token each time."""
        end, out = self._writer.marks.end, []
        for _, tree in self._chunks(asked):
            token = tree.root()[:, 0].argmax(1)
            rows = [token]
            first = torch.zeros(len(token), 1, dtype=torch.int64, device=token.device)
            done = token == end
            while not done.all() and len(rows) < self.config.answer_tokens:
                token = tree.grow(first, token[:, None])[:, 0].argmax(1)
                rows.append(token)
                done |= token == end
            for ids in torch.stack(rows, 1).tolist():
                out.append(self._writer.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids).strip())
        return out

    @torch.no_grad()
    def score(self, asked: Sequence[Example], candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """Exact log-likelihoods of titles."""
        out = np.zeros(candidates.shape, np.float64)
        for start in range(0, len(asked), ASKED):
            rows = slice(start, start + ASKED)
            found = questions(self._blanked([e.question for e in asked[rows]]))
            all_ = self._exact(found, candidates[rows])
            out[rows] = np.take_along_axis(all_.cpu().numpy(), candidates[rows].astype(np.int64), 1)
        return out

    @torch.no_grad()
    def search(self, asked: Sequence[Example], seen: Sequences, k: int) -> NDArray[np.integer]:
        """Of the trie of titles, less what was seen."""
        if self.config.decoding == "exact":
            return self._searched(asked, seen, k)
        found = questions(self._blanked([e.question for e in asked]))
        return beam_search(
            self._body,
            found,
            self._trie,
            k,
            beams=self.config.beams,
            seen=seen,
            grow=lambda body, some: BlankTree(body, some, self._moved),
            normalise=self.config.normalise,
            outlook=self._outlook,
        ).lists.items

    def _exact(self, asked: Sequence[Question], candidates: NDArray[np.integer] | None = None) -> torch.Tensor:
        how = {"size": self._size, "candidates": candidates, "normalise": self.config.normalise}
        return item_scores(self._body, asked, self._trie, self._moved, **how)

    def _searched(self, asked: Sequence[Example], seen: Sequences, k: int) -> NDArray[np.integer]:
        found = np.zeros((len(asked), k), np.int32)
        for start in range(0, len(asked), ASKED):
            rows = slice(start, start + ASKED)
            some = questions(self._blanked([e.question for e in asked[rows]]))
            scores = self._exact(some)
            mask_(scores, seen.take(rows), exclude_seen=True)
            found[rows] = top_k(scores, k)[0].cpu().numpy()
        return found


def _pretrained(split: Split, config: TaskGLMConfig, asked: list[str], bodies: Path) -> Path:
    """The folder among ``bodies`` of the body that the settings make of a split, with words for what is asked; made
    there if it is not yet."""
    settings = config.pretraining.model_copy(update={"seed": config.seed, "device": config.device})
    told = settings.model_dump(mode="json", exclude={"device"})
    made = [__version__, split.dataset.hash, split.describe(), told, asked]
    folder = bodies / hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    if not (folder / "pretraining.json").is_file():  # which is written last
        pretrain_glm(split, folder, settings, words=asked, checkpoint=folder / "checkpoint")
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return folder


def _filled(example: Example, answer: str) -> Text:
    return tuple(Blank((answer,), p.level) if isinstance(p, Blank) else p for p in example.text)
