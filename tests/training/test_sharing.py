"""What several processes share, as one of them sees it: with nobody else there it is RecBole's own training."""

from types import SimpleNamespace

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.trainer.trainer import S3RecTrainer
from recbole.utils import init_seed

from recbole_genrec.compat.tensorboard import no_tensorboard
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.distributed.world import World
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from recbole_genrec.training.sharing import SharedTraining, for_several_processes, loss_weight, rows
from recbole_genrec.training.trainer import GenRecTrainer

ROWS = [(f"u{user}", f"i{(user * step) % 11}", 1000 + step) for user in range(8) for step in range(4 + user)]
SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "epochs": 3, "topk": [3], "metrics": ["NDCG"]}
STILL = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "train_batch_size": 7, "valid_metric": "NDCG@3"}


@pytest.fixture
def train(tmp_path, monkeypatch, write_dataset):
    """Train a model of RecBole's by a class of trainers; gives the trainer, its losses, and the test's result."""
    monkeypatch.chdir(tmp_path)
    path = write_dataset(tmp_path / "data", ROWS)

    def make(kind, name="SASRec", **more):
        config = GenRecConfig(name, "tiny", config_dict=SMALL | STILL | {"data_path": path} | more)
        data = SplitData([config])
        valid, test = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
        init_seed(3, True)
        with no_tensorboard():
            trainer = kind(config, build_model(config, data))
        trainer.saved_model_file = str(tmp_path / kind.__name__)
        trainer.fit(data.train_loader(config, trainer.model), valid, verbose=False)
        return trainer, list(trainer.train_loss_dict.values()), trainer.evaluate(test)

    return make


@pytest.mark.parametrize("more", [{}, {"clip_grad_norm": {"max_norm": 0.1}}])
def test_one_process_trains_as_recbole_does(train, more):
    (own, losses, result), (stock, expected, other) = (train(kind, **more) for kind in (SharedTraining, Trainer))
    assert losses == pytest.approx(expected, rel=1e-5)
    assert result == other
    kept = [torch.load(trainer.saved_model_file, weights_only=False) for trainer in (own, stock)]
    for key in ("epoch", "cur_step", "best_valid_score"):
        assert kept[0][key] == kept[1][key], key
    for one, two in zip(own.model.parameters(), stock.model.parameters()):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_dropout_is_drawn_anew_in_every_epoch_and_process(train, monkeypatch):
    trainer, *_ = train(SharedTraining)
    seeds = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    for rank in range(3):
        trainer.world = World(rank=rank)
        for epoch in range(3):
            trainer._train_epoch([], epoch)
    assert len(set(seeds)) == 9
    assert seeds == [2020 + 65536 * epoch + rank for rank in range(3) for epoch in range(3)]  # old runs come out again


def test_classes_of_trainers_that_can_share():
    assert for_several_processes(Trainer) is SharedTraining
    assert for_several_processes(GenRecTrainer) is GenRecTrainer
    assert for_several_processes(SharedTraining) is SharedTraining
    with pytest.raises(GenRecError, match="S3RecTrainer trains in one process"):
        for_several_processes(S3RecTrainer)

    class Mine(Trainer):
        def fit(self, *args, **kwargs):
            return "mine"

    shared = for_several_processes(Mine)
    assert shared.__name__ == "Mine" and issubclass(shared, Mine) and issubclass(shared, SharedTraining)


def test_the_weight_of_a_batch_is_the_number_of_terms_of_its_loss():
    batch = Interaction({"item_id": torch.tensor([4, 5, 6]), "masked": torch.tensor([[1, 0], [2, 3], [0, 0]])})
    assert loss_weight(SimpleNamespace(), batch) == 3
    assert loss_weight(SimpleNamespace(MASK_INDEX="masked"), batch) == 3
    assert loss_weight(SimpleNamespace(MASK_INDEX="masked"), batch[:1]) == 1
    assert loss_weight(SimpleNamespace(MASK_INDEX="elsewhere"), batch) == 3
    assert loss_weight(SimpleNamespace(loss_weight=lambda interaction: 7), batch) == 7
    assert rows(batch, slice(1, 3, 2))["item_id"].tolist() == [5]
