"""Hybrid indexing: a few codes shared by similar items, then an identifier of the single item.

Reference: Wenyue Hua et al. "How to Index Item IDs for Recommendation Foundation Models", 2023, arXiv 2305.06569 (HID:
a collaborative path and an independent token). The other combinations work the same way.
"""

from recbole_genrec.catalogue.schemes import Code, Draft, register
from recbole_genrec.catalogue.schemes.collaborative import cluster_paths, spread_unseen
from recbole_genrec.catalogue.schemes.independent import independent_index
from recbole_genrec.catalogue.schemes.semantic import semantic_codes
from recbole_genrec.catalogue.schemes.title import title_index


def _clusters(given):
    paths, facts = cluster_paths(given)
    return paths + spread_unseen(given), facts


PREFIXES = {"collaborative": _clusters, "semantic": semantic_codes}
SUFFIXES = {"title": title_index, "independent": independent_index}


@register("hybrid")
def hybrid_index(given):
    """Write the first ``hybrid_levels`` codes of ``hybrid_prefix``, then the item as ``hybrid_suffix`` writes it.

    Items unseen in training get their prefix from ``hybrid_prefix``, too.
    """
    settings = given.settings
    prefixes, facts = PREFIXES[settings.hybrid_prefix](given)
    prefixes = [codes[: settings.hybrid_levels] for codes in prefixes]
    suffixes = SUFFIXES[settings.hybrid_suffix](given).pieces
    # codes of a suffix have a level that no prefix uses
    level = settings.hybrid_levels
    suffixes = [
        tuple(p._replace(level=level + p.level) if isinstance(p, Code) else p for p in item) for item in suffixes
    ]
    facts["prefixes"] = f"{len(set(prefixes)):,}"
    return Draft([prefix + item for prefix, item in zip(prefixes, suffixes)], facts)
