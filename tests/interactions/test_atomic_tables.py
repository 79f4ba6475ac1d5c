"""Tables are those of the files: no row, id or digit is lost."""

import pytest
import yaml
from recbole.data.dataset import SequentialDataset

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.dataset import GenRecDataset
from tests.interactions.datasets import make_config, rows_of, sequence_columns, sequences_of


def test_a_quote_swallows_no_rows(tmp_path, write_dataset):
    """RecBole's parser takes what stands between two quotes for one cell, be it a hundred rows."""
    rows = [("u", f"i{n}", n, '"Great, he said' if n in (1, 4) else "fine") for n in range(6)]
    header = ("user_id:token", "item_id:token", "timestamp:float", "note:token")
    train, _, test = GenRecDataset(make_config(write_dataset(tmp_path, rows, inter_header=header))).build()
    assert sequences_of(train) == {"u": ["i0", "i1", "i2", "i3"]}
    assert rows_of(test) == [("u", "i5")]


def test_timestamps_keep_their_last_digit(tmp_path, write_dataset):
    """RecBole's parser reads 0.30000000000000004 as 0.3: the two would tie, and stay in the order of the file."""
    config = make_config(write_dataset(tmp_path, [("u", "a", 0.1 + 0.2), ("u", "b", 0.3), ("u", "c", 1)]))
    train, _, _ = GenRecDataset(config).build()
    assert list(sequences_of(train)["u"])[0] == "b"


@sequence_columns
def test_tables_are_read_as_recbole_reads_them(tmp_path, write_dataset):
    """Missing cells, quotes, numbers of many digits, tokens that look like numbers, columns that share their ids."""
    rows = [
        ("1", "01", 0.25, "a b", "x", 3),
        ("1.0", "1", 1e-7, "", "NA", ""),
        ("é", "q", 1234567890.1234567, "c", 'y "z"', -1),
        ("1", "7", 5, "", "x", 2),
    ]
    header = ("user_id:token", "item_id:token", "timestamp:float", "friends:token_seq", "place:token", "price:float")
    path = write_dataset(tmp_path, rows, inter_header=header)
    fields = [cell.split(":")[0] for cell in header]
    for columns, alias in ((fields, ["friends"]), ([name for name in fields if name != "friends"], None)):
        config = make_config(path, load_col={"inter": columns}, alias_of_user_id=alias)
        ours, theirs = GenRecDataset(config), SequentialDataset(config)
        assert ours.field2type == theirs.field2type
        assert ours.field2seqlen == theirs.field2seqlen
        assert ours.field2source == theirs.field2source
        for field, tokens in theirs.field2id_token.items():
            assert ours.field2id_token[field].tolist() == tokens.tolist()
            assert ours.field2token_id[field] == theirs.field2token_id[field]
        in_time = theirs.inter_feat.sort_values("timestamp", kind="stable", ignore_index=True)
        for field in in_time:
            assert repr(ours.inter_feat[field].tolist()) == repr(in_time[field].tolist()), field


@pytest.mark.parametrize("path", sorted((properties_folder() / "dataset").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_dataset_file_loads_times_and_keeps_interactions(path):
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert settings["load_col"]["inter"] == ["user_id", "item_id", "timestamp"]
    assert settings["filter_inter_by_user_or_item"] is False
    assert settings["normalize_all"] is False
    assert "title" in settings["item_text"]


class TestRowsThatPandasWouldLose:
    """Rows, ids and times are those of the file, or the file is refused by name and line."""

    def read(self, tmp_path, lines, header="user_id:token\titem_id:token\ttimestamp:float", **settings):
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "tiny.inter").write_bytes("\n".join([header, *lines, ""]).encode())
        return GenRecDataset(make_config(str(tmp_path), **settings))

    def test_ids_that_read_like_missing_values_are_ids(self, tmp_path):
        lines = [f"{user}\t{item}\t{time}" for time, (user, item) in enumerate([("NA", "null"), ("nan", "None")] * 2)]
        dataset = self.read(tmp_path, lines)
        assert len(dataset.inter_feat) == 4
        assert dataset.field2id_token["user_id"].tolist() == ["[PAD]", "NA", "nan"]
        assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "null", "None"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("\ti\t5", "tiny.inter, line 5: the row .* has no value in column 'user_id'"),
            ("u\t\t5", "tiny.inter, line 5: the row .* has no value in column 'item_id'"),
            ("u\ti\t", "tiny.inter, line 5: the row .* has no value in column 'timestamp'"),
            ("u\ti\tNA", "tiny.inter, line 5: the row .* has no value in column 'timestamp'"),
            ("u\ti\tinf", "tiny.inter, line 5: the row .* has no value in column 'timestamp'"),
            ("u\x00a\ti\t5", "tiny.inter, line 5: the file holds a NUL byte"),
        ],
    )
    def test_what_has_no_value(self, tmp_path, row, message):
        with pytest.raises(GenRecError, match=message):
            self.read(tmp_path, ["u\ti\t1", "u\tj\t2", "", row, "u\tk\t9"])

    def test_quotes_over_rows(self, tmp_path):
        """To RecBole's parser a cell that begins with a quote reaches to the next quote, over rows too."""
        header = "user_id:token\titem_id:token\ttimestamp:float\ttext:token_seq"
        lines = ["u\ti\t1\ta b", 'u\tj\t2\t"a', "u\tk\t3\tb", 'u\tl\t4\tc"', "u\tm\t5\tNA"]
        columns = {"inter": ["user_id", "item_id", "timestamp", "text"]}
        dataset = self.read(tmp_path, lines, header, load_col=columns)
        words = dataset.field2id_token["text"]
        assert [words[ids].tolist() for ids in dataset.inter_feat["text"]] == [
            ["a", "b"],
            ['"a'],
            ["b"],
            ['c"'],
            ["NA"],
        ]

    def test_items_and_users_that_read_like_missing_values(self, tmp_path):
        lines = ["NA\tnull\t1", "nan\tNone\t2", "NA\tNone\t3"]
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "tiny.item").write_text('item_id:token\ttitle:token_seq\nNone\t"A b\nnull\tNA\nn\tc"\n')
        (tmp_path / "tiny" / "tiny.user").write_text("user_id:token\tage:float\nNA\t30\nnan\t\n")
        (tmp_path / "tiny" / "tiny.inter").write_text(
            "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines])
        )
        columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["title"], "user": ["age"]}
        dataset = GenRecDataset(make_config(str(tmp_path), load_col=columns, filter_inter_by_user_or_item=True))
        assert len(dataset.inter_feat) == 3
        assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "null", "None", "n"]
        words = dataset.field2id_token["title"]
        assert [words[ids].tolist() for ids in dataset.item_feat["title"]] == [[], ["NA"], ['"A', "b"], ['c"']]
        assert dataset.user_feat["age"].tolist() == [30, 30, 30]  # the mean where there is none

    def test_a_short_row_of_items(self, tmp_path):
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "tiny.item").write_text("item_id:token\ttitle:token_seq\ni\tA\nj\n")
        (tmp_path / "tiny" / "tiny.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n")
        with pytest.raises(GenRecError, match="tiny.item, line 3: 1 cells where the header has 2"):
            GenRecDataset(
                make_config(str(tmp_path), load_col={"inter": ["user_id", "item_id", "timestamp"], "item": "*"})
            )
