"""Independent indexing: every item is one new token of the language model (IID in Hua et al. 2023, arXiv 2305.06569).

With it, the language model is a sequential recommender over item embeddings, such as SASRec.
"""

import numpy as np

from recbole_genrec.catalogue.schemes import Code, Draft, register


@register("independent")
def independent_index(given):
    """Give every item a separate code. The token of an item unseen in training keeps its random embedding."""
    number = np.empty(len(given.items), np.int64)
    number[given.shuffled()] = np.arange(len(given.items))
    return Draft([(Code(0, n),) for n in number.tolist()])
