"""The commands ``recommend`` and ``add_items``: what they print and write, and one line for every mistake."""

import json
from pathlib import Path

import pytest

from recbole_genrec import GenRecommender, ItemId
from recbole_genrec.cli.main import main
from tests.serve.conftest import HEADER, ITEMS, rows_of


@pytest.fixture
def checkpoint(trained):
    return str(trained["trie"][2])


def asked(arguments, capsys):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_is_what_python_gives(checkpoint, capsys):
    options = ["--history", "toy story", "--item=m4", "--history=No such film", "--topk=3", "--exclude_seen"]
    options += ["--where", "genre=Comedy|Horror", "--where=year=1979.."]
    found = asked(["recommend", "--checkpoint", checkpoint, *options], capsys)
    assert [(e["given"], e["kind"], e["item_id"]) for e in found["history"]] == [
        ("toy story", "exact", "m0"),
        ("m4", "id", "m4"),
        ("No such film", "text", None),
    ]
    recommender = GenRecommender.from_checkpoint(checkpoint)
    expected = recommender.recommend(
        [["Toy Story", "Sting, The", "No such film"]],
        3,
        {"genre": {"Comedy", "Horror"}, "year": (1979, None)},
        exclude_seen=True,
    )[0]
    assert [(r["rank"], r["item_id"], r["title"]) for r in found["recommendations"]] == [
        (r.rank, r.item_id, r.title) for r in expected
    ]
    assert [r["probability"] for r in found["recommendations"]] == [r.probability for r in expected]
    assert not found["over_budget"] and "explanation" not in found


def test_tables(checkpoint, capsys):
    options = ["--history", "toy story", "--history=[b]No such film", "--topk=2", "--explain"]
    assert main(["recommend", "--checkpoint", checkpoint, *options]) == 0
    printed = capsys.readouterr().out
    assert "[b]No such film" in printed and "exact" in printed and "text" in printed
    assert "most because of" in printed and "percentage points" in printed


def test_entries_that_are_not_read_are_counted(checkpoint, capsys):
    assert main(["recommend", "--checkpoint", checkpoint, *["--item=m1", "--item=m2"] * 4]) == 0
    printed = capsys.readouterr().out
    assert "3 older entries are not read." in printed


def test_explanation_in_json(checkpoint, capsys):
    found = asked(["recommend", "--checkpoint", checkpoint, "--item=m1", "--item=m2", "--explain", "--topk=4"], capsys)
    assert [len(row) for row in found["explanation"]["changes"]] == [4, 4]
    assert len(found["explanation"]["reasons"]) == 4


class TestUser:
    @pytest.fixture
    def interactions(self, tmp_path):
        """Ties, float32 steps and an unknown item in a dataset folder of its own; gives its data_path."""
        (tmp_path / "tiny").mkdir()
        rows = ["item_id:token\ttimestamp:float\tuser_id:token"]
        rows += [f"m{item}\t{1_700_000_000 + time}\tu" for item, time in ((3, 9), (1, 0), (2, 1), (5, 9))]
        rows += ["m7\t1\tv", 'gone"\t1700000003\tu']
        (tmp_path / "tiny/tiny.inter").write_text("\n".join(rows) + "\n")
        return f"--data_path={tmp_path}"

    def test_all_interactions_in_exact_order_of_time(self, checkpoint, interactions, capsys):
        found = asked(["recommend", "--checkpoint", checkpoint, "--user=u", interactions, "--history=Up"], capsys)
        assert [entry["item_id"] for entry in found["history"]] == ["m1", "m2", "m3", "m5", "m9"]
        assert found["unknown_items"] == ['gone"']

    def test_the_dataset_of_the_training(self, checkpoint, trained, capsys):
        found = asked(["recommend", "--checkpoint", checkpoint, "--user=u1"], capsys)
        assert [entry["item_id"] for entry in found["history"]] == [ITEMS[(1 + 3 * t) % 10][0] for t in range(6)]
        assert [entry["read"] for entry in found["history"]] == [False] + [True] * 5

    def test_unknown_items_are_said(self, checkpoint, interactions, capsys):
        assert main(["recommend", "--checkpoint", checkpoint, "--user=u", interactions]) == 0
        assert 'Not in the catalogue, left out of the history of u: gone"' in capsys.readouterr().out

    def test_a_file_split_beforehand(self, checkpoint, interactions, tmp_path):
        from recbole_genrec.checkpoint.folder import read_settings
        from recbole_genrec.serve.user_history import read_user_history

        source = tmp_path / "tiny/tiny.inter"
        header, *rows = source.read_text().splitlines()
        for part, some in (("train", rows[:2]), ("test", rows[2:])):
            (tmp_path / f"tiny/tiny.{part}.inter").write_text("\n".join([header, *some]) + "\n")
        settings = read_settings(checkpoint)
        settings["benchmark_filename"] = ["train", "test"]
        # as in training: the files one after the other, each in the order of time
        assert read_user_history(settings, "u", tmp_path) == [
            ItemId(token) for token in ("m1", "m3", "m2", 'gone"', "m5")
        ]

    def test_files_with_histories(self, checkpoint, tmp_path):
        from recbole_genrec.checkpoint.folder import read_settings
        from recbole_genrec.serve.user_history import read_user_history

        (tmp_path / "tiny").mkdir()
        header = "user_id:token\titem_id:token\titem_id_list:token_seq\ttimestamp:float"
        rows = {"train": "u\tm2\tm1\t1\nu\tm3\tm1 m2\t2", "valid": "u\tm4\tm1 m2 m3\t3", "test": "v\tm1\tm2\t1"}
        for part, some in rows.items():
            (tmp_path / f"tiny/tiny.{part}.inter").write_text(f"{header}\n{some}\n")
        settings = read_settings(checkpoint) | {"benchmark_filename": list(rows)}
        assert read_user_history(settings, "u", tmp_path) == [ItemId(token) for token in ("m1", "m2", "m3", "m4")]

    def test_the_filters_of_the_run(self, train, tmp_path, write_dataset, capsys):
        """Values, duplicates and counts: what the run did not see is no history, and no user."""
        interactions = [row for row in rows_of(ITEMS)]
        rows = [(*row, 5) for row in interactions] + [("u1", "m9", 90, 2), ("low", "m1", 1, 2), ("few", "m2", 1, 5)]
        header = ("user_id:token", "item_id:token", "timestamp:float", "rating:float")
        path = write_dataset(tmp_path, rows, ITEMS, inter_header=header, item_header=HEADER)
        filters = {
            "val_interval": {"rating": "[3,inf)"},
            "user_inter_num_interval": "[2,inf)",
            "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
        }
        _, _, folder = train(data_path=path, **filters)
        found = asked(["recommend", "--checkpoint", str(folder), "--user=u1"], capsys)
        expected = [item for user, item, _ in interactions if user == "u1"]
        assert [entry["item_id"] for entry in found["history"]] == expected and not found["unknown_items"]
        for user in ("low", "few"):
            assert main(["recommend", "--checkpoint", str(folder), f"--user={user}"]) == 2
            error = capsys.readouterr().err
            assert f"no interactions of the user '{user}' that the run's filters leave (val_interval: " in error

    def test_a_user_outside_of_the_runs_sample(self, train, capsys):
        _, _, folder = train(sample_users=5)
        users = sorted({user for user, _, _ in rows_of(ITEMS)})
        codes = [main(["recommend", "--checkpoint", str(folder), f"--user={user}"]) for user in users]
        assert codes.count(0) == 5 and codes.count(2) == len(users) - 5 > 0
        assert capsys.readouterr().err.count("that the run's filters leave (sample_users: 5") == codes.count(2)

    @pytest.mark.parametrize("user", ["NA", "nan", "None", "null"])
    def test_a_user_whose_id_reads_like_a_missing_value(self, checkpoint, tmp_path, capsys, user):
        (tmp_path / "tiny").mkdir()
        rows = "user_id:token\titem_id:token\ttimestamp:float\n{0}\tm1\t1\n{0}\tnull\t2\n{0}\tm2\t3\nu\tm3\t3\n"
        (tmp_path / "tiny/tiny.inter").write_text(rows.format(user))
        found = asked(["recommend", "--checkpoint", checkpoint, f"--user={user}", f"--data_path={tmp_path}"], capsys)
        assert [entry["item_id"] for entry in found["history"]] == ["m1", "m2"] and found["unknown_items"] == ["null"]


@pytest.mark.parametrize("item", ["NA", "null", "None", "nan"])
def test_an_item_whose_id_reads_like_a_missing_value(train, tmp_path, capsys, item):
    """Trained with it, asked with it, and added later."""
    _, _, folder = train(items=[*ITEMS[:9], (item, "Up", "2009", "Animation", "8")])
    found = asked(["recommend", "--checkpoint", str(folder), f"--item={item}", "--topk=10"], capsys)
    assert found["history"][0]["item_id"] == item and item in {r["item_id"] for r in found["recommendations"]}
    new = {"NA": "null", "null": "NA", "None": "nan", "nan": "None"}[item]
    (tmp_path / "new.item").write_text(f"item_id:token\ttitle:token_seq\n{new}\tNA\n")
    options = ["--items", str(tmp_path / "new.item"), "--output", str(tmp_path / "more")]
    assert main(["add_items", "--checkpoint", str(folder), *options]) == 0 and capsys.readouterr()
    found = asked(["recommend", "--checkpoint", str(tmp_path / "more"), f"--item={new}"], capsys)
    assert [(entry["item_id"], entry["title"]) for entry in found["history"]] == [(new, "NA")]


def test_new_items_from_the_command_line(checkpoint, tmp_path, capsys):
    (tmp_path / "new.item").write_text("item_id:token\ttitle:token_seq\nn0\tDune\n")
    output = str(tmp_path / "more")
    assert (
        main(["add_items", "--checkpoint", checkpoint, "--items", str(tmp_path / "new.item"), "--output", output]) == 0
    )
    assert "1 new items" in capsys.readouterr().out
    found = asked(["recommend", "--checkpoint", output, "--history=Dune", "--topk=11"], capsys)
    assert found["history"][0]["item_id"] == "n0"
    assert "n0" in {r["item_id"] for r in found["recommendations"]} and len(found["recommendations"]) == 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--history=Up"], "--checkpoint is missing"),
        (["recommend", "--checkpoint=C"], "whose history? Give --history, --item or --user"),
        (["recommend", "--checkpoint=C", "--histroy=Up"], "Unknown option '--histroy'. Did you mean '--history'?"),
        (["recommend", "--checkpoint=C", "--checkpoint=D", "--item=1"], "--checkpoint is given twice"),
        (["recommend", "--checkpoint=C", "--item=1", "--topk=few"], "--topk must be a whole number, not 'few'"),
        (["recommend", "--checkpoint=C", "--item=m1", "--topk=0"], "'topk' must be a whole number of at least 1"),
        (["recommend", "--checkpoint=C", "--item=1", "--json=yes"], "--json is a flag; it may be true or false"),
        (["recommend", "--checkpoint=C", "--item=1", "--data_path=d"], "--data_path is for --user"),
        (["recommend", "--checkpoint=nowhere", "--item=1"], "The checkpoint folder 'nowhere' does not exist"),
        (["recommend", "--checkpoint=C", "--item=m1", "--where=genre"], "'genre' is not 'column=value'"),
        (["recommend", "--checkpoint=C", "--item=m1", "--where=genre=War"], "no item has 'War' in column 'genre'"),
        (["recommend", "--checkpoint=C", "--user=u99"], "has no interactions of the user 'u99'"),
        (["recommend", "--checkpoint=C", "--user=u1", "--data_path=nowhere"], "there is no file nowhere"),
        (["add_items", "--checkpoint=C", "--items=new.item"], "--output is missing"),
        (["add_items", "--checkpoint=C", "--items=no.item", "--output=o"], "the file no.item does not exist"),
    ],
)
def test_mistakes_are_one_line(checkpoint, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([f"--checkpoint={checkpoint}" if part == "--checkpoint=C" else part for part in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ") and message in captured.err.splitlines()[-1]
    assert not captured.out and not list(Path().iterdir())


@pytest.mark.parametrize("command", ["recommend", "add_items"])
def test_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"python -m recbole_genrec {command} --checkpoint DIR" in capsys.readouterr().out
