from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.denoise import denoise
from seqlore.lore.extractive.wording import say, statement
from seqlore.lore.model import Prompt

REVIEWS = (
    "The bright display shows every string.",
    "A bright display, and quick delivery.",
    "The display could be larger. The sticky clip left marks.",
)


def cleaned(label: str, *reviews: str, title: str = "", background: Background | None = None) -> str:
    facts = (("label", (label,)), ("title", (title,) if title else ()), ("reviews", reviews))
    return say(denoise(Prompt("", task="denoise", facts=facts), background or Background()))


def test_prices_shipping_and_repetitions_go() -> None:
    label = "Reviewers mention display, great price, fast shipping and bright display. Reviewers like: bright display."
    # "display" came before "bright display", which says more and so stays; the second "bright display" repeats it
    assert cleaned(label) == "Reviewers mention display and bright display."


def test_what_fewer_than_two_reviews_support_goes() -> None:
    label = (
        "The reviews are about a tuner. Reviewers mention display, string and marks. Reviewers dislike: sticky clip."
    )
    assert cleaned(label, *REVIEWS) == "The reviews are about a tuner. Reviewers mention display."
    assert cleaned(label, *REVIEWS[:2]) == "The reviews are about a tuner. Reviewers mention display and string."
    assert cleaned(label, *REVIEWS, title="String tuner") == (
        "The reviews are about a tuner. Reviewers mention display and string."
    )


def test_one_review_supports_what_is_said_of_its_writer() -> None:
    assert cleaned("This user dislikes: sticky clip and rusty hinge.", *REVIEWS) == "This user dislikes: sticky clip."


def test_what_is_said_of_everything_goes() -> None:
    common = Background.of(["a display", "the display", "her display", "a string", "the string", "no word", "a clip"])
    # display: 3 of 3 reviews against (3 + .5) / (6 + 1) of the corpus; string: 2 of 3 against 2.5 / 7
    reviews = ("display, string", "display, string", "display")
    assert cleaned("Reviewers mention display and string.", *reviews, background=common) == (
        "Reviewers mention display and string."
    )
    often = Background.of([f"a display, a {word}" for word in ("hinge", "string", "string", "cat", "dog")])
    assert cleaned("Reviewers mention display and string.", *reviews, background=often) == "Reviewers mention string."


def test_sentences_of_another_origin() -> None:
    label = (
        "Players who read the display on dark stages will enjoy it. It arrived quickly, with fast shipping and a gift. "
        "Players who read the display on dark stages will enjoy it. The zebra eats marzipan."
    )
    first = "Players who read the display on dark stages will enjoy it."
    assert cleaned(label, "The display is seen on a stage, and players read it.") == first
    assert cleaned(label) == f"{first} The zebra eats marzipan.", "without reviews nothing is off topic"


def test_a_label_is_never_emptied() -> None:
    assert cleaned("Reviewers mention great price and shipping.") == "Reviewers mention great price."
    assert cleaned("Fast shipping, great price.") == "Fast shipping, great price."
    assert cleaned("") == ""


some_labels = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(["display", "bright display", "great price", "sticky clip", "cello"]), max_size=5).map(
        lambda phrases: say([statement("mentions", phrases), statement("likes", phrases[::-1])])
    ),
)


@given(some_labels, st.lists(st.sampled_from(REVIEWS), max_size=4))
def test_twice_is_once(label: str, reviews: list[str]) -> None:
    once = cleaned(label, *reviews)
    assert cleaned(once, *reviews) == once
    assert bool(once) == bool(label.strip()) or not once
