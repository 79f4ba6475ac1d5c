"""Groups of users by a column of the ``.user`` file: each text is a group, numbers are cut into ranges.

Letters: U users, G groups.
"""

from dataclasses import dataclass

import numpy as np

from recbole_genrec.errors import GenRecError

#: a token column of numbers with more different ones is cut into ranges, as a column of type ``float`` is.
MOST_NUMBERS = 10


@dataclass(frozen=True)
class UserGroups:
    """Users in groups.

    Attributes:
        column: its name.
        names: of the groups, texts in alphabetical order, ranges in ascending order ``[G]``.
        group: of each user, an index into ``names``; -1 where the file has no value ``[U]``.
    """

    column: str
    names: tuple[str, ...]
    group: np.ndarray

    @property
    def sizes(self):
        """Users of every group ``[G]``."""
        return np.bincount(self.group[self.group >= 0], minlength=len(self.names))

    def large(self, least):
        """Groups of at least so many users: their indices, ascending."""
        return np.flatnonzero(self.sizes >= least)


def group_users(table, column, users, bins=4):
    """Put users into groups.

    Args:
        table: :class:`~recbole_genrec.files.user_table.UserTable`.
        column: a column of it.
        users: tokens ``[U]``.
        bins: into how many ranges of about equal size numbers are cut, or where the ranges after the first begin, as a
            list of ascending numbers.

    Returns:
        :class:`UserGroups`.

    Raises:
        GenRecError: a cell of a column of numbers is none, or all users are in one group.
    """
    texts = [table.texts[column].get(user) for user in users]
    numbers = _numbers(texts, column, table.kinds[column] == "float")
    if numbers is None:
        names = sorted({text for text in texts if text is not None})
        index = {name: place for place, name in enumerate(names)}
        group = np.array([-1 if text is None else index[text] for text in texts])
    else:
        names, group = _ranges(numbers, bins)
    if len(names) < 2:
        has = f"one value alone, {names[0]!r}," if names else "no value"
        raise GenRecError(f"--by: all tested users have {has} in the column {column!r}: there is nothing to compare.")
    return UserGroups(column, tuple(names), group)


def _numbers(texts, column, is_float):
    """Numbers of texts, NaN for none ``[U]``; None where the texts are groups by themselves."""
    try:
        numbers = np.array([np.nan if text is None else float(text) for text in texts])
        numbers[~np.isfinite(numbers)] = np.nan
    except ValueError:
        if is_float:
            raise GenRecError(f"The column {column!r} is of type float, but a cell of it is no number.") from None
        return None
    few = len(np.unique(numbers[~np.isnan(numbers)])) <= MOST_NUMBERS
    return None if few and not is_float else numbers


def _ranges(numbers, bins):
    """Names of the ranges that hold a number, and the range of every number, -1 for NaN."""
    known = numbers[~np.isnan(numbers)]
    if not known.size:
        return [], np.full(len(numbers), -1)
    starts = _starts(known, bins) if isinstance(bins, int) else np.asarray(bins, float)
    place = np.searchsorted(starts, known, side="right")  # a range holds its start
    kept, group = np.unique(place, return_inverse=True)
    whole = (known == np.round(known)).all() and (starts == np.round(starts)).all()
    low = np.r_[known.min(), starts]
    high = np.r_[starts - 1, known.max()] if whole else np.r_[starts, known.max()]
    low[1:], high[:-1] = np.maximum(low[1:], known.min()), np.minimum(high[:-1], known.max())
    sign = "-" if whole and known.min() >= 0 else " to "
    names = [f"{low[at]:.10g}{sign}{high[at]:.10g}" if low[at] < high[at] else f"{low[at]:.10g}" for at in kept]
    every = np.full(len(numbers), -1)
    every[~np.isnan(numbers)] = group
    return names, every


def _starts(known, bins):
    """Where the ranges after the first begin: quantiles, rounded where that leaves every range a number."""
    exact = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="higher"))
    exact = exact[exact > known.min()]
    span = known.max() - known.min()
    if not span:
        return exact
    power = 10.0 ** np.floor(np.log10(span / (2 * bins)))
    step = max(digit * power for digit in (1, 2, 5) if digit * power <= span / (2 * bins))
    rounded = np.unique(np.round(np.round(exact / step) * step, 12))
    filled = np.unique(np.searchsorted(rounded, known, side="right"))
    return rounded if len(rounded) == len(exact) and len(filled) == len(rounded) + 1 else exact
