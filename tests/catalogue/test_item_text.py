import html
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_genrec.catalogue.item_text import categories, item_columns, item_text
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import read_items
from recbole_genrec.files.text import clean_text

in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder, text):
    path = folder / "tiny.item"
    path.write_bytes(text.encode())
    return path


def text_of(path, template="", **form):
    return item_text(read_items(AtomicFile(path, **form), "item_id"), template)


# text as it stands in an atomic file: anything but the separator and the line end
plain_titles = st.one_of(
    st.sampled_from(
        [
            '"Quoted" start',
            'say "hi',
            "two  spaces",
            "None",
            "NA",
            "null",
            "nan",
            "</s>",
            "<|endoftext|>",
            "[PAD]",
            "Café  Müller — 日本語 🎬",
            "a, b; c | d",
            "{title}",
            "100% (really)",
            "'",
            '"',
            "\\N",
            "1\u00a02",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30),
).filter(lambda text: text == text.strip() and text and html.unescape(text) == text)


@in_one_folder
@given(titles=st.lists(plain_titles, min_size=1, max_size=6))
def test_titles_are_read_losslessly(tmp_path, titles):
    rows = "".join(f"i{n}\t{title}\t1999\n" for n, title in enumerate(titles))
    path = write(tmp_path, "item_id:token\ttitle:token_seq\tyear:token\n" + rows)
    assert text_of(path, "{title}").texts == {f"i{n}": title for n, title in enumerate(titles)}


@in_one_folder
@given(title=plain_titles)
def test_html_entities_are_unescaped_once(tmp_path, title):
    path = write(tmp_path, f"item_id:token\ttitle:token_seq\n1\t{html.escape(title)}\n")
    assert text_of(path).texts == {"1": title}


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_clean_text_is_one_line_without_control_characters(text):
    cleaned = clean_text(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", cleaned)
    assert cleaned == cleaned.strip()
    assert len(cleaned.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b", "a  b"),
        ("a \n b", "a b"),
        ("a\tb\x00c", "a b c"),
        ("  a\u2028b\r\n", "a b"),
        ("Cats &amp; Dogs", "Cats & Dogs"),
        ("&amp;lt;", "&lt;"),
        ("line&#10;break", "line break"),
        ("&quot;A&quot; &#39;B&#39;", "\"A\" 'B'"),
        ("</s> <|endoftext|>", "</s> <|endoftext|>"),
        (" " * 50_000 + "x", "x"),
        ("x" + " " * 50_000 + "y", "x" + " " * 50_000 + "y"),
    ],
)
def test_clean_text(text, expected):
    assert clean_text(text) == expected


@pytest.mark.parametrize(
    ("template", "cells", "expected"),
    [
        ("{title} ({year})", ("Heat", "1995", ""), "Heat (1995)"),
        ("{title} ({year})", ("Heat", "", ""), "Heat"),
        ("{title} ({year})", ("", "1995", ""), "(1995)"),
        ("{title}, {brand}", ("Ball", "", ""), "Ball"),
        ("{brand}: {title}", ("Ball", "", ""), "Ball"),
        ("{brand}: {title}", ("Ball", "", "Acme"), "Acme: Ball"),
        ("{title} - {year} - {brand}", ("Heat", "", "Acme"), "Heat - Acme"),
        ("{title} ({year}, by {brand}) [new]", ("Heat", "", ""), "Heat"),
        ("{title} ({year}, by {brand}) [new]", ("Heat", "", "Acme"), "Heat (Acme) [new]"),
        ("{title} (film) ({year})", ("Heat", "1995", ""), "Heat (film) (1995)"),
        ("Title: {title}", ("Heat", "", ""), "Title: Heat"),
        ("{title} ({year}", ("Heat", "1995", ""), "Heat (1995"),
        ("{{{title}}}\n{year}", ("Heat", "1995", ""), "{Heat} 1995"),
        ("{title} ([{year}] {brand})", ("Heat", "1995", ""), "Heat ([1995])"),
        ("{title}{year}", (" a (", "", ""), "a ("),
    ],
)
def test_templates_leave_nothing_of_empty_columns(tmp_path, template, cells, expected):
    path = write(
        tmp_path, "item_id:token\ttitle:token_seq\tyear:token\tbrand:token\n" + "\t".join(("1", *cells)) + "\n"
    )
    assert text_of(path, template).texts == {"1": expected}


def test_items_without_any_value_are_absent_and_the_first_row_of_an_item_counts(tmp_path):
    path = write(tmp_path, "item_id:token\ttitle:token_seq\r\n1\t\r\n2\tfirst\r\n2\tsecond\r\n\r\n1\tlate\r\n3\t \r\n")
    found = text_of(path, "{title}")
    assert found.texts == {"2": "first"}
    assert found.columns == ("item_id", "title")


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = write(tmp_path, "item_id:token\ttitle:token_seq\n1\ta\rb\x1cc\u2028d\x85e\n2\tlast")
    assert text_of(path).texts == {"1": "a b c d e", "2": "last"}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("item_id", "genre", "movie_title"), "{movie_title}"),
        (("item_id", "name", "Title"), "{Title}"),
        (("item_id", "brand", "book_title_en"), "{book_title_en}"),
        (("item_id", "brand", "display_name"), "{display_name}"),
    ],
)
def test_the_obvious_title_column_is_found(tmp_path, columns, expected):
    path = write(tmp_path, "\t".join(f"{name}:token" for name in columns) + "\n" + "\t".join("1ab"[: len(columns)]))
    assert text_of(path).template == expected


@pytest.mark.parametrize(
    ("content", "template", "message"),
    [
        ("item_id:token\tgenre:token\n", "", r"no obvious title column.*'item_text'.*item_id, genre"),
        ("item_id:token\ttitle:token\n", "{year}", r"'year'.*tiny\.item.*item_id, title"),
        ("item_id:token\ttitle:token\n", "{title!r}", r"'title'.*item_id, title"),
        ("item_id:token\ttitle:token\n", "{title", r"Malformed.*'\{title'"),
        ("item_id:token\ttitle:token\n", "(title)", r"names no column.*item_id, title"),
        ("id:token\ttitle:token\n", "", r"no column 'item_id'.*id, title"),
        ("item_id\ttitle:token\n", "", r"line 1.*'item_id'.*name:type"),
        ("", "", r"line 1"),
        ("item_id:token\ttitle:token\n1\ta\n2\ta\tb\n", "", r"tiny\.item, line 3: 3 cells where the header has 2"),
        ("item_id:token\ttitle:token\n1\n", "", r"tiny\.item, line 2: 1 cells"),
    ],
)
def test_bad_input_names_file_line_and_columns(tmp_path, content, template, message):
    with pytest.raises(GenRecError, match=message):
        text_of(write(tmp_path, content), template)


def test_a_missing_file_and_a_wrong_encoding_are_errors(tmp_path):
    with pytest.raises(GenRecError, match=r"nowhere\.item does not exist"):
        text_of(tmp_path / "nowhere.item")
    path = tmp_path / "tiny.item"
    path.write_bytes("item_id:token\ttitle:token\n1\tCafé\n".encode("latin-1"))
    with pytest.raises(GenRecError, match="not utf-8 text.*'encoding'"):
        text_of(path)
    assert text_of(path, encoding="latin-1").texts == {"1": "Café"}


def test_another_separator(tmp_path):
    path = write(tmp_path, "item_id:token|title:token\n1|a\tb\n")
    assert text_of(path, field_separator="|").texts == {"1": "a b"}


def test_values_of_categories(tmp_path):
    path = write(
        tmp_path,
        "item_id:token\tgenre:token_seq\tclass:token_seq\tbrand:token\tprice:float\n"
        "1\tAction Comedy\tToys &amp; Games | Puzzles\tAcme & Co\t3\n"
        "2\t\tToys & Games\t\t4\n"
        "1\tDrama\tBooks\tOther\t5\n",
    )
    columns = item_columns(read_items(AtomicFile(path), "item_id"))
    assert categories(columns, ["genre", "class", "brand"], "item_id") == {
        "genre": {"1": ["Action", "Comedy"]},
        "class": {"1": ["Toys & Games", "Puzzles"], "2": ["Toys & Games"]},
        "brand": {"1": ["Acme & Co"]},
    }
    for column in ("price", "genres", "item_id"):
        with pytest.raises(GenRecError, match=f"{column!r}.*brand, class, genre"):
            categories(columns, [column], "item_id")
    with pytest.raises(GenRecError, match="No item text"):
        read_items(AtomicFile(tmp_path / "none.item"), "item_id")


def test_a_character_with_a_number_of_thousands_of_digits_stays():
    text = "a &amp; &#" + "9" * 5000 + ";"
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id:token\ttitle:token\ttitle:token\n", "line 1: the column 'title' comes twice"),
        ("item_id:token\ttitle:token\ni1\ta\n\tb\n", "line 3: the row has no value in column 'item_id'"),
    ],
)
def test_tables_that_would_lose_something(tmp_path, content, message):
    path = tmp_path / "tiny.item"
    path.write_text(content, "utf-8")
    with pytest.raises(GenRecError, match=f"tiny.item, {message}"):
        text_of(path)
