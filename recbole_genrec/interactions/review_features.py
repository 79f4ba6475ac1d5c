"""Features of reviews: the words that explanations are about, such as ``battery`` or ``card``.

Explanation models (NETE, Li et al. 2020; PETER, 2021; PEPLER, 2023) take features from a sentiment lexicon that another
tool builds. Here a column of the file names them, or they are found by a rule: the heads of noun phrases, those of the
most training reviews first. A noun phrase is a determiner and the words behind it up to the next stop word, number or
mark of punctuation, at most :data:`LONGEST_PHRASE` words; its last word is the head: "a great gift **card** for".

Letters: N interactions of the store, V features.
"""

import re
from collections import Counter
from functools import cache

import numpy as np
from scipy.sparse import csr_array

#: words that begin a noun phrase.
DETERMINERS = frozenset("a an the this these those my your his her its our their".split())
#: words between a determiner and the end of a noun phrase, at most.
LONGEST_PHRASE = 4
#: letters of a feature, at least.
SHORTEST_WORD = 3
#: rows of the matrix of counts that are dense at a time.
_ROWS = 4096
_TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[^\s]")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@cache
def _stop_words():
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # slow to import

    return ENGLISH_STOP_WORDS


def noun_heads(text):
    """The heads of the noun phrases of a text, each once, in lower case; see the module's header."""
    stop, heads, phrase = _stop_words(), {}, None
    for token in [*_TOKEN.findall(text.lower()), "."]:
        if token[0].isalpha() and token not in stop and token not in DETERMINERS:
            if phrase is not None:
                phrase.append(token)
            continue
        if phrase and len(phrase) <= LONGEST_PHRASE and len(phrase[-1]) >= SHORTEST_WORD:
            heads[phrase[-1]] = None
        phrase = [] if token in DETERMINERS else None
    return list(heads)


def mine_features(reviews, count, least):
    """Features of some reviews.

    Args:
        reviews: texts. count: features at most. least: smallest number of reviews in which a word is a head.

    Returns:
        A list of words, those of the most reviews first, equal ones in alphabetical order.
    """
    frequency = Counter(head for review in reviews for head in noun_heads(review))
    found = sorted((-number, word) for word, number in frequency.items() if number >= least)
    return [word for _, word in found[:count]]


class FeatureFinder:
    """Finds features in texts: whole words, in any case; a feature may be several words.

    Args:
        names: of the features, a list.

    Attributes:
        names: the same.
    """

    def __init__(self, names):
        self.names = names
        self._number = {}
        for number, name in enumerate(names):
            self._number.setdefault(words_of(name), number)
        self._lengths = sorted({len(words) for words in self._number if words})

    def find(self, text):
        """Numbers of the features that a text mentions, each once, in the order of their first words."""
        words, found = words_of(text), {}
        for start in range(len(words)):
            for length in self._lengths:
                number = self._number.get(words[start : start + length])
                if number is not None:
                    found[number] = None
        return list(found)


def words_of(text):
    """The words of a text in lower case, a tuple."""
    return tuple(_WORD.findall(text.lower()))


class ReviewFeatures:
    """Which features the interactions of a dataset mention, and which are predicted for a user and an item.

    Args:
        finder: :class:`FeatureFinder`.
        mentioned: for every interaction of the store, numbers of features ``[N]``, a list of lists.
        own: for every interaction, the number of the feature that its explanation is about, -1 for none ``[N]``.
        training: places of the training interactions in the store.
        users, items: of every interaction ``[N]``.
        n_users, n_items: ids below which those are.
    """

    def __init__(self, finder, mentioned, own, training, users, items, n_users, n_items):
        self.finder, self._own = finder, own
        self._users, self._items = users, items
        lengths = np.zeros(len(users), np.int64)
        lengths[training] = [len(mentioned[place]) for place in training]
        column = [number for place in np.sort(training) for number in mentioned[place]]
        offset = np.append(0, lengths.cumsum())
        values = np.ones(len(column), np.int64)
        #: mentions of the training reviews alone: [N, V], empty rows elsewhere
        self._mentions = csr_array((values, column, offset), shape=(len(users), len(finder.names)))
        self._of_user = _summed(self._mentions, users, n_users)
        self._of_item = _summed(self._mentions, items, n_items)

    @property
    def names(self):
        """Names of the features, a list ``[V]``."""
        return self.finder.names

    def own(self, places):
        """The feature that the explanation of each interaction is about, ``""`` for none; a list of texts."""
        return [self._name(number) for number in self._own[places]]

    def predicted(self, users, items, places=None):
        """The feature that the training reviews of a user and of an item mention most often, taken together.

        Equal ones: the feature of the most reviews.

        Args:
            users, items: ids ``[B]``.
            places: of the interactions that are predicted ``[B]``, whose own reviews do not count; ``None``: all count.

        Returns:
            A list of texts, ``""`` where these reviews mention none.
        """
        names = []
        for start in range(0, len(users), _ROWS):
            rows = slice(start, start + _ROWS)
            counts = self._of_user[users[rows]] + self._of_item[items[rows]]
            if places is not None:
                counts = counts - 2 * self._mentions[places[rows]]
            counts = counts.toarray()
            if counts.shape[1] == 0:
                names += [""] * len(counts)
                continue
            best = counts.argmax(1)
            best[counts.max(1) <= 0] = -1
            names += [self._name(number) for number in best]
        return names

    def of_interactions(self, kind):
        """The feature ``own`` or ``predicted`` of every interaction of the store, an array of texts ``[N]``."""
        places = np.arange(len(self._users))
        names = self.own(places) if kind == "own" else self.predicted(self._users, self._items, places)
        return np.array(names, object)

    def _name(self, number):
        return self.finder.names[number] if number >= 0 else ""


def _summed(mentions, groups, n_groups):
    """Rows ``[N, V]`` summed over groups ``[N]``: ``[n_groups, V]``."""
    members = csr_array((np.ones(len(groups), np.int64), (groups, np.arange(len(groups)))), (n_groups, len(groups)))
    return csr_array(members @ mentions)


def review_features(data, settings, n_users):
    """The :class:`ReviewFeatures` of a dataset; they are learned from the training reviews alone.

    Args:
        data: has ``texts`` by field (``review``, ``explanation``, and ``features`` where ``feature_field`` names a
            column), ``seen``, the places of the training interactions, ``store``, ``items`` and ``n_items``; see
            :class:`~recbole_genrec.batches.tasks.TaskData`.
        settings: :class:`~recbole_genrec.config.arguments.ExplanationArguments`.
        n_users: ids of users.
    """
    if settings.feature_field:
        listed = [[name for name in map(_plain, cell.split(",")) if name] for cell in data.texts["features"]]
        frequency = Counter(name for place in data.seen for name in dict.fromkeys(listed[place]))
        finder = FeatureFinder(sorted(frequency, key=lambda name: (-frequency[name], name)))
        number = {name: index for index, name in enumerate(finder.names)}
        mentioned = [list(dict.fromkeys(number[name] for name in names if name in number)) for names in listed]
        own = [numbers[0] if numbers else -1 for numbers in mentioned]
    else:
        reviews = data.texts["review"]
        finder = FeatureFinder(mine_features(reviews[data.seen], settings.feature_count, settings.feature_reviews))
        mentioned = [finder.find(text) for text in reviews]
        own = [next(iter(finder.find(text)), -1) for text in data.texts["explanation"]]
    users = data.store.users
    return ReviewFeatures(finder, mentioned, np.array(own), data.seen, users, data.items, n_users, data.n_items)


def _plain(name):
    return " ".join(name.lower().split())
