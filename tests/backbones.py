"""Tiny random language models in ordinary Hugging Face folders. Import as ``from backbones import make_backbone``."""

from __future__ import annotations

from pathlib import Path

import torch

#: Special tokens, then every byte: any text can be written.
SPECIAL = ["<s>", "</s>", "<pad>"]


def make_backbone(folder: Path, family: str = "llama", *, width: int = 32, begin: bool = True) -> Path:
    """Write a model with random weights and a tokenizer over bytes.

    "llama", "gpt2", "qwen2", "mistral"; "gemma", "gemma2", "granite", "cohere", which scale words or logits; "mamba",
    which keeps no cache of keys and values.

    Args: begin: the tokenizer puts ``<s>`` before each text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import (
        AutoModelForCausalLM,
        CohereConfig,
        Gemma2Config,
        GemmaConfig,
        GPT2Config,
        GraniteConfig,
        LlamaConfig,
        MambaConfig,
        MistralConfig,
        PreTrainedTokenizerFast,
        Qwen2Config,
    )

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*SPECIAL, *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    ends = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)
    common = {"vocab_size": len(SPECIAL) + len(letters), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    body = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    config = {
        "llama": lambda: LlamaConfig(**common, **body),
        "qwen2": lambda: Qwen2Config(**common, **body),
        "mistral": lambda: MistralConfig(**common, **body, sliding_window=64),
        "gemma": lambda: GemmaConfig(**common, **body, head_dim=width // 2),
        "gemma2": lambda: Gemma2Config(**common, **body, head_dim=width // 2, final_logit_softcapping=2.0),
        "granite": lambda: GraniteConfig(**common, **body, embedding_multiplier=3.0, logits_scaling=4.0),
        "cohere": lambda: CohereConfig(**common, **body, logit_scale=0.25),
        "mamba": lambda: MambaConfig(**common, hidden_size=width, state_size=4, num_hidden_layers=2),
        "gpt2": lambda: GPT2Config(**common, n_embd=width, n_layer=2, n_head=2, n_positions=256),
    }[family]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # at the usual 0.02 so small a body hardly tells its inputs apart
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "wpe" not in name:
                weight.normal_(std=0.15)
    model.save_pretrained(folder)
    return folder
