"""Words, sentences, and what each word does: enough English to find phrases, and no more.

A text becomes a row of letters, one a token (``KINDS``), by tables of words (``english.toml``, written for this
project) and a handful of rules on endings and neighbours; a phrase is then a regular expression over letters. That is
the stop-word splitting of RAKE (Rose, Engel, Cramer and Cowley, "Automatic Keyword Extraction from Individual
Documents", in *Text Mining*, 2010, DOI 10.1002/9780470689646.ch1) with more kinds of stop words. Text of another script
goes through unharmed: its words are content, its punctuation breaks.
"""

from __future__ import annotations

import hashlib
import html
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

#: Letter → what the word does.
KINDS = {
    "n": "content, most likely a noun",
    "a": "adjective that neither praises nor blames",
    "p": "praise",
    "b": "blame",
    "q": "praise or blame after a verb, a mere kind before a noun",
    "g": "vague: true of anything that is sold",
    "v": "verb",
    "c": "is, are, was",
    "l": "verb that takes an adjective: sounds, feels",
    "w": "well",
    "d": "adverb",
    "x": "negation",
    "o": "to",
    "s": "this, these",
    "t": "another determiner",
    "i": "pronoun",
    "f": "another small word",
    "0": "number",
    ".": "punctuation",
}

_TOKEN = re.compile(r"[^\W_]+(?:(?:['&\-]|(?<=\d)[.,](?=\d))[^\W_]+)*|[^\w\s]|_")
_MARKUP = re.compile(r"<[^<>]{1,200}>|https?://\S+|www\.\S+")
_GLUED = re.compile(r"(?<=[a-z]{2})([.!?,;])(?=[A-Z][a-z])")
_BLANKS = re.compile(r"\s+")
_END = re.compile(r"“[^”]*”|[.!?…]+[\"')\]]*(?=\s|$)|[。！？]")
_TITLE_DOT = re.compile(
    r"(?:^|[\s(“])(?:\w|[Dd]r|[Mm]rs?|[Mm]s|[Ss]t|[Vv]s|[Aa]pprox|[Nn]o|[Ii]nc|[Cc]o|[Ff]l|[Oo]z|e\.g|i\.e)\.$"
)


@lru_cache(1)
def tables() -> dict[str, frozenset[str]]:
    """The word lists by name."""
    raw = tomllib.loads(files("seqlore.lore.extractive").joinpath("english.toml").read_text("utf-8"))
    return {name: frozenset(words.split()) for name, words in raw.items()}


def inflections(verb: str) -> set[str]:
    """The regular forms of a verb, a few of which nobody says: "stop" → stops, stoped, stopped, stopping, …"""
    stem = verb[:-1] if verb.endswith("e") else verb
    stem_ed = verb[:-1] + "i" if re.search(r"[^aeiou]y$", verb) else stem
    last = verb[-1]
    s = stem_ed + "es" if stem_ed.endswith("i") or re.search(r"(s|x|z|ch|sh)$", verb) else verb + "s"
    return {verb, s, stem_ed + "ed", stem + "ing", verb + last + "ed", verb + last + "ing"}


@lru_cache(1)
def _kind_of() -> dict[str, str]:
    table = tables()
    verbs = {form for verb in table["verbs"] for form in inflections(verb)} | table["irregular"]
    order = [  # later lines win: what a word does most often, where it is in several lists
        ("v", verbs),
        ("a", table["plain"]),
        ("g", table["vague"]),
        ("b", table["blame"]),
        ("p", table["praise"]),
        ("q", table["doubtful"]),
        ("l", table["linking"]),
        ("f", table["function"]),
        ("d", table["degrees"]),
        ("i", table["pronouns"]),
        ("t", table["determiners"]),
        ("c", table["copulas"]),
        ("x", table["negations"]),
        ("s", {"this", "these"}),
        ("o", {"to"}),
        ("w", {"well"}),
    ]
    return {word: kind for kind, words in order for word in words}


@lru_cache(1 << 17)
def kind_of(word: str) -> str:
    """Letter of one lower-case word, seen alone."""
    if (known := _kind_of().get(word)) is not None:
        return known
    if word[0].isdigit():
        return "0"
    if not word[0].isalpha():
        return "."
    if word.endswith("n't"):
        return "x"
    if word.endswith("ly") and len(word) > 5:
        return "d"
    if (word.endswith("ed") and len(word) > 4) or word.endswith("'s"):
        return "a"
    return "n" if len(word) > 1 else "f"


@lru_cache(1 << 17)
def stem(word: str) -> str:
    """A lower-case word without the ending of the plural or the possessive."""
    word = word.removesuffix("'s").removesuffix("'")
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(ss|x|z|ch|sh)es$", word) else word[:-1]


@lru_cache(1)
def tables_digest() -> str:
    """Of the word lists and the sentence forms: 8 hexadecimal digits."""
    raw = [files("seqlore.lore.extractive").joinpath(name).read_bytes() for name in ("english.toml", "wording.toml")]
    return hashlib.sha256(b"".join(raw)).hexdigest()[:8]


def clean(text: str) -> str:
    """Without markup, links and HTML entities; blanks folded, and put after a full stop; quotes plain."""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text or "http" in text or "www." in text:
        text = _MARKUP.sub(" ", text)
    text = _GLUED.sub(r"\1 ", text.translate(_PLAIN))  # "is great.The strap"
    return _BLANKS.sub(" ", text).strip()


_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\u200b": None, "\x00": None})


def sentences(text: str, *, titles: bool = True) -> list[str]:
    """``text`` cut after ``.``, ``!``, ``?`` outside “quotes”; not after "Dr." and the like where ``titles``."""
    out, start = [], 0
    for end in _END.finditer(text):
        if end[0][0] == "“" or (titles and end[0] == "." and is_abbreviated(text[start : end.end()])):
            continue
        out.append(text[start : end.end()].strip())
        start = end.end()
    out.append(text[start:].strip())
    return [each for each in out if each]


def is_abbreviated(text: str) -> bool:
    """Whether the dot at the end of ``text`` belongs to its last word."""
    return _TITLE_DOT.search(text[-12:]) is not None


@dataclass(frozen=True, slots=True)
class Tagged:
    """A text in tokens. shown: as written; words: in lower case; kinds: one letter each."""

    shown: list[str]
    words: list[str]
    kinds: str


def tag(text: str, *, title: bool = False) -> Tagged:
    """Tokens of a cleaned text and what each does. In a ``title`` a word with a capital is no verb: "Rose Soap"."""
    shown = _TOKEN.findall(text)
    words = [token.lower() for token in shown]
    kinds = [kind_of(word) for word in words]
    for i, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        before, capital = (kinds[i - 1], words[i - 1]) if i else (".", "."), shown[i][0].isupper()
        if kind in "vl":
            if (title and capital) or _names(word, *before):
                kinds[i] = "n"
        elif before[0] == "o" and word in tables()["verbs"]:
            kinds[i] = "v"  # "to use"
        elif kind == "w" and before[1] == "as":
            kinds[i] = "f"
        elif word == "&" and 0 < i < len(words) - 1 and shown[i - 1][0].isupper() and shown[i + 1][0].isupper():
            kinds[i] = "n"  # "Marrow & Fern" is one name
    return Tagged(shown, words, "".join(kinds))


def _names(verb: str, kind_before: str, before: str) -> bool:
    """Whether a verb is a noun after that word: "the sound", "great fit", "the picking", but "these sound"."""
    if before in _MANY:
        return False
    if verb in tables()["verbs"] or verb in tables()["linking"]:
        return kind_before in "tspbq"
    return kind_before == "t" and verb.endswith("ing")


_MANY = frozenset({"these", "those", "that", "which", "all", "what", "whose"})
