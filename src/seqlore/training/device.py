"""The device that a setting names: whether it is one, and whether this machine has it."""

from __future__ import annotations

import re

import torch

from seqlore.errors import ConfigError

NAME = re.compile(r"(cpu|cuda|mps)(?::(\d+))?")
#: What transformers takes for a map of devices: ways to spread layers; and where a map by layers may leave some.
SPREAD, AWAY = ("auto", "balanced", "balanced_low_0", "sequential"), "disk"


def check_name(name: str | None) -> str | None:
    """The same. Raises: ConfigError: no machine has a device of that name."""
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no device: use 'cpu', 'cuda' or 'mps', or leave it out for the best there is")
    return name


def device_of(name: str | None, setting: str = "device") -> torch.device:
    """Where ``name`` is; None = the GPU where there is one.

    Args: setting: that gives the name, the beginning of the message.

    Raises: ConfigError: it is no device, or not one of this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if (told := NAME.fullmatch(name)) is None:
        raise ConfigError(f"{setting}={name!r}: no such device; use 'cpu' or 'cuda', or leave it out")
    kind, number = told.groups()
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    else:
        count = int(kind == "cpu" or torch.backends.mps.is_available())
    if int(number or 0) >= count:
        raise ConfigError(f"{setting}={name!r}: there is none here; use 'cpu', or leave it out")
    return torch.device(name)


def device_left(name: str | None) -> torch.device:
    """Where a saved model is put: on the device that it was fitted on, or, where there is none, as with no name."""
    try:
        return device_of(name)
    except ConfigError:
        return device_of(None)


def check_map(where: str | dict[str, int | str], setting: str = "device_map") -> None:
    """Raises: ConfigError: a map of devices, as transformers has it, names one that is none, or not here."""
    if isinstance(where, str):
        if where not in SPREAD:
            device_of(where, setting)
        return
    for each in where.values():
        if each != AWAY:
            device_of(f"cuda:{each}" if isinstance(each, int) else each, setting)
