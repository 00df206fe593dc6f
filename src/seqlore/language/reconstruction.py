"""Does the model know what users and items are like? Reconstructed labels against the true ones.

Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423, appendix A.1 (cosine similarity by
all-MiniLM-L6-v2) and A.2.1 (Figure 5). A similarity alone says little, for labels of one shop are alike: 0.7 may be the
similarity of any two. So beside it stands that with the labels of others, and whether the true label is found again
among all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.data import Cases, Sequences, Split
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation.paired import paired_test
from seqlore.language.labels import Kind, LabelSet
from seqlore.language.relrec import ReLRec
from seqlore.text.encoder import TextEncoder, open_encoder

Floats = NDArray[np.float32]
#: Rows of similarities at a time.
BLOCK = 1024
#: Words that two labels may share without saying anything.
SHORT = 4


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """How near the reconstructed labels of one kind come to the true ones.

    Attributes:
        kind: "item" or "user". count: labels. at: cut-off of ``found``.
        own: mean similarity with the true label. shuffled: with the label of another, the mean over all others.
        interval: 95 % bootstrap interval of own − shuffled; p: of a paired permutation test.
        found: share of ids whose true label is among the ``at`` nearest of all; chance: that share for random lists.
        frame: one row an id: id, label, reconstructed, similarity, rank (1 = the true label is the nearest).
    """

    kind: str
    count: int
    own: float
    shuffled: float
    interval: tuple[float, float]
    p: float
    found: float
    chance: float
    at: int
    frame: pl.DataFrame

    @property
    def lift(self) -> float:
        """How many times as often as by chance the true label is found."""
        return self.found / self.chance

    def to_dict(self) -> dict[str, Any]:
        """Everything but the frame, for JSON."""
        return {k: v for k, v in asdict(self).items() if k != "frame"} | {"lift": self.lift}


def reconstruct(
    model: ReLRec,
    labels: LabelSet,
    kind: Kind,
    *,
    encoder: TextEncoder | str = "all-MiniLM-L6-v2",
    limit: int | None = None,
    at: int = 10,
    seed: int = 0,
    train: Sequences | None = None,
) -> Reconstruction:
    """Reconstruct the labels of all items or users that have one, and compare. The true label is the first wording as
    it was trained: names replaced, and cut where the model's labels were.

    Args:
        limit: only so many, drawn by ``seed``; retrieval is then among these.
        train: the training sequences, asked for where users' labels name items (``names="iid"``).

    Raises: DataError: fewer than two ids of this kind are known and have a label. ConfigError: ``train`` is missing.
    """
    vocabulary = model.catalog if kind == "item" else model.users
    if kind == "user" and model.config.names == "iid" and train is None:
        raise ConfigError("names = 'iid': users' labels name what they bought; give train=split.train")
    first = {} if vocabulary is None else dict(enumerate(model.as_trained(labels, kind, train)))
    known = np.array([i for i, texts in first.items() if texts], np.int64)
    if vocabulary is None or len(known) < 2:
        raise DataError(
            f"{len(known)} {kind} labels are known to the model, and comparing needs two: check the label set"
        )
    if limit is not None and limit < len(known):
        known = np.sort(np.random.default_rng(seed).choice(known, limit, replace=False))
    ids = [vocabulary.external(int(i)) for i in known]
    true, told = [first[int(i)][0] for i in known], model.explain(ids, kind)
    encode = (open_encoder(encoder) if isinstance(encoder, str) else encoder).encode
    similarity, others, rank = compare(_unit(encode(told)), _unit(encode(true)))
    interval, p, _ = paired_test((similarity - others).astype(np.float64), seed=seed)
    frame = pl.DataFrame({"id": ids, "label": true, "reconstructed": told, "similarity": similarity, "rank": rank})
    return Reconstruction(
        kind=kind,
        count=len(ids),
        own=float(similarity.mean()),
        shuffled=float(others.mean()),
        interval=interval,
        p=p,
        found=float((rank <= at).mean()),
        chance=min(1.0, at / len(ids)),
        at=at,
        frame=frame,
    )


def compare(told: Floats, true: Floats) -> tuple[Floats, Floats, Floats]:
    """(similarity with the own label, mean similarity with all others', rank of the own among all), each [n].

    Args: told, true: [n, d], unit rows. Of equal similarities half stand before: a label that several share is not
    counted for or against.
    """
    own = np.einsum("nd,nd->n", told, true)
    others = (told @ true.sum(0) - own) / (len(true) - 1)
    rank = np.zeros(len(told), np.float32)
    for start in range(0, len(told), BLOCK):
        cut = slice(start, start + BLOCK)
        block = told[cut] @ true.T - own[cut, None]
        close = np.abs(block) < 1e-6
        rank[cut] = 1 + ((block > 0) & ~close).sum(1) + (close.sum(1) - 1) / 2
    return own, others, rank


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def label_report(
    model: ReLRec, split: Split, labels: LabelSet, *, cases: Cases | None = None, n: int = 3, k: int = 5, seed: int = 0
) -> str:
    """Figure 5 as Markdown: of ``n`` test users the label, that of the item that came next, and those of the ``k``
    items listed first; words that a label shares with the user's are bold.

    Raises: DataError: no case has a user and a target with a label, or the model knows no users.
    """
    cases = split.test if cases is None else cases
    if model.users is None or cases is None:
        raise DataError("the report needs a model with users and a split with test cases")
    of_items, of_users = labels.wordings("item", model.catalog), labels.wordings("user", model.users)
    told = [
        i
        for i, (u, t) in enumerate(zip(cases.histories.users, cases.targets, strict=True))
        if of_users[u] and of_items[t]
    ]
    if not told:
        raise DataError("no test case has labels of both its user and its target")
    drawn = cases.take(np.sort(np.random.default_rng(seed).choice(told, min(n, len(told)), replace=False)))
    lists = model.rank(drawn.histories, k).items
    parts = []
    for user, target, row in zip(drawn.histories.users, drawn.targets, lists, strict=True):
        about = of_users[user][0]
        lines = [f"**{model.users.external(int(user))}**: {about}", ""]
        named = [("came next", int(target)), *((str(place), int(i)) for place, i in enumerate(row, start=1) if i)]
        for name, item in named:
            hit = " ← came next" if name.isdigit() and item == target else ""
            text = emphasise(of_items[item][0], about) if of_items[item] else "(no label)"
            lines.append(f"- {name}: {model.catalog.titles[item - 1]}: {text}{hit}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def emphasise(text: str, like: str) -> str:
    """``text`` with the words bold that also stand in ``like``; words of fewer than four letters are left alone."""
    shared = {word for word in _words(like) if len(word) >= SHORT}
    return re.sub(r"\w+", lambda m: f"**{m[0]}**" if m[0].lower() in shared else m[0], text)


def _words(text: str) -> Iterable[str]:
    return re.findall(r"\w+", text.lower())
