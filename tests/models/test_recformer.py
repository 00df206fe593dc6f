"""Recformer: how a history becomes one text, that its stages do what they say, and that texts alone place new items."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import seqlore
from seqlore.data import Dataset, Sequences, Split
from seqlore.data.splits import ordered_sequences
from seqlore.errors import ConfigError, DataError
from seqlore.models.newcomers import new_items
from seqlore.models.recformer import BEGIN, NAME, VALUE, Pretraining, RecformerConfig, RecformerNet
from seqlore.recommender import model_class
from toys import make_split

FEW = {"embedding_size": 8, "layers": 1, "vocabulary": 300, "epochs": 2, "pretrain_epochs": 1, "fields": ["title"]}


def net(**settings) -> RecformerNet:
    """Item 1 is "7: 8 9", item 2 "7: 5", item 3 nothing."""
    torch.manual_seed(0)
    texts = {
        "tokens": torch.tensor([7, 8, 9, 7, 5]),
        "kinds": torch.tensor([NAME, VALUE, VALUE, NAME, VALUE]),
        "ends": torch.tensor([0, 3, 5, 5]),
        "tokenizer": torch.zeros(1, dtype=torch.uint8),
    }
    config = RecformerConfig(**{"embedding_size": 8, "layers": 1, "vocabulary": 300, "max_length": 4, **settings})
    return RecformerNet(np.array([0, 1, 1, 1]), config, None, texts).eval()


def test_a_history_is_one_text_latest_item_first():
    model = net()
    tokens, kinds, places, real = model.assemble(torch.tensor([[1, 2, 1], [2, 3, 0]]), torch.tensor([3, 2]))
    assert tokens.tolist() == [[1, 7, 8, 9, 7, 5, 7, 8, 9], [1, 7, 5, 0, 0, 0, 0, 0, 0]]
    assert kinds[0].tolist() == [BEGIN, NAME, VALUE, VALUE, NAME, VALUE, NAME, VALUE, VALUE]
    assert places[0].tolist() == [0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert places[1, :3].tolist() == [0, 2, 2], "an item without a text takes its place all the same"
    assert real.sum(1).tolist() == [9, 3]


def test_the_oldest_tokens_fall_off():
    tokens, _, _, real = net(max_tokens=5).assemble(torch.tensor([[1, 2]]), torch.tensor([2]))
    assert tokens.tolist() == [[1, 7, 5, 7, 8]]
    assert real.all()


def test_nothing_but_a_text_is_known_of_an_item():
    model = net()
    assert "embedding" not in " ".join(name for name, _ in model.items.named_parameters())
    one, same, other = (model.last_hidden(torch.tensor([[i]]), torch.tensor([1])) for i in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.norm().item() == pytest.approx(20, rel=1e-4)
    model.refresh()
    torch.testing.assert_close(model.table()[1], one[0] / 20)
    assert model.table()[0].abs().sum() == 0


def test_pads_change_no_state():
    model = net()
    alone = model.last_hidden(torch.tensor([[2]]), torch.tensor([1]))
    padded = model.last_hidden(torch.tensor([[2, 0, 0], [1, 1, 2]]), torch.tensor([1, 3]))
    torch.testing.assert_close(padded[:1], alone)


def test_what_stands_for_a_text_is_the_mean_of_its_states_or_the_first_one():
    items, lengths = torch.tensor([[1, 2], [2, 0]]), torch.tensor([2, 1])
    model = net(layers=2)
    text = model.assemble(items, lengths)
    states, real = model.read(*text), text[-1]
    mean = torch.stack([states[i, real[i]].mean(0) for i in range(2)])
    torch.testing.assert_close(model.direction(items, lengths), torch.nn.functional.normalize(mean, dim=1))
    model = net(layers=2, pooling="begin")
    first = model.read(*model.assemble(items, lengths))[:, 0]
    torch.testing.assert_close(model.direction(items, lengths), torch.nn.functional.normalize(first, dim=1))


def test_an_encoder_tells_texts_apart_before_it_has_learned():
    torch.manual_seed(0)
    tokens = torch.randint(5, 300, (400,))
    texts = {"tokens": tokens, "kinds": torch.full((400,), VALUE), "ends": torch.arange(0, 401, 10)}
    texts |= {"tokenizer": torch.zeros(1, dtype=torch.uint8)}
    config = RecformerConfig(vocabulary=300, max_length=4)
    model = RecformerNet(np.ones(41), config, None, texts).eval()
    model.refresh()
    found = model.table()[1:]
    cosines = (found @ found.T)[~torch.eye(40, dtype=torch.bool)]
    assert cosines.mean() < 0.9, "started as BERT is, so narrow a net gives them 0.96"


def test_pretraining_matches_histories_with_their_next_items():
    model = net(mask_weight=0.0)
    items, lengths, targets = torch.tensor([[1, 2], [2, 0], [1, 0]]), torch.tensor([2, 1, 1]), torch.tensor([1, 2, 1])
    histories = model.direction(items, lengths)
    nexts = model.direction(targets[:, None], torch.ones(3, dtype=torch.int64))
    cosines = histories @ nexts.T / 0.05
    # Rows 0 and 2 have the same next item, which is no negative of either.
    pairs = [(0, [0, 1]), (1, [0, 1, 2]), (2, [1, 2])]
    expected = sum(torch.logsumexp(cosines[i, js], 0) - cosines[i, i] for i, js in pairs) / 3
    torch.testing.assert_close(Pretraining(model)((items, lengths, targets)), expected)


def test_items_stand_still_after_the_first_stage():
    split = make_split(
        {f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}, {f"i{i}": f"t{i}" for i in range(6)}
    )
    model = model_class("Recformer")(**{**FEW, "epochs": 3, "refresh_epochs": 1, "learning_rate": 0.01}).fit(split)
    stood = model.net.table().clone()
    model.before_epoch(split.train, 2)
    assert torch.equal(model.net.table(), stood)
    model.before_epoch(split.train, 1)
    assert not torch.allclose(model.net.table(), stood)


def test_new_items_are_placed_by_their_texts_and_survive_saving(tmp_path):
    walks = {f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}
    split = make_split(walks, {f"i{i}": f"thing number {i}" for i in range(6)})
    settings = {**FEW, "epochs": 4, "refresh_epochs": 1, "learning_rate": 0.02, "warmup_steps": 0}
    model = model_class("Recformer")(**settings).fit(split)
    twin = split.catalog.titles[2]  # of item 3
    new = pl.DataFrame({"item_id": ["new", "other"], "title": [twin, "something else"]})
    more = model.with_items(new)
    assert len(more.catalog) == len(model.catalog) + 2
    with pytest.raises(DataError, match=r"'i1'.*already"):
        model.with_items(pl.DataFrame({"item_id": ["i1"], "title": ["x"]}))
    with pytest.raises(DataError, match="new item 'n' has no text in 'title'"):
        model.with_items(pl.DataFrame({"item_id": ["n"], "brand": ["x"]}))
    torch.testing.assert_close(more.net.table()[7], more.net.table()[3])
    now = model.net.encoded(torch.tensor([3]))[0]
    assert now @ model.net.table()[3] < 0.99, "the net went on learning after the items were encoded"
    again = more.with_items(new.with_columns(item_id=pl.Series(["third", "fourth"])))
    torch.testing.assert_close(again.net.table()[9:], more.net.table()[7:])
    history = Sequences.from_lists([[1, 8]])
    assert "other" in more.recommend([["i1"]], k=8).items[0]
    loaded = seqlore.load(more.save(tmp_path / "model"))
    torch.testing.assert_close(loaded.score(history), more.score(history))
    assert len(model.net.table()) == 7, "the model itself stays as it is"


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ({"title": ["x"]}, r"need a column 'item_id' of texts \(columns there: title\)"),
        ({"item_id": [["n"]], "title": ["x"]}, "need a column 'item_id' of texts"),
        ({"item_id": [], "title": []}, "there are no new items in this frame"),
        ({"item_id": ["n", None], "title": ["x", "y"]}, "row 2 has no item_id; give it one"),
        ({"item_id": ["n", "n"], "title": ["x", "y"]}, "new item 'n' is there twice"),
        ({"item_id": ["1"], "title": ["x"]}, "item '1' is in the catalogue already"),
        ({"item_id": [1], "title": ["x"]}, "item '1' is in the catalogue already"),
        ({"item_id": ["n"]}, "new item 'n' has no text in 'title', which the model reads"),
        ({"item_id": ["n", "m"], "title": ["x", " "]}, "new item 'm' has no text in 'title'"),
        ({"item_id": ["n"], "title": [["x", "y"]]}, r"new item 'n': title \['x', 'y'\] is no String"),
    ],
)
def test_odd_frames_of_new_items_are_refused_by_name(frame: dict, sentence: str):
    catalog = make_split({"u": ["1", "2", "3"]}, {"1": "rose", "2": "soap", "3": "oil"}).catalog
    with pytest.raises(DataError, match=sentence):
        new_items(pl.DataFrame(frame, strict=False), catalog, ("title",))


def test_new_items_may_have_numbers_for_ids_and_lack_columns():
    catalog = make_split({"u": ["1", "2", "3"]}, {"1": "rose", "2": "soap", "3": "oil"}).catalog
    taken = new_items(pl.DataFrame({"item_id": [4], "title": [7], "brand": [None]}), catalog, ("title", "brand"))
    assert taken.to_dicts() == [{"item_id": "4", "title": "7"}], "in the catalogue's columns and types"


def test_without_texts_and_with_item_vectors_the_remedy_is_named():
    split = make_split({"u": ["a", "b", "c"]})
    with pytest.raises(DataError, match=r"'title'.*'fields'"):
        model_class("Recformer")(**FEW).fit(split)
    with pytest.raises(ConfigError, match="leave it out"):
        model_class("Recformer")(item_init={})


def test_lists_of_categories_are_read(tmp_path):
    made = make_split({"u": ["a", "b", "a"], "v": ["b", "a", "b"]}).dataset
    items = made.items.with_columns(categories=pl.Series([["Hair > Oil"], ["Nails", "Polish"]]))
    dataset = Dataset.from_frames(made.interactions, items, name="toy")
    catalog, users, sequences = ordered_sequences(dataset)
    model = model_class("Recformer")(**{**FEW, "fields": ["categories"]}).fit(
        Split(dataset, catalog, users, sequences, None, None)
    )
    assert (model.net.lengths()[1:] > 1).all()


def test_a_model_that_was_saved_without_its_encoder_reads_new_items_as_it_reads_now():
    walks = {f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}
    model = model_class("Recformer")(**FEW).fit(make_split(walks, {f"i{i}": f"thing number {i}" for i in range(6)}))
    model.restore({key: value for key, value in model.state().items() if key != "encoder"})
    more = model.with_items(pl.DataFrame({"item_id": ["new"], "title": ["thing number 3"]}))
    torch.testing.assert_close(more.net.table()[7], more.net.encoded(torch.tensor([7]))[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu_takes_new_items():
    walks = {f"u{u}": [f"i{(u + j) % 6}" for j in range(4)] for u in range(8)}
    model = model_class("Recformer")(**FEW).fit(make_split(walks, {f"i{i}": f"thing number {i}" for i in range(6)}))
    more = model.with_items(pl.DataFrame({"item_id": ["new"], "title": [model.catalog.titles[2]]}))
    assert more.net.ends.device.type == "cuda"
    torch.testing.assert_close(more.net.table()[7], more.net.table()[3])
