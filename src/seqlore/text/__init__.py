"""Text → vectors: encoders, the vector store, reductions, and how vectors enter item tables."""

from seqlore.text.encoder import SentenceEncoder, TextEncoder, open_encoder
from seqlore.text.source import TextInit, TextSource
from seqlore.text.store import VectorStore

__all__ = ["SentenceEncoder", "TextEncoder", "TextInit", "TextSource", "VectorStore", "open_encoder"]
