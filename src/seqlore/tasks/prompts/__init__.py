"""What the five families ask, in TOML files beside this one."""

from seqlore.tasks.prompts.sets import FAMILIES, Family, Prompt, PromptFile, load_prompts, scrambled
from seqlore.tasks.prompts.words import Value, Words, as_text, fill

__all__ = [
    "FAMILIES",
    "Family",
    "Prompt",
    "PromptFile",
    "Value",
    "Words",
    "as_text",
    "fill",
    "load_prompts",
    "scrambled",
]
