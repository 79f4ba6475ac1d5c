"""What does it cost to leave out of a list what its user has had before (``repeatable: False``)?

    python -m benchmarks.left_out [--data FOLDER] [--cache FOLDER]

The same weights rank the same test users in turn, batch by batch: with seen items kept, and with them left out. The
settings are those of GenRec on Toys (the prior of whole items). ``sharpness`` scales what the prior gives the items: a
model trained to the end is surer of its lists, and expands fewer nodes, than one of ``--steps`` steps.

* ``ratio``: seconds with seen items left out over seconds with them kept; the median of the repetitions;
* ``nodes_kept``, ``nodes_left_out``: nodes a user that the search had to expand;
* ``exact``: lists, of the first ``--checked`` users, whose scores are the K best of all items with the seen ones struck
  out. It must be 1.

Catalogues: ml-100k, which comes with RecBole; Amazon Toys and Games where ``--data`` holds ``amazon14-toys/``.
"""

import statistics
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.common import Results, parser, report
from benchmarks.decoding import catalogues
from benchmarks.recommenders import trained
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.interactions.unseen import SEEN, UnseenLoader
from recbole_genrec.runs.process import tune_malloc

CATALOGUES = ("ml-100k", "amazon14-toys")
SETTINGS = {
    "history": "both",
    "item_prior": True,
    "item_prior_loss": 1.0,
    "embedding_dropout": 0.2,
    "hidden_dropout": 0.2,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
}
COLUMNS = {
    "catalogue": "",
    "items": ",",
    "users": ",",
    "seen": ".1f",
    "sharpness": ".1f",
    "kept": ",.1f",
    "left_out": ",.1f",
    "ratio": ".2f",
    "nodes_kept": ".1f",
    "nodes_left_out": ".1f",
    "exact": ".1%",
}


def sharpen(model, factor):
    """Scale the logits of the model's prior over items; the history's vectors stay."""
    weight = model.item_embedding.weight.detach() * factor
    model.trie.item_vectors = torch.nn.Embedding.from_pretrained(weight)


def users_of(loader, count):
    """The first batches of a loader that hold ``count`` users together."""
    batches, users = [], 0
    for interaction, *_ in loader:
        batches.append(interaction)
        users += len(interaction)
        if users >= count:
            break
    return batches


def rank(model, batches):
    """Seconds to rank for all users, and nodes a user."""
    model.reset_statistics()
    start = perf_counter()
    for interaction in batches:
        model.full_sort_predict(interaction)
    return perf_counter() - start, model.generation_statistics()["expanded_nodes_per_list"]


@torch.no_grad()
def exact(model, interaction):
    """Share of a batch's lists whose scores are those of scoring every item and striking out the seen ones."""
    found = model.full_sort_predict(interaction).topk(model.k).values
    history = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN]
    scores = score_catalogue(model.prompt_tree(*history), model.engine.normalization)
    expected = scores.scatter(1, interaction[SEEN], -torch.inf).topk(model.k).values
    return torch.isclose(found, expected, rtol=0, atol=1e-3).all(1).float().mean().item()


def compare(name, sharpness, options, settings):
    """A row of the table: one model of a catalogue."""
    model, test = trained(name, options.steps, options.cache, seed=options.seed, **SETTINGS, **settings)
    sharpen(model, sharpness)
    kept = users_of(test, options.users)
    left_out = users_of(UnseenLoader(test.config, test.dataset, None), options.users)
    checked = left_out[0][: options.checked]
    rank(model, kept[:1])  # the first forward allocates
    timings = [(rank(model, kept), rank(model, left_out)) for _ in range(options.repetitions)]
    users, seconds = sum(map(len, kept)), [[timing[side][0] for timing in timings] for side in (0, 1)]
    return {
        "catalogue": name,
        "items": model.trie.n_items,
        "users": users,
        "seen": sum(int((batch[SEEN] > 0).sum()) for batch in left_out) / users,
        "sharpness": sharpness,
        "kept": users / statistics.median(seconds[0]),
        "left_out": users / statistics.median(seconds[1]),
        "ratio": statistics.median(out / kept for kept, out in zip(*seconds)),
        "nodes_kept": timings[0][0][1],
        "nodes_left_out": timings[0][1][1],
        "exact": exact(model, checked),
        "seconds": seconds,
    }


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("left_out", __doc__)
    options.add_argument("--catalogues", nargs="+", choices=CATALOGUES, default=CATALOGUES)
    options.add_argument("--data", type=Path, help="folder with amazon14-toys/")
    options.add_argument("--cache", type=Path, help="folder that keeps the trained weights")
    options.add_argument("--steps", type=int, default=300, help="training steps of each model")
    options.add_argument("--users", type=int, default=1024, help="test users, rounded up to whole batches")
    options.add_argument("--checked", type=int, default=16, help="users whose lists are compared with scoring all")
    options.add_argument("--sharpness", type=float, nargs="+", default=[1.0, 2.0], help="factors of the prior's logits")
    options = options.parse_args(arguments)
    if options.quick:
        options.steps, options.users, options.checked, options.repetitions = 3, 1, 4, 1
    tune_malloc()
    rows = [
        compare(name, sharpness, options, settings)
        for name, settings in catalogues(options, folder=None)  # nothing has to be written for these
        for sharpness in options.sharpness
    ]
    report(options, {"rows": Results("Lists with seen items kept, and left out", COLUMNS, rows)})


if __name__ == "__main__":
    main()
