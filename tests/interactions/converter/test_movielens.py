"""MovieLens: every form, every title as it stands, and the fast check of ratings against a plain one."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_genrec import GenRecError
from recbole_genrec.catalogue.item_text import item_text
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import read_items
from recbole_genrec.interactions.converter import convert
from recbole_genrec.interactions.converter.malformed import MalformedRows
from recbole_genrec.interactions.converter.movielens import MOVIELENS, _key, _rating_rows, split_year

INTER = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
USER = ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"]


def item_header(genres="genre"):
    return ["item_id:token", "movie_title:token_seq", "release_year:token", f"{genres}:token_seq"]


class TestCsv:
    def test_zip(self, ml_zip, tmp_path, read_rows):
        conversion = convert("ml-25m", ml_zip, tmp_path / "out")
        folder = tmp_path / "out" / "ml-25m"
        assert read_rows(folder / "ml-25m.inter") == [
            INTER,
            ["1", "296", "5.0", "1147880044"],
            ["1", "306", "3.5", "1147868817"],
            ["12", "296", "0.5", "1573943598"],
        ]
        assert read_rows(folder / "ml-25m.item") == [
            item_header(),
            ["296", "Pulp Fiction", "1994", "Comedy Crime Drama Thriller"],
            ["306", "Three Colors: Red, The (Trois couleurs: Rouge)", "1994", "Drama"],
            ["7789", "11'09\"01 - September 11", "2002", "Drama"],
            ["51372", ' "Great Performances" Cats', "1998", "Musical"],
            ["131", "Amélie  in  Two Spaces", "2001", ""],
            ["132", "Babylon 5", "", "Sci-Fi"],
        ]
        assert sorted(path.name for path in folder.iterdir()) == ["ml-25m.inter", "ml-25m.item"]
        counts = conversion.interactions, conversion.users, conversion.items, conversion.described
        assert counts == (3, 2, 2, 6)
        assert (conversion.undescribed, conversion.malformed) == (0, 0)

    def test_the_plugin_reads_the_titles_as_published(self, ml_zip, tmp_path):
        convert("ml-25m", ml_zip, tmp_path)
        items = read_items(AtomicFile(tmp_path / "ml-25m/ml-25m.item"), "item_id")
        text = item_text(items, "{movie_title} ({release_year})").texts
        assert text["51372"] == '"Great Performances" Cats (1998)'
        assert text["306"] == "Three Colors: Red, The (Trois couleurs: Rouge) (1994)"
        assert text["132"] == "Babylon 5"

    @pytest.mark.parametrize("place", ["", "ml-25m"])
    def test_a_folder_of_extracted_files(self, tmp_path, place, ratings_csv, movies_csv, read_rows):
        folder = tmp_path / "raw" / place
        folder.mkdir(parents=True)
        (folder / "ratings.csv").write_bytes(b"\xef\xbb\xbf" + ratings_csv.replace(b"\r\n", b"\n"))
        (folder / "movies.csv").write_bytes(b"\xef\xbb\xbf" + movies_csv)
        convert("ml-25m", tmp_path / "raw", tmp_path / "out")
        assert len(read_rows(tmp_path / "out/ml-25m/ml-25m.inter")) == 4

    def test_a_sample_of_the_ratings(self, tmp_path, ratings_csv, movies_csv):
        (tmp_path / "movies.csv").write_bytes(movies_csv)
        sample = tmp_path / "ratings.first100k.csv"
        sample.write_bytes(ratings_csv)
        for source in (tmp_path, sample):
            assert convert("ml-25m", source, tmp_path / "out").interactions == 3
        (tmp_path / "ratings.more.csv").write_bytes(ratings_csv)
        with pytest.raises(GenRecError, match="ratings.first100k.csv, ratings.more.csv: which one"):
            convert("ml-25m", tmp_path, tmp_path / "out")

    def test_the_last_line_may_lack_its_end(self, tmp_path, ratings_csv, movies_csv, write_zip):
        path = write_zip(tmp_path / "a.zip", {"ratings.csv": ratings_csv[:-2], "movies.csv": movies_csv[:-2]})
        conversion = convert("ml-32m", path, tmp_path)
        assert (conversion.interactions, conversion.described) == (3, 6)

    def test_another_header(self, tmp_path, movies_csv, write_zip):
        path = write_zip(tmp_path / "a.zip", {"ratings.csv": b"user,item\n1,2\n", "movies.csv": movies_csv})
        with pytest.raises(
            GenRecError,
            match=r"a.zip:ratings.csv, line 1: the header is 'user,item', not 'userId,movieId,rating,timestamp'",
        ):
            convert("ml-20m", path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestDat:
    def test_ml_1m(self, tmp_path, read_rows, write_zip):
        members = {
            "ml-1m/ratings.dat": b"1::1193::5::978300760\n1::661::3::978302109\n",
            "ml-1m/movies.dat": "1193::Misérables, Les (1995)::Drama|Musical\n661::A: B (1996)::Drama\n".encode(
                "latin-1"
            ),
            "ml-1m/users.dat": b"1::F::1::10::48067\n2::M::56::16::70072-1\n",
        }
        convert("ml-1m", write_zip(tmp_path / "ml-1m.zip", members), tmp_path)
        folder = tmp_path / "ml-1m"
        assert read_rows(folder / "ml-1m.inter")[1:] == [
            ["1", "1193", "5", "978300760"],
            ["1", "661", "3", "978302109"],
        ]
        assert read_rows(folder / "ml-1m.item") == [
            item_header(),
            ["1193", "Misérables, Les", "1995", "Drama Musical"],
            ["661", "A: B", "1996", "Drama"],
        ]
        assert read_rows(folder / "ml-1m.user") == [
            USER,
            ["1", "1", "F", "10", "48067"],
            ["2", "56", "M", "16", "70072-1"],
        ]

    def test_ml_10m_in_its_extracted_folder(self, tmp_path, read_rows):
        folder = tmp_path / "ml-10M100K"
        folder.mkdir()
        (folder / "ratings.dat").write_bytes(b"1::122::5::838985046\n1::185::4.5::838983525\n")
        (folder / "movies.dat").write_bytes("122::Léon (1994)::Crime\n".encode())
        conversion = convert("ml-10m", output=tmp_path)
        assert conversion.undescribed == 1
        assert "1 items without metadata" in str(conversion)
        assert read_rows(tmp_path / "ml-10m/ml-10m.item")[1] == ["122", "Léon", "1994", "Crime"]


def test_ml_100k(tmp_path, read_rows):
    flags = "|".join("1" if genre in (3, 4, 5) else "0" for genre in range(19))
    (tmp_path / "u.data").write_bytes(b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    (tmp_path / "u.item").write_bytes(
        f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M|{flags}\n"
        f"242|Enfants Perdus, Cité des (1995)|01-Jan-1995||http://|0|{flags[2:]}\n"
        f"267|unknown||||1{'|0' * 18}\n".encode("latin-1")
    )
    (tmp_path / "u.user").write_bytes(b"1|24|M|technician|85711\n")
    convert("ml-100k", tmp_path, tmp_path / "out")
    folder = tmp_path / "out/ml-100k"
    assert read_rows(folder / "ml-100k.inter")[1:] == [
        ["196", "242", "3", "881250949"],
        ["186", "302", "3", "891717742"],
    ]
    assert read_rows(folder / "ml-100k.item") == [
        item_header("class"),
        ["1", "Toy Story", "1995", "Animation Children's Comedy"],
        ["242", "Enfants Perdus, Cité des", "1995", "Animation Children's Comedy"],
        ["267", "unknown", "", "unknown"],
    ]
    assert read_rows(folder / "ml-100k.user") == [USER, ["1", "24", "M", "technician", "85711"]]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Matrix, The (1999)", ("Matrix, The", "1999")),
        ("Deadly Advice(1994)", ("Deadly Advice", "1994")),
        ("Transit\xa0 (2018) ", ("Transit", "2018")),
        ("1984 (Nineteen Eighty-Four) (1984)", ("1984 (Nineteen Eighty-Four)", "1984")),
        ("Death Note: Desu nôto (2006–2007)", ("Death Note: Desu nôto (2006–2007)", "")),
        ("1013 Briar Lane", ("1013 Briar Lane", "")),
        ("The Naked Truth (1957) (Your Past Is Showing)", ("The Naked Truth (1957) (Your Past Is Showing)", "")),
    ],
)
def test_years(title, expected):
    assert split_year(title) == expected


class TestMalformed:
    RATINGS = (
        b"userId,movieId,rating,timestamp\n1,2,3.5,4\n1,2,3.5\n1,2,x,4\n\n1,,3,4\n1,2,3,5\n1,2,3.5,4,5\n1,2,3,4.5\n7,8,"
    )
    MOVIES = (
        b"movieId,title,genres\n2,Heat (1995),Crime\n"
        b'3,"Open (1999),Crime\nx,Y (2000),Drama\n4,Last,Drama\n2,Again (1),War\n'
    )

    @pytest.fixture
    def source(self, tmp_path):
        folder = tmp_path / "raw"
        folder.mkdir()
        (folder / "ratings.csv").write_bytes(self.RATINGS)
        (folder / "movies.csv").write_bytes(self.MOVIES)
        return folder

    def test_counted_and_shown(self, source, tmp_path, caplog, read_rows):
        conversion = convert("ml-25m", source, tmp_path)
        rows = read_rows(tmp_path / "ml-25m/ml-25m.inter")
        assert rows[1:] == [["1", "2", "3.5", "4"], ["1", "2", "3", "5"]]
        # an open quote swallows no line below it, and the first of two rows of a movie counts
        assert [row[:2] for row in read_rows(tmp_path / "ml-25m/ml-25m.item")[1:]] == [["2", "Heat"], ["4", "Last"]]
        assert conversion.malformed == 8
        assert caplog.messages[0].startswith(
            f"8 malformed rows are left out: {source / 'ratings.csv'}, line 3: not user"
        )
        lines = re.findall(r"csv, line (\d+)", caplog.messages[0])
        assert lines == ["3", "4", "6", "8", "9"]
        assert caplog.messages[0].endswith("; and 3 more.")

    def test_strict(self, source, tmp_path):
        with pytest.raises(GenRecError, match=r"ratings.csv, line 3: not user, movie, rating and time"):
            convert("ml-25m", source, tmp_path / "out", strict=True)
        assert not (tmp_path / "out").exists()
        (source / "ratings.csv").write_bytes(b"userId,movieId,rating,timestamp\n1,2,3.5,4\n")
        with pytest.raises(GenRecError, match=r"movies.csv, line 3: unexpected end of data"):
            convert("ml-25m", source, tmp_path / "out", strict=True)

    def test_nothing_but_malformed_rows(self, source, tmp_path):
        (source / "ratings.csv").write_bytes(b"userId,movieId,rating,timestamp\nx\n")
        with pytest.raises(GenRecError, match="holds no interactions of 'ml-25m'. 1 malformed row is left out"):
            convert("ml-25m", source, tmp_path / "out")


ROW = re.compile(rb"[0-9]{1,8}\t[0-9]{1,8}\t[0-9]+(\.[0-9]+)?\t[0-9]+")
cells = st.text("0123456789", min_size=1, max_size=9)
ratings = st.one_of(cells, st.builds("{}.{}".format, cells, cells))
sound_rows = st.builds("{}\t{}\t{}\t{}".format, cells, cells, ratings, cells)


@settings(deadline=None)
@example(["\t"])
@given(st.lists(st.one_of(sound_rows, st.text("019\t.,-\r", max_size=12)), min_size=1, max_size=8))
def test_the_fast_check_equals_a_pattern_a_line(lines):
    text = "".join(f"{line}\n" for line in lines).encode()
    expected = [line.encode() for line in lines if ROW.fullmatch(line.encode())]
    malformed = MalformedRows()
    rows = _rating_rows(text, 1, "file", malformed)
    assert rows.text == b"".join(line + b"\n" for line in expected)
    assert rows.users.tolist() == [_key(line.split(b"\t")[0].decode()) for line in expected]
    assert rows.items.tolist() == [_key(line.split(b"\t")[1].decode()) for line in expected]
    assert malformed.count == sum(bool(line.strip(" \r")) for line in lines) - len(expected)


@settings(deadline=None)
@given(st.lists(st.text("0123456789", min_size=1, max_size=8), unique=True))
def test_keys_are_distinct(identifiers):
    assert len({_key(identifier) for identifier in identifiers}) == len(identifiers)


def test_blocks_of_any_size_give_the_same_rows(ml_zip, monkeypatch, ratings_csv):
    from recbole_genrec.interactions.converter import raw_file
    from recbole_genrec.interactions.converter.raw_folder import find_raw_files

    file = find_raw_files(MOVIELENS["ml-25m"], ml_zip)["inter"]
    expected = ratings_csv.replace(b"\r\n", b"\n").replace(b",", b"\t").split(b"\n", 1)[1]
    blocks = raw_file.RawFile.blocks
    for size in (1, 7, 31, 40, 1000):
        monkeypatch.setattr(raw_file.RawFile, "blocks", lambda self, progress=None, size=size: blocks(self, None, size))
        malformed = MalformedRows()
        rows = list(MOVIELENS["ml-25m"].interactions(file, malformed))
        assert b"".join(row.text for row in rows) == expected
        assert np.concatenate([row.users for row in rows]).tolist() == [_key(user) for user in ("1", "1", "12")]
        assert malformed.count == 0


def test_a_line_of_separators_is_a_malformed_row(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/ratings.dat").write_bytes(b"1::2::3::4\n::\n\n:::\n1::3::3::5\n")
    (tmp_path / "raw/movies.dat").write_bytes(b"2::Heat (1995)::Crime\n3::Up (2009)::Drama\n")
    made = convert("ml-1m", tmp_path / "raw", tmp_path / "out")
    assert (made.interactions, made.malformed) == (2, 2)


def test_an_empty_file_has_no_header(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/ratings.csv").write_bytes(b"userId,movieId,rating,timestamp\n1,2,3,4\n")
    (tmp_path / "raw/movies.csv").write_bytes(b"")
    with pytest.raises(GenRecError, match="movies.csv, line 1: the file is empty; its header is 'movieId,"):
        convert("ml-25m", tmp_path / "raw", tmp_path / "out")
