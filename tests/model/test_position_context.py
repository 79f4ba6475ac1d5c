"""A context of models at all positions: what they learn from it, its bias written pair by pair, and what is not new."""

from math import floor, log2

import pytest
import torch
from recbole.model.sequential_recommender import SASRec

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from tests.model.all_positions_world import LONGEST, build, write_world
from tests.model.context_world import write_context_world

NAMES = ("SASRecAll", "BSARec")
WHOLE = ["gap", "request_time", "rating"]


@pytest.fixture
def world(tmp_path, write_dataset):
    data_path = write_world(write_dataset, tmp_path / "data")
    return lambda name, **settings: build(name, data_path, **settings)


@pytest.mark.parametrize(
    ("name", "by", "settings"),
    [(name, "rating", {"context": ["rating"]}) for name in (*NAMES, "HSTU")]
    + [(name, "time", {"context": ["request_time"]}) for name in NAMES],
)
def test_it_learns_what_the_context_alone_tells(tmp_path, write_dataset, monkeypatch, name, by, settings):
    monkeypatch.chdir(tmp_path)
    own = {"hidden_dropout_prob": 0.0, "hidden_size": 32, "learning_rate": 0.01, "train_batch_size": 6, "epochs": 80}
    own |= {"topk": [1], "valid_metric": "NDCG@1", "show_progress": False, "eval_step": 40}
    own |= {} if name == "HSTU" else {"attn_dropout_prob": 0.0}
    own["data_path"] = write_context_world(write_dataset, tmp_path / by, by)
    result = run_recbole_genrec(name, "tiny", config_dict=own | settings)
    assert result["test_result"]["hit@1"] > 0.7  # without it one half, over 60 users


@pytest.mark.parametrize("train_on", ["all", "last"])
@pytest.mark.parametrize("name", [*NAMES, "HSTU"])
def test_without_training_a_context_changes_nothing(world, name, train_on):
    if name != "BSARec" and train_on == "last":
        pytest.skip("a setting of BSARec")
    given = {"train_on": train_on} if name == "BSARec" else {}
    context = ["rating"] if name == "HSTU" else WHOLE
    plain, with_context = (world(name, spread=False, context=some, **given) for some in ([], context))
    for one, other in ((built.model.eval() for built in (plain, with_context)),):
        batches = [next(iter(built.test))[0] for built in (plain, with_context)]
        assert torch.equal(one.full_sort_predict(batches[0]), other.full_sort_predict(batches[1]))
    names = with_context.model.state_dict().keys() - plain.model.state_dict().keys()
    assert names and all(key.startswith("context_input.") for key in names)


def test_without_a_context_the_state_is_recboles(world):
    built = world("SASRecAll", context=[])
    assert built.model.state_dict().keys() == SASRec(built.config, built.train.dataset).state_dict().keys()


def plain_bias(model, batch):
    """The bias of time [B, A, L, L], pair by pair; what does not count is 0."""
    tables = model.context_input.time_bias.tables
    times, length = batch["exact_time_list"].tolist(), batch["item_length"].tolist()
    bias = torch.zeros(len(length), 2, len(times[0]), len(times[0]))
    for row, count in enumerate(length):
        moments = [*times[row][:count], int(batch["exact_time"][row])]
        for query in range(count):
            for key in range(query + 1):
                for kind, moment in (("gap", moments[query]), ("request_time", moments[query + 1])):
                    if kind in tables:
                        bucket = 1 + floor(2 * log2(1 + moment - moments[key]))
                        bias[row, :, query, key] += tables[kind].weight[bucket]
    return bias


@pytest.mark.parametrize("context", [["gap"], ["request_time"], WHOLE])
@torch.no_grad()
def test_states_are_those_of_recboles_network_with_the_bias_and_the_values_written_out(world, context):
    built = world("SASRecAll", context=context)
    model, batch = built.model, next(iter(built.loader))
    items = batch["item_id_list"]
    states = model.item_embedding(items) + model.position_embedding(torch.arange(items.shape[1]))
    if "rating" in context:
        table = model.context_input.value_vectors["rating"].table.weight
        rated = torch.where(items > 0, batch["rating_list"], 1)
        states = states + table[rated.long() - 1] * (items > 0)[..., None]  # ratings are 1 to 5, all in training
    mask = model.get_attention_mask(items) + plain_bias(model, batch)
    expected = model.trm_encoder(model.LayerNorm(states), mask, output_all_encoded_layers=False)[-1]
    kept = items > 0
    torch.testing.assert_close(model.states(batch, model.item_vectors())[kept], expected[kept])


@torch.no_grad()
def test_bsarec_in_the_authors_way_has_the_context_at_its_place(world):
    """With one layer that is attention alone, the last state is that of all positions, but for position vectors."""
    last, every = (
        world("BSARec", context=WHOLE, train_on=train_on, frequency_weight=0.0, n_layers=1)
        for train_on in ("last", "all")
    )
    every.model.load_state_dict(last.model.state_dict())
    for built in (last, every):
        built.model.position_embedding.weight.zero_()
    batch = next(iter(last.test))[0]
    assert (batch["item_length"] < LONGEST).any()
    states = [built.model.last_states(batch, built.model.item_vectors()) for built in (last, every)]
    torch.testing.assert_close(*states)


def test_hstu_has_times_by_its_own_setting():
    with pytest.raises(GenRecError, match="HSTU knows time by 'time_bias: request_time'"):
        GenRecConfig("HSTU", "ml-100k", config_dict={"context": ["request_time", "rating"]})
