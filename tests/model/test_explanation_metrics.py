"""Measures of explanations against the papers' definitions, written out pair by pair."""

import random
import re

import pytest

from recbole_genrec.interactions.review_features import FeatureFinder
from recbole_genrec.model.explanation_metrics import explanation_metrics

WORDS = ["card", "gift", "box", "price", "is", "the", "good"]
NAMES = ["card", "gift", "box", "price", "never"]


def slowly(generated, features):
    """USR, FMR, FCR and DIV as NETE, PETER and PEPLER define them."""
    mentioned = [{name for name in NAMES if re.search(rf"\b{name}\b", text)} for text in generated]
    unique = []
    for text in generated:
        if text not in unique:
            unique.append(text)
    with_feature = [place for place, feature in enumerate(features) if feature]
    matched = sum(1 for place in with_feature if features[place] in mentioned[place])
    common = 0
    for first in range(len(generated)):
        for second in range(first + 1, len(generated)):
            common += len(mentioned[first] & mentioned[second])
    pairs = len(generated) * (len(generated) - 1) / 2
    return {
        "usr": len(unique) / len(generated),
        "fmr": matched / len(with_feature),
        "fcr": len(set.union(*mentioned)) / len(NAMES),
        "div": common / pairs,
        "feature_examples": len(with_feature),
        "features": len(NAMES),
    }


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_the_papers(seed):
    draws = random.Random(seed)
    generated = [" ".join(draws.choices(WORDS, k=draws.randint(0, 4))) for _ in range(30)]
    features = [draws.choice(["", *NAMES]) for _ in generated]
    assert explanation_metrics(generated, features, FeatureFinder(NAMES)) == pytest.approx(slowly(generated, features))


def test_a_known_case():
    generated = ["the card", "the card", "a gift card", "nothing"]
    found = explanation_metrics(generated, ["card", "gift", "gift", ""], FeatureFinder(["card", "gift"]))
    assert found == {"usr": 0.75, "fmr": 2 / 3, "fcr": 1.0, "div": 0.5, "feature_examples": 3, "features": 2}


def test_nothing_to_count():
    assert explanation_metrics([], [], FeatureFinder([])) == {"feature_examples": 0, "features": 0}
    assert explanation_metrics(["x"], [""], FeatureFinder([])) == {"usr": 1.0, "feature_examples": 0, "features": 0}
