"""``seqlore models``: what there is, with its paper."""

from __future__ import annotations

from typing import Annotated

import typer

from seqlore.cli._common import Json, print_json, print_table


def models(
    name: Annotated[str | None, typer.Argument(help="Show the settings of this model.")] = None, as_json: Json = False
) -> None:
    """List the models with their papers, or the settings of one."""
    from seqlore.recommender import REGISTRY, model_class

    if name is None:
        rows = [{"name": known, "paper": model_class(known).paper} for known in sorted(REGISTRY)]
        if as_json:
            print_json(rows)
        else:
            print_table(("model", "paper"), ((row["name"], row["paper"]) for row in rows))
            typer.echo("\n`seqlore models NAME` lists a model's settings.")
        return
    fields = model_class(name).Config.model_fields
    settings = [
        {"setting": key, "default": field.get_default(call_default_factory=True), "about": field.description or ""}
        for key, field in fields.items()
    ]
    if as_json:
        print_json({"name": name, "paper": model_class(name).paper, "settings": settings})
    else:
        typer.echo(f"{name}: {model_class(name).paper}\n")
        print_table(("setting", "default", "about"), (tuple(each.values()) for each in settings))
