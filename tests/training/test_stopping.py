"""Signals that ask a training to stop."""

import os
import signal

import pytest
import torch

from recbole_genrec.distributed.world import World
from recbole_genrec.errors import Interrupted
from tests.training.conftest import WITHIN_AN_EPOCH, assert_same


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
    run.trainer._stop_between_batches()  # several processes do not meet there
    run.trainer.world = World()
    with pytest.raises(Interrupted, match="by SIGTERM"):
        run.trainer.evaluate(run.test, load_best_model=False)
    assert run.model.statistics["lists"] == 0
