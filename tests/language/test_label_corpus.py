"""Labels as documents for a small language model."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from seqlore.data import leave_one_out
from seqlore.errors import DataError
from seqlore.language.backbone import Backbone
from seqlore.language.label_corpus import label_documents, read_label_corpus
from seqlore.language.labels import LabelSet
from seqlore.language.loading import BackboneConfig
from seqlore.lore.book import COLUMNS, Lore, training_part
from seqlore.lore.corpus import check_corpora
from toys import make_dataset

HISTORIES = {f"u{i}": ["a", "b", "c"] for i in range(4)}
TITLES = {"a": "Rose Soap", "b": "Balm", "c": ""}
ROWS = [
    ("item", "a", 0, "This is about “Rose Soap”. It is a soap."),
    ("item", "a", 1, "A soap: rose soap."),
    ("item", "b", 0, "Balm is a balm."),
    ("item", "c", 0, "It is nothing."),
    ("user", "u0", 0, "Buys Rose Soap."),
]


def frame() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=COLUMNS, orient="row")


def test_an_item_stands_under_its_title_and_nothing_under_its_id():
    split = leave_one_out(make_dataset(HISTORIES, TITLES))
    assert list(label_documents(LabelSet.from_frame(frame()), split)) == [
        "Rose Soap: This is about “this item”. It is a soap.",
        "Rose Soap: A soap: this item.",
        "Balm: Balm is a balm.",  # a title of one word may mean the thing
        "It is nothing.",
        "Buys Rose Soap.",
    ]


def test_a_file_of_the_split_is_checked_and_a_foreign_one_is_text(tmp_path: Path):
    split = leave_one_out(make_dataset(HISTORIES, TITLES))
    about = {"dataset": split.dataset.hash, "training": training_part(split)}
    own = Lore(frame(), about, split.catalog, split.users).save(tmp_path / "own.parquet")
    corpus = read_label_corpus(own, [split])
    assert corpus.documents[0].startswith("Rose Soap: ")
    assert (corpus.source["hash"], corpus.source["split"], corpus.source["kind"]) == (
        split.dataset.hash,
        split.how,
        "labels",
    )
    everything = {**about, "training": training_part(split.with_everything())}
    leaky = Lore(frame(), everything, split.catalog, split.users).save(tmp_path / "leaky.parquet")
    with pytest.raises(DataError, match="another training part"):
        read_label_corpus(leaky, [split])
    frame().write_parquet(tmp_path / "foreign.parquet")
    foreign = read_label_corpus(tmp_path / "foreign.parquet", [split])
    assert set(foreign.documents) == {row[3] for row in ROWS}
    assert "hash" not in foreign.source
    about["dataset"] = "the same shop before it was filtered"
    other = read_label_corpus(Lore(frame(), about, split.catalog, split.users).save(tmp_path / "o.parquet"), [split])
    assert other.source["hash"] == about["dataset"], "a body that read it is refused, for it may hold what is held out"
    assert set(other.documents) == {row[3] for row in ROWS}


def test_a_body_that_read_labels_is_refused_on_another_split(tmp_path: Path, tiny_backbone: Path):
    split = leave_one_out(make_dataset(HISTORIES, TITLES))
    about = {"dataset": split.dataset.hash, "training": training_part(split)}
    own = Lore(frame(), about, split.catalog, split.users).save(tmp_path / "own.parquet")
    folder = tmp_path / "body"
    folder.mkdir()
    for file in tiny_backbone.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    told = {"corpora": [read_label_corpus(own, [split]).source]}
    (folder / "pretraining.json").write_text(json.dumps(told), encoding="utf-8")
    body = Backbone(BackboneConfig(name=str(folder)))
    check_corpora(body.folder, split, "it", "any")
    with pytest.raises(DataError, match="another training part"):
        check_corpora(body.folder, leave_one_out(split.dataset, ties="shuffled", seed=1), "it", "any")


@pytest.mark.parametrize("training", [None, "of the split"])
def test_labels_of_the_catalogue_alone_hold_no_event(tmp_path: Path, training: str | None):
    split = leave_one_out(make_dataset(HISTORIES, TITLES))
    about = {"dataset": split.dataset.hash, "training": training and training_part(split)}
    path = Lore(frame(), about, split.catalog, split.users).save(tmp_path / "own.parquet")
    assert read_label_corpus(path, [split]).source["split"] == (None if training is None else split.how)
