"""A fit outside a run, which may be killed as those of a run may."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from seqlore.config import digest
from seqlore.data import Split
from seqlore.errors import ConfigError
from seqlore.experiment.contents import with_contents
from seqlore.experiment.trial import EpochProgress
from seqlore.fitting import fit_options, fit_with
from seqlore.recommender import Recommender
from seqlore.version import __version__


def fit_alone(
    model: Recommender,
    split: Split,
    out: str | Path,
    *,
    log: Path | None = None,
    checkpoint: Path | None = None,
    exclude_seen: bool = True,
    progress: EpochProgress | None = None,
) -> Recommender:
    """Fit a model and save it in ``out``.

    Args:
        log: JSONL file, one object an epoch.
        checkpoint: folder in which each epoch is kept until the model is saved. A fit of the same settings on the same
            split that left something there is gone on with; others are not touched.
        exclude_seen: of the lists by which validation stops a net or weighs a blend.

    Raises: ConfigError: the model has none of what was asked for.
    """
    asked = {"log": log, "checkpoint": checkpoint, "exclude_seen": None if exclude_seen else False}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    for name in sorted(options.keys() - fit_options(type(model))):
        raise ConfigError(f"{model.name} takes no {name!r} when it is fitted: leave it out")
    if checkpoint is not None:
        own = digest(
            seqlore=__version__,
            dataset=split.dataset.hash,
            split=split.how,
            model=model.name,
            exclude_seen=exclude_seen,
            **with_contents(model.config.model_dump(mode="json")),
        )
        options["checkpoint"] = checkpoint / f"{model.name}-{own}"
    fit_with(model, split, progress=progress, **options)
    model.save(out)
    if checkpoint is not None:
        shutil.rmtree(options["checkpoint"], ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds something else
            checkpoint.rmdir()
    return model
