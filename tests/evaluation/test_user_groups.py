"""Users in groups: texts, ranges of numbers, and columns that give none."""

import numpy as np
import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.user_groups import group_users
from recbole_genrec.files.user_table import UserTable


def grouped(texts, kind="token", **options):
    """Groups of users u0, u1, ... with these texts; None where the file has none."""
    cells = {f"u{user}": text for user, text in enumerate(texts) if text is not None}
    users = [f"u{user}" for user in range(len(texts))]
    found = group_users(UserTable({"x": kind}, {"x": cells}), "x", users, **options)
    return found.names, [None if at < 0 else found.names[at] for at in found.group]


def test_a_text_is_a_group_and_a_missing_one_is_none():
    texts = ["f", "m", None, "f", "x"]
    names, of_users = grouped(texts)
    assert names == ("f", "m", "x") and of_users == texts


def test_a_token_column_of_few_numbers_has_them_as_groups():
    names, of_users = grouped(["1", "18", "1", "25"])
    assert names == ("1", "18", "25") and of_users[1] == "18"


@pytest.mark.parametrize("kind", ["token", "float"])
def test_numbers_are_cut_into_readable_ranges(kind):
    ages = [7 + user % 67 for user in range(670)]
    names, of_users = grouped(list(map(str, ages)), kind, bins=4)
    assert names == ("7-24", "25-39", "40-54", "55-73")  # quartiles 24, 40 and 57
    for age, name in zip(ages, of_users):
        low, high = map(int, name.split("-"))
        assert low <= age <= high
    assert all(int(name.split("-")[0]) % 5 == 0 for name in names[1:])


def test_ranges_may_be_given():
    ages = list(range(10, 60))
    names, of_users = grouped(list(map(str, ages)), bins=[18, 35, 90, 100])
    assert names == ("10-17", "18-34", "35-59")  # none is 90 or older
    assert of_users[7:9] == ["10-17", "18-34"] and of_users[25] == "35-59"


def test_fractions_and_negative_numbers():
    numbers = [-1.5, -0.5, 0.25, 0.75, 2.0, 3.5]
    names, of_users = grouped(list(map(str, numbers)), "float", bins=[0, 1])
    assert names == ("-1.5 to 0", "0 to 1", "1 to 3.5")
    assert [names.index(name) for name in of_users] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("seed", range(5))
def test_skewed_numbers_leave_no_range_empty(seed):
    random = np.random.default_rng(seed)
    numbers = np.round(random.lognormal(3, 2, 300), 1)
    names, of_users = grouped([f"{number}" for number in numbers], "float", bins=5)
    sizes = [of_users.count(name) for name in names]
    assert len(set(names)) == 5 and min(sizes) > 20
    order = np.argsort(numbers, kind="stable")
    places = [names.index(of_users[user]) for user in order]
    assert places == sorted(places)


def test_cells_that_are_no_number_have_no_range():
    names, of_users = grouped(["nan", *map(str, range(20)), None, "inf"], "float", bins=2)
    assert of_users[0] is of_users[-1] is of_users[-2] is None and len(names) == 2


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        (["f", "f", None], "token", "all tested users have one value alone, 'f', in the column 'x'"),
        ([None, None], "token", "have no value in"),
        ([None, None], "float", "have no value in"),
        (["3", "3.0"], "float", "one value alone, '3'"),
        (["1", "old"], "float", "a cell of it is no number"),
    ],
)
def test_a_column_without_two_groups_is_refused(texts, kind, message):
    with pytest.raises(GenRecError, match=message):
        grouped(texts, kind)
