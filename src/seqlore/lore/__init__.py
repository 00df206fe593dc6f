"""Text → knowledge: language models, what they are asked, and the store that keeps what they said."""

from seqlore.lore.model import Answer, LanguageModel, Prompt, Sampling, generate_all

__all__ = ["Answer", "LanguageModel", "Prompt", "Sampling", "generate_all"]
