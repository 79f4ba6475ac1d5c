"""Tokens around the items of histories where a template names values of their interactions.

Every distinct combination of values is filled in and tokenised once. An interaction then has three numbers of texts in
one table: before its item, after it, and after it where it begins a history and no time has passed since another.

Example, of the template ``item_prefix: "; "``, ``item_suffix: " ({rating}, {gap})"``, and two interactions of a user:

    rating  seconds  before  after             after_first
    4       0        "; "    " (4, at once)"   " (4)"
    5       7200     "; "    " (5, 2 hours later)"  " (5)"

Letters: N interactions of a flat array, X items of histories, F texts, T tokens.
"""

from dataclasses import dataclass

import numpy as np

from recbole_genrec.backbone.time_bias import NO_TIME
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.interactions.segments import ragged
from recbole_genrec.prompt.value_phrases import GAP, GAP_PHRASES, fill_values, gap_numbers, number_text

#: combinations of values that are kept; a server that is sent ever new ones forgets them, and tokenises again.
MOST_TEXTS = 1_000_000


@dataclass
class Surroundings:
    """The texts around the items of interactions.

    Attributes:
        before: numbers of the texts before the items, where another item stands before them ``[N]``.
        after: of those after them ``[N]``; after_first: the same where the item begins a history ``[N]``.
        token: of all texts, flat; text number f has ``offset[f]`` to ``offset[f + 1]``. Number 0 is empty.
        offset: ``[F + 1]``.
    """

    before: np.ndarray
    after: np.ndarray
    after_first: np.ndarray
    token: np.ndarray
    offset: np.ndarray

    def counted(self, begins):
        """Tokens to reckon with around each item ``[N]``, whether it begins a history or not.

        Args:
            begins: indices of interactions that begin their histories wherever these are cut, so that what is known of
                an interaction before them, another history's, counts for nothing.
        """
        size = np.diff(self.offset)
        first = size[self.after_first]
        length = np.maximum(first, size[self.before] + size[self.after])
        begins = begins[begins < len(length)]
        length[begins] = first[begins]
        return length

    def wrap(self, index, is_first, begin, length, token):
        """Tokens of items with the texts around them.

        Args:
            index: of the items' interactions ``[X]``.
            is_first: whether each begins its history ``[X]``.
            begin, length: where the identifier of each stands in ``token``, and how long it is ``[X]``.
            token: of identifiers, flat.

        Returns:
            How many tokens each item has ``[X]``, and the tokens end to end.
        """
        before = np.where(is_first, 0, self.before[index])
        after = np.where(is_first, self.after_first[index], self.after[index])
        size = np.diff(self.offset)
        lengths = np.stack([size[before], length, size[after]], 1)
        begins = np.stack([self.offset[before], begin, self.offset[after]], 1).ravel()
        part, order = ragged(lengths.ravel())
        place, in_text = begins[part] + order, part % 3 != 1
        written = np.empty(len(place), np.int64)
        written[in_text] = self.token[place[in_text]]
        written[~in_text] = token[place[~in_text]]
        return lengths.sum(1), written


class ValueTexts:
    """Writes values of interactions as a template has them.

    Args:
        template: :class:`~recbole_genrec.prompt.template.PromptTemplate` that names some.
        encode_many: gives the tokens of texts in the middle of a prompt, a list for each.
        clock: :class:`~recbole_genrec.files.moments.Clock` of the times; ``None`` where the template tells none.
        vocab_size: of the language model.

    Raises:
        GenRecError: the template tells times, and they are no clock.
    """

    def __init__(self, template, encode_many, clock, vocab_size):
        self.template, self.vocab_size = template, vocab_size
        self._encode_many, self._unit = encode_many, None
        if template.tells_gap:
            if clock is None or not clock.has_calendar:
                begin = "" if clock is None else f": they begin at {clock.first}"
                raise GenRecError(
                    f"Prompt {template.name!r} names {{{GAP}}}, which needs times in seconds or milliseconds since "
                    f"1970. Those of the training data are no clock{begin}."
                )
            self._unit = clock.seconds
        self._forget()

    def _forget(self):
        self._text_number = {"": 0}
        self._numbers = {}  # by combination of values, those of the texts before and after
        self._token, self._offset = np.zeros(0, np.int64), np.zeros(2, np.int64)

    def of(self, context, count):
        """The :class:`Surroundings` of interactions, end to end in the order of time in each history.

        Args:
            context: :class:`~recbole_genrec.batches.layout.HistoryContext`; what it lacks is not known.
            count: of the interactions, N.

        Raises:
            GenRecError: a text has a token that the language model has no vector for.
        """
        if len(self._numbers) > MOST_TEXTS:
            self._forget()
        columns = [context.values.get(name, np.full(count, np.nan)) for name in self.template.value_columns]
        gaps = self._gaps(context.times, count)
        (before, after), (_, after_first) = (self._number(columns, each) for each in (gaps, np.full(count, np.nan)))
        return Surroundings(before, after, after_first, self._token, self._offset)

    def texts(self, context, count, most):
        """The commonest texts around items, at most so many; arguments as of :meth:`of`."""
        columns = [context.values[name] for name in self.template.value_columns]
        combinations, number = _distinct([*columns, self._gaps(context.times, count)], count)
        common = np.argsort(-np.bincount(number, minlength=len(combinations)), kind="stable")[:most]
        return ["".join(self._filled(combinations[place])) for place in common]

    def _gaps(self, times, count):
        """Numbers of phrases of the time since the interaction before ``[N]``, NaN where it is not known."""
        gaps = np.full(count, np.nan)
        if self._unit is not None and times is not None and count:
            known = np.flatnonzero((times[1:] != NO_TIME) & (times[:-1] != NO_TIME)) + 1
            gaps[known] = gap_numbers((times[known] - times[known - 1]) * self._unit)
        return gaps

    def _number(self, columns, gaps):
        """Numbers of the texts before and after items ``[N]`` each."""
        combinations, number = _distinct([*columns, gaps], len(gaps))
        keys = [tuple(values) for values in np.nan_to_num(combinations, nan=np.inf).tolist()]
        new = {key: self._filled(values) for key, values in zip(keys, combinations) if key not in self._numbers}
        self._tokenise([text for pair in new.values() for text in pair])
        self._numbers |= {key: tuple(self._text_number[text] for text in pair) for key, pair in new.items()}
        return np.array([self._numbers[key] for key in keys], np.int32).reshape(-1, 2)[number].T

    def _filled(self, combination):
        """The texts before and after an item of some values, the last of which is the number of a gap's phrase."""
        *values, gap = combination.tolist()
        known = zip(self.template.value_columns, values)
        phrases = {name: number_text(value) for name, value in known if not np.isnan(value)}
        if not np.isnan(gap):
            phrases[GAP] = GAP_PHRASES[int(gap)][1]
        return tuple(fill_values(text, phrases) for text in (self.template.item_prefix, self.template.item_suffix))

    def _tokenise(self, texts):
        """Put texts that are not there into the table."""
        new = [text for text in dict.fromkeys(texts) if text not in self._text_number]
        if not new:
            return
        tokens = self._encode_many(new)
        for text, own in zip(new, tokens):
            if own and max(own) >= self.vocab_size:
                raise GenRecError(
                    f"The text {shown(text)} around an item has a token that the model has no vector for."
                )
            self._text_number[text] = len(self._text_number)
        ends = self._offset[-1] + np.cumsum([len(own) for own in tokens])
        self._token = np.concatenate([self._token, *(np.array(own, np.int64) for own in tokens)])
        self._offset = np.concatenate([self._offset, ends])


def _distinct(columns, count):
    """Distinct rows of columns ``[N]``, float64, and which of them each row is ``[N]``."""
    row = np.zeros(count, np.int64)
    for column in columns:
        distinct, place = np.unique(column, return_inverse=True)
        row = np.unique(row * (len(distinct) + 1) + place, return_inverse=True)[1]
    _, first = np.unique(row, return_index=True)
    return np.stack([np.asarray(column, np.float64)[first] for column in columns], 1), row
