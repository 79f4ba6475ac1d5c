"""Columns of users: what is learnt from them, and the same scores by every way in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model

from recbole_genrec import GenRecError, GenRecommender, ItemId, UserHistory, run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.model.value_vectors import CategoryVectors, ColumnVectors
from tests.builders import SCRATCH
from tests.model.all_positions_world import build, write_world
from tests.model.context_world import ITEMS

COLUMNS = ["side", "age"]


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    """What follows a user's first item depends on the user's side alone; that is all that is trained."""
    monkeypatch.chdir(tmp_path)
    random, rows, users = np.random.default_rng(0), [], ["user_id:token\tside:token\tage:float"]
    for user in range(80):
        item, side = int(random.integers(4)), user % 2
        items = [item, (item + 1 + side) % 4, *random.integers(4, size=2)]
        rows += [(f"u{user}", "abcd"[each], time) for time, each in enumerate(items)]
        users.append(f"u{user}\t{'left right'.split()[side]}\t{20 + user % 30}")
    path = write_dataset(tmp_path / "data", rows, ITEMS)
    Path(path, "tiny/tiny.user").write_text("\n".join(users[:-1]) + "\n")  # nothing is known of the last
    common = {"data_path": path, "topk": [1], "valid_metric": "NDCG@1", "epochs": 30, "learning_rate": 0.02}
    return common | {"show_progress": False, "train_batch_size": 20, "eval_step": 15}


GENREC = {
    **SCRATCH,
    "topk": [1],
    "valid_metric": "NDCG@1",
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "train_batch_tokens": 0,
}


@pytest.mark.parametrize(
    ("model", "own"),
    [("GenRec", GENREC | {"history": history}) for history in ("text", "vectors")]
    + [
        (
            "SASRecAll",
            {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "hidden_size": 32, "learning_rate": 0.005},
        ),
        ("HSTU", {"hidden_dropout_prob": 0.0, "hidden_size": 32, "time_bias": "none"}),
    ],
)
def test_it_learns_what_the_user_alone_tells(settings, model, own):
    losses = []
    for columns in ([], COLUMNS[:1]):
        result = run_recbole_genrec(model, "tiny", config_dict=settings | own | {"user_columns": columns})
        losses.append(
            result["curve"][-1]["train_loss"] / (4 if model != "GenRec" else 1)
        )  # batches, of which it is the sum
    assert losses[1] < 0.35 < 0.6 < losses[0]


@pytest.mark.parametrize("history", ["text", "vectors"])
def test_every_way_gives_the_same_scores(settings, history, capsys):
    own = GENREC | settings | {"history": history, "user_columns": COLUMNS, "epochs": 2}
    result = run_recbole_genrec("GenRec", "tiny", config_dict=own)
    stored = json.loads((Path(result["checkpoint"]) / "user_columns.json").read_text())
    assert stored == {"side": {"kind": "token", "values": ["left", "right"]}, "age": {"kind": "float", "values": []}}
    _, model, _, _, _, test = load_data_and_model(result["checkpoint"])
    model.eval()
    assert all(model.value_vectors[f"user:{column}"].table.weight.any() for column in COLUMNS)
    batch = next(iter(test))[0]
    model.scores_all_items = True
    scores, target = model.full_sort_predict(batch), batch["item_id"]
    torch.testing.assert_close(scores[:, 1:].exp().sum(1), torch.ones(len(scores)))
    own = scores.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(model.predict(batch), own, atol=1e-5, rtol=1e-5)
    packed = model.pack_interaction(batch)
    loss = model.calculate_loss(packed) * packed.n_decisions
    torch.testing.assert_close(loss, -own.sum(), atol=1e-3, rtol=1e-4)
    recommender = GenRecommender.from_checkpoint(result["checkpoint"])
    tokens = model.catalogue.item_tokens
    for row in (0, 1, len(batch) - 1):
        user = int(batch["user_id"][row])
        items = [ItemId(tokens[item - 1]) for item in batch["item_id_list"][row, : batch["item_length"][row]].tolist()]
        known = {} if user == 80 else {"side": ["left", "right"][(user - 1) % 2], "age": 20 + (user - 1) % 30}
        found = recommender.recommend([UserHistory(items, known)], 4)[0]
        probability = {each.item_id: each.probability for each in found}
        expected = [scores[row, item].exp().item() for item in range(1, 5)]
        assert [probability[token] for token in tokens] == pytest.approx(expected, abs=1e-5)
    without = recommender.recommend([items], 4)
    assert without == recommender.recommend([UserHistory(items, {"side": "top", "age": "?"})], 4)
    assert without != recommender.recommend([UserHistory(items, {"side": "left"})], 4)
    capsys.readouterr()
    assert main(["recommend", "--checkpoint", result["checkpoint"], "--user=u3", "--topk=4", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    items = [ItemId(entry["item_id"]) for entry in listed["history"]]
    found = recommender.recommend([UserHistory(items, {"side": "right", "age": 23})], 4)[0]
    assert [each["probability"] for each in listed["recommendations"]] == [each.probability for each in found]
    with pytest.raises(GenRecError, match="column of a user: 'sides'.*'side'"):
        recommender.recommend([UserHistory(items, {"sides": "left"})], 4)


def test_packed_training_is_that_of_single_prompts(settings):
    own = GENREC | settings | {"user_columns": COLUMNS, "epochs": 1}
    config, model, _, train, _, _ = load_data_and_model(
        run_recbole_genrec("GenRec", "tiny", config_dict=own)["checkpoint"]
    )
    for module in model.value_vectors.values():
        torch.nn.init.normal_(module.table.weight)
    model.eval()
    loader = model.training_loader(config, train.dataset)
    packed = [(batch.n_decisions, model.calculate_loss(batch)) for batch in loader]
    rows = train.dataset[np.arange(len(train.dataset))]
    single = model.pack_interaction(rows)
    total = sum(count * loss for count, loss in packed)
    torch.testing.assert_close(total, model.calculate_loss(single) * single.n_decisions, atol=1e-3, rtol=1e-5)


@torch.no_grad()
def test_the_vectors_are_added_at_every_item(tmp_path, write_dataset):
    built = build("SASRecAll", write_world(write_dataset, tmp_path / "data"), user_columns=["gender"])
    model, batch = built.model, next(iter(built.loader))
    table = model.context_input.value_vectors["user:gender"].table.weight
    items = batch["item_id_list"]
    states = model.item_embedding(items) + model.position_embedding(torch.arange(items.shape[1]))
    for row, user in enumerate(batch["user_id"].tolist()):
        number = int(built.train.dataset.id2token("user_id", user)[1:])
        if number % 5 and number < 19:  # neither empty nor absent
            states[row, : batch["item_length"][row]] += table["FM".index("FM"[number % 2])]
    hidden = model.LayerNorm(states)
    expected = model.trm_encoder(hidden, model.get_attention_mask(items), output_all_encoded_layers=False)[-1]
    kept = items > 0
    torch.testing.assert_close(model.states(batch, model.item_vectors())[kept], expected[kept])


@pytest.mark.parametrize("column", ["rating", "user:age", "values", "type", "training", "a.b", ""])
def test_a_column_may_have_any_name(column):
    modules = ColumnVectors()
    modules[column] = module = CategoryVectors(3, 2)
    assert modules[column] is module and list(modules.items()) == [(column, module)] and len(modules) == 1
    assert [key for key in modules.state_dict() if key.endswith("table.weight")]
    other = ColumnVectors()
    other[column] = CategoryVectors(3, 2)
    other.load_state_dict(modules.state_dict())


def test_an_unknown_category_adds_nothing():
    vectors = CategoryVectors(3, 2)
    torch.nn.init.normal_(vectors.table.weight)
    found = vectors(torch.tensor([[2.0, torch.nan]]))
    assert torch.equal(found[0], torch.stack([vectors.table.weight[2], torch.zeros(2)]))


@pytest.mark.parametrize("model", ["GenRec", "SASRecAll"])
def test_a_column_that_is_not_there_is_named(settings, model):
    own = {**settings, "user_columns": ["sides"]} | (GENREC if model == "GenRec" else {})
    with pytest.raises(GenRecError, match="'user_columns' needs the column 'sides' of .*tiny.user"):
        run_recbole_genrec(model, "tiny", config_dict=own)
