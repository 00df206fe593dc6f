"""Text → knowledge: language models, what they are asked, and the store that keeps what they said."""

from seqlore.lore.book import Lore, load_lore
from seqlore.lore.locate import language_model
from seqlore.lore.make import LoreSettings, make_lore, plan_lore
from seqlore.lore.model import Answer, LanguageModel, Prompt, Sampling, generate_all
from seqlore.lore.store import LoreStore

__all__ = [
    "Answer",
    "LanguageModel",
    "Lore",
    "LoreSettings",
    "LoreStore",
    "Prompt",
    "Sampling",
    "generate_all",
    "language_model",
    "load_lore",
    "make_lore",
    "plan_lore",
]
