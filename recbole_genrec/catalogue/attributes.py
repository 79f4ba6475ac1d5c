"""Values of item columns as people name them: "comedies" is the value ``Comedy``, "after 1990" a range of years.

Letters: I items, Q yes/no questions.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np

from recbole_genrec.catalogue.item_text import ItemColumn, TextOfColumns, title_template
from recbole_genrec.errors import GenRecError

#: share of a column's values that must be numbers for it to be a column of numbers.
NUMERIC_SHARE = 0.9
#: whole numbers in this range are years.
YEARS = (1800, 2100)
#: lowest similarity, from 0 to 100, of a misspelt word to a value.
MISSPELT = 80
_WORD = re.compile(r"\w+")
_ENDINGS = ("ses", "xes", "zes", "ches", "shes")


def fold_words(text: str) -> list[str]:
    """Words of a text in small letters and in the singular, without apostrophes: "Children's" gives ``children``."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("\u2019", "")
    return [_singular(word) for word in _WORD.findall(text.replace("_", " "))]


def _singular(word: str) -> str:
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(_ENDINGS):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


@dataclass(frozen=True)
class Value:
    """A value of a column."""

    column: str
    value: str


class Attributes:
    """What items can be asked for by: the columns of a catalogue without ids and titles.

    Args:
        columns: :class:`~recbole_genrec.catalogue.item_text.ItemColumn` by name; ``None``: none are known.
        left_out: names of columns that are no attributes.

    Attributes:
        categories: columns of texts by name, each with its distinct values, the most frequent first.
        numbers: columns of numbers by name, each with its distinct numbers in ascending order.
        years: names of the columns of numbers that hold years.
        several: names of the columns of which an item may have several values.
    """

    def __init__(self, columns: dict[str, ItemColumn] | None, left_out: tuple[str, ...] = ()) -> None:
        self.columns = {name: column for name, column in (columns or {}).items() if name not in left_out}
        self.categories: dict[str, list[str]] = {}
        self.numbers: dict[str, list[float]] = {}
        for name, column in self.columns.items():
            counts = Counter(value for values in column.values.values() for value in values)
            numbers = {number for number in map(number_of, counts) if number is not None}
            numeric = sum(count for value, count in counts.items() if number_of(value) is not None)
            if counts and numeric >= NUMERIC_SHARE * counts.total():
                self.numbers[name] = sorted(numbers)
            else:
                self.categories[name] = [value for value, _ in counts.most_common()]
        self.years = [name for name, numbers in self.numbers.items() if _are_years(numbers)]
        self.several = {n for n, c in self.columns.items() if any(len(values) > 1 for values in c.values.values())}
        self._phrases: dict[tuple[str, ...], list[Value]] = {}
        for name, values in self.categories.items():
            for value in values:
                self._phrases.setdefault(tuple(fold_words(value)), []).append(Value(name, value))
        self._phrases.pop((), None)
        self._longest = max(map(len, self._phrases), default=0)

    def find(self, words: list[str]) -> tuple[int, list[Value]]:
        """The longest value at the beginning of folded words.

        Returns:
            Its number of words, and the values that read so, of several columns perhaps; ``(0, [])`` where there is
            none.
        """
        for length in range(min(self._longest, len(words)), 0, -1):
            found = self._phrases.get(tuple(words[:length]))
            if found:
                return length, found
        return 0, []

    def similar(self, word: str) -> list[Value]:
        """Values that a folded word misspells, if any.

        Shorter words than five letters are never taken for misspelt.
        """
        if len(word) < 5:
            return []
        from rapidfuzz import fuzz, process

        phrases = {" ".join(phrase): phrase for phrase in self._phrases}
        best = process.extractOne(word, list(phrases), scorer=fuzz.ratio, score_cutoff=MISSPELT)
        return [] if best is None else self._phrases[phrases[best[0]]]

    def value(self, column: str, text: str) -> str | None:
        """The value of a column of texts that a text names, whatever its case and number; ``None``: none."""
        words = tuple(fold_words(text))
        return next((each.value for each in self._phrases.get(words, ()) if each.column == column), None)

    def column(self, text: str) -> str | None:
        """The column that a text names, such as "release years" ``release_year``; ``None``: none."""
        words = fold_words(text)
        return next((name for name in self.columns if fold_words(name) == words), None)

    def questions(self, item_tokens: list[str]) -> tuple[list[str], np.ndarray]:
        """Everything that can be asked of an item with "yes" or "no".

        Of a column of texts whether the item has a value, of a column of numbers whether its number is at least one of
        those that occur.

        Args:
            item_tokens: raw ids of the I items.

        Returns:
            The questions as texts, and the answers of the items ``[Q, I]``; questions that all items answer alike are
            left out.
        """
        texts, answers = [], []
        for name, column in self.columns.items():
            cells = [column.values.get(token, []) for token in item_tokens]
            for value in self.categories.get(name, ()):
                texts.append(f"{name} is {value}")
                answers.append(np.array([value in cell for cell in cells]))
            numbers = np.array(
                [max((n for v in cell if (n := number_of(v)) is not None), default=np.nan) for cell in cells]
            )
            for number in self.numbers.get(name, ())[1:]:
                texts.append(f"{name} is at least {number:g}")
                answers.append(numbers >= number)
        kept = [place for place, answer in enumerate(answers) if 0 < answer.sum() < len(answer)]
        table = np.array([answers[place] for place in kept]).reshape(len(kept), len(item_tokens))
        return [texts[place] for place in kept], table


def number_of(text: str) -> float | None:
    """The finite number that a text spells; ``None``: it spells none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _are_years(numbers: list[float]) -> bool:
    years = [number for number in numbers if number.is_integer() and YEARS[0] <= number <= YEARS[1]]
    return len(years) >= NUMERIC_SHARE * len(numbers)


def title_column(columns: dict[str, ItemColumn] | None, item_text: str, item_field: str) -> tuple[str, ...]:
    """The columns that name an item and are no attributes: its id, and the first one in the template of its text.

    Args:
        columns: of the ``.item`` file.
        item_text: the template; empty: that of the title column.
        item_field: name of the column of ids.
    """
    names = tuple(columns or ())
    try:
        template = item_text or title_template(names, "the .item file")
        return item_field, TextOfColumns(template, names, "the .item file").names[0]
    except GenRecError:  # columns without a title, or a template of columns that the checkpoint does not keep
        return (item_field,)
