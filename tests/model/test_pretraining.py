"""Pretraining (PTUM) of models at all positions: its losses, its stage, and what it leaves alone."""

import pytest
import torch
from recbole.trainer import Trainer

from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.keys import COMMAND_LINE, check_key, known_keys
from recbole_genrec.errors import GenRecError
from recbole_genrec.model.pretraining import pairs_ahead, row_weights
from recbole_genrec.training.all_positions_trainer import AllPositionsTrainer
from tests.model.all_positions_world import LONGEST, build, write_world
from tests.model.test_all_positions import NAMES

KINDS = ("masked", "next_k", "both")


@pytest.fixture
def world(tmp_path, write_dataset):
    """Build a model by name and settings over the same data: histories of 1 to 12 training items."""
    data_path = write_world(write_dataset, tmp_path / "data")
    return lambda name, **settings: build(name, data_path, **settings)


def test_pairs_are_those_of_a_plain_loop():
    place = torch.tensor([0, 1, 2, 4, 5, 0])
    number, state = pairs_ahead(place, 3)
    wanted = [(n, p - k) for n, p in enumerate(place.tolist()) for k in range(3) if p - k >= 0]
    assert list(zip(number.tolist(), state.tolist())) == wanted


def test_weights_make_the_mean_of_means():
    row, value = torch.tensor([0, 0, 0, 2]), torch.tensor([1.0, 2.0, 6.0, 5.0])
    assert (row_weights(row, 3) * value).sum().item() == pytest.approx((3.0 + 0.0 + 5.0) / 3)


def scores_after(model, items, batch, row, columns, vectors):
    """Scores of all items after a prefix ``items`` of a row's window, by a forward of its own."""
    length = len(items)
    fields = {"item_id_list": torch.tensor([items]), "item_length": torch.tensor([length])}
    fields |= {"user_id": batch["user_id"][row, None], "item_id": torch.tensor([1])}
    for column in columns:
        whole = torch.cat([batch[f"{column}_list"][row, : batch["item_length"][row]], batch[column][row, None]])
        fields |= {f"{column}_list": whole[None, :length], column: whole[None, length]}
    states, compared = model.compared(model.last_states(fields, vectors), vectors)
    return states[0] @ compared[: model.n_items].T


def plain_loss(model, batch, settings, next_weight):
    """Both losses, user by user and position by position."""
    vectors, total, columns = model.item_vectors(), 0.0, model.columns
    for row in range(len(batch)):
        length, new = batch["item_length"][row].item(), batch["new_targets"][row].item()
        items = [*batch["item_id_list"][row, :length].tolist(), batch["item_id"][row].item()]
        if settings["pretrain"] != "next_k" and length > 1:
            place = batch["masked_position"][row].item()
            history = [model.n_items if p == place else item for p, item in enumerate(items[:length])]
            table = torch.cat([vectors, model.mask_vector])
            scores = scores_after(model, history, batch, row, columns, table)
            total = total - scores.log_softmax(0)[items[place]]
        if settings["pretrain"] != "masked":
            terms = []
            for target in range(length - new + 1, length + 1):
                for ahead in range(1, settings["pretrain_next"] + 1):
                    if target - ahead >= 0:
                        scores = scores_after(model, items[: target - ahead + 1], batch, row, columns, vectors)
                        terms.append(-scores.log_softmax(0)[items[target]])
            total = total + next_weight * sum(terms) / len(terms)
    return total / len(batch)


@pytest.mark.parametrize("pretrain", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_that_of_a_plain_loop(world, name, pretrain):
    """Windows are ragged, from one item to full ones; gradients are compared, too."""
    settings = {"pretrain": pretrain, "pretrain_next": 3} | ({} if name == "HSTU" else {"context": ["rating"]})
    weight = {"pretrain_next_weight": 0.4} if pretrain == "both" else {}
    built = world(name, **settings, **weight)
    built.model.stage = "pretrain"
    built.loader.set_stage("pretrain")
    batch = ragged_rows(built.loader)
    assert {1, LONGEST} <= set(batch["item_length"].tolist())
    losses = [built.model.calculate_loss(batch)]
    losses.append(plain_loss(built.model, batch, settings, weight.get("pretrain_next_weight", 1.0)))
    torch.testing.assert_close(*losses)
    parameters = list(built.model.parameters())
    grads = [torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True) for loss in losses]
    for ours, theirs in zip(*grads):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert built.model.loss_weight(batch) == len(batch)


def ragged_rows(loader):
    """A batch of four windows: the shortest, two full ones, and one in between."""
    for batch in loader:
        length = batch["item_length"]
        order = length.argsort()
        if length.min() == 1 and length.max() == LONGEST and len(length) > 3:
            return batch[order[[0, len(order) // 2, -2, -1]]]
    raise AssertionError("no batch is ragged")


def trained(built, epochs=2, resume=None, stop=None, **settings):
    """The trainer after a run, with the stage, epoch and step of each epoch; ``stop`` ends it after an epoch."""
    built.config.final_config_dict |= {"epochs": epochs, "learning_rate": 0.01, **settings}
    trainer = AllPositionsTrainer(built.config, built.model)
    seen, step = [], trainer._train_epoch
    if resume:
        trainer.resume_checkpoint(resume)

    def noted(train_data, epoch, *args, **kwargs):
        if epoch == stop:
            raise KeyboardInterrupt
        loss = step(train_data, epoch, *args, **kwargs)
        seen.append((built.model.stage, epoch, trainer.step))
        return loss

    trainer._train_epoch = noted
    if stop is None:
        trainer.fit(built.loader, built.valid)
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(built.loader, built.valid)
    return trainer, seen


DROPPING = {"hidden_dropout_prob": 0.3, "pretrain": "both", "pretrain_epochs": 3}


@pytest.mark.parametrize(("stop", "ema_decay"), [(1, 0.5), (2, 0.0), (3, 0.5)])
def test_a_run_that_resumes_ends_with_the_weights_of_one_that_does_not(world, tmp_path, stop, ema_decay):
    """It stops within pretraining, or right after it, and goes on in another model; dropout is on."""
    settings = {"ema_decay": ema_decay, "lr_scheduler": "linear", "checkpoint_dir": str(tmp_path)} | DROPPING
    whole = world("SASRecAll", **settings)
    _, seen = trained(whole)
    assert [(stage, epoch) for stage, epoch, _ in seen] == [
        *(("pretrain", epoch) for epoch in range(3)),
        ("finetune", 3),
        ("finetune", 4),
    ]
    assert seen[2][2] == 3 * seen[0][2] and seen[3][2] == seen[0][2]  # steps of a stage, from 0
    part = world("SASRecAll", **settings)
    stopped, _ = trained(part, stop=stop)
    other = world("SASRecAll", **settings)
    torch.manual_seed(5)
    _, rest = trained(other, resume=stopped.saved_model_file)
    assert rest == seen[stop:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_a_checkpoint_of_another_stage_is_refused(world, tmp_path):
    settings = {"checkpoint_dir": str(tmp_path)} | DROPPING
    stopped, _ = trained(world("SASRecAll", **settings), stop=3)
    with pytest.raises(GenRecError, match="epoch 3 is of the stage 'pretrain' there, and of 'finetune'"):
        trained(world("SASRecAll", **settings | {"pretrain_epochs": 2}), resume=stopped.saved_model_file)


def test_fine_tuning_starts_anew_from_the_weights_alone(world):
    """By hand: pretraining with one optimizer, then fine-tuning with another, over the batches of epochs 0, 1, ..."""
    settings = {"pretrain": "both", "pretrain_epochs": 2, "lr_scheduler": "constant"}
    built, other = world("SASRecAll", **settings), world("SASRecAll", **settings)
    trained(built, saved=False)
    plain = world("SASRecAll").loader
    for stage in ("pretrain", "finetune"):
        other.model.stage = stage
        optimizer = torch.optim.Adam(other.model.parameters(), lr=0.01)
        loader = other.loader if stage == "pretrain" else plain  # which knows nothing of stages
        loader.set_stage(stage)
        for epoch in range(2):
            loader.set_epoch(epoch)
            for batch in loader:
                optimizer.zero_grad()
                other.model.calculate_loss(batch).backward()
                optimizer.step()
    for name, value in built.model.state_dict().items():
        torch.testing.assert_close(value, other.model.state_dict()[name], msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_without_pretraining_everything_is_as_without_the_key(world, name):
    """No mask, no draws of another kind, the plain loss, RecBole's trainer and its checkpoint."""
    built, other = world(name, spread=False), world(name, spread=False, pretrain="none")
    assert built.model.mask_vector is None and "mask_vector" not in built.model.state_dict()
    trainer, _ = trained(built, lr_scheduler="constant")
    other.config.final_config_dict |= {"epochs": 2, "learning_rate": 0.01}
    Trainer(other.config, other.model).fit(other.loader, other.valid, saved=False)
    for key, value in built.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key
    assert torch.load(trainer.saved_model_file, weights_only=False)["other_parameter"] == {}
    assert all("masked_position" not in batch for batch in built.loader)


@pytest.mark.parametrize("pretrain", KINDS)
def test_the_mask_exists_only_where_it_is_used(world, pretrain):
    built, plain = world("SASRecAll", pretrain=pretrain, spread=False), world("SASRecAll", spread=False)
    names = built.model.state_dict().keys() - plain.model.state_dict().keys()
    assert names == ({"mask_vector"} if pretrain != "next_k" else set())
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, built.model.state_dict()[name]), name


def test_masks_move_and_cover_every_place(world):
    loader = world("SASRecAll").loader
    loader.set_stage("pretrain")
    drawn = [torch.cat([batch["masked_position"] for batch in loader]) for _ in range(20)]
    loader.set_epoch(0)
    lengths, again = zip(*((batch["item_length"], batch["masked_position"]) for batch in loader))
    assert torch.equal(torch.cat(again), drawn[0])
    assert all((place < length).all() for place, length in zip(again, lengths))
    assert set(torch.cat(drawn).tolist()) == set(range(LONGEST))


def test_a_circle_is_learnt_by_pretraining_alone(checkerboard, tmp_path, monkeypatch):
    """With K = 1 pretraining predicts the next item; one epoch of fine-tuning follows."""
    monkeypatch.chdir(tmp_path)
    settings = {key: value for key, value in checkerboard.items() if not key.startswith(("scratch", "packing"))}
    settings |= {"epochs": 1, "hidden_size": 32, "learning_rate": 0.01, "pretrain": "next_k", "pretrain_next": 1}
    result = run_recbole_genrec("SASRecAll", "tiny", config_dict=settings | {"pretrain_epochs": 60})
    assert result["test_result"]["hit@1"] > 0.9
    assert result["epochs"] == 61


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("SASRecAll", {"pretrain": "mask"}, "'pretrain'.*masked"),
        ("SASRecAll", {"pretrain": "next_k", "pretrain_next": 0}, "'pretrain_next' must be"),
        ("BSARec", {"pretrain": "next_k", "train_on": "last"}, "it needs 'train_on: all'"),
    ],
)
def test_what_cannot_be_is_refused(checkerboard, model, settings, message):
    with pytest.raises(GenRecError, match=message):
        run_recbole_genrec(model, "tiny", config_dict=checkerboard | settings)


def test_a_model_with_a_pretraining_of_its_own_refuses_the_key():
    name = "GenRecSeq2Seq"
    with pytest.raises(GenRecError, match="'pretrain' .* has no effect on GenRecSeq2Seq"):
        check_key("pretrain", COMMAND_LINE, known_keys([name], "ml-100k"), [name], "masked")
