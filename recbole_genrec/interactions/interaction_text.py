"""Columns of ``.inter`` beside user, item and time, such as ratings and reviews, for the interactions of a dataset.

RecBole would load text through ``token_seq``, which loses characters, and a column that one model loads would change
the tensors of every other model of the run. So the file is read here once more.
"""

import numpy as np

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.text import clean_text
from recbole_genrec.interactions.histories import LazyInteraction
from recbole_genrec.interactions.presplit import interaction_files


def interaction_columns(dataset, fields):
    """Read columns for every interaction in the store of a dataset's histories.

    Every interaction knows its row in the file, whatever the filters left of the others.

    Args:
        dataset: a built part of a dataset with lazy windows.
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
    files = [AtomicFile.of(path, dataset.config) for path in interaction_files(dataset.config)]
    found = [field for field in fields if all(field in file.columns() for file in files)]
    if not found:
        return {}
    tables = [file.table(dict.fromkeys(found, str)) for file in files]
    row = dataset.inter_feat.histories.file_row
    return {field: np.concatenate([table[field].to_numpy(object) for table in tables])[row] for field in found}


def first_sentence(text):
    """The first sentence of a review, as one line: what the explanation family learns to write.

    P5 takes sentences in which a feature was found by another tool; a review's first sentence needs none.
    """
    text = clean_text(text)
    for place, character in enumerate(text):
        if character in ".!?" and place + 1 < len(text) and text[place + 1] == " " and place > 20:
            return text[: place + 1]
    return text
