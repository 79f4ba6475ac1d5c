"""Columns of ``.inter`` beside user, item and time, such as ratings and reviews, for the interactions of a dataset."""

import re

import numpy as np

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.text import clean_text
from recbole_genrec.interactions.histories import LazyInteraction

#: titles that Amazon gives a review whose writer gives none: they tell the rating alone.
AUTOMATIC_TITLES = frozenset(("one star", "two stars", "three stars", "four stars", "five stars"))
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def interaction_columns(dataset, fields):
    """Read columns for every interaction in the store of a dataset's histories.

    Every interaction knows its row in the file, whatever the filters left of the others.

    Args:
        dataset: a built part of a dataset of this package with lazy windows.
        fields: names of columns.

    Returns:
        By field, an array of texts aligned with ``dataset.inter_feat.histories`` ``[N]``, ``""`` where a cell is empty;
        fields that a file lacks are absent.

    Raises:
        GenRecError: the dataset's windows are not lazy.
    """
    if not isinstance(dataset.inter_feat, LazyInteraction):
        raise GenRecError(
            "Ratings and reviews need lazy windows: 'lazy_windows: True', and no files with histories of their own "
            "('benchmark_filename')."
        )
    row = dataset.inter_feat.histories.file_row
    texts = dataset.interaction_texts(fields)
    return {field: np.concatenate([np.asarray(of_file, object) for of_file in texts[field]])[row] for field in texts}


def first_sentence(text):
    """The first sentence of a review, as one line: what the explanation family learns to write.

    P5 takes sentences in which a feature was found by another tool; a review's first sentence needs none.
    """
    text = clean_text(text)
    for end, character in enumerate(text, start=1):
        if character in ".!?" and text[end : end + 1] == " " and end > 21:
            return text[:end]
    return text


def sentences(text):
    """The sentences of a review, each as one line: a sentence ends with ``.``, ``!`` or ``?`` before white space."""
    return [sentence for sentence in _SENTENCE_END.split(clean_text(text)) if sentence]


def own_title(title):
    """A review's title, or ``""`` for one that the shop wrote, such as "Five Stars"."""
    return "" if title.lower() in AUTOMATIC_TITLES else title
