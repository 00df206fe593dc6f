"""The errors that Seqlore raises on purpose.

Each carries one sentence that names the file, row or key at fault and the remedy; the command line prints
it without a traceback. Anything else that escapes is a bug.
"""


class SeqloreError(Exception):
    """Something the user can mend. The message is one sentence."""


class DataError(SeqloreError, ValueError):
    """Data that cannot be read or used as asked."""


class ConfigError(SeqloreError, ValueError):
    """A setting that does not exist or does not fit."""


class MissingExtraError(SeqloreError, ImportError):
    """An optional dependency is not installed; the message names the extra."""
