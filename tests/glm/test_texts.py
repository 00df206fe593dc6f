"""Texts and their tokens: entities have one form, sentences end where they end, and questions are examples unfilled."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from seqlore.data import Dataset, Sequences, leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.glm.histories import history_text, learned_blanks, question, user_texts
from seqlore.glm.learning import HistoryWriter
from seqlore.glm.marks import LEVELS, Marks, make_tokenizer
from seqlore.glm.positions import Automaton, PositionConfig, entity_trie
from seqlore.glm.spans import MaskConfig, sample_blanks, sentence_edges, unit_edges
from seqlore.glm.texts import SENTENCE_END, Blank, Entity, Example, Text, Writer
from seqlore.language.sessions import short_titles
from seqlore.language.trie import title_trie
from toys import make_split

SOAP, MINT = Entity("Dr. Rose's Soap! No. 5", 1), Entity("Mint Oil", 2)


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer(make_tokenizer(["Chose Mint Oil, Dr. Rose's Soap! No. 5, the end. User: gender female."] * 3, 400))


def spelled(writer: Writer, text: Text) -> tuple[str, list[str]]:
    """(the document as words, the contents of its blanks)."""
    documents, spans = writer.write([text])
    decode = writer.tokenizer.decode
    return decode(documents.tokens.tolist()), [
        decode(documents.tokens[a:b].tolist()) for a, b in zip(spans.start, spans.stop, strict=True)
    ]


def test_marks_are_no_words(writer: Writer):
    marks = Marks.of(writer.tokenizer)
    assert len({marks.pad, marks.start, marks.end, marks.mask, marks.smask, marks.gmask, marks.cls}) == 7
    tokens, _ = writer.plain("Say [MASK] or <s>.")
    assert not set(tokens.tolist()) & {marks.mask, marks.start}
    assert writer.tokenizer.decode(tokens.tolist()) == "Say [MASK] or <s>."
    from tokenizers import Tokenizer, models

    with pytest.raises(ConfigError, match=r"no token <s> or <\|startofpiece\|>"):
        Marks.of(Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>")))


def test_an_entity_has_the_same_tokens_wherever_it_stands(writer: Writer):
    alone = writer.entity(SOAP.text).tolist()
    texts: list[Text] = [
        (SOAP, "!"),
        ("Chose", SOAP, ", then"),
        ("Chose ", SOAP),
        ("x", Blank((SOAP, ", and", MINT)), "."),
        (Entity("  Dr. Rose's \n Soap!   No. 5"),),
    ]
    documents, spans = writer.write(texts)
    for i in range(len(texts)):
        part = slice(documents.offsets[i], documents.offsets[i + 1])
        assert documents.tokens[part][documents.entity[part] == 1].tolist() == alone
    assert spelled(writer, ("Chose ", SOAP, ", ", MINT, ".")) == (" ".join(["Chose", f"{SOAP.text},", "Mint Oil."]), [])
    assert len(spans.start) == 1


def test_the_trie_and_the_target_have_the_same_tokens(writer: Writer):
    marks = writer.marks
    trie = title_trie([SOAP.text, MINT.text], writer.entities, writer.size, end=marks.end).trie
    documents, spans = writer.write([Example.of(("What next?",), (MINT,)).text])
    node = np.int64(0)
    import torch

    for token in [*documents.tokens[spans.start[0] : spans.stop[0]].tolist(), marks.end]:
        node = trie.step(torch.tensor([node]), torch.tensor([token]))[0]
        assert node > 0
    assert trie.items[trie.items_at(node[None])[1]].tolist() == [2]


def test_sentences_do_not_end_within_titles(writer: Writer):
    text = ("Hello there. Chose ", SOAP, ", ", SOAP, ". Why? Because.")
    documents, _ = writer.write([text])
    edges = sentence_edges(documents.ends)
    decode = writer.tokenizer.decode
    found = [decode(documents.tokens[a:b].tolist()) for a, b in pairwise(edges)]
    assert found == ["Hello there.", f" Chose {SOAP.text}, {SOAP.text}.", " Why?", " Because."]
    as_plain, _ = writer.write([("Hello there. Chose " + SOAP.text + ".",)])
    assert len(sentence_edges(as_plain.ends)) - 1 > 3


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (("Soap. ",), ["Soap. "]),
        (("Soap.\nMint \n\n Oil",), ["Soap.\n", "Mint \n\n", " Oil"]),
        ((" \n Soap. Mint",), [" \n Soap.", " Mint"]),
        (("Soap. ", "Mint."), ["Soap. ", "Mint."]),
        (("", " "), [" "]),
    ],
)
def test_blanks_are_no_sentence(writer: Writer, text: Text, sentences: list[str]):
    documents, _ = writer.write([text])
    decode = writer.tokenizer.decode
    found = [decode(documents.tokens[a:b].tolist()) for a, b in pairwise(sentence_edges(documents.ends))]
    assert found == sentences


def test_a_masked_sentence_of_users_and_histories_has_words(writer: Writer):
    user: Text = ("User: gender ", Entity("female"), ", age ", Entity("25"), ". ")
    texts: list[Text] = [
        (*told, *history_text([SOAP, MINT] * n, blanks=0)) for told in ((), user) for n in (1, 2, 5) if told or n > 1
    ]
    documents, _ = writer.write(texts)
    rng, config, cut = np.random.default_rng(0), MaskConfig(levels=(0, 1, 0)), documents.offsets
    found = set()
    for i, (a, b) in enumerate(pairwise(cut)):
        for _ in range(60):
            spans, level = sample_blanks(documents.entity[a:b], documents.ends[a:b], rng, config)
            assert LEVELS[level] == "smask"
            said = [writer.tokenizer.decode(documents.tokens[a + s : a + e].tolist()) for s, e in spans]
            assert all(words.strip() for words in said)
            found |= {(i, words) for words in said}
    soap, mint = SOAP.text, MINT.text
    assert {w for i, w in found if i == 0} == {f"Chose {soap}, {mint}, {soap}.", f" {mint}."}
    assert {w for i, w in found if i == 2} == {"User: gender female, age 25. ", f"Chose {soap}, {mint}."}


def test_plain_words_in_a_blank_begin_with_a_blank(writer: Writer):
    assert spelled(writer, Example.of(("Stars: ",), ("five",)).text) == ("Stars: five", [" five"])
    assert spelled(writer, Example.of(("Stars:",), (" five",)).text) == ("Stars: five", [" five"])


def test_a_question_is_its_example_with_nothing_in_the_blanks():
    example = Example(("Chose ", Blank((SOAP,)), ", ", Blank((MINT, "!"), "gmask"), "."), "sequential")
    assert example.question == ("Chose ", Blank(), ", ", Blank((), "gmask"), ".")
    text = history_text([SOAP, MINT, SOAP], blanks=2)
    assert text == ["Chose ", SOAP, ", ", Blank((MINT,)), ", ", Blank((SOAP,)), "."]
    asked = question(("User.",), [SOAP, MINT])
    assert asked == ("User.", "Chose ", SOAP, ", ", MINT, ", ", Blank(), ".")
    assert asked == Example(("User.", *history_text([SOAP, MINT, SOAP], blanks=1))).question
    several = history_text([SOAP, MINT, SOAP, MINT], blanks=1)
    assert several == ["Chose ", SOAP, ", ", MINT, ", ", SOAP, ". ", Blank((MINT,)), "."]
    assert question((), [SOAP, MINT, SOAP])[-4:] == (SOAP, ". ", Blank(), ".")


def test_levels_of_blanks(writer: Writer):
    _, spans = writer.write([("a",), (Blank(("b",), "gmask"), "c", Blank(("d",), "smask"))])
    assert spans.document.tolist() == [1, 1]
    assert [LEVELS[i] for i in spans.level] == ["gmask", "smask"]
    documents, spans = writer.write([(), ("",)])
    assert (documents.lengths.tolist(), len(spans.start)) == ([0, 0], 0)


def test_users_are_told_by_their_features():
    import polars as pl

    split = make_split({"ann": ["a", "b"], "bob": ["b", "a"]}, {"a": "A", "b": "B"})
    frame = pl.DataFrame({"user_id": ["bob", "ann"], "age_group": [25, None], "gender": ["M", "F"]})
    object.__setattr__(split.dataset, "users", frame)
    told = user_texts(split)
    ann, bob = split.users.index(["ann", "bob"]).tolist()
    assert told[0] == ()
    assert told[ann] == ("User: gender ", Entity("F"), ". ")
    assert told[bob] == ("User: age group ", Entity("25"), ", gender ", Entity("M"), ". ")
    assert user_texts(split, ["gender"])[bob] == ("User: gender ", Entity("M"), ". ")
    assert not any(user_texts(split, []))
    with pytest.raises(
        DataError, match=r"users have no column 'age'; did you mean 'age_group'\?; choose of those there: user_id, "
    ):
        user_texts(split, ["age"])


def test_histories_are_fitted_to_what_the_body_reads(writer: Writer):
    titles = ["", "Mint Oil", "", "Rose", SOAP.text]
    rule = Automaton(
        entity_trie([writer.entity(t).tolist() for t in titles], 400), writer.marks.start, PositionConfig()
    )
    cost = [len(writer.entity(t)) for t in titles]
    around = 2 + len(writer.plain("Chose")[0]) + 2  # [CLS], mask, the verb, a comma and the full stop
    longest = around - 1 + cost[4] + 1 + cost[3] + 1
    told = HistoryWriter(writer, titles, [], rule, longest=longest, max_items=3)
    histories = Sequences.from_lists([[1, 2, 3, 4], [2], [1, 3, 3, 3, 3]])
    fitted = [row.tolist() for row in told.fitted(histories)]
    assert fitted[:2] == [[3, 4], []]
    assert fitted[2] == [3, 3, 3]
    lengths = [len(q.ids) for q in told.questions(histories)]
    assert max(lengths) == longest
    examples = [row.tolist() for row in told.fitted(histories, np.array([False, True, True]))]
    assert examples[0] == [3, 4]
    assert len(examples[2]) == 4, "the last item is to be written and takes no place"
    assert (told.next_titles(told.fitted(histories, True).take([0, 2]), [1, 1]).a.lengths <= longest).all()
    for room in range(longest, longest + 3 * cost[3]):  # sentences take no more room than they should
        many = HistoryWriter(writer, titles, [], rule, longest=room, max_items=9)
        row = Sequences.from_lists([[3] * 9])
        assert len(many.questions(row)[0].ids) <= room
        assert (many.next_titles(many.fitted(row, True), [1]).a.lengths <= room).all()
        assert (many.next_titles(many.fitted(row), [0]).a.lengths <= room).all()
    with pytest.raises(ConfigError, match="has no room for a title"):
        HistoryWriter(writer, titles, [], rule, longest=around - 1 + cost[4], max_items=3)


@pytest.mark.realdata
def test_no_title_of_beauty_is_cut(beauty: Dataset):
    """Nearly a thousand titles read as several sentences; none of them ends one, and blanks are whole units."""
    split = leave_one_out(beauty)
    titles = short_titles(split.catalog, None)
    inner = [t for t in titles if len([p for p in SENTENCE_END.split(t) if p]) > 1]
    assert len(inner) > 900
    train = split.train.take(np.arange(300))
    entities = [Entity(t, i) for i, t in enumerate(titles)]
    writer = Writer(make_tokenizer(titles[1:2000], 1000))
    documents, _ = writer.write([tuple(history_text([entities[i] for i in row.tolist()])) for row in train])
    assert not (documents.ends & (documents.entity > 0)).any()
    rng, cut = np.random.default_rng(0), documents.offsets
    for a, b in pairwise(cut):
        spans, _ = sample_blanks(documents.entity[a:b], documents.ends[a:b], rng, MaskConfig())
        assert set(spans.flatten().tolist()) <= set(unit_edges(documents.entity[a:b]).tolist())


def test_how_many_titles_are_asked_for():
    lengths = np.full(4000, 5)
    rng = np.random.default_rng(0)
    assert set(learned_blanks(lengths, rng, 0.0).tolist()) == {1}
    whole = np.bincount(learned_blanks(lengths, rng, 1.0), minlength=6) / 4000
    np.testing.assert_allclose(whole, [0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.03)
    assert learned_blanks(np.array([1, 2]), rng, 1.0).tolist() == [1, 1]
