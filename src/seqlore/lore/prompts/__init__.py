"""What language models are asked: templates, and sets of them in TOML files beside this one."""

from seqlore.lore.prompts.sets import FACTS, TASKS, Facts, PromptSet, Task, built_in_names, choose
from seqlore.lore.prompts.template import Template

__all__ = ["FACTS", "TASKS", "Facts", "PromptSet", "Task", "Template", "built_in_names", "choose"]
