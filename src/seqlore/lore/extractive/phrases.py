"""Phrases of a text: what it names, and what it praises or blames.

Opinions are found by patterns around adjectives, after Hu and Liu, "Mining and Summarizing Customer Reviews" (KDD 2004,
DOI 10.1145/1014052.1014073): "great sound", "the sound is great", "sounds great", "easy to use", "well made", "no hum",
"too small". Deviations: no part-of-speech tagger stands behind the letters, the word lists are our own, and a negation
within the four words before turns an opinion around.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from seqlore.lore.extractive.english import Tagged, stem, tables

#: Most words of a phrase, and most letters.
LONGEST, WIDEST = 3, 40
#: Words that stand inside a name only: "Marrow & Fern", "eau de parfum".
BETWEEN = frozenset({"&", "de"})


class Found(NamedTuple):
    """A phrase in a text.

    Attributes:
        sign: "" = named, "+" = praised, "-" = blamed.
        key: stems; equal keys are one phrase. shown: as a reader sees it.
        aspect: what it is about; one aspect is praised in one phrase.
    """

    sign: str
    key: str
    shown: str
    aspect: str


_RUN = re.compile(r"[naq]*n")
_BEFORE = re.compile(r"(?P<adjective>[pbq])(?P<named>[aq]?n{1,3})(?![na])")
_AFTER = re.compile(
    r"(?P<named>[aq]?n{1,2})(?P<of>f[ts]?[aq]?n{1,2})?[clx][dfx]{0,3}(?P<adjective>[pbq])(?![opbq]|[naq]*[ng])"
)
_SENSE = re.compile(r"(?P<verb>l)d{0,2}(?P<adjective>[pbqw])(?![opbq]|[naq]*[ng])")
_TO_DO = re.compile(r"(?P<adjective>[pbq])o(?P<verb>[vl])")
_MADE = re.compile(r"w(?P<verb>v)")
_WITHOUT = re.compile(r"x[tda]{0,2}(?P<flaw>n)(?!n)")
_TOO = re.compile(r"d(?P<adjective>[aqb])(?![anqg])")


def named(tagged: Tagged) -> Iterator[Found]:
    """Every phrase of at most ``LONGEST`` words that ends with a noun; parts of long phrases count, too."""
    kinds, words, shown = tagged.kinds, tagged.words, tagged.shown
    never_first = BETWEEN | tables()["comparing"]
    for run in _RUN.finditer(kinds):
        first, last = run.span()
        stems = [*map(stem, words[first:last])]
        for end in range(first, last):
            if kinds[end] != "n" or words[end] in BETWEEN:
                continue
            head = stems[end - first]
            yield Found("", head, shown[end], head)
            for start in range(end - 1, max(first, end - LONGEST + 1) - 1, -1):
                text = " ".join(shown[start : end + 1])
                if len(text) > WIDEST or words[start] in words[start + 1 : end + 1]:
                    break
                if words[start] not in never_first:
                    yield Found("", " ".join(stems[start - first : end + 1 - first]), text, head)


def this_one(tagged: Tagged) -> Iterator[Found]:
    """What stands after "this" or "these", with the words before the noun: "this clip-on tuner"."""
    for match in re.finditer(r"s[pbd]{0,2}([naq]{0,2}n)(?!n)", tagged.kinds):
        start, end = match.span(1)
        for first in range(start, end):
            words = tagged.words[first:end]
            yield Found("", " ".join(map(stem, words)), " ".join(tagged.shown[first:end]), stem(words[-1]))


def opinions(tagged: Tagged) -> Iterator[Found]:
    """Praise and blame."""
    yield from _adjectives(tagged)
    yield from _verbs(tagged)
    words = tagged.words
    for match in _WITHOUT.finditer(tagged.kinds):
        word = words[match.start("flaw")]
        if word in tables()["flaws"] and words[match.start()] in {"no", "without", "zero"}:
            yield Found("+", f"no {stem(word)}", f"no {word}", stem(word))
    for match in _TOO.finditer(tagged.kinds):
        at = match.start("adjective")
        if (
            words[at - 1] == "too"
            and words[at] not in tables()["not_too"]
            and not _adverb(words[at])
            and not _negated(tagged, at - 1)
        ):
            yield Found("-", f"too {words[at]}", f"too {words[at]}", f"too {words[at]}")


def _adjectives(tagged: Tagged) -> Iterator[Found]:
    """ "great sound", "the sound is great", "the sound is not great"."""
    kinds, words = tagged.kinds, tagged.words
    for match in _BEFORE.finditer(kinds):
        at = match.start("adjective")
        cheap = words[at] == "cheap" and words[at + 1] in tables()["materials"]
        if (kinds[at] != "q" or cheap) and not (_adverb(words[at]) or words[at - 1] == "too" or _negated(tagged, at)):
            yield _about(words[at], tagged, match.span("named"), match.end("named") - 1)
    for match in _AFTER.finditer(kinds):
        at, (start, end), aspect = match.start("adjective"), match.span("named"), match.end("named") - 1
        if match["of"]:  # "the smell of mint is lovely" is about the smell, "a case and the strap is short" is not
            whole = words[end] == "of"
            start, end = start if whole else end + 1, match.end("of")
            start, aspect = (start, aspect) if whole else (start + (kinds[start] in "ts"), end - 1)
        if _adverb(words[at]) or words[at - 1] == "too":
            continue
        found = _about(words[at], tagged, (start, end), aspect)
        if "x" not in kinds[end:at]:
            yield found
        elif found.sign == "+":
            shown = f"{' '.join(tagged.shown[start:end])} not {words[at]}"
            yield Found("-", f"{found.key} not", shown, found.aspect)


def _verbs(tagged: Tagged) -> Iterator[Found]:
    """ "sounds great", "does not fit well", "easy to use", "well made"."""
    kinds, words = tagged.kinds, tagged.words
    for match in _SENSE.finditer(kinds):
        verb, at = match.start("verb"), match.start("adjective")
        sense = _sense(words[verb])
        by = kinds[verb - 1] if verb else ""
        if sense is None or (by and by in "io" and words[verb - 1] != "it") or (by == "n" and kinds[at] != "w"):
            continue  # "I feel bad"; "the buckle feels cheap" was found above
        sign, no = _sign(words[at]), _negated(tagged, verb)
        if no and sign == "+":
            yield Found("-", f"{sense} {words[at]} not", f"does not {sense} {words[at]}", sense)
        elif not no:
            yield Found(sign, f"{sense} {words[at]}", f"{_third(sense)} {words[at]}", sense)
    for match in _TO_DO.finditer(kinds):
        at, verb = match.start("adjective"), match.start("verb")
        if words[at] in tables()["ease"] and words[verb] not in tables()["idle"]:
            no = _negated(tagged, at)
            phrase = f"{'not ' * no}{words[at]} to {words[verb]}"
            yield Found("-" if (_sign(words[at]) == "-") != no else "+", phrase, phrase, f"to {words[verb]}")
    for match in _MADE.finditer(kinds):
        word = words[match.start("verb")]
        if (word.endswith("ed") or word in {"made", "built"}) and not _negated(tagged, match.start()):
            yield Found("+", f"well {word}", f"well {word}", "made")


def _sign(adjective: str) -> str:
    return "-" if adjective in tables()["blame"] else "+"


def _about(adjective: str, tagged: Tagged, span: tuple[int, int], aspect: int) -> Found:
    """What is named in ``span`` with an adjective; ``aspect`` is the place of its main word."""
    key = " ".join(map(stem, tagged.words[slice(*span)]))
    shown = " ".join(tagged.shown[slice(*span)])
    return Found(_sign(adjective), f"{adjective} {key}", f"{adjective} {shown}", stem(tagged.words[aspect]))


def _adverb(word: str) -> bool:
    return word.endswith("ly") and word not in tables()["adjectives_in_ly"]


def _negated(tagged: Tagged, at: int) -> bool:
    """Whether a negation stands within the four words before, with no new clause between."""
    for i in range(at - 1, max(-1, at - 5), -1):
        if tagged.kinds[i] == "x":
            return tagged.words[i] != "nothing" and tagged.words[i : i + 2] != ["not", "only"]
        if tagged.kinds[i] == "." or tagged.words[i] in {"but", "and"}:
            return False
    return False


def _sense(verb: str) -> str | None:
    """The base form of a verb of the senses: "sounded" → "sound"."""
    for ending in ("", "s", "es", "ed", "ing", "ted"):
        if (base := verb.removesuffix(ending)) in tables()["senses"] and base + ending == verb:
            return base
    return {"felt": "feel", "held": "hold", "ran": "run"}.get(verb)


def _third(verb: str) -> str:
    return verb + ("es" if verb == "go" else "s")


def findings(tagged: Tagged) -> list[Found]:
    """What a text names and thinks."""
    return [*named(tagged), *opinions(tagged)]
