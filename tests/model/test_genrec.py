"""GenRec inside RecBole: learning a world with a known answer, and the ways into it."""

from types import SimpleNamespace

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer
from recbole.utils import init_seed
from torch.nn.functional import cross_entropy

from recbole_genrec import GenRec, GenRecError, run_recbole_genrec
from recbole_genrec.backbone.scratch import build_scratch
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.decoding.softmax import trie_loss
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "continuation", "normalization": "trie"},
        {"prompt": "instruction", "normalization": "trie", "max_prompt_tokens": 512, "epochs": 40},
        {
            "prompt": "continuation",
            "normalization": "vocab",
            "decoding": "beam",
            "scratch_hidden_size": 64,
            "epochs": 80,
        },
        {"prompt": "continuation", "packing": False, "epochs": 8, "train_batch_size": 32},
        {"prompt": "continuation", "history": "both"},
        {"prompt": "continuation", "edge_embedding": True},
        {"prompt": "continuation", "item_prior": True},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_the_checkerboard_is_learned(checkerboard, settings):
    result = run_recbole_genrec("GenRec", "tiny", config_dict=checkerboard | settings)
    assert result["test_result"]["hit@1"] == 1
    assert result["generation"]["valid_share"] == 1


def test_recboles_own_objects_are_enough(checkerboard):
    config = Config(model=GenRec, dataset="tiny", config_dict=checkerboard | {"epochs": 8, "train_batch_size": 32})
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, GenRec(config, train.dataset))
    trainer.fit(train, valid)
    assert trainer.evaluate(test)["hit@1"] == 1


def test_stock_runner_and_loader(checkerboard, tmp_path):
    result = run_recbole(model="GenRec", dataset="tiny", config_dict=checkerboard | {"packing": False, "epochs": 8})
    assert result["test_result"]["hit@1"] == 1
    best = next(tmp_path.glob("saved/GenRec-tiny-*/best"))
    _, model, _, _, _, test = load_data_and_model(str(best))
    interaction = next(iter(test))[0]
    top = model.eval().full_sort_predict(interaction).argmax(1)
    assert (top == interaction["item_id"]).all()


def test_metrics_are_those_of_recboles_evaluator(checkerboard):
    """The runner's packed training and RecBole's evaluation loop see the same lists as a loop by hand."""
    result = run_recbole_genrec("GenRec", "tiny", config_dict=checkerboard | {"epochs": 1})
    _, model, _, _, _, test = load_data_and_model(result["checkpoint"])
    hits = []
    for interaction, _, _, target in test:
        ranked = model.eval().full_sort_predict(interaction).argsort(dim=1, descending=True)
        hits.append((ranked[:, :5] == target[:, None]).any(1))
    assert result["test_result"]["hit@5"] == pytest.approx(torch.cat(hits).float().mean().item(), abs=1e-4)


def test_forward_reads_item_sequences(checkerboard):
    config = Config(model=GenRec, dataset="tiny", config_dict=checkerboard)
    train, _, _ = data_preparation(config, create_dataset(config))
    model = GenRec(config, train.dataset).eval()
    histories = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
    states = model(histories, torch.tensor([3, 1, 0]))
    assert states.shape == (3, 32)
    torch.testing.assert_close(model(histories[1:2, :1], torch.tensor([1])), states[1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topk": [5, 13]}, "topk"),
        ({"decoding": "beam", "num_beams": 3}, "num_beams"),
        ({"prompt": "continuatoin"}, "continuation"),
        ({"item_indexing": "titel"}, "title"),
        ({"item_text": "{titel}"}, "title"),
        ({"max_prompt_tokens": 8192}, "max_prompt_tokens"),
        ({"max_prompt_tokens": 8, "prompt": "instruction"}, "max_prompt_tokens"),
        ({"normalization": "tree"}, "normalization"),
        ({"scratch_heads": 5}, "scratch_heads"),
    ],
)
def test_bad_settings_are_named(checkerboard, settings, message):
    with pytest.raises(GenRecError, match=message):
        run_recbole_genrec("GenRec", "tiny", config_dict=checkerboard | settings)


def test_items_without_text_keep_their_interactions(checkerboard, tmp_path, caplog):
    path = tmp_path / "data/tiny/tiny.item"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    config = Config(model=GenRec, dataset="tiny", config_dict=checkerboard)
    dataset = create_dataset(config)
    assert dataset.inter_num == 48 * 7.5
    with caplog.at_level("INFO"):
        model = GenRec(config, data_preparation(config, dataset)[0].dataset)
    assert "12 items, 3 without text" in caplog.text
    assert sum(text.startswith("item ") for text in model.catalogue.texts) == 3


def test_items_that_training_never_sees_keep_a_zero_vector(checkerboard):
    config = Config(model=GenRec, dataset="tiny", config_dict=checkerboard | {"history": "both", "epochs": 1})
    train, valid, _ = data_preparation(config, create_dataset(config))
    model = GenRec(config, train.dataset)
    rows = train.dataset.inter_feat["item_id_list"]
    train.dataset.inter_feat["item_id_list"] = rows.masked_fill(rows == 3, 4)  # nobody has item 3 in a history
    Trainer(config, model).fit(train, saved=False)
    used = model.item_embedding.weight.norm(dim=1) > 0
    assert not used[3]
    assert used[4]


def test_an_adapter_on_a_pretrained_folder_comes_back(checkerboard, tmp_path):
    """The checkpoint holds the adapter alone; RecBole's strict loading takes the frozen weights from the folder."""
    torch.manual_seed(0)
    pretrained = build_scratch(BackboneArguments(scratch_hidden_size=32, scratch_vocab_size=300), ["Heat", "Big"])
    for part in (pretrained.model, pretrained.tokenizer):
        part.save_pretrained(tmp_path / "llama")
    settings = {"backbone": str(tmp_path / "llama"), "adapter": "lora", "epochs": 2}
    result = run_recbole_genrec("GenRec", "tiny", config_dict=checkerboard | settings)
    assert result["parameters"]["trainable"] < result["parameters"]["total"]
    _, model, _, _, _, test = load_data_and_model(result["checkpoint"])
    hits = []
    for interaction, _, _, target in test:
        ranked = model.eval().full_sort_predict(interaction).argsort(dim=1, descending=True)
        hits.append((ranked[:, :5] == target[:, None]).any(1))
    assert result["test_result"]["hit@5"] == pytest.approx(torch.cat(hits).float().mean().item(), abs=1e-4)
    assert any(tensor.abs().sum() > 0 for name, tensor in model.state_dict().items() if ".lora_B" in name)


def test_a_list_is_valid_where_it_holds_distinct_items_of_the_catalogue(checkerboard):
    config = GenRecConfig("GenRec", "tiny", config_dict=checkerboard)
    model = build_model(config, SplitData([config]))
    assert model.n_items == 13
    model.reset_statistics()
    assert set(model.statistics.values()) == {0}
    model._count(torch.tensor([[1, 2], [12, 5], [0, 3], [3, 13], [4, 4], [7, 0]]))
    assert model.statistics["lists"] == 6 and model.statistics["valid_lists"] == 2


@pytest.mark.parametrize(
    ("identifiers", "choices"),
    [
        ([(5, 6), (7, 6), (7, 8, 9)], [1, 2, 2]),
        ([(5, 6), (5, 7), (5, 7, 8)], [1, 2, 2]),  # all begin alike: the first token is no choice
        ([(5, 6), (5, 7)], [1, 1]),
        ([(5,), (5, 7)], [1, 1]),  # the end is one of the choices
        ([(5,), (6,)], [1, 1]),
    ],
)
def test_decisions_are_the_tokens_that_the_catalogue_leaves_open(identifiers, choices):
    model = SimpleNamespace(n_items=len(identifiers) + 1, trie=build_trie(identifiers, 99))
    assert GenRec.decisions(model).tolist() == choices


@pytest.mark.parametrize("branch_share", [0.3, 1.0])
@pytest.mark.parametrize("cold_items", [0, 0.2])
def test_the_softmax_over_items_learns_every_target_whichever_titles_are_learnt(checkerboard, branch_share, cold_items):
    """The oracle compares the state of each target with every known item; loss and gradient are alike."""
    more = {"history": "vectors", "item_prior": True, "item_prior_loss": 0.7, "branch_share": branch_share}
    more |= {"cold_items": cold_items, "topk": [1], "valid_metric": "Hit@1", "train_batch_tokens": 64}
    config = GenRecConfig("GenRec", "tiny", None, checkerboard | more)
    data = SplitData([config])
    model = build_model(config, data).eval()
    counts = set()
    for batch in data.train_loader(config, model):
        counts.add(int((~batch.learnt).sum()) > 0)
        mask = batch.mask(model.backbone.mask_kind)
        states = model.backbone(model.embed(batch.input_ids, batch.items), batch.position_ids, mask).flatten(0, 1)
        hidden, unknown = states[batch.labels.cell], model.unknown_edges
        titles = trie_loss(model.backbone, model.trie, hidden, batch.labels.label, unknown=unknown) / branch_share
        logits = states[batch.targets.cell] @ model.item_embedding.weight.T
        known = range(1, model.n_items) if model.known_items is None else model.known_items.tolist()
        left_out = torch.tensor([item not in known for item in range(model.n_items)])
        items = cross_entropy(logits.masked_fill(left_out, -torch.inf), batch.targets.item, reduction="sum")
        expected, found = (titles + 0.7 * items) / batch.n_decisions, model.calculate_loss(batch)
        torch.testing.assert_close(found, expected)
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = [torch.autograd.grad(loss, weights, allow_unused=True) for loss in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert (True in counts) == (branch_share < 1)


def test_dropout_in_the_layers_of_a_scratch_model_is_for_training_alone(checkerboard):
    states = []
    for share in (0.0, 0.5):
        config = Config(model=GenRec, dataset="tiny", config_dict=checkerboard | {"scratch_dropout": share})
        train, _, _ = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        model = GenRec(config, train.dataset)
        for dropout in (model.backbone.embedding_dropout, model.backbone.hidden_dropout):
            dropout.p = 0.0
        histories = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([3, 3])
        states.append([model.train()(*histories), model(*histories), model.eval()(*histories)])
    plain, dropped = states
    assert torch.equal(plain[0], plain[2]) and torch.equal(plain[2], dropped[2])
    assert not torch.equal(dropped[0], dropped[1]) and not torch.equal(dropped[0], dropped[2])


def test_rows_of_recboles_loader_learn_every_title_at_its_own_weight(checkerboard):
    """No share was drawn for them, so their loss is not scaled up."""
    losses = []
    for share in (1.0, 0.25):
        config = Config(model=GenRec, dataset="tiny", config_dict=checkerboard | {"branch_share": share})
        train, _, test = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        losses.append(GenRec(config, train.dataset).eval().calculate_loss(next(iter(test))[0]))
    torch.testing.assert_close(*losses)
