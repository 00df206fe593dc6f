"""A tiny sentence-transformers model, made on the spot."""

from __future__ import annotations

import os
import string
import warnings
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing here reads or writes the user's cache."""
    monkeypatch.setenv("SEQLORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


USERS_CACHE = os.environ.get("SEQLORE_CACHE")


@pytest.fixture
def users_cache(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache after all, for reading what is too slow to compute in a test."""
    if USERS_CACHE is None:
        monkeypatch.delenv("SEQLORE_CACHE")
    else:
        monkeypatch.setenv("SEQLORE_CACHE", USERS_CACHE)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer BERT: 16 dimensions, mean pooling, unit length, texts of up to 24 word pieces."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # the path that versions 5 and 6 share
        from sentence_transformers.models import Normalize, Pooling, Transformer

    folder = tmp_path_factory.mktemp("tiny")
    letters = string.ascii_lowercase + string.digits + string.punctuation + "éüßжящ日本語한국어ع"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(pieces),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            initializer_range=0.5,
        )
        bert = BertModel(config)
    raw, done = folder / "bert", folder / "model"
    bert.save_pretrained(raw)
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt")).save_pretrained(raw)
    body = Transformer(str(raw), max_seq_length=24)
    SentenceTransformer(modules=[body, Pooling(16), Normalize()], device="cpu").save_pretrained(str(done))
    return done
