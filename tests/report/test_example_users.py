"""The users that a page shows with their lists: which are chosen, what is marked, and what their items are called."""

import json

import pytest

from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.report import Analysis, read_results, write_report
from recbole_genrec.report.example_users import example_users

#: ten users: GenRec alone has the target of u0, SASRec alone that of u1, both that of u2, nobody the others.
FIRST, SECOND = [1, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 2, 3, 0, 0, 0, 0, 0, 0, 12]


@pytest.fixture
def examples(tmp_path):
    def read():
        (board,) = read_results(tmp_path / "results").boards
        return example_users(Analysis(board))

    return read


def test_users_of_each_kind(write_run, examples):
    write_run("GenRec", 1, FIRST)
    write_run("SASRec", 1, SECOND)
    found = examples()
    assert [user.user for user in found.users] == ["u0", "u1", "u4"]
    reasons = [user.reason for user in found.users]
    assert reasons == [
        "GenRec has the target in its list, as for 30.0% of the users",
        "GenRec misses the target, another row has it, as for 10.0% of the users",
        "No list has the target, as for 60.0% of the users",  # place 12 is beyond what is shown
    ]
    assert [listed.row for listed in found.users[0].lists] == ["GenRec", "SASRec"]


def test_lists_and_hits_are_those_of_the_outcomes(write_run, examples):
    """Against loops over the files of the runs."""
    paths = {model: write_run(model, 1, places) for model, places in (("GenRec", FIRST), ("SASRec", SECOND))}
    for user in examples().users:
        for listed in user.lists:
            stored = Outcomes.read(paths[listed.row].with_suffix(".npz"))
            (row,) = (at for at, name in enumerate(stored.users) if name == user.user)
            assert listed.items == [stored.items[item] for item in stored.lists[row][:10]]
            target = stored.items[stored.targets[row]]
            assert user.targets == [(target, stored.item_counts[stored.targets[row]])]
            assert listed.hits == [item == target for item in listed.items]
            assert user.interactions == stored.user_counts[row]


def test_rows_without_lists_are_named(write_run, tmp_path, examples):
    write_run("GenRec", 1, FIRST)
    path = write_run("SASRec", 1, SECOND).with_suffix(".npz")
    Outcomes.read(path).write_counts(path, [10], tmp_path / "results")
    write_run("P5", 1, SECOND, stored=False)
    found = examples()
    assert found.without_lists == ["P5", "SASRec"] and len(found.users) == 3
    text = write_report(tmp_path / "results")[-1].read_text("utf-8")
    assert "No lists of P5, SASRec: the outcomes (.npz) are missing or kept without lists." in text


def test_rows_of_another_test_are_named(write_run, examples):
    write_run("GenRec", 1, FIRST)
    write_run("SASRec", 1, SECOND[:-1])
    found = examples()
    assert found.other_users == ["SASRec"]
    assert all([listed.row for listed in user.lists] == ["GenRec"] for user in found.users)


def test_few_users_and_many_rows(write_run, examples):
    for number in range(8):
        write_run("GenRec", 1, [1, 0], folder=f"results/{number}", config={"learning_rate": number / 10})
    found = examples()
    assert sorted(user.user for user in found.users) == ["u0", "u1"]
    assert len(found.left_out) == 2 and len(found.users[0].lists) == 6


def write_items(folder, rows):
    folder.mkdir()
    text = "item_id:token\tmovie_title:token_seq\n" + "".join(f"{item}\t{title}\n" for item, title in rows)
    (folder / "toy.item").write_text(text, "utf-8")


def test_titles_of_the_dataset(write_run, tmp_path, examples):
    write_items(tmp_path / "toy", [("i1", "Heat & <b>Dust"), ("i2", "Up")])
    write_run("GenRec", 1, FIRST, config={"data_path": str(tmp_path / "toy")})
    found = examples()
    assert found.titles["i1"] == "Heat & <b>Dust"
    text = write_report(tmp_path / "results")[-1].read_text("utf-8")
    assert "Heat &amp; &lt;b&gt;Dust" in text and "<b>Dust" not in text and "Items are shown by id" not in text


def test_titles_of_a_checkpoint_come_first(write_run, tmp_path, examples):
    write_items(tmp_path / "toy", [("i1", "of the file")])
    items = {"tokens": ["[PAD]", "i1"], "texts": ["", "x"], "item_texts": ["", "of the checkpoint"]}
    items |= {"identifiers": [[1], [2]], "pieces": [[], []]}
    (tmp_path / "best").mkdir()
    (tmp_path / "best/manifest.json").write_text("{}")
    (tmp_path / "best/items.json").write_text(json.dumps(items), "utf-8")
    write_run("GenRec", 1, FIRST, config={"data_path": str(tmp_path / "toy")}, checkpoint=str(tmp_path / "best"))
    assert examples().titles == {"i1": "of the checkpoint"}


@pytest.mark.parametrize("rows", [None, [("", "no id")]])
def test_without_titles(write_run, tmp_path, examples, rows):
    if rows:
        write_items(tmp_path / "toy", rows)
    write_run("GenRec", 1, FIRST, config={"data_path": str(tmp_path / "toy")})
    assert examples().titles == {}
    assert (
        "Items are shown by id: no checkpoint and no .item file" in write_report(tmp_path / "results")[-1].read_text()
    )
