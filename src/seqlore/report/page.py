"""``write_report``: a run folder → one self-contained ``report.html``, understood without the code.

It reads the run folder alone, computes nothing anew but the results by group, and shows each tie rule on its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import jinja2

from seqlore.errors import DataError
from seqlore.report import wording
from seqlore.report.about import data_facts, provenance, rules, tied_share
from seqlore.report.board import Row
from seqlore.report.folder import RunFolder, read_run
from seqlore.report.part import Part
from seqlore.report.wording import plain, split_metric


def write_report(run_folder: str | Path) -> Path:
    """Write ``report.html`` into a run folder.

    The page needs no other file, no network and no script. Files of the run that are absent are named on the page.

    Returns: the path of the page.

    Raises: DataError: the folder is no run folder, has no rows, or a file in it is damaged; an older page stays.
    """
    run = read_run(run_folder)
    if not run.board.rows:
        raise DataError(
            f"{run.path / 'leaderboard.json'}: holds no rows, so there is nothing to report; run the recipe"
        )
    path = run.path / "report.html"
    aside = path.with_name("report.html.part")
    aside.write_text(render(run), encoding="utf-8")
    os.replace(aside, path)
    return path


def render(run: RunFolder) -> str:
    """The page as text."""
    board, about = run.board, run.board.about
    how = next((row.split for row in board.rows if row.split), {})
    parts = [Part(run, ties, alone=len(run.ties) == 1) for ties in run.ties]
    cases = sorted({part.cases for part in parts if part.cases})
    facts = rules(board) + ([("Test cases", " or ".join(map(wording.count, cases)))] if cases else [])
    cutoff = split_metric(run.metric)[1]
    statistics = about.get("statistics") or {}
    template = _environment().get_template("template.html")
    return template.render(
        board=board,
        dataset=plain(about.get("dataset", "")),
        protocol=str(how.get("protocol", "")),
        how=how,
        parts=parts,
        both_ties={"file", "shuffled"} <= {part.ties for part in parts},
        main=run.metric,
        hit=f"hr@{cutoff}",
        cutoff=cutoff,
        rules=facts,
        statistics=data_facts(statistics),
        tied=tied_share(statistics),
        shipped=board.winner.get("label") if isinstance(board.winner, dict) else None,
        provenance=provenance(board),
        command=about.get("command") or "seqlore run recipe.toml",
        memory_note=plain(about.get("peak_memory", "")),
        examples=run.examples(),
        recipe=run.recipe(),
        notes=run.notes,
        epochs=_epochs,
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ["metric_title", "number", "signed", "percent", "share", "p_value", "duration", "memory", "count", "plain"]
    environment.globals.update({name: getattr(wording, name) for name in names})
    return environment


def _epochs(row: Row) -> str:
    """``41 (36)``, means over seeds: epochs trained, and the one whose weights were kept."""
    trained = [r.epochs for r in row.runs if r.epochs is not None]
    kept = [r.best_epoch for r in row.runs if r.best_epoch is not None]
    if not trained:
        return wording.NONE
    mean = f"{sum(trained) / len(trained):.0f}"
    return f"{mean} ({sum(kept) / len(kept):.0f})" if kept else mean
