"""Top-10 lists: users per second, valid titles, and how much of the true top-10 is found.

    python -m benchmarks.decoding [--data FOLDER] [--cache FOLDER]

Methods, on the same weights and the same prompts (test users, the 50 newest items of each):

* generate: ``generate`` of ``transformers`` as the published GenRec code calls it: one user at a time, 10 beams,
  unconstrained, up to 64 new tokens;
* generate, constrained: ``generate`` with 20 beams and ``prefix_allowed_tokens_fn`` over the catalogue, in batches of
  the size that is fastest for it; once with the default length penalty, which divides a score by the title's length,
  and once without, which asks for what the other methods answer and lets ``generate`` stop earlier;
* beam search: this package's, 20 beams;
* exact: this package's exact top-K.

There are two models: one trained with the shipped softmax over the trie, one with the softmax over the vocabulary.
This package's methods score with the softmax that the model was trained with; ``generate`` knows only the one over the
vocabulary. Recall is the share of the true top-10, which is that of scoring every item of the catalogue with the same
model and the softmax that the method scores with. A list entry is valid if its tokens are exactly those of a title of
the catalogue. ``generate`` and the vocabulary's softmax rank for ``--few`` users, the trie's for ``--users``.

Catalogues: ml-100k, which comes with RecBole; Amazon Toys and Games and the movies of MovieLens-25M where the folder of
``--data`` holds ``amazon14-toys/`` and ``ml-25m/``. Models have the shipped shape and settings and are trained for
``--steps`` steps; ``--checkpoint`` takes the weights of a finished ml-100k run instead.
"""

import tempfile
from functools import cached_property, partial
from pathlib import Path

import torch

from benchmarks.common import Results, median_seconds, parser, report
from benchmarks.recommenders import trained, write_movielens_25m
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.decoding.search import SearchEffort, search
from recbole_genrec.runs.process import tune_malloc

K = 10
#: catalogues and the file of ``--data`` that each needs.
CATALOGUES = {"ml-100k": None, "amazon14-toys": "amazon14-toys.inter", "ml-25m": "movies.csv"}
BATCH_SIZES = (1, 4, 16, 32)
#: users in a batch of this package's methods, as shipped.
SEARCH_BATCH = 256
COLUMNS = {
    "catalogue": "",
    "items": ",",
    "trained_with": "",
    "softmax": "",
    "method": "",
    "batch": "",
    "users": ",",
    "users_per_second": ",.1f",
    "times_generate": ",.1f",
    "times_constrained": ",.1f",
    "valid": ".1%",
    "recall": ".3f",
    "expanded_nodes": ".1f",
}


class Contest:
    """One trained model, some test users, and the methods that rank for them.

    Args:
        model: a trained recommender.
        interactions: RecBole's interaction with the histories of all test users.
        few: users for ``generate``. many: users for this package's methods; the few are the first of them.
    """

    def __init__(self, model, interactions, few, many):
        self.model, self.few, self.many = model, few, many
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(interactions), generator=generator)[:many]
        self.history = interactions[model.ITEM_SEQ][chosen]
        self.length = interactions[model.ITEM_SEQ_LEN][chosen]
        self.causal, self.end = model.backbone.model, model.packer.tokens.end
        self.causal.generation_config.pad_token_id = model.backbone.pad_id
        ended = [(*identifier, self.end) for identifier in model.catalogue.identifiers]
        self.item_of = {tokens: item for item, tokens in enumerate(ended, start=1)}

    def prompts(self, users):
        """Prompts of some users, left-padded, and their attention mask, as ``generate`` takes them."""
        items, width = self.history[users].numpy().ravel(), self.history.shape[1]
        first = torch.arange(len(users)).numpy() * width
        prompts = self.model.packer.prompts(items, first, first + self.length[users].numpy())
        column = torch.arange(prompts.input_ids.shape[1]) - (prompts.input_ids.shape[1] - prompts.lengths[:, None])
        mask = column >= 0
        tokens = prompts.input_ids.gather(1, column.clamp(min=0)).where(mask, self.model.backbone.pad_id)
        return tokens, mask.long()

    @cached_property
    def children(self):
        """The catalogue as nested dicts of tokens."""
        root = {}
        for tokens in self.item_of:
            node = root
            for token in tokens:
                node = node.setdefault(token, {})
        return root

    def _allowed(self, prompt_width, _, tokens):
        node = self.children
        for token in tokens[prompt_width:].tolist():
            node = node.get(token, {})
        return list(node) or [self.model.backbone.pad_id]  # a finished title goes on with padding

    @torch.no_grad()
    def generate(self, users, **settings):
        """Lists of ``[len(users), K]`` item ids from ``generate``; 0 stands for what is no title."""
        tokens, mask = self.prompts(users)
        generated = self.causal.generate(
            tokens,
            attention_mask=mask,
            do_sample=False,
            eos_token_id=self.end,
            num_return_sequences=K,
            **{name: value(tokens.shape[1]) if callable(value) else value for name, value in settings.items()},
        )
        titles = generated[:, tokens.shape[1] :].tolist()
        ended = [title[: title.index(self.end) + 1] if self.end in title else title for title in titles]
        return torch.tensor([self.item_of.get(tuple(title), 0) for title in ended]).view(-1, K)

    def published(self):
        """As the published code calls ``generate``."""
        return torch.cat([self.generate([user], num_beams=K, max_new_tokens=64) for user in range(self.few)])

    def constrained(self, batch, length_penalty=1.0):
        """``generate`` over the catalogue, batches of about equal lengths."""
        order = torch.argsort(self.length[: self.few])
        found = [
            self.generate(
                users,
                num_beams=20,
                max_new_tokens=max(map(len, self.item_of)),
                length_penalty=length_penalty,
                prefix_allowed_tokens_fn=lambda width: partial(self._allowed, width),
            )
            for users in order.split(batch)
        ]
        return torch.cat(found)[torch.argsort(order)]

    def ours(self, num_beams=0):
        """This package's search: lists and expanded nodes of all users."""
        found = [
            search(
                self.model.prompt_tree(history, length),
                K,
                self.model.engine.normalization,
                SearchEffort(num_beams, self.model.engine.node_budget),
            )
            for history, length in zip(self.history.split(SEARCH_BATCH), self.length.split(SEARCH_BATCH))
        ]
        return torch.cat([part.items for part in found]), torch.cat([part.expanded for part in found])

    def truth(self, softmax, users_at_once=8):
        """The true top-10 of the few users, by scoring every item."""
        history, length = self.history[: self.few], self.length[: self.few]
        parts = zip(history.split(users_at_once), length.split(users_at_once))
        scores = [score_catalogue(self.model.prompt_tree(*part), softmax) for part in parts]
        return torch.cat(scores).topk(K).indices

    def best_batch(self):
        """The batch size at which constrained ``generate`` is fastest."""
        sizes = [size for size in BATCH_SIZES if size <= self.few]
        seconds = median_seconds({size: partial(self.constrained, size) for size in sizes}, repetitions=1)
        return min(seconds, key=seconds.get)


def recall(found, truth):
    """Share of the true lists ``[B, K]`` that the found ones hold."""
    return (truth[:, :, None] == found[: len(truth), None]).any(2).float().mean().item()


def compare(catalogue, contests, repetitions):
    """Rows of the table for one catalogue.

    Args:
        catalogue: its name.
        contests: :class:`Contest` by the softmax that its model was trained with, ``vocab`` and ``trie``.
        repetitions: timings are medians of so many.
    """
    runs = {}
    for trained_with, contest in contests.items():
        batch = contest.best_batch()
        runs[trained_with, "vocab", "generate", 1] = contest.published
        runs[trained_with, "vocab", "generate, constrained", batch] = partial(contest.constrained, batch)
        runs[trained_with, "vocab", "constrained, no penalty", batch] = partial(contest.constrained, batch, 0.0)
        runs[trained_with, trained_with, "beam search", SEARCH_BATCH] = partial(contest.ours, num_beams=20)
        runs[trained_with, trained_with, "exact", SEARCH_BATCH] = contest.ours
    results = {}
    kept = {key: partial(lambda key, run: results.update({key: run()}), key, run) for key, run in runs.items()}
    seconds = median_seconds(kept, repetitions)
    truth = {key: contests[key[0]].truth(key[1]) for key in {run[:2] for run in runs}}

    rows, speeds = [], {}
    for (trained_with, softmax, method, batch), result in results.items():
        found, expanded = result if isinstance(result, tuple) else (result, None)
        speed = speeds[trained_with, method] = len(found) / seconds[trained_with, softmax, method, batch]
        rows.append(
            {
                "catalogue": catalogue,
                "items": contests[trained_with].model.trie.n_items,
                "trained_with": trained_with,
                "softmax": softmax,
                "method": method,
                "batch": batch,
                "users": len(found),
                "users_per_second": speed,
                "times_generate": speed / speeds[trained_with, "generate"],
                "valid": (found > 0).float().mean().item(),
                "recall": recall(found, truth[trained_with, softmax]),
                "expanded_nodes": None if expanded is None else expanded.float().mean().item(),
            }
        )
    for row in rows:
        row["times_constrained"] = row["users_per_second"] / speeds[row["trained_with"], "generate, constrained"]
    return rows


def catalogues(options, folder):
    """Catalogues whose data are there: name and settings. ``folder`` takes what has to be written first."""
    for name in options.catalogues[:1] if options.quick else options.catalogues:
        file = CATALOGUES[name]
        if file is None:
            yield name, {}
        elif options.data is None or not (options.data / name / file).is_file():
            print(f"{name}: left out, --data holds no {name}/{file}")
        elif name == "ml-25m":
            yield name, write_movielens_25m(options.data / name, folder)
        else:
            yield name, {"data_path": str(options.data)}


def contest_of(name, normalization, options, settings):
    """Train, or read, a model of a catalogue, and draw the users."""
    steps = 3 if options.quick else options.steps
    if name == "ml-100k" and normalization == "trie" and options.checkpoint:
        model, test = trained(name, 0, normalization=normalization, seed=options.seed)
        load_checkpoint_into(model, options.checkpoint)
    else:
        model, test = trained(name, steps, options.cache, normalization=normalization, seed=options.seed, **settings)
    interactions = [batch[0] for batch in test]
    history = {key: torch.cat([part[key] for part in interactions]) for key in (model.ITEM_SEQ, model.ITEM_SEQ_LEN)}
    few, many = (2, 8) if options.quick else (options.few, options.users)
    return Contest(model, type(interactions[0])(history), few, many if normalization == "trie" else few)


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("decoding", __doc__)
    options.add_argument("--catalogues", nargs="+", choices=CATALOGUES, default=list(CATALOGUES))
    options.add_argument("--data", type=Path, help="folder with amazon14-toys/ and ml-25m/")
    options.add_argument("--cache", type=Path, help="folder that keeps the trained weights")
    options.add_argument(
        "--checkpoint",
        type=Path,
        help="checkpoint of a GenRec trained on ml-100k with --config_files=properties/model/GenRec.yaml",
    )
    options.add_argument("--steps", type=int, default=250, help="training steps of each model")
    options.add_argument("--few", type=int, default=16, help="users for generate")
    options.add_argument("--users", type=int, default=943, help="users for this package's methods")
    options = options.parse_args(arguments)
    options.repetitions = 1 if options.quick else options.repetitions
    tune_malloc()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in catalogues(options, Path(folder)):
            contests = {kind: contest_of(name, kind, options, settings) for kind in ("vocab", "trie")}
            rows += compare(name, contests, options.repetitions)
    report(options, {"rows": Results("Top-10 lists", COLUMNS, rows)})


if __name__ == "__main__":
    main()
