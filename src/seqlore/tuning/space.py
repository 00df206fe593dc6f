"""Search spaces as data: TOML tables of ranges by class, shipped in ``spaces/`` and extended by files of the user.

    [SASRec]                              # of this class and those derived from it
    dropout = { low = 0.0, high = 0.9 }   # whole numbers where both ends are
    learning_rate = { low = 1e-4, high = 1e-2, log = true }
    clip_norm = { low = 1.0, high = 100.0, log = true, or_none = true }
    embedding_size = { low = 16, high = 512, log = true, multiple_of = "heads" }
    heads = { low = 1, high = 4, divisor_of = "embedding_size" }
    position = { choices = ["start", "end"] }
    item_init.reduce = { choices = ["pca", "whiten"] }
    weight_decay = "keep"                 # not searched

A class that stands nearer to the model goes before a farther one, and a user's file before what is shipped.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, Field, StrictFloat, StrictInt, ValidationError, model_validator

from seqlore.config import Config, nearest
from seqlore.errors import ConfigError
from seqlore.experiment.overrides import merged
from seqlore.recommender import REGISTRY, model_class

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

#: In place of a range: the row's own value stays.
KEEP = "keep"


class Range(Config):
    """Numbers from ``low`` to ``high``, both included; whole ones where both ends are whole."""

    low: StrictInt | StrictFloat
    high: StrictInt | StrictFloat
    #: Drawn evenly in the logarithm.
    log: bool = False
    #: None is tried too, as often as a number at first.
    or_none: bool = False
    #: A setting that must divide the number: the nearest such number is taken.
    multiple_of: str | None = None
    #: A setting that the number must divide: where that is not searched, only its divisors are drawn.
    divisor_of: str | None = None

    @model_validator(mode="after")
    def _ends_fit(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"low = {self.low} and high = {self.high} are no range: write the smaller one as low")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low} has no logarithm: write a positive one, or leave log out")
        if self.multiple_of and not self.whole:
            raise ValueError(f"a multiple of {self.multiple_of} is whole: write low and high without a point")
        if self.divisor_of and not self.whole:
            raise ValueError(f"a divisor of {self.divisor_of} is whole: write low and high without a point")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: BaseTrial, name: str) -> int | float | None:
        """What the trial tries."""
        if self.or_none and not trial.suggest_categorical(f"{name} given", [True, False]):
            return None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, float(self.low), float(self.high), log=self.log)

    def multiple(self, value: int, of: int) -> int:
        """The multiple of ``of`` in the range that is nearest to ``value``; above it where the range has none."""
        return of * max(min(round(value / of), math.floor(self.high / of)), math.ceil(self.low / of))

    def dividing(self, number: int) -> Choices | None:
        """The divisors of ``number`` in the range; None where it has none, and any draw is as wrong as another."""
        fitting = [n for n in range(int(self.low), int(self.high) + 1) if n and number % n == 0]
        return Choices(choices=tuple(fitting)) if fitting else None

    def ends(self) -> tuple[Any, ...]:
        """The values that a model must accept if it is to accept all."""
        return (self.low, self.high, *([None] if self.or_none else []))


class Choices(Config):
    """One of several values."""

    choices: tuple[bool | StrictInt | StrictFloat | str, ...] = Field(min_length=1)

    def suggest(self, trial: BaseTrial, name: str) -> Any:
        """What the trial tries."""
        return trial.suggest_categorical(name, list(self.choices))

    def ends(self) -> tuple[Any, ...]:
        return self.choices


@dataclass(frozen=True)
class Space:
    """What is searched of one model.

    Attributes: parameters: setting (dots lead into tables: ``item_init.reduce``) → its range.
    """

    model: str
    parameters: Mapping[str, Range | Choices]

    def suggest(self, trial: BaseTrial, base: Config) -> dict[str, Any]:
        """The settings that a trial tries. ``base``: the model's others, for those that must fit one not searched."""
        values: dict[str, Any] = {
            name: self._drawn(range_, base).suggest(trial, name) for name, range_ in self.parameters.items()
        }
        for name, range_ in self.parameters.items():
            if isinstance(range_, Range) and range_.multiple_of and values[name] is not None:
                divisor = values.get(range_.multiple_of) or getattr(base, range_.multiple_of)
                values[name] = range_.multiple(values[name], divisor)
        return merged(*(nested_at(name, value) for name, value in values.items()))

    def _drawn(self, range_: Range | Choices, base: Config) -> Range | Choices:
        """The range, or the divisors in it of a setting that is not searched."""
        of = range_.divisor_of if isinstance(range_, Range) else None
        if of is None or of in self.parameters:
            return range_
        assert isinstance(range_, Range)
        return range_.dividing(getattr(base, of)) or range_

    def without(self, names: Collection[str]) -> Space:
        """The space less the settings ``names``, and less what lies in them."""
        gone = {n for n in self.parameters if any(n == name or n.startswith(f"{name}.") for name in names)}
        return Space(self.model, {name: each for name, each in self.parameters.items() if name not in gone})

    def to_dict(self) -> dict[str, Any]:
        """As it is written in a file."""
        return {name: each.model_dump(mode="json", exclude_defaults=True) for name, each in self.parameters.items()}


def space_for(model: str, *own: str | Path, base: Mapping[str, Any] | None = None) -> Space:
    """The search space of a model: what is shipped, with files of the user over it.

    Args: base: settings of the row that is tuned, beside which those of the files must be valid.

    Raises: ConfigError: no such model; a file cannot be read, or names a class, setting or value that does not exist;
        or nothing of the model is searched.
    """
    cls = model_class(model)
    line = [each.__name__ for each in reversed(cls.__mro__)]
    shipped = sorted((files("seqlore.tuning") / "spaces").iterdir(), key=lambda file: file.name)
    tables = [(file.name, tomllib.loads(file.read_text(encoding="utf-8"))) for file in shipped]
    fields = cls.Config.model_fields
    known = {*line, *REGISTRY, *(name for _, table in tables for name in table)}
    tables += [(str(path), _read(Path(path), known)) for path in own]
    found: dict[str, Range | Choices] = {}
    for source, table in tables[len(shipped) :]:
        for name in (each for each in table if each not in line):
            _check_names(name, table[name], f"{source}: [{name}]")
    for source, table in tables:
        for name in (each for each in line if each in table):
            where = f"{source}: [{name}]"
            for setting, range_ in _parameters(table[name], where):
                found.pop(setting, None)
                if range_ is not None:
                    _check(cls.Config, base or {}, setting, range_, where)
                    found[setting] = range_
                else:
                    known_setting(cls.Config, setting, where)
    if not found:
        if not fields.keys() - {"seed"}:
            raise ConfigError(f"{model} has no settings, so there is nothing to tune")
        raise ConfigError(
            f"there is no search space for {model}: write one, a table [{model}] with ranges for some of its settings "
            f"(`seqlore models {model}` lists them), and give the file with --space"
        )
    return Space(model, found)


def known_setting(config: type[Config], name: str, where: str) -> None:
    """Raises: ConfigError: there is no setting ``name`` (dots lead into tables); the message names the nearest."""
    holders: list[type[BaseModel]] = [config]
    for step in name.split("."):
        fields = {field: info for holder in holders for field, info in holder.model_fields.items()}
        if holders and step not in fields:
            raise ConfigError(f"{where}: unknown setting {name!r}{nearest(step, fields)}")
        # Below a setting that is no table of settings, such as a list of models, anything may stand.
        holders = _tables_in(fields[step].annotation) if holders else []


def _tables_in(annotation: Any) -> list[type[BaseModel]]:
    """The classes of settings that a field may hold."""
    parts = get_args(annotation) or (annotation,)
    return [each for each in parts if isinstance(each, type) and issubclass(each, BaseModel)]


def _check_names(name: str, table: Mapping[str, Any], where: str) -> None:
    """The settings in a table of another class are settings of it, or of a class derived from it."""
    wanted = {setting.partition(".")[0] for setting, _ in _parameters(table, where)}
    fields = set(model_class(name).Config.model_fields) if name in REGISTRY else set()
    if wanted <= fields:
        return
    for kind in map(model_class, REGISTRY):
        if name in (each.__name__ for each in kind.__mro__):
            fields |= kind.Config.model_fields.keys()
    for setting in sorted(wanted - fields) if fields else ():
        raise ConfigError(f"{where}: unknown setting {setting!r}{nearest(setting, fields)}")


def nested_at(name: str, value: Any) -> dict[str, Any]:
    """``("a.b", 1)`` → ``{"a": {"b": 1}}``."""
    for step in reversed(name.split(".")):
        value = {step: value}
    return value


def _read(path: Path, known: Collection[str]) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the search space cannot be read ({error.strerror})") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{path}: not valid TOML ({error})") from error
    for name, table in tables.items():
        if name not in known:
            raise ConfigError(f"{path}: [{name}] is no model{nearest(name, known)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} = {table!r} is no table: write [{name}] and its ranges below")
    return tables


def _parameters(table: Mapping[str, Any], where: str, prefix: str = "") -> Iterator[tuple[str, Range | Choices | None]]:
    """(setting, range, or None for one to keep) of a table and of the tables in it."""
    for key, value in table.items():
        name = prefix + key
        if value == KEEP:
            yield name, None
        elif isinstance(value, dict) and "choices" in value:
            yield name, Choices.parse(value, f"{where} {name}")
        elif isinstance(value, dict) and {"low", "high"} & value.keys():
            yield name, Range.parse(value, f"{where} {name}")
        elif isinstance(value, dict) and value:
            yield from _parameters(value, where, f"{name}.")
        else:
            raise ConfigError(
                f'{where} {name} = {value!r}: write {{ low = …, high = … }}, {{ choices = […] }} or "{KEEP}"'
            )


def _check(config: type[Config], base: Mapping[str, Any], name: str, range_: Range | Choices, where: str) -> None:
    """The setting exists and takes every end of the range. What fits only beside other settings is left to trials."""
    if name == "seed":
        raise ConfigError(f"{where} seed: a seed is not searched; remove it")
    for rule in ("multiple_of", "divisor_of"):
        other = getattr(range_, rule, None)
        if other is not None and other not in config.model_fields:
            raise ConfigError(f"{where} {name}: {rule} = {other!r} is no setting{nearest(other, config.model_fields)}")
    for value in range_.ends():
        try:
            config.parse(merged(base, nested_at(name, value)), where)
        except ConfigError as error:
            cause = error.__cause__
            if not isinstance(cause, ValidationError) or any(each["loc"] for each in cause.errors()):
                raise
