"""What an interaction carries beside its item, as text in a prompt: its values, and the time since the one before it.

A template names them in ``item_prefix`` and ``item_suffix``, such as ``" ({rating} stars, {gap})"``: ``{gap}``, or a
column of numbers of the ``.inter`` file. Of a bracket, round or square, the parts between commas whose values are
missing are left out, and the bracket where no value is left, with the space before it. Elsewhere a missing value leaves
nothing.
"""

import re

import numpy as np

#: the field that is no column: the time since the item before in the history, of which the first item has none.
GAP = "gap"
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365.25 * 86400
#: seconds from which on a phrase holds; each step is about twice the one before.
GAP_PHRASES = (
    (0, "at once"),
    (_MINUTE, "minutes later"),
    (20 * _MINUTE, "half an hour later"),
    (45 * _MINUTE, "an hour later"),
    (1.5 * _HOUR, "2 hours later"),
    (3 * _HOUR, "4 hours later"),
    (6 * _HOUR, "8 hours later"),
    (14 * _HOUR, "a day later"),
    (1.5 * _DAY, "2 days later"),
    (2.5 * _DAY, "3 days later"),
    (5 * _DAY, "a week later"),
    (10 * _DAY, "2 weeks later"),
    (21 * _DAY, "a month later"),
    (45 * _DAY, "2 months later"),
    (90 * _DAY, "4 months later"),
    (0.5 * _YEAR, "half a year later"),
    (0.75 * _YEAR, "a year later"),
    (1.5 * _YEAR, "2 years later"),
    (3 * _YEAR, "years later"),
)
_FIELD = re.compile(r"\{([\w.:-]+)\}")
_BRACKET = re.compile(r"( ?[(\[])([^()\[\]]*)([)\]])")


def fields_of(text):
    """Names of the fields in a text, in their order."""
    return _FIELD.findall(text)


def gap_numbers(seconds):
    """Places in :data:`GAP_PHRASES` of times ``[N]`` in seconds; what is below zero counts as zero."""
    begins = np.array([begin for begin, _ in GAP_PHRASES], np.float64)
    return np.searchsorted(begins, np.maximum(seconds, 0), side="right") - 1


def number_text(value):
    """A number as people write it: ``5``, ``3.5``."""
    return f"{value:.7g}"


def fill_values(text, values):
    """Put texts into the fields of a text.

    Args:
        text: of a template.
        values: texts by field; one that is missing is absent. See the module's header.
    """
    return _FIELD.sub(lambda match: values.get(match[1], ""), _BRACKET.sub(lambda match: _known(match, values), text))


def _known(match, values):
    """The text of a bracket without the parts whose values are missing."""
    if not fields_of(match[2]):
        return match[0]
    kept = [part for part in match[2].split(", ") if all(name in values for name in fields_of(part))]
    return f"{match[1]}{', '.join(kept)}{match[3]}" if any(map(fields_of, kept)) else ""
