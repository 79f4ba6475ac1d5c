"""``repeatable: False``: the ranking is among what a user has not had."""

import numpy as np
import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.interactions.dataset import exact_dataset_class
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.interactions.unseen import SEEN, UnseenLoader

#: u1 comes back to b, the target of its test; every history is longer than what a model is given.
HISTORIES = {"u0": "abcdef", "u1": "bcdefgab", "u2": "hgfedc", "u3": "aabbccdd", "u4": "abcdefgh"}
ROWS = [(user, item, time) for user, items in HISTORIES.items() for time, item in enumerate(items)]


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = [(item, f"Title {item}") for item in "abcdefgh"]
    return {
        "data_path": write_dataset(tmp_path / "data", ROWS, items),
        "MAX_ITEM_LIST_LENGTH": 4,
        "topk": [2],
        "valid_metric": "NDCG@2",
        "epochs": 1,
        "train_batch_size": 8,
        "repeatable": False,
        "show_progress": False,
    }


@pytest.mark.parametrize(("part", "back"), [(1, 2), (2, 1)])
def test_a_batch_tells_all_that_came_before_but_the_target(settings, part, back):
    config = GenRecConfig("SASRec", "tiny", config_dict=settings | {"eval_batch_size": 3})
    dataset = exact_dataset_class()(config)
    loader = UnseenLoader(config, dataset.build()[part], None)
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    found = {}
    for interaction, left_out, row, target in loader:
        assert row.tolist() == list(range(len(interaction))) and target is interaction["item_id"]
        listed = [set() for _ in row]
        for place, item in zip(*(column.tolist() for column in left_out)):
            listed[place].add(items[item])
        for user, seen, own in zip(users[interaction["user_id"]], interaction[SEEN].numpy(), listed):
            assert set(items[seen[seen > 0]]) == own
            found[user] = own
    assert found == {user: set(h[:-back]) - {h[-back]} for user, h in HISTORIES.items()}


OF_VECTORS = ["SASRec", "BERT4Rec", "SASRecAll", "BSARec", "HSTU"]


@pytest.mark.parametrize("model", [*OF_VECTORS, "GenRec", "GenRecSeq2Seq", "P5"])
def test_lists_hold_nothing_seen(settings, model):
    if model == "BERT4Rec":
        settings |= {"mask_ratio": 0.5}  # of four places RecBole would else mask none
    if model in ("GenRec", "GenRecSeq2Seq", "P5"):
        settings |= {"scratch_hidden_size": 16, "scratch_layers": 1, "scratch_vocab_size": 300}
    run_recbole_genrec(model, "tiny", config_dict=settings)
    outcomes = Outcomes.read(f"results/{model}-tiny-2020.npz")
    for user, listed, place in zip(outcomes.users, outcomes.lists, np.argsort(outcomes.rows)):
        target = outcomes.items[outcomes.targets[place]]
        assert target == HISTORIES[user][-1]
        named = outcomes.items[listed[listed > 0]]
        assert not set(named) & (set(HISTORIES[user][:-1]) - {target})


@pytest.mark.parametrize("mode", ["uni2", "pop2", {"valid": "full", "test": "uni2"}, {"valid": "uni2", "test": "full"}])
@pytest.mark.parametrize("model", ["GRU4Rec", "GenRec"])
def test_sampled_candidates_hold_nothing_seen(settings, mode, model):
    """Each history without its target has at most 6 of 8 items: two are left to draw, and both are drawn."""
    items = "abcdefgh"
    rows = [(f"u{n}", items[(n + step) % 8], step) for n in range(8) for step in range(6)]
    config = GenRecConfig(model, "tiny", config_dict=settings | {"eval_args": {"mode": mode}})
    path = f"{config['data_path']}/tiny.inter"
    with open(path, "w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
    data = SplitData([config])
    for phase, back in (("valid", 2), ("test", 1)):
        for batch in data.evaluation_loader(config, phase):
            interaction, row, target_row, target = batch
            if SEEN in interaction:
                continue  # the whole catalogue
            users = data.dataset.id2token("user_id", interaction["user_id"])
            tokens = data.dataset.id2token("item_id", interaction["item_id"])
            drawn = [(user, item) for user, item in zip(users, tokens)]
            assert len(drawn) == 3 * len(target)
            for user, item in drawn:
                number = int(user[1:])
                before = {items[(number + step) % 8] for step in range(6 - back)}
                assert item not in before


def test_nothing_is_left_to_draw(settings):
    """u4 has had all items before its test: RecBole would draw forever."""
    with pytest.raises(GenRecError, match="'repeatable: False': the user 'u4' has interacted with every item"):
        run_recbole_genrec("SASRec", "tiny", config_dict=settings | {"eval_args": {"mode": {"test": "uni2"}}})


def test_written_out_windows_are_refused(settings):
    with pytest.raises(GenRecError, match="'repeatable: False' needs whole histories: 'lazy_windows: True'"):
        run_recbole_genrec("SASRec", "tiny", config_dict=settings | {"lazy_windows": False})
