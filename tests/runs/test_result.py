"""One description of a run's JSON: what it reads, what it keeps, what it refuses, and what a run writes."""

import json
from pathlib import Path

import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.result import FailedRun, RunResult, Seconds, as_run, read_run
from tests.results import EARLY, run_result

COMMITTED = sorted((Path(__file__).parents[2] / "benchmarks/results").rglob("*-*.json"))


def test_committed_results_of_earlier_versions_load_and_stay_as_they_are():
    assert len(COMMITTED) > 50
    for path in COMMITTED:
        stored = json.loads(path.read_text("utf-8"))
        assert read_run(path).content() == stored, path


def test_a_key_that_was_not_written_is_not_added():
    assert run_result().content() == EARLY
    assert run_result().processes == 1 and run_result().users is None


def test_keys_of_other_versions_and_the_order_of_a_configuration_are_kept():
    config = {"z": 1, **EARLY["config"], "a": {"b": [1, None]}}
    result = run_result(config=config, later={"x": 1}, generation={"lists": 3, "valid_share": 1.0})
    assert result.content() == EARLY | {"config": config, "later": {"x": 1}, "generation": result.generation}
    assert list(result.config) == list(config) and list(result.generation) == ["lists", "valid_share"]


def test_changed_values_replace_those_that_were_there(tmp_path):
    stored = run_result(later=1)
    seconds = Seconds(data=1.0, train=2.0, validate=0.5, test=3.0, total=7.0)
    changed = stored.changed(seconds=seconds, curve=[], tested_again={"instead_of": {"topk": (1, 2)}})
    assert changed.seconds.validation == 0.5 and changed.tested_again["instead_of"] == {"topk": [1, 2]}
    changed.write(tmp_path / "again")
    written = json.loads((tmp_path / "again/GenRec-tiny-2020.json").read_text("utf-8"))
    times = {"data": 1.0, "train": 2.0, "validate": 0.5, "test": 3.0, "total": 7.0}
    assert written == EARLY | {"later": 1, "seconds": times, "curve": []} | {
        "tested_again": {"instead_of": {"topk": [1, 2]}}
    }
    assert read_run(tmp_path / "again/GenRec-tiny-2020.json") == changed


SETTINGS = EARLY["config"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": True}, r"['seed'] is True, not a whole number."),
        ({"model": 3}, r"['model'] is 3, not a text."),
        ({"users": 3}, r"['users'] is 3, not an object or null."),
        ({"users": {"evaluated": 1}}, r"['users'] lacks the key 'of'."),
        ({"seconds": {"total": 1.0}}, r"['seconds'] lacks the key 'train'."),
        ({"seconds": {"train": 1.0, "total": 1.0, "validate": "x"}}, r"['seconds']['validate'] is 'x', not a number"),
        ({"best_valid_result": []}, r"['best_valid_result'] is [], not an object or null."),
        ({"test_result": {"hit@1": "x"}}, r"['test_result']['hit@1'] is 'x', not a number."),
        ({"test_interval": {"hit@1": [0, "x"]}}, r"['test_interval']['hit@1'][1] is 'x', not a number."),
        ({"curve": {}}, r"['curve'] is {}, not a list."),
        ({"curve": [{"epoch": 1}, {"epoch": 1.5}]}, r"['curve'][1]['epoch'] is 1.5, not a whole number."),
        ({"generation": 3}, r"['generation'] is 3, not an object or null."),
        ({"generation": {"valid_share": "x"}}, r"['generation']['valid_share'] is 'x', not a number."),
        ({"generation": {"grounding": []}}, r"['generation']['grounding'] is [], not an object."),
        ({"outcomes": "yes"}, r"['outcomes'] is 'yes', not true or false or null."),
        ({"versions": {"torch": 2}}, r"['versions']['torch'] is 2, not a text or null."),
        ({"hardware": EARLY["hardware"] | {"threads": None}}, r"['hardware']['threads'] is None, not a whole number."),
        ({"config": []}, r"['config'] is [], not an object."),
        ({"config": SETTINGS | {"topk": [1, "x"]}}, r"['config']['topk'] is [1, 'x'], not a whole number or a list."),
        ({"config": SETTINGS | {"eval_args": {"mode": "full"}}}, r"['config']['eval_args'] lacks the key 'split'."),
        (
            {"config": SETTINGS | {"eval_args": {"mode": {"test": 3}, "split": {}}}},
            r"['config']['eval_args']['mode'] is {'test': 3}, not a text or an object.",
        ),
    ],
)
def test_a_broken_file_is_one_message_that_names_the_place(changes, message):
    with pytest.raises(GenRecError) as error:
        as_run(Path("results/x.json"), EARLY | changes)
    assert str(error.value).startswith(f"results/x.json{message}")


@pytest.mark.parametrize("content", [[], 3, None])
def test_what_is_no_object_is_refused(content):
    with pytest.raises(GenRecError, match=r"x.json is .*, not an object\."):
        as_run(Path("x.json"), content)


@pytest.mark.parametrize("key", [key for key in EARLY])
def test_every_key_that_a_reader_takes_for_granted_is_asked_for(key):
    with pytest.raises(GenRecError, match=rf"x.json lacks the key '{key}'\."):
        as_run(Path("x.json"), {name: value for name, value in EARLY.items() if name != key})


def test_a_failed_run_is_read_by_its_name(tmp_path):
    path = tmp_path / "GenRec-tiny-1.failed.json"
    failed = FailedRun(model="GenRec", dataset="tiny", seed=1, error="KeyError: 'x'", exit_code=1)
    failed.write(path)
    assert read_run(path) == failed and read_run(path).config == {}
    path.write_text(json.dumps({"model": "GenRec", "dataset": "tiny", "seed": 1}), "utf-8")
    with pytest.raises(GenRecError, match=r"GenRec-tiny-1.failed.json lacks the key 'error'\."):
        read_run(path)


def test_the_longest_list_of_a_configuration():
    assert run_result(config=SETTINGS | {"topk": [5, 20, 10]}).list_length == 20
    assert run_result(config=SETTINGS | {"topk": 7}).list_length == 7


def test_values_of_numpy_are_plain_in_the_file(tmp_path):
    import numpy as np

    result = run_result().changed(test_result={"hit@1": np.float64(0.5)}, best_valid_score=np.float32(0.5))
    assert type(result.test_result["hit@1"]) is float and isinstance(result, RunResult)
    result.write(tmp_path)
    assert json.loads((tmp_path / "GenRec-tiny-2020.json").read_text("utf-8"))["best_valid_score"] == 0.5
