"""The README.md of a small language model: what it was made from, how well it predicts, and what it is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from seqlore.version import __version__

if TYPE_CHECKING:
    from seqlore.lore.pretrain import PretrainReport

_HEAD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- seqlore
---
# {name}

A Llama-architecture language model of {parameters:,} parameters and {vocabulary:,} tokens of vocabulary, trained from
scratch by Seqlore {version} on the texts of the data below.
"""

_LIMITS = """
## Limits

- It is no dictionary of general English: it knows the words of these texts and nothing of the world. What it writes
  looks like them and may be untrue of any product.
- It follows no instructions and has seen no chat. Its chat template only puts messages one after another; tune it on
  examples of what you want.
- It is as private as its texts: a model can repeat what it has read. Share it as you would share them.
- Held-out documents also chose the round whose weights were kept, so their perplexity is slightly flattered.
- Of the data's interactions only those of the split's training part were read; texts of items are those of the whole
  catalogue.
"""


def pretrain_card(report: PretrainReport) -> str:
    """Markdown, with the metadata block that model hubs read."""
    lines = [
        _HEAD.format(
            name=report.folder.resolve().name,
            parameters=report.parameters,
            vocabulary=report.vocabulary,
            version=__version__,
        ),
        "## Texts",
        "",
        "| corpus | documents | weight | digest | dataset hash | split |",
        "|---|---|---|---|---|---|",
    ]
    for corpus in report.corpora:
        split = json.dumps(corpus["split"]) if "split" in corpus else "–"
        lines.append(
            f"| {_cell(corpus['name'])} | {corpus['documents']:,} | {corpus['weight']:g} | {corpus['digest']} "
            f"| {corpus.get('hash', '–')} | {_cell(split)} |"
        )
    lines += [
        "",
        f"{report.trained_tokens:,} tokens in {report.precision}, repeats counted, of {report.corpus_tokens:,} "
        f"different ones; {len(report.rounds)} rounds, {report.seconds:.0f} s; weights of round {report.best_round}.",
        "",
        "## Perplexity on held-out documents",
        "",
        "The unigram model knows only how frequent each token is. Figures a byte do not depend on the tokenizer.",
        "",
        "| corpus | documents | tokens | bytes | a token | unigram | a byte | unigram |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in report.perplexity:
        lines.append(
            f"| {_cell(each.corpus)} | {each.documents:,} | {each.tokens:,} | {each.bytes:,} | {each.token:.2f} "
            f"| {each.unigram_token:.1f} | {each.byte:.3f} | {each.unigram_byte:.3f} |"
        )
    if report.samples:
        lines += ["", "## What it writes by itself", ""]
        lines += [line for sample in report.samples for line in (*(f"    {x}" for x in sample.splitlines()), "")]
    lines += [_LIMITS.rstrip(), "", "## Settings", ""]
    lines += [f"- `{key}`: {value}" for key, value in report.config.model_dump(mode="json").items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
