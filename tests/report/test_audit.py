"""The audit of a run, from its files to the tables, and what it refuses."""

import json

import numpy as np
import pytest

from recbole_genrec.cli.main import main
from recbole_genrec.evaluation.outcomes import Outcomes

WORDS = ("f", "m")


@pytest.fixture
def audited(write_run, tmp_path):
    """Write a run of 90 users, of whom every third is a woman and finds nothing; gives the path of its JSON."""
    random = np.random.default_rng(0)
    places = np.where(np.arange(90) % 3 == 0, 0, random.integers(0, 5, 90))
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    rows = [f"u{user}\t{WORDS[user % 3 > 0]}\t{18 + user % 40}\t{'abc'[user % 40 < 3]}\t1" for user in range(89)]
    header = "user_id:token\tgender:token\tage:token\tjob:token\tone:token"
    (folder / "toy.user").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return write_run("SASRecAll", 1, places, config={"data_path": str(folder), "USER_ID_FIELD": "user_id"})


def test_figures_are_those_of_a_loop_over_the_outcomes(audited, capsys):
    assert main(["audit", f"--run={audited}", "--by=gender,age", "--bins=30,45", "--topk=5"]) == 0
    content = json.loads(audited.with_name("SASRecAll-toy-1.audit.json").read_text("utf-8"))
    gender = content["attributes"]["gender"]
    made = Outcomes.read(audited.with_suffix(".npz"))
    for word in WORDS:
        mine = [user for user in range(89) if WORDS[user % 3 > 0] == word]
        own = gender["groups"][word]
        assert own["users"] == len(mine)
        mean, low, high = own["metrics"]["hit@5"]
        assert mean == pytest.approx(np.mean([0 < made.places[user] <= 5 for user in mine])) and low <= mean <= high
        shown = {item for user in mine for item in made.lists[user, :5]}
        assert own["coverage"] == pytest.approx(len(shown) / 30)
    assert gender["without_value"] == 1
    difference = gender["differences"]["hit@5"]
    assert (difference["highest"], difference["lowest"]) == ("m", "f") and difference["p_corrected"] < 0.01
    assert list(content["attributes"]["age"]["groups"]) == ["18-29", "30-44", "45-57"]
    printed = capsys.readouterr().out
    text = audited.with_name("SASRecAll-toy-1.audit.md").read_text("utf-8")
    for part in ("Metrics by gender", "Exposure by age", "Largest differences between groups", "18-29", "†"):
        assert part in printed and part in text


def test_p_values_are_corrected_for_all_attributes_and_metrics(audited):
    main(["audit", f"--run={audited}", "--by=gender,age", "--topk=5"])
    attributes = json.loads(audited.with_name("SASRecAll-toy-1.audit.json").read_text("utf-8"))["attributes"]
    tested = [difference for own in attributes.values() for difference in own["differences"].values()]
    assert len(tested) == 6
    ordered = sorted(tested, key=lambda difference: difference["p"])
    largest = 0
    for rank, difference in enumerate(ordered):  # Holm 1979
        largest = max(largest, min(1, difference["p"] * (6 - rank)))
        assert difference["p_corrected"] == pytest.approx(largest)


def test_small_groups_are_listed_and_not_compared(audited, tmp_path):
    assert main(["audit", f"--run={audited}", "--by=job", f"--output={tmp_path / 'out'}"]) == 0
    job = json.loads((tmp_path / "out" / "SASRecAll-toy-1.audit.json").read_text("utf-8"))["attributes"]["job"]
    assert list(job["groups"]) == ["a"] and job["small"] == {"b": 9} and job["differences"] == {}
    text = (tmp_path / "out" / "SASRecAll-toy-1.audit.md").read_text("utf-8")
    assert "Fewer than 20 users, not measured: b (9)." in text and "nothing to compare" in text
    main(["audit", f"--run={audited}", "--by=job", "--least=9", f"--output={tmp_path / 'out'}"])
    job = json.loads((tmp_path / "out" / "SASRecAll-toy-1.audit.json").read_text("utf-8"))["attributes"]["job"]
    assert list(job["groups"]) == ["a", "b"] and job["differences"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by=gander"], "--by needs the column 'gander' of"),
        (["--by=one"], "all tested users have one value alone, '1', in the column 'one'"),
        (["--by=,"], "--by names no column"),
        ([], "--by is missing"),
        (["--by=gender", "--bins=1"], "--bins must be a number of ranges from 2"),
        (["--by=gender", "--bins=30,20"], "--bins must be ascending numbers"),
        (["--by=gender", "--least=0"], "--least must be a positive whole number"),
        (["--by=gender", "--topk=13"], "have 12 items; give 1 to 12"),
        (["--by=gender", "--data_path=nowhere"], "toy.user, which does not exist"),
    ],
)
def test_what_cannot_be_audited_is_one_line(audited, capsys, options, message):
    assert main(["audit", f"--run={audited}", *options]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not list(audited.parent.glob("*.audit.*"))


def test_an_unknown_column_is_answered_with_those_that_are_there(audited, capsys):
    main(["audit", f"--run={audited}", "--by=gander"])
    assert "which has: user_id, gender, age, job, one" in capsys.readouterr().err


def test_runs_without_outcomes_or_lists_are_refused(audited, write_run, capsys):
    without = write_run("HSTU", 1, stored=False, config={"data_path": "x"})
    assert main(["audit", f"--run={without}", "--by=gender"]) == 2
    assert "needs the outcomes of its test" in capsys.readouterr().err
    path = audited.with_suffix(".npz")
    Outcomes.read(path).write_counts(path, [5], audited.parent)
    assert main(["audit", f"--run={audited}", "--by=gender"]) == 2
    assert "keeps counts instead of lists" in capsys.readouterr().err
    failed = audited.with_name("HSTU-toy-2.failed.json")
    failed.write_text(json.dumps({"model": "HSTU", "dataset": "toy", "seed": 2, "error": "x"}), "utf-8")
    assert main(["audit", f"--run={failed}", "--by=gender"]) == 2
    assert "a run that failed" in capsys.readouterr().err


def test_a_report_over_the_folder_does_not_take_an_audit_for_a_run(audited):
    main(["audit", f"--run={audited}", "--by=gender"])
    from recbole_genrec.report import read_results

    assert [row.name for board in read_results(audited.parent).boards for row in board.rows] == ["SASRecAll"]
