"""What TensorBoard and the text logs hold of a run: each model's own, and nothing of another's."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_genrec import run_recbole_genrec
from recbole_genrec.training.curves import Curves
from tests.builders import stopping_in_epoch

SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 16,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 64,
    "train_batch_tokens": 64,
    "train_batch_size": 4,
    "metrics": ["Hit", "NDCG"],
    "topk": [1, 3],
    "valid_metric": "NDCG@3",
    "epochs": 3,
    "learning_rate": 0.01,
    "show_progress": False,
    **dict.fromkeys(("SASRec", "SASRecAll"), {"hidden_size": 16, "inner_size": 16}),
}
METRICS = ["hit@1", "hit@3", "ndcg@1", "ndcg@3"]


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    monkeypatch.chdir(tmp_path)
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    return {**SMALL, "data_path": write_dataset(tmp_path / "data", rows, [(item, f"Item {item}") for item in range(9)])}


def curves_of(model):
    """By tag, the (place, value) pairs of a model's only folder of TensorBoard."""
    (folder,) = Path("log_tensorboard").glob(f"{model}-tiny-*")
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def places(curve):
    return [place for place, _ in curve]


def check(result, curves):
    """The validations and the epochs' losses are those of the result."""
    for metric in METRICS:
        told = [(epoch["epoch"], epoch["valid_result"][metric]) for epoch in result["curve"]]
        assert curves[f"valid/{metric}"] == [(place, pytest.approx(value)) for place, value in told]
    losses = [epoch["train_loss"] for epoch in result["curve"]]
    assert curves["Loss/Train"] == [(place, pytest.approx(loss)) for place, loss in enumerate(losses)]
    assert places(curves["Vaild_score"]) == [0, 1, 2]


def test_each_model_has_curves_and_a_log_of_its_own(settings):
    names = ["GenRec", "SASRecAll", "SASRec"]
    results = dict(zip(names, run_recbole_genrec(names, "tiny", config_dict=settings | {"warmup_steps": 1})))
    for name in names:
        curves = curves_of(name)
        check(results[name], curves)
        steps = places(curves["train/learning_rate"])
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 6
        (log,) = Path("log", name).glob("*.log")
        text = log.read_text("utf-8")
        assert text.count("epoch 3 of 3  loss") == 1 and text.count("epoch 1 of 3  loss") == 1
        assert [other for other in names if f"\nmodel = {other}\n" in text or f"{other}(" in text] == [name]

    genrec = curves_of("GenRec")
    assert places(genrec["train/loss"]) == places(genrec["train/learning_rate"])
    rates = [rate for _, rate in genrec["train/learning_rate"]]
    assert 0 < rates[-1] < max(rates) <= 0.0100001
    for name in names[1:]:  # RecBole's trainer tells the sum over an epoch's batches
        curves = curves_of(name)
        per_epoch = len(curves["train/learning_rate"]) // 3
        sums = [epoch["train_loss"] for epoch in results[name]["curve"]]
        means = [(per_epoch * epoch, pytest.approx(loss / per_epoch)) for epoch, loss in enumerate(sums, 1)]
        assert curves["train/loss"] == means
        assert all(rate == pytest.approx(0.01) for _, rate in curves["train/learning_rate"])


def test_a_resumed_run_goes_on_where_its_steps_ended(settings):
    with stopping_in_epoch(2), pytest.raises(KeyboardInterrupt):
        run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    first = curves_of("GenRec")
    Path("log_tensorboard").rename("before")
    run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"resume": "auto"})
    rest = curves_of("GenRec")
    assert places(rest["train/loss"])[0] == places(first["train/loss"])[-1] + 1
    assert places(first["valid/hit@3"]) + places(rest["valid/hit@3"]) == [1, 2, 3]


def test_stages_are_told_apart(settings):
    run_recbole_genrec("GenRecSeq2Seq", "tiny", config_dict=settings | {"pretrain_epochs": 2})
    curves = curves_of("GenRecSeq2Seq")
    for tag in ("pretrain/loss", "train/loss", "pretrain/learning_rate", "train/learning_rate"):
        assert places(curves[tag]) == list(range(1, len(curves[tag]) + 1))
    assert places(curves["valid/ndcg@3"]) == [3, 4, 5]


def test_a_model_that_is_not_trained_has_its_validation(settings):
    result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    curves = curves_of("PromptLLM")
    assert curves["valid/hit@3"] == [(0, pytest.approx(result["best_valid_result"]["hit@3"]))]
    assert "train/loss" not in curves


def test_steps_of_other_optimizers_are_none_of_a_run():
    written, curves = [], Curves()
    board = SimpleNamespace(add_scalar=lambda *scalar: written.append(scalar), close=lambda: written.append("closed"))
    trainer = SimpleNamespace(tensorboard=board)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    optimizer.step()
    curves.training_started(trainer)
    optimizer.step()
    curves.training_ended(trainer)
    optimizer.step()
    assert written == [("train/learning_rate", 0.5, 1), "closed"]
