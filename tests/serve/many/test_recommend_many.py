"""Many rows at once: answers are those of the recommender alone, and a run that is killed goes on to the same bytes."""

import csv
import io
import json
import os
import signal
import sys

import pytest

from recbole_genrec import GenRecError, GenRecommender, ItemId
from recbole_genrec.errors import Interrupted
from recbole_genrec.serve.many import recommend_many as module
from recbole_genrec.serve.many.asked_rows import Source
from recbole_genrec.serve.many.manner import Manner, Output
from recbole_genrec.serve.many.recommend_many import Progress, recommend_many
from recbole_genrec.serve.many.row_parts import Part

USERS = [f"u{number}" for number in range(8)]
LINES = [
    {"user": "u1"},
    {"user": "u2", "k": 5, "id": "second"},
    {"history": ["Heat", {"item": "m4"}], "where": "genre=Comedy|Horror", "id": 3},
    {"history": ["a quiet film"], "where": ["genre=Crime", "year=1980.."], "exclude": ["m2"]},
    {"user": "u3", "history": [{"title": "Up"}]},
    {"history": [], "k": 1},
    {"user": "u7", "exclude": ["m5", "m6"]},
]


@pytest.fixture(scope="module")
def recommender(trained):
    made = GenRecommender.from_checkpoint(trained["trie"][2])
    made.batch_size = 3
    return made


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text("\n\n".join(map(json.dumps, LINES)) + "\n")
    return str(path)


@pytest.fixture
def expected(recommender):
    """What the recommender gives for each of the lines alone, two items and nothing of the history."""
    u = {user: recommender.history_of(user) for user in USERS}
    asked = [
        (u["u1"], {}),
        (u["u2"], {"topk": 5}),
        (["Heat", ItemId("m4")], {"where": {"genre": {"Comedy", "Horror"}}}),
        (["a quiet film"], {"where": {"genre": "Crime", "year": (1980, None)}, "exclude": ["m2"]}),
        ([*u["u3"], "Up"], {}),
        ([], {"topk": 1}),
        (u["u7"], {"exclude": ["m5", "m6"]}),
    ]
    return [recommender.recommend([history], **{"topk": 2, "exclude_seen": True, **how})[0] for history, how in asked]


def close(found, expected):
    assert [item["item_id"] for item in found] == [item.item_id for item in expected]
    assert [item["rank"] for item in found] == [item.rank for item in expected]
    assert [item["title"] for item in found] == [item.title for item in expected]
    probabilities = [float(item["probability"]) for item in found]
    assert probabilities == pytest.approx([item.probability for item in expected], rel=1e-4)


MANNER = Manner(topk=2, exclude_seen=True)


def test_json_lines(recommender, lines, expected, tmp_path):
    path = tmp_path / "deep/out.jsonl"
    assert recommend_many(recommender, Source(input=lines), MANNER, Output(str(path))) == len(LINES)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(1, len(LINES) + 1))
    assert [row["id"] for row in rows] == [line.get("id") for line in LINES]
    assert [row["user"] for row in rows] == [line.get("user") for line in LINES]
    for row, one in zip(rows, expected):
        close(row["recommendations"], one)
    assert os.listdir(path.parent) == ["out.jsonl"]


def tables(path, format):
    """The rows of a table by the number of what was asked."""
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    found = {}
    for row in rows:
        found.setdefault(int(row["row"]), []).append({**row, "rank": int(row["rank"] or 0)})
    return found


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_tables(recommender, lines, expected, tmp_path, format):
    if format == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"out.{format}"
    recommend_many(recommender, Source(input=lines), MANNER, Output(str(path), format))
    found = tables(path, format)
    assert list(found) == list(range(1, len(LINES) + 1))
    for number, one in enumerate(expected, 1):
        close(found[number], one)
        assert str(found[number][0]["id"] or "") == str(LINES[number - 1].get("id", ""))
        assert not found[number][0]["error"]


def test_users_of_the_command_line_of_a_file_and_of_the_dataset(recommender, tmp_path, capsys):
    (tmp_path / "users").write_text("u5\r\n\n  u6 \n")
    source = Source(users=("u4", "u4"), users_file=str(tmp_path / "users"))
    assert recommend_many(recommender, source, Manner(topk=3), Output(None), all_users=True) == 12
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["user"] for row in rows] == ["u4", "u4", "u5", "u6", *USERS]
    for row in rows:
        close(row["recommendations"], recommender.recommend([recommender.history_of(row["user"])], 3)[0])


BAD = [
    ("{", "it is not JSON"),
    ("[" * 100_000, "it is not JSON"),
    ("3", "it is 3, not an object with 'user' or 'history'"),
    ('{"usr": "u1"}', "Unknown key 'usr'. Did you mean 'user'?"),
    ('{"k": 3}', "it has neither 'user' nor 'history'"),
    ('{"user": true}', "['user'] is True, not"),
    ('{"history": "Heat"}', "['history'] is 'Heat', not a list"),
    ('{"history": [{"item": "m1", "title": "Heat"}]}', "has either 'item' or 'title'"),
    ('{"history": [{"itm": "m1"}]}', "Unknown key of an entry of 'history': 'itm'"),
    ('{"user": "nobody"}', "no interactions of the user 'nobody'"),
    ('{"history": [{"item": "m77"}]}', "no item with the id 'm77'"),
    ('{"history": [], "exclude": ["m77"]}', "no item with the id 'm77'"),
    ('{"history": [], "k": 0}', "'topk' must be a whole number of at least 1, not 0"),
    ('{"history": [], "where": "genre"}', "'genre' is not 'column=value'"),
    ('{"history": [], "where": "genre=Romance"}', "no item has 'Romance' in column 'genre'"),
    ('{"history": [], "at": "2026-01-01"}', "'at': this model does not know the moment of a request"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line[:40] for line, _ in BAD])
def test_a_bad_line(recommender, tmp_path, capsys, line, message):
    good = [json.dumps({"user": user}) for user in USERS]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("\n".join([*good[:4], line, *good[4:]]))
    path = tmp_path / "out.jsonl"
    source, output = Source(input=str(asked)), Output(str(path))
    with pytest.raises(GenRecError) as caught:
        recommend_many(recommender, source, Manner(), output)
    assert str(caught.value).startswith(f"{asked}, line 5: ") and message in str(caught.value)
    assert "--resume goes on with them" in str(caught.value) and not path.exists()

    recommend_many(recommender, source, Manner(on_error="skip"), output)
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    assert message in rows[4]["error"] and "recommendations" not in rows[4]
    assert [row["user"] for row in rows[:4] + rows[5:]] == USERS
    assert all(len(row["recommendations"]) == 10 for row in rows[:4] + rows[5:])

    asked.write_text("\n".join([*good[:4], '{"user": "u0", "id": "mended"}', *good[4:]]))
    with pytest.raises(GenRecError, match="asked with 'on_error'"):  # nothing is left, but of another question
        Part(str(path), 0, {"on_error": "skip"}).close()
        Part(str(path), 0, {"on_error": "stop"}, resume=True)


def test_a_mended_input_goes_on(recommender, tmp_path):
    asked, path = tmp_path / "asked.jsonl", tmp_path / "out.jsonl"
    good = [json.dumps({"user": user}) for user in USERS]
    asked.write_text("\n".join([*good[:4], "oops", *good[4:]]))
    with pytest.raises(GenRecError, match="line 5"):
        recommend_many(recommender, Source(input=str(asked)), Manner(), Output(str(path)))
    asked.write_text("\n".join(good))
    recommend_many(recommender, Source(input=str(asked)), Manner(), Output(str(path), resume=True))
    recommend_many(recommender, Source(input=str(asked)), Manner(), Output(str(tmp_path / "whole.jsonl")))
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_dataset_that_is_not_there_is_no_row_s_fault(recommender, lines, tmp_path):
    again = GenRecommender.from_checkpoint(recommender.folder)
    again.data_path = tmp_path
    with pytest.raises(GenRecError, match="^--user: there is no file .*tiny.inter"):
        recommend_many(again, Source(input=lines), Manner(on_error="skip"), Output(None))


def test_no_row_is_to_blame_for_a_failing_model(recommender, tmp_path, monkeypatch):
    def fail(*_):
        raise GenRecError("The weight 'x' holds numbers that are not finite.")

    monkeypatch.setattr(recommender, "_rank", fail)
    with pytest.raises(GenRecError, match="^The weight 'x'"):
        recommend_many(recommender, Source(users=("u1",)), Manner(on_error="skip"), Output(str(tmp_path / "out.jsonl")))


def dying(moment, count):
    """A function that kills the process without a warning at the ``count``-th call of a method of :class:`Part`."""
    original, calls = getattr(Part, moment), []

    def method(self, *arguments):
        calls.append(moment)
        if len(calls) == count:
            if moment == "_note":  # half a line reaches the disk
                self._journal.write(b'{"rows": 3, "en')
                self._journal.flush()
            elif moment == "write":  # the block does, but no word of it
                self._file.write(b"half of a row" * 1000)
                self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    return method


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("moment", "count"), [("_note", 1), ("_note", 3), ("write", 1), ("write", 2), ("close", 1)])
def test_a_killed_run_goes_on_to_the_same_bytes(recommender, lines, tmp_path, monkeypatch, format, moment, count):
    if format == "parquet":
        pytest.importorskip("pyarrow")
    source, whole, path = Source(input=lines), tmp_path / f"whole.{format}", tmp_path / f"out.{format}"
    recommend_many(recommender, source, MANNER, Output(str(whole), format))
    path.write_text("an earlier file")
    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(Part, moment, dying(moment, count))
            recommend_many(recommender, source, MANNER, Output(str(path), format))
        finally:
            os._exit(3)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert path.read_text() == "an earlier file"
    answered = []
    rank = recommender._rank
    monkeypatch.setattr(recommender, "_rank", lambda *batch: answered.append(1) or rank(*batch))
    recommend_many(recommender, source, MANNER, Output(str(path), format, resume=True))
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted([f"out.{format}", f"whole.{format}", "asked.jsonl"])
    assert (len(answered) == 0) == (moment == "close")  # the last word was on the disk already


def test_only_the_same_question_goes_on(recommender, lines, tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    rank, ranked = recommender._rank, []

    def stopping(*batch):
        ranked.append(1)
        if len(ranked) > 4:
            raise Interrupted(signal.SIGTERM, "by SIGTERM.")
        return rank(*batch)

    with monkeypatch.context() as patch:
        patch.setattr(recommender, "_rank", stopping)
        with pytest.raises(Interrupted, match="by SIGTERM. The rows before are kept beside .*: --resume goes on"):
            recommend_many(recommender, Source(input=lines), MANNER, Output(str(path)))
    again = Output(str(path), resume=True)
    for manner, key in ((Manner(topk=3, exclude_seen=True), "topk"), (Manner(topk=2), "exclude_seen")):
        with pytest.raises(GenRecError, match=f"--resume: the run that left .* was asked with {key!r}"):
            recommend_many(recommender, Source(input=lines), manner, again)
    with pytest.raises(GenRecError, match="asked with 'checkpoint' None, not 'b'"):
        recommend_many(recommender, Source(input=lines), MANNER, again, identity={"checkpoint": "b"})
    asked = (tmp_path / "asked.jsonl").read_text()
    (tmp_path / "asked.jsonl").write_text(asked.replace("u2", "u3"))
    with pytest.raises(GenRecError, match="line 5 are not those that the earlier run answered"):
        recommend_many(recommender, Source(input=lines), MANNER, again)
    (tmp_path / "asked.jsonl").write_text(asked.splitlines()[0])
    with pytest.raises(GenRecError, match="are not those|more rows than there are"):
        recommend_many(recommender, Source(input=lines), MANNER, again)
    (tmp_path / "asked.jsonl").write_text("")
    with pytest.raises(GenRecError, match="answered 3 more rows than there are now"):
        recommend_many(recommender, Source(input=lines), MANNER, again)


def test_a_line_every_so_often_where_there_is_no_terminal(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    progress = Progress(1200)
    for seconds in (10, 25, 30):
        now[0] += seconds
        progress.update(400)
    progress.close()
    assert capsys.readouterr().err.splitlines() == [
        "800 of 1,200 rows, 23 rows/s",
        "1,200 of 1,200 rows, 18 rows/s",
        "1,200 of 1,200 rows, 18 rows/s",
    ]


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(8)
    progress.update(4)
    progress.close()
    assert "4/8" in sys.stderr.getvalue()


def test_memory_does_not_grow_with_the_rows(recommender, tmp_path, monkeypatch):
    """Rows are taken from the source a block at a time, each when the one before is written."""
    taken, rows = [], list(Source(users=("u1",) * 10).rows())

    def noted(self, more_users=None):
        for row in rows:
            taken.append(row)
            yield row

    monkeypatch.setattr(Source, "rows", noted)
    seen = []
    rank = recommender._rank
    monkeypatch.setattr(recommender, "_rank", lambda batch, choice: seen.append(len(taken)) or rank(batch, choice))
    recommend_many(recommender, Source(), Manner(topk=1), Output(str(tmp_path / "out.jsonl")))
    assert seen == [3, 6, 9, 10]
