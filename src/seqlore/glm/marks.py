"""The tokens that are no text: masks, start and end of a blank; and the tokenizers that have them.

A tokenizer of the data's own has ``<pad>``, ``<s>`` (start of a blank), ``</s>`` (its end) from
:mod:`seqlore.lore.tokenizer`, and the masks and [CLS] behind its words. Those of the original checkpoints are found by
the names that GLM gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqlore.errors import ConfigError
from seqlore.lore.tokenizer import END, PAD, START, train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Which mask stands for a blank: within a text, for whole sentences, for a long rest.
Level = Literal["mask", "smask", "gmask"]
LEVELS: tuple[Level, ...] = ("mask", "smask", "gmask")

#: Names in tokenizers, ours and those of the original checkpoints.
NAMES: dict[str, tuple[str, ...]] = {
    "pad": (PAD, "<|endoftext|>", "[PAD]"),
    "start": (START, "<|startofpiece|>", "<sop>"),
    "end": (END, "<|endofpiece|>", "<eop>"),
    "mask": ("[MASK]",),
    "smask": ("[sMASK]",),
    "gmask": ("[gMASK]",),
    "cls": ("[CLS]", "<|endoftext|>"),
}
#: Added behind the words of a tokenizer of the data's own.
ADDED = ("[CLS]", "[MASK]", "[sMASK]", "[gMASK]")


@dataclass(frozen=True, slots=True)
class Marks:
    """Token ids. ``cls`` stands before every text, at position 0, so that its first token has position 1."""

    pad: int
    start: int
    end: int
    mask: int
    smask: int
    gmask: int
    cls: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        """Those of a tokenizer. Raises: ConfigError: one is missing."""
        found = {}
        for role, names in NAMES.items():
            ids = [i for name in names if (i := tokenizer.token_to_id(name)) is not None]
            if not ids:
                raise ConfigError(f"the tokenizer has no token {' or '.join(names)}: add it, as GLM's tokenizers do")
            found[role] = ids[0]
        return cls(**found)

    def of_level(self, level: Level) -> int:
        """The mask of a level."""
        return getattr(self, level)


def make_tokenizer(documents: Sequence[str], size: int) -> Tokenizer:
    """A tokenizer of the data's own, of about ``size`` tokens."""
    tokenizer = train_tokenizer(documents, size - len(ADDED))
    tokenizer.add_special_tokens(list(ADDED))
    tokenizer.encode_special_tokens = True  # a text that contains "[MASK]" contains only characters
    return tokenizer


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The ``tokenizer.json`` of a folder. Raises: ConfigError: there is none, or it is damaged."""
    from tokenizers import Tokenizer

    path = Path(folder).expanduser() / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not there; save the checkpoint's tokenizer as a fast one with save_pretrained")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise ConfigError(f"{path}: no tokenizer that can be read ({error}); get it anew with the model") from error
    tokenizer.encode_special_tokens = True
    return tokenizer
