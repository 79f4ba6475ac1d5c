"""Wordings of a prompt that are held out of training, as P5 holds out the last prompt of each family.

A prompt with the key ``held_out`` names them. Training and validation never see them; the test is made once more with
each, and reports what training has seen beside what it has not.
"""

from recbole_genrec.errors import GenRecError, shown

#: what a test calls the prompt that training used, and one that it did not.
SEEN, UNSEEN = "seen", "unseen"


def checked_wordings(texts, where):
    """Held-out wordings as a tuple.

    Args:
        texts: a list or tuple.
        where: names the prompt in errors.

    Raises:
        GenRecError: it is no list of texts.
    """
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) and text for text in texts):
        raise GenRecError(f"{where}: 'held_out' must be a list of texts, not {shown(texts)}.")
    return tuple(texts)


def unseen_names(count):
    """What a test calls held-out wordings, ``count`` of them: ``unseen``, ``unseen 2``, ..."""
    return [UNSEEN if number == 0 else f"{UNSEEN} {number + 1}" for number in range(count)]


def evaluate_wordings(held_out, worded, ranked, evaluate):
    """Test a model with each of the held-out wordings.

    Args:
        held_out: the wordings; each is what ``worded`` takes.
        worded: wording -> context manager in which the model is asked in these words.
        ranked: the metrics of the wording that training used.
        evaluate: gives the metrics of the model as it is.

    Returns:
        Metrics by :data:`SEEN` and :func:`unseen_names`; nothing without held-out wordings.
    """
    found = {}
    for name, wording in zip(unseen_names(len(held_out)), held_out):
        with worded(wording):
            found[name] = dict(evaluate())
    return {SEEN: dict(ranked), **found} if found else {}
