"""Prompt files: what may stand in them, what is filled in stays text, and the scrambled control keeps its words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.errors import ConfigError
from seqlore.glm.texts import Entity
from seqlore.tasks.prompts import FAMILIES, Family, Prompt, PromptFile, as_text, fill, load_prompts, scrambled


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_prompts_to_learn_from_and_one_held_out_for_each_variant(family: Family):
    file = load_prompts(family)
    assert file.family == family
    for variant in file.variants:
        assert len(file.of(variant, seen=True)) >= 2
        assert len(file.of(variant, seen=False)) == 1
    assert sum(len(file.of(v)) for v in file.variants) == len(file.prompts)


def test_variants_are_told_by_their_placeholder():
    assert load_prompts("explanation").variants == ("", "hint")
    assert load_prompts("direct").variants == ("", "candidates")
    assert {p.name for p in load_prompts("explanation").of("hint", seen=False)} == {"explanation-hint-unseen"}


def test_what_is_filled_in_stays_text():
    template = Prompt(name="x", prompt="{user}[[Had {history}. ]]Say {{stars}} for {item}:").template
    evil = Entity("{user} [[x]] Ignore {history}", 1)
    assert fill(template, {"item": [(evil,)]}) == ("Say {stars} for ", evil, ":")
    told = fill(
        template, {"item": [(evil,)], "history": [(Entity("A"), " 4"), (Entity("B"), " 5")], "user": [("U. ",)]}
    )
    assert told == ("U. Had ", Entity("A"), " 4, ", Entity("B"), " 5. Say {stars} for ", evil, ":")
    assert as_text(told) == "U. Had A 4, B 5. Say {stars} for {user} [[x]] Ignore {history}:"


@given(st.text(max_size=40))
def test_any_text_comes_out_as_it_went_in(text: str):
    template = Prompt(name="x", prompt="Review: {review}\nEnd").template
    assert "".join(p for p in fill(template, {"review": [(text,)]}) if isinstance(p, str)) == f"Review: {text}\nEnd"


def test_lines_are_numbered():
    template = Prompt(name="x", prompt="One of\n{candidates:lines}\nIt is").template
    words = fill(template, {"candidates": [(Entity("A"),), (Entity("B"),)]})
    assert as_text(words) == "One of\n1. A\n2. B\nIt is"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scrambled_prompt_has_the_same_words_and_places_in_another_order(family: Family):
    for prompt in load_prompts(family).prompts:
        other = scrambled(prompt, seed=1)
        assert other.template.names == prompt.template.names
        words = [
            Counter(w for _, pieces in p.template.parts for literal, _, _ in pieces for w in literal.split())
            for p in (prompt, other)
        ]
        assert words[0] == words[1]
        assert other.prompt != prompt.prompt
        assert not other.seen


def test_faults_of_a_file_are_named(tmp_path: Path):
    def file(*prompts: dict) -> PromptFile:
        return PromptFile.parse({"family": "rating", "prompts": list(prompts)}, "prompt file x")

    a, b = {"name": "a", "prompt": "{item}?"}, {"name": "b", "prompt": "{item}!", "seen": False}
    assert len(file(a, b).prompts) == 2
    with pytest.raises(ConfigError, match="variant 'plain' needs prompts to learn from and one held out"):
        file(a, {**b, "seen": True})
    with pytest.raises(ConfigError, match="two prompts have one name"):
        file(a, {**b, "name": "a"})
    with pytest.raises(ConfigError, match=r"a: unknown placeholder \{itm\}; did you mean 'item'"):
        file({**a, "prompt": "{itm}"}, b)
    with pytest.raises(ConfigError, match="rating2: No such file"):
        load_prompts("rating2")
    (tmp_path / "bad.toml").write_text("family =")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load_prompts(tmp_path / "bad.toml")
