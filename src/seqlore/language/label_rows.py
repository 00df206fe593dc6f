"""Labels as rows of tokens: prompt, id token, label; and the weights that average a loss row by row.

Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423, equations 2 and 3 and Figure 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Catalog, Sequences, Vocabulary
from seqlore.errors import ConfigError, DataError
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


class Prompts:
    """Prompts around an id token, tokenised once."""

    def __init__(self, body: Backbone, templates: Sequence[str], kind: Kind) -> None:
        """Raises: ConfigError: a template does not hold ``{id}`` exactly once."""
        self.pieces: list[tuple[list[int], list[int]]] = []
        for template in templates:
            if template.count(PLACE) != 1:
                raise ConfigError(
                    f"{kind}_prompts: {template!r} must hold {PLACE} once: that is where the id token stands"
                )
            before, after = template.split(PLACE)
            self.pieces.append((body.begin + body.encode(before.rstrip()), body.encode(after)))

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


class LabelRows:
    """The label rows of one kind. ``known``: int [m], indices that have a label."""

    def __init__(self, kind: Kind, prompts: Prompts, wordings: list[list[tuple[Ints, Bools]]], tokens: Tokens) -> None:
        self.kind: Kind = kind
        self.prompts, self.tokens = prompts, tokens
        self.wordings = wordings
        self.known = np.array([i for i, each in enumerate(wordings) if each], np.int64)

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Ints, Bools]:
        """(tokens [L], read [L]) of a random wording behind a random prompt; position t is read where token t + 1 is a
        word of the label, its end included."""
        prompt = self.prompts.around(int(rng.integers(len(self.prompts))), token_of(self.kind, index, self.tokens))
        wordings = self.wordings[index]
        label, words = wordings[int(rng.integers(len(wordings)))]
        tokens = np.concatenate([prompt, label])
        read = np.zeros(len(tokens), bool)
        read[len(prompt) - 1 : -1] = words
        return tokens, read

    def batch(self, indices: NDArray[np.integer], rng: np.random.Generator) -> tuple[Ints, NDArray[np.float32]]:
        """(tokens [R, L], weights [R, L]) of ``indices``, of those that have a label."""
        rows = [self.draw(int(i), rng) for i in indices if self.wordings[int(i)]]
        return padded([t for t, _ in rows], np.int64), averaging_weights(padded([r for _, r in rows], bool))


def label_rows(
    labels: LabelSet,
    kind: Kind,
    prompts: Prompts,
    body: Backbone,
    catalog: Catalog,
    users: Vocabulary,
    *,
    limit: int,
    names: str,
    train: Sequences | None = None,
) -> LabelRows:
    """Tokenise the labels of one kind.

    Names of catalogue items in a label (see :func:`mark_names`): with ``names="this item"`` an item's own name becomes
    these words; with "iid" its own name, and in a user's label the names of what that user bought in ``train``, become
    id tokens, which are read as input and never asked for, since the loss is over words; "keep" leaves them.

    Args: limit: most tokens of a label, its end included; a longer one is cut.

    Raises: DataError: no id of this kind has a label.
    """
    tokens = Tokens(body.size, catalog.size)
    vocabulary = catalog if kind == "item" else users
    titles = [t.lower() for t in catalog.titles]
    history = {} if train is None or kind == "item" else {int(u): h for u, h in zip(train.users, train, strict=True)}
    out: list[list[tuple[Ints, Bools]]] = []
    for index, texts in enumerate(labels.wordings(kind, vocabulary)):
        own = [index] if kind == "item" else [int(i) for i in history.get(index, ())]
        known: dict[str, int | str] = {}
        if names == "iid":
            known = {titles[i - 1]: i for i in own if i}
        elif names == OWN_NAME and kind == "item" and index:
            known = {titles[index - 1]: OWN_NAME}
        out.append([_label(mark_names(text, known), body, tokens, limit) for text in texts])
    if not any(out):
        raise DataError(f"no {kind} of this dataset has a label: were the labels made for another one?")
    return LabelRows(kind, prompts, out, tokens)


def _label(pieces: list[str | int], body: Backbone, tokens: Tokens, limit: int) -> tuple[Ints, Bools]:
    """(tokens, which of them are words), the end of the text last."""
    ids: list[int] = []
    for piece in pieces:
        ids += [tokens.words + piece] if isinstance(piece, int) else body.encode(" " + piece.strip())
    end = body.tokenizer.eos_token_id
    row = np.array([*ids, *([] if end is None else [end])][:limit], np.int64)
    return row, row < tokens.words
