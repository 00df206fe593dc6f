"""One table from one or more run folders: ours beside the published value, seeds, significance and cost."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqlore.config import nearest
from seqlore.errors import ConfigError
from seqlore.report.board import Row
from seqlore.report.folder import RunFolder, read_runs
from seqlore.report.wording import NONE, count, duration, memory, metric_title, number, p_value, signed, split_metric

FORMATS = ("markdown", "csv", "html")


def table(runs: Sequence[str | Path], format: str = "markdown", metrics: Sequence[str] | None = None) -> str:
    """The rows of one or more run folders as one table.

    Args:
        runs: run folders, as ``seqlore run`` wrote them.
        format: ``"markdown"`` or ``"html"`` for people (means ± s.d., units), ``"csv"`` for programs (plain numbers).
        metrics: such as ``("ndcg@10", "hr@10")``; None = NDCG and HR at the list length of the first run.

    Returns: the table. Columns for published values are there where a row has one; a row that failed says why.

    Raises: DataError: a folder is no run folder. ConfigError: an unknown format, or a metric that no run has.
    """
    if format not in FORMATS:
        raise ConfigError(f"format={format!r}: use one of {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    read = read_runs(runs)
    known = {key for run in read for row in run.board.rows for key in row.metrics}
    if metrics is None:
        at = split_metric(read[0].metric)[1]
        metrics = [m for m in (f"ndcg@{at}", f"hr@{at}") if m in known]
    for key in metrics:
        if key not in known:
            raise ConfigError(f"no run has the metric {key!r}{nearest(key, known)}")
    lines = [_line(run, row, metrics) for run in read for t in run.ties for row in (*run.rows(t), *run.failed(t))]
    if format == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return out.getvalue()
    heads, cells = _for_people(lines, metrics)
    source = "; ".join(sorted({x["published source"] for x in lines} - {None}))
    numeric = [h not in ("run", "model", "ties", "fitted on", "text") for h in heads]
    if format == "markdown":
        text = [[_markdown(c) for c in row] for row in (heads, *cells)]
        rule = ["---:" if right else "---" for right in numeric]
        note = f"\nPublished: {_markdown(source)}\n" if source else ""
        return "\n".join(f"| {' | '.join(row)} |" for row in (text[0], rule, *text[1:])) + "\n" + note
    return _html(heads, cells, numeric) + (f"<p>Published: {html.escape(source)}</p>\n" if source else "")


def _line(run: RunFolder, row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    """One row as plain values, in the order of the columns of the CSV."""
    line: dict[str, Any] = {"run": run.board.name, "ties": row.ties, "model": row.label}
    line |= {"fitted_on": row.fit_on, "text": row.text}
    for key in metrics:
        found = row.metrics.get(key)
        line |= {key: found and found.mean, f"{key} sd": found and found.sd, f"{key} best": found and found.best}
        line |= {f"{key} published": row.published.get(key), f"{key} difference": row.difference(key)}
    baseline = run.baseline(row.ties)
    tested = run.comparison(row.label, baseline, row.ties, run.metric) if baseline else None
    told = row.published_source if any(key in row.published for key in metrics) else None
    line |= {"published source": told or None, "published best": row.published_best and bool(told)}
    line |= {"seeds": len(row.seeds), "against": tested and baseline, "tested": tested and tested.metric}
    line |= {"against difference": tested and tested.difference, "p": tested and tested.decisive_p}
    line |= {"fit_seconds": row.fit_seconds, "evaluate_seconds": row.evaluate_seconds}
    line |= {"peak_memory_mb": row.peak_memory_mb, "peak_gpu_memory_mb": row.peak_gpu_memory_mb}
    line |= {"parameters": row.parameters, "error": row.error}
    return line


def _for_people(lines: list[dict[str, Any]], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, without columns in which nothing would stand."""
    columns: list[tuple[str, list[str]]] = [
        ("run", [x["run"] for x in lines] if len({x["run"] for x in lines}) > 1 else []),
        ("ties", [x["ties"] for x in lines] if len({x["ties"] for x in lines}) > 1 else []),
        ("model", [x["model"] if x["error"] is None else f"{x['model']} (failed: {x['error']})" for x in lines]),
        ("fitted on", [x["fitted_on"] for x in lines] if len({x["fitted_on"] for x in lines}) > 1 else []),
        ("text", ["yes" if x["text"] else "" for x in lines] if any(x["text"] for x in lines) else []),
    ]
    for key in metrics:
        columns.append((metric_title(key), [_mean_sd(x, key) for x in lines]))
        if any(x[f"{key} published"] is not None for x in lines):
            # As many digits as were published: "0.041" is not "0.0410".
            there = [NONE if x[f"{key} published"] is None else f"{x[f'{key} published']:g}" for x in lines]
            if any(x["published best"] and x["seeds"] > 1 for x in lines):  # what is compared with a published best
                columns.append((_best_of(lines), [number(x[f"{key} best"], key) for x in lines]))
            columns += [("published", there), ("difference", [signed(x[f"{key} difference"], key) for x in lines])]
    against = sorted({x["against"] for x in lines} - {None})
    head = f"p against {against[0]}" if len(against) == 1 else "p against its baseline"
    tested = sorted({x["tested"] for x in lines} - {None})
    head += f" ({', '.join(map(metric_title, tested))})"
    on_gpu = any(x["peak_gpu_memory_mb"] is not None for x in lines)
    columns += [
        ("seeds", [str(x["seeds"]) for x in lines]),
        (head, [p_value(x["p"]) for x in lines] if against else []),
        ("time to fit", [duration(x["fit_seconds"]) for x in lines]),
        ("peak memory", [memory(x["peak_memory_mb"]) for x in lines]),
        ("peak GPU memory", [memory(x["peak_gpu_memory_mb"]) for x in lines] if on_gpu else []),
        ("parameters", [count(x["parameters"]) for x in lines]),
    ]
    kept = [(head, cells) for head, cells in columns if cells]
    return [head for head, _ in kept], [list(row) for row in zip(*(cells for _, cells in kept), strict=True)]


def _best_of(lines: list[dict[str, Any]]) -> str:
    counts = sorted({x["seeds"] for x in lines if x["published best"] and x["seeds"] > 1})
    return f"best of {counts[0]}" if len(counts) == 1 else "best seed"


def _mean_sd(line: dict[str, Any], key: str) -> str:
    sd = f" ± {number(line[f'{key} sd'], key)}" if line["seeds"] > 1 and line[f"{key} sd"] is not None else ""
    return number(line[key], key) + sd


def _markdown(text: str) -> str:
    """A cell that ends neither its column nor its line, and holds no tags."""
    return html.escape(" ".join(text.split()), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def _html(heads: list[str], cells: list[list[str]], numeric: list[bool]) -> str:
    def line(tag: str, row: list[str]) -> str:
        style = [' style="text-align:right"' if right else "" for right in numeric]
        return "".join(f"<{tag}{s}>{html.escape(c)}</{tag}>" for s, c in zip(style, row, strict=True))

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in cells)
    return f"<table>\n<thead><tr>{line('th', heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
