"""Measures of generated explanations beside BLEU and ROUGE: how various they are, and whether they name features.

Reference: Lei Li, Yongfeng Zhang, Li Chen. "Generate Neural Template Explanations for Recommendation" (NETE), CIKM
2020, section 4.3; they are used in the same way by PETER (arXiv 2105.11601) and PEPLER (arXiv 2202.07371).
"""

from collections import Counter
from math import comb


def explanation_metrics(generated, features, finder):
    """USR, FMR, FCR and DIV of generated explanations; papers write them as shares, not in percent.

    Args:
        generated: texts ``[N]``.
        features: the feature that each true explanation is about, ``""`` where it has none ``[N]``.
        finder: :class:`~recbole_genrec.interactions.review_features.FeatureFinder` of all features.

    Returns:
        By name: ``usr``, unique sentences over all; ``fmr``, the share of the texts with a true feature that mention
        it; ``fcr``, features that any text mentions over all features; ``div``, features that two texts have in common,
        the mean over all pairs (lower is more diverse); ``feature_examples``, texts with a true feature, and
        ``features``, how many there are. A measure without anything to count is absent.
    """
    mentioned = [{finder.names[number] for number in finder.find(text)} for text in generated]
    asked = [(feature in found) for feature, found in zip(features, mentioned, strict=True) if feature]
    texts_with = Counter(feature for found in mentioned for feature in found)
    result = {"usr": len({" ".join(text.split()) for text in generated}) / len(generated)} if generated else {}
    if asked:
        result["fmr"] = sum(asked) / len(asked)
    if finder.names:
        result["fcr"] = len(texts_with) / len(finder.names)
    if len(generated) > 1:  # a feature of n texts is common to n (n - 1) / 2 pairs
        result["div"] = sum(comb(count, 2) for count in texts_with.values()) / comb(len(generated), 2)
    return {**result, "feature_examples": len(asked), "features": len(finder.names)}
