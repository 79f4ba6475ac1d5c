"""Pretraining (PTUM) of GenRec: its losses against a prompt for every state, its stage, and what it refuses."""

from types import SimpleNamespace

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_genrec import run_recbole_genrec
from recbole_genrec.batches.packed_loader import PackedLoader
from recbole_genrec.batches.tokens import template_parts
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.recommender import GenRecommender
from tests.training.conftest import SMALL, TITLES

K = 3
#: sequences are longer than a window, so that windows are ragged.
WORLD = SMALL | {"item_prior": True, "max_prompt_tokens": 40, "min_history": 2, "pretrain_epochs": 2, "epochs": 2}


@pytest.fixture
def built(tmp_path, write_dataset, monkeypatch):
    """Build a GenRec with its loaders and trainer over histories of 3 to 12 items."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{u}", f"m{(u * 3 + t * (1 + u % 2)) % 8}", 100 + t) for u in range(12) for t in range(3 + u % 10)]
    data_path = write_dataset(tmp_path / "data", rows, [(f"m{i}", title) for i, title in enumerate(TITLES)])

    def make(**settings):
        given = WORLD | {"data_path": data_path, "checkpoint_dir": str(tmp_path / "saved")} | settings
        config = GenRecConfig("GenRec", "tiny", config_dict=given)
        init_seed(config["seed"], True)
        train, valid, _ = data_preparation(config, create_dataset(config))
        model = config.model_class(config, train.dataset)
        loader = model.training_loader(config, train.dataset)
        return SimpleNamespace(config=config, model=model, valid=valid, loader=loader)

    return make


def spread(model):
    """Draw vectors of items anew, so that each of them matters."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in (model.item_embedding.weight, model.mask_vector):
            if parameter is not None:
                parameter.normal_(std=0.3)


def state_after(model, history):
    """The last state of a prompt written token by token; an item ``n_items`` is the mask."""
    parts, end = template_parts(model.template, model.backbone), model.packer.tokens.end
    slots = model.engine.history == "vectors"
    places = []
    tokens = model.packer.tokens.prefixes[0].tolist()
    for number, item in enumerate(history):
        title = [end] if slots or item == model.n_items else list(model.catalogue.identifiers[item - 1])
        tokens += title if slots else [*(parts.between if number else ()), *title, *parts.suffix]
        places.append(len(tokens) - 1)
    embeds = model.backbone.embed(torch.tensor([tokens + parts.response]))
    if model.engine.history != "text":
        table = torch.cat([model.item_embedding.weight, torch.zeros(1, embeds.shape[2])])
        if model.mask_vector is not None:
            table = torch.cat([model.item_embedding.weight, model.mask_vector])
        added = torch.zeros_like(embeds)
        for place, item in zip(places, history):
            added[0, place] += model._sized(table[item, None])[0]
        embeds = embeds + added
    return model.backbone(embeds)[0, -1]


def loss_after(model, history, item):
    scores = model.item_embedding.weight[1:] @ state_after(model, history)
    return -scores.log_softmax(0)[item - 1]


def newest_that_fit(packer, items):
    """The newest items that a prompt has room for, as whole items."""
    count, tokens = 0, 0
    for item in reversed(items):
        tokens += packer.item_length[item]
        if tokens > packer.history_budget:
            break
        count += 1
    return items[len(items) - count :]


def plain_loss(model, batch, windows, items, kind, next_weight):
    """Both losses, window by window and state by state."""
    total, prompt = torch.zeros(()), 0
    for first, target, stop in zip(windows.first.tolist(), windows.target.tolist(), windows.stop.tolist()):
        whole = items[first:stop].tolist()
        shown = newest_that_fit(model.packer, whole)
        if kind != "next_k" and len(shown) > 1:
            width = batch.prompts.input_ids.shape[1]
            own = batch.prompts.items.cell // width == prompt
            masked, item = batch.prompts.items.item[own].tolist(), batch.masked_item[prompt].item()
            place = masked.index(model.n_items)
            assert [*masked[:place], item, *masked[place + 1 :]] == shown
            total, prompt = total + loss_after(model, masked, item), prompt + 1
        if kind != "masked":
            terms = []
            for asked in range(target - first, stop - first):
                for before in range(max(target - first, asked - K + 1), asked + 1):
                    terms.append(loss_after(model, whole[:before], whole[asked]))
            total = total + next_weight * sum(terms) / len(terms)
    return total / len(windows)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("masked", {"history": "vectors", "prompt": "instruction", "max_prompt_tokens": 96}),
        ("both", {"history": "vectors", "prompt": "continuation", "pretrain_next_weight": 0.4}),
        ("both", {"history": "both", "prompt": "instruction", "max_prompt_tokens": 120}),
        ("masked", {"history": "both", "prompt": "continuation"}),
        ("next_k", {"history": "text", "prompt": "instruction", "max_prompt_tokens": 140}),
    ],
)
def test_the_loss_is_that_of_a_plain_loop(built, kind, settings):
    made = built(pretrain=kind, pretrain_next=K, **settings)
    model = made.model.eval()  # no dropout; one instruction alone has the oracle's prefix
    model.packer.tokens.prefixes = model.packer.tokens.prefixes[:1]
    spread(model)
    made.loader.set_stage("pretrain")
    plan = made.loader._plan()
    items, windows, *_ = plan.rows
    lengths = set((windows.stop - windows.first).tolist())
    assert len(lengths) > 2, lengths
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for rows, batch in list(zip(plan.batches, made.loader))[:2]:
        weight = settings.get("pretrain_next_weight", 1.0)
        losses = [model.calculate_loss(batch), plain_loss(model, batch, windows[rows], items, kind, weight)]
        torch.testing.assert_close(*losses)
        grads = [torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True) for loss in losses]
        for ours, theirs in zip(*grads):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        assert batch.n_decisions == len(rows)


def trained(made, resume="", stop=None):
    made.config.final_config_dict["resume"] = resume
    trainer = get_trainer(made.config["MODEL_TYPE"], "GenRec")(made.config, made.model)
    seen, step = [], trainer._train_epoch

    def noted(train_data, epoch, *args, **kwargs):
        if epoch == stop:
            raise KeyError("stop")
        loss = step(train_data, epoch, *args, **kwargs)
        seen.append((trainer.stage, epoch, trainer.step))
        return loss

    trainer._train_epoch = noted
    if stop is None:
        trainer.fit(made.loader, made.valid, show_progress=False)
    else:
        with pytest.raises(KeyError):
            trainer.fit(made.loader, made.valid, show_progress=False)
    return trainer, seen


@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_resumes_ends_with_the_weights_of_one_that_does_not(built, stop):
    """It stops within pretraining, or at its end."""
    settings = {"pretrain": "both", "history": "vectors", "hidden_dropout": 0.2, "ema_decay": 0.5}
    whole = built(**settings, checkpoint_dir="whole")
    _, seen = trained(whole)
    assert [(stage, epoch) for stage, epoch, _ in seen] == [
        ("pretrain", 0),
        ("pretrain", 1),
        ("train", 2),
        ("train", 3),
    ]
    assert seen[1][2] == 2 * seen[0][2] and seen[2][2] < seen[1][2] + seen[0][2]
    trained(built(**settings), stop=stop)
    other = built(**settings)
    torch.manual_seed(9)
    _, rest = trained(other, resume="auto")
    assert rest == seen[stop:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_without_pretraining_everything_is_as_without_the_key(built):
    made, other = built(), built(pretrain="none")
    for each in (made, other):
        assert type(each.loader) is PackedLoader
        assert each.model.mask_vector is None and "mask_vector" not in each.model.state_dict()
    weights = {name: value.clone() for name, value in made.model.state_dict().items()}
    masked, ahead = built(pretrain="masked", history="vectors"), built(pretrain="next_k", history="vectors")
    assert masked.model.state_dict().keys() - ahead.model.state_dict().keys() == {"mask_vector"}
    for name, value in built(pretrain="next_k").model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_fine_tuning_has_the_batches_of_a_run_without_pretraining(built):
    made, plain = built(pretrain="both", history="vectors"), built(history="vectors")
    made.loader.set_stage("pretrain")
    list(made.loader)
    made.loader.set_stage("finetune", first_epoch=2)
    for ours, theirs in zip(made.loader, plain.loader, strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids) and torch.equal(ours.labels.cell, theirs.labels.cell)
        assert ours.learnt_share == theirs.learnt_share == 1.0


def test_checkpoints_are_ranked_with(built, tmp_path):
    """Without the mask, which ranking has no use for."""
    made = built(pretrain="masked", history="vectors")
    trainer, _ = trained(made)
    load_checkpoint_into(made.model, trainer.saved_model_file)
    assert len(GenRecommender(trainer.saved_model_file).recommend([["Babe", "Seven"]], topk=3)[0]) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretrain": "masked", "history": "vectors"}, "'pretrain: masked' of GenRec needs 'item_prior: true'"),
        ({"pretrain": "masked", "item_prior": True}, "it needs 'history: vectors' or 'both'"),
        (
            {"pretrain": "next_k", "item_prior": True, "packing": False},
            "'pretrain: next_k' of GenRec needs 'packing: true'",
        ),
    ],
)
def test_what_cannot_be_is_refused(checkerboard, settings, message):
    with pytest.raises(GenRecError, match=message):
        run_recbole_genrec("GenRec", "tiny", config_dict=checkerboard | settings)
