"""What a trainer tells its listeners, RecBole's and the plugin's, and rankings among some items alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer
from recbole.utils import init_seed

from recbole_genrec.compat.tensorboard import no_tensorboard
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import MODELS, get_trainer, plugin_trainer
from recbole_genrec.evaluation.outcomes import RankedLists
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from recbole_genrec.training.listeners import Listener, ListeningTrainer, trainer_class
from recbole_genrec.training.sharing import SharedEvaluation
from tests.builders import LABELS, write_labels

ROWS = [(f"u{user}", f"i{(user * step) % 11}", 1000 + step) for user in range(8) for step in range(4 + user)]
ITEMS = [(f"i{item}", f"Title {item}") for item in range(11)]
SMALL = {"epochs": 3, "eval_step": 2, "topk": [3], "metrics": ["NDCG"], "valid_metric": "NDCG@3", "eval_batch_size": 3}
OF_MODEL = {
    "SASRec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1},
    "GenRec": {"scratch_hidden_size": 16, "scratch_layers": 1, "scratch_intermediate_size": 16}
    | {"scratch_vocab_size": 300},
}
MODELS_TRIED = list(OF_MODEL)


class Notes(Listener):
    """Notes every event."""

    def __init__(self):
        self.events, self.batches, self.rows, self.steps = [], [], None, []

    def training_started(self, trainer):
        self.events.append("started")

    def epoch_started(self, trainer, epoch, steps, done=0):
        self.steps.append([epoch, steps, done])

    def step_trained(self, trainer):
        self.steps[-1][2] += 1

    def epoch_trained(self, trainer, epoch, loss, seconds):
        assert loss > 0 and seconds > 0
        self.events.append(f"epoch {epoch}")

    def epoch_validated(self, trainer, result, seconds):
        assert seconds > 0
        self.events.append(("validated", dict(result)))

    def training_ended(self, trainer):
        self.events.append("ended")

    def batch_scored(self, scores, rows, targets):
        self.batches.append((scores.clone(), rows.tolist(), targets.tolist()))

    def rows_measured(self, values):
        self.rows = values


@pytest.fixture
def make(tmp_path, monkeypatch, write_dataset):
    """Build the trainer of a model, and its loaders."""
    monkeypatch.chdir(tmp_path)
    path = write_dataset(tmp_path / "data", ROWS, ITEMS)

    def build(name, labels=False, **more):
        if labels and "liked" not in Path(path, "tiny/tiny.inter").read_text("utf-8"):
            write_labels(path)
        config = GenRecConfig(name, "tiny", config_dict=SMALL | OF_MODEL[name] | {"data_path": path} | more)
        data = SplitData([config])
        valid, test = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
        init_seed(3, True)
        model = build_model(config, data)
        with no_tensorboard():
            trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        return trainer, data.train_loader(config, model), valid, test

    return build


@pytest.mark.parametrize("name", MODELS_TRIED)
def test_every_epoch_and_validation_is_told_in_order(make, name):
    trainer, train, valid, _ = make(name)
    notes, later = Notes(), Notes()
    trainer.listeners += [notes, later]
    _, best = trainer.fit(train, valid, verbose=False)
    assert notes.events == ["started", "epoch 1", "epoch 2", ("validated", dict(best)), "epoch 3", "ended"]
    assert later.events == notes.events
    assert [epoch for epoch, _, _ in notes.steps] == [1, 2, 3]
    for _, steps, taken in notes.steps:
        assert taken >= 1 and abs(steps - taken) <= 1  # the number of packed batches differs a little between epochs


LABELED = LABELS | {"eval_args": {"mode": "labeled"}, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC"}


@pytest.mark.parametrize("name", ["SASRec", "GenRec"])
def test_scores_become_probabilities_of_labels(make, tmp_path, caplog, name):
    """By a sigmoid, far from 0 as well, where one of single precision would be 1 for several scores."""
    trainer, _, _, test = make(name, labels=True, **LABELED)
    assert f"{name} gives scores, not the probability that an item is liked" in caplog.text
    scores = torch.linspace(20, 30, len(test.dataset), dtype=torch.float64)
    trainer.model.predict = lambda interaction: scores[test_rows(interaction)].float()
    order = {}

    def test_rows(interaction):
        for user in interaction["user_id"].tolist():
            order.setdefault(user, len(order))
        return torch.tensor([order[user] for user in interaction["user_id"].tolist()])

    result = trainer.evaluate(test, load_best_model=False)
    users = test.dataset.inter_feat["user_id"].tolist()
    label = dict(zip(users, test.dataset.inter_feat["liked"].tolist()))
    pairs = [(order[a] > order[b]) for a in users for b in users if label[a] == 1 and label[b] == 0]
    assert result["auc"] == pytest.approx(np.mean(pairs), abs=1e-4)
    losses = [np.logaddexp(0, -s if label[u] else s) for u, s in ((u, float(scores[order[u]])) for u in users)]
    assert result["logloss"] == pytest.approx(np.mean(losses), abs=1e-3)


def test_probabilities_and_values_of_labels_stay_as_they_are(make, caplog):
    class Knows:
        gives_probabilities = True

    trainer, *_ = make("SASRec", labels=True, **LABELED)
    assert not trainer._has_probabilities("SASRec", trainer.model)
    assert trainer._has_probabilities("DIN", None) and trainer._has_probabilities("TALLRec", Knows())
    caplog.clear()
    trainer, _, _, test = make("SASRec", labels=True, **LABELED | {"metrics": ["RMSE"], "valid_metric": "RMSE"})
    assert "gives scores" not in caplog.text
    batch = next(iter(test))
    assert trainer._neg_sample_batch_eval(batch)[1].dtype == torch.float32


def test_the_end_is_told_where_the_training_fails(make):
    trainer, train, valid, _ = make("SASRec")

    class Fails(Notes):
        def epoch_trained(self, *args):
            raise KeyError("x")

    notes = Fails()
    trainer.listeners.append(notes)
    with pytest.raises(KeyError):
        trainer.fit(train, valid, verbose=False)
    assert notes.events == ["started", "ended"]


@pytest.mark.parametrize("mode", ["full", "uni3"])
@pytest.mark.parametrize("name", MODELS_TRIED)
def test_batches_and_rows_are_those_of_the_metrics(make, name, mode):
    trainer, _, _, test = make(name, eval_args={"mode": mode})
    notes = Notes()
    with trainer.listening(notes):
        result = trainer.evaluate(test, load_best_model=False)
    told = len(notes.batches)
    trainer.evaluate(test, load_best_model=False)
    assert len(notes.batches) == told >= 2  # after the block nothing is told
    ndcg = []
    for scores, rows, targets in notes.batches:
        assert scores[:, 0].isneginf().all() and (mode == "full" or scores.isneginf().sum() > scores.numel() / 2)
        best = scores.topk(3).indices
        for row, target in zip(rows, targets):
            places = (best[row] == target).nonzero().flatten().tolist()
            ndcg.append(1 / np.log2(places[0] + 2) if places else 0.0)
    assert notes.rows["ndcg@3"].tolist() == pytest.approx(ndcg)
    assert result["ndcg@3"] == pytest.approx(np.mean(ndcg), abs=1e-4)


def test_metrics_of_values_have_no_lists(make):
    trainer, _, _, test = make("SASRec", metrics=["AUC"], valid_metric="AUC", eval_args={"mode": "uni3"})
    notes = Notes()
    with trainer.listening(notes):
        trainer.evaluate(test, load_best_model=False)
    assert notes.batches == [] and notes.rows == {}


@pytest.mark.parametrize("decoding", ["exact", "full"])
@pytest.mark.parametrize("name", MODELS_TRIED)
def test_a_ranking_among_some_items_scores_them_all(make, name, decoding):
    trainer, _, _, test = make(name, **({"decoding": decoding} if name in MODELS else {}))
    among, before, notes = [2, 5, 7, 9], Notes(), Notes()
    with trainer.listening(before):
        trainer.evaluate(test, load_best_model=False)
    with trainer.ranking_among(np.array(among)), trainer.listening(notes):
        trainer.evaluate(test, load_best_model=False)
    scores = torch.cat([batch[0] for batch in notes.batches])
    assert scores[:, among].isfinite().all() and scores.isfinite().sum() == scores[:, among].numel()
    if decoding == "full" or name not in MODELS:
        whole = torch.cat([batch[0] for batch in before.batches])
        torch.testing.assert_close(scores[:, among], whole[:, among])
    after = Notes()
    with trainer.listening(after):
        trainer.evaluate(test, load_best_model=False)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(before.batches, after.batches, strict=True))


def test_a_ranking_among_some_items_holds_for_sampled_candidates(make):
    trainer, _, _, test = make("SASRec", eval_args={"mode": "uni3"})
    lists = RankedLists(3)
    with trainer.ranking_among([4]), trainer.listening(lists):
        trainer.evaluate(test, load_best_model=False)
    assert set(np.concatenate(lists._lists).ravel()) <= {0, 4}


def test_every_trainer_has_listeners_and_keeps_its_own_methods():
    for name in MODELS:
        kind = get_trainer(None, name)
        assert kind.__mro__[1:3] == (ListeningTrainer, plugin_trainer(name)) and kind.__name__ in MODELS[name].trainer
    assert trainer_class(Trainer) is trainer_class(Trainer) and issubclass(trainer_class(Trainer), Trainer)
    assert issubclass(trainer_class(Trainer, 2), SharedEvaluation)
