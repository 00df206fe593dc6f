"""``seqlore data``: import, fetch, simulate, show, audit. Each verb is a thin call of the Python API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from seqlore.cli._common import DatasetFolder, Json, Protocol, TiesOption, print_json, print_table
from seqlore.data.dataset import Dataset
from seqlore.errors import ConfigError, DataError

app = typer.Typer(help="Bring in interactions and texts, look at them, audit them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Dataset folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a dataset that is already there.")]


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="File or folder with the interactions.")],
    out: Out,
    format: Annotated[str | None, typer.Option(help="Format; found out from names and content if not given.")] = None,
    name: Annotated[str | None, typer.Option(help="Name for tables; default: the source's.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, a column of the interactions: user_id=reviewer. Repeatable.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="File with the items' texts.")] = None,
    item_column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, a column of the items: title=name. Repeatable.")
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Of a CSV, where its first line does not tell: a character, or tab.")
    ] = None,
    header: Annotated[
        str | None, typer.Option(help="Column names, comma-separated, of a CSV without a header.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV that is not UTF-8, e.g. latin-1.")] = None,
    verb: Annotated[
        list[str] | None, typer.Option(help="KIND=PARTICIPLE, a kind of behaviours and its word. Repeatable.")
    ] = None,
    latest: Annotated[int | None, typer.Option(help="Keep so many latest behaviours of a user (default 500).")] = None,
    all_items: Annotated[
        bool | None,
        typer.Option(
            "--all-items/--seen-items", help="Keep items without interactions (default for your own tables) or not."
        ),
    ] = None,
    min_rating: Annotated[float | None, typer.Option(help="Keep interactions rated so or better.")] = None,
    drop_duplicates: Annotated[
        str | None, typer.Option(help="Keep the 'first' or the 'last' of a user's interactions with one item.")
    ] = None,
    k_core: Annotated[int | None, typer.Option(min=1, help="Iterate until users and items all have so many.")] = None,
    min_length: Annotated[int | None, typer.Option(min=1, help="Keep users with so many interactions.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import interactions and item texts into a dataset folder.

    Formats: csv, parquet, jsonl, recbole, amazon, movielens, steam, yelp, behaviours, and dataset folders. Filters run
    in the order rating, duplicates, k-core, length.
    """
    from seqlore.data import filters
    from seqlore.data.readers import read

    _vacant(out, overwrite)
    options: dict[str, Any] = {
        "columns": _mapping(column, "--column"),
        "items": items,
        "item_columns": _mapping(item_column, "--item-column"),
        "separator": separator,
        "header": header.split(",") if header else None,
        "encoding": encoding,
        "verbs": _mapping(verb, "--verb", "KIND=PARTICIPLE, e.g. --verb gift=given"),
        "latest": latest,
    }
    given = {key: value for key, value in options.items() if value not in (None, {}, "")}
    with _busy(f"reading {source}"):
        dataset = read(source, format, name=name, all_items=all_items, **given)
    keep = bool(all_items)
    if min_rating is not None:
        dataset = filters.min_rating(dataset, min_rating, keep_items=keep)
    if drop_duplicates is not None:
        dataset = filters.drop_duplicates(dataset, drop_duplicates)  # type: ignore[arg-type]
    if k_core is not None:
        dataset = filters.k_core(dataset, k_core, k_core, keep_items=keep)
    if min_length is not None:
        dataset = filters.min_length(dataset, min_length, keep_items=keep)
    _save(dataset, out, as_json)


@app.command()
def fetch(
    name: Annotated[
        str | None, typer.Argument(help="Name of a published set, e.g. ml-100k or amazon2014-beauty.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Dataset folder to write; default: data/NAME.")] = None,
    mirror: Annotated[str | None, typer.Option(help="Address of a folder that has the same files.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the published sets.")] = False,
    as_json: Json = False,
) -> None:
    """Download a published set, verify it, and convert it into a dataset folder. A broken download goes on."""
    from seqlore.data.fetch import fetch as fetch_set
    from seqlore.data.published import catalogue

    if list_all or name is None:
        sets = catalogue().values()
        if as_json:
            print_json([{"name": s.name, "about": s.about, "page": s.page, "terms": s.terms} for s in sets])
        else:
            print_table(("name", "what"), [(s.name, s.about) for s in sets])
        return
    folder = out or Path("data") / name
    dataset = fetch_set(name, folder, base_url=mirror, progress=not as_json)
    _report(dataset, folder, as_json)


@app.command()
def simulate(
    out: Out,
    users: Annotated[int, typer.Option(help="Shoppers.")] = 2000,
    items: Annotated[int, typer.Option(help="Products.")] = 800,
    interactions_per_user: Annotated[float, typer.Option(help="Mean length of a history.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Same seed, same shop.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a shop whose item texts truly tell what shoppers like; no network, no keys."""
    from seqlore.data.simulate import simulate as simulate_shop

    _vacant(out, overwrite)
    with _busy("opening the shop"):
        dataset = simulate_shop(users, items, interactions_per_user, seed)
    _save(dataset, out, as_json)


@app.command()
def show(folder: DatasetFolder, as_json: Json = False) -> None:
    """Numbers about a dataset: sizes, lengths, ties in time, ratings, texts."""
    _report(Dataset.load(folder), folder, as_json)


@app.command()
def audit(
    folder: DatasetFolder,
    protocol: Annotated[Protocol | None, typer.Option(help="Audit this split of the data, too.")] = None,
    ties: TiesOption = "file",
    as_json: Json = False,
) -> None:
    """Look for what would flatter an evaluation: ids that give answers away, ties, repeats, leaks of a split."""
    from seqlore.data.audit import audit as audit_dataset
    from seqlore.data.splits import leave_one_out, ratio, temporal_sessions

    protocols = {"leave-one-out": leave_one_out, "temporal-sessions": temporal_sessions, "ratio": ratio}
    dataset = Dataset.load(folder)
    report = audit_dataset(dataset, protocols[protocol](dataset, ties=ties) if protocol else None)
    if as_json:
        print_json(report.to_dict())
    else:
        report.render(Console())


def _mapping(
    pairs: list[str] | None, option: str, form: str = "OURS=THEIRS, e.g. {option} user_id=reviewer"
) -> dict[str, str]:
    """``["user_id=reviewer"]`` → ``{"user_id": "reviewer"}``."""
    mapping: dict[str, str] = {}
    for pair in pairs or []:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ConfigError(f"{option} {pair!r} is not {form.format(option=option)}")
        if ours in mapping:
            raise ConfigError(f"{option} names {ours!r} twice: {mapping[ours]!r} and {theirs!r}; keep one")
        mapping[ours] = theirs
    return mapping


def _busy(what: str) -> Status:
    """A spinner on standard error, where that is a terminal."""
    return Console(stderr=True).status(what)


def _vacant(folder: Path, overwrite: bool) -> None:
    if not overwrite and (folder / "interactions.parquet").exists():
        raise DataError(f"{folder}: there already is a dataset; name another --out, or add --overwrite")


def _save(dataset: Dataset, folder: Path, as_json: bool) -> None:
    dataset.save(folder)
    _report(dataset, folder, as_json)


def _report(dataset: Dataset, folder: Path, as_json: bool) -> None:
    from seqlore.data.statistics import render, statistics

    numbers = statistics(dataset)
    if as_json:
        print_json({"folder": str(folder), **numbers})
    else:
        console = Console()
        render(numbers, console)
        console.print(f"[dim]{folder}[/]", highlight=False)
