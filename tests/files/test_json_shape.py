"""Shapes of JSON: what fits, and where something does not."""

import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.json_shape import check_shape

SHAPE = {"count": int, "share": float, "name": (str, None), "rows": [[int]], "more?": {"*": bool}}
GOOD = {"count": 1, "share": 2, "name": None, "rows": [[1, 2], []], "more": {"a": True}, "else": object()}


def test_what_fits():
    check_shape(GOOD, SHAPE, "x.json")
    check_shape({key: value for key, value in GOOD.items() if key != "more"}, SHAPE, "x.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": True}, r"x.json\['count'\] is True, not a whole number\."),
        ({"count": 1.5}, r"x.json\['count'\] is 1.5, not a whole number\."),
        ({"share": "1"}, r"x.json\['share'\] is '1', not a number\."),
        ({"name": 3}, r"x.json\['name'\] is 3, not a text or null\."),
        ({"rows": [[1], [2, "x"]]}, r"x.json\['rows'\]\[1\]\[1\] is 'x', not a whole number\."),
        ({"rows": {}}, r"x.json\['rows'\] is {}, not a list\."),
        ({"more": {"a": 1}}, r"x.json\['more'\]\['a'\] is 1, not true or false\."),
    ],
)
def test_what_does_not(change, message):
    with pytest.raises(GenRecError, match=message):
        check_shape({**GOOD, **change}, SHAPE, "x.json")


def test_a_missing_key_and_another_kind():
    with pytest.raises(GenRecError, match=r"x.json lacks the key 'share'\."):
        check_shape({key: value for key, value in GOOD.items() if key != "share"}, SHAPE, "x.json")
    with pytest.raises(GenRecError, match=r"x.json is \[\], not an object\."):
        check_shape([], SHAPE, "x.json")
