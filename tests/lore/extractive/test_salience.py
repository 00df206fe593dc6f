"""Background, tallies and summaries."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.lore.extractive import background as background_module
from seqlore.lore.extractive.background import UNKNOWN, Background
from seqlore.lore.extractive.english import tag
from seqlore.lore.extractive.phrases import named
from seqlore.lore.extractive.summary import Tally, pick, score, summarise, tally

CORPUS = ["a guitar strap", "a guitar", "a strap", "the strap of leather", "no word"]


def test_a_background_counts_texts_not_occurrences() -> None:
    background = Background.of([*CORPUS, "", "?!"])
    # "leather" and "guitar strap" stand in one text only and are not kept; the two texts without a phrase do not count
    assert background.texts == 4
    assert background.frequency == {"guitar": 2, "strap": 3}
    assert background.share("", "strap") == pytest.approx(3.5 / 5)
    assert background.share("", "guitar strap") == pytest.approx(2.5 / 5), "as rare as its rarest seen word"
    assert background.share("", "zither") == UNKNOWN


def test_weight_is_the_log_likelihood_of_the_share() -> None:
    background = Background.of(CORPUS)
    assert background.weight("", "guitar", 2, 4) == pytest.approx(2 * math.log((2 / 4) / (2.5 / 5)))
    assert background.weight("", "guitar", 1, 4) < 0 < background.weight("", "guitar", 3, 4)
    assert Background().weight("", "guitar", 1, 1) == pytest.approx(math.log(1 / UNKNOWN))


def test_digest_names_the_corpus_and_not_its_order() -> None:
    assert Background().digest == "none"
    assert Background.of(CORPUS).digest == Background.of(reversed(CORPUS)).digest
    assert Background.of(CORPUS).digest != Background.of(CORPUS[:2]).digest


def test_of_a_large_corpus_the_same_part_is_read_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "MOST_TEXTS", 2)
    assert Background.of(CORPUS).texts <= 2
    assert Background.of(CORPUS).digest == Background.of(reversed(CORPUS)).digest


def tallied(*texts: str) -> dict[str, Tally]:
    return tally([*named(tag(text))] for text in texts)


def test_a_tally_keeps_support_and_spelling() -> None:
    counts = tallied("Straps, straps, a strap", "the strap", "the strap")
    assert (counts["strap"].support, counts["strap"].times) == (3, 5)
    assert counts["strap"].spelling == "strap"
    assert tallied("Fender", "the Fender")["fender"].spelling == "Fender"


def test_a_longer_phrase_scores_higher_than_its_last_word() -> None:
    counts = tallied("clip-on tuner", "clip-on tuner")
    assert score(counts["clip-on tuner"], 2, Background()) > score(counts["tuner"], 2, Background())


def test_picked_phrases_do_not_repeat_each_other() -> None:
    counts = tallied("guitar strap button", "leather")
    assert [each.spelling for each in pick(counts.values(), 9)] == ["guitar", "strap", "button", "leather"]
    assert [each.spelling for each in pick([counts["guitar strap button"], counts["strap"]], 9)] == [
        "guitar strap button"
    ]
    assert [each.spelling for each in pick(counts.values(), 2, ["Guitars"])] == ["strap", "button"]


REVIEWS = [
    "This clip-on tuner has a bright display. It is easy to use and I love it.",
    "I bought this clip-on tuner for my violin. The display is bright, but the battery door feels cheap.",
    "This tuner works well. The battery door broke after a week; the display is bright.",
    "My cat likes the carton.",
]


def summary(*texts: str):
    return summarise([tag(text) for text in texts], Background())


def test_a_summary_names_what_several_reviews_share() -> None:
    told = summary(*REVIEWS)
    assert told.subject == "a clip-on tuner"
    assert told.mentions == []  # the display is praised and the door blamed; "violin", "cat" and "carton" are alone
    assert told.likes == ["bright display"]
    assert told.dislikes == ["cheap battery door"]


def test_a_lone_review_is_believed() -> None:
    told = summary(REVIEWS[0])
    assert (told.subject, told.likes) == ("a clip-on tuner", ["bright display", "easy to use"])
    assert summary("") == summary()


def test_reviews_that_share_nothing_still_say_something() -> None:
    assert summary("Warm reverb.", "A cello.", "Some rosin.").mentions == ["Warm reverb", "cello", "rosin"]


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_texts_can_be_summarised(texts: list[str]) -> None:
    told = summary(*texts)
    assert len(told.mentions) <= 10
    assert len(set(told.mentions)) == len(told.mentions)
