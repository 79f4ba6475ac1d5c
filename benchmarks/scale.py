"""ml-25m at full size: seconds and memory to convert, load, split, and reach the first batch and the first results.

    python -m benchmarks.scale [--movies ml-25m/movies.csv] [--folder results/benchmarks/scale]

The ratings are generated, 25,000,095 of 162,541 users by default: as many ratings a user and an item, and as many equal
timestamps, as such data have, sorted by user and movie as the published file. They go through the converter and the
runner's own steps. RecBole's own path (its reader, augmentation and split) takes ever larger beginnings of the same
file until its process passes ``--memory``, and a straight line through its two largest sizes says what the whole would
take. Every row of the table is a process of its own; its peak is the kernel's count of that process (``VmHWM``).
"""

import csv
import io
import json
import re
import resource
import subprocess
import sys
import zipfile
from importlib import import_module
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.common import Results, parser, report

RATINGS, USERS, RATED_MOVIES = 25_000_095, 162_541, 59_047
DATASET = "ml-25m"
#: ratings of a user: at least 20, half of them at most 71, 154 on average, as in ml-25m.
FEWEST, SPREAD = 20, 1.35
#: ratings of a movie fall off as exp(-STEEP * sqrt(rank)): the first hundredth of the movies has half of the ratings.
STEEP = 11
FIRST_SECOND, LAST_SECOND = 789_652_009, 1_574_327_703


# ---- the data ----


def rating_counts(n_ratings, n_users, generator):
    """Ratings of every user: a shifted log-normal distribution that sums to ``n_ratings``."""
    weight = np.exp(generator.normal(0, SPREAD, n_users))
    counts = FEWEST + np.floor(weight / weight.sum() * (n_ratings - FEWEST * n_users)).astype(np.int64)
    counts[: n_ratings - counts.sum()] += 1
    return counts


def generate(path, movies, n_ratings, seed):
    """Write a zip like the published one: ``ratings.csv`` in its form, and ``movies.csv``."""
    import pandas as pd

    generator = np.random.default_rng(seed)
    n_users = max(round(USERS * n_ratings / RATINGS), 1)
    titles = Path(movies).read_bytes() if movies else _made_up_movies()
    ids = np.array([int(row[0]) for row in islice(csv.reader(io.StringIO(titles.decode())), 1, None)])
    ids = generator.permutation(ids)[:RATED_MOVIES]
    share = np.exp(-STEEP * np.sqrt(np.linspace(0, 1, len(ids))))
    counts = rating_counts(n_ratings, n_users, generator)
    user = np.repeat(np.arange(1, n_users + 1), counts)
    movie = ids[generator.choice(len(ids), n_ratings, p=share / share.sum())]
    # most users rate in one sitting: several movies a minute, some in the same second
    first = np.repeat(generator.integers(FIRST_SECOND, LAST_SECOND - 10_000_000, n_users), counts)
    second = first + generator.exponential(3_000, n_ratings).astype(np.int64)
    rating = generator.integers(1, 11, n_ratings) / 2
    order = np.lexsort([movie, user])
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{DATASET}/movies.csv", titles)
        with archive.open(f"{DATASET}/ratings.csv", "w", force_zip64=True) as file:
            file.write(b"userId,movieId,rating,timestamp\r\n")
            for part in np.array_split(order, max(n_ratings // 1_000_000, 1)):
                table = pd.DataFrame({"u": user[part], "m": movie[part], "r": rating[part], "t": second[part]})
                file.write(table.to_csv(header=False, index=False, lineterminator="\r\n").encode())


def _made_up_movies():
    rows = [f'{n},"Movie {n:x} of {n % 97}, The ({1950 + n % 70})",Drama' for n in range(1, 62_424)]
    return "\r\n".join(["movieId,title,genres", *rows, ""]).encode()


def beginning(folder, n_rows):
    """Write the first rows of the converted data as a dataset of its own; returns its name."""
    name = f"first-{n_rows}"
    target = folder / name
    target.mkdir(exist_ok=True)
    with open(folder / DATASET / f"{DATASET}.inter", encoding="utf-8") as source:
        (target / f"{name}.inter").write_text("".join(islice(source, n_rows + 1)), "utf-8")
    return name


# ---- what is measured, each in a process of its own ----


def convert(folder):
    """The converter on the published form."""
    from recbole_genrec.cli.main import main

    start = perf_counter()
    code = main(["convert", DATASET, "--source", str(folder / f"{DATASET}.zip"), "--output", str(folder)])
    if code:
        raise SystemExit(code)
    return {"seconds": perf_counter() - start}


def _split(folder, model, dataset, **settings):
    """The runner's steps up to the split: the configuration, the data, and the moment of their beginning."""
    from recbole_genrec.config.config import GenRecConfig
    from recbole_genrec.interactions.dataset_files import check_dataset
    from recbole_genrec.interactions.split import SplitData
    from recbole_genrec.runs.process import tune_malloc

    place = {"data_path": str(folder), "checkpoint_dir": str(folder / "saved")}
    config = GenRecConfig(model, dataset, config_dict={**place, "use_gpu": False, **settings})
    tune_malloc()
    start = perf_counter()
    check_dataset(config)
    return config, SplitData([config]), start


def split(folder, model):
    """Read each file once, check, sort and split."""
    _, data, start = _split(folder, model, DATASET)
    return {"seconds": perf_counter() - start, "targets": len(data.parts[0])}


def _prepare(folder, model, dataset, **settings):
    """The runner's steps up to the loaders, and the seconds that they took without the imports."""
    from recbole_genrec.runs.run import build_model

    config, data, start = _split(folder, model, dataset, **settings)
    valid, test = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
    built = build_model(config, data)
    train = data.train_loader(config, built)
    return config, built, (train, valid, test), perf_counter() - start


def load(folder, model):
    """Read, check, sort, split, build the model, and make the first batch."""
    _, _, (train, *_), seconds = _prepare(folder, model, DATASET)
    start = perf_counter()
    next(iter(train))
    return {"seconds": seconds + perf_counter() - start, "targets": _n_targets(train)}


def _n_targets(loader):
    return loader.n_targets if hasattr(loader, "n_targets") else loader.sample_size


def recbole(folder, model, dataset):
    """RecBole's own classes from the file to the first batch."""
    import_module("recbole_genrec")  # RecBole does not run on current libraries without its patches
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "use_gpu": False,
    }
    sys.argv = sys.argv[:1]  # RecBole would read our options
    config = Config(model, dataset, config_dict=settings)
    start = perf_counter()
    train, _, _ = data_preparation(config, create_dataset(config))
    next(iter(train))
    return {"seconds": perf_counter() - start, "targets": _n_targets(train)}


class _FirstBatches:
    """The first batches of an epoch, as if they were all."""

    def __init__(self, loader, count):
        self.loader, self.count = loader, count

    def __len__(self):
        return self.count

    def __iter__(self):
        self.targets = 0
        for batch in islice(self.loader, self.count):
            self.targets += batch.n_targets
            yield batch

    def set_epoch(self, epoch):
        self.loader.set_epoch(epoch)

    @property
    def dataset(self):
        return self.loader.dataset


def train(folder, steps, eval_users):
    """GenRec through its trainer: some steps, a validation, checkpoints, a test on a sample of users."""
    from recbole_genrec.config.registry import get_trainer
    from recbole_genrec.evaluation.clock import Clock

    config, model, loaders, seconds = _prepare(folder, "GenRec", DATASET, epochs=1, eval_users=eval_users)
    batches, valid, test = _FirstBatches(loaders[0], steps), *loaders[1:]
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    clock = Clock()
    trainer.listeners.append(clock)
    start = perf_counter()
    trainer.fit(batches, valid)
    fitted = perf_counter()
    trainer.evaluate(test)
    tested = perf_counter()
    generation = model.generation_statistics()
    targets_per_second = batches.targets / clock.training
    return {
        "seconds": seconds + tested - start,
        "targets": batches.targets,
        "targets_per_second": targets_per_second,
        "hours_an_epoch": loaders[0].n_targets / targets_per_second / 3600,
        "users_per_second": eval_users / (tested - fitted),
        "valid_share": generation["valid_share"],
        "expanded_nodes_per_list": generation["expanded_nodes_per_list"],
    }


MEASURES = {"convert": convert, "split": split, "load": load, "recbole": recbole, "train": train}


def peak_mib():
    """Most memory that this process has held, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def measured(what, memory_gib=None, **arguments):
    """Run one of ``MEASURES`` in a process of its own; ``None`` where it failed, as when memory is not enough."""
    call = json.dumps({"what": what, "memory_gib": memory_gib, "arguments": arguments}, default=str)
    done = subprocess.run([sys.executable, "-m", "benchmarks.scale", "--call", call], stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _called(call):
    """The other end of ``measured``."""
    call = json.loads(call)
    if call["memory_gib"]:
        limit = int(call["memory_gib"] * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    arguments = call["arguments"]
    arguments["folder"] = Path(arguments["folder"])
    result = MEASURES[call["what"]](**arguments)
    print(json.dumps({**result, "peak_mib": peak_mib()}))


# ---- the benchmark ----


def recbole_rows(folder, n_ratings, memory_gib, first_size):
    """RecBole's path on 1, 2, 4, ... times ``first_size`` rows until its memory is not enough, then all, by a line."""
    rows, size = [], first_size
    while size <= n_ratings:
        name = beginning(folder, size)
        result = measured("recbole", memory_gib, folder=folder, model="SASRec", dataset=name)
        if result is None:
            break
        rows.append({"what": f"RecBole's own: SASRec, {size:,} rows", "rows": size, **result})
        size *= 2
    if len(rows) > 1 and size <= 2 * n_ratings:
        small, large = rows[-2:]
        whole = {"what": f"RecBole's own: SASRec, {n_ratings:,} rows, extrapolated", "rows": n_ratings}
        for key in ("seconds", "peak_mib"):
            slope = (large[key] - small[key]) / (large["rows"] - small["rows"])
            whole[key] = large[key] + slope * (n_ratings - large["rows"])
        rows.append(whole)
    return rows


def main():
    """Run the benchmark; see the module's header."""
    options = parser("scale", __doc__)
    options.add_argument("--movies", help="ml-25m's own movies.csv; without it titles are made up")
    options.add_argument("--folder", type=Path, default=Path("results/benchmarks/scale"), help="keeps the data")
    options.add_argument("--ratings", type=int, default=RATINGS)
    options.add_argument("--memory", type=float, default=12, help="GiB that RecBole's own path may take")
    options.add_argument("--recbole-rows", type=int, default=250_000, help="its first size; then twice as many")
    options.add_argument("--steps", type=int, default=60, help="training steps of GenRec")
    options.add_argument("--eval-users", type=int, default=2000)
    options.add_argument("--call", help="for the benchmark itself")
    options = options.parse_args()
    if options.call:
        _called(options.call)
        return
    if options.quick:
        options.ratings, options.recbole_rows, options.steps, options.eval_users = 50_000, 20_000, 2, 20
    source = options.folder / f"{DATASET}.zip"
    generate(source, options.movies, options.ratings, options.seed)
    rows = [{"what": "convert", **measured("convert", folder=options.folder)}]
    for model in ("SASRec", "P5"):  # P5 keeps ratings beside
        rows.append({"what": f"{model}: file to split", **measured("split", folder=options.folder, model=model)})
    for model in ("GenRec", "SASRec", "BERT4Rec"):
        rows.append({"what": f"{model}: file to first batch", **measured("load", folder=options.folder, model=model)})
    trained = measured("train", folder=options.folder, steps=options.steps, eval_users=options.eval_users)
    rows.append({"what": f"GenRec: {options.steps} training steps, {options.eval_users} users evaluated", **trained})
    rows += recbole_rows(options.folder, options.ratings, options.memory, options.recbole_rows)
    columns = {"what": "", "seconds": ".1f", "peak_mib": ",.0f", "targets_per_second": ",.0f"}
    columns |= {"hours_an_epoch": ".1f", "users_per_second": ".0f"}
    report(options, {"rows": Results(f"{options.ratings:,} ratings", columns, rows)})


if __name__ == "__main__":
    main()
