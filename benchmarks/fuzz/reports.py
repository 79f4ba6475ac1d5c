"""Results that somebody has edited or cut: a report names the file, or is made of what it says."""

import io
import json
import shutil
import zipfile

import numpy as np

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import RIGHT, Target
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.report import Analysis, markdown, read_results, shortfalls
from recbole_genrec.report.tables import csv_table, latex
from recbole_genrec.runs.result import Epoch, Hardware, Parameters, RunResult, Seconds, Users

USERS, ITEMS, LENGTH = 6, 9, 4


def result(model, seed, hits):
    """The result of a run."""
    tested = {"hit@2": hits, "ndcg@2": hits / 2}
    first = Epoch(epoch=1, train_loss=2.0, train_seconds=1.0, valid_seconds=1.0, valid_result=tested)
    return RunResult(
        model=model,
        dataset="shop",
        seed=seed,
        best_valid_score=hits / 2,
        best_valid_result=tested,
        valid_metric="NDCG@2",
        test_result=tested,
        test_interval={"hit@2": [0.0, 1.0], "ndcg@2": [0.0, 0.5]},
        users=Users(evaluated=USERS, of=USERS),
        outcomes=True,
        generation={"valid_share": 1.0, "grounding": {"exact": 3}},
        epochs=2,
        curve=[first, Epoch(epoch=2, train_loss=1.0, train_seconds=1.0)],
        seconds=Seconds(train=3.0, total=4.0),
        users_per_second=50.0,
        parameters=Parameters(total=1000),
        config={"eval_args": {"mode": "full", "split": {"LS": "valid_and_test"}}, "topk": [2], "epochs": 2},
        versions={"python": "3.12.0", "recbole_genrec": "0.1.0"},
        hardware=Hardware(device="cpu", name="x", cpu_count=2, threads=1),
    )


def outcomes(draw):
    """What a test gave every user."""
    lists = np.array([draw.sample(range(1, ITEMS), LENGTH) for _ in range(USERS)])
    targets = np.array([draw.randrange(1, ITEMS) for _ in range(USERS)])
    at = lists == targets[:, None]
    return Outcomes(
        items=np.array([f"i{item}" for item in range(ITEMS)]),
        item_counts=np.array([draw.randrange(5) for _ in range(ITEMS)]),
        users=np.array([f"u{user}" for user in range(USERS)]),
        user_counts=np.array([draw.randrange(99) for _ in range(USERS)]),
        lists=lists,
        rows=np.arange(USERS),
        targets=targets,
        places=np.where(at.any(1), at.argmax(1) + 1, 0),
    )


class Reports(Target):
    """Runs of a folder, one of which is broken."""

    name = "results of runs"
    share = 2

    def case(self, draw):
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        with_lists = draw.random() < 0.5
        for model in ("GenRec", "SASRec"):
            for seed in (1, 2):
                result(model, seed, draw.random()).write(self.folder)
                made, file = outcomes(draw), self.folder / f"{model}-shop-{seed}.npz"
                made.write(file) if with_lists else made.write_counts(file, [2], self.folder)
        self.places = (self.folder, "metric")  # a metric may be lacking in all of them
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        name = draw.choice(files).relative_to(self.folder).as_posix()
        path = self.folder / name
        if name.endswith(".npz"):
            changed = _broken_arrays(draw, path.read_bytes())
        elif draw.random() < 0.7:
            changed = json.dumps(mutate.structure(draw, json.loads(path.read_bytes()))).encode()
        else:
            changed = mutate.some_bytes(draw, path.read_bytes())
        self.input = {name: changed}
        path.write_bytes(changed)
        read = read_results(self.folder)
        assert sum(len(row.runs) for board in read.boards for row in board.rows) in (3, 4)
        for board in read.boards:
            analysis = Analysis(board)
            for text in (markdown(analysis), latex(analysis), csv_table([analysis]), *shortfalls(board)):
                assert text.strip()
        return RIGHT


def _broken_arrays(draw, content):
    """Bytes of a broken file, or a whole one of which an array is another or missing."""
    if draw.random() < 0.4:
        return mutate.some_bytes(draw, content)
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)
    name, kind = draw.choice(sorted(arrays)), draw.randrange(6)
    if kind == 0 or not arrays[name].ndim:
        del arrays[name]
    elif kind == 1:
        arrays[name] = arrays[name][: draw.randrange(len(arrays[name]) + 1)]
    elif kind == 2:
        arrays[name] = np.array(draw.choice(([], 3, [["x"]], [1.5, np.nan], [True], ["x"] * USERS, [-1] * USERS)))
    elif kind == 3 and arrays[name].dtype.kind in "iu":
        arrays[name] = arrays[name].astype(np.int64) + draw.choice((1, -1, 10**6, 2**40))
    elif kind == 4:
        kinds = ("U3", "S3") if arrays[name].dtype.kind == "U" else ("U3", "f4", "i1", "u8", "?", "c8")
        arrays[name] = arrays[name].astype(draw.choice(kinds), casting="unsafe")
    else:
        arrays[name] = np.concatenate([arrays[name], arrays[name]])
    written = io.BytesIO()
    try:
        np.savez_compressed(written, **arrays)
    except ValueError:
        return content
    if draw.random() < 0.1:  # members under another name, and one that is no array
        with zipfile.ZipFile(written, "a") as file:
            file.writestr(draw.choice(("lists.npy", "items", "../x.npy")), mutate.text(draw).encode("utf-8", "ignore"))
    return written.getvalue()
