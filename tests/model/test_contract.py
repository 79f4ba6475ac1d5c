"""What every generative model of the package promises RecBole; the models are found, not listed."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_genrec.config.registry import MODELS, plugin_model
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.without_identifiers import WithoutIdentifiers
from tests.builders import LABELS, write_labels, write_reviews

#: settings that give a model parameters which it does not have by default.
MORE_PARAMETERS = {
    "GenRec": {"history": "both", "edge_embedding": True, "item_prior": True, "item_prior_loss": 0.5},
    "GenRecSeq2Seq": {"attribute_fields": ["title"], "edge_embedding": True, "item_prior": True},
    "P5": {"edge_embedding": True, "item_prior": True},
    "PEPLER": {"rating_model": "mlp"},
    "TIGER": {"edge_embedding": True, "item_prior": True},
}
#: settings without which a model has nothing to learn from, or gives no score of an item alone.
NEEDED = {
    "PEPLER": {"max_target_tokens": 32},
    "TALLRec": LABELS | {"max_prompt_tokens": 512},
    "UniTRec": {"rank_by": "sum"},  # which scores an item whatever its list
}

RANKING = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"}
GENERATIVE = [name for name in sorted(MODELS) if issubclass(plugin_model(name), GenerativeRecommender)]


@pytest.fixture(params=GENERATIVE)
def built(request, checkerboard):
    """Configuration, model and test loader, from RecBole's own objects and nothing else."""
    write_labels(checkerboard["data_path"])
    if request.param == "PEPLER":  # P5 would train on reviews, too
        write_reviews(checkerboard["data_path"])

    def build(more_parameters=False, start=2020, **changes):
        changes = {"eval_args": RANKING, **NEEDED.get(request.param, {}), **changes}
        if more_parameters:
            changes |= MORE_PARAMETERS.get(request.param, {})
        config = Config(plugin_model(request.param), "tiny", config_dict=checkerboard | changes)
        init_seed(start, True)
        train, _, test = data_preparation(config, create_dataset(config))
        return config, plugin_model(request.param)(config, train.dataset), train, test

    return build


def scores_all(model, settings):
    """Whether a model scores the whole catalogue, by the settings or anyway."""
    return not type(model).needs_for_all_scores(defaultdict(lambda: None, settings))


@pytest.mark.parametrize("settings", [{}, {"decoding": "beam", "num_beams": 5}, {"decoding": "full"}])
@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_every_list_holds_k_distinct_items(built, settings, normalization):
    _, model, _, test = built(normalization=normalization, **settings)
    model.eval()
    for interaction, *_ in test:
        scores = model.full_sort_predict(interaction)
        assert scores.shape == (len(interaction), model.n_items)
        finite = (scores > -torch.inf).sum(1)
        assert (finite == (model.n_items - 1 if scores_all(model, settings) else model.k)).all()
        assert (scores[:, 0] == -torch.inf).all()
    statistics = model.generation_statistics()
    assert statistics["valid_share"] == 1
    assert statistics["lists"] == len(test.dataset)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_what_a_user_has_seen_is_left_out_of_the_list(built, normalization):
    """The oracle masks the scores of all items."""
    _, model, _, test = built(normalization=normalization, decoding="full")
    model.eval()
    for interaction, *_ in test:
        expected = model.full_sort_predict(interaction)
        interaction.interaction[SEEN] = interaction["item_id_list"]
        expected = expected.scatter(1, interaction[SEEN], -torch.inf)
        torch.testing.assert_close(model.full_sort_predict(interaction), expected)
        model.engine = replace(model.engine, decoding="exact")
        scores = model.full_sort_predict(interaction)
        model.engine = replace(model.engine, decoding="full")
        assert torch.equal(scores.topk(model.k).indices, expected.topk(model.k).indices)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_predict_agrees_with_full_ranking(built, normalization):
    _, model, _, test = built(normalization=normalization, decoding="full")
    model.eval()
    interaction = next(iter(test))[0]
    torch.testing.assert_close(
        model.predict(interaction),
        model.full_sort_predict(interaction)[np.arange(len(interaction)), interaction["item_id"]],
        atol=1e-4,
        rtol=1e-5,
    )


def test_loss_of_recboles_batches_has_gradients_in_all_that_is_trained(built):
    _, model, train, _ = built(more_parameters=True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        pytest.skip("a model that is not trained")
    loss = model.calculate_loss(next(iter(train)))
    assert loss.shape == ()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_state_survives_a_round_trip(built):
    _, model, _, test = built(more_parameters=True)
    _, other, _, _ = built(more_parameters=True, start=7)
    other.load_state_dict(model.state_dict())
    model.eval(), other.eval()
    interaction = next(iter(test))[0]
    torch.testing.assert_close(model.full_sort_predict(interaction), other.full_sort_predict(interaction))


def test_sampled_candidates_are_ranked(built):
    _, model, _, test = built(eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni5"})
    interaction, *_ = next(iter(test))
    assert torch.isfinite(model.eval().predict(interaction)).all()


@pytest.mark.parametrize("decoding", ["exact", "beam", "full"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_rank_nothing(built, decoding, value):
    _, model, _, test = built(decoding=decoding, num_beams=5)
    model.eval()
    if not model.ranks_with_backbone:
        pytest.skip("its language model has no part in the scores; tests/model/test_pepler.py has its vectors")
    interaction = next(iter(test))[0]
    with torch.no_grad():
        model.backbone.causal_model.get_input_embeddings().weight.fill_(value)
    for rank in (model.full_sort_predict, model.predict):
        with pytest.raises(GenRecError, match="score of .* at the (first token of a title|answer), for .* of .* "):
            rank(interaction)


@pytest.mark.parametrize("name", [name for name in GENERATIVE if issubclass(plugin_model(name), WithoutIdentifiers)])
def test_a_model_without_identifiers_says_why_its_prompts_stay(name):
    with pytest.raises(GenRecError, match=f"^{name}.*export"):
        plugin_model(name).prompt_parts(None, None)
