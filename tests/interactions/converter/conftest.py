"""Small raw dumps in the published forms."""

import gzip
import json
import zipfile

import pytest

RATINGS_CSV = (
    b"userId,movieId,rating,timestamp\r\n1,296,5.0,1147880044\r\n1,306,3.5,1147868817\r\n12,296,0.5,1573943598\r\n"
)
MOVIES_CSV = (
    b"movieId,title,genres\r\n"
    b"296,Pulp Fiction (1994),Comedy|Crime|Drama|Thriller\r\n"
    b'306,"Three Colors: Red, The (Trois couleurs: Rouge) (1994)",Drama\r\n'
    b'7789,"11\'09""01 - September 11 (2002)",Drama\r\n'
    b'51372,"""Great Performances"" Cats (1998)",Musical\r\n'
    b"131,Am\xc3\xa9lie  in  Two Spaces (2001) ,(no genres listed)\r\n"
    b"132,Babylon 5,Sci-Fi\r\n"
)


@pytest.fixture(scope="session")
def ratings_csv():
    return RATINGS_CSV


@pytest.fixture(scope="session")
def movies_csv():
    return MOVIES_CSV


@pytest.fixture
def write_zip():
    """Write a zip of ``{member: bytes}`` and return its path."""

    def write(path, members):
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    return write


@pytest.fixture
def ml_zip(tmp_path, write_zip):
    """A tiny ``ml-25m.zip`` in a folder of its own."""
    return write_zip(
        tmp_path / "raw" / "ml-25m.zip",
        {"ml-25m/README.txt": b"terms", "ml-25m/ratings.csv": RATINGS_CSV, "ml-25m/movies.csv": MOVIES_CSV},
    )


@pytest.fixture
def write_lines():
    """Write JSON lines, gzipped where the name says so; a text stands as it is, other values become JSON."""

    def write(path, records):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        content = "".join(f"{line}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture(scope="session")
def read_rows():
    """Read an atomic file as lists of cells, the header first."""

    def read(path):
        text = path.read_bytes().decode()
        assert text.endswith("\n")
        return [line.split("\t") for line in text[:-1].split("\n")]

    return read
