"""``seqlore embed``: fill the vector store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqlore.cli._common import DatasetFolder, Json, print_json


def embed(
    dataset: DatasetFolder,
    encoder: Annotated[
        str, typer.Option(help="A model's name or folder, openai:MODEL, or openai:MODEL@BASE_URL.")
    ] = "all-MiniLM-L6-v2",
    fields: Annotated[str, typer.Option(help="Text columns of the items, comma-separated.")] = "title",
    prompt: Annotated[str, typer.Option(help="Put before each text.")] = "",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the vector store; default: in the cache folder, see SEQLORE_CACHE.")
    ] = None,
    dimensions: Annotated[int | None, typer.Option(help="Shorter vectors, of a model trained for that.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, or bf16: faster on new hardware, all but the same.")] = "fp32",
    as_json: Json = False,
) -> None:
    """Compute the text vectors of all items that are not in the vector store yet.

    What was computed stays when the command is stopped; run it again and it goes on.
    """
    from seqlore.data import Catalog, Dataset
    from seqlore.text import TextSource, VectorStore

    settings = {
        "encoder": encoder,
        "fields": tuple(field.strip() for field in fields.split(",") if field.strip()),
        "prompt": prompt,
        "store": store,
        "dimensions": dimensions,
        "precision": precision,
    }
    source = TextSource.parse(settings, "seqlore embed")
    data = Dataset.load(dataset)
    texts = source.item_texts(Catalog(data.items))
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("embedding", total=None)
        found = source.fetch(texts, progress=lambda done, total: bar.update(task, completed=done, total=total))
    seconds = time.perf_counter() - started
    result = {
        "dataset": data.name,
        "encoder": encoder,
        "fields": list(source.fields),
        "items": len(texts),
        "without_text": sum(not text for text in texts),
        "texts": found.hits + found.misses,
        "hits": found.hits,
        "misses": found.misses,
        "dimension": found.vectors.shape[1],
        "seconds": round(seconds, 3),
        "store": str(VectorStore(store).folder),
    }
    if as_json:
        print_json(result)
        return
    typer.echo(
        f"{result['texts']:,} different texts of {len(texts):,} items ({result['without_text']:,} without text): "
        f"{found.hits:,} were in the store, {found.misses:,} computed in {seconds:.1f} s.\n"
        f"{result['dimension']} dimensions, kept in {result['store']}"
    )
