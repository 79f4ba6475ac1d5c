"""The trainer: accumulation, schedule, checkpoints, and runs that stop and go on."""

import inspect
import math
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import init_seed
from tqdm import tqdm

from recbole_genrec.batches.packed_loader import packed_train_loader
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.checkpoint.folder import is_checkpoint
from recbole_genrec.compat.tensorboard import no_tensorboard
from recbole_genrec.config.arguments import ScheduleArguments
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.distributed.world import World
from recbole_genrec.errors import GenRecError, Interrupted
from recbole_genrec.runs.reopen import load_as_recbole
from recbole_genrec.training.resuming import run_name
from recbole_genrec.training.schedule import learning_rate_factor
from recbole_genrec.training.trainer import GenRecTrainer

TITLES = ["Toy Story", "GoldenEye", "Four Rooms", "Get Shorty", "Copycat", "Babe", "Seven", "Braveheart"]
SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 64,
    "train_batch_tokens": 256,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "epochs": 4,
    "learning_rate": 0.01,
    "warmup_steps": 3,
    "train_batch_size": 8,
}


class Death(Exception):
    """The process dies."""


class Run:
    """Everything that one process has: built from the settings alone."""

    def __init__(self, data_path, folder, settings):
        settings = {**SMALL, "data_path": data_path, "checkpoint_dir": str(folder), **settings}
        self.config = GenRecConfig("GenRec", "tiny", config_dict=settings)
        init_seed(self.config["seed"], True)
        dataset = create_dataset(self.config)
        self.train, self.valid, self.test = data_preparation(self.config, dataset)
        self.model = self.config.model_class(self.config, self.train._dataset)
        if self.config["packing"]:
            self.train = packed_train_loader(self.config, self.train._dataset, self.model)
        with no_tensorboard():  # whose thread would write on when the test's folder is gone
            self.trainer = GenRecTrainer(self.config, self.model)

    def fit(self, **options):
        return self.trainer.fit(self.train, self.valid, verbose=False, **options)

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


@pytest.fixture
def make_run(tmp_path, write_dataset, monkeypatch):
    """Build a run; the same ``folder`` stands for the same working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{u}", f"m{(u * 3 + t * (1 + u % 2)) % 8}", 100 + t) for u in range(24) for t in range(6)]
    data_path = write_dataset(tmp_path / "data", rows, [(f"m{i}", title) for i, title in enumerate(TITLES)])

    def make(folder="saved", **settings):
        return Run(data_path, tmp_path / folder, settings)

    return make


def interrupt_after(run, n_epochs):
    """Let ``run`` die at the start of the epoch after ``n_epochs`` of them."""
    train_epoch = run.trainer._train_epoch

    def dying(train_data, epoch_idx, *args, **kwargs):
        if epoch_idx == n_epochs:
            raise Death
        return train_epoch(train_data, epoch_idx, *args, **kwargs)

    run.trainer._train_epoch = dying
    with pytest.raises(Death):
        run.fit()


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize("settings", [
    {},
    {"packing": False, "gradient_accumulation_steps": 3, "item_embedding": "separator"},
    {"eval_step": 3},
    {"learner": "sgd"},
    {"ema_decay": 0.9, "eval_step": 2},
    {"prompt": "instruction", "max_prompt_tokens": 512, "train_batch_tokens": 2048},
])  # fmt: skip
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_resumed_run_equals_the_uninterrupted_one(make_run, settings, n_epochs):
    whole = make_run("whole", **settings)
    expected = whole.fit()
    interrupt_after(make_run("cut", **settings), n_epochs)
    torch.manual_seed(99)
    resumed = make_run("cut", resume="auto", **settings)
    assert resumed.fit() == expected
    assert resumed.trainer.start_epoch == n_epochs
    assert_same(resumed.weights(), whole.weights())
    results = [run.trainer.evaluate(run.test) for run in (whole, resumed)]
    assert results[0] == results[1]
    assert_same(resumed.weights(), whole.weights())


WITHIN_AN_EPOCH = [
    {"train_batch_tokens": 100},
    {"packing": False, "gradient_accumulation_steps": 2, "train_batch_size": 4},
    {"ema_decay": 0.9, "eval_step": 0, "train_batch_tokens": 100},
    {"prompt": "instruction", "max_prompt_tokens": 512, "train_batch_tokens": 600, "history_dropout": 0.2},
]


def test_a_run_that_finds_nothing_to_resume_names_the_nearest_one(make_run, caplog):
    with caplog.at_level("WARNING"):
        make_run("some", resume="auto", epochs=1).fit()
    assert "finds no run of these settings in" in caplog.text and "nearest" not in caplog.text
    make_run("some", epochs=1, seed=7, learning_rate=0.02).fit()
    caplog.clear()
    with caplog.at_level("WARNING"):
        resumed = make_run("some", resume="auto", epochs=2, topk=[2], valid_metric="NDCG@2")
        resumed.fit()
    assert resumed.trainer.start_epoch == 0
    said = caplog.text
    assert "training starts anew. The nearest, " in said
    assert "epochs: 1 there, 2 here" in said and "topk: [3] there, [2] here" in said
    assert "learning_rate" not in said and "resume" not in said.split("nearest")[1]


@pytest.mark.parametrize("settings", WITHIN_AN_EPOCH)
@pytest.mark.parametrize(("save_steps", "steps"), [(1, 2), (2, 9), (3, 11)])
def test_a_run_goes_on_within_an_epoch(make_run, settings, save_steps, steps):
    whole = make_run("whole", **settings)
    expected = whole.fit()
    cut = make_run("cut", save_steps=save_steps, **settings)
    optimizer_step = cut.trainer._optimizer_step

    def dying(*args):
        if cut.trainer.step == steps:
            raise Death
        return optimizer_step(*args)

    cut.trainer._optimizer_step = dying
    with pytest.raises(Death):
        cut.fit()
    torch.manual_seed(99)
    resumed = make_run("cut", resume="auto", save_steps=save_steps, **settings)
    assert resumed.fit() == expected
    assert resumed.trainer.train_loss_dict.items() <= whole.trainer.train_loss_dict.items()
    assert_same(resumed.weights(), whole.weights())


@pytest.mark.parametrize(
    ("settings", "number"), list(zip(WITHIN_AN_EPOCH, [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]))
)
@pytest.mark.parametrize("moment", ["in an epoch", "after training", "at the end"])
def test_a_signal_saves_and_stops(make_run, settings, number, moment):
    validates = settings.get("eval_step") != 0
    whole = make_run("whole", **settings)
    expected = whole.fit()
    cut = make_run("cut", **settings)
    after_training = "_valid_epoch" if validates else "_end_epoch"
    name = {"in an epoch": "_optimizer_step", "after training": after_training, "at the end": "_end_epoch"}[moment]
    count, original = 0, getattr(cut.trainer, name)
    last = len(whole.trainer.train_loss_dict) if moment == "at the end" else 2

    def signalled(*args, **kwargs):
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(cut.trainer, name, signalled)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="last' is saved, and --resume=auto goes on from it") as stopped:
        cut.fit()
    assert stopped.value.signal == number and count == last
    assert signal.getsignal(number) is before
    torch.manual_seed(99)
    resumed = make_run("cut", resume="auto", **settings)
    assert resumed.fit() == expected
    assert_same(resumed.weights(), whole.weights())


def test_a_signal_without_saving_says_so(make_run):
    run = make_run()
    run.trainer._stop.signal = signal.SIGTERM
    with pytest.raises(Interrupted, match="by SIGTERM at epoch 0, step 1; nothing is saved"):
        run.fit(saved=False)


def test_a_signal_stops_between_the_batches_of_an_evaluation(make_run):
    run = make_run()
    run.trainer._stop.signal = signal.SIGTERM
    run.trainer.world = World(rank=0, size=2)
    run.trainer._heed_alone()  # several processes do not meet there
    run.trainer.world = World()
    with pytest.raises(Interrupted, match="by SIGTERM"):
        run.trainer.evaluate(run.test, load_best_model=False)
    assert run.model.statistics["lists"] == 0


def test_a_damaged_checkpoint_names_the_one_before(make_run):
    whole = make_run("whole")
    expected = whole.fit()
    interrupt_after(make_run("cut"), 3)
    (damaged,) = make_run("cut").trainer.run_folder.glob("last/extra.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(GenRecError, match="damaged: extra.safetensors has changed .* --resume=previous goes on"):
        make_run("cut", resume="auto").fit()
    resumed = make_run("cut", resume="previous")
    assert resumed.fit() == expected
    assert resumed.trainer.start_epoch == 2
    assert_same(resumed.weights(), whole.weights())


def test_a_crash_while_last_is_replaced_goes_on_from_the_one_before(make_run):
    interrupt_after(make_run("cut"), 3)
    resumed = make_run("cut", resume="auto")
    (resumed.trainer.run_folder / "last").rename(resumed.trainer.run_folder / ".last.new")
    resumed.fit()
    assert resumed.trainer.start_epoch == 2


@pytest.mark.parametrize("validates", [True, False])
def test_the_running_average_is_evaluated_and_kept(make_run, validates):
    run = make_run(ema_decay=0.8, stopping_step=9, lr_scheduler="constant")
    average, step = [], run.trainer._optimizer_step

    def observed(*arguments):
        if not average:
            average.extend(tensor.detach().clone() for tensor in run.trainer._trainable())
        result = step(*arguments)
        decay = min(0.8, (1 + run.trainer.step) / (10 + run.trainer.step))
        for old, new in zip(average, run.trainer._trainable()):
            old.mul_(decay).add_(new.detach(), alpha=1 - decay)
        return result

    run.trainer._optimizer_step = observed
    run.valid = run.valid if validates else None
    run.fit()
    for ours, expected in zip(run.trainer._trainable(), average):
        torch.testing.assert_close(ours.detach(), expected.detach())
    if not validates:  # then the last epoch is the best
        kept = make_run("other", ema_decay=0.8)
        load_checkpoint_into(kept.model, run.trainer.saved_model_file)
        assert_same(kept.weights(), run.weights())


def test_run_that_stopped_early_does_not_go_on(make_run):
    settings = {"epochs": 30, "stopping_step": 1, "learning_rate": 0.0}
    first = make_run(**settings)
    scores = iter([0.5, 0.4, 0.3])
    first.trainer._valid_epoch = lambda *args, **kwargs: (score := next(scores), {"ndcg@3": score})
    first.fit()
    assert not list(scores)
    again = make_run(resume="auto", **settings)
    again.trainer._train_epoch = None
    best = again.trainer.run_folder / "best"
    before = best.stat().st_ino
    assert again.fit()[0] == 0.5
    assert best.stat().st_ino == before


def test_finished_run_keeps_its_best_checkpoint(make_run):
    first = make_run(epochs=2)
    expected = first.fit()
    tested = first.trainer.evaluate(first.test)
    again = make_run(epochs=2, resume="auto")
    again.trainer._train_epoch = None
    assert again.fit() == expected
    assert again.trainer.evaluate(again.test) == tested


def test_resume_from_a_folder_and_from_a_run(make_run):
    first = make_run(epochs=2)
    first.fit()
    for place in (first.trainer.run_folder, first.trainer.run_folder / "last"):
        run = make_run("elsewhere", epochs=3, resume=str(place))
        run.trainer._go_on()
        assert run.trainer.start_epoch == 2 and run.trainer.step == first.trainer.step
        assert run.trainer.run_folder == first.trainer.run_folder


def test_resume_names_what_is_missing(make_run, tmp_path):
    with pytest.raises(GenRecError, match="nowhere' does not exist"):
        make_run(resume=str(tmp_path / "nowhere")).fit()
    first = make_run(epochs=1)
    first.fit()
    (first.trainer.run_folder / "best").rename(tmp_path / "moved")
    with pytest.raises(GenRecError, match="best checkpoint of its run, .* is missing"):
        make_run(epochs=1, resume="auto").fit()


def test_resume_auto_without_a_checkpoint_starts_anew(make_run):
    run = make_run(epochs=1, resume="auto")
    run.fit()
    assert run.trainer.start_epoch == 0 and is_checkpoint(run.trainer.run_folder / "last")


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
    assert trainer._agree(batches) == agreed and trainer._agreed_signal == 0
    trainer._stop.signal = signal.SIGTERM
    trainer._agree(batches)
    assert trainer._agreed_signal == signal.SIGTERM


def test_an_epoch_trains_whatever_state_the_model_was_left_in(make_run):
    run = make_run()
    run.model.eval()
    run.trainer._train_epoch(run.train, 0)
    assert run.model.training


def test_a_process_without_rows_computes_along_where_layers_are_spread(make_run):
    run = make_run()
    gradients = [parameter.grad for parameter in run.trainer._trainable()]
    run.trainer._keep_step()
    assert gradients == [None] * len(gradients) == [parameter.grad for parameter in run.trainer._trainable()]
    run.trainer._is_spread = True
    with pytest.raises(GenRecError, match="the first batch has fewer rows than processes"):
        run.trainer._keep_step()
    batch = next(iter(run.train))
    run.trainer._agree([batch, None])
    run.trainer._keep_step()
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


def test_the_scale_of_gradients_comes_back(make_run):
    first = make_run(precision="fp16", epochs=1)
    first.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    first.fit()
    resumed = make_run(precision="fp16", epochs=1, resume="auto")
    assert resumed.trainer.scaler.get_scale() != 128
    resumed.fit()
    assert resumed.trainer.scaler.get_scale() == 128


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


def test_learning_rate_follows_warmup_and_schedule():
    def factors(warmup_steps=2, **settings):
        arguments = ScheduleArguments(warmup_steps=warmup_steps, **settings)
        return [learning_rate_factor(step, 6, arguments) for step in range(7)]

    assert factors(lr_scheduler="constant") == [0.5, 1, 1, 1, 1, 1, 1]
    assert factors(lr_scheduler="linear") == [0.5, 1, 1, 0.75, 0.5, 0.25, 0]
    assert factors(1 / 3, lr_scheduler="linear") == factors(lr_scheduler="linear")  # a share of all steps
    assert factors(lr_scheduler="cosine") == pytest.approx([0.5, 1, 1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)


def test_name_of_a_run_tells_settings_apart(make_run):
    config = make_run().config
    assert run_name(config) == run_name(make_run("elsewhere", resume="auto", show_progress=True).config)
    assert run_name(config).startswith("GenRec-tiny-2020-")
    assert run_name(config) != run_name(make_run(learning_rate=0.5).config)


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
