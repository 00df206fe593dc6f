"""``seqlore explain``: what a model says that items and users are like, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlore.cli._common import Json, own_split, print_json, print_table
from seqlore.errors import ConfigError

if TYPE_CHECKING:
    from seqlore.language.relrec import ReLRec


def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or run folder (its winner).")],
    items: Annotated[
        list[str] | None, typer.Option("--item", metavar="ID", help="An item; may be given many times.")
    ] = None,
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="A user; may be given many times.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="Compare with the labels of this dataset, on the model's own split."),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="--report: test users that are shown with their lists.")] = 3,
    limit: Annotated[
        int | None, typer.Option(min=2, help="--report: labels of each kind that are compared; default all.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="--report: what measures similarity.")] = "all-MiniLM-L6-v2",
    as_json: Json = False,
) -> None:
    """Let a model that reconstructs labels (ReLRec) tell what items and users are like.

    With --report: how near the told labels come to the true ones, beside the labels of others, and some test users with
    the labels of what they were shown. Labels that are not there yet are made, as in training.

    Example: seqlore explain models/relrec --item B0002E1G5C --user A2IBPI20UZIR0U
    """
    from seqlore.experiment import model_folder
    from seqlore.language.relrec import ReLRec
    from seqlore.recommender import load

    if not (items or users or report):
        raise ConfigError("say what to explain: --item ID, --user ID or --report DATASET")
    fitted = load(model_folder(model))
    if not isinstance(fitted, ReLRec):
        raise ConfigError(f"{fitted.name} writes no labels, so it explains nothing: take a model of ReLRec")
    told = []
    if items:
        texts = fitted.explain(items)
        titles = [fitted.catalog.titles[i - 1] for i in fitted.catalog.index(items)]
        told += [
            {"kind": "item", "id": id, "title": title, "text": text}
            for id, title, text in zip(items, titles, texts, strict=True)
        ]
    if users:
        told += [
            {"kind": "user", "id": id, "known": fitted.knows_user(id), "text": text}
            for id, text in zip(users, fitted.explain(users, "user"), strict=True)
        ]
    compared, shown = _compared(fitted, report, cases, limit, encoder) if report else ([], "")
    if as_json:
        print_json({"model": fitted.name, "told": told, "reconstruction": compared, "report": shown})
        return
    if told:
        print_table(("kind", "id", "title", "text"), ((t["kind"], t["id"], _title(t), t["text"]) for t in told))
    if report:
        columns = ("kind", "labels", "similarity", "with others'", "difference, 95 %", "p", "found@10", "by chance")
        print_table(columns, map(_row, compared), numeric=columns[1:])
        typer.echo("\n" + shown)


def _title(told: dict[str, Any]) -> str:
    return told["title"] if told["kind"] == "item" else "" if told["known"] else "(not in training: the mean user)"


def _compared(
    model: ReLRec, folder: Path, cases: int, limit: int | None, encoder: str
) -> tuple[list[dict[str, Any]], str]:
    """(a row of figures a kind that the model reconstructs, or of both where it was taught none; Figure 5 as Markdown,
    or why there is none)."""
    from seqlore.language.labels import KINDS, Kind
    from seqlore.language.reconstruction import label_report, reconstruct
    from seqlore.text.encoder import open_encoder

    split = own_split(model, folder, remedy="name the folder that it was fitted on, filtered as it was then")
    kinds: list[Kind] = [
        kind for kind in model.config.label_weights or KINDS if kind == "item" or model.users is not None
    ]
    labels, by = model.config.labels.read(split, model.config.seed, kinds), open_encoder(encoder)
    rows = [reconstruct(model, labels, kind, encoder=by, limit=limit, train=split.train).to_dict() for kind in kinds]
    if len(kinds) < len(KINDS):
        return rows, f"No users beside their lists: the model tells of {kinds[0]}s alone."
    return rows, label_report(model, split, labels, n=cases)


def _row(r: dict[str, Any]) -> tuple[Any, ...]:
    low, high = r["interval"]
    return r["kind"], r["count"], r["own"], r["shuffled"], f"{low:+.4f} to {high:+.4f}", r["p"], r["found"], r["chance"]
