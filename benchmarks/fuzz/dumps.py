"""Raw dumps: every row that goes in is a row of the atomic file, or is counted as malformed."""

import gzip
import json
import shutil
import zipfile

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import REPORTED, RIGHT, Target
from recbole_genrec.interactions.converter import convert

GENRES = "|".join("01" * 9 + "0")


def movielens(draw, separator):
    """Rows of ratings."""
    return [
        separator.join((str(draw.randint(1, 4)), str(draw.randint(1, 5)), draw.choice(("3", "4.5")), str(10**9 + step)))
        for step in range(draw.randint(1, 12))
    ]


class Dump(Target):
    """What is shared: files in a folder, a conversion, and the count of rows."""

    def convert(self, name, files, rows, draw, **more):
        """Convert ``files``, and compare with ``rows``, a function that counts the rows of a text."""
        source, output = self.folder / "raw", self.folder / "out"
        for folder in (source, output):
            shutil.rmtree(folder, ignore_errors=True)
        source.mkdir()
        self.input, self.places = files, (source, output, name)
        place = source
        if draw.random() < 0.2:
            place = source / "raw.zip"
            with zipfile.ZipFile(place, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
                for file, content in files.items():
                    archive.writestr(f"{name}/{file}", content)
            if draw.random() < 0.5:
                place.write_bytes(mutate.some_bytes(draw, place.read_bytes()))
                self.input = {**files, "raw.zip": place.read_bytes()}
                rows = None  # of a damaged archive nobody knows
        else:
            for file, content in files.items():
                (source / file).write_bytes(content)
        made = convert(name, place, output, **more)
        written = (output / name / f"{name}.inter").read_bytes().decode("utf-8").splitlines()
        lines = (output / name / f"{name}.inter").read_bytes().count(b"\n")
        header = written[0].split("\t")
        assert made.interactions == lines - 1
        for line in (output / name / f"{name}.inter").read_bytes().decode("utf-8").split("\n")[1:-1]:
            assert line.count("\t") == len(header) - 1, "a row of another length was written"
        described = (output / name / f"{name}.item").read_bytes()
        assert made.described == described.count(b"\n") - 1
        if rows is not None:
            given, repeated = rows
            assert given == made.interactions + made.described + repeated + made.malformed, (given, made)
        return REPORTED if made.malformed else RIGHT


class MovieLens(Dump):
    """The three forms of MovieLens."""

    name = "MovieLens dumps"
    share = 2

    def case(self, draw):
        form = draw.choice(("ml-100k", "ml-1m", "ml-25m"))
        separator = {"ml-100k": "\t", "ml-1m": "::", "ml-25m": ","}[form]
        ratings = movielens(draw, separator)
        if form == "ml-100k":
            items = [f"{item}|Title {item} (1990)|||u|{GENRES}" for item in range(1, 6)]
            names = ("u.data", "u.item")
        elif form == "ml-1m":
            items = [f"{item}::Title {item} (1990)::Drama" for item in range(1, 6)]
            names = ("ratings.dat", "movies.dat")
        else:
            ratings.insert(0, "userId,movieId,rating,timestamp")
            items = ["movieId,title,genres", *(f'{item},"Title, {item} (1990)",Drama' for item in range(1, 6))]
            names = ("ratings.csv", "movies.csv")
        files = {name: ("\n".join(lines) + "\n").encode() for name, lines in zip(names, (ratings, items))}
        broken = draw.choice(names)
        cut = "|" if broken == "u.item" else separator
        files[broken] = mutate.table(draw, files[broken], cut.encode())
        core = {"user_core": draw.choice((0, 0, 2))}
        rows = None if core["user_core"] else self._rows(files, names, form)
        return self.convert(form, files, rows, draw, **core)

    def _rows(self, files, names, form):
        """Rows of both files, and how many describe a movie that an earlier row has described.

        The latter are known only of whole files; the count of a broken one is bounded instead.
        """
        blank = (b" \r", None)  # a rating of separators alone is a row
        lines = [[line for line in files[name].split(b"\n") if line.strip(b)] for name, b in zip(names, blank)]
        given = sum(map(len, lines)) - (2 if form == "ml-25m" else 0)
        separator = {"ml-100k": b"|", "ml-1m": b"::", "ml-25m": b","}[form]
        return given, _Between(0, len(lines[1]) - len({line.split(separator)[0] for line in lines[1]}))


class _Between:
    """A number that is known by its bounds only, to be added."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __radd__(self, other):
        return _Between(self.low + other, self.high + other)

    __add__ = __radd__

    def __eq__(self, other):
        return self.low <= other <= self.high


class Amazon(Dump):
    """Reviews and metadata of the three editions, gzipped or not."""

    name = "Amazon dumps"
    share = 2

    def case(self, draw):
        edition = draw.choice(("amazon14", "amazon18", "amazon23"))
        new = edition == "amazon23"
        user, item, rating, time = (
            ("user_id", "parent_asin", "rating", "timestamp")
            if new
            else ("reviewerID", "asin", "overall", "unixReviewTime")
        )
        reviews = [
            {
                user: draw.choice(("A1", "B2", "null")),
                item: f"B{draw.randint(1, 4)}",
                rating: draw.choice((5, 4.0)),
                time: 10**9 + step,
                "summary": draw.choice(("good", mutate.text(draw))),
                "text" if new else "reviewText": draw.choice(("a b", mutate.text(draw))),
            }
            for step in range(draw.randint(1, 8))
        ]
        items = [
            {item: f"B{number}", "title": draw.choice(("Toy", mutate.text(draw))), "price": "$5"}
            for number in range(1, 5)
        ]
        lines = [self._lines(draw, records) for records in (reviews, items)]
        names = ("Gift_Cards.jsonl", "meta_Gift_Cards.jsonl") if new else ("Gift_Cards.json", "meta_Gift_Cards.json")
        if edition == "amazon14":
            names = ("reviews_Baby.json", "meta_Baby.json")
        files = dict(zip(names, lines))
        rows = None
        if draw.random() < 0.3:  # gzipped, and maybe cut
            files = {f"{name}.gz": gzip.compress(content, 1, mtime=0) for name, content in files.items()}
            broken = draw.choice(list(files))
            if draw.random() < 0.5:
                files[broken] = mutate.some_bytes(draw, files[broken])
        else:
            given = [len([line for line in content.split(b"\n") if line.strip()]) for content in lines]
            # metadata describe a whole shop: those of items without reviews, and later ones, are left out
            rows = given[0] + given[1], _Between(0, given[1])
        return self.convert(edition + ("-baby" if edition == "amazon14" else "-gift_cards"), files, rows, draw)

    @staticmethod
    def _lines(draw, records):
        """JSON lines, some of them of broken objects, some of them broken themselves."""
        lines = []
        for record in records:
            if draw.random() < 0.2:
                record = mutate.structure(draw, record)
            line = repr(record) if draw.random() < 0.1 else json.dumps(record)
            lines.append(line.replace("\n", " ").encode("utf-8", "surrogatepass"))
            if draw.random() < 0.02:
                lines.append(mutate.nested(draw).encode())
        content = b"\n".join(lines) + b"\n"
        return mutate.some_bytes(draw, content) if draw.random() < 0.4 else content
