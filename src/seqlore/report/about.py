"""What ``leaderboard.json`` says about data, rules and machine, as pairs of a heading and a short text.

Everything that is there is shown: what is known under its own heading, the rest under its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqlore.report.board import Leaderboard
from seqlore.report.wording import count, plain, share

Facts = list[tuple[str, str]]

#: Keys of ``about`` that say how was judged.
RULES = {
    "protocol": "Split",
    "seen_rule": "Items of the history",
    "candidate_rule": "Items to choose from",
    "tie_in_score_rule": "Equal scores",
    "popularity": "Popularity",
}
#: Keys of ``about`` that stand elsewhere on the page.
TOLD = {"statistics", "command", "peak_memory", *RULES}


def data_facts(statistics: Mapping[str, Any]) -> Facts:
    """The data in numbers (see :func:`seqlore.data.statistics.statistics`)."""
    left = dict(statistics)
    facts: Facts = []

    def tell(heading: str, key: str, text: str | None) -> None:
        left.pop(key, None)
        if text:
            facts.append((heading, text))

    items, seen = left.get("items"), left.pop("items_seen", None)
    unseen = f" ({count(items - seen)} of them without interactions)" if items and seen and items > seen else ""
    for key in ("users", "items", "interactions"):
        if key in left:
            tell(key.capitalize(), key, count(left[key]) + (unseen if key == "items" else ""))
    if isinstance(density := left.get("density"), float):
        tell("Density", "density", f"{100 * density:.3f} % of all pairs of a user and an item")
    for key, heading in (("per_user", "Interactions of a user"), ("per_item", "Interactions of an item")):
        if isinstance(spread := left.get(key), dict) and {"mean", "median", "max"} <= spread.keys():
            text = f"{spread['mean']:.1f} on average, median {spread['median']:.0f}, at most {count(spread['max'])}"
            tell(heading, key, text)
    if isinstance(time := left.get("time"), dict) and {"first", "last", "tied_share"} <= time.keys():
        days = ", in whole days" if time.get("whole_days") else ""
        tell("Time", "time", f"{time['first'][:10]} to {time['last'][:10]}{days}")
        facts.append(("Sharing user and time with another", f"{share(time['tied_share'])} of the interactions"))
    if isinstance(repeated := left.get("repeated_share"), float):
        tell("Repetitions", "repeated_share", f"{share(repeated)} of the interactions" if repeated else None)
    if isinstance(rating := left.get("rating"), dict) and "mean" in rating:
        tell("Ratings", "rating", f"{rating['mean']:.2f} on average")
    if isinstance(text := left.get("text"), dict):
        for where in [key for key, value in text.items() if isinstance(value, dict)]:
            there = [f"{name} {share(part)}" for name, part in text[where].items() if part]
            tell(f"{where.capitalize()} with text", "text", ", ".join(there) or "none")
    for key in ("filters", "notes"):
        tell(key.capitalize(), key, "; ".join(map(str, left.get(key) or [])))
    return facts + flat({k: v for k, v in left.items() if v is not None and k not in ("name", "hash")})


def tied_share(statistics: Mapping[str, Any]) -> float | None:
    """Share of the interactions that have user and time in common with another; None where it was not measured."""
    time = statistics.get("time")
    share = time.get("tied_share") if isinstance(time, dict) else None
    return share if isinstance(share, int | float) else None


def rules(board: Leaderboard) -> Facts:
    """How was judged, as far as it is the same for all rows."""
    facts = [(heading, plain(board.about[key])) for key, heading in RULES.items() if board.about.get(key)]
    return [*facts, ("Rows fitted on", ", ".join(sorted({row.fit_on for row in board.rows})))]


def provenance(board: Leaderboard) -> Facts:
    """Hashes, seeds, versions, machine."""
    facts = flat({key: value for key, value in board.about.items() if key not in TOLD})
    facts.append(("Seeds", plain(sorted({seed for row in board.rows for seed in row.seeds}))))
    if board.seqlore and not any("seqlore" in heading.lower() for heading, _ in facts):
        facts.append(("Seqlore", board.seqlore))
    if isinstance(winner := board.winner, dict) and "label" in winner:
        told = [f"{key} {plain(winner[key])}" for key in ("ties", "seed") if winner.get(key) is not None]
        facts.append(("Best by validation", f"{winner['label']} ({', '.join(told)})" if told else str(winner["label"])))
    return facts


def flat(facts: Mapping[str, Any]) -> Facts:
    """Any facts; those inside others come under both names."""
    pairs = []
    for key, value in facts.items():
        heading = str(key).replace("_", " ")
        heading = heading[:1].upper() + heading[1:]
        inner = value.items() if isinstance(value, Mapping) else ()
        pairs += [(f"{heading}: {name}", plain(v)) for name, v in inner] or [(heading, plain(value))]
    return pairs
