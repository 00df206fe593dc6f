"""From a split and a language model to lore: a text, in one or several versions, for each item or user.

Steps, each through the store, so that a run that was stopped goes on where it was:

1. the task itself: a prompt for each item or user, written from training interactions only (:mod:`.material`) and
   fitted to the model's context (:mod:`.fitting`);
2. ``denoise``: each text once more, to take the noise out (ReLRec's second stage, section 3.3);
3. ``versions``: the text that came of it is version 0; versions 1, 2, … say the same in other words (ReLRec, 2.1).

An answer that is not what was asked for (empty, or no JSON where JSON was) gives no text, nor does a prompt that has no
answer (one that a server refuses, say): in the first step the item or user goes without, in the second it keeps the
first text, in the third it lacks that version. Prompts without an answer are asked again by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import polars as pl
from pydantic import Field

from seqlore.config import Config, nearest
from seqlore.data import Split
from seqlore.errors import ConfigError
from seqlore.lore.book import COLUMNS, Lore, check_training, training_part
from seqlore.lore.cost import Estimate, estimate
from seqlore.lore.database import Origin, Subject
from seqlore.lore.fitting import fit
from seqlore.lore.material import ITEM_TASKS, USER_TASKS, Material, gather, reads_training
from seqlore.lore.model import LanguageModel, Prompt, PromptError, Sampling
from seqlore.lore.prompts import Facts, PromptSet, Task, choose
from seqlore.lore.store import LoreStore

#: Prompts without an answer of which lore says what was wrong.
FAILURES = 5


def check_task(name: str) -> Task:
    """``name``, if lore can be made of it. Raises: ConfigError: it cannot; names the nearest."""
    known = (*ITEM_TASKS, *USER_TASKS)
    if name not in known:
        raise ConfigError(f"unknown task {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return cast(Task, name)


class LoreSettings(Config):
    """How lore is made."""

    prompts: tuple[str, ...] = Field(
        default=(), description="Prompt sets instead of the built-in ones: TOML files or names."
    )
    words: dict[str, str] = Field(
        default={}, description='Domain words of the prompt sets, say items = "beauty products".'
    )
    versions: int = Field(default=1, ge=1, description="Wordings of each text; 1 = the text itself only.")
    denoise: bool = Field(default=False, description="Take the noise out of each text in a second step.")
    budget: int = Field(default=2048, ge=1, description="Most tokens of reviews, history or description in a prompt.")
    history: int | None = Field(default=150, ge=1, description="Most events of a user, the latest; None = all.")
    user_columns: tuple[str, ...] | None = Field(
        default=None, description="What of the users may be told; None = all columns."
    )
    sampling: dict[str, Any] = Field(
        default={}, description="Sampling other than the prompt sets', say max_tokens = 64."
    )
    structured: bool = Field(
        default=False, description="Have the server hold the model to the prompt set's JSON schema."
    )
    limit: int | None = Field(default=None, ge=1, description="Only the first so many items or users; None = all.")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far :func:`make_lore` is.

    Attributes:
        stage: "item-label", "denoise", …: stage ``number`` of ``stages``. done, total: texts of it.
        fresh: answers that the model has been asked for in the whole run. cost: of these; None = no price is known.
        seconds_left: of this stage, by its pace so far; None before the first fresh answer.
    """

    stage: str
    number: int
    stages: int
    done: int
    total: int
    fresh: int
    cost: float | None
    seconds_left: float | None


def make_lore(
    split: Split,
    task: Task,
    model: LanguageModel,
    store: LoreStore,
    settings: LoreSettings | None = None,
    *,
    profiles: Lore | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Lore:
    """Texts for ``task``: "item-knowledge", "item-attributes", "item-label", "user-preference" or "user-label".

    Only what ``store`` does not hold is asked. Args: profiles: lore about items whose texts join the prompts of
    "user-label" (RLMRec writes users' profiles so).

    Returns: the texts; ``about`` counts the prompts that have no answer as "failed", and says of the first
        :data:`FAILURES` what was wrong ("failures").

    Raises: ConfigError: settings or prompt sets do not fit, or the model's context is too short. DataError: the data
        has nothing to write from, or the store cannot be used. What keeps the model from answering any prompt; what it
        gave before is kept.
    """
    settings = settings or LoreSettings()
    plan = _Plan(task, settings, model)
    materials = _materials(split, task, settings, profiles)
    run = _Run(split, task, model, store, plan, progress)
    texts = run.stage(task, [m.subject for m in materials], [m.facts for m in materials])
    if settings.denoise:
        first = [m for m in materials if m.subject in texts]
        texts |= run.stage("denoise", [m.subject for m in first], _labelled(first, texts))
    subjects = [Subject(s.kind, s.id, v) for v in range(1, settings.versions) for s in texts]
    of = [texts[Subject(s.kind, s.id)] for s in subjects]
    variants = [{"label": (text,), "variant": (str(s.version - 1),)} for s, text in zip(subjects, of, strict=True)]
    if subjects:
        texts |= run.stage("reword", subjects, variants)
    about = {
        "task": task,
        "model": model.identity,
        "prompt_sets": {stage: prompts.name for stage, prompts in plan.sets.items()},
        "settings": settings.model_dump(mode="json"),
        "dataset": split.dataset.hash,
        "training": training_part(split) if reads_training(task) else None,
        "asked": len(materials),
        "fresh": run.fresh,
        "cut": run.cut,
        "failed": len(run.failures),
        "failures": run.failures[:FAILURES],
        "cost": run.cost,
    }
    rows = [(s.kind, s.id, s.version, text) for s, text in texts.items()]
    return Lore(pl.DataFrame(rows, schema=COLUMNS, orient="row"), about, split.catalog, split.users)


def plan_lore(
    split: Split,
    task: Task,
    model: LanguageModel,
    store: LoreStore,
    settings: LoreSettings | None = None,
    *,
    profiles: Lore | None = None,
) -> dict[str, Estimate]:
    """Stage → what :func:`make_lore` would ask beyond what is in the store; nothing is asked.

    Later stages are reckoned with texts as long as the first may make them, as if the store held nothing of them.
    """
    settings = settings or LoreSettings()
    plan = _Plan(task, settings, model)
    materials = _materials(split, task, settings, profiles)
    prompts = plan.prompts(task, [m.facts for m in materials])
    sampling = plan.sampling(task)
    missing = store.missing(model, prompts, sampling)
    out = {task: estimate(model, [prompts[i] for i in missing], sampling)}
    longest = _words(model, sampling.max_tokens)
    texts = {m.subject: longest for m in materials}
    if settings.denoise:
        prompts = plan.prompts("denoise", _labelled(materials, texts))
        out["denoise"] = estimate(model, prompts, plan.sampling("denoise"))
    if settings.versions > 1:
        variants = [{"label": (longest,), "variant": (str(v),)} for v in range(settings.versions - 1)]
        prompts = plan.prompts("reword", variants) * len(materials)
        out["reword"] = estimate(model, prompts, plan.sampling("reword"))
    return out


def _words(model: LanguageModel, tokens: int) -> str:
    """A text of about so many tokens."""
    none, hundred = model.count_tokens([Prompt(""), Prompt("wording " * 100)])
    return " ".join(["wording"] * max(1, round(tokens * 100 / max(1, hundred - none))))


def _materials(split: Split, task: Task, settings: LoreSettings, profiles: Lore | None) -> list[Material]:
    about = None
    if profiles is not None:
        if task != "user-label":
            raise ConfigError(f"profiles of items are for task 'user-label' and not for {task!r}: leave them out")
        check_training(profiles.about, split, "profiles")
        about = dict(zip(split.catalog.ids, profiles.texts("item"), strict=True))
    found = gather(split, task, history=settings.history, profiles=about, user_columns=settings.user_columns)
    return found[: settings.limit]


def _labelled(materials: Sequence[Material], texts: dict[Subject, str]) -> list[Facts]:
    """What the noise is taken out of, and what it was written from."""
    return [
        {"label": (texts[m.subject],), "title": m.facts.get("title", ()), "reviews": m.facts.get("reviews", ())}
        for m in materials
    ]


class _Plan:
    """The prompt sets and samplings of each stage, checked before anything is asked."""

    def __init__(self, task: Task, settings: LoreSettings, model: LanguageModel) -> None:
        stages: list[Task] = [task]
        if settings.denoise:
            stages.append("denoise")
        if settings.versions > 1:
            stages.append("reword")
        self.settings, self.model = settings, model
        self.sets: dict[str, PromptSet] = {stage: choose(stage, settings.prompts) for stage in stages}
        for given in map(PromptSet.load, settings.prompts):
            if given.task not in self.sets:
                raise ConfigError(
                    f"prompt set {given.name} is for {given.task!r}; this run has the steps {', '.join(stages)}; "
                    "leave it out, or ask for its step"
                )
        self.sets[task] = self.sets[task].with_words(settings.words)
        for stage in stages[1:]:
            known = {word: v for word, v in settings.words.items() if word in self.sets[stage].words}
            self.sets[stage] = self.sets[stage].with_words(known)
        if settings.versions > 1 and settings.versions - 1 > len(wordings := self.sets["reword"].wordings):
            raise ConfigError(
                f"versions = {settings.versions}: prompt set {self.sets['reword'].name} has {len(wordings)} wordings, "
                f"so at most {len(wordings) + 1} versions; add wordings in a prompt set of your own"
            )
        if "n" in settings.sampling:
            raise ConfigError("sampling: n has no place here; set versions for several wordings of a text")
        for stage in stages:
            self.sampling(stage)

    def sampling(self, stage: str) -> Sampling:
        """That of the prompt set, as the settings change it; a text said again may be as long as it was at first."""
        prompts, first = self.sets[stage], next(iter(self.sets.values()))
        schema = prompts.json_schema if self.settings.structured else None
        longest = max(prompts.sampling.max_tokens, first.sampling.max_tokens)
        given = {**prompts.sampling.model_dump(), "max_tokens": longest, "json_schema": schema}
        given |= self.settings.sampling
        return Sampling.parse(given, "sampling")

    def prompts(self, stage: str, facts: Sequence[Facts]) -> list[Prompt]:
        return fit(facts, self.sets[stage], self.model, self.sampling(stage), self.settings.budget)


@dataclass
class _Run:
    """One stage after the other, with what has been asked and paid so far."""

    split: Split
    task: str
    model: LanguageModel
    store: LoreStore
    plan: _Plan
    progress: Callable[[Progress], None] | None
    fresh: int = 0
    cost: float | None = 0.0
    cut: int = 0
    failures: list[str] = field(default_factory=list)
    number: int = field(default=0, init=False)

    def stage(self, stage: str, subjects: Sequence[Subject], facts: Sequence[Facts]) -> dict[Subject, str]:
        """The texts that came, in the order of ``subjects``."""
        self.number += 1
        prompts, sampling = self.plan.prompts(stage, facts), self.plan.sampling(stage)
        chosen, texts = self.plan.sets[stage], [""] * len(prompts)
        split = training_part(self.split) if reads_training(self.task) else ""
        origin = Origin(self.task, stage, chosen.name, chosen.digest, self.split.dataset.hash, split)
        todo = len(self.store.missing(self.model, prompts, sampling))
        started, before = time.monotonic(), self.fresh
        telling = self.store.ask(self.model, prompts, sampling, origin=origin, subjects=subjects)
        # A model that reads facts does not read that JSON with the text in it is wanted, and gives the text.
        plain = self.model.reads_facts and chosen.answer != "json"
        try:
            for done, told in enumerate(telling, start=1):
                said = told.answer.texts[0]
                texts[told.index] = said.strip() if plain else chosen.read(said)
                self.cut += told.answer.finish[0] == "length"
                if told.fresh:
                    self.fresh += 1
                    cost = told.answer.cost
                    self.cost = None if self.cost is None or cost is None else self.cost + cost
                if self.progress is not None:
                    fresh = self.fresh - before
                    left = (time.monotonic() - started) / fresh * max(0, todo - fresh) if fresh else None
                    counts = (self.number, len(self.plan.sets), done, len(prompts))
                    self.progress(Progress(stage, *counts, self.fresh, self.cost, left))
        except PromptError as error:
            self.failures += error.failures.values()
        return {subject: text for subject, text in zip(subjects, texts, strict=True) if text}
