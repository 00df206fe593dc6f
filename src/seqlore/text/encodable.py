"""Half an emoji, as broken files and servers have them (a lone surrogate, "\\ud83d"), can stand in no UTF-8."""

from __future__ import annotations


def encodable(text: str) -> str:
    """``text`` with a question mark for each such half, as the readers of data files have it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
