"""``[split]`` of a recipe → the split of a dataset, under one tie rule at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from seqlore.config import Config
from seqlore.data import Dataset, Split, leave_one_out, ratio, temporal_sessions, user_ratio
from seqlore.data.splits import Ties


def _as_tuple(value: Any) -> Any:
    value = (value,) if isinstance(value, str) else value
    if isinstance(value, list | tuple) and len(set(map(str, value))) < len(value):
        raise ValueError("the same rule stands there twice")
    return value


class SplitSettings(Config):
    """The protocol. Each tie rule makes a part of the leaderboard of its own."""

    protocol: Literal["leave-one-out", "temporal-sessions", "ratio", "user-ratio"] = "leave-one-out"
    ties: Annotated[tuple[Ties, ...], BeforeValidator(_as_tuple)] = Field(default=("file",), min_length=1)
    #: Of shuffled ties and of the sessions that stop a net; the models have seeds of their own.
    seed: int = Field(default=0, ge=0)
    #: Of "temporal-sessions" only; see :func:`seqlore.data.temporal_sessions`.
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    folds: int | None = Field(default=None, ge=0)
    drop_unknown: bool | None = None
    valid_fraction: float | None = Field(default=None, gt=0, lt=1)
    valid_limit: int | None = Field(default=None, ge=1)
    #: Of "ratio" and "user-ratio" only: train, valid, test.
    parts: tuple[float, float, float] | None = None
    #: Of "user-ratio" only; see :func:`seqlore.data.user_ratio`.
    targets: int | None = Field(default=None, ge=1)
    first: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _own_settings_only(self) -> Self:
        for name, owners in _OWNERS.items():
            if self.protocol not in owners and getattr(self, name) is not None:
                owner = " and ".join(repr(each) for each in owners)
                raise ValueError(f"{name!r} belongs to protocol {owner}, not to {self.protocol!r}: remove it")
        return self

    @classmethod
    def of(cls, how: Mapping[str, Any]) -> Self:
        """The settings that made the split ``how`` (of a split, or of a model that was fitted on one)."""
        name = str(how.get("protocol")).replace("temporal sessions", "temporal-sessions")
        protocol, _, rest = name.partition(" ")
        own = {name: how[name] for name in _OWNERS if name in how}
        parts = {"parts": [float(part) for part in rest.split(":")]} if protocol in _OWNERS["parts"] else {}
        given = {"protocol": protocol, "ties": how.get("ties", "file"), "seed": how.get("seed", 0), **own, **parts}
        return cls.parse(given, "the split that the model was fitted on")

    def make(self, dataset: Dataset, ties: Ties) -> Split:
        """The split of ``dataset`` under one tie rule."""
        own = {name: value for name in _OWNERS if (value := getattr(self, name)) is not None}
        return _FUNCTIONS[self.protocol](dataset, ties=ties, seed=self.seed, **own)


_FUNCTIONS = {
    "leave-one-out": leave_one_out,
    "temporal-sessions": temporal_sessions,
    "ratio": ratio,
    "user-ratio": user_ratio,
}

#: Settings that not every protocol has, with those that do.
_OWNERS = {
    **dict.fromkeys(
        ("test_fraction", "folds", "drop_unknown", "valid_fraction", "valid_limit"), ("temporal-sessions",)
    ),
    "parts": ("ratio", "user-ratio"),
    **dict.fromkeys(("targets", "first"), ("user-ratio",)),
}
