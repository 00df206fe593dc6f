"""``run``: a recipe → fitted models, leaderboard, report; may be killed at any time and started again."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.errors import SeqloreError
from seqlore.experiment import leaderboard
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import Journal
from seqlore.experiment.recipe import Recipe, text_sources
from seqlore.experiment.screen import Screen
from seqlore.experiment.trial import Trial
from seqlore.experiment.winner import crown, model_folder, refit_winner
from seqlore.recommender import Recommender, load
from seqlore.report import write_report
from seqlore.text import TextSource


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run folder that is complete.

    Attributes: folder: where everything is. board: ``leaderboard.json`` as a dict.
    """

    folder: Path
    board: dict[str, Any]

    @property
    def table(self) -> pl.DataFrame:
        """One line a row and tie rule, best first, as in ``leaderboard.csv``."""
        return leaderboard.flat(self.board)

    @property
    def failed(self) -> dict[str, str]:
        """Label → the sentence that says why, for rows that failed."""
        return {row["label"]: row["error"] for row in self.board["rows"] if row["error"]}

    def model(self) -> Recommender:
        """The winner, loaded. Raises: DataError: there is none."""
        return load(model_folder(self.folder))


def run(
    recipe: Recipe | str | Path,
    *,
    out: str | Path | None = None,
    set: Iterable[str] = (),
    only: Sequence[str] = (),
    resume: bool = True,
    progress: bool = False,
) -> RunResult:
    """Carry out a recipe: dataset → filters → splits → models × seeds → leaderboard, tests, winner, report.

    Args:
        recipe: a recipe, or the path of a TOML file.
        out: the run folder; default ``runs/NAME``.
        set: changes such as ``"split.ties=file"``.
        only: labels of the rows to work on; finished ones of the others stay in the leaderboard.
        resume: leave out trials (label, ties, seed) that this folder already holds with the same settings, and take up
            nets from their last epoch. A trial of which only the evaluation rules changed is judged anew.
        progress: show on stderr what is being done.

    A model that fails becomes a row with its error; the others go on.

    Raises: ConfigError: the recipe is wrong. DataError: the dataset cannot be read or split.
    """
    recipe = recipe.changed(set).checked() if isinstance(recipe, Recipe) else Recipe.load(recipe, set)
    wanted = recipe.labels(only)
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    journal.write("start", recipe=recipe.name, only=list(only), resume=resume)
    with Screen(progress) as screen:
        dataset = open_dataset(recipe.dataset)
        journal.write("dataset", name=dataset.name, hash=dataset.hash, interactions=len(dataset.interactions))
        trials = [
            Trial(entry, ties, seed, split, recipe.evaluation, folder)
            for ties, split in ((ties, recipe.split.make(dataset, ties)) for ties in recipe.split.ties)
            for entry in recipe.models
            for seed in recipe.seeds_of(entry)
        ]
        (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
        outcome = _carry_out(trials, wanted, resume, journal, screen)
        screen.say("leaderboard, tests and report")
        board = leaderboard.build(recipe, dataset, outcome, folder)
        leaderboard.write(board, folder)
        winner = next((t for t in trials if board["winner"] and t.key == leaderboard.key(board["winner"])), None)
        crown(winner, board["winner"], folder)
        write_report(folder)
        if winner is not None and recipe.refit_winner:
            refit_winner(winner, board["winner"], screen)
            leaderboard.write(board, folder)
    result = RunResult(folder, board)
    journal.write("end", rows=len(board["rows"]), failed=result.failed)
    return result


def _carry_out(
    trials: list[Trial], wanted: list[str], resume: bool, journal: Journal, screen: Screen
) -> list[tuple[Trial, dict[str, Any]]]:
    """Each trial with its record, or with ``{"error": sentence}``; unwanted ones only where they were finished."""
    earlier = journal.finished()
    todo, done = [], {}
    for trial in trials:
        record = earlier.get(trial.key)
        fresh = trial.entry.label in wanted and not resume
        if fresh:
            trial.forget()
        if record is not None and record["judged"] == trial.judged and not fresh:
            done[trial.key] = record
        elif trial.entry.label in wanted:
            todo.append((trial, record if record is not None and not fresh and trial.reusable(record) else None))
    screen.trials(len(todo))
    if done:
        screen.say(f"{len(done)} of {len(trials)} trials are finished already")
    _embed([trial for trial, _ in todo], journal, screen)
    # What validation stopped once, in another row or under an earlier recipe, need not be fitted to the same end again.
    stopped = {record["fitted"]: record for record in earlier.values() if resume}
    for trial, record in todo:
        label, ties, seed = trial.key
        name = f"{label} · ties {ties}" + (f" · seed {seed}" if trial.entry.random else "")
        screen.begin(name)
        journal.write("begin", label=label, ties=ties, seed=seed)
        try:
            record = trial.run(record, screen.epoch, stopped.get(trial.stopped))
        except Exception as error:  # whatever one model does, the others go on
            done[trial.key] = {"error": _sentence(error)}
            trace = traceback.format_exc()
            journal.write("failed", label=label, ties=ties, seed=seed, error=_sentence(error), traceback=trace)
            screen.end(f"{name}: failed: {_sentence(error)}")
            continue
        journal.write("trial", **record)
        done[trial.key] = record
        stopped = {k: r for k, r in stopped.items() if r["model_folder"] != record["model_folder"]}  # overwritten
        stopped[record["fitted"]] = record
        metric = trial.evaluation.metric
        screen.end(f"{name}: {metric} {record['metrics'][metric]:.4f}, fitted in {record['fit_seconds']:.1f} s")
    return [(trial, done[trial.key]) for trial in trials if trial.key in done]


def _sentence(error: Exception) -> str:
    first = (str(error) or "no message").splitlines()[0]
    return first if isinstance(error, SeqloreError) else f"{type(error).__name__}: {first} (traceback in log.jsonl)"


def _embed(trials: list[Trial], journal: Journal, screen: Screen) -> None:
    """Fill the vector store beforehand, so that no row's time to fit holds what the next one finds done."""
    sources = {}
    for trial in trials:
        for source in text_sources(trial.entry.config):
            as_source = TextSource(**source.model_dump(include=set(TextSource.model_fields)))
            sources.setdefault(as_source.model_dump_json(), (as_source, trial))
    for source, trial in sources.values():
        screen.begin(f"embedding {', '.join(source.fields)} with {source.encoder}")
        started = time.perf_counter()
        try:
            found = source.fetch(source.item_texts(trial.split.catalog), progress=screen.items)
        except SeqloreError as error:  # the rows that need it will fail with the same sentence
            journal.write("embed", source=source.model_dump(mode="json"), error=str(error))
            continue
        seconds = time.perf_counter() - started
        journal.write("embed", source=source.model_dump(mode="json"), new=found.misses, seconds=seconds)
        if found.misses:
            screen.say(f"embedded {found.misses:,} texts with {source.encoder} in {seconds:.1f} s")
