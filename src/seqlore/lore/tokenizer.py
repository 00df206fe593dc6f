"""A byte-level BPE tokenizer of the data's own.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016), arXiv 1508.07909, over
bytes as in Radford et al., "Language Models are Unsupervised Multitask Learners" (2019): every text can be written, and
no token stands for an unknown word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqlore.data.sequences import Sequences
from seqlore.text.encodable import encodable

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

#: Special tokens, with the ids 0, 1, 2. A text that contains one of these strings contains only characters.
PAD, START, END = SPECIAL = ("<pad>", "<s>", "</s>")
#: Text from which the vocabulary is learned; of more, every second, third, … document.
VOCABULARY_CHARACTERS = 64_000_000
#: Documents that are encoded together: bounds memory.
CHUNK = 8192
#: Messages in a row: a model that has never seen a chat has no use for names of roles. An answer ends with ``</s>``.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)


def train_tokenizer(documents: Sequence[str], size: int) -> Tokenizer:
    """A tokenizer of at most ``size`` tokens (fewer where there is little text); the same for the same documents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every = -(-sum(map(len, documents)) // VOCABULARY_CHARACTERS)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(encodable, documents[:: max(every, 1)]), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, SPECIAL.index(START))]
    )
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Sequence[str]) -> Sequences:
    """Token ids of each document, from ``<s>`` to ``</s>``, as ragged sequences."""
    start, end = SPECIAL.index(START), SPECIAL.index(END)
    parts = []
    for at in range(0, len(documents), CHUNK):
        chunk = list(map(encodable, documents[at : at + CHUNK]))
        encoded = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
        parts.append(Sequences.from_lists([start, *each.ids, end] for each in encoded))
    return Sequences.concat(parts) if parts else Sequences.from_lists([])


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """int64 [vocabulary], bytes of text that each token stands for (0 for special tokens)."""
    # A byte-level token is spelled with one character a byte.
    sizes = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for token, index in tokenizer.get_vocab().items():
        sizes[index] = 0 if token in SPECIAL else len(token)
    return sizes


def as_transformers(tokenizer: Tokenizer, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers has it: with names for the special tokens, a chat template and padding."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
