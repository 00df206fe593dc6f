"""The base of every settings class, and its errors in plain words."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Self, cast, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from seqlore.errors import ConfigError

#: How files and the command line say that a setting has no value (None): TOML has no null.
NONE = "none"


def _folder_name(name: str) -> str:
    if not name.strip() or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError("it is the name of a folder in runs/: no slash, no dot at its beginning, not empty")
    return name


#: What a run is called, and its folder where no other is named.
FolderName = Annotated[str, AfterValidator(_folder_name)]


class Config(BaseModel):
    """Immutable settings. An unknown key is an error that names the nearest valid one.

    A field is described by ``Field(description=…)`` or the docstring below it; a subclass that gives it another default
    need not repeat that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for base in cls.__mro__[1:]:
            for name, field in cast(dict, base.__dict__.get("__pydantic_fields__", {})).items():
                if cls.model_fields[name].description is None:
                    cls.model_fields[name].description = field.description

    @model_validator(mode="before")
    @classmethod
    def _none(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        fields = cls.model_fields
        return {
            name: None if value == NONE and name in fields and may_be_none(fields[name].annotation) else value
            for name, value in settings.items()
        }

    @property
    def random(self) -> bool:
        """Whether two fits with different seeds may differ: by itself, where there is a ``seed``."""
        return "seed" in type(self).model_fields

    @classmethod
    def parse(cls, settings: Mapping[str, Any], what: str) -> Self:
        """Validated settings. Raises: ConfigError: one sentence that begins with ``what`` and names each bad key."""
        try:
            return cls(**settings)
        except ValidationError as error:
            raise ConfigError(f"{what}: {_explain(error, cls)}") from error


def plain(config: BaseModel, none: str | None = NONE) -> dict[str, Any]:
    """The settings as TOML can say them: one that has no value, though by default it has, is ``none``."""
    told = {}
    for name, value in config.model_dump(mode="json").items():
        default = type(config).model_fields[name].get_default(call_default_factory=True, validated_data={})
        if value is not None or default is not None:
            told[name] = _plain(getattr(config, name), value, none)
    return told


def _plain(own: Any, value: Any, none: str | None) -> Any:
    """Args: own: what a model holds. value: the same as JSON has it."""
    if isinstance(own, BaseModel):
        return plain(own, none)
    if isinstance(own, Mapping):
        return {key: _plain(each, value[key], none) for key, each in zip(value, own.values(), strict=True)}
    if isinstance(own, list | tuple):
        return [_plain(each, plainly, none) for each, plainly in zip(own, value, strict=True)]
    return none if value is None else value


def may_be_none(annotation: Any) -> bool:
    """Whether None is allowed, and the word "none" is no value: no text, path or choice."""
    kinds = get_args(annotation)
    words = {kind if isinstance(kind, type) else next(iter(get_args(kind)), None) for kind in kinds}
    return NoneType in kinds and not words & {str, Path} and not any(NONE in get_args(kind) for kind in kinds)


def digest(length: int = 12, /, **parts: Any) -> str:
    """``length`` hex digits over anything that JSON can say; what it cannot, say a path, stands as text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:length]


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for an error message, or nothing."""
    lowered = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.5)
    return f"; did you mean {lowered[close[0]]!r}?" if close else ""


def _explain(error: ValidationError, config: type[BaseModel]) -> str:
    parts, told = [], error.errors()
    places = [each["loc"] for each in told]
    strangers = {each["loc"] for each in told if each["type"] == "extra_forbidden"}
    for each in told:
        at = each["loc"]
        key = ".".join(str(p) for p in at)
        if each["type"] == "too_short" and any(loc[: len(at)] == at and loc != at for loc in places):
            continue  # what stands in the list is at fault, not how much of it
        if each["type"] == "missing":
            if not any(loc[:-1] == at[:-1] and nearest(str(loc[-1]), [str(at[-1])]) for loc in strangers):
                parts.append(f"{key}: is missing")
        elif each["type"] == "extra_forbidden":
            holders = [config]
            for step in at[:-1]:  # descend to the nested settings in which the key was written
                annotations = [h.model_fields[step].annotation for h in holders if step in h.model_fields]
                holders = [m for a in annotations for m in _models_in(a)] or holders  # a list's index leads nowhere
            fields = {name for holder in holders for name in holder.model_fields}
            parts.append(f"unknown setting {key!r}{nearest(str(at[-1]), fields)}")
        elif each["type"] == "value_error":  # a validator of ours: its sentence says it all
            sentence = str(each.get("ctx", {}).get("error", each["msg"]))
            parts.append(f"{key}: {sentence}" if key else sentence)
        else:
            parts.append(f"{key or 'settings'}: {each['msg']} (given: {each.get('input')!r})")
    return "; ".join(parts)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)
