"""A catalogue and histories of MovieLens-25M's size and shape, made up, so that a benchmark needs no data."""

import numpy as np

#: MovieLens-25M.
N_ITEMS, N_USERS, N_RATINGS = 62_423, 162_541, 25_000_095
FEWEST, MEDIAN, MOST = 20, 71, 32_202

QUALITIES = """
Last Lost Dark Silent Golden Broken Hidden Little Great Wild Red Black White Blue Cold Burning Perfect Secret Fallen
Forgotten Endless Strange Bitter Sweet Crimson Savage Holy Empty Distant Electric Invisible Beautiful Dangerous Lonely
""".split()
THINGS = """
House Man Woman Night Day Heart City Road River King Queen Child Children Summer Winter Dream Garden Stranger Soldier
Dance Train Island Mountain Shadow Star Moon Sun Love War Death Life Game Story Letter Mirror Wedding Party Hunter
Doctor Detective Brother Sister Father Mother Bride Ghost Angel Devil Dragon Wolf Horse Bird Rose Fire Storm Snow Ocean
""".split()
PLACES = """
Paris London Tokyo Texas Berlin Rome Brooklyn Havana Shanghai Cairo Vienna Lisbon Oslo Mumbai Alaska Montana Manhattan
Venice Naples Dublin Warsaw Prague Boston Chicago Memphis Kansas Nevada Siberia Istanbul Madrid Moscow Toronto Sydney
""".split()


CONSONANTS = "b c d f g h j k l m n p r s t v w z br ch cl dr fr gr kr pr sh sl st tr".split()
VOWELS = "a e i o u ai ee ou ia".split()


def titles(count, generator):
    """Distinct film titles with years; frequent words and series make them share prefixes, as real ones do."""
    found = {}
    while len(found) < count:
        title = _title(generator)
        for number in range(1, 1 + min(generator.geometric(0.85), 6)):  # a few films go on in sequels
            year = 2020 - int(generator.exponential(22)) % 110
            part = "" if number == 1 else f" {number}"
            found.setdefault(f"{title}{part} ({year})")
    return list(found)[:count]


def _title(generator):
    def word(words):  # the first words are the most frequent; every second word is a name
        if generator.random() < 0.5:
            sounds = (CONSONANTS, VOWELS) * generator.integers(1, 3) + (CONSONANTS,)
            return "".join(some[generator.integers(len(some))] for some in sounds).capitalize()
        return words[min(int(generator.exponential(len(words) / 3)), len(words) - 1)]

    quality, thing, place = word(QUALITIES), word(THINGS), word(PLACES)
    article = ("The ", "A ", "")[generator.choice(3, p=(0.3, 0.05, 0.65))]
    forms = (
        f"{article}{quality} {thing}",
        f"{article}{thing} of {place}",
        f"{article}{thing} of the {quality} {word(THINGS)}",
        f"{thing} and {word(THINGS)}",
        f"{article}{thing} in {place}",
        f"{place}: {article}{quality} {thing}",
        f"{article}{quality} {thing}s of {place}",
        thing,
        f"{quality} {thing}",
    )
    return forms[generator.integers(len(forms))]


def histories(n_users, n_items, generator):
    """Item sequences of some users: lengths of a lognormal law above 20, items of a Zipf law.

    Returns:
        Items of all users, flat, and where each user's begin ``[n_users + 1]``.
    """
    beyond = np.log(MEDIAN - FEWEST)  # mean of the logarithm; the mean number of ratings sets the spread
    spread = np.sqrt(2 * (np.log(N_RATINGS / N_USERS - FEWEST) - beyond))
    lengths = np.minimum(FEWEST + generator.lognormal(beyond, spread, n_users), MOST).astype(np.int64)
    popularity = 1 / np.arange(1, n_items + 1) ** 0.9
    ranked = generator.permutation(n_items) + 1
    items = ranked[generator.choice(n_items, lengths.sum(), p=popularity / popularity.sum())]
    return items, np.concatenate([[0], lengths.cumsum()])
