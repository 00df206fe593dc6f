"""Loading in silence, and what is heard again afterwards."""

from __future__ import annotations

import logging

import pytest

from seqlore.text.quiet import UNASKED, quiet


def test_bars_and_the_warning_of_kernels_are_off_within_and_as_before_after(caplog: pytest.LogCaptureFixture):
    from transformers.utils import logging as bars

    logger, shown = logging.getLogger(UNASKED), bars.is_progress_bar_enabled()

    def load() -> None:
        with quiet():
            logger.warning("no kernel")
            logger.error("broken")
            assert not bars.is_progress_bar_enabled()
            raise KeyError

    with pytest.raises(KeyError):  # what fails within leaves nothing switched off
        load()
    logger.warning("heard again")
    assert [record.message for record in caplog.records] == ["broken", "heard again"]
    assert bars.is_progress_bar_enabled() == shown
