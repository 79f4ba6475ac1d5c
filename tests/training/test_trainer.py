"""The trainer: accumulation, precision, checkpoints, what is evaluated."""

import inspect
import math
import signal
from types import SimpleNamespace

import pytest
import torch
from recbole.trainer import Trainer
from tqdm import tqdm

from recbole_genrec.checkpoint.folder import is_checkpoint
from recbole_genrec.distributed.world import World
from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.reopen import load_as_recbole
from recbole_genrec.training.trainer import GenRecTrainer
from tests.training.conftest import assert_same


def test_without_saving_nothing_is_written(make_run, tmp_path):
    run = make_run(epochs=1)
    score, _ = run.fit(saved=False)
    assert math.isfinite(score) and not list((tmp_path / "saved").iterdir())
    assert run.trainer.evaluate(run.test, load_best_model=False)
    with pytest.raises(GenRecError, match="does not exist"):
        run.trainer.evaluate(run.test)


def test_without_validation_the_last_epoch_is_the_best(make_run):
    run = make_run(epochs=2)
    run.trainer.fit(run.train, None, verbose=False)
    after = run.weights()
    assert is_checkpoint(run.trainer.run_folder / "last")
    run.trainer.evaluate(run.test)
    assert_same(run.weights(), after)


def test_best_is_evaluated_unless_another_checkpoint_is_named(make_run):
    """Validation falls, so ``best`` is the first epoch and ``last`` the third."""
    run, validated = make_run(epochs=3, ema_decay=0), []
    validate = run.trainer._valid_epoch

    def falling(*args, **kwargs):
        _, result = validate(*args, **kwargs)
        validated.append(run.weights())
        return 1 / len(validated), result

    run.trainer._valid_epoch = falling
    run.fit()
    best, _, last = validated
    assert any(not torch.equal(best[name], last[name]) for name in best)
    assert_same(run.weights(), last)
    run.trainer.evaluate(run.test, load_best_model=False)
    assert_same(run.weights(), last)
    run.trainer.evaluate(run.test)
    assert_same(run.weights(), best)
    run.trainer.evaluate(run.test, model_file=str(run.trainer.run_folder / "last"))
    assert_same(run.weights(), last)


def test_no_epochs_evaluates_the_model_as_it_is(make_run):
    run = make_run(epochs=0)
    before = run.weights()
    run.fit()
    assert run.trainer.evaluate(run.test)
    assert_same(run.weights(), before)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_every_process_draws_its_own_dropout(make_run, monkeypatch, rank):
    run, seeds = make_run(epochs=0), []
    run.trainer.world = World(rank=rank)
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    run.fit(saved=False)
    assert seeds == ([2020 + rank] if rank else [])


def test_callback_is_called_after_the_checkpoint(make_run):
    run = make_run(epochs=2)
    seen = []
    last = run.trainer.run_folder / "last"
    run.fit(callback_fn=lambda epoch, score: seen.append((epoch, load_as_recbole(last)["epoch"], math.isfinite(score))))
    assert seen == [(0, 0, True), (1, 1, True)]


@pytest.mark.parametrize(("small", "large"), [
    ({"train_batch_tokens": 64}, {"train_batch_tokens": 100_000}),
    ({"packing": False, "train_batch_size": 7}, {"packing": False, "train_batch_size": 1000}),
])  # fmt: skip
def test_accumulated_batches_equal_one_large_batch(make_run, small, large):
    """The small batches hold different numbers of decisions, which their weights must respect."""
    plain = {
        "embedding_dropout": 0.0,
        "hidden_dropout": 0.0,
        "learner": "sgd",
        "clip_grad_norm": None,
        "warmup_steps": 0,
    }
    runs = make_run(gradient_accumulation_steps=1000, **small, **plain), make_run(**large, **plain)
    assert len(runs[0].train) > 3 and len(runs[1].train) == 1
    losses = [run.trainer._train_epoch(run.train, 0) for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    gradients = [torch.cat([p.grad.flatten() for p in run.model.parameters()]) for run in runs]
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


@pytest.mark.parametrize(("sizes", "agreed"), [
    ([(1, 5)], (1, 5)), ([(3, 5), None, (4, 6)], (7, 11)), ([None], (1, 0)), ([(0, 4)], (1, 4)),
])  # fmt: skip
def test_a_step_is_the_mean_over_all_terms_of_its_batches(make_run, sizes, agreed):
    batches = [size and SimpleNamespace(n_decisions=size[0], n_tokens=size[1]) for size in sizes]
    trainer = make_run().trainer
    assert trainer._sum_over_processes(batches) == agreed and trainer._common_signal == 0
    trainer._stop.signal = signal.SIGTERM
    trainer._sum_over_processes(batches)
    assert trainer._common_signal == signal.SIGTERM


def test_an_epoch_trains_whatever_state_the_model_was_left_in(make_run):
    run = make_run()
    run.model.eval()
    run.trainer._train_epoch(run.train, 0)
    assert run.model.training


def test_a_process_without_rows_computes_along_where_layers_are_spread(make_run):
    run = make_run()
    gradients = [parameter.grad for parameter in run.trainer._trainable()]
    run.trainer._compute_along()
    assert gradients == [None] * len(gradients) == [parameter.grad for parameter in run.trainer._trainable()]
    run.trainer._is_spread = True
    with pytest.raises(GenRecError, match="the first batch has fewer rows than processes"):
        run.trainer._compute_along()
    batch = next(iter(run.train))
    run.trainer._sum_over_processes([batch, None])
    run.trainer._compute_along()
    gradients = [parameter.grad for parameter in run.trainer._trainable() if parameter.grad is not None]
    assert gradients and all((gradient == 0).all() for gradient in gradients)


def test_clipping_bounds_the_step(make_run):
    run = make_run(clip_grad_norm={"max_norm": 1e-3})
    run.model.train()
    run.trainer._optimizer_step([next(iter(run.train))], run.model.calculate_loss, 10)
    norm = torch.cat([p.grad.flatten() for p in run.model.parameters()]).norm()
    assert norm == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_float32_weights(make_run, precision):
    run = make_run(precision=precision, epochs=3)
    run.fit()
    losses = list(run.trainer.train_loss_dict.values())
    assert losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert run.trainer.scaler.is_enabled() == (precision == "fp16")
    resumed = make_run(precision=precision, epochs=3, resume="auto")
    resumed.fit()
    assert resumed.trainer.scaler.get_scale() == run.trainer.scaler.get_scale()


@pytest.mark.parametrize("name", ["fit", "evaluate", "_train_epoch", "_valid_epoch", "_save_checkpoint"])
def test_methods_are_called_as_recboles(name):
    def arguments(owner):
        return [(p.name, p.default) for p in inspect.signature(getattr(owner, name)).parameters.values()]

    assert arguments(GenRecTrainer) == arguments(Trainer)


def test_loss_that_is_not_finite_stops_the_training(make_run):
    run = make_run()
    with pytest.raises(GenRecError, match="training loss is nan at step 0"):
        run.trainer._train_epoch(run.train, 0, loss_func=lambda batch: torch.full((), math.nan, requires_grad=True))


def test_only_trainable_parameters_and_no_decay_on_norms(make_run):
    run = make_run()
    frozen = run.model.backbone.model.lm_head.weight
    frozen.requires_grad_(False)
    decayed, plain = run.trainer._build_optimizer().param_groups
    names = {id(p): name for name, p in run.model.named_parameters()}
    assert {names[id(p)].split(".")[-2] for p in plain["params"]} == {
        "input_layernorm",
        "post_attention_layernorm",
        "norm",
    }
    assert decayed["fused"] and plain["fused"]
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0
    assert all(p is not frozen for p in decayed["params"])
    run.model.requires_grad_(False)
    with pytest.raises(GenRecError, match="no trainable parameters"):
        run.trainer._build_optimizer()


def test_statistics_count_one_evaluation(make_run):
    run = make_run(epochs=1)
    run.fit()
    run.trainer.evaluate(run.test)
    assert run.model.statistics["lists"] == run.model.statistics["valid_lists"] == 24


def test_progress_bar_is_drawn_at_its_own_pace(make_run, monkeypatch):
    """Drawing it at every step costs more than a step of a small model."""
    asked = []
    monkeypatch.setattr(tqdm, "set_postfix_str", lambda bar, text, refresh=True: asked.append(refresh))
    run = make_run()
    run.trainer._train_epoch(run.train, 0, show_progress=True)
    assert asked == [False] * run.trainer.step


def test_progress_bar_shows_loss_and_speed(make_run, capsys):
    make_run(epochs=1).fit(show_progress=True)
    shown = capsys.readouterr().err
    assert "loss" in shown and "tokens/s" in shown
