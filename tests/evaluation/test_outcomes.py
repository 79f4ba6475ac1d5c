"""What is kept of a test is what RecBole measured, row by row, for every kind of evaluation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.evaluation import outcomes
from recbole_genrec.evaluation.outcomes import Outcomes, RankedLists
from tests.builders import SCRATCH

ROWS = [(f"u{user}", f"i{(user * step) % 11}", 1000 + step) for user in range(8) for step in range(4 + user)]
SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "epochs": 2, "topk": [1, 3]}
ITEMS = [(f"i{item}", f"Title {item}") for item in range(11)]
METRICS = ["Hit", "NDCG", "MRR", "Recall", "Precision", "MAP"]


@pytest.fixture
def run(tmp_path, monkeypatch, write_dataset):
    """Train SASRec on a small dataset; gives its result and the outcomes of its test."""
    monkeypatch.chdir(tmp_path)
    path = write_dataset(tmp_path / "data", ROWS)

    def train(**settings):
        result = run_recbole_genrec("SASRec", "tiny", config_dict=SMALL | {"data_path": path} | settings)
        return result, Outcomes.read("results/SASRec-tiny-2020.npz")

    return train


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eval_args": {"mode": "uni3"}},
        {"eval_args": {"split": {"RS": [0.2, 0.2, 0.6]}}},
        {"eval_args": {"split": {"RS": [0.2, 0.2, 0.6]}, "mode": "uni3"}},
        {"lazy_windows": False, "eval_users": 5},
        {"eval_batch_size": 2},
    ],
    ids=str,
)
def test_the_metrics_are_recboles(run, settings):
    result, outcomes = run(metrics=METRICS, **settings)
    rows = outcomes.metrics(METRICS, [1, 3])
    assert {name: value.mean() for name, value in rows.items()} == pytest.approx(result["test_result"], abs=1e-4)
    assert outcomes.metrics(["MAP"], [1])["map@1"] == pytest.approx(rows["map@1"])
    found = outcomes.places > 0
    assert (outcomes.lists[outcomes.rows[found], outcomes.places[found] - 1] == outcomes.targets[found]).all()
    assert len(set(outcomes.users)) == result["users"]["evaluated"]


def test_metrics_of_values_have_no_lists(run):
    """RecBole collects their scores row by row: candidates, not the catalogue."""
    settings = {"metrics": ["AUC", "LogLoss"], "valid_metric": "AUC", "eval_args": {"mode": "uni3"}}
    with pytest.raises(GenRecError, match="No such file"):
        run(**settings)
    result = run_recbole_genrec("SASRec", "tiny", config_dict=SMALL | {"data_path": "data"} | settings)
    assert 0 < result["test_result"]["auc"] < 1 and not result["outcomes"] and not result["test_interval"]


@pytest.mark.parametrize("mode", ["full", "uni3"])
@pytest.mark.parametrize("model", ["GenRec", "GenRecSeq2Seq", "P5"])
def test_metrics_of_all_scores(tmp_path, write_dataset, monkeypatch, model, mode):
    """Exact search and beam search score K items: GAUC would take the others for worse than any."""
    monkeypatch.chdir(tmp_path)
    settings = {"data_path": write_dataset(tmp_path / "data", ROWS, ITEMS), "metrics": ["GAUC"], "valid_metric": "GAUC"}
    settings |= {"eval_args": {"mode": mode}, "topk": [2], "epochs": 1, "show_progress": False}
    settings |= {key: SCRATCH[key] for key in SCRATCH if key.startswith("scratch")}
    for decoding in ("exact", "beam"):
        if mode == "full":
            with pytest.raises(GenRecError, match=f"'GAUC' .* {model} scores the best .* needs 'decoding: full'"):
                run_recbole_genrec(model, "tiny", config_dict=settings | {"decoding": decoding})
    results = [
        run_recbole_genrec(model, "tiny", config_dict=settings | {"decoding": decoding})["test_result"]["gauc"]
        for decoding in (("full",) if mode == "full" else ("full", "exact"))
    ]
    assert len(set(results)) == 1 and 0 <= results[0] <= 1
    assert run_recbole_genrec("SASRecAll", "tiny", config_dict=settings)["test_result"]["gauc"] >= 0


def test_counts_are_those_of_training(run):
    _, outcomes = run()
    seen = [item for user in range(8) for _, item, _ in [row for row in ROWS if row[0] == f"u{user}"][:-2]]
    counts = dict(zip(outcomes.items, outcomes.item_counts))
    assert {item: count for item, count in counts.items() if count} == {item: seen.count(item) for item in set(seen)}
    assert dict(zip(outcomes.users, outcomes.user_counts)) == {f"u{user}": 2 + user for user in range(8)}
    targets = dict(zip(outcomes.users[outcomes.rows], outcomes.items[outcomes.targets]))
    assert targets == {user: item for user, item, _ in ROWS}  # each user's last row


def test_the_lists_feed_recboles_coverage_and_gini(run):
    names = ["ItemCoverage", "GiniIndex"]
    result, outcomes = run(metrics=["Hit", *names], topk=[3])
    evaluator, collected = Evaluator({"metrics": names, "topk": [3], "metric_decimal_place": 4}), DataStruct()
    collected.set("rec.items", torch.from_numpy(outcomes.lists.astype(np.int64)))
    collected.set("data.num_items", len(outcomes.items))
    measured = evaluator.evaluate(collected)
    assert {name: result["test_result"][name] for name in measured} == pytest.approx(measured)


def test_an_item_without_a_score_is_no_recommendation():
    collected = RankedLists(3)
    scores = torch.tensor([[-torch.inf, 2.0, -torch.inf, 1.0]])
    collected.batch_scored(scores, torch.tensor([0]), torch.tensor([3]))
    assert collected._lists[0].tolist() == [[1, 3, 0]] and collected._places[0].tolist() == [2]


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    if content is None:
        np.savez(path, items=np.array([{}], object))
    else:
        path.write_bytes(content)
    with pytest.raises(GenRecError, match="x.npz does not hold the outcomes of a test"):
        Outcomes.read(path)


def sound():
    """Two rows of two places over three items; the target of the second row is not in its list."""
    arrays = {"items": ["[PAD]", "a", "b"], "users": ["u", "v"], "item_counts": [0, 3, 1], "user_counts": [2, 2]}
    arrays |= {"lists": [[1, 2], [2, 0]], "rows": [0, 1], "targets": [2, 1], "places": [2, 0]}
    return {name: np.array(array) for name, array in arrays.items()}


def test_a_sound_file_comes_back_from_a_new_folder(tmp_path):
    path = tmp_path / "new" / "one" / "x.npz"
    Outcomes(**sound()).write(path)
    Outcomes(**sound()).write(path)  # over the old one
    read = Outcomes.read(path)
    for name, array in sound().items():
        assert np.array_equal(getattr(read, name), array), name
    assert [file.name for file in path.parent.iterdir()] == ["x.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": [["a"]]}, "'items' is no array of 1 dimensions"),
        ({"lists": [1, 2]}, "'lists' is no array of 2 dimensions"),
        ({"rows": []}, "'rows' is no array"),
        ({"rows": [0.0, 1.0]}, "'rows' holds something else than whole numbers from 0 to 1"),
        ({"rows": [0, 2]}, "'rows' holds something else than whole numbers from 0 to 1"),
        ({"rows": [0, -1]}, "'rows' holds"),
        ({"targets": [3, 1]}, "'targets' holds something else than whole numbers from 0 to 2"),
        ({"places": [3, 0]}, "'places' holds something else than whole numbers from 0 to 2"),
        ({"lists": [[1, 3], [2, 0]]}, "'lists' holds something else than whole numbers from 0 to 2"),
        ({"item_counts": [0, -1, 1]}, "'item_counts' holds"),
        ({"user_counts": [2, -1]}, "'user_counts' holds"),
        ({"items": [0, 1, 2]}, "'items' holds no texts"),
        ({"users": [0, 1]}, "'users' holds no texts"),
        ({"users": ["u"]}, r"'users' has the shape \(1,\), not \(2,\)"),
        ({"item_counts": [1, 2]}, r"'item_counts' has the shape \(2,\), not \(3,\)"),
        ({"user_counts": [1, 2, 3]}, r"'user_counts' has the shape \(3,\), not \(2,\)"),
        ({"targets": [2]}, r"'targets' has the shape \(1,\), not \(2,\)"),
        ({"places": [2]}, r"'places' has the shape \(1,\), not \(2,\)"),
        ({"places": [1, 0]}, "'places' says that a target is where 'lists' has another item"),
        ({"places": [2, 1]}, "'places' says that a target is where 'lists' has another item"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, changes, message):
    np.savez(tmp_path / "x.npz", **sound() | {name: np.array(array) for name, array in changes.items()})
    with pytest.raises(GenRecError, match=message):
        Outcomes.read(tmp_path / "x.npz")


def test_batches_follow_each_other():
    collected, train = RankedLists(2), SimpleNamespace()
    for scores, row, target in (([[0, 3, 2, 1]], [0], [2]), ([[0, 1, 2, 3], [0, 2, 1, 3]], [1, 0, 1], [1, 3, 2])):
        scores = torch.tensor(scores, dtype=torch.float)
        scores[:, 0] = -torch.inf
        collected.batch_scored(scores, torch.tensor(row), torch.tensor(target))
    train.iid_field, train.uid_field, train.field2id_token = "i", "u", {"i": ["[PAD]", "a", "b", "c"]}
    train.id2token = lambda field, ids: [f"u{number}" for number in ids]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "training_counts", lambda train: (np.arange(4), np.array([9, 8, 7])))
        found = collected.outcomes(np.array([2, 1, 2]), train)
    assert found.lists.tolist() == [[1, 2], [3, 2], [3, 1]]
    assert found.rows.tolist() == [0, 2, 1, 2] and found.targets.tolist() == [2, 1, 3, 2]
    assert found.places.tolist() == [2, 2, 1, 0]
    assert found.users.tolist() == ["u2", "u1", "u2"] and found.user_counts.tolist() == [7, 8, 7]
    assert found.metrics(["Hit"], [1])["hit@1"].tolist() == [0, 1, 0]
    assert found.metrics(["Recall"], [1, 2])["recall@2"].tolist() == [1, 1, 0.5]
