"""``recommend`` for many rows on the command line: what it writes, and one line for every mistake."""

import io
import json
import sys

import pytest

from recbole_genrec import GenRecommender
from recbole_genrec.cli.main import main
from recbole_genrec.serve.many import row_parts


@pytest.fixture
def checkpoint(trained):
    return f"--checkpoint={trained['trie'][2]}"


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_several_users_on_standard_output(checkpoint, trained, capsys):
    assert main(["recommend", checkpoint, "--user=u1", "--user=u2", "--topk=2", "--where", "genre=Comedy"]) == 0
    printed = capsys.readouterr()
    recommender = GenRecommender.from_checkpoint(trained["trie"][2])
    for row, user in zip(rows_of(printed.out), ("u1", "u2"), strict=True):
        (expected,) = recommender.recommend([recommender.history_of(user)], 2, {"genre": "Comedy"})
        assert [item["item_id"] for item in row["recommendations"]] == [item.item_id for item in expected]
    assert printed.err.splitlines()[-1].startswith("2 of 2 rows, ")


def test_all_that_a_row_can_be_asked_with(checkpoint, tmp_path, capsys):
    (tmp_path / "users").write_text("u1\nu2\n")
    (tmp_path / "in.jsonl").write_text('{"user": "u1", "k": 1}\n{"user": "nobody"}\n')
    path = tmp_path / "out.jsonl"
    given = [f"--users={tmp_path / 'users'}", f"--input={tmp_path / 'in.jsonl'}", "--all_users", "--exclude_seen"]
    given += ["--exclude=m1", "--exclude=m2", "--on_error=skip", f"--output={path}"]
    assert main(["recommend", checkpoint, *given]) == 0
    assert f"12 rows in {path}" in capsys.readouterr().out
    rows = rows_of(path.read_text())
    assert [row["user"] for row in rows] == ["u1", "u2", "u1", "nobody", *(f"u{number}" for number in range(8))]
    assert "no interactions of the user 'nobody'" in rows[3]["error"] and len(rows[2]["recommendations"]) == 1
    listed = {item["item_id"] for row in rows for item in row.get("recommendations", ())}
    assert listed and not listed & {"m1", "m2"}


def test_standard_input(checkpoint, monkeypatch, capsys):
    class Stream:
        buffer = io.BytesIO(b'{"history": ["Heat"], "id": "a"}\n{"history": ["Alien"], "id": "b"}')

    monkeypatch.setattr(sys, "stdin", Stream)
    assert main(["recommend", checkpoint, "--input", "-", "--format=csv", "--topk=1"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "row,id,user,rank,item_id,title,probability,score,error"
    assert [row.split(",")[:2] for row in rows] == [["1", "a"], ["2", "b"]]


def test_one_user_and_an_item_left_out(checkpoint, capsys):
    assert main(["recommend", checkpoint, "--user=u1", "--exclude=m5", "--json", "--topk=10"]) == 0
    items = [item["item_id"] for item in json.loads(capsys.readouterr().out)["recommendations"]]
    assert len(items) == 9 and "m5" not in items


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--output=x.jsonl"], "whose lists? Give --user, --users, --input or --all_users"),
        (["--users=nowhere"], "--users: there is no file 'nowhere'"),
        (["--input=nowhere"], "--input: there is no file 'nowhere'"),
        (["--all_users", "--history=Heat"], "--history is for one history, not for many rows"),
        (["--all_users", "--explain"], "--explain is for one history"),
        (["--all_users", "--json"], "--json is for one history"),
        (["--all_users", "--resume"], "--resume goes on with a file: give --output"),
        (["--all_users", "--output=x.txt"], "the format of 'x.txt' cannot be told by its ending"),
        (["--all_users", "--format=parquet"], "--format=parquet needs a file"),
        (["--all_users", "--format=xml"], "Unknown value of 'format': 'xml'"),
        (["--all_users", "--on_error=pass"], "Unknown value of 'on_error': 'pass'"),
        (["--all_users", "--topk=0"], "--topk must be a positive whole number"),
        (["--all_users", "--where=genre"], "'genre' is not 'column=value'"),
        (["--all_users", "--exclude=m77"], "no item with the id 'm77'"),
        (["--all_users", "--at=2026-01-01"], "does not know the moment of a request"),
        (["--all_users", "--nproc=2"], "several processes share files: give --output"),
        (["--input=-", "--output=x.jsonl", "--nproc=2"], "several processes share files"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_line_for_a_mistake(checkpoint, given, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recommend", checkpoint, *given]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if " rows, " not in line]
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "x.jsonl").exists()


def test_parquet_without_its_library(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(row_parts, "find_spec", lambda name: None)
    assert main(["recommend", checkpoint, "--all_users", "--output=x.parquet"]) == 2
    assert "need pyarrow: pip install 'recbole_genrec[parquet]'" in capsys.readouterr().err


def test_processes_are_started_and_share_the_rows(checkpoint, tmp_path, monkeypatch):
    """``--nproc`` in earnest: the file is that of one process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone, shared = tmp_path / "alone.jsonl", tmp_path / "shared.jsonl"
    given = ["recommend", checkpoint, "--all_users", "--user=u7", "--user=u7", "--where=genre=Comedy", "--exclude_seen"]
    assert main([*given, f"--output={alone}"]) == 0
    assert main([*given, f"--output={shared}", "--nproc=2"]) == 0
    assert shared.read_bytes() == alone.read_bytes()
