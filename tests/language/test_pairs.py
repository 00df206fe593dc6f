from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.errors import ConfigError, DataError
from seqlore.language.pairs import (
    SYSTEM,
    Pair,
    chat_messages,
    parse_completion,
    session_completion,
    session_prompt,
    session_question,
    write_pairs,
    written,
)

PAIR = Pair(session_prompt(["Rose Soap", "Lip Shine, 0.5 Ounce"]), session_completion("Rosé {Cream} 8oz"))


def test_a_session_is_written_as_in_figure_1() -> None:
    assert PAIR.prompt == "1. Rose Soap\n2. Lip Shine, 0.5 Ounce\n\n###\n"
    assert PAIR.completion == " Rosé {Cream} 8oz ###"


def test_a_title_cannot_break_the_format() -> None:
    assert session_prompt([" Rose\n2. Soap ", "", "A ##### B"]) == "1. Rose 2. Soap\n2. A ## B\n\n###\n"
    assert session_completion("A\t###\nB") == " A ## B ###"


def test_an_item_without_title_is_no_completion() -> None:
    with pytest.raises(DataError, match="without a title"):
        session_completion(" \n")


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (" Rose Soap ###", "Rose Soap"),
        ("Rose Soap", "Rose Soap"),
        ("\n\nRose  Soap\nbecause it is nice", "Rose Soap"),
        (" Rose Soap ### Lip Shine ###", "Rose Soap"),
        (" No. #1 Soap ## x", "No. #1 Soap ## x"),
        (" ###", ""),
        ("", ""),
    ],
)
def test_the_title_in_what_a_model_wrote(said: str, title: str) -> None:
    assert parse_completion(said) == title


@given(st.text().filter(lambda title: title.split()))
def test_a_written_title_is_read_back(title: str) -> None:
    assert parse_completion(session_completion(title)) == written(title)
    assert written(written(title)) == written(title)


def test_both_files(tmp_path: Path) -> None:
    chat, paper = tmp_path / "new" / "chat.jsonl", tmp_path / "paper.jsonl"
    assert write_pairs(chat, [PAIR, PAIR]) == 2
    assert write_pairs(paper, iter([PAIR]), "completion") == 1
    assert [json.loads(line) for line in chat.read_text("utf-8").splitlines()] == 2 * [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": "1. Rose Soap\n2. Lip Shine, 0.5 Ounce"},
                {"role": "assistant", "content": "Rosé {Cream} 8oz"},
            ]
        }
    ]
    assert json.loads(paper.read_text("utf-8")) == {
        "prompt": "1. Rose Soap\n2. Lip Shine, 0.5 Ounce\n\n###\n",
        "completion": " Rosé {Cream} 8oz ###",
    }


def test_what_is_asked_is_what_was_trained() -> None:
    question = session_question(["Rose Soap", "Lip Shine, 0.5 Ounce"])
    assert question.messages == chat_messages(PAIR)[:-1]
    assert chat_messages(PAIR, system="")[0]["role"] == "user"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def failing() -> Iterator[Pair]:
        yield PAIR
        raise RuntimeError

    path = tmp_path / "pairs.jsonl"
    write_pairs(path, [PAIR, PAIR])
    with pytest.raises(RuntimeError):
        write_pairs(path, failing())
    assert len(path.read_text("utf-8").splitlines()) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'chat' or 'completion'"):
        write_pairs(tmp_path / "x", [PAIR], "csv")  # type: ignore[arg-type]
