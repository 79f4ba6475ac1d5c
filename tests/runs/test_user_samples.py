"""``eval_users`` and ``sample_users``: evaluation, or everything, on some of the users, the same for every model."""

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.runs import run as runner
from tests.runs.conftest import SMALL


def evaluated_by(monkeypatch):
    users = []

    class Watching(runner.SplitData):
        def evaluation_loader(self, config, phase):
            loader = super().evaluation_loader(config, phase)
            users.append((config["model"], phase, loader._dataset.inter_feat["user_id"].tolist()))
            return loader

    monkeypatch.setattr(runner, "SplitData", Watching)
    return users


def dataset_of(settings):
    return runner.SplitData([GenRecConfig("GRU4Rec", "tiny", None, settings)]).dataset


def test_all_models_see_the_same_users(settings, monkeypatch, capsys):
    users = evaluated_by(monkeypatch)
    results = run_recbole_genrec("SASRec,GRU4Rec", "tiny", config_dict={**settings, "eval_users": 3})
    assert len(users) == 6 and len({tuple(sorted(sample)) for *_, sample in users}) == 1
    assert len(users[0][2]) == 3
    assert [result["users"] for result in results] == [{"evaluated": 3, "validated": 3, "of": 8}] * 2
    assert "3 of 8 users" in " ".join(capsys.readouterr().out.split())
    for result in results:
        assert result["test_interval"].keys() == result["test_result"].keys()
        for name, (low, high) in result["test_interval"].items():
            assert low - 1e-4 <= result["test_result"][name] <= high + 1e-4


def test_the_seed_chooses_them(settings, monkeypatch):
    users = evaluated_by(monkeypatch)
    for seed in (1, 1, 2):
        run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, "eval_users": 4, "seed": seed, "epochs": 1})
    first, again, other = (sorted(sample) for _, phase, sample in users if phase == "test")
    assert first == again != other


@pytest.mark.parametrize("mode", ["full", "uni5"])
def test_users_with_several_targets_keep_them_all(settings, monkeypatch, mode):
    users = evaluated_by(monkeypatch)
    split = {"split": {"RS": [0.2, 0.2, 0.6]}, "mode": mode}
    chosen = {**settings, "eval_args": split, "eval_users": 2, "metrics": ["Hit"]}
    result = run_recbole_genrec("GRU4Rec", "tiny", config_dict=chosen)
    (test,) = (sample for _, phase, sample in users if phase == "test")
    assert len(set(test)) == 2 and len(test) > 2
    low, high = result["test_interval"]["hit@3"]
    assert low - 1e-4 <= result["test_result"]["hit@3"] <= high + 1e-4


def test_a_dataset_of_some_users_is_that_of_a_file_of_their_rows(tmp_path, monkeypatch, write_dataset):
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{user}", f"i{user}-{step % 9}", 1000 + step) for user in range(8) for step in range(12)]
    folder = write_dataset(tmp_path / "all", rows)
    chosen = {**SMALL, "data_path": folder, "sample_users": 3}
    result, dataset = run_recbole_genrec("GRU4Rec", "tiny", config_dict=chosen), dataset_of(chosen)
    assert result["users"]["of"] == 3
    users = set(dataset.field2id_token["user_id"][1:])
    assert len(users) == 3 and dataset.item_num == 1 + 3 * 9
    folder = write_dataset(tmp_path / "some", [row for row in rows if row[0] in users])
    alone = run_recbole_genrec("GRU4Rec", "tiny", config_dict={**chosen, "data_path": folder, "sample_users": None})
    assert alone["test_result"] == result["test_result"] and alone["best_valid_result"] == result["best_valid_result"]
    other = dataset_of({**chosen, "seed": 7}).field2id_token["user_id"][1:]
    assert set(other) != users


def test_a_sample_of_files_that_are_split_is_refused(settings):
    parts = {"benchmark_filename": ["train", "valid", "test"], "sample_users": 3}
    with pytest.raises(GenRecError, match="'sample_users' needs one .inter file"):
        run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, **parts})


def test_more_users_than_there_are_means_all(settings):
    result = run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, "eval_users": 100})
    assert result["users"] == {"evaluated": 8, "validated": 8, "of": 8}


def test_validation_can_have_fewer(settings, monkeypatch):
    users = evaluated_by(monkeypatch)
    given = {**settings, "eval_users": 6, "valid_users": 2}
    result = run_recbole_genrec("GRU4Rec", "tiny", config_dict=given)
    (valid,), (test,) = ([set(sample) for _, at, sample in users if at == phase] for phase in ("valid", "test"))
    assert len(valid) == 2 and len(test) == 6 and valid < test
    assert result["users"] == {"evaluated": 6, "validated": 2, "of": 8}


@pytest.mark.parametrize("key", ["eval_users", "valid_users"])
@pytest.mark.parametrize("value", [0, -3, 2.5, True, "many"])
def test_other_values_are_refused(settings, key, value):
    with pytest.raises(GenRecError, match=f"'{key}' must be a positive whole number"):
        run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, key: value})
