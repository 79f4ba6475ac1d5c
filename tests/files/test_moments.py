"""Clocks: the unit of times by their magnitude, and moments as exact times."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.moments import Clock

FIRST = 874_724_710  # of ml-100k: 1997-09-20 03:05:10 UTC


@pytest.mark.parametrize(
    ("first", "last", "unit"),
    [
        (FIRST, 893_286_638, "seconds"),
        (FIRST * 1000, 1_700_000_000_000, "milliseconds"),
        (0, 100, "none"),
        (0, FIRST, "none"),  # one of them is no time of a clock
        (FIRST, FIRST * 1000, "none"),
        (1997, 2020, "none"),
        (1.5e15, 1.6e15, "none"),
    ],
)
def test_the_unit_is_that_of_both_ends(first, last, unit):
    clock = Clock.of(first + 0.75, last + 0.75)
    assert clock == Clock(first, unit) and clock.has_calendar == (unit != "none")
    assert Clock.from_json(clock.as_json()) == clock


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1), ("milliseconds", 1000)])
def test_a_moment_is_the_same_in_every_form(unit, factor, monkeypatch):
    clock = Clock(FIRST * factor, unit)
    for moment in ("1997-09-20T03:06:10+00:00", "1997-09-20 03:06:10Z", "1997-09-20 05:06:10+02:00", FIRST * factor):
        expected = 0 if moment == FIRST * factor else 60 * factor
        assert clock.since_first(moment, "it") == expected
    zoned = datetime(1997, 9, 20, 1, 6, 10, 999_500, tzinfo=timezone(timedelta(hours=-2)))
    assert clock.since_first(zoned, "it") == 60 * factor + (999 if factor > 1 else 0)
    monkeypatch.setenv("TZ", "XYZ-5")  # five hours ahead
    time.tzset()
    try:
        assert clock.since_first("1997-09-20 08:06:10", "it") == 60 * factor
        assert clock.since_first(datetime(1997, 9, 20, 8, 6, 10), "it") == 60 * factor
    finally:
        monkeypatch.undo()
        time.tzset()
    assert clock.since_first("1990-01-01", "it") == clock.since_first(0, "it") == 0  # before the first


def test_numbers_are_times_of_the_file():
    clock = Clock(3, "none")
    assert [clock.since_first(number, "it") for number in (3, 4.9, 1, 10)] == [0, 1, 0, 7]
    with pytest.raises(GenRecError, match="it is a date, but the times of the training data are no clock.* at 3"):
        clock.since_first("2026-11-26 20:00", "it")


@pytest.mark.parametrize("moment", ["tomorrow", "", True, None, float("nan"), float("inf"), "0001-01-01T00:00+20:00"])
def test_what_is_no_moment_is_refused(moment):
    with pytest.raises(GenRecError, match="it must be a date and time such as '2026-11-26 20:00'"):
        Clock(FIRST, "seconds").since_first(moment, "it")


def test_a_stored_clock_that_is_none_is_refused():
    with pytest.raises(GenRecError, match="its times begin at -1000"):
        Clock.from_json({"first": -(10**30), "unit": "seconds"})
    with pytest.raises(GenRecError, match="'hours', not seconds, milliseconds or 'none'"):
        Clock.from_json({"first": 3, "unit": "hours"})
