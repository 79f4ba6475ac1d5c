"""Features of reviews: found by a rule, and predicted from other reviews; the oracle counts review by review."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_genrec.config.arguments import ExplanationArguments
from recbole_genrec.interactions.review_features import (
    FeatureFinder,
    mine_features,
    noun_heads,
    review_features,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        ("A great gift card for my niece.", ["card", "niece"]),
        ("The battery is good, the SCREEN is bad", ["battery", "screen"]),
        ("These are fine. It works", []),
        ("I love the", []),
        ("my 3 dogs like the ox", []),  # a number ends a phrase, and two letters are no feature
        ("the very big red round heavy old box", []),  # longer than a phrase may be
        ("The gift, the gift", ["gift"]),
        ("Thé the café's menu!", ["menu"]),
    ],
)
def test_heads_of_noun_phrases(text, heads):
    assert noun_heads(text) == heads


def test_features_are_those_of_the_most_reviews():
    reviews = ["the card", "my card, the card", "a gift", "the box and the gift", "the rare"]
    assert mine_features(reviews, 10, 1) == ["card", "gift", "box", "rare"]
    assert mine_features(reviews, 10, 2) == ["card", "gift"]
    assert mine_features(reviews, 1, 1) == ["card"]
    assert mine_features([], 5, 1) == []


def test_features_are_found_as_whole_words():
    finder = FeatureFinder(["card", "gift card", "battery life", "a"])
    assert finder.find("Two cards and a Gift-Card") == [3]
    assert finder.find("The battery LIFE of a gift card: card") == [2, 3, 1, 0]
    assert finder.find("") == FeatureFinder([]).find("a card") == []


def world(seed, names, n_users=5, n_items=4, count=40, column=False):
    """Random reviews that mention features, in the order of users."""
    draws = np.random.default_rng(seed)
    users, items = np.sort(draws.integers(1, n_users, count)), draws.integers(1, n_items, count)
    mentions = [[name for name in names if draws.random() < 0.3] for _ in range(count)]
    reviews = np.array([" and ".join(f"the {name} is new" for name in named) for named in mentions], object)
    texts = {"review": reviews, "explanation": reviews}
    if column:
        texts["features"] = np.array([" , ".join(name.upper() for name in named) for named in mentions], object)
    seen = np.sort(draws.choice(count, count * 2 // 3, replace=False))
    store = SimpleNamespace(users=users)
    return SimpleNamespace(texts=texts, seen=seen, store=store, items=items, n_items=n_items), mentions


def predicted_slowly(data, mentions, names, user, item, left_out):
    """Count the mentions of every training review but one by hand."""
    count = Counter()
    for place in data.seen:
        if place != left_out:
            times = int(data.store.users[place] == user) + int(data.items[place] == item)
            count.update({name: times for name in mentions[place] if times})
    return max(names, key=lambda name: (count[name], -names.index(name))) if sum(count.values()) else ""


@pytest.mark.parametrize("column", [False, True], ids=["mined", "column"])
@pytest.mark.parametrize("seed", range(4))
def test_predictions_are_those_of_counting_other_reviews(seed, column):
    names = ["card", "gift", "box", "price", "color"]
    data, mentions = world(seed, names, column=column)
    settings = ExplanationArguments(feature_reviews=1, feature_field="x" if column else "")
    features = review_features(data, settings, 6)
    frequency = Counter(name for place in data.seen for name in mentions[place])
    assert features.names == sorted(frequency, key=lambda name: (-frequency[name], name))
    places = np.arange(len(data.items))
    expected = [
        predicted_slowly(data, mentions, features.names, data.store.users[place], data.items[place], place)
        for place in places
    ]
    assert features.of_interactions("predicted").tolist() == expected
    assert len(set(expected)) > 1
    nobody = [predicted_slowly(data, mentions, features.names, 0, item, -1) for item in range(4)]
    assert features.predicted(np.zeros(4, int), np.arange(4)) == nobody and nobody[0] == ""
    own = [next((name for name in mentions[place] if name in features.names), "") for place in places]
    assert features.own(places) == own == features.of_interactions("own").tolist()


def test_nothing_of_reviews_outside_training_is_learned():
    names = ["card", "gift", "box"]
    data, _ = world(7, names)
    settings = ExplanationArguments(feature_reviews=1)
    before = review_features(data, settings, 6)
    others = np.setdiff1d(np.arange(len(data.items)), data.seen)
    for field in ("review", "explanation"):
        data.texts[field] = data.texts[field].copy()
        data.texts[field][others] = "the zebra and the gift, the zebra"
    after = review_features(data, settings, 6)
    assert after.names == before.names
    places = np.arange(len(data.items))
    assert after.of_interactions("predicted").tolist() == before.of_interactions("predicted").tolist()
    assert after.own(places[others]) != before.own(places[others])


def test_reviews_without_features():
    data, _ = world(0, [])
    features = review_features(data, ExplanationArguments(), 6)
    assert features.names == [] and set(features.of_interactions("predicted")) == {""}


def test_words():
    assert words_of("It's 5-core, isn’t it?") == ("it's", "5-core", "isn’t", "it")
