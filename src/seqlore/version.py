"""The version of Seqlore, in one place."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("seqlore")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0.0.0"
