"""General models in the runner: what they train on, whom they are asked for, and what is left out of their lists."""

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.interactions.general import TargetLoader, pairs
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.reopen import load_data_and_model

# isort: split
from recbole.data.dataset import Dataset

#: u1 comes back to b, the target of its test; u5 to u7 are too short for a validation or a row of their own.
HISTORIES = {"u0": "abcdef", "u1": "bcdefgab", "u2": "hgfedc", "u3": "aabbccdd", "u4": "hbcdefga"}
SHORT = {"u5": "abc", "u6": "ab", "u7": "h"}
ALL = HISTORIES | SHORT
#: users' interactions mixed, of equal times.
ROWS = [(user, items[step], step) for step in range(8) for user, items in ALL.items() if step < len(items)]
FAST = ["BPR", "EASE", "Pop", "ItemKNN", "NeuMF", "LightGCN", "SimpleX", "MultiVAE"]


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = [(item, f"Title {item}") for item in "abcdefgh"]
    return {
        "data_path": write_dataset(tmp_path / "data", ROWS, items),
        "topk": [2],
        "valid_metric": "NDCG@2",
        "epochs": 2,
        "train_batch_size": 8,
        "show_progress": False,
    }


def tokens_of(part):
    """(user, item) of each row, as tokens."""
    feat, dataset = part.inter_feat, part
    users = dataset.field2id_token["user_id"][feat["user_id"].numpy()]
    return list(zip(users.tolist(), dataset.field2id_token["item_id"][feat["item_id"].numpy()].tolist()))


def split_of(settings, model="BPR", **more):
    config = GenRecConfig(model, "tiny", config_dict=settings | more)
    return config, SplitData([config])


def test_training_holds_every_interaction_that_is_no_target(settings):
    config, data = split_of(settings)
    targets = {"valid": tokens_of(data.parts[1]), "test": tokens_of(data.parts[2])}
    assert sorted(targets["valid"]) == sorted((user, items[-2]) for user, items in HISTORIES.items())
    assert sorted(targets["test"]) == sorted((user, items[-1]) for user, items in (HISTORIES | {"u5": "abc"}).items())
    expected = [(user, item) for user, items in HISTORIES.items() for item in items[:-2]]
    expected += [("u5", "a"), ("u5", "b"), ("u6", "a"), ("u6", "b"), ("u7", "h")]
    assert sorted(tokens_of(data.train_part(config))) == sorted(expected)


def test_users_of_four_interactions_and_more_have_recboles_own_split(settings, tmp_path, write_dataset):
    write_dataset(tmp_path / "data", [row for row in ROWS if row[0] in HISTORIES])
    config, data = split_of(settings)
    own = Dataset(config).build()
    for ours, theirs in zip([data.train_part(config), *map(pairs, data.parts[1:])], own):
        assert sorted(tokens_of(ours)) == sorted(tokens_of(theirs))


@pytest.mark.parametrize(
    ("eval_args", "kept"),
    [
        ({"split": {"RS": [0.5, 0.25, 0.25]}}, True),
        ({"split": {"RS": [0.5, 0.25, 0.25]}, "group_by": "none"}, False),
        ({"split": {"TS": [0.5, 0.25, 0.25]}}, False),
    ],
)
def test_other_splits_train_on_what_the_training_rows_hold(settings, eval_args, kept):
    config, data = split_of(settings, eval_args=eval_args)
    expected = []
    rows = tokens_of(data.parts[0])
    for user in sorted({user for user, _ in rows}):
        expected.append((user, ALL[user][0]))
    expected += rows + [("u7", "h")] * kept
    assert sorted(tokens_of(data.train_part(config))) == sorted(expected)


def test_files_split_beforehand(settings, tmp_path, write_dataset):
    parts = {"train": ROWS[:24], "valid": ROWS[24:34], "test": ROWS[34:]}
    for part, rows in parts.items():
        write_dataset(tmp_path / "data", rows, name="tiny")
        (tmp_path / "data/tiny/tiny.inter").rename(tmp_path / f"data/tiny/tiny.{part}.inter")
    config, data = split_of(settings, benchmark_filename=["train", "valid", "test"])
    assert sorted(tokens_of(data.train_part(config))) == sorted((user, item) for user, item, _ in parts["train"])


@pytest.mark.parametrize("asked", [{}, {"eval_users": 3}, {"eval_users": 4, "valid_users": 2}, {"sample_users": 5}])
@pytest.mark.parametrize("repeatable", [True, False])
def test_kinds_of_models_are_asked_for_the_same_targets(settings, asked, repeatable):
    settings |= {"repeatable": repeatable, "SASRec": {"n_layers": 1}, "hidden_size": 8} | asked
    results = run_recbole_genrec("BPR,SASRec,EASE", "tiny", config_dict=settings)
    found = [Outcomes.read(f"results/{result['model']}-tiny-2020.npz") for result in results]
    for other in found[1:]:
        for name in ("users", "rows", "targets", "items", "item_counts", "user_counts"):
            assert np.array_equal(getattr(other, name), getattr(found[0], name)), name
    assert results[0]["users"] == results[1]["users"]


def by_hand(scores, user, target, repeatable):
    """The target's rank, from 1, among the items of a row of scores; ties count for the target."""
    seen = set() if repeatable else set(ALL[user][: len(ALL[user]) - 1]) - {target}
    return 1 + sum(score > scores[target] for item, score in scores.items() if item not in seen)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("model", FAST)
def test_ranks_are_those_of_the_scores(settings, model, repeatable):
    """Every score by ``predict``, pair by pair; the list of 2 then holds the target if its rank says so."""
    settings |= {"repeatable": repeatable, "topk": [7], "valid_metric": "NDCG@7", "learning_rate": 0.05}
    result = run_recbole_genrec(model, "tiny", config_dict=settings)
    config, trained, dataset, train, _, test = load_data_and_model(result["checkpoint"])
    assert isinstance(test, TargetLoader)
    outcomes = Outcomes.read(f"results/{model}-tiny-2020.npz")
    users, items = dataset.field2token_id["user_id"], dataset.field2token_id["item_id"]
    trained.eval()
    ranks = {}
    for row, target, place in zip(outcomes.rows, outcomes.targets, outcomes.places):
        user = str(outcomes.users[row])
        asked = {
            "user_id": torch.full((8,), users[user]),
            "item_id": torch.tensor([items[item] for item in "abcdefgh"]),
        }
        with torch.no_grad():
            scores = dict(zip("abcdefgh", trained.predict(type(test.collate_fn([0])[0])(asked)).tolist()))
        target = str(outcomes.items[target])
        assert target == ALL[user][-1]
        ties = sum(score == scores[target] for item, score in scores.items()) - 1
        rank = by_hand(scores, user, target, repeatable)
        ranks[user] = place
        assert rank <= (place or 8) <= rank + ties + (1e-6 if ties else 0)
        listed = set(outcomes.items[outcomes.lists[row][outcomes.lists[row] > 0]])
        if repeatable:
            assert len(listed) == 7
        else:
            assert listed == set("abcdefgh") - (set(ALL[user][:-1]) - {target})
    hits = np.array(list(ranks.values()))
    assert result["test_result"]["hit@7"] == pytest.approx((hits > 0).mean(), abs=1e-4)
    gains = np.where(hits > 0, 1 / np.log2(np.maximum(hits, 1) + 1), 0)
    assert result["test_result"]["ndcg@7"] == pytest.approx(gains.mean(), abs=1e-4)


def test_popularity_counts_every_training_interaction(settings):
    settings |= {"train_batch_size": 64}
    result = run_recbole_genrec("Pop", "tiny", config_dict=settings)
    _, model, dataset, *_ = load_data_and_model(result["checkpoint"])
    text = "".join(items[:-2] for items in HISTORIES.values()) + "ab" + "ab" + "h"
    counts = dict(zip(dataset.field2id_token["item_id"], model.item_cnt.flatten().tolist()))
    assert {item: counts[item] for item in "abcdefgh"} == {item: text.count(item) for item in "abcdefgh"}


def test_negative_samples_are_none_of_training(settings):
    config, data = split_of(settings, repeatable=True)
    train = {user: set(items[:-2]) for user, items in HISTORIES.items()} | {
        "u5": set("ab"),
        "u6": set("ab"),
        "u7": {"h"},
    }
    drawn = set()
    for _ in range(20):
        for batch in data.recbole_train_loader(config):
            users = data.dataset.id2token("user_id", batch["user_id"])
            negatives = data.dataset.id2token("item_id", batch["neg_item_id"])
            drawn.update(zip(users, negatives))
    for user, items in train.items():
        assert {item for who, item in drawn if who == user} == set("abcdefgh") - items


@pytest.mark.parametrize("mode", ["uni2", "pop2"])
def test_sampled_candidates_are_those_of_a_sequential_model(settings, mode):
    settings |= {"eval_args": {"mode": mode}, "SASRec": {"n_layers": 1, "inner_size": 8}, "hidden_size": 8}
    configs = [GenRecConfig(name, "tiny", config_dict=settings, models=["SASRec", "BPR"]) for name in ("SASRec", "BPR")]
    data = SplitData(configs)
    found = []
    for config in configs:
        found.append([])
        for interaction, *_ in data.evaluation_loader(config, "test"):
            found[-1] += list(zip(interaction["user_id"].tolist(), interaction["item_id"].tolist()))
    assert found[0] == found[1] and found[0]


def test_defaults_of_sampling_are_recboles(settings):
    settings |= {"train_neg_sample_args": None}
    args = {name: GenRecConfig(name, "tiny", config_dict=settings)["train_neg_sample_args"] for name in FAST}
    none = {"distribution": "none", "sample_num": "none", "alpha": "none", "dynamic": False, "candidate_num": 0}
    one = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    computed = ("EASE", "Pop", "ItemKNN", "MultiVAE")
    assert args == {name: none if name in computed else one for name in FAST}
    with pytest.raises(GenRecError, match="BPR learns from negative samples: 'train_neg_sample_args' of its section"):
        GenRecConfig("BPR", "tiny", config_dict={"BPR": {"train_neg_sample_args": None}})


@pytest.mark.parametrize(
    ("key", "value", "model"),
    [
        ("MAX_ITEM_LIST_LENGTH", 5, "BPR"),
        ("epochs", 5, "EASE"),
        ("learning_rate", 0.1, "Pop"),
        ("train_neg_sample_args", {"sample_num": 2}, "MultiVAE"),
        ("hidden_size", 5, "NeuMF"),
    ],
)
def test_a_setting_without_effect_is_refused(key, value, model):
    with pytest.raises(GenRecError, match=f"'{key}' .* has no effect on {model}"):
        GenRecConfig(model, "tiny", command_line={key: value})


@pytest.mark.parametrize("name", ["FM", "KGAT", "CFKG", "XGBoost"])
def test_models_of_other_kinds_are_refused(settings, name):
    with pytest.raises(GenRecError, match=f"'{name}' is neither a sequential nor a general model"):
        run_recbole_genrec(["BPR", name], "tiny", config_dict=settings)


def test_written_out_windows_are_refused(settings):
    with pytest.raises(GenRecError, match="A general model needs whole histories.*'lazy_windows: True'"):
        run_recbole_genrec("BPR", "tiny", config_dict=settings | {"lazy_windows": False})


def test_a_user_who_has_had_all_items_leaves_nothing_to_draw(settings, tmp_path, write_dataset):
    rows = [("u0", item, time) for time, item in enumerate("abcdabca")] + [("u1", "a", 1), ("u1", "b", 2)]
    settings["data_path"] = write_dataset(tmp_path / "data", rows)
    with pytest.raises(GenRecError, match="Sampling of items that a user has not interacted with"):
        run_recbole_genrec("BPR", "tiny", config_dict=settings)
