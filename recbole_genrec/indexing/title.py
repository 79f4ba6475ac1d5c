"""Title indexing: an item's identifier is the tokens of its text (GenRec, Ji et al. 2023, arXiv 2307.00457).

Deviation from the reference code: two items never share an identifier. By title alone, 45 items of ml-100k would.
"""

from recbole_genrec.indexing import Draft, register


@register("title", interactions=False)
def title_index(given):
    """Write every item as its text."""
    return Draft([(text,) if text else () for text in given.texts])
