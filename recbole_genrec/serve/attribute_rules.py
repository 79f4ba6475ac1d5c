"""Reads what a turn says of attributes and of the length of the list: "five comedies after 1990", "no horror".

Every word must mean something: a clause with one that does not is not understood as a whole, so that no condition is
lost without a word.
"""

import re
from math import inf, nextafter

from recbole_genrec.catalogue.attributes import Attributes, Value, fold_words
from recbole_genrec.serve.turns import ALL_COLUMNS, MOST_ITEMS, Turn, Wanted

NUMBERS = dict(zip("one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13)))
NUMBERS |= {"fifteen": 15, "twenty": 20, "thirty": 30, "fifty": 50}
#: words before and after a condition that change nothing.
FILLERS = frozenset(
    """
    a an the me us some please show give find recommend suggest list want need i we would d id like love to see watch
    any do did does how think if so something anything in of on for
    with from is are it be was were made released one ones good great nice best top really maybe rather instead only
    just also and or but now then can could you that which have has there get them these those let kind sort type make
    now mood m im am ll about around too as well okay ok yes at all most hello hi what
    """.split()
)
#: what items are called; a value of the catalogue may read like one of them.
NOUNS = frozenset("film movie item title result recommendation suggestion book game song product thing".split())
_ASKING = frozenset("show give find recommend suggest list get see watch something anything what hello hi".split())
_NOT = frozenset("no not without except never nothing non avoid hate dislike dont exclude nor neither".split())
_MORE = frozenset("else other another different more next further".split())
_ALSO = frozenset("also too additionally".split())
_DECADES = dict(
    zip("twenties thirties forties fifties sixties seventies eighties nineties".split(), range(20, 100, 10))
)
_N = r"(\d+(?:\.\d+)?)"
#: a pattern, and which ends of a range it gives: ``(low, high)`` of its groups; ``>`` and ``<`` leave the number out.
_RANGES = (
    (rf"(?:between|from|in)?\s*{_N}\s*(?:-|\u2013|to|and|until|till)\s*{_N}", "=="),
    (rf"(?:no|not|nothing)\s+(?:older|earlier|before)\s+(?:than\s+)?{_N}", "= "),
    (rf"(?:no|not|nothing)\s+(?:newer|later|after)\s+(?:than\s+)?{_N}", " ="),
    (rf"(?:since|at least|starting (?:in|from)|>=)\s*{_N}", "= "),
    (rf"(?:from|in)?\s*{_N}\s+(?:on|onwards?|or (?:later|newer|more|above))\b", "= "),
    (rf"(?:until|till|up to|at most|<=)\s*{_N}", " ="),
    (rf"{_N}\s+or (?:earlier|older|less|below)\b", " ="),
    (rf"(?:after|(?:newer|later|more|greater|higher) than|over|above|past|>)\s*{_N}", "> "),
    (rf"(?:before|(?:older|earlier|less|lower|cheaper) than|under|below|<)\s*{_N}", " <"),
    (r"(?:(?:from|in)\s+)?(?:the\s+)?(\d{2}|\d{3}0)'?s\b", "decade"),
    (rf"(?:(?:from|in)\s+)?(?:the\s+)?({'|'.join(_DECADES)})\b", "decade"),
    (r"(?:from|in|of)?\s*(\d{4})", "year"),
)
_RANGES = tuple((re.compile(rf"(?<![\w.]){pattern}(?![\w.]*\d)"), kind) for pattern, kind in _RANGES)
_ANY = re.compile(
    r"\b(?:any|all|every|whatever|regardless of(?: the)?|forget(?: about)? the|drop the|lift the)\s+(\w+(?: \w+)?)"
)
_ANYTHING = re.compile(r"\b(?:no (?:more )?conditions?|any ?(?:kind|sort|type)|lift (?:all|the) conditions?)\b")
_NUMBER_WORDS = "|".join(word for word in NUMBERS if word != "one")
_LENGTH = re.compile(
    rf"\b(?:(?:just|only|exactly|top|show me|give me|make it)\s+(\d+|{_NUMBER_WORDS}|one)|(\d+|{_NUMBER_WORDS}))"
    r"(?![\w.]|\s*(?:'s|or|and|to|-)\s*\d)"
)
_TOKEN = re.compile(r"[\w'\u2019]+(?:-[\w'\u2019]+)*|[,;.!?]")
_SIGNS, _ENDS = frozenset(",;.!?"), frozenset(";.!?")
#: what joins two values, by the word or sign between them.
_JOINS = {sign: "or" for sign in (*_SIGNS, "or", "nor")} | {"and": "and"}
#: between parts of a clause.
_CUT = re.compile(r"[,;]|[.!?]\s|\b(?:but|and|or)\b")


class AttributeReader:
    """Reads clauses by the columns of a catalogue.

    Args:
        attributes: :class:`~recbole_genrec.catalogue.attributes.Attributes`.
    """

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self._column_words = {tuple(fold_words(name)): name for name in attributes.columns}

    def read(self, text: str) -> Turn | None:
        """What a clause asks for; ``None`` where a word of it has no meaning here."""
        reading = _Reading(self.attributes, self._column_words)
        text = text.casefold().replace("\u2019", "'")
        return reading.turn() if reading.take(text) else None


class _Reading:
    """One clause while it is read."""

    def __init__(self, attributes, column_words):
        self.attributes, self.column_words = attributes, column_words
        self.ranges, self.any_of, self.topk = [], [], None
        #: pairs of a value and what joins it to the one before: ``""``, ``and`` or ``or``.
        self.wanted: list[tuple[Value, str]] = []
        self.excluded: list[Value] = []
        self.more = self.also = self.asks = False

    def take(self, text):
        """Read a text; returns whether every word of it has a meaning."""
        for read in (self._take_any, self._take_ranges, self._take_length):
            text = read(text)
            if text is None:
                return False
        return self._take_words(_TOKEN.findall(text))

    def _take_any(self, text):
        if _ANYTHING.search(text):
            self.any_of.append(ALL_COLUMNS)
            text = _ANYTHING.sub(" ", text)
        for match in reversed(list(_ANY.finditer(text))):
            words = match[1].split()
            for length in (2, 1):
                column = self.attributes.column(" ".join(words[:length])) or self._year_column(words[:length])
                if column is not None and length <= len(words):
                    self.any_of.append(column)
                    text = text[: match.start()] + " " + " ".join(words[length:]) + text[match.end() :]
                    break
        return text

    def _year_column(self, words):
        return self.attributes.years[0] if fold_words(" ".join(words)) == ["year"] and self.attributes.years else None

    def _take_ranges(self, text):
        """Take ranges of numbers out of a text; ``None`` where no column can be meant."""
        for pattern, kind in _RANGES:
            while match := pattern.search(text):
                ends = self._ends(kind, match.groups())
                column = self._named_number(text, match) or self._column_of(ends, kind)
                if column is None:
                    if kind in ("==", "year"):  # "2 and 3", "2000": no range after all
                        break
                    return None
                excluded = self._is_excluded(text[: match.start()])
                if excluded is None:
                    return None
                self.ranges.append(self._range(column, ends, kind, excluded))
                between = " " if excluded else " , "
                text = f"{text[: match.start()]}{between}{text[match.end() :]}"
        return text

    @staticmethod
    def _is_excluded(before):
        """Whether a range is excluded, by a "no" before it with only fillers between; ``None`` where that is unclear.

        "no horror from the 90s" may exclude some horror, or all of it and want the nineties.
        """
        words = fold_words(re.split(r"[,;]|[.!?]\s|\b(?:but|only|rather|instead)\b", before)[-1])
        place = next((place for place, word in enumerate(words) if word in _NOT), None)
        if place is None:
            return False
        return True if all(word in FILLERS | NOUNS | _NOT for word in words[place:]) else None

    @staticmethod
    def _ends(kind, groups):
        """Both ends of a range as numbers, ``None`` where it is open."""
        if kind == "decade":
            start = _DECADES[groups[0]] if groups[0] in _DECADES else int(groups[0])
            start += (1900 if start >= 20 else 2000) if start < 100 else 0
            return (float(start), float(start + 9))
        if kind == "==":
            low, high = map(float, groups)
            if low > high and len(groups[1]) == 2:  # 1990-95
                high += low // 100 * 100
            return (min(low, high), max(low, high))
        number = float(groups[0])
        return (number, number) if kind == "year" else tuple(None if sign == " " else number for sign in kind)

    def _named_number(self, text, match):
        """The column of numbers that the text names before a range, or behind it; ``None``: none."""
        for part in (_CUT.split(text[: match.start()])[-1], _CUT.split(text[match.end() :])[0]):
            words = " ".join(fold_words(part))
            for name in self.attributes.numbers:
                if f" {' '.join(fold_words(name))} " in f" {words} ":
                    return name
        return None

    def _column_of(self, ends, kind):
        """The column of numbers that a range without a name must be of; ``None``: none, or several."""
        year_like = all(end is None or 1800 <= end <= 2100 and end.is_integer() for end in ends)
        if year_like and self.attributes.years:
            return self.attributes.years[0]
        others = [name for name in self.attributes.numbers if name not in self.attributes.years]
        return others[0] if len(others) == 1 and kind not in ("==", "decade", "year") else None

    def _range(self, column, ends, kind, excluded):
        step = 1.0 if all(number.is_integer() for number in self.attributes.numbers[column]) else None
        low, high = ends
        if ">" in kind:
            low = low + step if step else nextafter(low, inf)
        if "<" in kind:
            high = high - step if step else nextafter(high, -inf)
        return Wanted(column=column, low=low, high=high, excluded=excluded)

    def _take_length(self, text):
        """Take the length of the list out of a text; ``None`` where it has several, or none that a list can have."""
        found = [match for match in _LENGTH.finditer(text)]
        lengths = [match for match in found if not self._is_value(match)]
        if not lengths:
            return text
        word = lengths[0][1] or lengths[0][2]
        number = NUMBERS.get(word) or (int(word) if word.isdecimal() and len(word) < 4 else 0)
        if len(lengths) > 1 or not 1 <= number <= MOST_ITEMS:
            return None
        self.topk, self.asks = number, True
        match = lengths[0]
        return f"{text[: match.start()]} {text[match.end() :]}"

    def _is_value(self, match):
        """Whether a number word begins or ends a value of the catalogue, such as "Top Ten"."""
        return self.attributes.find(fold_words(match[0]))[0] > 0

    def _take_words(self, tokens):
        words = [word for token in tokens for word in ([token] if token in _SIGNS else fold_words(token))]
        place, negated, joined = 0, False, ""
        while place < len(words):
            rest = words[place:]
            length, values = self._value_at(rest)
            if not length:
                length = self._column_at(rest)
                if not length and not self._is_known(rest[0]):
                    length, values = 1, self.attributes.similar(rest[0])
                    if not values:
                        return False
            if values:
                self._note(values[0], negated, joined)
                joined = ""
            else:
                negated = self._negation(rest, negated)
                joined = _JOINS.get(rest[0], joined)
            place += length or 1
        return True

    def _value_at(self, words):
        """The value at the beginning of words, unless a filler reads like it."""
        length, values = self.attributes.find(words)
        return (0, []) if length == 1 and words[0] in FILLERS | _NOT | _MORE else (length, values)

    def _column_at(self, words):
        lengths = [len(name) for name in self.column_words if tuple(words[: len(name)]) == name]
        return max(lengths, default=0)

    def _is_known(self, word):
        self.more |= word in _MORE
        self.also |= word in _ALSO
        self.asks |= word in _ASKING
        return word in _SIGNS or word in FILLERS | NOUNS | _NOT | _MORE | _ALSO or word in ("year", "don")

    @staticmethod
    def _negation(words, negated):
        """Whether what follows the first of some words is excluded.

        A "no" holds up to the end of a sentence or a "but", and up to a comma unless an "or" goes on behind it, as in
        "no horror, drama or war".
        """
        word = words[0]
        if word in _NOT or word == "don":
            return True
        if word in ("but", "only", "rather", "instead") or word in _ENDS:
            return False
        if word == ",":
            end = next((place for place, each in enumerate(words) if each in _ENDS), len(words))
            return negated and not {"or", "nor"}.isdisjoint(words[:end])
        return negated

    def _note(self, value, negated, joined):
        if negated:
            self.excluded.append(value)
        elif value not in [wanted for wanted, _ in self.wanted]:
            self.wanted.append((value, joined))

    def turn(self):
        """What was read as a turn; ``None`` where nothing was."""
        conditions = [*self.ranges, *self._wanted()]
        columns = dict.fromkeys(value.column for value in self.excluded)
        for column in columns:
            values = tuple(dict.fromkeys(value.value for value in self.excluded if value.column == column))
            conditions.append(Wanted(column=column, values=values, excluded=True))
        asked = conditions or self.any_of or self.more or self.topk is not None
        if not asked and not self.asks:
            return None
        return Turn(
            action="more" if self.more else "update",
            conditions=tuple(conditions),
            any_of=tuple(dict.fromkeys(self.any_of)),
            also=self.also,
            topk=self.topk,
        )

    def _wanted(self):
        """Wanted values by column: "action comedies" are both, "comedies or dramas" and "comedies, dramas" one."""
        for column in dict.fromkeys(value.column for value, _ in self.wanted):
            own = [(value.value, joined) for value, joined in self.wanted if value.column == column]
            both = len(own) > 1 and all(joined == "" for _, joined in own[1:]) and column in self.attributes.several
            yield Wanted(column=column, values=tuple(value for value, _ in own), together=both)
