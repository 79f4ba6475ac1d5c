"""The learning rate over the steps, and the running average of the weights."""

import pytest
import torch

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.arguments import ScheduleArguments
from recbole_genrec.training.schedule import learning_rate_factor
from tests.training.conftest import assert_same


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


def test_learning_rate_follows_warmup_and_schedule():
    def factors(warmup_steps=2, **settings):
        arguments = ScheduleArguments(warmup_steps=warmup_steps, **settings)
        return [learning_rate_factor(step, 6, arguments) for step in range(7)]

    assert factors(lr_scheduler="constant") == [0.5, 1, 1, 1, 1, 1, 1]
    assert factors(lr_scheduler="linear") == [0.5, 1, 1, 0.75, 0.5, 0.25, 0]
    assert factors(1 / 3, lr_scheduler="linear") == factors(lr_scheduler="linear")  # a share of all steps
    assert factors(lr_scheduler="cosine") == pytest.approx([0.5, 1, 1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)
    assert factors(lr_scheduler="linear", hold_steps=2) == [0.5, 1, 1, 1, 1, 0.5, 0]
    assert factors(lr_scheduler="linear", hold_steps=1 / 3) == factors(lr_scheduler="linear", hold_steps=2)
    slow = [0.5, 1, *((2 / number) ** 0.5 for number in range(3, 8))]
    assert factors(lr_scheduler="inverse_sqrt") == pytest.approx(slow)
    # T5's (Raffel et al. 2020, section 3.1.2): 1 / sqrt(max(n, k)), as a share of 1 / sqrt(k), n steps from 1
    raffel = [max(number, 3) ** -0.5 / 3**-0.5 for number in range(1, 8)]
    assert factors(0, lr_scheduler="inverse_sqrt", hold_steps=3) == pytest.approx(raffel)
