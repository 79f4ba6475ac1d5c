"""Models whose items have vectors of their texts beside learned ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.quick_start import load_data_and_model
from recbole.utils import init_seed

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.dataset import seen_items
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import SQUARED_LENGTH
from tests.builders import randomize, write_base, write_checkpoint

TITLES = ["Toy Story", "Toy Story 2", "Heat", "Heat Wave", "The Sting", "The Thing", "Alien", "Alien Nation"]
SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 64,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "epochs": 3,
    "learning_rate": 0.01,
    "weight_decay": 0.5,
    "show_progress": False,
    "MAX_ITEM_LIST_LENGTH": 5,
}
GENREC = {"history": "both", "item_prior": True, "item_prior_loss": 1.0, "train_batch_tokens": 256}
SASREC = {"hidden_size": 16, "inner_size": 16, "n_layers": 1, "train_batch_size": 8}
TFIDF = {"text_vectors": "tfidf", "text_vectors_text": "{title} {genre}"}


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    """Settings of a small world; its last item is only ever a test target, and one is in no interaction."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{u}", f"m{(u * 3 + t * (1 + u % 2)) % 7}", 100 + t) for u in range(20) for t in range(5)]
    rows += [(f"u{u}", "m7", 200) for u in range(4)]
    items = [(f"m{i}", title, ("Animation", "Crime", "Horror")[i % 3]) for i, title in enumerate(TITLES)]
    items.append(("m8", "Up", "Animation"))
    header = ("item_id:token", "title:token_seq", "genre:token_seq")
    return SMALL | {"data_path": write_dataset(tmp_path / "data", rows, items, item_header=header)}


def built(name, settings, **more):
    """Configuration, model, and the loaders of the three parts."""
    config = GenRecConfig(name, "tiny", config_dict=settings | (GENREC if name == "GenRec" else SASREC) | more)
    init_seed(3, True)
    loaders = data_preparation(config, create_dataset(config))
    init_seed(3, True)
    return config, config.model_class(config, loaders[0].dataset), loaders


def batch_of(config, model, loaders):
    return next(iter(model.training_loader(config, loaders[0].dataset)))


@pytest.mark.parametrize("more", [{}, {"lazy_windows": False}, {"cold_items": 0.3}, {"keep_unseen_items": True}])
def test_seen_items_are_those_of_training(settings, more):
    _, _, (train, _, _) = built("SASRecAll", settings, **more)
    feat = train.dataset.inter_feat
    feat = feat.gather() if hasattr(feat, "gather") else feat
    expected = {*feat["item_id"].tolist(), *feat["item_id_list"].flatten().tolist()} - {0}
    seen = seen_items(train.dataset)
    assert set(np.flatnonzero(seen)) == expected and len(seen) == train.dataset.item_num
    assert not seen[train.dataset.field2token_id["item_id"]["m7"]]


@pytest.mark.parametrize("lazy_windows", [True, False])
def test_seen_items_reach_from_the_first_to_the_last_target(settings, tmp_path, write_dataset, lazy_windows):
    rows = [(f"u{u}", f"m{u}{t}", 100 + t) for u in range(3) for t in range(5 + u)]
    data = write_dataset(tmp_path / "own", rows)
    _, _, (train, _, _) = built("SASRecAll", settings, data_path=data, lazy_windows=lazy_windows)
    numbers = train.dataset.field2token_id["item_id"]
    expected = {numbers[f"m{u}{t}"] for u in range(3) for t in range(3 + u)}  # two are held out for each user
    assert set(np.flatnonzero(seen_items(train.dataset))) == expected


@pytest.mark.parametrize(("name", "more"), [
    ("GenRec", {}),
    ("GenRec", {"history": "text"}),
    ("GenRec", {"item_prior": False, "item_prior_loss": 0.0}),
    ("GenRec", {"packing": False}),
    ("SASRecAll", {}),
])  # fmt: skip
def test_with_the_projection_at_zero_everything_equals_the_model_without(settings, name, more):
    """Loss, gradients and scores, bit for bit, but the learned vectors of items that training has not seen."""
    config, plain, loaders = built(name, settings, **more)
    _, model, _ = built(name, settings, **more, **TFIDF)
    assert isinstance(model.item_embedding, ItemVectors) and model.item_embedding.table.any()
    if name == "GenRec":
        randomize(plain)
    with torch.no_grad():
        weight = plain.item_embedding.weight
        weight[1:][torch.from_numpy(~seen_items(loaders[0].dataset)[1:])] = 0
        state = dict(plain.state_dict())
        state["item_embedding.learned"] = state.pop("item_embedding.weight")
        assert not model.load_state_dict(state, strict=False).unexpected_keys
    batch = batch_of(config, model, loaders) if model.training_loader(config, loaders[0].dataset) else None
    batch = next(iter(loaders[0])) if batch is None else batch
    losses = []
    for each in (plain, model):
        torch.manual_seed(5)
        losses.append(each.train().calculate_loss(batch))
        losses[-1].backward()
    assert torch.equal(*losses)
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
    seen = torch.from_numpy(seen_items(loaders[0].dataset))
    seen[0] = True
    for key, parameter in model.named_parameters():
        if key == "item_embedding.learned":
            assert torch.equal(parameter.grad[seen], gradients["item_embedding.weight"][seen])
            assert not parameter.grad[~seen].any()
        elif key == "item_embedding.projection":
            assert parameter.grad.any()
        else:
            assert torch.equal(parameter.grad, gradients[key]), key
    for loader in loaders[1:]:
        rows = next(iter(loader))[0]
        with torch.no_grad():
            scores = [each.eval().full_sort_predict(rows) for each in (plain, model)]
        assert torch.equal(*scores)


@pytest.mark.parametrize("name", ["GenRec", "SASRecAll"])
@pytest.mark.parametrize("more", [{}, {"cold_items": 0.5}, {"keep_unseen_items": True}])
def test_items_that_training_has_not_seen_have_the_vector_of_their_text_alone(settings, name, more):
    own = GENREC if name == "GenRec" else SASREC
    run_recbole_genrec(
        name, "tiny", config_dict=settings | own | TFIDF | {"item_vector_dropout": 0.3, "ema_decay": 0.5} | more
    )
    (path,) = checkpoints(name)
    _, model, dataset, train, *_ = load_data_and_model(path)
    seen = seen_items(train.dataset)
    vectors = model.item_embedding
    assert vectors.projection.any() and not vectors.learned[1:][torch.from_numpy(~seen[1:])].any()
    assert vectors.learned[torch.from_numpy(seen)].any()
    number = dataset.field2token_id["item_id"]
    known = [number[item] for item in ("m7", "m8") if item in number]
    assert len(known) == (2 if "keep_unseen_items" in more else 1)
    assert vectors.table[known].any(1).all() and vectors.weight[known].any(1).all()


def checkpoints(name):
    """Paths of the best epochs of a model's runs."""
    pattern = f"{name}-*/best" if name == "GenRec" else f"{name}-*.pth"
    return [str(path) for path in Path("saved").glob(pattern)]


@pytest.mark.parametrize("name", ["GenRec", "SASRecAll"])
def test_dropped_items_are_drawn_in_every_training_step(settings, name):
    config, model, loaders = built(name, settings, **TFIDF, item_vector_dropout=0.5)
    randomize(model)
    batch, losses = batch_of(config, model, loaders), []
    for _ in range(4):
        state = torch.get_rng_state()
        losses.append(model.train().calculate_loss(batch).item())
        torch.set_rng_state(state)
        assert model.calculate_loss(batch).item() == losses[-1]
        torch.rand(1)
    assert len(set(losses)) == 4
    model.item_embedding.dropout = 1.0
    torch.manual_seed(0)
    losses = [model.calculate_loss(batch)]
    with torch.no_grad():
        model.item_embedding.learned[1:] = 0
    model.item_embedding.dropout = 0.0
    torch.manual_seed(0)
    torch.rand(len(model.item_embedding.learned))
    torch.testing.assert_close(model.calculate_loss(batch), losses[0])


def test_cold_items_are_no_alternatives_of_the_loss_of_sasrecall(settings):
    config, model, loaders = built("SASRecAll", settings, **TFIDF, cold_items=0.3)
    dataset = loaders[0].dataset
    batch = batch_of(config, model, loaders)
    torch.nn.init.normal_(model.item_embedding.projection)
    losses = []
    for shift in (0.0, 9.0):
        with torch.no_grad():
            model.item_embedding.table[dataset.cold_items] += shift
        torch.manual_seed(0)
        losses.append(model.calculate_loss(batch))
    assert torch.equal(*losses)
    with torch.no_grad():
        model.item_embedding.table[model.known[1]] += 9.0
    torch.manual_seed(0)
    assert not torch.equal(model.calculate_loss(batch), losses[0])


def test_the_state_dict_of_sasrecall_without_text_vectors_is_that_of_sasrec(settings):
    config, model, loaders = built("SASRecAll", settings)
    stock = SASRec(config, loaders[0].dataset)
    assert stock.state_dict().keys() == model.state_dict().keys()


def test_sasrecall_refuses_weights_of_other_vectors(settings):
    _, model, _ = built("SASRecAll", settings, **TFIDF)
    _, same, _ = built("SASRecAll", settings, **TFIDF)
    _, other, _ = built("SASRecAll", settings, text_vectors="tfidf")
    randomize(model)
    same.load_state_dict(model.state_dict())
    assert torch.equal(same.item_embedding.weight, model.item_embedding.weight)
    state = model.state_dict() | {"item_embedding.projection": other.item_embedding.projection}
    with pytest.raises(GenRecError, match="The vectors of item texts are others than those"):
        other.load_state_dict(state)


def test_sasrecall_learns_from_texts_and_is_opened_again(settings):
    result = run_recbole_genrec("SASRecAll", "tiny", config_dict=settings | SASREC | TFIDF)
    (path,) = checkpoints("SASRecAll")
    _, model, _, _, _, test = load_data_and_model(path)
    assert model.item_embedding.projection.any() and result["test_result"]
    rows = next(iter(test))[0]
    with torch.no_grad():
        assert torch.isfinite(model.eval().full_sort_predict(rows)).all()


def test_a_checkpoint_holds_the_vectors(settings, tmp_path):
    """A resumed training takes the table of the checkpoint, whatever it makes of the texts itself."""
    config, source, rows = write_checkpoint(tmp_path / "best", "GenRec", settings | GENREC | TFIDF)
    _, model, _ = built("GenRec", settings, **TFIDF)
    table = model.item_embedding.table.clone()
    model.take_text_vectors(type(model.text_vectors)(model.text_vectors.made, -model.text_vectors.table))
    assert torch.equal(model.item_embedding.table, -table)
    load_checkpoint_into(model, tmp_path / "best")
    assert torch.equal(model.item_embedding.table, table)
    with torch.no_grad():
        assert torch.equal(model.eval().full_sort_predict(rows), source.full_sort_predict(rows))
    opened = load_data_and_model(str(tmp_path / "best"))[1].eval()
    with torch.no_grad():
        assert torch.equal(opened.full_sort_predict(rows), source.full_sort_predict(rows))
    for more in ({}, {"text_vectors": "tfidf+backbone", "backbone": write_base(tmp_path / "base"), "adapter": "none"}):
        with pytest.raises(GenRecError):
            load_checkpoint_into(built("GenRec", settings, **more)[1], tmp_path / "best")


def test_warm_start_goes_on_with_the_projection(settings, tmp_path, write_dataset):
    _, source, _ = write_checkpoint(tmp_path / "best", "GenRec", settings | GENREC | {"text_vectors": "tfidf"})
    titles = ["Up", "The Thing", "Toy Story 3", "Big Heat", "Heat", "Brazil"]
    rows = [(f"u{u}", f"n{(u + t) % 6}", 100 + t) for u in range(14) for t in range(5)]
    data = write_dataset(tmp_path / "new", rows, [(f"n{i}", title) for i, title in enumerate(titles)])
    new = settings | {"data_path": data, "warm_start": str(tmp_path / "best")}
    _, model, _ = built("GenRec", new, text_vectors="tfidf")
    assert torch.equal(model.item_embedding.projection, source.item_embedding.projection)
    there = dict(zip(source.catalogue.texts, source.item_embedding.weight[1:]))
    here = dict(zip(model.catalogue.texts, model.item_embedding.weight[1:]))
    for title in ("Heat", "The Thing"):  # learned part and text alike
        torch.testing.assert_close(here[title], there[title])
    assert here["Toy Story 3"].any() and not model.item_embedding.learned[model.catalogue.texts.index("Up") + 1].any()
    _, other, _ = built("GenRec", new)  # without text vectors, what was learned of an item is taken over alone
    learned = [
        model.item_embedding.weight if model is other else model.item_embedding.learned for model in (other, source)
    ]
    numbers = [model.catalogue.texts.index("Heat") + 1 for model in (other, source)]
    assert torch.equal(learned[0][numbers[0]], learned[1][numbers[1]])


@pytest.mark.parametrize(("name", "more", "message"), [
    ("GenRec", {"history": "text", "item_prior": False, "item_prior_loss": 0.0}, "needs 'history: vec"),
    ("GenRec", {"text_vectors": "backbone"}, "'text_vectors: backbone' needs a pretrained 'backbone'"),
    ("SASRecAll", {"text_vectors": "tfidf+backbone"}, "'text_vectors: backbone' needs a pretrained 'backbone'"),
    ("SASRecAll", {"text_vectors": "tfidf+"}, "'text_vectors' must be 'tfidf', 'backbone'"),
    ("SASRecAll", {"text_vectors_text": "{year}"}, "The 'text_vectors_text' template '{year}' asks for 'year'"),
    ("GenRec", {"text_vectors": "nothing/here"}, "Cannot load the sentence encoder 'nothing/here'"),
])  # fmt: skip
def test_settings_that_cannot_be(settings, monkeypatch, name, more, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(GenRecError, match=message):
        built(name, settings, **TFIDF | more)


def test_vectors_by_a_backbone(settings, tmp_path):
    more = {"text_vectors": "backbone", "backbone": write_base(tmp_path / "base"), "max_prompt_tokens": 96}
    _, model, _ = built("GenRec", settings, **more)
    table = model.item_embedding.table
    assert table.shape[1] == 16
    hidden = model.backbone.eval()
    with torch.no_grad():  # the adapter is at zero before training
        states = [
            hidden(hidden.embed(torch.tensor([hidden.encode(text)])))[0].mean(0) for text in model.catalogue.item_texts
        ]
    states = torch.stack(states)
    seen = torch.from_numpy(model._vector_training["seen"].numpy()[1:])
    centred = states - states[seen].mean(0)
    expected = centred * (SQUARED_LENGTH / centred[seen].square().sum(1).mean()).sqrt()
    torch.testing.assert_close(table[1:], expected, rtol=1e-3, atol=1e-3)
