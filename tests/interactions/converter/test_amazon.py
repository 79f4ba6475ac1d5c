"""Amazon reviews of the three editions: keys, literals, damaged records, and text that must stay one cell."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_genrec import GenRecError
from recbole_genrec.files.text import clean_text
from recbole_genrec.interactions.converter import convert, find_dump
from recbole_genrec.interactions.converter.amazon import AMAZON
from recbole_genrec.interactions.converter.cells import LONGEST_CELL, cell, is_token

INTER = [
    "user_id:token",
    "item_id:token",
    "rating:float",
    "timestamp:float",
    "summary:token_seq",
    "review_text:token_seq",
]
ITEM = ["item_id:token", "title:token_seq", "brand:token", "categories:token_seq", "price:float"]


def review(user="U1", item="B1", rating=5.0, time=1529193600, **more):
    return {"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": time, **more}


@pytest.fixture
def convert_2018(tmp_path, write_lines):
    """Convert reviews and metadata as ``amazon18-gift_cards``; return the conversion and a reader of its files."""

    def run(reviews, metadata=({"asin": "B1", "title": "Card"},), **options):
        write_lines(tmp_path / "raw/Gift_Cards_5.json.gz", reviews)
        write_lines(tmp_path / "raw/meta_Gift_Cards.json.gz", metadata)
        return convert("amazon18-gift_cards", tmp_path / "raw", tmp_path / "out", **options)

    return run


@pytest.fixture
def written(tmp_path, read_rows):
    return lambda suffix: read_rows(tmp_path / f"out/amazon18-gift_cards/amazon18-gift_cards.{suffix}")


class TestEditions:
    def test_2014(self, tmp_path, write_lines, read_rows):
        write_lines(
            tmp_path / "reviews_Toys_and_Games_5.json.gz",
            [review(item="0439893577", reviewText="I like it!", summary="Magnetic board", helpful=[0, 0])],
        )
        literal = {
            "asin": "0439893577",
            "title": "Bob's 3\" board",
            "price": 12.5,
            "brand": "Acme",
            "salesRank": {"Toys & Games": 3},
            "categories": [["Toys & Games", "Puzzles"], ["Toys & Games"]],
        }
        # an escape that Python wants doubled; it must not warn, and nothing may be evaluated
        odd = "{'asin': 'B2', 'title': 'a\\/b'}"
        evil = "{'asin': __import__('os').getcwd()}"
        write_lines(tmp_path / "meta_Toys_and_Games.json.gz", [repr(literal), odd, evil])
        conversion = convert("amazon14-toys", output=tmp_path)
        folder = tmp_path / "amazon14-toys"
        assert read_rows(folder / "amazon14-toys.inter") == [
            INTER,
            ["U1", "0439893577", "5.0", "1529193600", "Magnetic board", "I like it!"],
        ]
        assert read_rows(folder / "amazon14-toys.item") == [
            ITEM,
            ["0439893577", "Bob's 3\" board", "Acme", "Toys & Games | Puzzles", "12.5"],
        ]
        assert conversion.malformed == 1

    def test_2018(self, convert_2018, written):
        conversion = convert_2018(
            [
                review(style={"Gift Amount:": " 50"}, verified=True, summary="Five Stars"),
                review("U2", "B2"),
                review("U2", "B2"),
            ],
            [
                {"asin": "B0", "title": "Nobody reviewed it"},
                {
                    "asin": "B1",
                    "title": "Maggiano&#39;s",
                    "brand": "M",
                    "category": ["Gift Cards", "Food"],
                    "price": "$1,025.00",
                },
                {"asin": "B1", "title": "Another row of B1"},
            ],
        )
        assert written("inter")[1:] == [
            ["U1", "B1", "5.0", "1529193600", "Five Stars", ""],
            ["U2", "B2", "5.0", "1529193600", "", ""],
            ["U2", "B2", "5.0", "1529193600", "", ""],
        ]
        assert written("item") == [ITEM, ["B1", "Maggiano&#39;s", "M", "Gift Cards | Food", "1025.00"]]
        counts = conversion.interactions, conversion.users, conversion.items, conversion.described
        assert counts == (3, 2, 2, 1)
        assert conversion.undescribed == 1

    def test_2023(self, tmp_path, write_lines, read_rows):
        record = {"user_id": "AE1", "asin": "V1", "parent_asin": "P1", "rating": 4.0, "timestamp": 1588687728923}
        write_lines(
            tmp_path / "Video_Games.jsonl.gz", [{**record, "title": "Good", "text": "Works.<br />Fine", "images": []}]
        )
        item = {
            "parent_asin": "P1",
            "title": "Dash 8",
            "store": "ATI",
            "categories": [],
            "main_category": "Games",
            "price": 9,
        }
        write_lines(tmp_path / "meta_Video_Games.jsonl", [item])
        convert("amazon23-video_games", tmp_path, tmp_path)
        folder = tmp_path / "amazon23-video_games"
        assert read_rows(folder / "amazon23-video_games.inter") == [
            INTER,
            ["AE1", "P1", "4.0", "1588687728923", "Good", "Works.<br />Fine"],
        ]
        assert read_rows(folder / "amazon23-video_games.item") == [ITEM, ["P1", "Dash 8", "ATI", "Games", "9"]]

    def test_all_reviews_where_there_is_no_five_core(self, tmp_path, write_lines):
        write_lines(tmp_path / "meta_Books.json", [{"asin": "B1"}])
        write_lines(tmp_path / "Books.json", [review(), review("U2")])
        assert convert("amazon18-books", tmp_path, tmp_path).interactions == 2
        write_lines(tmp_path / "Books_5.json", [review()])
        assert convert("amazon18-books", tmp_path, tmp_path).interactions == 1
        assert convert("amazon18-books", tmp_path / "Books.json", tmp_path).interactions == 2

    @pytest.mark.parametrize(
        ("price", "expected"),
        [("$12.34", "12.34"), (7, "7"), ("$5.00 - $9.00", ""), (".a-box-inner{color:#fff}", ""), (None, ""), ("", "")],
    )
    def test_prices(self, convert_2018, written, price, expected):
        convert_2018([review()], [{"asin": "B1", "title": "x", "price": price}])
        assert written("item")[1][-1] == expected


class TestNames:
    def test_every_category(self):
        assert len(AMAZON) == 24 + 29 + 34
        for name, dump in AMAZON.items():
            assert find_dump(name) == dump

    @pytest.mark.parametrize(
        ("name", "category"),
        [
            ("amazon14-toys", "Toys_and_Games"),
            ("amazon14-beauty", "Beauty"),
            ("amazon14-sports", "Sports_and_Outdoors"),
            ("amazon18-clothing", "Clothing_Shoes_and_Jewelry"),
            ("amazon23-beauty", "Beauty_and_Personal_Care"),
        ],
    )
    def test_short_names(self, name, category):
        assert (find_dump(name).category, find_dump(name).name) == (category, name)

    @pytest.mark.parametrize(
        "name", ["amazon23-health", "amazon18-toy", "amazon18", "amazon18-", "amazon15-toys", "", "ml"]
    )
    def test_others_are_unknown(self, name):
        with pytest.raises(GenRecError, match=f"Unknown dataset '{name}'"):
            convert(name)

    def test_an_unknown_category_names_those_of_its_year(self):
        with pytest.raises(
            GenRecError, match="Did you mean 'amazon18-gift_cards'. Known: amazon18-all_beauty"
        ) as error:
            convert("amazon18-gift_card")
        assert "amazon14" not in str(error.value)


class TestMalformed:
    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ("{", "neither JSON nor a Python literal"),
            ('"text"', "not an object with keys and values"),
            ("[" * 100_000, "neither JSON nor a Python literal"),
            (review(user=None), "'reviewerID' is None, not an id"),
            (review(user="a\tb"), "'reviewerID' is 'a\\tb', not an id"),
            (review(item=""), "'asin' is '', not an id"),
            (review(item=7), "'asin' is 7, not an id"),
            (review(rating="five"), "'overall' is 'five', not a number"),
            (review(rating=True), "'overall' is True, not a number"),
            (review(rating=float("nan")), "'overall' is nan, not a number"),
            (review(time=None), "'unixReviewTime' is None, not a number"),
            (review(time=1.5), "'unixReviewTime' is 1.5, not a whole number"),
        ],
    )
    def test_records(self, convert_2018, written, caplog, record, reason):
        conversion = convert_2018([review(), record, review("U2")])
        assert conversion.malformed == 1 and conversion.interactions == 2
        assert f"Gift_Cards_5.json.gz, line 2: {reason}" in caplog.text

    def test_strict(self, convert_2018, tmp_path):
        with pytest.raises(GenRecError, match=r"meta_Gift_Cards.json.gz, line 2: 'asin' is None, not an id\."):
            convert_2018([review()], [{"asin": "B1"}, {"title": "x"}], strict=True)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "damage", [lambda data: data[:-12], lambda data: data[:-8] + b"\0" * 8, lambda data: b"text"]
    )
    def test_a_damaged_file(self, convert_2018, tmp_path, damage):
        convert_2018([review()])
        path = tmp_path / "raw/Gift_Cards_5.json.gz"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(GenRecError, match="Cannot read .*Gift_Cards_5.json.gz.* Is the file complete"):
            convert("amazon18-gift_cards", tmp_path / "raw", tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_a_line_without_end(self, convert_2018, tmp_path, monkeypatch):
        monkeypatch.setattr("recbole_genrec.interactions.converter.raw_file.LONGEST_LINE", 1000)
        monkeypatch.setattr("recbole_genrec.interactions.converter.raw_file.RawFile.blocks.__defaults__", (None, 100))
        with pytest.raises(GenRecError, match="Gift_Cards_5.json.gz, line 2: longer than 1,000 bytes"):
            convert_2018([review(), review(reviewText="x" * 2000)])


class TestText:
    def test_stays_one_cell(self, convert_2018, written):
        convert_2018(
            [review(summary='"Great" card\r\n\twith\x00 a \u2028 gift', reviewText='"never closed'), review("U2")],
            [{"asin": "B1", "title": "  Two  spaces\n\n", "brand": "by\tAcme", "category": ["a\x85b"]}],
        )
        assert written("inter")[1][4:] == [' "Great" card with a gift', ' "never closed']
        assert len(written("inter")) == 3
        assert written("item")[1] == ["B1", "Two  spaces", "by Acme", "a b", ""]

    def test_half_a_character(self, convert_2018, written):
        convert_2018(['{"reviewerID": "U1", "asin": "B1", "overall": 5, "unixReviewTime": 1, "summary": "a\\ud83d"}'])
        assert written("inter")[1][2:5] == ["5.0", "1", "a?"]

    @settings(deadline=None)
    @given(st.text(max_size=60))
    def test_cells(self, text):
        made = cell(text)
        assert len(f"{made}\n".splitlines()) == 1 and "\t" not in made and not made.startswith('"')
        assert made.strip() == cell(made).strip()
        if "&" not in text:
            assert made.strip() == clean_text(text)

    def test_a_cell_has_a_longest_length(self):
        assert len(cell("x" * 200_000)) < LONGEST_CELL

    @pytest.mark.parametrize("value", ["", None, 7, "a b", "a\tb", "\x7f", '"a', "a\u2028", "\ud83d", "a\xa0b"])
    def test_what_is_no_token(self, value):
        assert not is_token(value)

    def test_tokens(self):
        assert is_token("#oc-R11D9LKDCAK") and is_token("B004LLIKVU")


def test_times_are_written_in_full(convert_2018, written):
    times = [0, 881250949, 1529193600, 2**53 + 1, 1.5e9, "1147880044"]
    convert_2018([review(f"U{place}", time=time) for place, time in enumerate(times)])
    expected = ["0", "881250949", "1529193600", "9007199254740993", "1500000000", "1147880044"]
    assert [row[3] for row in written("inter")[1:]] == expected


def test_rows_stay_in_the_order_of_the_file_over_blocks(convert_2018, written, monkeypatch):
    monkeypatch.setattr("recbole_genrec.interactions.converter.raw_file.RawFile.blocks.__defaults__", (None, 64))
    reviews = [review(f"U{place % 7}", f"B{place % 5}", time=place) for place in range(100)]
    conversion = convert_2018(reviews)
    assert [row[3] for row in written("inter")[1:]] == [str(place) for place in range(100)]
    assert (conversion.users, conversion.items) == (7, 5)


def test_gzip_members_may_follow_each_other(tmp_path):
    parts = [gzip.compress((json.dumps(review(f"U{part}")) + "\n").encode()) for part in range(3)]
    (tmp_path / "Software_5.json.gz").write_bytes(b"".join(parts))
    (tmp_path / "meta_Software.json").write_text("")
    conversion = convert("amazon18-software", tmp_path, tmp_path)
    assert (conversion.interactions, conversion.described, conversion.undescribed) == (3, 0, 1)
