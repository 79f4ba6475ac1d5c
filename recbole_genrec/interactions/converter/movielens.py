"""MovieLens, in its three forms: ``u.data`` (100k), ``.dat`` (1M, 10M) and ``.csv`` (20M and later).

Ratings are checked and rewritten a block at a time with numpy; no Python runs per row. Movies and users are few.
"""

import csv
import re
from dataclasses import dataclass

import numpy as np

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.interactions.converter.cells import cell
from recbole_genrec.interactions.converter.raw_dump import Download, Metadata, RawDump, Rows

ADDRESS = "https://files.grouplens.org/datasets/movielens/"

RATING_COLUMNS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
USER_COLUMNS = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")

#: the flags of ``u.item``, in its order, in the words of RecBole's own ml-100k.
GENRES_100K = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: longest id, in digits: a key holds as many bytes.
ID_DIGITS = 8
RATING_REASON = f"not user, movie, rating and time as numbers, ids of up to {ID_DIGITS} digits"

_TITLE_AND_YEAR = re.compile(r"(.*?)\s*\((\d{4})\)", re.DOTALL)


@dataclass(frozen=True)
class Form:
    """How one of the three forms writes its files."""

    ratings: tuple
    movies: str
    users: str
    separator: bytes
    #: name of the column of genres in RecBole's own files.
    genres: str
    #: first lines of the ratings and of the movies; empty where there is none.
    rating_header: bytes = b""
    movie_header: bytes = b""


FORMS = {
    "u.data": Form(("u.data",), "u.item", "u.user", b"\t", "class"),
    ".dat": Form(("ratings.dat",), "movies.dat", "users.dat", b"::", "genre"),
    ".csv": Form(
        ratings=("ratings.csv", "ratings*.csv"),
        movies="movies.csv",
        users="",
        separator=b",",
        genres="genre",
        rating_header=b"userId,movieId,rating,timestamp",
        movie_header=b"movieId,title,genres",
    ),
}


@dataclass(frozen=True)
class MovieLens(RawDump):
    """One of the MovieLens data sets of GroupLens."""

    name: str
    form: str
    size: str
    md5: str = ""
    archive_folder: str = ""

    whole_catalogue = True

    @property
    def downloads(self):
        """The one archive that holds all files; see :class:`RawDump`."""
        return dict.fromkeys(self.patterns, Download(f"{ADDRESS}{self.name}.zip", self.size, self.md5))

    @property
    def extracted(self):
        """The archive's folder, by default named after the data set; see :class:`RawDump`."""
        return self.archive_folder or self.name

    @property
    def patterns(self):
        """File names of ratings, movies and, in the editions that have them, users; see :class:`RawDump`."""
        form = FORMS[self.form]
        patterns = {"inter": form.ratings, "item": (form.movies,), "user": (form.users,)}
        return patterns if form.users else {key: patterns[key] for key in ("inter", "item")}

    @property
    def columns(self):
        """Columns of ratings, movies and users; see :class:`RawDump`."""
        movies = (
            "item_id:token",
            "movie_title:token_seq",
            "release_year:token",
            f"{FORMS[self.form].genres}:token_seq",
        )
        return {"inter": RATING_COLUMNS, "item": movies, "user": USER_COLUMNS}

    def interactions(self, file, malformed, progress=None):
        """See :meth:`RawDump.interactions`."""
        form = FORMS[self.form]
        for text, line in _blocks(file, form.rating_header, progress):
            if text:
                yield _rating_rows(text.replace(form.separator, b"\t"), line, file, malformed)

    def metadata(self, suffix, file, malformed, progress=None):
        """See :meth:`RawDump.metadata`."""
        header = FORMS[self.form].movie_header if suffix == "item" else b""
        for text, first_line in _blocks(file, header, progress):
            lines, keys = [], []
            for number, line in enumerate(text.split(b"\n"), start=first_line):
                if not line.strip():
                    continue
                try:
                    cells = self._cells(suffix, _decode(line))
                except (ValueError, csv.Error) as error:
                    malformed.add(file, number, error)
                    continue
                lines.append("\t".join(cells))
                keys.append(_key(cells[0]))
            yield Metadata(lines, np.array(keys, np.uint64))

    def _cells(self, suffix, line):
        """The cells of one movie or user; ``ValueError`` says what is wrong with it."""
        if suffix == "user":
            return _user_100k(line) if self.form == "u.data" else _user_dat(line)
        if self.form == ".csv":
            identifier, title, genres = _exactly(3, *csv.reader([line], strict=True))
        elif self.form == ".dat":
            identifier, title, genres = _exactly(3, line.split("::"))
        else:
            identifier, title, *others = _exactly(5 + len(GENRES_100K), line.split("|"))
            genres = "|".join(genre for genre, flag in zip(GENRES_100K, others[3:]) if flag == "1")
        title, year = split_year(title)
        genres = "" if genres == "(no genres listed)" else genres.replace("|", " ")
        return [_identifier(identifier), cell(title), year, cell(genres)]


def split_year(title):
    """Split ``Matrix, The (1999)`` into title and year; a title that ends in no year has an empty one."""
    match = _TITLE_AND_YEAR.fullmatch(title.strip())
    return match.groups() if match else (title, "")


def _blocks(file, header, progress):
    r"""Yield the lines of a file, without its header, as text and number of the first line; lines end in ``\n``."""
    empty = True
    for text, line in file.blocks(progress):
        text, empty = text.replace(b"\r\n", b"\n"), False
        if line == 1 and header:
            found, _, text = text.partition(b"\n")
            if found.removeprefix(BYTE_ORDER_MARK).replace(b'"', b"") != header:
                raise GenRecError(
                    f"{file}, line 1: the header is {shown(_decode(found))}, not {_decode(header)!r}. "
                    "Is this the right file?"
                )
            line = 2
        yield text, line
    if empty and header:
        raise GenRecError(f"{file}, line 1: the file is empty; its header is {_decode(header)!r}.")


def _rating_rows(text, first_line, file, malformed):
    """Check rows of four numbers with tabs between them; leave out those that are not."""
    data = np.frombuffer(text + bytes(ID_DIGITS), np.uint8)
    # What is no digit is a mark: a sound row has tab, tab, tab, line feed, or tab, tab, point, tab, line feed.
    marks = np.flatnonzero(data[: len(text)] - ord("0") > 9)
    kinds = data[marks]
    ends = np.flatnonzero(kinds == ord("\n"))  # [R], the mark that ends each row

    def before(count):  # the mark so many marks before a row's end, for a row that has as many
        return np.maximum(ends - count, 0)

    point = (kinds[before(2)] == ord(".")).astype(int)
    first, second = before(3 + point), before(2 + point)
    sound = np.diff(ends, prepend=-1) == 4 + point
    for tab in (first, second, before(1)):
        sound &= kinds[tab] == ord("\t")
    without_digits = np.flatnonzero(np.diff(marks, prepend=-1) == 1)
    sound[np.searchsorted(ends, without_digits)] = False
    # From marks to offsets in the text: user [start, first), movie [first + 1, second), the row's end at stop.
    stops, first, second = marks[ends], marks[first], marks[second]
    starts = np.concatenate([[0], stops[:-1] + 1])
    sound &= (first - starts <= ID_DIGITS) & (second - first - 1 <= ID_DIGITS)
    if not sound.all():
        for row in np.flatnonzero(~sound):
            if text[starts[row] : stops[row]].strip(b" \r"):  # a line of separators alone is a row, too
                malformed.add(file, first_line + int(row), RATING_REASON)
        text = data[: len(text)][np.repeat(sound, stops + 1 - starts)].tobytes()
        starts, first, second = starts[sound], first[sound], second[sound]
    return Rows(text, _keys(data, starts, first), _keys(data, first + 1, second))


def _keys(data, starts, stops):
    """The text of each cell, of up to eight bytes, as one 64-bit number: its last byte on top, zeros at the bottom."""
    words = np.ndarray(len(data) - 7, "<u8", data, strides=(1,))  # the eight bytes from each offset on
    return words[starts] << (8 * (8 - (stops - starts))).astype(np.uint64)


def _key(identifier):
    """The number that :func:`_keys` makes of one cell."""
    return int.from_bytes(identifier.encode().rjust(8, b"\0"), "little")


def _decode(line):
    """Decode one line: ml-100k and ml-1m are latin-1, the others UTF-8."""
    try:
        return line.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _exactly(count, cells):
    if len(cells) != count:
        raise ValueError(f"{len(cells)} cells instead of {count}")
    return cells


def _identifier(text):
    if not re.fullmatch(rf"[0-9]{{1,{ID_DIGITS}}}", text):
        raise ValueError(f"id {text!r} is not a number of up to {ID_DIGITS} digits")
    return text


def _user_100k(line):
    identifier, age, gender, occupation, zip_code = _exactly(5, line.split("|"))
    return [_identifier(identifier), *map(cell, (age, gender, occupation, zip_code))]


def _user_dat(line):
    identifier, gender, age, occupation, zip_code = _exactly(5, line.split("::"))
    return [_identifier(identifier), *map(cell, (age, gender, occupation, zip_code))]


#: the data sets by name; sizes and sums as GroupLens gives them.
MOVIELENS = {
    dump.name: dump
    for dump in (
        MovieLens("ml-100k", "u.data", "5 MB", "0e33842e24a9c977be4e0107933c0723"),
        MovieLens("ml-1m", ".dat", "6 MB", "c4d9eecfca2ab87c1945afe126590906"),
        MovieLens("ml-10m", ".dat", "63 MB", archive_folder="ml-10M100K"),
        MovieLens("ml-20m", ".csv", "190 MB"),
        MovieLens("ml-25m", ".csv", "250 MB", "6b51fb2759a8657d3bfcbfc42b592ada"),
        MovieLens("ml-32m", ".csv", "239 MB"),
        MovieLens("ml-latest-small", ".csv", "1 MB"),
    )
}
