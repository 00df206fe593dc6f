"""What a pile of texts names, praises and blames, best supported first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.english import Tagged, stem
from seqlore.lore.extractive.phrases import Found, findings, this_one

#: What a longer phrase gains by each further word: "clip-on tuner" says more than "tuner".
LONGER = 0.4
#: Texts below which a phrase need not be supported by a second one.
FEW = 3
#: What a phrase counts for that occurs again in a text, up to three times.
AGAIN = 0.2


@dataclass(slots=True)
class Tally:
    """How often a phrase occurs.

    Attributes:
        support: texts with it, each by its weight. texts: their number. times: occurrences in all.
        shown: its spellings, counted.
    """

    found: Found
    support: float = 0.0
    texts: int = 0
    times: int = 0
    shown: Counter[str] = field(default_factory=Counter)

    @property
    def spelling(self) -> str:
        """The most frequent one, in small letters if it is also written so."""
        most = self.shown.most_common(1)[0][0]
        return most.lower() if most.lower() in self.shown else most


def tally(found: Iterable[Sequence[Found]], weights: Sequence[float] | None = None) -> dict[str, Tally]:
    """Phrases (sign + key) of several texts; a text counts for its weight, default 1."""
    out: dict[str, Tally] = {}
    for i, phrases in enumerate(found):
        seen = set()
        for each in phrases:
            name = each.sign + each.key
            count = out.get(name)
            if count is None:
                count = out[name] = Tally(each)
            count.times += 1
            count.shown[each.shown] += 1
            if name not in seen:
                seen.add(name)
                count.texts += 1
                count.support += 1.0 if weights is None else weights[i]
    return out


def score(each: Tally, texts: float, background: Background) -> float:
    """The phrase's weight against the background; more for longer phrases and for those that come again."""
    sign, key = each.found.sign, each.found.key
    again = min(3, each.times - each.texts) * AGAIN
    longer = 1 + LONGER * key.count(" ") * (not sign)
    return background.weight(sign, key, each.support + again, texts) * longer


def pick(ranked: Iterable[Tally], most: int, taken: Iterable[str] = (), before: Iterable[Tally] = ()) -> list[Tally]:
    """The first ``most`` that neither hold, nor lie in, nor share two words with an earlier or ``taken`` phrase.

    Of opinions, one an aspect; those picked ``before`` count.
    """
    chosen: list[Tally] = []
    held = [frozenset(map(stem, each.lower().split())) for each in taken]
    aspects = {each.found.aspect for each in before if each.found.sign}
    for each in ranked:
        if len(chosen) >= most:
            break
        words = frozenset(each.found.key.split())
        if (each.found.sign and each.found.aspect in aspects) or any(
            words <= o or o <= words or len(words & o) > 1 for o in held
        ):
            continue
        chosen.append(each)
        held.append(words)
        aspects.add(each.found.aspect)
    return chosen


@dataclass(frozen=True)
class Summary:
    """Phrases as a reader sees them; subject: with its article, or ""."""

    subject: str
    mentions: list[str]
    likes: list[str]
    dislikes: list[str]


def summarise(texts: Sequence[Tagged], background: Background, most: tuple[int, int, int] = (10, 8, 4)) -> Summary:
    """Of reviews of one item, or by one user; ``most`` mentions, likes, dislikes.

    Phrases of several texts come first. What a single text has fills up, to half of ``most``, if another text names the
    same thing. Of one or two texts everything counts, and so it does where nothing else would be said.
    """
    counts = tally(map(findings, texts))
    n = max(1, len(texts))
    ranked = sorted(counts.values(), key=lambda each: -score(each, n, background))

    def best(sign: str, most: int, taken: Iterable[str] = (), believing: bool = n < FEW) -> list[str]:
        mine = [each for each in ranked if each.found.sign == sign]
        shared = pick([each for each in mine if each.support > 1], most, taken)
        shown = [each.spelling for each in shared]
        single = [each for each in mine if each.support <= 1 and (believing or _known(each, counts))]
        room = most - len(shown) if believing else min(most - len(shown), most // 2)
        return shown + [each.spelling for each in pick(single, room, [*taken, *shown], shared)]

    subject = _subject(texts, counts, background)
    likes, dislikes = best("+", most[1]), best("-", most[2])
    said = [each for each in (subject, *likes, *dislikes) if each]
    mentions = best("", most[0], said) or ([] if said else best("", most[0] // 2, believing=True))
    return Summary(_with_article(subject), mentions, likes, dislikes)


def _known(each: Tally, counts: Mapping[str, Tally]) -> bool:
    """Whether a second text names what the phrase is about."""
    about = counts.get(each.found.aspect)
    return about is not None and about.support > 1 and (" " in each.found.key or bool(each.found.sign))


def _subject(texts: Sequence[Tagged], counts: Mapping[str, Tally], background: Background) -> str:
    """What the texts point at with "this" or "these", in its most telling longer form; "" where too few agree."""
    n = max(1, len(texts))
    enough = max(min(2, n), n / 5)
    pointed = tally([*this_one(text)] for text in texts)
    good = [each for each in pointed.values() if each.support >= enough]
    if not good:
        return ""
    head = max(good, key=lambda each: score(each, n, background))
    longer = [
        each
        for each in counts.values()
        if not each.found.sign and each.found.key.endswith(" " + head.found.key) and each.support >= enough
    ]
    return max([head, *longer], key=lambda each: (" " in each.found.key, score(each, n, background))).spelling


def _with_article(noun: str) -> str:
    last = noun.rpartition(" ")[2].lower()
    if not noun or stem(last) != last:
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
