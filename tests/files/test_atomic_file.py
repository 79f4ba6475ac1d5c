"""The reader of atomic files: cells are those of the file, whatever is in them; malformed ones are named by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.checked_blocks import STAND_IN

HEADER = ["user_id:token", "note:token_seq", "score:float"]


def written(folder, lines, separator="\t", encoding="utf-8", end="\n", begin=b""):
    path = folder / "tiny.inter"
    text = end.join(separator.join(cells) for cells in [HEADER, *lines]) + end
    path.write_bytes(begin + text.encode(encoding))
    return AtomicFile(path, separator, encoding)


def table_of(file):
    table = file.table({"user_id": "category", "note": str, "score": float}, {"score": [""]})
    assert table.index.tolist() == list(range(len(table)))
    return list(zip(table["user_id"], table["note"], table["score"]))


TEXTS = ["NA", "null", "None", '"open', 'a "b" c', "  two  spaces ", "é & ü", "a\rb", "x\u2028y", "'", "#", "1_000", ""]
ROWS = [[f"u{n}", text, "1.5"] for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize("separator", ["\t", ",", "::", "||", "|", "§", ".*"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_cells_are_those_of_the_file(tmp_path, separator, end, begin):
    file = written(tmp_path, ROWS, separator, end=end, begin=begin)
    assert file.columns() == {"user_id": "token", "note": "token_seq", "score": "float"}
    assert file.check() == len(ROWS)
    assert [cells for _, cells in file.rows()] == ROWS
    assert table_of(file) == [(user, note, 1.5) for user, note, _ in ROWS]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "UTF8", "utf-8-sig"])
def test_encodings(tmp_path, encoding):
    rows = [["é", "ü ö", "2"]]
    file = written(tmp_path, rows, "::", encoding)
    assert [cells for _, cells in file.rows()] == rows and table_of(file) == [("é", "ü ö", 2)]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r\t:\0", exclude_categories=["Cs"])), min_size=1), st.data()
)
def test_any_text_is_read_as_it_stands(tmp_path_factory, texts, data):
    separator = data.draw(st.sampled_from(["\t", "::"]))
    rows = [["u", text.replace(STAND_IN, ""), "1"] for text in texts]
    file = written(tmp_path_factory.mktemp("any"), rows, separator)
    assert [cells for _, cells in file.rows()] == rows
    assert table_of(file) == [(user, note, 1) for user, note, _ in rows]


def test_lines_are_counted_with_the_empty_ones(tmp_path):
    file = written(tmp_path, [["a", "b", "1"], [""], ["c", "d", "2"]])
    assert [number for number, _ in file.rows()] == [2, 4]
    assert file.line(1) == (4, "c\td\t2") and file.check() == len(table_of(file)) == 2


def test_blocks_end_with_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_genrec.files.checked_blocks.BLOCK", 5)
    rows = [[f"u{n}", "x" * (n % 7), "1"] for n in range(200)]
    assert table_of(written(tmp_path, rows, "::", end="\r\n")) == [(user, note, 1) for user, note, _ in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id:token\tnote\n", r"line 1: 'note' is not 'name:type'"),
        ("user_id:token\tnote:text\n", r"line 1: 'note:text' is not 'name:type'.* token, token_seq, float, float_seq"),
        ("user_id:token\tuser_id:token\n", "line 1: the column 'user_id' comes twice"),
        ("user_id:token\tnote:token\na\tb\n\nc\n", r"line 4: 1 cells where the header has 2. Columns: user_id, note."),
        ("user_id:token\tnote:token\na\tb\tc\n", "line 2: 3 cells where the header has 2"),
        ("user_id:token\tnote:token\na\tb\nc\nd\te\tf\n", "line 3: 1 cells where the header has 2"),  # 4 in the sum
        ("user_id:token\tnote:token\na\tb\tc\nd\n", "line 2: 3 cells where the header has 2"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    path = tmp_path / "tiny.inter"
    path.write_text(content)
    with pytest.raises(GenRecError, match=f"tiny.inter, {message}"):
        AtomicFile(path).check()
    with pytest.raises(GenRecError, match=f"tiny.inter, {message}"):
        list(AtomicFile(path).rows())


def test_what_cannot_be_read(tmp_path):
    file = written(tmp_path, [["a", "b", "1"], ["c", "d\0e", "1"]])
    with pytest.raises(GenRecError, match="tiny.inter, line 3: the file holds a NUL byte"):
        table_of(file)
    file = written(tmp_path, [["é", "b", "1"]], encoding="latin-1")
    with pytest.raises(GenRecError, match="tiny.inter is not utf-8 text .* set 'encoding'"):
        table_of(AtomicFile(file.path))
    file = written(tmp_path, [["a", f"b{STAND_IN}", "1"]], "::")
    with pytest.raises(GenRecError, match=r"control character '\\x1f'.*'field_separator'"):
        table_of(file)


def first_bad(lines):
    """Number and cells of the first line that is a row of another length than the header, by a plain loop."""
    for number, line in enumerate(lines, start=2):
        count = line.count("\t") + 1
        if line.strip("\r") and count != 3:
            return number, count
    return None


@given(
    st.lists(st.sampled_from(["u\tb\t1", "", "\r", "u\tb", "u\tb\t1\t2", "u", "\t\t", "u\tb\t\r"]), max_size=12),
    st.data(),
)
def test_a_row_of_another_length_is_found_in_any_block(tmp_path_factory, lines, data):
    """Too many cells in one line make up for too few in another, in the sum over a block."""
    path = tmp_path_factory.mktemp("lengths") / "tiny.inter"
    end = data.draw(st.sampled_from(["", "\n", "\r\n"]))
    path.write_bytes(("\n".join(["\t".join(HEADER), *lines]) + end).encode())
    bad, file = first_bad(lines), AtomicFile(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_genrec.files.checked_blocks.BLOCK", data.draw(st.sampled_from([1, 7, 1 << 20])))
        for read in (file.check, lambda: len(file.table({"user_id": str}))):
            if bad is None:
                assert read() == len(list(file.rows()))
                table = file.table(dict.fromkeys(["user_id", "note", "score"], str))
                assert table.to_numpy().tolist() == [cells for _, cells in file.rows()]
            else:
                with pytest.raises(GenRecError, match=f"tiny.inter, line {bad[0]}: {bad[1]} cells where"):
                    read()


def test_what_is_wrong_far_behind_the_header(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_genrec.files.checked_blocks.BLOCK", 50)
    rows = [[f"u{n}", "note", "1"] for n in range(4000)]
    file = written(tmp_path, [*rows, ["u", "a\0b", "1"]])
    with pytest.raises(GenRecError, match="tiny.inter, line 4002: the file holds a NUL byte"):
        table_of(file)
    file.path.write_bytes(file.path.read_bytes().replace(b"\0", b"\xff"))
    with pytest.raises(GenRecError, match="tiny.inter is not utf-8 text .* set 'encoding'"):
        table_of(file)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_full_of_nul_bytes_is_refused(tmp_path, encoding):
    file = written(tmp_path, ROWS, encoding=encoding)
    for read in (file.check, lambda: table_of(file)):
        with pytest.raises(GenRecError, match="line 1: the file holds a NUL byte; it must be text in UTF-8"):
            read()


@pytest.mark.parametrize("separator", ["\t", "::"])
def test_numbers_of_texts_are_those_of_the_table(tmp_path, separator):
    texts = ["0.1", " 5", "1e-7", "", "NA", "1234567890.1234567", "+3", "inf", "5 "]
    file = written(tmp_path, [["u", "n", text] for text in texts], separator)
    expected = file.table({"score": "float64"}, {"score": ["", "NA"]})["score"]
    with file.reading() as reading:
        assert repr(reading.numbers(texts, ["", "NA"]).tolist()) == repr(expected.tolist())
        assert reading.numbers([], []).dtype == "float64"
        with pytest.raises(ValueError, match="five"):
            reading.numbers(["5", "five"], [])
