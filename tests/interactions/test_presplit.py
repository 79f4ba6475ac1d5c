"""``benchmark_filename``: plain rows get histories, files with histories keep theirs; both equal one file's split."""

import pytest
import torch

from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import exact_dataset_class, train_sequences
from recbole_genrec.interactions.dataset_files import check_dataset
from recbole_genrec.interactions.histories import LazyInteraction
from tests.builders import SCRATCH

NAMES = {"USER_ID_FIELD": "who", "ITEM_ID_FIELD": "what", "TIME_FIELD": "when", "LIST_SUFFIX": "_before"}
DEFAULT = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp", "LIST_SUFFIX": "_list"}
PARTS = ("train", "valid", "test")
#: 128 seconds in float32: times differ where RecBole's would tie.
START = 1_700_000_000


def sequences():
    """Users of 4 to 11 interactions, the items of each by time; some times tie, and stay in the order of the file."""
    generator = torch.Generator().manual_seed(3)
    for user in range(12):
        count = 4 + user % 8
        items = torch.randint(9, (count,), generator=generator).tolist()
        yield f"u{user}", [(f"i{item}", START + place // 2) for place, item in enumerate(items)]


def leave_one_out(entries):
    return {"train": range(1, len(entries) - 2), "valid": [len(entries) - 2], "test": [len(entries) - 1]}


@pytest.fixture
def form(tmp_path, write_dataset):
    """Write the sequences as ``one`` file, as ``plain`` rows in three, or in three with ``lists``; gives settings."""

    def write(kind, fields=DEFAULT, **settings):
        user, item, time, suffix = (fields[key] for key in DEFAULT)
        header = [f"{user}:token", f"{item}:token", f"{time}:float"]
        rows = {part: [] for part in PARTS}
        for name, entries in sequences():
            for part, places in leave_one_out(entries).items():
                if kind != "lists" and part == "train":
                    places = [0, *places]
                for place in places:
                    target, when = entries[place]
                    before = " ".join(earlier for earlier, _ in entries[:place])
                    rows[part].append((name, target, when) + ((before,) if kind == "lists" else ()))
        folder = tmp_path / kind
        if kind == "lists":
            header.append(f"{item}{suffix}:token_seq")
        items = [(f"i{n}", f"Title {n}") for n in range(9)]
        item_header = (f"{item}:token", "title:token_seq")
        whole = [row for part in PARTS for row in rows[part]]
        if kind == "one":
            write_dataset(folder, whole, items, inter_header=header, item_header=item_header)
        else:
            for part in PARTS:
                # backwards, though rows of the same time and user as they are: the order of a file says nothing else
                some = sorted(rows[part], key=lambda row: -row[2])
                write_dataset(folder, some, items, inter_header=header, item_header=item_header)
                (folder / "tiny/tiny.inter").rename(folder / f"tiny/tiny.{part}.inter")
            settings = {"benchmark_filename": list(PARTS), **settings}
        return {"data_path": str(folder), "MAX_ITEM_LIST_LENGTH": 4, **fields, **settings}

    return write


def asked(settings, model="GRU4Rec"):
    """By part, what is asked of whom after which items, in raw tokens; and the parts."""
    config = GenRecConfig(model, "tiny", config_dict=settings)
    check_dataset(config)
    dataset = exact_dataset_class()(config)
    parts = dataset.build()
    user, item = dataset.uid_field, dataset.iid_field
    found = []
    for part in parts:
        rows = part[torch.arange(len(part))]
        lists, lengths = rows[item + config["LIST_SUFFIX"]], rows["item_length"]
        assert lists.shape == (len(rows), 4)
        assert ((lists > 0) == (torch.arange(4) < lengths[:, None])).all()
        tokens = dataset.field2id_token[item]
        histories = [" ".join(tokens[row[row > 0]]) for row in lists.numpy()]
        found.append(sorted(zip(part.id2token(user, rows[user]), histories, part.id2token(item, rows[item]))))
    return found, parts


@pytest.mark.parametrize("fields", [DEFAULT, NAMES], ids=["default names", "own names"])
@pytest.mark.parametrize("kind", ["plain", "lists"])
def test_the_parts_equal_those_of_one_file(form, kind, fields):
    expected, (train, _, _) = asked(form("one"))
    found, parts = asked(form(kind, fields))
    assert found == expected
    assert isinstance(parts[0].inter_feat, LazyInteraction) == (kind == "plain")
    by_user = {}
    for part, item_field in ((train, "item_id"), (parts[0], fields["ITEM_ID_FIELD"])) if kind == "plain" else ():
        users, items, offsets = train_sequences(part)
        names, tokens = part.id2token(part.uid_field, users), part.field2id_token[item_field][items]
        by_user[item_field, part is train] = {
            name: tokens[start:stop].tolist() for name, start, stop in zip(names, offsets[:-1], offsets[1:])
        }
    assert kind == "lists" or len(set(map(str, (dict(sorted(each.items())) for each in by_user.values())))) == 1


def test_plain_rows_can_be_written_out(form):
    expected, _ = asked(form("plain"))
    found, parts = asked(form("plain", lazy_windows=False))
    assert found == expected and not isinstance(parts[0].inter_feat, LazyInteraction)


def test_earlier_files_come_first_whatever_their_times(tmp_path, write_dataset):
    """Several rows of a user in a part; one that has nothing before it is history alone."""
    rows = {
        "train": [("u", "a", 5), ("u", "b", 4), ("w", "b", 1), ("w", "c", 2)],
        "valid": [("u", "c", 3), ("u", "d", 2), ("v", "a", 1), ("v", "b", 2)],
        "test": [("u", "e", 1), ("v", "c", 9), ("new", "a", 7)],
    }
    for part, some in rows.items():
        write_dataset(tmp_path, some)
        (tmp_path / "tiny/tiny.inter").rename(tmp_path / f"tiny/tiny.{part}.inter")
    found, _ = asked({"data_path": str(tmp_path), "benchmark_filename": list(PARTS), "MAX_ITEM_LIST_LENGTH": 4})
    assert found == [
        [("u", "b", "a"), ("w", "b", "c")],
        [("u", "b a", "d"), ("u", "b a d", "c"), ("v", "a", "b")],
        [("u", "b a d c", "e"), ("v", "a b", "c")],
    ]


@pytest.mark.parametrize("kind", ["plain", "lists"])
def test_runs(form, tmp_path, monkeypatch, kind):
    """The models of the plugin and RecBole's, trained and tested."""
    monkeypatch.chdir(tmp_path)
    settings = {"epochs": 1, "show_progress": False, **SCRATCH, **form(kind, NAMES)}
    results = run_recbole_genrec("GenRec,SASRec,Caser", "tiny", config_dict=settings)
    assert [result["users"]["of"] for result in results] == [12] * 3
    assert all(0 <= result["test_result"]["ndcg@3"] <= 1 for result in results)


def test_no_list_holds_what_its_user_had(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"epochs": 1, "show_progress": False, **SCRATCH, **form("plain", repeatable=False)}
    assert run_recbole_genrec("GenRec", "tiny", config_dict=settings)["users"]["of"] == 12
    with pytest.raises(GenRecError, match="'repeatable: False' needs whole histories"):
        run_recbole_genrec("GenRec", "tiny", config_dict={**settings, **form("lists")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"benchmark_filename": ["train", "test"]},
            r"'benchmark_filename' must be a list of three suffixes.*\['train', 'test'\]",
        ),
        ({"benchmark_filename": "train"}, "'benchmark_filename' must be a list of three suffixes"),
        ({"benchmark_filename": ["train", "valid", "tset"]}, "tiny.tset.inter' is missing"),
    ],
)
def test_other_parts(form, change, message):
    with pytest.raises(GenRecError, match=message):
        asked(form("plain") | change)


def test_a_history_without_items(form, tmp_path):
    settings = form("lists")
    path = tmp_path / "lists/tiny/tiny.valid.inter"
    header, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, first.rpartition("\t")[0] + "\t", *rest, ""]))
    with pytest.raises(GenRecError, match="tiny.valid.inter, line 2: no history in 'item_id_list'"):
        asked(settings)


def test_a_model_with_histories_of_its_own_kind(form):
    config = GenRecConfig("DIEN", "tiny", config_dict=form("plain"))
    from recbole.data.dataset import DIENDataset

    with pytest.raises(GenRecError, match="DIEN takes no 'benchmark_filename'"):
        exact_dataset_class(DIENDataset)(config).build()
