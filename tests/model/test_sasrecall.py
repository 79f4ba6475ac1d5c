"""SASRecAll: RecBole's SASRec, trained at all places at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

from recbole_genrec import run_recbole_genrec
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.model.sasrecall import SASRecAll
from recbole_genrec.training.all_positions_trainer import AllPositionsTrainer

LONGEST = 4
SETTINGS = {"MAX_ITEM_LIST_LENGTH": LONGEST, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "hidden_size": 16}


@pytest.fixture
def built(tmp_path, write_dataset):
    """Configuration, model, training data and windows, over histories of 3 to 14 items."""
    random = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", time)
        for user in range(20)
        for time, item in enumerate(random.permutation(20)[: random.integers(3, 15)])
    ]
    data = write_dataset(tmp_path / "data", rows)
    settings = SETTINGS | {"data_path": data, "topk": [3], "valid_metric": "NDCG@3", "show_progress": False}
    config = Config(SASRecAll, "tiny", config_dict=settings)
    init_seed(1, True)
    train, valid, _ = data_preparation(config, create_dataset(config))
    model = SASRecAll(config, train.dataset)
    return config, model, train, valid, model.training_loader(config, train.dataset)


def targets(batch):
    """(history, target) of every new target of a batch."""
    found, names = [], ("item_id_list", "item_length", "item_id", "new_targets")
    for items, length, last, new in zip(*(batch[name].tolist() for name in names)):
        items = [*items[:length], last]
        found += [(tuple(items[:place]), items[place]) for place in range(length - new + 1, length + 1)]
    return found


def test_an_epoch_has_every_target_once_after_its_own_history(built):
    config, _, train, _, loader = built
    _, items, offsets = train_sequences(train.dataset)
    histories = [tuple(items[a:b].tolist()) for a, b in zip(offsets, offsets[1:])]
    wanted = sorted((h[:place], h[place]) for h in histories for place in range(1, len(h)))
    cuts = set()
    for epoch in range(6):
        loader.set_epoch(epoch)
        batches = list(loader)
        found = [pair for batch in batches for pair in targets(batch)]
        assert len(found) == loader.n_targets
        new = torch.cat([batch["new_targets"] for batch in batches])
        assert 1 <= new.min() and new.max() == LONGEST
        fewest = sum(-(-(len(history) - 1) // LONGEST) for history in histories)
        assert fewest <= len(new) <= fewest + sum(len(history) - 1 > LONGEST for history in histories)
        assert sorted(target for _, target in found) == sorted(target for _, target in wanted)
        for history, target in found:
            assert 1 <= len(history) <= LONGEST
            assert any(t == target and h[-len(history) :] == history for h, t in wanted)
        cuts.add(tuple(sorted(len(history) for history, _ in found)))
    assert len(cuts) > 1  # the windows are cut elsewhere


def test_windows_follow_from_seed_and_epoch(built):
    loader = built[4]
    loader.set_epoch(3)
    first = [batch["item_id"].tolist() for batch in loader]
    list(loader)
    loader.set_epoch(3)
    assert [batch["item_id"].tolist() for batch in loader] == first


def test_the_loss_is_that_of_each_target_alone(built):
    """The oracle is RecBole's own model on one row for each target, gradients included."""
    config, model, train, _, loader = built
    stock = SASRec(config, train.dataset)
    stock.load_state_dict(model.state_dict())
    batch = next(iter(loader))
    pairs = targets(batch)
    rows = {
        "item_id_list": torch.tensor([[*history, *[0] * (LONGEST - len(history))] for history, _ in pairs]),
        "item_length": torch.tensor([len(history) for history, _ in pairs]),
        "item_id": torch.tensor([target for _, target in pairs]),
    }
    expected, loss = stock.calculate_loss(rows), model.calculate_loss(batch)
    torch.testing.assert_close(loss, expected)
    expected.backward(), loss.backward()
    for own, other in zip(model.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_it_ranks_as_recboles_model(built):
    config, model, train, valid, _ = built
    stock = SASRec(config, train.dataset).eval()
    stock.load_state_dict(model.eval().state_dict())
    interaction = next(iter(valid))[0]
    assert torch.equal(model.full_sort_predict(interaction), stock.full_sort_predict(interaction))
    torch.testing.assert_close(model.predict(interaction), stock.predict(interaction))


def test_recboles_rows_and_trainer_are_taken_too(built):
    config, model, train, valid, _ = built
    stock = SASRec(config, train.dataset)
    stock.load_state_dict(model.state_dict())
    batch = next(iter(train))
    torch.testing.assert_close(model.calculate_loss(batch), stock.calculate_loss(batch))
    trainer = Trainer(config, model)
    trainer.fit(train, valid, saved=False)


@pytest.mark.parametrize("learner", ["adam", "sgd"])
def test_the_rate_follows_the_schedule_and_the_average_is_what_is_tested(built, learner):
    config, model, _, valid, loader = built
    config.final_config_dict |= {"lr_scheduler": "linear", "warmup_steps": 2, "ema_decay": 0.5, "epochs": 3}
    config.final_config_dict |= {"train_batch_size": 4, "learner": learner, "learning_rate": 0.1}
    loader.settings = replace(loader.settings, batch_size=4)
    trainer, rates, weights = AllPositionsTrainer(config, model), [], []

    def note(optimizer, *_):
        rates.append(optimizer.param_groups[0]["lr"])
        weights.append(model.item_embedding.weight.detach().clone())

    trainer.optimizer.register_step_post_hook(note)
    start = model.item_embedding.weight.detach().clone()
    trainer.fit(loader, valid, saved=False)
    steps = len(rates)
    expected = [0.05, 0.1, *(0.1 * (1 - place / (steps - 2)) for place in range(steps - 2))]
    assert rates == pytest.approx(expected, rel=0.2, abs=0.01)  # epochs differ a little in their number of windows
    assert rates[:3] == [0.05, 0.1, 0.1] and rates[-1] < 0.02
    average = start
    for step, weight in enumerate(weights, 1):
        average = torch.lerp(average, weight, 1 - min(0.5, (1 + step) / (10 + step)))
    torch.testing.assert_close(model.item_embedding.weight, average)
    trainer.average.swap_out()
    torch.testing.assert_close(model.item_embedding.weight, weights[-1], atol=0, rtol=0)


def test_a_schedule_that_is_none_is_refused(checkerboard):
    with pytest.raises(GenRecError, match="'lr_scheduler'"):
        run_recbole_genrec("SASRecAll", "tiny", config_dict={**checkerboard, "lr_scheduler": "cosines"})


def test_another_loss_is_refused(tmp_path, checkerboard):
    with pytest.raises(GenRecError, match="'loss_type: CE', not 'BPR'"):
        run_recbole_genrec("SASRecAll", "tiny", config_dict={**checkerboard, "loss_type": "BPR"})


def test_it_learns_and_stands_in_the_table(tmp_path, checkerboard, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"SASRecAll": {"epochs": 60, "hidden_size": 32, "learning_rate": 0.01}}
    settings = {key: value for key, value in checkerboard.items() if not key.startswith(("scratch", "packing"))}
    result, other = run_recbole_genrec("SASRecAll,GenRec", "tiny", config_dict=settings | own)
    assert result["generation"] == {} and other["generation"]
    assert result["test_result"]["hit@1"] > 0.9  # a circle: the last two items say which is next
