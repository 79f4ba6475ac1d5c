"""GenRecSeq2Seq's stages of training: pretraining, fine-tuning, and runs that stop in between."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.runs.reopen import load_as_recbole
from recbole_genrec.training.stages import GenRecSeq2SeqTrainer
from tests.model.seq2seq_world import NAME, QUICK, SHORT, built


@pytest.fixture
def settings(checkerboard):
    return checkerboard | QUICK


def test_a_world_with_a_known_answer_is_learned(checkerboard):
    settings = checkerboard | SHORT | {"pretrain_epochs": 20, "epochs": 25, "stopping_step": 25}
    result = run_recbole_genrec(NAME, "tiny", config_dict=settings)
    assert result["test_result"]["hit@1"] > 0.9  # by chance: 1/12
    assert result["generation"]["valid_share"] == 1
    assert result["epochs"] == 45


def test_pretraining_alone_fills_gaps(settings):
    """Between two neighbours of the circle only one item fits; knowing the colour alone leaves log(6)."""
    longer = {"pretrain_epochs": 40, "train_batch_tokens": 128, "mask_last": 0.0}
    trainer, model, _, _ = trained(settings | SHORT | longer, train_stage="pretrain")
    loader = model.eval().training_loader(trainer.config, trainer.train_dataset)
    loader.set_stage("pretrain")
    loader.set_epoch(999)  # masks that training has not drawn
    batches = list(loader)
    losses = [model.calculate_loss(batch).item() * batch.n_decisions for batch in batches]
    assert sum(losses) / sum(batch.n_targets for batch in batches) < 0.6 * np.log(12)


def trained(settings, **changes):
    config, data, model = built(settings, **changes)
    trainer = get_trainer(config["MODEL_TYPE"], NAME)(config, model)
    assert isinstance(trainer, GenRecSeq2SeqTrainer)
    seen, step = [], trainer._train_epoch

    def noted(train_data, epoch, *args, **kwargs):
        loss = step(train_data, epoch, *args, **kwargs)
        seen.append((model.stage, epoch, trainer.step, round(loss, 5)))
        return loss

    trainer._train_epoch = noted
    valid = data.evaluation_loader(config, "valid")
    trainer.train_dataset = data.parts[0]
    trainer.fit(data.train_loader(config, model), valid, show_progress=False)
    return trainer, model, seen, valid


def test_best_is_written_by_the_last_epoch_of_pretraining_alone(settings, monkeypatch):
    written, write = [], GenRecSeq2SeqTrainer._write

    def noted(self, folder, epoch, *args, **kwargs):
        written.append((Path(folder).name, epoch))
        return write(self, folder, epoch, *args, **kwargs)

    monkeypatch.setattr(GenRecSeq2SeqTrainer, "_write", noted)
    trained(settings, pretrain_epochs=3)
    assert [epoch for name, epoch in written if name == "best"][:2] == [2, 3]


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_stages_in_one_run_and_apart_are_the_same(settings, ema_decay):
    settings = settings | {"ema_decay": ema_decay}
    _, whole, seen, _ = trained(settings)
    assert [(stage, epoch) for stage, epoch, *_ in seen] == [
        ("pretrain", 0),
        ("pretrain", 1),
        ("finetune", 2),
        ("finetune", 3),
    ]
    steps = [step for _, _, step, _ in seen]
    assert steps[3] - steps[2] == steps[2]  # each stage has a schedule of its own
    first, _, _, _ = trained(settings, train_stage="pretrain")
    assert first.best_valid_result is not None
    _, apart, after, _ = trained(
        settings, train_stage="finetune", pretrained_checkpoint=first.saved_model_file, epochs=2
    )
    assert [stage for stage, *_ in after] == ["finetune", "finetune"]
    assert [loss for *_, loss in after] == [loss for *_, loss in seen[2:]]
    for ours, theirs in zip(apart.parameters(), whole.parameters()):
        torch.testing.assert_close(ours, theirs)
    _, _, without, _ = trained(settings, train_stage="finetune")
    assert without[0][-1] != after[0][-1]


def test_pretraining_alone_keeps_its_last_epoch(settings):
    trainer, model, seen, valid = trained(settings, train_stage="pretrain")
    assert [stage for stage, *_ in seen] == ["pretrain", "pretrain"]
    assert load_as_recbole(trainer.saved_model_file)["epoch"] == 1
    _, _, other = built(settings, train_stage="pretrain")
    load_checkpoint_into(other, trainer.saved_model_file)
    interaction, *_ = next(iter(valid))
    torch.testing.assert_close(model.eval().full_sort_predict(interaction), other.eval().full_sort_predict(interaction))


def test_rows_of_recbole_are_masked_as_the_stage_asks(settings):
    config, data, model = built(settings, mask_ratio=0.9)
    interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
    items = interaction["item_length"] + 1
    model.stage = "finetune"
    batch = model.pack_interaction(interaction)
    assert batch.n_targets == len(interaction) and len(batch.prompts.item) == items.sum() - len(interaction)
    model.stage = "pretrain"
    batch = model.pack_interaction(interaction)
    assert batch.n_targets == (0.9 * items).round().sum()


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_a_run_goes_on_as_if_it_had_never_stopped(settings, monkeypatch, stopped_after):
    settings = settings | {"ema_decay": 0.9, "hidden_dropout": 0.1}
    _, whole, expected, _ = trained(settings)
    save = GenRecSeq2SeqTrainer._save_last

    class Stopped(Exception):
        pass

    def stop(self, epoch):
        save(self, epoch)
        if epoch == stopped_after - 1:
            raise Stopped

    settings = settings | {"checkpoint_dir": "stopped"}
    with monkeypatch.context() as patched:
        patched.setattr(GenRecSeq2SeqTrainer, "_save_last", stop)
        with pytest.raises(Stopped):
            trained(settings)
    _, model, seen, _ = trained(settings, resume="auto")
    assert seen == expected[stopped_after:]
    for ours, theirs in zip(model.parameters(), whole.parameters()):
        torch.testing.assert_close(ours, theirs)


def test_a_missing_pretraining_is_named(settings):
    with pytest.raises(GenRecError, match="does not exist"):
        trained(settings, train_stage="finetune", pretrained_checkpoint="nowhere/best")


def test_a_checkpoint_says_what_a_sequence_is(settings):
    trainer, *_ = trained(settings, train_stage="pretrain")
    assert "<mask>" in (Path(trainer.saved_model_file) / "prompt.yaml").read_text("utf-8")
