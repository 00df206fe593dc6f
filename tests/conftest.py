"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from seqlore.data import Dataset


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with published sets, or a visible skip. SEQLORE_DATA names it; default: beside the repository."""
    root = Path(os.environ.get("SEQLORE_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("the published sets are not here (set SEQLORE_DATA to their folder)")
    return root


@pytest.fixture(scope="session")
def beauty(data_root: Path) -> Dataset:
    """Amazon Beauty 5-core (2014): 22,363 users, 12,101 items, 198,502 interactions."""
    return Dataset.load(data_root / "amazon2014-beauty")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a small random BERT over letters: 24-dimensional vectors, no download."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    torch.manual_seed(0)
    size = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **size))
    bert.save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[body, Pooling(24)], device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model's folder: a small random Llama over bytes."""
    from backbones import make_backbone

    return make_backbone(tmp_path_factory.mktemp("backbone"))
