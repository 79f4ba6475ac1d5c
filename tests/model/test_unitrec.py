"""UniTRec on a small world: masks, scores, the loss and the rule of ranks against plain computations; bad input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.utils import init_seed
from scipy.stats import rankdata
from transformers import BartConfig, T5Config

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.backbone.seq2seq import LocalAttention
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.runs.retest import retest
from recbole_genrec.runs.run import build_model
from recbole_genrec.serve.export import export
from recbole_genrec.serve.recommender import GenRecommender
from tests.builders import LABELS, byte_tokenizer, write_base, write_labels
from tests.model.conftest import BLACK, WHITE

SHAPE = {"vocab_size": len(byte_tokenizer()), "d_model": 16, "decoder_start_token_id": 1, "eos_token_id": 1}
FAMILIES = {
    "bart": BartConfig(
        **SHAPE,
        **{
            f"{side}_{name}": value
            for side in ("encoder", "decoder")
            for name, value in (("layers", 2), ("ffn_dim", 16))
        },
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_position_embeddings=160,
        pad_token_id=0,
        dropout=0.0,
    ),
    "t5": T5Config(**SHAPE, d_kv=8, d_ff=16, num_layers=2, num_heads=2, dropout_rate=0.0, pad_token_id=0),
}
SAMPLED = {"eval_args": {"mode": "uni5"}}


@pytest.fixture
def settings(checkerboard):
    return checkerboard | {"scratch_layers": 2, "scratch_hidden_size": 16, "epochs": 1}


def built(settings, **changes):
    config = GenRecConfig("UniTRec", "tiny", config_dict=settings | changes)
    data = SplitData([config])
    init_seed(config["seed"], True)
    model = build_model(config, data)
    with torch.no_grad():  # so that histories matter, and places and the temperature, too
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return config, data, model.eval()


def test_batch(config, data):
    return next(iter(data.evaluation_loader(config, "test")))[0]


test_batch.__test__ = False


def by_hand(model, history, candidate):
    """Both scores of a candidate after a history, items oldest first: BART's layers one by one, without padding."""
    backbone, bart = model.backbone, model.backbone.causal_model

    def tokens(item):
        return [*backbone.encode(f" {model.catalogue.texts[item - 1]}", "x"), backbone.eos_id]

    fed, segment, place = [backbone.bos_id], [0], [0]
    for number, item in enumerate(reversed(history), start=1):
        own = tokens(item)
        fed, segment, place = fed + own, segment + [number] * len(own), place + [*range(len(own))]
    encoder = bart.get_encoder()
    states = encoder.embed_tokens.weight[fed] + model.places.weight[place]
    states = encoder.layernorm_embedding(states + encoder.embed_positions.weight[2 : 2 + len(fed)])[None]
    apart = torch.tensor([[one != other for other in segment] for one in segment])
    for number, layer in enumerate(encoder.layers):
        mask = torch.zeros(1, 1, *apart.shape)
        if number < model.settings.local_layers:
            mask[0, 0, apart] = torch.finfo(mask.dtype).min
        states = layer(states, mask)
    label = tokens(candidate)
    answer = torch.tensor([[backbone.start_id, *label]])
    hidden = bart.get_decoder()(input_ids=answer, encoder_hidden_states=states, use_cache=False).last_hidden_state[0]
    log_prob = (bart.lm_head(hidden) + bart.final_logits_bias).log_softmax(-1)
    mean = sum(log_prob[cell, token] for cell, token in enumerate(label)) / len(label)
    return torch.stack([hidden[-1] @ model.head.weight[0], mean]).detach()


def rows_by_hand(model, interaction):
    columns = (interaction[name].tolist() for name in ("item_id_list", "item_length", "item_id"))
    return torch.stack([by_hand(model, items[:length], item) for items, length, item in zip(*columns)]).T


@pytest.mark.parametrize("local_layers", [0, 1, 2])
def test_both_scores_are_those_of_forwards_alone(settings, local_layers):
    config, data, model = built(settings, local_layers=local_layers, rank_by="sum", train_batch_size=5, **SAMPLED)
    interaction = test_batch(config, data)
    rows = interaction[torch.arange(0, len(interaction), 12)]
    matching, likelihood = rows_by_hand(model, rows)
    assert len(set(rows["item_length"].tolist())) > 1 and matching.std() > 0.01 and likelihood.std() > 0.01
    temperature = model.temperature.detach()
    torch.testing.assert_close(model.predict(rows), matching + temperature * likelihood, atol=1e-4, rtol=1e-4)
    for rule, expected in (("discriminative", matching), ("perplexity", likelihood)):
        object.__setattr__(model.settings, "rank_by", rule)
        torch.testing.assert_close(model.predict(rows), expected, atol=1e-4, rtol=1e-4)
        scores = model.full_sort_predict(rows)
        torch.testing.assert_close(scores[torch.arange(24), rows["item_id"]], expected, atol=1e-4, rtol=1e-4)
        assert torch.isfinite(scores[:, 1:]).all() and (scores[:, 0] == -torch.inf).all()


def test_the_loss_is_that_of_a_plain_loop(settings):
    """Over a loader's batch: ragged histories and candidates, targets first, weights as they are set."""
    config, data, model = built(settings, perplexity_weight=0.7, train_batch_size=5, train_negatives=3)
    loader = model.training_loader(config, data.parts[0])
    plan = loader._plan()
    rows = loader._draw(plan, plan.batches[0])
    total, start = 0.0, 0
    for count, candidates in zip(rows.sequences.count, rows.candidates.tolist()):
        *history, target = rows.sequences.item[start : start + count].tolist()
        start += count
        assert candidates[0] == target and len(candidates) == 4
        scores = torch.stack([by_hand(model, history, item) for item in candidates]).double()
        scores[:, 1] *= model.temperature.item()
        losses = -(scores.exp() / scores.exp().sum(0)).log()[0]
        total += losses[0] + 0.7 * losses[1]
    found = model.calculate_loss(loader.writer.write(rows))
    torch.testing.assert_close(found.double(), total / len(rows.candidates), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_layer_sees_one_item_alone(settings, tmp_path, family):
    """All layers local: changing a token of another item changes nothing. One global layer: it does. Padding never."""
    base = {"backbone": write_base(tmp_path / "base", FAMILIES[family]), "adapter": "none", "max_prompt_tokens": 128}
    backbone = built(settings | base)[2].backbone
    tokens = torch.tensor([[1, 40, 41, 2, 50, 51, 52, 2], [1, 60, 2, 61, 2, 0, 0, 0]])
    segment = torch.tensor([[0, 1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 2, 2, -1, -1, -1]])
    lengths, other = torch.tensor([8, 5]), tokens.clone()
    other[0, 1], other[1, 6] = 99, 99  # a token of the newest item, and padding

    def states(tokens, layers):
        with torch.no_grad():
            return backbone.read(backbone.embed(tokens), lengths, LocalAttention(segment, layers)).states

    for layers, stays in ((2, True), (1, False), (0, False)):
        before, after = states(tokens, layers), states(other, layers)
        assert torch.equal(before[0, 4:], after[0, 4:]) is stays
        assert not torch.allclose(before[0, 1:4], after[0, 1:4])
        torch.testing.assert_close(before[1, :5], after[1, :5])
    assert not torch.allclose(states(tokens, 1)[0], states(tokens, 0)[0])
    plain = backbone.read(backbone.embed(tokens), lengths).states
    torch.testing.assert_close(states(tokens, 0), plain)


def test_recomputed_activations_have_the_local_mask(settings, tmp_path):
    base = {"backbone": write_base(tmp_path / "base", FAMILIES["bart"]), "adapter": "none", "max_prompt_tokens": 128}
    found = []
    for recompute in (False, True):
        config, data, model = built(settings | base, gradient_checkpointing=recompute, train_batch_size=4)
        model.train()
        model.calculate_loss(next(iter(model.training_loader(config, data.parts[0])))).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_candidates_are_placed_by_the_mean_of_both_ranks(settings):
    """Sampled lists and the whole catalogue, whatever parts of a list are read at once."""
    config, data, model = built(settings, **SAMPLED)
    interaction = test_batch(config, data)
    interaction = interaction[torch.isin(interaction["user_id"], torch.tensor([3, 17, 29, 40, 44]))]
    users = interaction["user_id"].numpy()
    both = rows_by_hand(model, interaction).numpy()
    expected = np.zeros(len(users))
    for user in set(users):
        own = users == user
        assert own.sum() == 6
        of_matching, of_likelihood = rankdata(-both[0, own]), rankdata(-both[1, own])
        key = [*zip(of_matching + of_likelihood, of_likelihood)]
        expected[own] = [-1 - sum(other < one for other in key) for one in key]
    for rows_at_once in (4096, 7):
        model.rows_at_once = rows_at_once
        assert model.predict(interaction).tolist() == expected.tolist()
    first = interaction[torch.arange(1).repeat(model.n_items - 1)]
    first.interaction["item_id"] = torch.arange(1, model.n_items)
    scores = model.full_sort_predict(first[:1])
    assert model.predict(first).tolist() == scores[0, 1:].tolist()
    left = [item for item in range(1, model.n_items) if item not in (3, 4)]
    without = first[torch.tensor(left) - 1]
    first.interaction[SEEN] = torch.tensor([[3, 4]]).expand(len(first), -1)
    scores = model.full_sort_predict(first[:1])[0]
    assert model.predict(without).tolist() == scores[left].tolist() and (scores[[3, 4]] == -torch.inf).all()


def test_a_list_longer_than_a_batch_is_ranked_whole(settings):
    runs = []
    for size in (3, 4096):
        more = SAMPLED | {"eval_batch_size": size, "epochs": 0}
        runs.append(run_recbole_genrec("UniTRec", "tiny", config_dict=settings | more)["test_result"])
    assert runs[0] == runs[1]


def test_a_finished_run_is_tested_by_another_rule(settings):
    settings = settings | {"epochs": 0} | SAMPLED
    run_recbole_genrec("UniTRec", "tiny", config_dict=settings)
    again = retest(Path("results/UniTRec-tiny-2020.json"), {"rank_by": "perplexity"})
    expected = run_recbole_genrec("UniTRec", "tiny", config_dict=settings | {"rank_by": "perplexity"})
    assert again["test_result"] == expected["test_result"]


@pytest.mark.parametrize("adapter", ["lora", "prompt"])
def test_an_adapted_bart_is_trained_and_read_back(settings, tmp_path, adapter):
    base = {"backbone": write_base(tmp_path / "base", FAMILIES["bart"]), "adapter": adapter, "max_prompt_tokens": 128}
    settings = settings | SAMPLED | base | {"lora_r": 2, "adapter_tokens": 3, "topk": [1, 3], "valid_metric": "NDCG@3"}
    result = run_recbole_genrec("UniTRec", "tiny", config_dict=settings)
    assert retest(Path("results/UniTRec-tiny-2020.json"))["test_result"] == result["test_result"]


def test_virtual_tokens_stand_beside_all_segments_and_see_no_padding(settings, tmp_path):
    base = {"backbone": write_base(tmp_path / "base", FAMILIES["bart"]), "adapter": "prompt", "max_prompt_tokens": 128}
    backbone = built(settings | base, adapter_tokens=3)[2].backbone
    tokens = torch.tensor([[1, 40, 41, 2, 50, 51, 52, 2], [1, 60, 2, 61, 2, 0, 0, 0]])
    segment = torch.tensor([[0, 1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 2, 2, -1, -1, -1]])
    with torch.no_grad():
        both = backbone.read(backbone.embed(tokens), torch.tensor([8, 5]), LocalAttention(segment, 2))
        alone = backbone.read(backbone.embed(tokens[1:, :5]), torch.tensor([5]), LocalAttention(segment[1:, :5], 2))
    assert both.mask.sum(1).tolist() == [11, 8]
    torch.testing.assert_close(both.states[1, :5], alone.states[0, :5])
    torch.testing.assert_close(both.states[1, 8:], alone.states[0, 5:])


def test_negatives_are_unseen_and_follow_from_the_seed(settings):
    def drawn(**changes):
        config, data, model = built(settings, **changes)
        loader = model.training_loader(config, data.parts[0])
        users, items, offsets = train_sequences(data.parts[0])
        own = {user: set(items[a:b]) for user, a, b in zip(users, offsets, offsets[1:])}
        epochs = []
        for epoch in range(2):
            loader.set_epoch(epoch)
            plan = loader._plan()
            rows = [loader._draw(plan, batch) for batch in plan.batches]
            for part in rows:
                for user, candidates in zip(part.sequences.user, part.candidates):
                    assert candidates[0] in own[user] and not own[user] & set(candidates[1:])
            epochs.append([part.candidates.tolist() for part in rows])
        return epochs

    first = drawn()
    assert first == drawn() and first[0] != first[1] and first != drawn(seed=7)


def test_what_users_choose_is_learnt(settings):
    """Users choose from one half of the items, and the negatives, which they never chose, are of the other."""
    more = {"epochs": 4, "scratch_hidden_size": 32, "learning_rate": 0.01}
    result = run_recbole_genrec("UniTRec", "tiny", config_dict=settings | more)
    assert result["test_result"]["hit@5"] > 0.7  # by chance 5 / 12, at best about 5 / 6


def test_what_reads_histories_alone_refuses_it(settings, tmp_path):
    result = run_recbole_genrec("UniTRec", "tiny", config_dict=settings)
    with pytest.raises(GenRecError, match="is of UniTRec; recommending is for checkpoints of GenRec"):
        GenRecommender.from_checkpoint(result["checkpoint"])
    with pytest.raises(GenRecError, match="UniTRec ranks by a head beside the language model"):
        export(result["checkpoint"], tmp_path / "out", merged=True)


# ---- bad input ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"local_layers": 3}, r"'local_layers' \(3\) is above the number of layers of the encoder, 2"),
        ({"local_layers": -1}, "'local_layers'"),
        ({"train_negatives": 0}, "'train_negatives'"),
        ({"perplexity_weight": -0.5}, "'perplexity_weight'"),
        ({"rank_by": "mean"}, "value of 'rank_by': 'mean'.*mean_rank"),
        ({"attn_implementation": "flash_attention_2"}, "'local_layers' needs a mask"),
    ],
)
def test_bad_settings(settings, changes, message):
    with pytest.raises(GenRecError, match=message):
        built(settings, **changes)


def test_labels_have_no_lists(settings):
    write_labels(settings["data_path"])
    labels = LABELS | {"eval_args": {"mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC"}
    with pytest.raises(GenRecError, match="'rank_by: mean_rank' compares the candidates of a list"):
        built(settings, **labels)


def test_no_texts(settings, tmp_path, write_dataset):
    rows = [(f"u{user}", (BLACK + WHITE)[(user + time) % 12], 100 + time) for user in range(8) for time in range(5)]
    path = write_dataset(tmp_path / "other", rows, [(title, "") for title in BLACK + WHITE])
    with pytest.raises(GenRecError, match="UniTRec reads texts, but no item of .*tiny.item .* has one"):
        built(settings, data_path=path)


def test_a_user_of_all_items(settings, tmp_path, write_dataset):
    rows = [(f"u{user}", title, 100 + time) for user in range(8) for time, title in enumerate((BLACK + WHITE) * 2)]
    path = write_dataset(tmp_path / "other", rows, [(title, title) for title in BLACK + WHITE])
    with pytest.raises(GenRecError, match="user 'u0' has interacted with all 12 items of the training"):
        run_recbole_genrec("UniTRec", "tiny", config_dict=settings | {"data_path": path})
