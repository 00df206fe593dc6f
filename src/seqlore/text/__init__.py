"""Text → vectors: encoders, the vector store, reductions, and the start of item embeddings."""

from seqlore.text.source import TextInit, TextSource

__all__ = ["TextInit", "TextSource"]
