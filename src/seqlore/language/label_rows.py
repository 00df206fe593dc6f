"""Labels as rows of tokens: prompt, id token, label; and the weights that average a loss row by row.

Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423, equations 2 and 3 and Figure 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data import Catalog, Sequences, Vocabulary
from seqlore.errors import DataError
from seqlore.language.backbone import Backbone
from seqlore.language.labels import Kind, LabelSet, mark_names
from seqlore.language.tokens import Ints, Tokens, padded

Bools = NDArray[np.bool_]
#: Stands for the id token in a prompt.
PLACE = "{id}"
OWN_NAME = "this item"


def averaging_weights(read: Bools) -> NDArray[np.float32]:
    """float32 [R, L]: each row's positions in ``read`` share 1 / R equally, so that a weighted sum of losses is their
    mean within a row, then over the rows (the 1/T of equations 1 to 3). A row that reads nothing weighs nothing."""
    each = read / np.maximum(read.sum(1, keepdims=True), 1)
    return (each / max(1, len(read))).astype(np.float32)


def token_of(kind: Kind, index: int, tokens: Tokens) -> int:
    """The token of one item or user."""
    return index + (tokens.words if kind == "item" else tokens.first_user)


def check_prompts(templates: Sequence[str]) -> Sequence[str]:
    """The same. Raises: ValueError: one does not hold ``{id}`` exactly once."""
    for template in templates:
        if template.count(PLACE) != 1:
            raise ValueError(f"{template!r} must hold {PLACE} once: that is where the id token stands")
    return templates


class Prompts:
    """Prompts around an id token, tokenised once."""

    def __init__(self, body: Backbone, templates: Sequence[str], begin: Sequence[int]) -> None:
        """Args: templates: see :func:`check_prompts`. begin: tokens before each."""
        self.pieces: list[tuple[list[int], list[int]]] = []
        for template in check_prompts(templates):
            before, after = template.split(PLACE)
            self.pieces.append(([*begin, *body.encode(before.rstrip())], body.encode(after)))

    def around(self, at: int, token: int) -> Ints:
        """Tokens of prompt ``at`` about an id."""
        before, after = self.pieces[at]
        return np.array([*before, token, *after], np.int64)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt, the id's included."""
        return 1 + max(len(before) + len(after) for before, after in self.pieces)


@dataclass(frozen=True, slots=True)
class Wording:
    """One wording of a label. Attributes: tokens: int [L], the end of the text last, unless it is cut. words: bool [L],
    which of them are words and not ids. cut: whether the limit cut it."""

    tokens: Ints
    words: Bools
    cut: bool


class LabelRows:
    """The label rows of one kind. ``known``: int [m], indices that have a label."""

    def __init__(self, kind: Kind, prompts: Prompts, wordings: list[list[Wording]], tokens: Tokens) -> None:
        self.kind: Kind = kind
        self.prompts, self.tokens = prompts, tokens
        self.wordings = wordings
        self.known = np.array([i for i, each in enumerate(wordings) if each], np.int64)

    def about(self) -> dict[str, float]:
        """ids that have a label, wordings of all, tokens of the longest, and the share of wordings that were cut."""
        every = [each for wordings in self.wordings for each in wordings]
        longest = max(len(each.tokens) for each in every)
        cut = sum(each.cut for each in every) / len(every)
        return {"ids": len(self.known), "wordings": len(every), "longest": longest, "cut": cut}

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Ints, Bools]:
        """(tokens [L], read [L]) of a random wording behind a random prompt; position t is read where token t + 1 is a
        word of the label, its end included where it is not cut."""
        prompt = self.prompts.around(int(rng.integers(len(self.prompts))), token_of(self.kind, index, self.tokens))
        wordings = self.wordings[index]
        label = wordings[int(rng.integers(len(wordings)))]
        tokens = np.concatenate([prompt, label.tokens])
        read = np.zeros(len(tokens), bool)
        read[len(prompt) - 1 : -1] = label.words
        return tokens, read

    def batch(self, indices: NDArray[np.integer], rng: np.random.Generator) -> tuple[Ints, NDArray[np.float32]]:
        """(tokens [R, L], weights [R, L]) of ``indices``, of those that have a label."""
        rows = [self.draw(int(i), rng) for i in indices if self.wordings[int(i)]]
        return padded([t for t, _ in rows], np.int64), averaging_weights(padded([r for _, r in rows], bool))


def labels_alone(
    rows: Mapping[Kind, LabelRows],
    weights: Mapping[Kind, float],
    size: int,
    rng: np.random.Generator,
    shard: tuple[int, int],
) -> Iterator[tuple[Tensor, ...]]:
    """Batches of an epoch without sequences, as the net reads them: each id's label once, ``size`` of one kind at a
    time."""
    parts = []
    for kind, each in rows.items():
        order = rng.permutation(each.known)
        parts += [(kind, order[i : i + size]) for i in range(0, len(order), size)]
    rank, world = shard
    for number, at in enumerate(rng.permutation(len(parts))[: len(parts) - len(parts) % world]):
        kind, index = parts[at]
        tokens, read = rows[kind].batch(index, rng)
        if number % world == rank:
            none = torch.zeros(0, 0)
            yield none.long(), none, torch.from_numpy(tokens), torch.from_numpy(np.float32(weights[kind]) * read)


def tokenised(
    labels: LabelSet,
    kind: Kind,
    body: Backbone,
    catalog: Catalog,
    users: Vocabulary,
    *,
    limit: int | None,
    names: str,
    train: Sequences | None = None,
) -> list[list[Wording]]:
    """The labels of one kind as they are trained, [catalog.size or users.size]; [] where there is none.

    Names of catalogue items in a label (see :func:`mark_names`), after Figures 4 and 5, where an item's label bears its
    own id token now and then and a user's none at all: an item's own name becomes ``names="this item"``, which can be
    written, and a user's label stays whole. With "iid" its own name, and in a user's label the names of what that user
    bought in ``train``, become id tokens, which are read as input and never asked for, since the loss is over words.
    "keep" leaves all. Where titles are of one word, such as bare ids, no name is found.

    Args: limit: most tokens of a label, its end included; a longer one is cut, and so has no end. None = none is cut.
    """
    tokens = Tokens(body.size, catalog.size)
    vocabulary = catalog if kind == "item" else users
    titles = [t.lower() for t in catalog.titles]
    history: dict[int, list[int]] = {}
    if train is not None and kind == "user" and names == "iid":
        for user, items in zip(train.users, train, strict=True):
            history.setdefault(int(user), []).extend(map(int, items))
    out: list[list[Wording]] = []
    for index, texts in enumerate(labels.wordings(kind, vocabulary)):
        own = [index] if kind == "item" else history.get(index, [])
        known: dict[str, int | str] = {}
        if names == "iid":
            known = {titles[i - 1]: i for i in own if i}
        elif names == OWN_NAME and kind == "item" and index:
            known = {titles[index - 1]: OWN_NAME}
        out.append([_wording(mark_names(text, known), body, tokens, limit) for text in texts])
    return out


def label_rows(
    labels: LabelSet,
    kind: Kind,
    prompts: Prompts,
    body: Backbone,
    catalog: Catalog,
    users: Vocabulary,
    *,
    limit: int | None,
    names: str,
    train: Sequences | None = None,
) -> LabelRows:
    """The labels of one kind as rows; see :func:`tokenised`. Raises: DataError: no id of this kind has a label."""
    wordings = tokenised(labels, kind, body, catalog, users, limit=limit, names=names, train=train)
    if not any(wordings):
        raise DataError(f"no {kind} of this dataset has a label: were the labels made for another one?")
    return LabelRows(kind, prompts, wordings, Tokens(body.size, catalog.size))


def _wording(pieces: list[str | int], body: Backbone, tokens: Tokens, limit: int | None) -> Wording:
    ids: list[int] = []
    for piece in pieces:
        ids += [tokens.words + piece] if isinstance(piece, int) else body.encode(" " + piece.strip())
    end = body.tokenizer.eos_token_id
    whole = np.array([*ids, *([] if end is None else [end])], np.int64)
    row = whole[:limit]
    return Wording(row, row < tokens.words, len(row) < len(whole))
