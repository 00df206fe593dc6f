"""``seqlore models``: what there is, with its paper."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seqlore.cli._common import Json, print_json, print_table


def models(
    name: Annotated[str | None, typer.Argument(help="Show the settings of this one.")] = None, as_json: Json = False
) -> None:
    """List the models, rerankers and their augmentations with their papers, or the settings of one."""
    from seqlore.recommender import REGISTRY, RERANKERS, model_class, named
    from seqlore.rerank.augment import AUGMENTATIONS

    others = {name: ("reranker", target) for name, target in RERANKERS.items()}
    others |= {name: ("augmentation", target) for name, target in AUGMENTATIONS.items()}
    if name is None:
        listed = [_row(known, "recommender", model_class(known)) for known in sorted(REGISTRY)]
        listed += [_row(known, kind, named(target)) for known, (kind, target) in others.items()]
        if as_json:
            print_json(listed)
        else:
            print_table(("name", "kind", "paper"), (tuple(row.values()) for row in listed))
            typer.echo("\n`seqlore models NAME` lists the settings of one.")
        return
    cls: Any = named(others[name][1]) if name in others else model_class(name)
    settings = [
        {
            "setting": key,
            "default": None if field.is_required() else field.get_default(call_default_factory=True),
            "required": field.is_required(),
            "about": " ".join((field.description or "").split()),
        }
        for key, field in cls.Config.model_fields.items()
    ]
    if as_json:
        print_json({"name": name, "paper": cls.paper, "settings": settings})
    else:
        typer.echo(f"{name}: {cls.paper}\n")
        rows = (
            (each["setting"], "required" if each["required"] else each["default"], each["about"]) for each in settings
        )
        print_table(("setting", "default", "about"), rows)


def _row(name: str, kind: str, cls: Any) -> dict[str, str]:
    return {"name": name, "kind": kind, "paper": cls.paper}
