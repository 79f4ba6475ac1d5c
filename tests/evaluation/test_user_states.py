"""States of users: those by which the model ranks."""

import numpy as np
import pytest
import torch

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.user_states import check_states, user_states
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from tests.builders import randomize


def opened(name, settings):
    config = GenRecConfig(name, "tiny", config_dict=settings)
    data = SplitData([config])
    torch.manual_seed(3)
    model = build_model(config, data).eval()
    randomize(model)
    return config, data, model


@pytest.mark.parametrize("name", ["SASRec", "SASRecAll", "BERT4Rec", "GRU4Rec"])
def test_scores_are_products_of_states_and_items(checkerboard, name):
    """RecBole's models and ours rank by the state's product with the vectors of items."""
    config, data, model = opened(name, checkerboard)
    users, states = user_states(model, data.parts[2], 7)
    feat = data.parts[2].inter_feat
    assert users.tolist() == np.unique(feat["user_id"].numpy()).tolist()
    rows = [int(np.flatnonzero(feat["user_id"].numpy() == user)[-1]) for user in users]
    batch = feat[torch.tensor(rows)].gather().to(config["device"])
    with torch.no_grad():
        scores = model.full_sort_predict(batch).view(len(users), -1).double()
        vectors = model(batch)[1] if name == "SASRecAll" else model.item_embedding.weight[: data.dataset.item_num]
        bias = model.output_bias.double() if name == "BERT4Rec" else 0
    expected = torch.from_numpy(states) @ vectors.double().T + bias
    torch.testing.assert_close(expected, scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"context": ["request_time"]}])
def test_genrecs_state_is_that_after_the_prompt(checkerboard, settings):
    _, data, model = opened("GenRec", checkerboard | settings)
    users, states = user_states(model, data.parts[2], 5)
    feat = data.parts[2].inter_feat
    for user, state in list(zip(users, states))[::9]:
        row = feat[torch.from_numpy(np.flatnonzero(feat["user_id"].numpy() == user)[-1:])].gather()
        with torch.no_grad():
            one = model(row["item_id_list"], row["item_length"], model.history_context(row))
        torch.testing.assert_close(torch.from_numpy(state), one[0].double(), atol=1e-5, rtol=1e-4)


def test_a_model_without_such_a_forward_is_refused(checkerboard):
    _, _, model = opened("FPMC", checkerboard)
    with pytest.raises(GenRecError, match="FPMC has no state of a user by .* it needs next_item"):
        check_states(model)
