"""Readers: every format by a small file written here, every fault by its one sentence, real sets by a round trip."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from seqlore.data import Dataset
from seqlore.data.readers import FORMATS, detect, read
from seqlore.data.readers._files import collect, read_fields, records
from seqlore.data.readers._frames import clean
from seqlore.data.readers.movielens import read_movielens
from seqlore.data.times import BadTime, to_seconds
from seqlore.errors import ConfigError, DataError

JULY = 1_406_073_600  # 2014-07-23T00:00:00Z


def put(path: Path, content: str | bytes | list[Any], encoding: str = "utf-8") -> Path:
    """Write text, bytes, or one JSON object a line; gzipped where the name says so."""
    if isinstance(content, list):
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
    data = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" and isinstance(content, str) else data)
    return path


def events(dataset: Dataset, *columns: str) -> list[tuple]:
    return dataset.interactions.select(columns or ("user_id", "item_id", "timestamp", "rating")).rows()


def items(dataset: Dataset, *columns: str) -> dict[str, Any]:
    rows = dataset.items.select("item_id", *columns).rows()
    return {row[0]: row[1] if len(columns) == 1 else row[1:] for row in rows}


# --- Times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "seconds", "note"),
    [
        ([JULY, None], [JULY, None], ""),
        ([JULY * 1000 + 999, None], [JULY, None], "milliseconds"),
        ([JULY * 10**6], [JULY], "microseconds"),
        ([JULY * 10**9], [JULY], "nanoseconds"),
        ([JULY + 0.9, float("nan")], [JULY, None], ""),
        ([str(JULY), "", " "], [JULY, None, None], ""),
        ([f"{JULY}.5"], [JULY], ""),
        ([f"{JULY}000"], [JULY], "milliseconds"),
        (["2014-07-23", None], [JULY, None], "ISO"),
        (["2014-07-23T00:00:00Z", "2014-07-23 02:00:00+02:00"], [JULY, JULY], "ISO"),
        (["2014-07-23 00:00:01.75", "2014-07-23T00:01"], [JULY + 1, JULY + 60], "ISO"),
        ([-5, 0], [-5, 0], ""),
        ([-0.5, 1.5], [-1, 1], ""),
        ([Decimal("-1.5"), Decimal("1.5")], [-2, 1], ""),
        ([Decimal(JULY * 1000)], [JULY], "milliseconds"),
    ],
)
def test_times_become_seconds(values: list, seconds: list, note: str) -> None:
    time, said, _ = to_seconds(pl.Series("timestamp", values))
    assert time.dtype == pl.Int64()
    assert time.to_list() == seconds
    assert note in said if note else said == ""


@pytest.mark.parametrize(
    "times",
    [
        [JULY * 1000 + 900, JULY * 1000 + 100, JULY * 1000 + 500],
        [f"{JULY}.9", f"{JULY}.1", f"{JULY}.5"],
        ["2014-07-23T00:00:00.900Z", "2014-07-23T00:00:00.1Z", "2014-07-23 00:00:00.500"],
        ["2014-07-23T00:00:00.000000900Z", "2014-07-23T00:00:00.0000001Z", "2014-07-23 00:00:00.0000005"],
    ],
)
def test_what_a_second_hides_orders_the_events_of_a_user(tmp_path: Path, times: list) -> None:
    lines = [f"a,{item},{time}" for item, time in zip("xyz", times, strict=True)]
    (tmp_path / "e.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n", encoding="utf-8")
    data = read(tmp_path / "e.csv")
    assert data.interactions["item_id"].to_list() == ["y", "z", "x"]
    assert data.interactions["timestamp"].to_list() == [JULY] * 3
    assert any("exact times" in note for note in data.meta["notes"])


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([Decimal(f"{JULY}.9"), Decimal(f"{JULY}.1"), Decimal(f"{JULY}.5")]),
        pl.Series([datetime(2300, 12, 31, 23, 59, 59, micro) for micro in (900_000, 100_000, 500_000)]),
    ],
)
def test_what_a_second_hides_orders_typed_columns(tmp_path: Path, times: pl.Series) -> None:
    """Beyond what 64 bits of nanoseconds hold, too."""
    frame = pl.DataFrame({"user_id": ["a"] * 3, "item_id": list("xyz"), "timestamp": times})
    frame.write_parquet(tmp_path / "e.parquet")
    data = read(tmp_path / "e.parquet")
    assert data.interactions["item_id"].to_list() == ["y", "z", "x"]
    assert data.hash == Dataset.from_frames(frame, data.items).hash


def test_dates_of_parquet_become_seconds() -> None:
    dates = pl.Series(["2014-07-23"]).str.to_date()
    for column in (dates, dates.cast(pl.Datetime("us")), dates.cast(pl.Datetime("ms", "UTC"))):
        assert to_seconds(column)[0].to_list() == [JULY]


@pytest.mark.parametrize(
    ("values", "row", "says"),
    [
        (["2014-07-23", "yesterday"], 1, "'yesterday' is neither"),
        (["5", "soon"], 1, "'soon' is neither"),
        (["2014-07-23", "5"], 1, "'5' is neither"),
        ([JULY * 1000, JULY], 1, f"{JULY} is in other units than the rest"),
        ([JULY * 1000, JULY * 1000, JULY], 2, f"{JULY} is in other units than the rest"),
        ([JULY, JULY, JULY * 1000], 2, f"{JULY}000 is in other units than the rest"),
        ([1.0, float("inf")], 1, "infinite"),
        ([1.0, 1e25], 1, "1e+25, which is no time"),
        (pl.Series([1, 2**63], dtype=pl.UInt64), 1, f"{2**63}, which is no time"),
        (pl.Series([1, 2**70], dtype=pl.Int128), 1, f"{2**70}, which is no time"),
    ],
)
def test_a_bad_time_is_pointed_at(values: list, row: int, says: str) -> None:
    with pytest.raises(BadTime, match=r".") as caught:
        to_seconds(pl.Series("timestamp", values))
    assert caught.value.row == row
    assert says in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.integers(10**8 + 1, 10**10), min_size=1), st.sampled_from([10**3, 10**6, 10**9]))
def test_the_unit_makes_no_difference(seconds: list[int | None], unit: int) -> None:
    """From March 1973 on."""
    column = pl.Series("timestamp", seconds, dtype=pl.Int64())
    if unit == 10**9:
        column = column.clip(upper_bound=9 * 10**9)  # int64 holds nanoseconds up to the year 2262
    assert to_seconds(column * unit)[0].to_list() == column.to_list()


# --- Texts -----------------------------------------------------------------------------------------------------------


def test_texts_are_cleaned() -> None:
    frame = pl.DataFrame(
        {
            "title": [" Salt &amp; Pepper\n", "", None, "AT&T", "日本 &#39;x&#39;\0"],
            "tags": [["a &lt; b", ""], [], None, [None, "c"], ["d"]],
            "other": ["&amp;"] * 5,
        }
    )
    assert clean(frame).to_dict(as_series=False) == {
        "title": ["Salt & Pepper", None, None, "AT&T", "日本 'x'"],
        "tags": [["a < b"], None, None, ["c"], ["d"]],
        "other": ["&amp;"] * 5,
    }


# --- Tables ----------------------------------------------------------------------------------------------------------

CSV = "user_id,item_id,timestamp,rating,zip\nu1,007,10,4.5,00501\nu1,8,11,,10001\nu2,8,12,3,\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv.gz", CSV),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.txt", CSV.replace(",", ";")),
        ("bom.csv", "\ufeff" + CSV),
        ("quoted.csv", "\ufeff" + CSV.replace("user_id", '"user_id"', 1).replace("u2", '"u2"')),
        ("crlf.csv", CSV.replace("\n", "\r\n")),
    ],
)
def test_csv(tmp_path: Path, name: str, content: str) -> None:
    dataset = read(put(tmp_path / name, content))
    assert events(dataset) == [("u1", "007", 10, 4.5), ("u1", "8", 11, None), ("u2", "8", 12, 3.0)]
    assert dataset.interactions["zip"].to_list() == ["00501", "10001", None], "a code with a leading zero is no number"
    assert dataset.name == name.split(".")[0]
    assert dataset.meta["source"] == {"format": "csv", "files": [name]}


def test_columns_are_mapped_and_items_joined(tmp_path: Path) -> None:
    source = put(tmp_path / "e.csv", 'reviewer,product,day,stars\nAnn,1,2014-07-23,5\nБорис,2,2014-07-24,"4"\n')
    catalogue = put(
        tmp_path / "p.jsonl", [{"sku": 1, "name": "Tea &amp; cup", "tags": ["hot"]}, {"sku": 3, "name": None}]
    )
    dataset = read(
        source,
        columns={"user_id": "reviewer", "item_id": "product", "timestamp": "day", "rating": "stars"},
        items=catalogue,
        item_columns={"item_id": "sku", "title": "name"},
    )
    assert events(dataset) == [("Ann", "1", JULY, 5.0), ("Борис", "2", JULY + 86_400, 4.0)]
    assert items(dataset, "title", "tags") == {"1": ("Tea & cup", ["hot"]), "3": (None, None), "2": (None, None)}
    assert dataset.meta["source"]["files"] == ["e.csv", "p.jsonl"]
    assert "ISO" in dataset.meta["notes"][0]
    assert set(items(read(source, columns={"user_id": "reviewer", "item_id": "product"}), "title")) == {"1", "2"}


def test_all_items_is_a_choice(tmp_path: Path) -> None:
    source = put(tmp_path / "e.csv", "user_id,item_id\nu,1\n")
    catalogue = put(tmp_path / "p.csv", "item_id,title\n1,Tea\n2,Cup\n2,Cup again\n")
    assert items(read(source, items=catalogue), "title") == {"1": "Tea", "2": "Cup"}
    only = read(source, items=catalogue, all_items=False)
    assert items(only, "title") == {"1": "Tea"}
    assert only.meta["notes"] == ["items: 1 repeated rows dropped (the first of an id is kept)"]


def test_names_swap_places(tmp_path: Path) -> None:
    source = put(tmp_path / "e.csv", "user_id,reviewer,item_id\n1,Ann,9\n")
    dataset = read(source, columns={"user_id": "reviewer", "number": "user_id"})
    assert events(dataset, "user_id", "number") == [("Ann", 1)]
    with pytest.raises(DataError, match=r"'reviewer' is mapped to 'user_id', but the file has a column of that name"):
        read(source, columns={"user_id": "reviewer"})


def test_a_csv_without_header_and_in_latin_1(tmp_path: Path) -> None:
    source = put(tmp_path / "ratings_Beauty.csv", "u,1,5.0,1369699200\n", "latin-1")
    assert events(read(source, header=["user_id", "item_id", "rating", "timestamp"])) == [("u", "1", 1369699200, 5.0)]
    marked = put(tmp_path / "m.csv", "\ufeffu,1\n")
    assert events(read(marked, header=["user_id", "item_id"]), "user_id") == [("u",)]
    latin = put(tmp_path / "l.csv", "user_id,item_id\nJosé,1\n", "latin-1")
    assert events(read(latin, encoding="latin-1"), "user_id") == [("José",)]


def test_quotes_within_a_field_are_characters(tmp_path: Path) -> None:
    content = 'item_id,title,brand,note\n1,12" pan,Tefal,\n2,"say ""hi"", twice","a\nb",x\n\n3,14" lid\n'
    catalogue = put(tmp_path / "p.csv", content)
    source = put(tmp_path / "e.csv", "user_id,item_id\nu,1\nu,2\nu,3\n")
    told = items(read(source, items=catalogue), "title", "brand", "note")
    assert told["1"] == ('12" pan', "Tefal", None)
    assert told["2"] == ('say "hi", twice', "a\nb", "x")
    assert told["3"] == ('14" lid', None, None)
    unnamed = put(tmp_path / "unnamed.csv", 'user_id,item_id,,\nu,5" nail,x,y\n')
    assert events(read(unnamed), "item_id") == [('5" nail',)]
    bare = put(tmp_path / "bare.csv", 'u,5" nail,3\nv,6" nail,4\n')
    assert events(read(bare, header=["user_id", "item_id", "rating"]), "item_id") == [('5" nail',), ('6" nail',)]


def test_names_that_look_like_doubled_ones_are_names(tmp_path: Path) -> None:
    source = put(tmp_path / "e.csv", "user_id,item_id,x,x_duplicated_0,,\nu,1,a,b,,\n")
    assert events(read(source), "x", "x_duplicated_0") == [("a", "b")]


def test_texts_made_of_digits_stay_as_they_are(tmp_path: Path) -> None:
    source = put(tmp_path / "e.csv", "user_id,item_id,rating,review\nu,1,5,10.50\nu,2,4,1e3\n")
    catalogue = put(tmp_path / "p.csv", "item_id,title,price\n1,1984,10.50\n2,3.0,2\n")
    dataset = read(source, items=catalogue)
    assert events(dataset, "review", "rating") == [("10.50", 5.0), ("1e3", 4.0)]
    assert items(dataset, "title", "price") == {"1": ("1984", 10.5), "2": ("3.0", 2.0)}


def test_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"u": [1, 1], "item_id": ["a", "b"], "timestamp": [JULY * 1000, JULY * 1000 + 1]})
    frame.write_parquet(tmp_path / "e.parquet")
    dataset = read(tmp_path / "e.parquet", columns={"user_id": "u"})
    assert events(dataset, "user_id", "item_id", "timestamp") == [("1", "a", JULY), ("1", "b", JULY)]
    assert dataset.meta["notes"] == ["timestamp: milliseconds divided by 1,000 to give seconds"]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".jsonl.gz"])
def test_json_lines(tmp_path: Path, suffix: str) -> None:
    lines = ['{"user_id": 1, "item_id": "a", "tags": ["x"]}', "", '{"user_id": 2, "item_id": "b", "rating": 4}']
    dataset = read(put(tmp_path / f"e{suffix}", "\ufeff" + "\n".join(lines)))
    assert events(dataset, "user_id", "item_id", "rating") == [("1", "a", None), ("2", "b", 4.0)]
    assert dataset.interactions["tags"].to_list() == [["x"], None]


def test_json_lines_of_changing_types(tmp_path: Path) -> None:
    dataset = read(put(tmp_path / "e.jsonl", [{"user_id": 1, "item_id": "a"}, {"user_id": "x", "item_id": 2}]))
    assert events(dataset, "user_id", "item_id") == [("1", "a"), ("x", "2")]


# --- RecBole ---------------------------------------------------------------------------------------------------------


def test_recbole(tmp_path: Path) -> None:
    put(
        tmp_path / "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\t1\t3\t10.0\nu\t2\t\t11\n",
    )
    put(
        tmp_path / "ml.item",
        'item_id:token\tmovie_title:token_seq\tclass:token_seq\tvec:float_seq\n1\tToy "Story\tAnimation Comedy\t1 2.5\n'
        "2\t\t\t\n3\tUnseen\tDrama\t0\n",
    )
    put(tmp_path / "ml.user", "user_id:token\tage:token\nu\t24\n")
    for path in (tmp_path, tmp_path / "ml.inter"):
        dataset = read(path)
        assert events(dataset) == [("u", "1", 10, 3.0), ("u", "2", 11, None)]
        assert items(dataset, "title", "categories", "vec") == {
            "1": ('Toy "Story', ["Animation", "Comedy"], [1.0, 2.5]),
            "2": (None, None, None),
        }
        assert dataset.users is not None
        assert dataset.users.rows() == [("u", "24")]
    assert set(items(read(tmp_path, all_items=True), "title")) == {"1", "2", "3"}
    assert items(read(tmp_path, item_columns={"words": "movie_title"}), "words")["1"] == ["Toy", '"Story']


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "user_id:token\titem_id:toke\n",
            r"x\.inter, line 1: column 'item_id' has the unknown type 'toke'; did you mean 'tok",
        ),
        ("user_id\titem_id:token\n", r"line 1: column 'user_id' has no type; write name:type"),
        ("user_id:token\titem_id:token\nu\t1\nu\t1\t2\n", r"x\.inter, line 3: 3 fields where the header has 2"),
        (
            "user_id:token\titem_id:token\tr:float\nu\t1\t1\nu\t1\tbad\n",
            r"line 3: r is 'bad', but its header says float",
        ),
        ("user_id:token\titem_id:token\tr:float_seq\nu\t1\t1 2\nu\t1\t1 no\n", r"line 3: r is 'no', but .* float_seq"),
        ("user_id:token\titem_id:token\n", r"x\.inter: interactions: the file holds no rows"),
        ("user_id:token\titem_id:token\nu\t1\n\t2\n", r"x\.inter, line 3: user_id is empty"),
    ],
)
def test_recbole_faults(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(put(tmp_path / "x.inter", content))


# --- Amazon ----------------------------------------------------------------------------------------------------------

REVIEW_2014 = {
    "reviewerID": "A1",
    "asin": "B01",
    "helpful": [2, 3],
    "reviewText": "Good &amp; <br> cheap",
    "overall": 5.0,
    "summary": "Fine",
    "unixReviewTime": JULY,
}


def test_amazon_2014(tmp_path: Path) -> None:
    put(
        tmp_path / "reviews_Beauty_5.json.gz",
        json.dumps(REVIEW_2014) + "\n" + json.dumps({**REVIEW_2014, "asin": "B02"}),
    )
    meta = [
        {
            "asin": "B01",
            "title": "It's &quot;x&quot;",
            "categories": [["Beauty", "Nails"], ["Gifts"]],
            "brand": "O",
            "price": 3.5,
        },
        {"asin": "B01", "title": "again"},
        {"asin": "B09", "title": "never reviewed", "description": None},
    ]
    put(tmp_path / "meta_Beauty.json.gz", "\n".join(map(repr, meta)))
    for path in (tmp_path, tmp_path / "reviews_Beauty_5.json.gz"):
        dataset = read(path, name="beauty")
        assert events(dataset) == [("A1", "B01", JULY, 5.0), ("A1", "B02", JULY, 5.0)]
        assert dataset.interactions["review"][0] == "Good & <br> cheap"
        assert items(dataset, "title", "brand", "categories", "price") == {
            "B01": ('It\'s "x"', "O", ["Beauty > Nails", "Gifts"], "3.5"),
            "B02": (None, None, None, None),
        }
    assert dataset.meta["source"] == {"format": "amazon", "files": ["reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"]}
    assert set(items(read(tmp_path, all_items=True), "title")) == {"B01", "B02", "B09"}


def test_amazon_2018(tmp_path: Path) -> None:
    source = put(tmp_path / "Office_5.json", [{"reviewerID": "A1", "asin": "B01", "overall": 4, "unixReviewTime": 5}])
    put(
        tmp_path / "meta_Office.json",
        [{"asin": "B01", "category": ["Office", "Pens"], "description": ["One.", "", "Two."]}],
    )
    dataset = read(source)
    assert events(dataset, "timestamp", "rating", "review") == [(5, 4.0, None)]
    assert items(dataset, "categories", "description") == {"B01": (["Office > Pens"], "One. Two.")}


def test_amazon_2023(tmp_path: Path) -> None:
    review = {
        "user_id": "AE", "parent_asin": "P1", "asin": "C1", "rating": 2.0, "timestamp": JULY * 1000 + 7,
        "title": "Meh", "text": "Broke<br />at once",
    }  # fmt: skip
    put(tmp_path / "All_Beauty.jsonl", [review])
    meta = {
        "parent_asin": "P1",
        "title": "Comb",
        "store": "Acme",
        "categories": ["Hair"],
        "description": [],
        "features": ["a", "b"],
    }
    other = put(tmp_path / "elsewhere.jsonl", [meta])
    dataset = read(tmp_path / "All_Beauty.jsonl", items=other)
    assert events(dataset) == [("AE", "P1", JULY, 2.0)]
    assert events(dataset, "review", "summary") == [("Broke\nat once", "Meh")]
    assert items(dataset, "title", "brand", "categories", "description", "features") == {
        "P1": ("Comb", "Acme", ["Hair"], None, ["a", "b"])
    }
    assert dataset.meta["notes"] == ["timestamp: milliseconds divided by 1,000 to give seconds"]
    assert "no metadata file beside" in read(tmp_path / "All_Beauty.jsonl").meta["notes"][0]


def test_metadata_of_other_items_is_not_parsed(tmp_path: Path) -> None:
    """Nine lines in ten of a category's metadata; one that may be about a wanted item is always read."""
    put(tmp_path / "X.jsonl", [{"user_id": "u", "parent_asin": "P", "rating": 1, "timestamp": 1}])
    put(tmp_path / "meta_X.jsonl", "{'asin': 'Q', broken\n{'asin': 'Q', 'parent_asin': 'P', 'title': 'Comb'}\n")
    assert items(read(tmp_path), "title") == {"P": "Comb"}
    for line in ("{'asin': 'P', broken", '{"parent_asin":"P", broken', "{broken", '{"title": "no id"}'):
        put(tmp_path / "meta_X.jsonl", line)
        with pytest.raises(DataError, match=r"meta_X\.jsonl, line 1: (not a JSON object|no asin or parent_asin)"):
            read(tmp_path)


def test_what_people_did_is_no_item_text(tmp_path: Path) -> None:
    """Sales ranks, average ratings and co-purchases know the held-out events."""
    put(tmp_path / "X.jsonl", [{"user_id": "u", "parent_asin": "P", "rating": 1, "timestamp": 1}])
    put(
        tmp_path / "meta_X.jsonl",
        [{"parent_asin": "P", "average_rating": 1.0, "rating_number": 1, "bought_together": ["Q"]}],
    )
    assert not {"average_rating", "rating_number", "bought_together"} & set(read(tmp_path).items.columns)


# --- MovieLens -------------------------------------------------------------------------------------------------------


def test_movielens_100k(tmp_path: Path) -> None:
    put(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t4\t891717742\n")
    flags = ["0"] * 19
    flags[5] = flags[14] = "1"
    put(
        tmp_path / "u.item",
        f"242|Été (1998)|01-Jan-1998||http://x|{'|'.join(flags)}\n302|unknown||||{'|'.join(['0'] * 19)}\n\n",
        "latin-1",
    )
    put(tmp_path / "u.user", "196|49|M|writer|55105\n186|39|F|executive|00000\n")
    dataset = read(tmp_path)
    assert events(dataset) == [("196", "242", 881250949, 3.0), ("186", "302", 891717742, 4.0)]
    assert items(dataset, "title", "year", "categories") == {
        "242": ("Été (1998)", 1998, ["Comedy", "Romance"]),
        "302": ("unknown", None, None),
    }
    assert dataset.users is not None
    assert dataset.users.rows()[1] == ("186", "39", "F", "executive", "00000")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_1m(tmp_path: Path, encoding: str) -> None:
    put(tmp_path / "ratings.dat", "1::1193::5::978300760\n1::661::3.5::978302109\n")
    put(
        tmp_path / "movies.dat",
        '1193::Amélie: A "Tale" (2001)::Drama|Romance\n661::X (1996)::Musical\n9::No (1900)::War\n',
        encoding,
    )
    put(tmp_path / "users.dat", "1::F::1::10::48067\n2::M::56::0::70072\n3::M::99::21::55117\n")
    dataset = read(tmp_path / "ratings.dat")
    assert events(dataset) == [("1", "1193", 978300760, 5.0), ("1", "661", 978302109, 3.5)]
    assert items(dataset, "title", "year", "categories") == {
        "1193": ('Amélie: A "Tale" (2001)', 2001, ["Drama", "Romance"]),
        "661": ("X (1996)", 1996, ["Musical"]),
    }
    assert dataset.users is not None
    raw = read_movielens(tmp_path)
    assert raw.users is not None
    assert raw.users.rows() == [
        ("1", "F", "under 18", "K-12 student", "48067"),
        ("2", "M", "56+", "other or not specified", "70072"),
        ("3", "M", "99", "21", "55117"),
    ], "codes as the README explains them; others as they are"


def test_movielens_20m(tmp_path: Path) -> None:
    put(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n")
    put(
        tmp_path / "movies.csv",
        'movieId,title,genres\n2,"City, The (1995)",Adventure|Drama\n3,Y (1995),(no genres listed)\n',
    )
    for path in (tmp_path, tmp_path / "ratings.csv"):
        dataset = read(path)
        assert dataset.meta["source"]["format"] == "movielens"
        assert events(dataset) == [("1", "2", 1112486027, 3.5)]
        assert items(dataset, "title", "categories") == {"2": ("City, The (1995)", ["Adventure", "Drama"])}
    assert items(read(tmp_path, all_items=True), "categories")["3"] is None


def test_movielens_faults(tmp_path: Path) -> None:
    put(tmp_path / "ratings.dat", "1::1193::5::978300760\n1::661::3\n")
    with pytest.raises(DataError, match=r"ratings\.dat, line 2: 3 fields, not 4, between '::'"):
        read(tmp_path)
    put(tmp_path / "ratings.dat", "1::1193::5::978300760\n1::661::five::978300760\n")
    with pytest.raises(DataError, match=r"ratings\.dat, line 2: rating 'five' is not a number"):
        read(tmp_path)


# --- Steam, Yelp -----------------------------------------------------------------------------------------------------


def test_steam_australian(tmp_path: Path) -> None:
    page = [
        {"posted": "Posted July 15.", "item_id": "22200", "recommend": True, "review": "new"},
        {"posted": "Posted November 5, 2011.", "item_id": "1250", "recommend": False, "review": "It's old"},
        {"posted": "Posted November 5, 2011.", "item_id": "43110", "recommend": True, "review": "older"},
    ]
    put(
        tmp_path / "australian_user_reviews.json",
        repr({"user_id": "x", "reviews": page}) + "\n" + repr({"user_id": "y", "reviews": []}),
    )
    games = [
        {"id": "1250", "app_name": "Killing Floor", "genres": ["Action"], "developer": "T", "price": 19.99},
        {"title": "no id"},
    ]
    put(tmp_path / "steam_games.json.gz", "\n".join(map(repr, games)))
    dataset = read(tmp_path)
    # A profile lists the newest first: the last line of the page is position 0, the undated review comes last.
    assert events(dataset, "user_id", "item_id", "timestamp", "position", "recommend", "review") == [
        ("x", "22200", None, 2, True, "new"),
        ("x", "1250", 1_320_451_200, 1, False, "It's old"),
        ("x", "43110", 1_320_451_200, 0, True, "older"),
    ]
    assert items(dataset, "title", "brand", "categories", "price")["1250"] == (
        "Killing Floor",
        "T",
        ["Action"],
        "19.99",
    )


def test_steam_reviews(tmp_path: Path) -> None:
    rows = [
        "{u'username': u'Chaos', u'product_id': u'725280', u'date': u'2017-12-17', u'text': u'\\u2764', u'hours': 0.1}",
        "{u'username': u'Ha', u'product_id': u'9', u'date': u'2017-12-18', u'text': u''}",
    ]
    dataset = read(put(tmp_path / "steam_reviews.json.gz", "\n".join(rows)))
    assert events(dataset, "user_id", "item_id", "timestamp", "review", "hours") == [
        ("Chaos", "725280", 1_513_468_800, "❤", 0.1),
        ("Ha", "9", 1_513_555_200, None, None),
    ]


def test_yelp(tmp_path: Path) -> None:
    review = {"user_id": "u", "business_id": "b", "stars": 4.0, "date": "2014-07-23 00:00:09", "text": "Nice.\n"}
    put(tmp_path / "yelp_academic_dataset_review.json", [review])
    business = {
        "business_id": "b",
        "name": "Joe&#39;s",
        "categories": "Food, Bars",
        "city": "Reno",
        "stars": 4.0,
        "hours": None,
    }
    put(
        tmp_path / "yelp_academic_dataset_business.json",
        [business, {"business_id": "c", "name": "Shut", "categories": None}],
    )
    dataset = read(tmp_path)
    assert events(dataset) == [("u", "b", JULY + 9, 4.0)]
    assert items(dataset, "title", "categories", "city") == {"b": ("Joe's", ["Food", "Bars"], "Reno")}
    assert "stars" not in dataset.items.columns


# --- Finding out the format ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.csv", "x,y\n", "csv"),
        ("a.inter", "user_id:token", "recbole"),
        ("u.data", "1\t2\t3\t4", "movielens"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n", "movielens"),
        ("ratings.csv", "user,item\n", "csv"),
        ("x.json.gz", json.dumps(REVIEW_2014), "amazon"),
        ("x.jsonl", '{"user_id": "u", "parent_asin": "p"}', "amazon"),
        ("x.json", "{'username': 'u', 'product_id': '1'}", "steam"),
        ("x.json", '{"user_id": "u", "business_id": "b", "stars": 1}', "yelp"),
        ("x.json", '{"user_id": "u", "item_id": "b"}', "jsonl"),
        ("x.parquet", b"anything", "parquet"),
    ],
)
def test_the_format_is_found_out(tmp_path: Path, name: str, content: str | bytes, format: str) -> None:
    assert detect(put(tmp_path / name, content)) == format


def test_an_unknown_format_lists_what_there_is(tmp_path: Path) -> None:
    put(tmp_path / "notes.doc", "hello")
    for path in (tmp_path, tmp_path / "notes.doc"):
        with pytest.raises(DataError, match="the format cannot be told") as caught:
            read(path)
        assert all(f"{name}:" in str(caught.value) for name in FORMATS)
    with pytest.raises(ConfigError, match=r"format 'amazn' is unknown; did you mean 'amazon'\?"):
        read(tmp_path / "notes.doc", "amazn")
    with pytest.raises(ConfigError, match=r"'item' is no option of the format 'amazon'; did you mean 'items'\?"):
        read(tmp_path / "notes.doc", "amazon", item="x")


def test_a_dataset_folder_is_read_as_it_is(tmp_path: Path) -> None:
    made = read(put(tmp_path / "a.csv", CSV))
    made.save(tmp_path / "out")
    again = read(tmp_path / "out")
    assert again.hash == made.hash
    assert again.meta == made.meta
    with pytest.raises(ConfigError, match="needs no columns"):
        read(tmp_path / "out", columns={"user_id": "x"})


# --- Bad input: one sentence that names the file and the line --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("e.csv", "", {}, r"e\.csv: the file is empty"),
        ("e.csv", "user_id,item_id\n", {}, r"e\.csv: interactions: the file holds no rows"),
        (
            "e.csv",
            "user,item_id\nu,1\n",
            {},
            r"e\.csv: interactions: column 'user_id' is missing \(columns there: user, item_id\)",
        ),
        (
            "e.csv",
            "user,item_id\nu,1\n",
            {"columns": {"user_id": "usr"}},
            r"no column 'usr' to map to 'user_id'; did you mean 'user'",
        ),
        ("e.csv", "user_id,item_id\nu,1\nu,2,3\n", {}, r"e\.csv, line 3: 3 fields where the first line has 2"),
        ("e.csv", 'user_id,item_id\n"u\nv",1\n,2\n', {}, r"e\.csv, line 4: user_id is empty"),
        ("e.csv", 'user_id,item_id\nu,1\nu,"5" x\n', {}, r"e\.csv, line 3: not CSV \(',' expected after '\"'\)"),
        ("e.csv", "user_id,item_id,item_id\nu,5,1\n", {}, r"e\.csv, line 1: two columns are called 'item_id'"),
        ("e.csv", 'user_id,item_id,item_id\nu,5",1\n', {}, r"e\.csv, line 1: two columns are called 'item_id'"),
        ("e.csv", 'user_id,item_id\nu,5"\nu,5",1\n', {}, r"e\.csv, line 3: 3 fields where the first line has 2"),
        (
            "e.csv",
            "user_id,item_id,position\nu,1,1\nu,2,1.5\n",
            {},
            r"column 'position' .* needs Int32, first at row 2: 1.5",
        ),
        ("e.csv", "user_id,item_id,rating\nu,1,5\nu,2,good\n", {}, r"e\.csv, line 3: rating 'good' is not a number"),
        (
            "e.csv",
            "user_id,item_id,timestamp\nu,1,5\nu,2,soon\n",
            {},
            r"e\.csv, line 3: timestamp 'soon' is neither",
        ),
        ("e.csv", "user_id,item_id\nu,1\nJosé,2\n".encode("latin-1"), {}, r"e\.csv, line 3: not utf-8 text at byte 4"),
        ("e.csv", "user_id,item_id\nu,1\n", {"encoding": "klingon"}, r"'klingon' is no encoding"),
        (
            "e.csv",
            "a,b,c\n",
            {"header": ["user_id", "item_id"]},
            r"2 column names were given but the lines have 3 fields",
        ),
        ("e.csv", "a,b\n", {"header": ["item_id", "item_id"]}, r"--header: two columns are called 'item_id'"),
        (
            "e.csv",
            "user_id,item_id\nu,1\n",
            {"item_columns": {"title": "x"}},
            r"a mapping of item columns needs an items file",
        ),
        ("e.csv.gz", b"user_id,item_id\nu,1\n", {}, r"e\.csv\.gz: broken gzip: it does not begin as gzip does"),
        ("e.csv.gz", gzip.compress(CSV.encode() * 3000, mtime=0)[:-20], {}, r"e\.csv\.gz, after line \d+: broken gzip"),
        (
            "e.jsonl.gz",
            gzip.compress(b'{"user_id":1,"item_id":2}\n' * 9000, mtime=0)[:-20],
            {},
            r"after line \d+: broken gzip",
        ),
        (
            "e.jsonl.gz",
            gzip.compress(b'{"user_id":1,"item_id":2}\n', mtime=0)[:12] + b"\xff" * 20,
            {},
            r"after line 0: broken gzip",
        ),
        ("e.jsonl", '{"user_id":1,"item_id":2}\n\n{"user_id":1,\n', {}, r"e\.jsonl, line 3: not a JSON object"),
        (
            "e.jsonl",
            '[{"user_id":1,"item_id":2}]\n',
            {"format": "jsonl"},
            r"line 1: a list, not an object; write one JSON object a line",
        ),
        (
            "e.jsonl",
            '[\n{"user_id":1,"item_id":2}]\n',
            {"format": "jsonl"},
            r"line 1: .*one JSON array: write one object a line",
        ),
        (
            "e.jsonl",
            '{"user_id":1,"item_id":2}\n\n{"user_id":null,"item_id":3}\n',
            {},
            r"e\.jsonl, line 3: user_id is empty",
        ),
        ("e.jsonl", '{"user_id":"","item_id":3}\n', {}, r"e\.jsonl, line 1: user_id is empty"),
        ("e.jsonl", "\n\n", {}, r"e\.jsonl: the file holds no records"),
        ("e.csv", 'user_id,"item_id\nu,1\n', {}, r"e\.csv, line 1: a quote is opened in the header and not closed"),
        ("e.csv", "user_id,item_id,timestamp\nu,1,a\rb\n", {}, r"e\.csv, (line|row) \d: timestamp .* is neither"),
        ("e.json", [{**REVIEW_2014, "unixReviewTime": 10**20}], {}, r"line 1: unixReviewTime is 1000+ but must be"),
        ("e.parquet", b"PAR1 and then nothing", {}, r"e\.parquet: not a readable Parquet file"),
        (
            "e.json",
            [REVIEW_2014, {**REVIEW_2014, "overall": "many"}],
            {},
            r"e\.json, line 2: overall is 'many' but must be a number",
        ),
        ("e.json", [REVIEW_2014, {"asin": "B"}], {}, r"e\.json, line 2: user_id is empty"),
        (
            "e.json",
            '{"x": 1}\n',
            {"format": "amazon"},
            r"line 1: an Amazon review has 'reviewerID', and this record has only x",
        ),
        ("e.json", '{"x": 1}\n', {"format": "yelp"}, r"line 1: a Yelp review has 'user_id'"),
        ("e.json", "{'user_id': 'u', 'reviews': [{'posted': ''}]}", {}, r"e\.json, line 1: no 'item_id'"),
        ("e.json", "{'user_id': 'u', 'reviews': ['oops']}", {}, r"e\.json, line 1: a review is 'oops'"),
        (
            "e.json",
            "{'username': 'u', 'product_id': '1', 'hours': 'many'}",
            {},
            r"line 1: hours is 'many' but must be a number",
        ),
    ],
)
def test_faults(tmp_path: Path, name: str, content: Any, options: dict[str, Any], says: str) -> None:
    put(tmp_path / name, content)
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path / name, **options)
    assert "\n" not in str(caught.value), "one sentence, one line"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file or folder"):
        read(tmp_path / "gone.csv")
    source = put(tmp_path / "e.csv", CSV)
    with pytest.raises(DataError, match=r"gone\.csv: cannot be opened"):
        read(source, items=tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"products\.xls: the ending '\.xls' is no table"):
        read(source, items=put(tmp_path / "products.xls", "x"))
    with pytest.raises(DataError, match=r"p\.csv: column 'item_id' is missing .* map it with --item-column item_id="):
        read(source, items=put(tmp_path / "p.csv", "sku,title\n1,x\n"))


def test_a_user_with_one_interaction_is_fine(tmp_path: Path) -> None:
    dataset = read(put(tmp_path / "e.csv", "user_id,item_id\nзаря,商品\n"))
    assert events(dataset, "user_id", "item_id") == [("заря", "商品")]


# --- The fast way and the exact way ----------------------------------------------------------------------------------

FIELDS = {"name": pl.String(), "stars": pl.Float64(), "when": pl.Int64()}
RECORDS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.none() | st.text(st.sampled_from("aZ é日😀\"'\\/{}[]:,\n\t\r\x1f\u2028")),
            "stars": st.none() | st.integers(-9, 9) | st.floats(-9, 9),
            "when": st.none() | st.integers(-(2**40), 2**40),
            "ignored": st.lists(st.integers()),
        },
    ),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(RECORDS)
def test_polars_and_the_line_reader_agree(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    folder = tmp_path_factory.mktemp("agree")
    fast = read_fields(put(folder / "x.jsonl", rows), FIELDS)
    slow = read_fields(put(folder / "b.jsonl", "\ufeff" + (folder / "x.jsonl").read_text()), FIELDS)
    assert_frame_equal(fast, slow)
    assert fast.rows() == [tuple(r.get(f) for f in FIELDS) for r in rows]


def test_numbers_in_quotes_and_half_surrogates(tmp_path: Path) -> None:
    path = put(tmp_path / "x.jsonl", '{"stars": "4.5", "name": {"a": 1}}\n{"stars": 3, "name": "\\ud83d"}\n')
    assert read_fields(path, FIELDS).rows() == [('{"a": 1}', 4.5, None), ("?", 3.0, None)]


def test_nan_is_no_rating(tmp_path: Path) -> None:
    put(tmp_path / "e.csv", "user_id,item_id,rating\nu,1,NaN\nu,2,3\n")
    put(
        tmp_path / "e.json",
        '{"user_id": "u", "business_id": "b", "stars": NaN}\n{"user_id": "u", "business_id": "c", "stars": 3}',
    )
    for name in ("e.csv", "e.json"):
        assert events(read(tmp_path / name), "rating") == [(None,), (3.0,)]


def test_chunks_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqlore.data.readers._files.CHUNK", 3)
    frame = collect(((str(i), None) for i in range(10)), {"a": pl.String(), "b": pl.Int64()})
    assert frame["a"].to_list() == [str(i) for i in range(10)]
    assert frame["b"].null_count() == 10


def test_a_literal_runs_no_code(tmp_path: Path) -> None:
    path = put(tmp_path / "x.json", "{'a': __import__('os').getcwd()}\n")
    with pytest.raises(DataError, match="line 1: not a JSON object"):
        list(records(path))


# --- Real data -------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_ml_100k_round_trip(data_root: Path, tmp_path: Path) -> None:
    """The published set, written as u.data, as RecBole, as CSV and as JSON lines, reads back event by event."""
    known = Dataset.load(data_root / "ml-100k")
    frame = known.interactions.select("user_id", "item_id", pl.col("rating").cast(pl.Int64), "timestamp")
    for folder in ("original", "atomic"):
        (tmp_path / folder).mkdir()
    frame.write_csv(tmp_path / "original" / "u.data", include_header=False, separator="\t")
    typed = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    frame.rename(dict(zip(frame.columns, typed, strict=True))).write_csv(
        tmp_path / "atomic" / "ml.inter", separator="\t"
    )
    film = known.items.select(
        pl.col("item_id").alias("item_id:token"),
        pl.col("title").alias("movie_title:token_seq"),
        pl.col("categories").list.join(" ").alias("class:token_seq"),
    )
    film.write_csv(tmp_path / "atomic" / "ml.item", separator="\t", quote_style="never")
    frame.rename({"user_id": "who"}).write_csv(tmp_path / "e.csv")
    frame.write_ndjson(tmp_path / "e.jsonl")
    wanted = known.interactions.select("user_id", "item_id", "rating", "timestamp")
    read_back = {
        "original": read(tmp_path / "original"),
        "atomic": read(tmp_path / "atomic"),
        "csv": read(tmp_path / "e.csv", columns={"user_id": "who"}),
        "jsonl": read(tmp_path / "e.jsonl"),
    }
    for dataset in read_back.values():
        assert_frame_equal(dataset.interactions.select(wanted.columns), wanted)
    atomic = read_back["atomic"].items.join(known.items, on="item_id", maintain_order="left")
    assert len(atomic) == 1682
    assert atomic["title"].to_list() == atomic["title_right"].to_list()
    assert atomic["categories"].to_list() == atomic["categories_right"].to_list()


@pytest.mark.realdata
def test_amazon_reviews_round_trip(data_root: Path, tmp_path: Path) -> None:
    """10,261 real reviews, written as Amazon publishes them, read back with their texts."""
    known = Dataset.load(data_root / "amazon2014-musical-instruments-reviews").interactions
    names = {
        "user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime",
        "review": "reviewText", "summary": "summary",
    }  # fmt: skip
    path = tmp_path / "reviews_Musical_Instruments_5.json"
    known.select(names.keys()).rename(names).write_ndjson(path)
    back = read(path).interactions
    ids = ["user_id", "item_id", "timestamp", "rating"]
    assert_frame_equal(back.select(ids), known.select(ids))
    # A review about "&lt;" may be unescaped once more; nothing else may change.
    changed = (back["review"] != known["review"].str.strip_chars()).sum()
    assert changed <= 5


def test_items_of_which_nothing_is_told_are_counted(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 9]}).write_parquet(tmp_path / "events.parquet")
    pl.DataFrame({"item_id": [7.0, 9.0], "title": ["x", "y"]}).write_parquet(tmp_path / "items.parquet")
    dataset = read(tmp_path / "events.parquet", items=tmp_path / "items.parquet")
    assert items(dataset, "title") == {"7": "x", "9": "y", "8": None}
    assert dataset.meta["notes"] == ["items: 1 of 3 items with interactions have no row in the items table"]


def test_the_format_decides_whatever_the_ending(tmp_path: Path) -> None:
    source = put(tmp_path / "tab.foo", "user_id\titem_id\trating\nu\t1\t4\nv\t\t3\n")
    with pytest.raises(DataError, match=r"tab\.foo, line 3: item_id is empty"):
        read(source, "csv")
    put(source, "user_id\titem_id\nu\t1\n")
    assert events(read(source, "csv"), "user_id", "item_id") == [("u", "1")]
    put(source, [{"user_id": "u", "item_id": "2"}])
    assert events(read(source, "jsonl"), "item_id") == [("2",)]


@pytest.mark.parametrize("separator", ["\t", "\\t", "tab"])
def test_a_tab_by_its_names(tmp_path: Path, separator: str) -> None:
    source = put(tmp_path / "e.csv", "user_id\titem_id\nu\ta,b,c\n")
    assert events(read(source, separator=separator), "item_id") == [("a,b,c",)]
    with pytest.raises(DataError, match=r"separator '::' is not one plain character; name one, or tab"):
        read(source, separator="::")


def test_blank_lines_of_a_csv_are_skipped(tmp_path: Path) -> None:
    source = put(tmp_path / "e.csv", "user_id,item_id,timestamp\nu,1,5\n\n,,\nu,2,6\n\n")
    assert events(read(source), "item_id", "timestamp") == [("1", 5), ("2", 6)]
    put(source, "user_id,item_id,timestamp\nu,1,5\n\nu,2,soon\n")
    with pytest.raises(DataError, match=r"e\.csv, line 4: timestamp 'soon' is neither"):
        read(source)


def test_faults_are_told_in_the_words_of_the_file(tmp_path: Path) -> None:
    good = {"user_id": "u", "business_id": "b", "stars": 4.0, "date": "2014-07-23", "text": "Nice."}
    source = put(tmp_path / "yelp_academic_dataset_review.json", [good, {**good, "date": "soon"}])
    with pytest.raises(DataError, match="line 2: date 'soon' is neither a number nor"):
        read(source)
    put(source, [good, {**good, "business_id": None}])
    with pytest.raises(DataError, match="line 2: business_id is empty"):
        read(source)
    steam = put(tmp_path / "steam_reviews.json", "{'username': 'u', 'product_id': '1', 'date': 'soon'}\n")
    with pytest.raises(DataError, match="line 1: date 'soon' is neither"):
        read(steam)
