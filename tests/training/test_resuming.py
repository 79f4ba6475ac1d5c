"""Runs that stop and go on: the resumed run equals the one that never stopped."""

import pytest
import torch

from recbole_genrec.checkpoint.folder import is_checkpoint
from recbole_genrec.errors import GenRecError
from recbole_genrec.training.resuming import run_name
from tests.training.conftest import WITHIN_AN_EPOCH, Death, assert_same, interrupt_after


@pytest.mark.parametrize("settings", [
    {},
    {"packing": False, "gradient_accumulation_steps": 3, "history": "both"},
    {"eval_step": 3},
    {"learner": "sgd"},
    {"ema_decay": 0.9, "eval_step": 2},
    {"prompt": "instruction", "max_prompt_tokens": 512, "train_batch_tokens": 2048},
    {"history": "both", "item_prior": True, "text_vectors": "tfidf", "item_vector_dropout": 0.3},
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
        run.trainer._resume_if_asked()
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


def test_the_scale_of_gradients_comes_back(make_run):
    first = make_run(precision="fp16", epochs=1)
    first.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    first.fit()
    resumed = make_run(precision="fp16", epochs=1, resume="auto")
    assert resumed.trainer.scaler.get_scale() != 128
    resumed.fit()
    assert resumed.trainer.scaler.get_scale() == 128


def test_name_of_a_run_tells_settings_apart(make_run):
    config = make_run().config
    assert run_name(config) == run_name(make_run("elsewhere", resume="auto", show_progress=True).config)
    assert run_name(config).startswith("GenRec-tiny-2020-")
    assert run_name(config) != run_name(make_run(learning_rate=0.5).config)
