from __future__ import annotations

import pytest

from seqlore.lore.extractive.english import KINDS, clean, inflections, kind_of, sentences, stem, tables, tag
from seqlore.lore.extractive.phrases import named, opinions, this_one


def kinds(text: str) -> str:
    return tag(clean(text)).kinds


def names(text: str) -> list[str]:
    return [found.shown for found in named(tag(clean(text)))]


def views(text: str) -> list[tuple[str, str, str]]:
    return [(found.sign, found.shown, found.aspect) for found in opinions(tag(clean(text)))]


def test_each_token_gets_the_letter_of_what_it_does() -> None:
    # this(s) strap(n) is(c) not(x) too(d) stiff(q) ,(.) and(f) my(t) shoulder(n) thanks... 3(0) times(g)
    assert kinds("This strap is not too stiff, and my shoulder was fine 3 times.") == "sncxdq.ftncp0g."
    assert set("sncxdq.ftp0g") <= set(KINDS)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("the sound", "tn"),  # after a determiner, a verb of the senses is a noun
        ("it sounds", "il"),
        ("these sound", "sl"),
        ("great fit", "pn"),
        ("the finish", "tn"),  # and so is a verb
        ("to finish", "ov"),
        ("works well", "lw"),
        ("as well", "df"),
        ("Marrow & Fern", "nnn"),  # "&" joins names
        ("salt & pepper", "n.n"),
        ("wobbled quickly don't", "apx"),
        ("Peter's", "a"),
    ],
)
def test_neighbours_and_endings_decide(text: str, letters: str) -> None:
    assert kinds(text) == letters


def test_a_phrase_ends_with_a_noun_and_has_at_most_three_words() -> None:
    assert names("long guitar strap button") == [
        "guitar",
        "long guitar",
        "strap",
        "guitar strap",
        "long guitar strap",
        "button",
        "strap button",
        "guitar strap button",
    ]
    assert names("Eau de Parfum by Marrow & Fern") == [
        "Eau",
        "Parfum",
        "Eau de Parfum",
        "Marrow",
        "Fern",
        "Marrow & Fern",
    ]
    assert names("The best pick of cheaper pedals") == ["pick", "pedals"]  # a comparison names nothing


def test_in_a_title_capitals_are_no_verbs() -> None:
    assert tag("Rose Soap").kinds == "vn"
    assert tag("Rose Soap that rose", title=True).kinds == "nntv"


def test_what_stands_after_this() -> None:
    assert [each.shown for each in this_one(tag("I love this clip-on tuner and these great picks"))] == [
        "clip-on tuner",
        "tuner",
        "picks",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A great sound.", [("+", "great sound", "sound")]),
        ("The sound is really great!", [("+", "great sound", "sound")]),
        ("The sound is not great.", [("-", "sound not great", "sound")]),
        ("The sound isn't great.", [("-", "sound not great", "sound")]),
        ("The smell of ripe fruit is lovely.", [("+", "lovely smell of ripe fruit", "smell")]),
        ("A case, for the straps are short", [("-", "short straps", "strap")]),
        ("A case and the strap is short", [("-", "short strap", "strap")]),
        ("It sounds great", [("+", "sounds great", "sound")]),
        ("It does not sound great", [("-", "does not sound great", "sound")]),
        ("It does not sound bad", []),  # faint praise
        ("I feel bad", []),  # about the writer
        ("The buckle feels cheap.", [("-", "cheap buckle", "buckle")]),
        ("Made of cheap plastic", [("-", "cheap plastic", "plastic")]),
        ("heavy metal", []),  # a kind, not a complaint
        ("The bag is heavy", [("-", "heavy bag", "bag")]),
        ("It is easy to use", [("+", "easy to use", "to use")]),
        ("It is not easy to use", [("-", "not easy to use", "to use")]),
        ("hard to say", []),
        ("It is well made", [("+", "well made", "made")]),
        ("There was no hum at all", [("+", "no hum", "hum")]),
        ("no strings", []),
        ("The strap is too short.", [("-", "too short", "too short")]),
        ("Too bad!", []),
        ("This is not a good pedal", []),
        ("Not bad but great tone", [("+", "great tone", "tone")]),
        ("not only great tone", [("+", "great tone", "tone")]),
    ],
)
def test_opinions(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert views(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("strings", "string"),
        ("batteries", "battery"),
        ("boxes", "box"),
        ("glass", "glass"),
        ("bus", "bus"),
        ("this", "this"),
        ("men's", "men"),
    ],
)
def test_stems_drop_the_plural(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_inflections_hold_the_regular_forms() -> None:
    assert {"stop", "stops", "stopped", "stopping"} <= inflections("stop")
    assert {"carry", "carries", "carried", "carrying"} <= inflections("carry")
    assert {"arrive", "arrives", "arrived", "arriving"} <= inflections("arrive")
    assert {"matches", "matched", "matching"} <= inflections("match")


def test_sentences_end_where_they_end() -> None:
    text = 'Dr. Brown\'s soap is 0.5 oz. It works! "Really?" Yes… “No. Never.” says she. 好。是的。'
    assert sentences(text) == [
        "Dr. Brown's soap is 0.5 oz. It works!",  # "oz." may be an abbreviation: rather too long than torn
        '"Really?"',
        "Yes…",
        "“No. Never.” says she.",
        "好。",
        "是的。",
    ]
    assert sentences("Dr. Brown. No. 5", titles=False) == ["Dr.", "Brown.", "No.", "5"]


def test_markup_and_entities_go_and_glued_sentences_part() -> None:
    assert clean("It&#8217;s <b>great</b>.   The strap &amp; www.example.com/x more") == "It's great . The strap & more"
    assert clean("is great.The strap, v2.0") == "is great. The strap, v2.0"


def test_doubtful_words_are_praise_or_blame() -> None:
    assert tables()["doubtful"] <= tables()["praise"] | tables()["blame"]
    assert {kind_of(word) for word in tables()["doubtful"]} == {"q"}
