import numpy as np
import pytest
from recbole.config import Config

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import GenRecDataset
from recbole_genrec.interactions.interaction_text import first_sentence, interaction_columns

HEADER = ("user_id:token", "item_id:token", "timestamp:float", "rating:float", "review_text:token_seq")


def built(tmp_path, write_dataset, rows, **settings):
    values = {
        "data_path": write_dataset(tmp_path, rows, inter_header=HEADER),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        **settings,
    }
    return GenRecDataset(Config("SASRec", "tiny", config_dict=values)).build()


def stored(dataset, found):
    """The store's interactions as (user, item, text) in raw tokens."""
    store = dataset.inter_feat.histories
    users = dataset.id2token("user_id", store.users)
    items = dataset.id2token("item_id", store.columns["item_id"].numpy())
    return list(zip(map(str, users), map(str, items), found["review_text"]))


@pytest.mark.parametrize("keep", [None, "first", "last"])
def test_every_interaction_finds_its_own_text(tmp_path, write_dataset, keep):
    """Times tie, users repeat items, and filters remove users: the text names what its row is."""
    generator = np.random.default_rng(3)
    rows = []
    for number in range(300):
        user, item, time = generator.integers(9), generator.integers(6), int(generator.integers(20))
        rows.append((f"u{user}", f"i{item}", time, number % 5, f'"u{user}  i{item} at {time}, row {number}'))
    rows.append(("rare", "i1", 1, 1, "gone"))
    parts = built(tmp_path, write_dataset, rows, rm_dup_inter=keep, user_inter_num_interval="[2,inf)")
    found = interaction_columns(parts[0], ["rating", "review_text", "summary"])
    assert found.keys() == {"rating", "review_text"}
    expected = sorted((row for row in rows if row[0] != "rare"), key=lambda row: (row[0], row[2]))
    if keep:
        ordered = expected if keep == "first" else expected[::-1]
        once = {(row[0], row[1]): row for row in reversed(ordered)}
        expected = sorted(once.values(), key=lambda row: (row[0], row[2], rows.index(row)))
    by_user = sorted(stored(parts[0], found), key=lambda row: row[0])  # stable: in order of time
    assert by_user == [(row[0], row[1], row[4]) for row in expected]
    for part in parts[1:]:  # all parts share the store
        assert part.inter_feat.histories is parts[0].inter_feat.histories


FILTERS = {
    "none": {},
    "values": {"val_interval": {"rating": "[3,inf)"}},
    "values in several intervals": {"val_interval": {"rating": "[0,1];(3,4]"}},
    "users": {"user_inter_num_interval": "[33,inf)"},
    "items": {"item_inter_num_interval": "[48,inf)"},
    "users and items": {"user_inter_num_interval": "[33,inf)", "item_inter_num_interval": "[5,inf)"},
    "first of duplicates": {"rm_dup_inter": "first", "val_interval": {"rating": "[1,inf)"}},
    "last of duplicates": {"rm_dup_inter": "last", "val_interval": {"rating": "[1,inf)"}},
    "unknown items": {"filter_inter_by_user_or_item": True},
    "cold items": {"cold_items": 0.3, "val_interval": {"rating": "[1,inf)"}},
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_leave_every_text_with_its_row(tmp_path, write_dataset, name):
    """The number of the row is a column of its own that RecBole carries along: the text must be that of this row."""
    generator = np.random.default_rng(5)
    rows = [
        (f"u{generator.integers(9)}", f"i{generator.integers(6)}", int(generator.integers(20)), n % 5, n)
        for n in range(300)
    ]
    header = ("user_id:token", "item_id:token", "timestamp:float", "rating:float", "number:float")
    known = [(f"i{n}", "title") for n in range(1, 6)]
    columns = {"inter": ["user_id", "item_id", "timestamp", "rating", "number"], "item": ["item_id", "title"]}
    values = {
        "data_path": write_dataset(tmp_path, rows, known if name == "unknown items" else None, inter_header=header),
        "load_col": columns,
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "filter_inter_by_user_or_item": False,
        **FILTERS[name],
    }
    dataset = GenRecDataset(Config("SASRec", "tiny", config_dict=values))
    train = dataset.build()[0]
    parts = [part for part in (train, dataset.cold_part) if part is not None]
    for part in parts:
        found = interaction_columns(part, ["rating", "number"])
        for field in ("number", "rating"):
            assert found[field].astype(float).tolist() == part.inter_feat.histories.columns[field].tolist()
    kept = len(train.inter_feat.histories.users)
    assert kept == len(rows) if name == "none" else 0 < kept < len(rows)
    assert name != "cold items" or len(parts) == 2


def test_words_that_look_like_nothing_stay_words(tmp_path, write_dataset):
    words = ["NA", "nan", "null", "None", "", "N/A"]
    rows = [("u", f"i{number}", number, 1, word) for number, word in enumerate(words)]
    train, _, _ = built(tmp_path, write_dataset, rows)
    assert interaction_columns(train, ["review_text"])["review_text"].tolist() == words


def test_written_out_windows_are_refused(tmp_path, write_dataset):
    train, _, _ = built(tmp_path, write_dataset, [("u", f"i{n}", n, 1, "x") for n in range(5)], lazy_windows=False)
    with pytest.raises(GenRecError, match="lazy_windows"):
        interaction_columns(train, ["rating"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("My daughter loves this toy. It is sturdy.", "My daughter loves this toy."),
        ("Dr. Seuss would have been proud of it! Buy one.", "Dr. Seuss would have been proud of it!"),
        ("Costs 3.50 and is worth every cent of that", "Costs 3.50 and is worth every cent of that"),
        ("line\tone &amp; line two of the\nreview? Yes.", "line one & line two of the review?"),
        ("", ""),
    ],
)
def test_first_sentence(text, sentence):
    assert first_sentence(text) == sentence
