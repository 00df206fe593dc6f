from __future__ import annotations

import pytest

from seqlore.lore.extractive.titles import Title, parse


def rest(title: Title) -> tuple[tuple[str, ...], ...]:
    return title.parts, title.purposes, title.sizes


def test_films_are_named_as_they_are_spoken_of() -> None:
    assert parse("Bad Seed, The (1956)")[0::4] == ("The Bad Seed", "1956")
    assert parse("Bicycle Thief, The (Ladri di biciclette) (1948)").name == "The Bicycle Thief (Ladri di biciclette)"
    assert parse("2001: A Space Odyssey").year == ""


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (
            "Pentel Sign Pen, Fiber-Tipped, Black Ink (S520-A), Box of 12",
            (("Pentel Sign Pen", "Fiber-Tipped", "Black Ink"), (), ("Box of 12",)),
        ),
        (
            "Tallis & Fox Toothbrush for First Teeth, Olive, Pack of 4",
            (("Tallis & Fox Toothbrush", "Olive"), ("First Teeth",), ("Pack of 4",)),
        ),
        ("Still Life Cologne For Men by Acme 3.4 fl. oz", (("Still Life Cologne", "Acme"), ("Men",), ("3.4 fl. oz",))),
        ("Got The Blues For Red", (("Got The Blues", "Red"), (), ())),
        ("Notes, 4 in x 6 in, Lined", (("Notes", "Lined"), (), ("4 in x 6 in",))),
        ('Calendar, 22 x 17" (HOD164-17)', (("Calendar",), (), ('22 x 17"',))),
        ("3 in 1 Stapler", (("3 in 1 Stapler",), (), ())),
        ("2-in-1 Shampoo, 8.5 Ounce", (("2-in-1 Shampoo",), (), ("8.5 Ounce",))),
        ("3M Spray Adhesive, 10-1/4-Ounce", (("Spray Adhesive",), (), ("10-1/4-Ounce",))),
        ("", ((), (), ())),
    ],
)
def test_parts_purposes_and_sizes(title: str, expected: tuple[tuple[str, ...], ...]) -> None:
    assert rest(parse(title)) == expected
