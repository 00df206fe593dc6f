"""The work of a study: trials one after the other, in this process or in several, until a rule ends the search."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import DBAPIError

from seqlore.errors import ConfigError, DataError, SeqloreError
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import Journal
from seqlore.experiment.overrides import merged
from seqlore.experiment.recipe import Recipe
from seqlore.experiment.screen import Screen
from seqlore.tuning.objective import Fold, judge, validation_folds
from seqlore.tuning.results import NAMES, best_of, ended, summary, write_results, write_tables
from seqlore.tuning.sampling import ERROR, LowestPruner, ResumableTPE, killed, place
from seqlore.tuning.settings import Search
from seqlore.tuning.space import Space

#: A study of which the first so many trials all failed has something wrong with it that no setting mends.
HOPELESS = 5

#: A trial that was killed so often is not tried again: it may be what kills the search.
LIVES = 3

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What a worker needs: the study folder, a recipe of one row, the space, the rules, the time (epoch) to stop at."""

    folder: Path
    recipe: Recipe
    space: Space
    search: Search
    deadline: float | None

    def study(self) -> Study:
        """The study in ``study.db``, made where it is not there. SQLite: a kill leaves it whole, workers take turns.

        Raises: DataError: the file is no such study.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = self.folder / "study.db"
        try:
            return optuna.create_study(
                storage=RDBStorage("sqlite:///study.db", engine_kwargs={"creator": lambda: _connect(path)}),
                study_name="seqlore",
                direction="maximize",
                load_if_exists=True,
                sampler=ResumableTPE(self.search.seed, self.search.starts),
                pruner=LowestPruner(self.search.prune, self.search.starts),
            )
        except (sqlite3.DatabaseError, DBAPIError, StorageInternalError) as error:
            why = str(error).splitlines()[0]
            if "locked" in why:
                raise DataError(f"{path}: another process holds it ({why}); try again when that has ended") from error
            raise DataError(f"{path}: cannot be used ({why}); restore it from a copy, or name another --out") from error

    def folds(self) -> list[Fold]:
        """The validation folds of the recipe's split, under its first tie rule."""
        split = self.recipe.split
        return validation_folds(split.make(open_dataset(self.recipe.dataset), split.ties[0]))


def _connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits a kill cannot undo, and which waits for the disk at checkpoints only."""
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def carry_out(job: Job, folds: list[Fold], screen: Screen) -> dict[str, Any]:
    """Search until a rule says stop; returns the summary. The caller holds the study folder and made ``job.folds()``.

    Raises: ConfigError: the first trials all failed, or a worker died.
    """
    study = job.study()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        study.tell(trial.number, state=TrialState.FAIL)  # without a sentence: it was killed and is done anew
    done = len(ended(study))
    if done:
        screen.say(f"{done} trials are finished already")
    screen.trials(max(job.search.trials - done, 0))
    if job.search.workers == 1:
        work(job, study, folds, screen.end)
    else:
        _work_together(job, study, screen)
    told = summary(study, job.recipe, job.search, len(folds), stop(study, job) or "a worker's death")
    write_tables(study, len(folds), job.folder)
    write_results(told, job.recipe, job.folder)
    Journal(job.folder).write("end", **told)
    if told["best"] is None:
        errors = [t.user_attrs[ERROR] for t in ended(study) if ERROR in t.user_attrs]
        raise ConfigError(
            f"{job.folder}: no trial was completed" + (f"; the first failed: {errors[0]}" if errors else "")
        )
    return told


def stop(study: Study, job: Job) -> str | None:
    """Why no further trial should begin, or None."""
    search, known = job.search, study.get_trials(deepcopy=False)  # one look: a trial that ends is in it once
    trials = [t for t in known if t.state.is_finished() and not killed(t)]
    if len(trials) + sum(t.state == TrialState.RUNNING for t in known) >= search.trials:
        return f"{search.trials} trials"
    if job.deadline is not None and time.time() >= job.deadline:
        return f"{search.hours:g} hours"
    best = best_of(trials)
    if best is not None and sum(t.number > best.number for t in trials) >= search.patience:
        return f"{search.patience} trials without a better one"
    if len(trials) >= HOPELESS and all(t.state == TrialState.FAIL for t in trials):
        return f"the first {len(trials)} trials failed"
    return None


def work(job: Job, study: Study, folds: list[Fold], say: Say) -> None:
    """Do trials until a rule says stop, or until whoever started this process is gone."""
    journal = Journal(job.folder)
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        with FileLock(job.folder / "ask.lock"):  # so that workers do not begin one trial too many
            if stop(study, job) is not None:
                return
            trial = study.ask()
            trial.set_user_attr("worker", os.getpid())
        _try(trial, job, folds)
        write_tables(study, len(folds), job.folder)
        frozen = study.get_trials(deepcopy=False)[trial.number]
        facts = {"trial": place(study, frozen), "state": NAMES[frozen.state]}
        journal.write("trial", **facts, **frozen.user_attrs)
        say(sentence(study, job, trial.number))


def sentence(study: Study, job: Job, number: int) -> str:
    """What came of a trial, in one line."""
    trial = study.get_trials(deepcopy=False)[number]
    values = [each["value"] for each in trial.user_attrs.get("folds", [])]
    mean = f"{job.search.metric} {sum(values) / len(values):.4f}" if values else ""
    best = best_of(ended(study))
    end = {
        TrialState.COMPLETE: f"{mean}{' (best so far)' if best is not None and best.number == number else ''}",
        TrialState.PRUNED: f"{mean}, ended after fold {len(values)}",
        TrialState.FAIL: f"failed: {trial.user_attrs.get(ERROR)}",
    }
    return f"trial {place(study, trial)}: {end[trial.state]}"


def _try(trial: Trial, job: Job, folds: list[Fold]) -> None:
    """One trial, told to the study. What a model raises fails the trial and not the search."""
    study = trial.study
    try:
        value = _value(trial, job, folds)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except Exception as error:  # whatever one trial does, the others go on
        kind = "" if isinstance(error, SeqloreError) else f"{type(error).__name__}: "
        trial.set_user_attr(ERROR, kind + (str(error) or "no message").splitlines()[0])
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, value)


def _value(trial: Trial, job: Job, folds: list[Fold]) -> float:
    """The mean of the metric over the folds. Raises: TrialPruned: after a fold, it was among the lowest."""
    entry, seed = job.recipe.models[0], job.recipe.seeds_of(job.recipe.models[0])[0]
    tried = job.space.suggest(trial, entry.config)
    trial.set_user_attr("settings", tried)
    settings, rules = merged(entry.settings, tried), {"metric": job.search.metric, "evaluation": job.recipe.evaluation}
    before = [t for t in trial.study.get_trials(deepcopy=False) if killed(t) and t.params == trial.params]
    if len(before) == LIVES:
        raise DataError(f"killed {LIVES} times with these settings; they may need more memory than there is")
    # The folds that were finished before the kill stand.
    earlier, told = max((t.user_attrs.get("folds", []) for t in before), key=len, default=[]), []
    for i, fold in enumerate(folds):
        told.append(earlier[i] if i < len(earlier) else judge(entry, settings, fold, seed=seed, **rules))
        trial.set_user_attr("folds", told)
        trial.report(sum(each["value"] for each in told) / len(told), i)
        if i + 1 < len(folds) and trial.should_prune():
            raise optuna.TrialPruned
    return sum(each["value"] for each in told) / len(told)


def bury(study: Study, gone: Collection[int | None]) -> None:
    """End the trials of workers (process ids) that are gone: killed, so that they count as none and are done anew."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("worker") in gone:
            study.tell(trial.number, state=TrialState.FAIL)


def _process(job: Job) -> None:
    """A worker process: its share of the cores, no word on the screen."""
    torch.set_num_threads(max((os.cpu_count() or 1) // job.search.workers, 1))
    work(job, job.study(), job.folds(), lambda _: None)


def _work_together(job: Job, study: Study, screen: Screen) -> None:
    """Several processes on the study; this one tells what they finish."""
    spawn = multiprocessing.get_context("spawn")  # a forked child would share torch's threads and the database
    workers = [spawn.Process(target=_process, args=(job,), daemon=True) for _ in range(job.search.workers)]
    for worker in workers:
        worker.start()
    shown = {t.number for t in ended(study)}
    while True:
        alive = any(worker.is_alive() for worker in workers)
        bury(study, {worker.pid for worker in workers if not worker.is_alive()})
        for trial in ended(study):
            if trial.number not in shown:
                shown.add(trial.number)
                screen.end(sentence(study, job, trial.number))
        if not alive:
            break
        time.sleep(0.5)
    dead = [worker.exitcode for worker in workers if worker.exitcode]
    if dead and len(dead) < len(workers):
        screen.say(f"{len(dead)} of {len(workers)} workers died (exit status {dead[0]}); the others went on")
    if len(dead) == len(workers):
        raise ConfigError(f"{job.folder}: every worker died (exit status {dead[0]}); try --workers 1 to see why")
