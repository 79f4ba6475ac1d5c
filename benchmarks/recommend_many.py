"""Users per second of ``recommend`` for many rows, against the bare search over the same histories.

    python -m benchmarks.recommend_many --checkpoint FOLDER [--data_path FOLDER] [--users 943]

The bare search takes histories that are matched with the catalogue already, and finds lists. ``recommend`` reads each
row, looks up and matches the user's history, searches, and writes lists with titles and probabilities, block by block
onto the disk. All take turns in one process, on the same users and batches. Shares are of processor time, which other
work on the machine changes least; the seconds of the clock stand beside.
"""

import tempfile
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time

import torch

from benchmarks.common import Results, median_seconds, parser, report
from recbole_genrec import Recommender
from recbole_genrec.decoding.search import SearchEffort
from recbole_genrec.decoding.unseen_places import search_with_unseen
from recbole_genrec.runs.process import tune_malloc
from recbole_genrec.serve.many.asked_rows import Source
from recbole_genrec.serve.many.manner import Manner, Output
from recbole_genrec.serve.many.recommend_many import recommend_many

COLUMNS = {
    "what": "",
    "users": ",",
    "seconds": ".2f",
    "users_per_second": ",.0f",
    "processor_seconds": ".2f",
    "share_of_search": ".1%",
}


class Contest:
    """A recommender of GenRec, users, and what is timed.

    Args:
        checkpoint: a checkpoint folder of GenRec. data_path: of its dataset. count: how many users. topk: K.
    """

    def __init__(self, checkpoint, data_path, count, topk):
        self.recommender, self.topk = Recommender.load(checkpoint, data_path=data_path), topk
        self.users = list(islice(self.recommender.users(), count))
        size = self.recommender.batch_size
        histories = [self.recommender.history_of(user) for user in self.users]
        self.read = [self.recommender._read(histories[at : at + size]) for at in range(0, len(histories), size)]

    @torch.no_grad()
    def search(self):
        """The bare search of all users; item numbers ``[U, K]``."""
        ranker, found = self.recommender.ranker, []
        for batch in self.read:
            tree = ranker.tree(batch.packer, batch.items, batch.first, batch.stop, batch.vectors, batch.context)
            effort = SearchEffort(node_budget=ranker.engine.node_budget)
            found.append(search_with_unseen(tree, self.topk, ranker.engine.normalization, effort).items)
        return torch.cat(found)

    def answers(self):
        """The recommender in Python, without files."""
        return self.recommender.answer([self.recommender.history_of(user) for user in self.users], self.topk)

    def rows(self, name):
        """``recommend`` with an output of a format."""
        with tempfile.TemporaryDirectory() as folder:
            output = Output(str(Path(folder) / f"lists.{name}"), name)
            return recommend_many(self.recommender, Source(tuple(self.users)), Manner(self.topk), output)


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("recommend_many", __doc__)
    options.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint folder of GenRec")
    options.add_argument("--data_path", type=Path, help="folder of the dataset's folder, where it has moved")
    options.add_argument("--users", type=int, default=943)
    options.add_argument("--topk", type=int, default=10)
    options.add_argument("--formats", nargs="+", choices=("jsonl", "csv", "parquet"), default=["jsonl", "csv"])
    options = options.parse_args(arguments)
    tune_malloc()
    contest = Contest(options.checkpoint, options.data_path, 8 if options.quick else options.users, options.topk)
    contestants = {"bare search": contest.search, "answer()": contest.answers}
    contestants |= {f"recommend, {name}": lambda name=name: contest.rows(name) for name in options.formats}
    spent = {what: [] for what in contestants}

    def timed(what):
        begin = process_time()
        contestants[what]()
        spent[what].append(process_time() - begin)

    runs = {what: partial(timed, what) for what in contestants}
    seconds = median_seconds(runs, 1 if options.quick else options.repetitions)
    processor = {what: median(times) for what, times in spent.items()}
    users = len(contest.users)
    rows = [
        {
            "what": what,
            "users": users,
            "seconds": taken,
            "users_per_second": users / taken,
            "processor_seconds": processor[what],
            "share_of_search": processor["bare search"] / processor[what],
        }
        for what, taken in seconds.items()
    ]
    report(options, {"rows": Results("Lists for many users", COLUMNS, rows)})


if __name__ == "__main__":
    main()
