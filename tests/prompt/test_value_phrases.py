"""Values and gaps as words."""

import numpy as np
import pytest

from recbole_genrec.prompt.value_phrases import GAP_PHRASES, fields_of, fill_values, gap_numbers, number_text

BOTH = {"rating": "5", "gap": "at once"}


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        (" ({rating} stars, {gap})\n", BOTH, " (5 stars, at once)\n"),
        (" ({rating} stars, {gap})\n", {"rating": "5"}, " (5 stars)\n"),
        (" ({rating} stars, {gap})\n", {"gap": "at once"}, " (at once)\n"),
        (" ({rating} stars, {gap})\n", {}, "\n"),
        ("[{gap}]: ", {}, ": "),
        ("[seen, {gap}]", {}, ""),
        ("[seen, {gap}]", BOTH, "[seen, at once]"),
        ("{gap} {rating}|", {"rating": "1"}, " 1|"),
        ("(a) {rating} {no field}", {}, "(a)  {no field}"),
        ("{a.b-c:d}", {"a.b-c:d": "x"}, "x"),
    ],
)
def test_what_is_missing_is_left_out(text, values, expected):
    assert fill_values(text, values) == expected


def test_fields_are_named_in_order():
    assert fields_of("({rating}, {gap}) {} {two words} {rating}") == ["rating", "gap", "rating"]


@pytest.mark.parametrize(
    ("seconds", "phrase"),
    [
        (-5, "at once"),
        (0, "at once"),
        (59, "at once"),
        (60, "minutes later"),
        (3600, "an hour later"),
        (3 * 3600, "4 hours later"),
        (86400, "a day later"),
        (2 * 86400, "2 days later"),
        (7 * 86400, "a week later"),
        (30 * 86400, "a month later"),
        (365 * 86400, "a year later"),
        (2**62, "years later"),
    ],
)
def test_gaps_are_told_in_words(seconds, phrase):
    assert GAP_PHRASES[int(gap_numbers(np.array([seconds]))[0])][1] == phrase


def test_phrases_rise_and_are_few():
    begins, phrases = zip(*GAP_PHRASES)
    assert list(begins) == sorted(set(begins)) and len(set(phrases)) == len(phrases) < 20


def test_numbers_read_as_people_write_them():
    numbers = np.array([5, 3.5, 0.1, -2, 1e6, 1234567], np.float32).astype(float)
    assert [number_text(value) for value in numbers] == ["5", "3.5", "0.1", "-2", "1000000", "1234567"]
