from __future__ import annotations

import json
from typing import Any

import pytest

from seqlore.errors import ConfigError
from seqlore.lore.extractive import ExtractiveModel
from seqlore.lore.extractive.model import count
from seqlore.lore.model import Prompt, Sampling, generate_all

FACTS = (
    ("title", ("Tallis & Fox Toothbrush for First Teeth, Olive, Pack of 4",)),
    ("brand", ("Tallis & Fox",)),
    ("categories", ("Oral Care", "Toothbrush")),
    ("description", ("A bamboo toothbrush for children. The bristles are dark green, and the bristles are of nylon.",)),
)
ITEM = Prompt("", task="item-attributes", facts=FACTS)


def answer(schema: dict[str, Any] | None = None, prompt: Prompt = ITEM, **sampling: Any) -> Any:
    found = generate_all(ExtractiveModel(), [prompt], Sampling(json_schema=schema, **sampling))[0]
    return json.loads(found.texts[0])


def schema(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}


def test_all_that_is_known() -> None:
    assert answer() == {
        "name": "Tallis & Fox Toothbrush for First Teeth, Olive, Pack of 4",
        "type": "Toothbrush",
        "brand": "Tallis & Fox",
        "categories": ["Oral Care", "Toothbrush"],
        "year": "",
        "size": ["Pack of 4"],
        "color": ["olive", "dark green"],
        "material": ["bamboo", "nylon"],
        "audience": ["children"],
        "features": ["Olive", "First Teeth", "bristles"],
    }


@pytest.mark.parametrize(
    ("title", "colours"),
    [
        ("Pen, Black", ["black"]),
        ("Gloves, Light Green (Pack of 4)", ["light green"]),
        ("Brown Sugar Mousse by Nettle & Gray", []),
        ("Mint Day Cream for Kids", ["cream"]),  # a word that ends the name is taken for a colour if it can be one
        ("Toner, Clear", ["clear"]),
    ],
)
def test_colours_end_a_part_of_the_title(title: str, colours: list[str]) -> None:
    item = Prompt("", task="item-attributes", facts=(("title", (title,)), ("brand", ("Nettle & Gray",))))
    assert answer(prompt=item)["color"] == colours


def test_nothing_known_is_an_object_without_content() -> None:
    known = answer(prompt=Prompt("", task="item-attributes"))
    assert [*known.values()] == ["", "", "", [], "", [], [], [], [], []]


def test_a_schema_chooses_by_name_and_type() -> None:
    assert answer(schema(("Colour", "mood"), Colour=TEXTS, mood=TEXT, brand=TEXTS, materials=TEXT)) == {
        "Colour": ["olive", "dark green"],
        "mood": "",
        "brand": ["Tallis & Fox"],
        "materials": "bamboo; nylon",
    }
    assert answer(schema(color={**TEXTS, "maxItems": 1})) == {"color": ["olive"]}


def test_what_is_not_known_is_null_or_left_out() -> None:
    number = {"type": ["number", "null"]}
    assert answer(schema(("price",), price=number, stars={"type": "integer"})) == {"price": None}
    film = Prompt("", task="item-attributes", facts=(("title", ("Clouds (1956)",)),))
    assert answer(schema(year={"type": "integer"}), film) == {"year": 1956}


def test_of_fixed_values_the_one_that_the_texts_name() -> None:
    enum = {"type": "string", "enum": ["steel", "Bamboo"]}
    assert answer(schema(stuff=enum, tone={"type": "string", "enum": ["loud"]})) == {"stuff": "Bamboo"}


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"type": "array", "items": TEXT}, "object with properties"),
        (schema(code={"type": "string", "pattern": "x+"}), "'pattern' of property 'code'"),
        (schema(("price",), price={"type": "number"}), "'price', which is required"),
        (schema(("tone",), tone={"type": "string", "enum": ["loud"]}), "'tone', which is required"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_before_anything_is_asked(bad: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        next(iter(ExtractiveModel().generate([ITEM], Sampling(json_schema=bad))))


def test_other_tasks_put_their_text_into_the_first_required_string() -> None:
    prompt = Prompt("", task="denoise", facts=(("label", ("Reviewers mention reverb.",)),))
    both = schema(("summarization", "reasoning"), note=TEXT, summarization=TEXT, reasoning=TEXT)
    assert answer(both, prompt) == {"summarization": "Reviewers mention reverb.", "reasoning": ""}
    assert answer(schema(note=TEXT), prompt) == {"note": "Reviewers mention reverb."}
    for bad in (schema(note=TEXTS), schema(("x",), note=TEXT, x=TEXTS)):
        with pytest.raises(ConfigError, match="one text"):
            answer(bad, prompt)


def test_lists_are_shortened_before_json_breaks() -> None:
    whole = count(json.dumps(answer(), ensure_ascii=False))
    for budget in range(whole - 30, whole):
        found = generate_all(ExtractiveModel(), [ITEM], Sampling(max_tokens=budget))[0]
        assert json.loads(found.texts[0])["brand"] == "Tallis & Fox"
        assert found.completion_tokens <= budget
        assert found.finish == ("length",)
