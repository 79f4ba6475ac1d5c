"""What a training says: a line an epoch, the time to go, a heartbeat in silence."""

from types import SimpleNamespace

import pytest
import torch

from recbole_genrec.training.progress import FIRST_ESTIMATE, SILENCE, Progress


class Clock:
    """Seconds that pass when told."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def make(caplog):
    caplog.set_level("INFO")

    def make(epochs=4, eval_step=1, bigger=True):
        clock = Clock()
        trainer = SimpleNamespace(
            epochs=epochs,
            valid_metric="NDCG@10",
            valid_metric_bigger=bigger,
            best_valid_score=-torch.inf if bigger else torch.inf,
        )
        progress = Progress(eval_step, clock)
        progress.training_started(trainer)
        return progress, trainer, clock

    return make


def train(progress, trainer, clock, epoch, steps, seconds_a_step, loss=1.0, score=None, seconds=1.0):
    """An epoch as a trainer tells it."""
    progress.epoch_started(trainer, epoch, steps)
    for _ in range(steps):
        clock.seconds += seconds_a_step
        progress.step_trained(trainer)
    progress.epoch_trained(trainer, epoch, loss, steps * seconds_a_step)
    if score is not None:
        progress.epoch_validated(trainer, {"ndcg@10": score}, seconds)
        bigger = trainer.valid_metric_bigger
        trainer.best_valid_score = (max if bigger else min)(trainer.best_valid_score, score)


def test_a_line_an_epoch_with_what_is_left(make, caplog):
    progress, trainer, clock = make(epochs=3)
    for epoch, score in enumerate((0.25, 0.125, 0.25), 1):
        train(progress, trainer, clock, epoch, 2, 1.0, loss=1 / epoch, score=score)
    progress.training_ended(trainer)
    assert caplog.messages == [
        "epoch 1 of 3  loss 1.0000  2.0 s  valid ndcg@10 0.2500 (best)  1.0 s  at most 6 seconds to go",
        "epoch 2 of 3  loss 0.5000  2.0 s  valid ndcg@10 0.1250  1.0 s  at most 3 seconds to go",
        "epoch 3 of 3  loss 0.3333  2.0 s  valid ndcg@10 0.2500 (best)  1.0 s",
        "Training ended after epoch 3; epoch 3 is the best, with ndcg@10 0.2500 in validation.",
    ]


def test_smaller_is_better_where_the_trainer_says_so(make, caplog):
    progress, trainer, clock = make(epochs=5, bigger=False)
    for epoch, score in enumerate((0.5, 0.75, 0.25), 1):
        train(progress, trainer, clock, epoch, 1, 1.0, score=score)
    progress.training_ended(trainer)
    assert ["(best)" in text for text in caplog.messages[:3]] == [True, False, True]
    assert caplog.messages[3].startswith("Training ended after epoch 3 by early stopping; epoch 3 is the best")


def test_epochs_without_validation_have_their_line_as_well(make, caplog):
    progress, trainer, clock = make(epochs=4, eval_step=2)
    for epoch in range(1, 5):
        train(progress, trainer, clock, epoch, 1, 30.0, score=None if epoch % 2 else 0.5, seconds=30.0)
    progress.training_ended(trainer)
    assert [text.split("  ")[0] for text in caplog.messages[:4]] == [f"epoch {epoch} of 4" for epoch in range(1, 5)]
    # after the second epoch: two more epochs and one more validation, of half a minute each
    assert caplog.messages[1].endswith("at most 2 minutes to go")


def test_the_time_to_go_is_said_before_the_first_epoch_ends(make, caplog):
    progress, trainer, clock = make(epochs=10)
    progress.epoch_started(trainer, 1, 100)
    for _ in range(20):
        clock.seconds += FIRST_ESTIMATE / 4
        progress.step_trained(trainer)
    # 96 steps of 2.5 seconds are left of this epoch when ten seconds have passed, and 900 of the others
    assert caplog.messages == ["About 42 minutes to go if all 10 epochs are trained."]


def test_a_slow_first_step_is_not_taken_for_all(make, caplog):
    progress, trainer, clock = make(epochs=1)
    progress.epoch_started(trainer, 1, 100)
    for seconds in (FIRST_ESTIMATE, 1.0, 1.0):
        clock.seconds += seconds
        progress.step_trained(trainer)
    assert caplog.messages == ["About 2 minutes to go if all 1 epochs are trained."]  # 97 seconds


def test_a_heartbeat_in_silence(make, caplog):
    progress, trainer, clock = make(epochs=1, eval_step=1)
    progress.epoch_started(trainer, 1, 8)
    for _ in range(8):
        clock.seconds += SILENCE / 2
        progress.step_trained(trainer)
    assert [text for text in caplog.messages if text.startswith("epoch 1 of 1: step")] == [
        "epoch 1 of 1: step 2 of 8, at most 3 minutes to go",
        "epoch 1 of 1: step 5 of 8, at most 2 minutes to go",
        "epoch 1 of 1: step 7 of 8, at most 30 seconds to go",
    ]
    caplog.clear()
    progress.epoch_trained(trainer, 1, 1.0, 1.0)
    for _ in range(4):
        clock.seconds += SILENCE / 2
        progress.batch_scored(None, None, torch.zeros(50))
    assert caplog.messages == ["50 rows ranked so far", "150 rows ranked so far"]


def test_a_resumed_epoch_counts_the_steps_that_are_done(make, caplog):
    progress, trainer, clock = make(epochs=2)
    progress.epoch_started(trainer, 2, 100, 90)
    for _ in range(4):
        clock.seconds += 5.0
        progress.step_trained(trainer)
    assert caplog.messages == ["About 35 seconds to go if all 2 epochs are trained."]


def test_a_model_that_is_not_trained(make, caplog):
    progress, trainer, _ = make(epochs=1)
    progress.epoch_validated(trainer, {"ndcg@10": 0.5}, 2.0)
    progress.training_ended(trainer)
    assert caplog.messages == ["valid ndcg@10 0.5000 (best)  2.0 s"]
