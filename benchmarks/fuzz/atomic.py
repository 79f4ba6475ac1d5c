"""Atomic files: interactions as a run's dataset has them, and items as the prompts have them."""

import math

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import RIGHT, Target
from recbole_genrec.catalogue.item_text import item_columns, item_text
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import read_items
from recbole_genrec.files.text import clean_text
from recbole_genrec.interactions.dataset import GenRecDataset
from recbole_genrec.interactions.dataset_files import build_dataset, check_dataset

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ITEM_HEADER = "item_id:token\ttitle:token_seq\tyear:token\tprice:float"


def interactions(draw):
    """A sound ``.inter`` file; ids may look like missing values."""
    users = ["u1", "u2", "NA", "null", '"q', "nan", "7"]
    items = ["i1", "i2", "i3", "None", "", "N/A", "0"]
    rows = [
        f"{draw.choice(users)}\t{draw.choice(items) or 'i4'}\t{draw.randint(1, 5)}\t{draw.choice((5, 6.5, 1e9)) + step}"
        for step in range(draw.randint(0, 14))
    ]
    return ("\n".join([HEADER, *rows]) + "\n").encode()


def read_interactions(content):
    """User, item and time of every row, by a reader of our own; ``None`` where a row is not sound."""
    lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    names = [cell.partition(":")[0] for cell in lines[0].split("\t")]
    rows = []
    for line in filter(None, lines[1:]):
        cells = line.split("\t")
        if len(cells) != len(names):
            return None
        row = dict(zip(names, cells))
        user, item, time = row["user_id"], row["item_id"], float(row["timestamp"])
        if not user or not item or not math.isfinite(time):
            return None
        rows.append((user, item, time))
    return rows


class Interactions(Target):
    """``.inter``: the dataset has every row, in the order of time, or the file is refused."""

    name = "atomic .inter"
    share = 3

    def __init__(self, folder):
        super().__init__(folder)
        self.path = folder / "tiny" / "tiny.inter"
        self.path.parent.mkdir()
        self.config = GenRecConfig("SASRec", "tiny", config_dict={"data_path": str(folder)})

    def case(self, draw):
        content = interactions(draw)
        if draw.random() < 0.9:
            content = mutate.table(draw, content)
        self.input, self.places = {"tiny.inter": content}, (self.path,)
        self.path.write_bytes(content)
        check_dataset(self.config)
        dataset = build_dataset(GenRecDataset, self.config)
        expected = read_interactions(content)
        assert expected is not None, "a row that is not sound was read without a word"
        expected.sort(key=lambda row: row[2])
        feat = dataset.inter_feat
        users = dataset.id2token(dataset.uid_field, feat[dataset.uid_field].to_numpy()).tolist()
        items = dataset.id2token(dataset.iid_field, feat[dataset.iid_field].to_numpy()).tolist()
        assert list(zip(users, items)) == [row[:2] for row in expected]
        return RIGHT


class Items(Target):
    """``.item``: texts and columns are those of the file, or it is refused."""

    name = "atomic .item"
    share = 2

    def case(self, draw):
        titles = [mutate.encodable(draw) if draw.random() < 0.3 else "Heat 2" for _ in range(draw.randint(0, 8))]
        rows = [f"i{draw.randint(0, 9)}\t{title}\t1995\t{draw.random()}" for title in titles]
        content = ("\n".join([ITEM_HEADER, *rows]) + "\n").encode()
        if draw.random() < 0.8:
            content = mutate.table(draw, content)
        path = self.folder / "tiny.item"
        path.write_bytes(content)
        self.input, self.places = {"tiny.item": content}, (path,)
        items = read_items(AtomicFile(path), "item_id")
        texts, columns = item_text(items).texts, item_columns(items)
        lines = content.decode("utf-8-sig").split("\n")
        names = [cell.partition(":")[0] for cell in lines[0].removesuffix("\r").split("\t")]
        expected = {}
        for line in lines[1:]:
            if line.strip("\r"):
                cells = line.removesuffix("\r").split("\t")
                assert len(cells) == len(names), "a row of another length was read without a word"
                expected.setdefault(cells[names.index("item_id")], dict(zip(names, cells)))
        assert "" not in expected, "an item without an id was read"
        assert len(set(names)) == len(names), "a column that comes twice was read without a word"
        title = min(names, key=lambda name: (name != "title", "title" not in name.lower()))  # a name may have changed
        cleaned = {item: clean_text(row[title]) for item, row in expected.items()}
        assert texts == {item: text for item, text in cleaned.items() if text}
        assert all(len((text + "x").splitlines()) == 1 and "\x00" not in text for text in texts.values())
        for name, column in columns.items():
            kept = {item for item, row in expected.items() if clean_text(row[name])}
            assert set(column.values) == kept, name
        return RIGHT
