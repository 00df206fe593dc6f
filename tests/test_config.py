"""Settings: strict, and their errors are one sentence that names the key and the nearest valid one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints, ValidationError, model_validator

from seqlore.config import Config, nearest, plain
from seqlore.errors import ConfigError
from seqlore.recommender import REGISTRY, model_class


class Tank(Config):
    litres: int = Field(1, ge=1)


class Car(Config):
    wheels: int = 4
    tanks: tuple[Tank, ...] = ()
    spare: Tank | None = None
    seats: int | None = 5
    roof: Literal["none", "soft"] | None = "soft"
    extras: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _stands(self) -> Car:
        if self.wheels < 3:
            raise ValueError("a car needs three wheels to stand")
        return self


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"wheel": 3}, "car: unknown setting 'wheel'; did you mean 'wheels'?"),
        ({"spare": {"liters": 3}}, "car: unknown setting 'spare.liters'; did you mean 'litres'?"),
        ({"tanks": [{}, {"litre": 3}]}, "car: unknown setting 'tanks.1.litre'; did you mean 'litres'?"),
        ({"xyzzy": 3}, "car: unknown setting 'xyzzy'"),
        ({"wheels": 2}, "car: a car needs three wheels to stand"),
        (
            {"tanks": [{"litres": 0}]},
            "car: tanks.0.litres: Input should be greater than or equal to 1 (given: 0)",
        ),
        (
            {"wheels": "none"},
            "car: wheels: Input should be a valid integer, unable to parse string as an integer (given: 'none')",
        ),
    ],
)
def test_errors_are_one_sentence(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        Car.parse(settings, "car")
    assert str(error.value) == sentence


class Garage(Config):
    cars: tuple[Car, ...] = Field(min_length=1)
    town: str
    owner: Annotated[str, StringConstraints(min_length=1)] | None = None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"cars": []},
            "garage: cars: Tuple should have at least 1 item after validation, not 0 (given: []); town: is missing",
        ),
        ({"cars": [{"wheel": 3}], "town": "x"}, "garage: unknown setting 'cars.0.wheel'; did you mean 'wheels'?"),
        ({"cars": [{}], "twon": "x"}, "garage: unknown setting 'twon'; did you mean 'town'?"),
    ],
)
def test_one_mistake_is_told_once(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        Garage.parse(settings, "garage")
    assert str(error.value) == sentence


def test_no_value_can_be_written() -> None:
    car = Car.parse({"seats": "none", "roof": None, "tanks": [{}], "extras": {"radio": None}}, "car")
    assert car.seats is None
    written = plain(car)
    assert written == {
        "wheels": 4,
        "tanks": [{"litres": 1}],
        "seats": "none",
        "roof": "none",
        "extras": {"radio": "none"},
    }
    assert plain(Car()) == {"wheels": 4, "tanks": [], "seats": 5, "roof": "soft", "extras": {}}
    assert Car.parse({"roof": "none"}, "car").roof == "none", "where the word is a value, it is that"
    assert Car.parse({"spare": "none"}, "car").spare is None
    assert Garage.parse({"cars": [{}], "town": "x", "owner": "none"}, "garage").owner == "none", "texts are texts"


def test_settings_cannot_be_changed() -> None:
    car = Car()
    with pytest.raises(ValidationError, match="frozen"):
        car.wheels = 5


def test_nearest_ignores_case_and_keeps_silent_when_nothing_is_near() -> None:
    assert nearest("sasrec", ["SASRec", "BERT4Rec"]) == "; did you mean 'SASRec'?"
    assert nearest("qqq", ["SASRec"]) == ""


class Described(Config):
    plain: int = 1
    """Below the field."""
    given: int = Field(default=1, description="In the field.")


class Redefined(Described):
    plain: int = 2
    given: int = 2


def test_a_field_with_another_default_keeps_its_description() -> None:
    told = {name: field.description for name, field in Redefined.model_fields.items()}
    assert told == {"plain": "Below the field.", "given": "In the field."}
    assert Redefined().plain == 2


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_setting_of_a_model_is_described(name: str) -> None:
    fields = model_class(name).Config.model_fields
    assert [key for key, field in fields.items() if not field.description] == []
