"""``seqlore lore``: texts that a language model writes about items and users; the store that keeps them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from seqlore.cli._common import (
    DatasetFolder,
    Json,
    ProtocolOption,
    SetOption,
    TiesOption,
    print_json,
    print_table,
    split_settings,
)
from seqlore.cli.pretrain import pretrain
from seqlore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqlore.lore.cost import Estimate
    from seqlore.lore.make import Progress

app = typer.Typer(help="Have a language model write about items and users; train a small one.", no_args_is_help=True)

Store = Annotated[
    Path | None, typer.Option(metavar="FILE.sqlite", help="Lore store; default: in the cache folder, SEQLORE_CACHE.")
]
Task = Annotated[str | None, typer.Option(help="Of this task only.")]
Kind = Annotated[str | None, typer.Option(help="About items or users only: item, user.")]


@app.command()
def make(
    dataset: DatasetFolder,
    task: Annotated[
        str, typer.Option(help="item-knowledge, item-attributes, item-label, user-preference or user-label.")
    ],
    model: Annotated[
        str, typer.Option(help="extractive, openai:MODEL, openai:MODEL@URL, or a local model's folder or name.")
    ] = "extractive",
    out: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="The lore to write.")] = None,
    store: Store = None,
    protocol: ProtocolOption = "leave-one-out",
    ties: TiesOption = "file",
    split_seed: Annotated[int, typer.Option(help="Of shuffled ties.")] = 0,
    versions: Annotated[int, typer.Option(min=1, help="Wordings of each text.")] = 1,
    denoise: Annotated[
        bool, typer.Option("--denoise", help="Take the noise out of each text in a second step.")
    ] = False,
    prompts: Annotated[
        list[str] | None, typer.Option(metavar="FILE.toml", help="Prompt set, yours or a built-in name. Repeatable.")
    ] = None,
    word: Annotated[
        list[str] | None, typer.Option(metavar="WORD=TEXT", help='Of the domain: items="beauty products". Repeatable.')
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Lore about items, told in the prompts of user-label.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many items or users.")] = None,
    changes: SetOption = None,
    model_changes: Annotated[
        list[str] | None, typer.Option("--model-set", metavar="KEY=VALUE", help="A setting of the model. Repeatable.")
    ] = None,
    spend: Annotated[float | None, typer.Option(min=0, help="Most money to spend at a server; needs prices.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask nothing; say what it would take.")] = False,
    as_json: Json = False,
) -> None:
    """Have a language model write about the items or users of a dataset, from training interactions only.

    What was written stays when the command is stopped; run it again and it goes on. Nothing is asked for twice. Exit
    status 1: some prompts have no answer; all others are in the file.

    Example: seqlore lore make data/beauty --task item-knowledge --word item="beauty product" --out beauty.parquet
    """
    from seqlore.data import Dataset
    from seqlore.experiment.overrides import nested
    from seqlore.lore.book import load_lore
    from seqlore.lore.cost import Budget
    from seqlore.lore.locate import language_model
    from seqlore.lore.make import LoreSettings, check_task, make_lore, plan_lore
    from seqlore.lore.material import known_texts
    from seqlore.lore.store import LoreStore

    if out is None and not dry_run:
        raise ConfigError("name the file to write with --out FILE.parquet, or look first with --dry-run")
    given = {"versions": versions, "denoise": denoise, "prompts": tuple(prompts or ()), "limit": limit}
    settings = LoreSettings.parse({**given, "words": _words(word), **nested(changes or ())}, "seqlore lore make")
    own: dict[str, Any] = nested(model_changes or ())
    if spend is not None:
        if not model.startswith("openai:"):
            raise ConfigError(f"--spend is for servers that cost money; {model} costs none: leave it out")
        own["budget"] = Budget(money=spend)
    if dry_run and model.startswith("openai:"):
        own["api_key"] = "none"  # nothing is asked
    wanted, split = check_task(task), split_settings(protocol, ties, split_seed).make(Dataset.load(dataset), ties)
    speaker = language_model(model, texts=lambda: known_texts(split, wanted), **own)
    about = None if profiles is None else load_lore(profiles, split)
    arguments = (split, wanted, speaker, LoreStore(store), settings)
    if dry_run:
        _say_plan(plan_lore(*arguments, profiles=about), as_json)
        return
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
        lore = make_lore(*arguments, profiles=about, progress=_follow(bar))
    assert out is not None
    lore.save(out)
    result = {
        "dataset": split.dataset.name,
        "task": task,
        "model": speaker.identity,
        "subjects": lore.about["asked"],
        "texts": len(lore.frame),
        "asked": lore.about["fresh"],
        "cut": lore.about["cut"],
        "failed": lore.about["failed"],
        "failures": lore.about["failures"],
        "cost": lore.about["cost"],
        "seconds": round(time.perf_counter() - started, 3),
        "out": str(out),
        "store": str(LoreStore(store).path),
    }
    if as_json:
        print_json(result)
    else:
        _say_made(result)
    if result["failed"]:
        raise typer.Exit(1)


def _say_made(result: dict[str, Any]) -> None:
    """What was made, in sentences; what went wrong on stderr."""
    kind, _, _ = result["task"].partition("-")
    typer.echo(
        f"{result['texts']:,} texts about {result['subjects']:,} {kind}s: {result['asked']:,} answers asked for "
        f"({_money(result['cost'])}), the others were in the store; {result['seconds']:.1f} s"
        f" → {result['out']}"
    )
    if result["cut"]:
        typer.echo(f"{result['cut']:,} answers were cut at max_tokens; --set sampling.max_tokens=… allows longer ones")
    if result["failed"]:
        typer.echo(
            f"{result['failed']:,} prompts have no answer and are asked again by the next run, among them:", err=True
        )
        for why in result["failures"]:
            typer.echo(f"  {why}", err=True)


def _follow(bar: Bar) -> Callable[[Progress], None]:
    """What moves the bar: one line a stage, with the cost so far and the time left."""
    lines: dict[int, Any] = {}

    def move(at: Progress) -> None:
        if at.number not in lines:
            lines[at.number] = bar.add_task(f"{at.stage} ({at.number} of {at.stages})", total=at.total, rest="")
        left = "" if at.seconds_left is None else f", {_duration(at.seconds_left)} left"
        bar.update(lines[at.number], completed=at.done, rest=f"{at.fresh:,} asked, {_money(at.cost)}{left}")

    return move


def _say_plan(plan: dict[str, Estimate], as_json: bool) -> None:
    fields = ("prompts", "prompt_tokens", "completion_tokens", "cost")
    rows = [{"stage": stage, **{field: getattr(each, field) for field in fields}} for stage, each in plan.items()]
    costs = [each.cost for each in plan.values()]
    total = None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)
    if as_json:
        print_json({"stages": rows, "cost": total})
        return
    table = [(r["stage"], *(f"{r[f]:,}" for f in fields[:3]), _money(r["cost"])) for r in rows]
    print_table(("stage", "prompts", "prompt tokens", "completion tokens ≤", "cost ≤"), table, numeric=fields)
    typer.echo(f"\nat most: {_money(total)}; nothing was asked")


@app.command()
def show(
    store: Store = None,
    task: Task = None,
    kind: Kind = None,
    id: Annotated[str | None, typer.Option(help="Of this item or user only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 5,
    prompt: Annotated[bool, typer.Option("--prompt", help="With the prompts that they answer.")] = False,
    as_json: Json = False,
) -> None:
    """Show the latest texts of the store."""
    from seqlore.lore.store import LoreStore

    frame = LoreStore(store).frame(task=task, kind=kind, id=id, limit=limit)
    if as_json:
        print_json(frame.to_dicts())
        return
    for row in frame.iter_rows(named=True):
        about = " ".join(str(row[key]) for key in ("kind", "id") if row[key] is not None)
        version = f", version {row['version']}" if row["version"] else ""
        typer.echo(f"── {about or 'no subject'}: {row['stage'] or 'asked directly'}{version}, {row['model']}")
        if prompt:
            typer.echo((f"{row['system']}\n\n" if row["system"] else "") + f"{row['prompt']}\n──")
        typer.echo(f"{row['text']}\n")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")],
    store: Store = None,
    task: Task = None,
    kind: Kind = None,
    as_json: Json = False,
) -> None:
    """Write the store's texts, with all that is recorded about them, to a Parquet file."""
    from seqlore.lore.store import LoreStore

    rows = LoreStore(store).export(out, task=task, kind=kind)
    if as_json:
        print_json({"out": str(out), "rows": rows})
    else:
        typer.echo(f"{rows:,} rows → {out}")


@app.command()
def stats(store: Store = None, as_json: Json = False) -> None:
    """Say what the store holds: answers, tokens, time and cost by model, and what they are for."""
    from seqlore.lore.store import LoreStore

    opened = LoreStore(store)
    models, uses = opened.stats(), opened.uses()
    if as_json:
        print_json({"store": str(opened.path), "models": models.to_dicts(), "uses": uses.to_dicts()})
        return
    counts = ("answers", "prompt_tokens", "completion_tokens")
    print_table(
        ("model", *(name.replace("_", " ") for name in counts), "seconds", "cost"),
        (
            (row["model"], *(f"{row[c]:,}" for c in counts), f"{row['seconds']:,.1f}", _money(row["cost"]))
            for row in models.iter_rows(named=True)
        ),
        numeric=("answers", "prompt tokens", "completion tokens", "seconds", "cost"),
    )
    typer.echo("")
    names = ("task", "stage", "prompt_set", "dataset", "model", "texts", "subjects")
    print_table(names, uses.select(names).iter_rows(), numeric=names[-2:])
    typer.echo(f"\n{opened.path}")


app.command()(pretrain)


def _words(assignments: list[str] | None) -> dict[str, str]:
    pairs = [each.partition("=") for each in assignments or ()]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise ConfigError(f'--word {bad[0]}: write it as WORD=TEXT, for example items="beauty products"')
    return {key.strip(): text.strip() for key, _, text in pairs}


def _money(cost: float | None) -> str:
    return "cost not known" if cost is None else "no cost" if cost == 0 else f"cost {cost:.4f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
