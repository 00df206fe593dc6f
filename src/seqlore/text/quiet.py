"""Loading models without a word of what nobody asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

#: Where it is installed, transformers and peft import it, and it warns of a kernel for 4-bit products that it lacks.
UNASKED = "bitsandbytes.backends.cpu.ops"


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, loading or saving a model, or importing what does, shows no progress bar (one for a second of reading
    weights says nothing) and no warning of quantised kernels."""
    from transformers.utils import logging as bars

    shown, logger = bars.is_progress_bar_enabled(), logging.getLogger(UNASKED)
    level = logger.level
    bars.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()
