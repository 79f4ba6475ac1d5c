"""Columns of users: numbers of their values, and errors that name the file and the column."""

import math

import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.user_table import ValueColumn, read_users

HEADER = "user_id:token\tage:float\tjob:token\ttags:token_seq"
TEXT = f"{HEADER}\nu1\t24\twriter\ta b\nu2\t\tartist\t\nu1\t99\tnone\t\nu3\tx\t\t\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.user"
    path.write_text(TEXT)
    return AtomicFile(path)


def test_a_users_first_row_counts_and_empty_cells_are_absent(file):
    table = read_users(file, "user_id", ["job", "age"])
    assert table.kinds == {"job": "token", "age": "float"}
    assert table.texts == {"job": {"u1": "writer", "u2": "artist"}, "age": {"u1": "24", "u3": "x"}}


def test_numbers_of_values():
    job = ValueColumn.of("token", ["writer", "artist", "writer"])
    assert job.values == ("artist", "writer")
    assert [job.number(value) for value in ("artist", "writer")] == [0, 1]
    age = ValueColumn.of("float", ["24"])
    assert [age.number(value) for value in ("24", 24, 2.5)] == [24, 24, 2.5] and age.values == ()
    for column, unknown in ((job, ("poet", None, "")), (age, (None, "x", "", "nan", "inf", 1e300, 10**400))):
        assert all(math.isnan(column.number(value)) for value in unknown)
    for column in (job, age):
        assert ValueColumn.from_json(column.as_json()) == column
    assert ValueColumn.of("token", ["1"]).number(1) == 0


@pytest.mark.parametrize(
    ("user_field", "columns", "message"),
    [
        ("user_id", ["jobs"], "'user_columns' needs the column 'jobs' of .*tiny.user, which has: user_id, age, job"),
        ("user", ["job"], "needs the column 'user' of"),
        ("user_id", ["tags"], "the column 'tags' of .*tiny.user must be of type token or float, not 'token_seq'"),
    ],
)
def test_what_is_not_there_is_named(file, user_field, columns, message):
    with pytest.raises(GenRecError, match=message):
        read_users(file, user_field, columns)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GenRecError, match="'user_columns' needs .*none.user, which does not exist"):
        read_users(AtomicFile(tmp_path / "none.user"), "user_id", ["age"])


@pytest.mark.parametrize("content", [{"kind": "token_seq", "values": []}, {"kind": "token", "values": ["a", "a"]}])
def test_a_stored_column_that_is_none_is_refused(content):
    with pytest.raises(GenRecError, match="a column is of kind"):
        ValueColumn.from_json(content)
