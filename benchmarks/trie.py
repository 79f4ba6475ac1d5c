"""Building the trie of a large catalogue: seconds, and the most memory that it takes beside the identifiers.

Titles are made up as those of MovieLens-25M are in ``benchmarks.synthetic``, and written by a scratch tokenizer that
has learnt from the first of them. ``long`` adds one identifier of 10,000 tokens: what it costs, and no column for all.

    python -m benchmarks.trie --items 100000 1000000
"""

import tracemalloc
from time import perf_counter

import numpy as np

from benchmarks.common import Results, parser, report
from benchmarks.synthetic import titles
from recbole_genrec.backbone.scratch import train_tokenizer
from recbole_genrec.decoding.trie import build_trie

LONG = 10_000
LEARNT_FROM = 20_000
COLUMNS = {"items": ",", "long": "", "tokens": ",", "nodes": ","} | {
    "seconds": ".1f",
    "peak_mib": ",.0f",
    "bytes_a_token": ".0f",
}


def identifiers(count, seed):
    """Token ids of so many titles, no two alike, and a token that is in none."""
    texts = titles(count, np.random.default_rng(seed))
    tokenizer = train_tokenizer(texts[:LEARNT_FROM], 3000)
    encoded = tokenizer([" " + text for text in texts], add_special_tokens=False, split_special_tokens=True).input_ids
    return list(dict.fromkeys(map(tuple, encoded))), len(tokenizer)


def measure(known, end, long):
    """A row of the table."""
    if long:
        known = [*known, tuple(range(3, 3 + LONG))]
        end += LONG
    started = perf_counter()
    trie = build_trie(known, end)
    seconds = perf_counter() - started
    tracemalloc.start()
    build_trie(known, end)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "items": trie.n_items,
        "long": "yes" if long else "no",
        "tokens": len(trie.token),
        "nodes": trie.n_nodes,
        "seconds": seconds,
        "peak_mib": peak / 2**20,
        "bytes_a_token": peak / len(trie.token),
    }


def main(arguments=None):
    """Measure tries of large catalogues and report the figures."""
    options = parser("trie", __doc__)
    options.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    options = options.parse_args(arguments)
    rows = []
    for count in [2_000] if options.quick else options.items:
        known, end = identifiers(count, options.seed)
        rows += [measure(known, end, long) for long in (False, True)]
    report(options, {"rows": Results("Tries of large catalogues", COLUMNS, rows)})


if __name__ == "__main__":
    main()
