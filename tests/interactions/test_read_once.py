"""A run reads each of its data files once, whatever its models; beside that, a header is looked at beforehand."""

import builtins
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model

from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.dataset import GenRecDataset
from recbole_genrec.interactions.interaction_text import interaction_columns
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.interactions.text_columns import TextColumns
from tests.builders import SCRATCH

PARTS = ("train", "valid", "test")
INTER = ("user_id:token", "item_id:token", "timestamp:float", "rating:float", "review_text:token_seq")
ITEM = ("item_id:token", "title:token_seq", "genre:token", "price:float", "description:token_seq")
#: bytes that are read to see a header: one buffer.
BUFFER = io.DEFAULT_BUFFER_SIZE

#: paths that the audit hook, which cannot be taken away again, has seen opened; ``None`` where nobody asks.
watched = {"opened": None}


def _note(event, arguments):
    if event == "open" and watched["opened"] is not None and isinstance(arguments[0], (str, bytes, os.PathLike)):
        watched["opened"].append(os.fsdecode(arguments[0]))


sys.addaudithook(_note)


class Counted(io.FileIO):
    """A file that counts the bytes read from it."""

    count = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.count += count
        return count

    def read(self, size=-1):
        found = super().read(size)
        self.count += len(found)
        return found

    def readall(self):
        found = super().readall()
        self.count += len(found)
        return found


class Reads:
    """How often the files of a folder are opened, and what is read of them."""

    def __init__(self, folder):
        self.folder, self.files, self.open = str(folder), [], builtins.open

    def __call__(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *more, **named):
        path = os.fspath(file) if isinstance(file, (str, os.PathLike)) else ""
        if not path.startswith(self.folder) or set(mode) & set("wax+"):
            return self.open(file, mode, buffering, encoding, errors, newline, *more, **named)
        self.files.append(Counted(path))
        buffered = io.BufferedReader(self.files[-1])
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def check(self, whole=True, headers=1):
        """Each file was read once to its end, and its header looked at ``headers`` times; nothing went another way."""
        opened = [path for path in watched["opened"] if path.startswith(self.folder) and Path(path).is_file()]
        assert sorted(opened) == sorted(file.name for file in self.files)
        for path in Path(self.folder).rglob("tiny.*"):
            size = path.stat().st_size
            assert size > 2 * BUFFER, "too small to tell a header from the whole"
            counts = [file.count for file in self.files if file.name == str(path)]
            assert [count for count in counts if count > BUFFER] == [size] * whole, path
            assert len(counts) == whole + headers, path


@pytest.fixture
def reads(tmp_path, monkeypatch):
    counting = Reads(tmp_path / "data")
    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)
    monkeypatch.setitem(watched, "opened", [])
    return counting


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(1)
    rows = [
        (f"u{user}", f"i{generator.integers(30)}", 1_700_000_000 + step, step % 5 + 1, f"Review {user}-{step}. " * 20)
        for user in range(12)
        for step in range(8)
    ]
    items = [(f"i{n}", f"Title {n}", f"kind{n % 3}", n / 4, "Long story. " * 60) for n in range(30)]
    path = write_dataset(tmp_path / "data", rows, items, inter_header=INTER, item_header=ITEM)
    return {"data_path": path, "epochs": 1, "show_progress": False, "eval_batch_size": 64, **SCRATCH}


RUNS = {
    "SASRec": {},
    "GenRec,SASRec,P5": {},
    "P5,SASRec": {"load_col": {"inter": ["user_id", "item_id", "timestamp", "rating", "review_text"]}},
    "GenRec,SASRecF": {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": "*"},
        "selected_features": ["genre"],
    },
    "GenRecSeq2Seq,SASRecAll": {"attribute_fields": ["genre"], "scratch_heads": 2, "pretrain_epochs": 1},
    "PromptLLM": {"tasks": {"sequential": 1, "rating": 1, "explanation": 1}, "few_shot": 1, "max_prompt_tokens": 4000},
}


@pytest.mark.parametrize("models", RUNS)
def test_a_run_reads_each_file_once(settings, reads, models):
    results = run_recbole_genrec(models.split(","), "tiny", config_dict=settings | RUNS[models])
    assert len(results) == len(models.split(","))
    reads.check()


def test_files_split_beforehand_are_read_once(settings, tmp_path, reads):
    path = tmp_path / "data/tiny/tiny.inter"
    header, *lines = path.read_text().splitlines()
    for part, places in zip(PARTS, (range(6), [6], [7])):
        some = [line + " and so on" * 300 for n, line in enumerate(lines) if n % 8 in places]
        path.with_name(f"tiny.{part}.inter").write_text("\n".join([header, *some, ""]))
    path.unlink()
    reads.files.clear()
    watched["opened"].clear()
    run_recbole_genrec(["GenRec", "SASRec", "P5"], "tiny", config_dict=settings | {"benchmark_filename": list(PARTS)})
    reads.check()


def test_recboles_own_steps_read_once(settings, reads):
    config = GenRecConfig("P5", "tiny", config_dict=settings)
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    model = get_model("P5")(config, train.dataset)
    assert set(model.shares) >= {"sequential", "rating", "explanation"}
    reads.check(headers=0)


def test_a_dataset_keeps_no_texts_that_no_model_asks_for(settings):
    data = SplitData([GenRecConfig(model, "tiny", config_dict=settings) for model in ("SASRec", "SASRecAll")])
    assert not data.dataset._interaction_texts and list(data.dataset._item_texts) == ["item_id"]
    data = SplitData([GenRecConfig(model, "tiny", config_dict=settings) for model in ("SASRec", "P5")])
    assert set(data.dataset._interaction_texts) == {"rating", "review_text"}
    assert list(data.dataset._item_texts) == [cell.split(":")[0] for cell in ITEM]


def test_a_model_that_the_dataset_was_not_made_for_has_it_read_the_files(settings, reads):
    own, other = (SplitData([GenRecConfig(model, "tiny", config_dict=settings)]).parts[0] for model in ("P5", "SASRec"))
    asked = ["rating", "review_text", "summary"]
    found, expected = (interaction_columns(part, asked) for part in (other, own))
    assert found.keys() == expected.keys() == {"rating", "review_text"}
    assert all(found[field].tolist() == expected[field].tolist() for field in found)
    for _ in range(2):
        items = other.item_texts()
        assert {name: list(cells) for name, cells in items.cells.items()} == {
            name: list(cells) for name, cells in own.item_texts().cells.items()
        }
    with pytest.raises(AssertionError, match="tiny.i"):  # so a second reading is seen
        reads.check()


def test_recboles_tables_do_not_depend_on_the_texts_that_are_kept(tmp_path, write_dataset):
    """Missing cells, numbers of many digits, tokens that look like missing ones, repeated items."""
    header = ("user_id:token", "item_id:token", "timestamp:float", "stars:float", "mood:token", "words:token_seq")
    rows = [
        ("NA", "i1", 1_700_000_000.25, "0.30000000000000004", "NA", "a  b"),
        ("u", "null", 5, "", "good", ""),
        ("u", "i1", 1e-7, "nan", "", "NA c"),
        ("u", "i2", 7, "1e3", "good", "c"),
    ]
    items = [
        ("i1", "A", "x", "1.5", "1 2"),
        ("null", "", "NA", "", "3"),
        ("i1", "B", "y", "7", ""),
        ("i2", "C", "", "inf", "4 5"),
    ]
    item_header = ("item_id:token", "title:token_seq", "kind:token", "price:float", "vector:float_seq")
    path = write_dataset(tmp_path, rows, items, inter_header=header, item_header=item_header)
    config = GenRecConfig("SASRec", "tiny", config_dict={"data_path": path, "load_col": None})
    names = tuple(cell.split(":")[0] for cell in header)
    plain = GenRecDataset(config, TextColumns())
    for kept in (TextColumns(names, True), TextColumns(("stars", "user_id")), TextColumns(items=True)):
        dataset = GenRecDataset(config, kept)
        assert {field: tokens.tolist() for field, tokens in dataset.field2id_token.items()} == {
            field: tokens.tolist() for field, tokens in plain.field2id_token.items()
        }
        assert dataset.field2seqlen == plain.field2seqlen and dataset.field2type == plain.field2type
        for ours, theirs in ((dataset.inter_feat, plain.inter_feat), (dataset.item_feat, plain.item_feat)):
            assert repr(ours.to_dict("list")) == repr(theirs.to_dict("list"))
            assert ours.dtypes.equals(theirs.dtypes)
    texts = GenRecDataset(config, TextColumns(names, True)).interaction_texts(names)
    assert [list(texts[name][0]) for name in names] == [[str(row[n]) for row in rows] for n in range(len(names))]
