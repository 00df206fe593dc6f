"""``seqlore recommend``: what a saved model would show next."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqlore.cli._common import Json, folder_to_be, print_json, print_table
from seqlore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seqlore.recommender import Recommender


def recommend(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or run folder (its winner).")],
    history: Annotated[
        str | None, typer.Option(metavar="ID,ID", help="Item ids, oldest first, separated by commas.")
    ] = None,
    titles: Annotated[
        list[str] | None,
        typer.Option(metavar="TITLE", help="Words of a title, not exact; may be given many times, oldest first."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose history it is, for models that know users.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Length of the list.")] = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Let the list repeat the history.")] = False,
    all_users: Annotated[
        Path | None, typer.Option(metavar="DATASET", help="Write lists for all users of this dataset instead.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Where --all-users writes.")] = None,
    as_json: Json = False,
) -> None:
    """Recommend items for a history that the model need not have seen, given by ids or by titles.

    Example: seqlore recommend runs/demo --titles "green tea face cream" --titles "night serum"
    """
    from seqlore.experiment import model_folder
    from seqlore.recommender import load

    ways = {"--history": history, "--titles": titles, "--all-users": all_users}
    asked = [name for name, given in ways.items() if given]
    if not asked and user is not None:
        history = ""  # the user alone is asked for
    elif len(asked) != 1:
        raise ConfigError(
            f"give one of --history, --titles and --all-users{', not ' + ' and '.join(asked) if asked else ''}"
        )
    fitted = load(model_folder(model))
    if user is not None and all_users is not None:
        raise ConfigError("--all-users asks for each user with their own history: leave --user out")
    if user is not None and fitted.users is None:
        raise ConfigError(f"{fitted.name} does not use users: leave --user out")
    if all_users is not None:
        _all_users(fitted, all_users, out, k, include_seen, as_json)
        return
    items = _by_title(fitted, titles) if titles else _by_id(fitted, history.split(",")) if history else []
    if user is not None and fitted.users is not None and user not in fitted.users:
        print(f"seqlore: the model does not know user {user}, who is answered as a stranger", file=sys.stderr)
    of = None if user is None else [user]
    fitted.recommend([items], k, users=of, exclude_seen=not include_seen)  # loads what is loaded once
    started = time.perf_counter()
    found = fitted.recommend([items], k, users=of, exclude_seen=not include_seen)
    milliseconds = 1000 * (time.perf_counter() - started)
    names = [fitted.catalog.titles[i - 1] for i in fitted.catalog.index(items)]
    rows = [
        {"rank": rank, "item_id": item, "title": title, "score": float(score)}
        for rank, (item, title, score) in enumerate(
            zip(found.items[0], found.titles[0], found.scores[0], strict=False), start=1
        )
    ]
    if as_json:
        told = [{"item_id": item, "title": name} for item, name in zip(items, names, strict=True)]
        whose = {} if user is None else {"user": user}
        answer = {"model": fitted.name, **whose, "history": told, "recommendations": rows, "milliseconds": milliseconds}
        print_json(answer)
        return
    typer.echo("after: " + (" → ".join(names) or "nothing") + ("" if user is None else f", by {user}") + "\n")
    print_table(("rank", "title", "item", "score"), ((r["rank"], r["title"], r["item_id"], r["score"]) for r in rows))
    typer.echo(f"\n{fitted.name}, {milliseconds:.1f} ms")


def _by_id(model: Recommender, ids: list[str]) -> list[str]:
    """The ids that the model knows; the others are named on stderr and skipped."""
    ids = [item.strip() for item in ids if item.strip()]
    unknown = [item for item in ids if item not in model.catalog]
    if len(unknown) == len(ids):
        raise DataError(f"the model knows none of the items {', '.join(ids) or '(no id given)'}; try --titles instead")
    if unknown:
        print(f"seqlore: skipped items that the model does not know: {', '.join(unknown)}", file=sys.stderr)
    return [item for item in ids if item in model.catalog]


def _by_title(model: Recommender, titles: list[str]) -> list[str]:
    from seqlore.data.titles import TitleIndex

    return [model.catalog.external(index) for index in TitleIndex(model.catalog).find(titles)]


def _all_users(model: Recommender, folder: Path, out: Path | None, k: int, include_seen: bool, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from seqlore.data import Dataset
    from seqlore.experiment.bulk import recommend_all

    if out is None:
        raise ConfigError("--all-users writes a file: name it with --out FILE.parquet")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file in it")
    if out.suffix != ".parquet":
        raise ConfigError(f"--out {out}: the lists are written as Parquet; name a file that ends in .parquet")
    folder_to_be(out.parent)
    dataset = Dataset.load(folder)
    started = time.perf_counter()
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as progress:
        task = progress.add_task("users", total=None)
        users = recommend_all(
            model,
            dataset,
            out,
            k=k,
            exclude_seen=not include_seen,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"out": str(out), "users": users, "k": k, "seconds": seconds})
    else:
        typer.echo(f"{users:,} users in {seconds:.1f} s → {out}")
