"""Cold items: no training batch of any model holds one, and the rows that ask for them are those of the rule."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.decoding.softmax import trie_loss
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs import measure
from recbole_genrec.runs.run import build_model

ROWS = [(f"u{u}", f"m{(u * 3 + t * (1 + u % 3)) % 14}", 1000 + t // 2) for u in range(12) for t in range(3 + u % 7)]
ITEMS = [(f"m{item}", f"Film {item}") for item in range(14)]
SMALL = {
    "cold_items": 0.3,
    "hidden_size": 8,
    "n_layers": 1,
    "n_heads": 1,
    "inner_size": 8,
    "MAX_ITEM_LIST_LENGTH": 4,
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 200,
    "item_indexing": "independent",
    "normalization": "vocab",
    "topk": [1, 3],
    "epochs": 1,
    "show_progress": False,
}
OF_RECBOLE = ("SASRec", "SASRecAll", "BSARec", "HSTU", "BERT4Rec")
# RecBole masks a share of a window's places, rounded down: of four, a fifth is none
OF_BERT4REC = {"mask_ratio": 0.5}
KEYS = {"hidden_size", "n_layers", "n_heads", "inner_size"}


@pytest.fixture
def split(tmp_path, monkeypatch, write_dataset):
    """A function that gives a model's configuration, split data and model."""
    monkeypatch.chdir(tmp_path)
    data_path = write_dataset(tmp_path / "data", ROWS, ITEMS)

    def build(name="GenRec", **settings):
        of_others = KEYS if name not in OF_RECBOLE else ()
        given = {key: value for key, value in SMALL.items() if key not in of_others}
        config = GenRecConfig(name, "tiny", config_dict={**given, "data_path": data_path, **settings})
        data = SplitData([config])
        return config, data, build_model(config, data)

    return build


def expected_rows(dataset):
    """What the rule asks, user by user, written out: (user, history, target), tokens of the file."""
    cold = {dataset.id2token("item_id", item) for item in dataset.cold_items}
    found = []
    for user in dict.fromkeys(user for user, *_ in ROWS):
        items = [item for other, item, _ in sorted(ROWS, key=lambda row: row[2]) if other == user]
        places = [place for place, item in enumerate(items) if item in cold]
        if places:
            history = [item for item in items[: places[-1]] if item not in cold]
            if history:
                found.append((user, history[-SMALL["MAX_ITEM_LIST_LENGTH"] :], items[places[-1]]))
    return found


def rows_of(part):
    rows = part[np.arange(len(part))]
    columns = (rows[field].numpy() for field in ("user_id", "item_id_list", "item_length", "item_id"))
    return [
        (
            part.id2token("user_id", user),
            list(part.id2token("item_id", items[:length])),
            part.id2token("item_id", target),
        )
        for user, items, length, target in zip(*columns)
    ]


@pytest.mark.parametrize("lazy", [True, False])
def test_the_rows_are_those_of_the_rule(split, lazy):
    _, data, _ = split(lazy_windows=lazy)
    assert len(data.dataset.cold_items) == round(0.3 * 14)
    expected = expected_rows(data.dataset)
    assert len(expected) > 5 and sorted(rows_of(data.cold)) == sorted(expected)
    for part in data.parts:  # the others are the usual ones of a world without cold items
        rows = rows_of(part)
        cold = set(data.dataset.id2token("item_id", data.dataset.cold_items))
        assert rows and not cold & {item for _, history, target in rows for item in [*history, target]}
    users = {user for user, *_ in ROWS}
    warm = {u: [i for o, i, _ in sorted(ROWS, key=lambda row: row[2]) if o == u and i not in cold] for u in users}
    last = {user: items[-1] for user, items in warm.items() if len(items) > 2}
    assert last.items() <= {user: target for user, _, target in rows_of(data.parts[2])}.items()


def test_the_seed_chooses_the_items(split):
    draws = [split("SASRec", seed=seed)[1].dataset.cold_items.tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def items_in(batch, item_of):
    """Items that stand in a training batch as history or target."""
    if isinstance(batch, Interaction):
        fields = ("item_id", "item_id_list", "Mask_item_id_list", "Pos_item_id")
        return {item for field in fields if field in batch for item in batch[field].unique().tolist()} - {0}
    prompts = getattr(batch, "prompts", batch)
    tables = [
        prompts.input_ids,
        batch.labels.label if hasattr(batch, "labels") else batch.label,
        *(getattr(batch, name, prompts.input_ids) for name in ("target_ids", "answer_ids")),
    ]
    return {item_of[token] for table in tables for token in table.unique().tolist() if token in item_of}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GenRec", {}),
        ("GenRec", {"packing": False}),
        ("GenRec", {"packing": False, "lazy_windows": False}),
        ("GenRec", {"lazy_windows": False}),
        ("P5", {"tasks": {"sequential": 3, "direct": 1}, "n_candidates": 2}),
        ("GenRecSeq2Seq", {}),
        ("GenRecSeq2Seq", {"train_stage": "pretrain"}),
        *((name, {"lazy_windows": lazy}) for name in OF_RECBOLE[:-1] for lazy in (True, False)),
        *(("BERT4Rec", {"lazy_windows": lazy, **OF_BERT4REC}) for lazy in (True, False)),
    ],
)
def test_no_training_batch_holds_a_cold_item(split, name, settings):
    for share in (0, 0.3):
        config, data, model = split(name, cold_items=share, **settings)
        item_of = {}
        if hasattr(model, "catalogue"):
            item_of = {tokens[0]: place + 1 for place, tokens in enumerate(model.catalogue.identifiers)}
        loader = data.train_loader(config, model)
        if "train_stage" in settings:
            loader.set_stage("pretrain")
        if name == "P5":  # candidates are drawn from the catalogue, cold items among them: those are no targets
            loader.writer.prompts.families["direct"] = loader.writer.prompts.families["direct"][:3]
        found = set()
        for _ in range(6):
            for batch in loader:
                found |= items_in(batch, item_of)
        mask_token = {data.dataset.item_num} if name == "BERT4Rec" else set()
        expected = set(range(1, 15)) - set(data.dataset.cold_items)
        assert found - mask_token == expected - _never_trained(data, expected)


def _never_trained(data, items):
    """Items that stand in validation or test rows alone."""
    rows = data.parts[0][np.arange(len(data.parts[0]))]
    return items - set(rows["item_id"].tolist()) - set(rows["item_id_list"].unique().tolist())


def test_the_loss_is_that_of_a_catalogue_without_them(split):
    """Decisions at which only cold items are an alternative cost nothing; the others are those of a smaller trie."""
    _, data, model = split("GenRec", item_indexing="title", normalization="trie", item_prior=True)
    torch.nn.init.normal_(model.item_embedding.weight)
    cold, identifiers = set(data.dataset.cold_items.tolist()), model.catalogue.identifiers
    warm = [item for item in range(1, 15) if item not in cold]
    smaller = build_trie([identifiers[item - 1] for item in warm], model.packer.tokens.end)
    smaller.item_vectors = torch.nn.Embedding.from_pretrained(model.item_embedding.weight.detach()[[0, *warm]])
    torch.manual_seed(0)
    states = torch.randn(max(map(len, identifiers)) + 1, model.backbone.hidden_size)  # by depth

    def loss(trie, item, unknown=None, **weight):
        edges = trie.path_edge[trie.path_offset[item] : trie.path_offset[item + 1]]
        return trie_loss(model.backbone, trie, states[trie.edge_begin[edges]], edges, **weight, unknown=unknown)

    assert 0 < model.unknown_edges.sum() < len(model.unknown_edges)
    for place, item in enumerate(warm, start=1):
        expected = loss(smaller, place)
        torch.testing.assert_close(loss(model.trie, item, unknown=model.unknown_edges), expected)
        weight = torch.full((int(model.trie.path_offset[item + 1] - model.trie.path_offset[item]),), 2.0)
        weighted = loss(model.trie, item, unknown=model.unknown_edges, weight=weight)
        torch.testing.assert_close(weighted, 2 * expected)
    assert any(loss(model.trie, item) > loss(smaller, place) + 1e-4 for place, item in enumerate(warm, start=1))
    assert split("GenRec", cold_items=0)[2].unknown_edges is None


@pytest.mark.parametrize(
    ("name", "settings"), [("GenRec", {}), ("P5", {"tasks": {"sequential": 1}}), ("GenRecSeq2Seq", {})]
)
def test_no_gradient_reaches_a_cold_item(split, name, settings):
    config, data, model = split(name, normalization="trie", adapter="none", **settings)
    identifiers = model.catalogue.identifiers  # one new token an item
    for batch in data.train_loader(config, model):
        model.calculate_loss(batch).backward()
    gradient = model.backbone.causal_model.get_input_embeddings().weight.grad.abs().sum(1)
    cold = set(data.dataset.cold_items.tolist())
    reached = {item for item in range(1, 15) if gradient[identifiers[item - 1][0]] > 0}
    assert reached and not reached & cold


class TestRunner:
    def test_the_json_and_the_table_have_both(self, split, capsys, tmp_path, monkeypatch):
        tested = []
        kept = measure.evaluate_cold
        monkeypatch.setattr(measure, "evaluate_cold", lambda *args: tested.append(args) or kept(*args))
        settings = {"data_path": str(tmp_path / "data"), **SMALL}
        results = run_recbole_genrec("GenRec,SASRec", "tiny", config_dict=settings)
        assert "among cold ndcg@3" in capsys.readouterr().out
        for result, (_, dataset, make_loader, trainer) in zip(results, tested):
            stored = json.loads(Path(f"results/{result['model']}-tiny-2020.json").read_text("utf-8"))
            cold = stored["cold"]
            assert (cold["items"], cold["of"], cold["rows"]) == (4, 14, len(expected_rows(dataset)))
            part, model = make_loader()._dataset, trainer.model
            rows = part[np.arange(len(part))]
            if result["model"] == "GenRec":
                assert model.engine.decoding == "exact"  # as it was before
                model.engine = replace(model.engine, decoding="full")
            with torch.no_grad():
                scores = model.full_sort_predict(rows)
            scores[:, 0] = -torch.inf
            hits = (scores.topk(3).indices == rows["item_id"][:, None]).any(1).float().mean()
            assert cold["test_result"]["hit@3"] == pytest.approx(float(hits), abs=1e-4)
            items = torch.from_numpy(dataset.cold_items)
            hits = (items[scores[:, items].topk(3).indices] == rows["item_id"][:, None]).any(1).float().mean()
            assert cold["among_cold"]["test_result"]["hit@3"] == pytest.approx(float(hits), abs=1e-4)
            assert cold["among_cold"]["test_result"]["hit@3"] > cold["test_result"]["hit@3"]
            low, high = cold["test_interval"]["hit@3"]
            assert low - 1e-4 <= cold["test_result"]["hit@3"] <= high + 1e-4
            assert cold["test_result"] != stored["test_result"]

    def test_a_sample_of_users_is_that_of_the_test(self, split):
        _, data, _ = split("SASRec", eval_users=5)
        users = {user for user, *_ in rows_of(data.parts[2])} | {user for user, *_ in rows_of(data.parts[1])}
        asked = [row for row in expected_rows(data.dataset) if row[0] in users]
        assert asked and sorted(rows_of(data.cold)) == sorted(asked)

    def test_without_the_key_nothing_is_held_out(self, split):
        _, data, _ = split("SASRec", cold_items=0)
        assert data.cold is None and len(data.dataset.cold_items) == 0
        assert sum(len(part) for part in data.parts) == len(ROWS) - 12

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"cold_items": 0.7}, "'cold_items' must be a share from 0 to 0.5, not 0.7"),
            ({"cold_items": True}, "'cold_items' must be"),
            ({"cold_items": 0.2}, "'topk' asks for 3 items, but 'cold_items' holds only 3 out"),
            ({"eval_args": {"mode": "uni3"}}, "it takes 'mode: full'"),
            ({"benchmark_filename": ["a", "b", "c"]}, "benchmark_filename"),
        ],
    )
    def test_other_values_are_refused(self, split, settings, message):
        with pytest.raises(GenRecError, match=message):
            split("SASRec", **settings)

    def test_cold_items_that_nobody_has_after_a_warm_one_are_refused(self, tmp_path, monkeypatch, write_dataset):
        """Everybody begins with the same two items: only these can be held out in vain."""
        monkeypatch.chdir(tmp_path)
        rows = [(f"u{u}", item, time) for u in range(8) for time, item in enumerate("abcdefgh")]
        settings = {"data_path": write_dataset(tmp_path / "data", rows), "cold_items": 0.25, "topk": [1]}
        draws = (sorted(np.random.default_rng([seed, 2]).choice(np.arange(1, 9), 2, False)) for seed in range(1000))
        seed = next(seed for seed, draw in enumerate(draws) if draw == [1, 2])
        config = GenRecConfig("SASRec", "tiny", config_dict=settings | {"valid_metric": "Hit@1", "seed": seed})
        with pytest.raises(GenRecError, match="no user has a cold item after a warm one"):
            SplitData([config])
