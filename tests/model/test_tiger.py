"""TIGER on a small world: prompts, loss and lists against plain loops, its user tokens, its checkpoints."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model
from recbole.utils import init_seed

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.sequences import SequenceBatch
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.model.tiger import hash_user
from recbole_genrec.runs.run import build_model
from recbole_genrec.serve.recommender import GenRecommender
from tests.builders import write_base


@pytest.fixture
def settings(checkerboard):
    return checkerboard | {"user_tokens": 5, "warmup_steps": 2, "epochs": 2}


def built(settings, **changes):
    config = GenRecConfig("TIGER", "tiny", config_dict=settings | changes)
    data = SplitData([config])
    init_seed(config["seed"], True)
    return config, data, build_model(config, data)


def sharpen(model):
    """Weights that tell items, users and places apart."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def rows_of(interaction):
    """User, history and target of RecBole's rows, as plain numbers."""
    columns = (interaction[name].tolist() for name in ("user_id", "item_id_list", "item_length", "item_id"))
    return [(user, items[:length], target) for user, items, length, target in zip(*columns)]


def plain_prompt(model, dataset, user, history, limit=None):
    """A prompt in tokens by a loop: the user's token, the items' identifiers, the end token."""
    tokenizer, identifiers = model.backbone.tokenizer, model.catalogue.identifiers
    begin = []
    if user and model.settings.user_tokens:
        raw = dataset.field2id_token["user_id"][user]
        begin = [tokenizer.convert_tokens_to_ids(f"<user_{hash_user(raw, model.settings.user_tokens)}>")]
    items = []
    for item in reversed(history):
        tokens = [*identifiers[item - 1], *items]
        if limit and len(begin) + len(tokens) + 1 > limit:
            break
        items = tokens
    return [*begin, *items, tokenizer.eos_token_id]


def plain_losses(model, prompt, item):
    """Negative log-likelihood of every decision of an item, through nothing but ``transformers``."""
    t5, end = model.backbone.causal_model, model.backbone.eos_id
    known = [(*identifier, end) for identifier in model.catalogue.identifiers]
    tokens = known[item - 1]
    fed = torch.tensor([[t5.config.decoder_start_token_id, *tokens[:-1]]])
    logits, losses = t5(input_ids=torch.tensor([prompt]), decoder_input_ids=fed).logits[0], []
    for depth, token in enumerate(tokens):
        choices = sorted({other[depth] for other in known if other[:depth] == tokens[:depth]})
        if model.engine.normalization == "vocab":
            losses.append(-logits[depth].log_softmax(-1)[token])
        elif len(choices) > 1:
            losses.append(-logits[depth, choices].log_softmax(-1)[choices.index(token)])
    return losses


def prompts_of(batch):
    return [row[:length].tolist() for row, length in zip(batch.prompts.input_ids, batch.prompts.lengths)]


SHORT = [{"max_prompt_tokens": limit} for limit in (10, 11, 12)]


@pytest.mark.parametrize("changes", [{}, {"user_tokens": 0}, *SHORT], ids=str)
def test_prompts_are_those_of_a_plain_loop(settings, changes):
    config, data, model = built(settings, **changes)
    interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
    limit = (settings | changes)["max_prompt_tokens"]
    expected = [plain_prompt(model, data.dataset, user, history, limit) for user, history, _ in rows_of(interaction)]
    assert prompts_of(model.pack_interaction(interaction)) == expected
    asked = model.writer.write_prompts(model._sequences(*model._columns(interaction)))  # without the target
    assert [row[:length].tolist() for row, length in zip(asked.input_ids, asked.lengths)] == expected


def test_every_prefix_is_a_sample_and_none_knows_its_target(settings):
    config, data, model = built(settings, targets_per_user=0, MAX_ITEM_LIST_LENGTH=4)
    loader = data.train_loader(config, model)
    found = [prompt for batch in loader for prompt in prompts_of(batch)]
    expected = []
    for user, begin, stop in zip(loader.users.tolist(), loader.offsets, loader.offsets[1:]):
        for place in range(begin + 1, stop):
            history = loader.items[max(begin, place - 4) : place].tolist()
            expected.append(plain_prompt(model, data.dataset, user, history))
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_loss_and_gradient_are_those_of_single_samples(settings, normalization, attention):
    config, data, model = built(settings, normalization=normalization, attn_implementation=attention)
    sharpen(model)
    interaction = next(iter(data.evaluation_loader(config, "test")))[0][:9]
    rows = rows_of(interaction)
    losses = [plain_losses(model, plain_prompt(model, data.dataset, u, h), item) for u, h, item in rows]
    expected = torch.stack([term for one in losses for term in one]).mean()
    expected.backward()
    theirs = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    batch = model.pack_interaction(interaction)
    assert isinstance(batch, SequenceBatch) and len(set(batch.prompts.lengths.tolist())) > 1
    loss = model.calculate_loss(batch)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    loss.backward()
    for name, gradient in theirs.items():
        ours = dict(model.named_parameters())[name].grad
        torch.testing.assert_close(ours, gradient, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_exact_lists_are_those_of_scoring_every_item(settings, normalization):
    config, data, model = built(settings, normalization=normalization)
    sharpen(model)
    interaction = next(iter(data.evaluation_loader(config, "test")))[0][::11]
    found = model.full_sort_predict(interaction)
    for row, (user, history, _) in enumerate(rows_of(interaction)):
        prompt = plain_prompt(model, data.dataset, user, history)
        scores = -torch.stack([sum(plain_losses(model, prompt, item)) for item in range(1, model.n_items)]).detach()
        if normalization == "trie":
            torch.testing.assert_close(scores.exp().sum(), torch.tensor(1.0))
        best = scores.topk(model.k)
        torch.testing.assert_close(found[row, 1:][best.indices], best.values, atol=1e-4, rtol=1e-4)
        assert (found[row] > -torch.inf).sum() == model.k


def test_user_tokens_are_neither_codes_nor_text(settings):
    _, _, model = built(settings, user_tokens=7)
    users = model.backbone.tokenizer.convert_tokens_to_ids([f"<user_{number}>" for number in range(7)])
    codes = {token for identifier in model.catalogue.identifiers for token in identifier}
    special = {model.backbone.pad_id, model.backbone.eos_id, model.backbone.start_id}
    assert len(set(users)) == 7 and not set(users) & (codes | special | set(model.backbone.encode("<user_1> 1")))
    assert max(users) < model.backbone.vocab_size == len(model.backbone.tokenizer)
    assert len(model.catalogue.index.codes) == len(codes)


def test_a_user_is_read_by_its_token_alone(settings):
    config, data, model = built(settings)
    sharpen(model)
    numbers = [hash_user(token, 5) for token in data.dataset.field2id_token["user_id"][1:]]
    first = numbers[0]
    alike = next(user for user, number in enumerate(numbers, start=1) if user > 1 and number == first)
    other = next(user for user, number in enumerate(numbers, start=1) if number != first)
    history, length = torch.tensor([[1, 2, 3]] * 4), torch.tensor([3] * 4)
    states = model(history, length, torch.tensor([1, alike, other, 0]))
    torch.testing.assert_close(states[0], states[1])
    assert (states[0] - states[2]).abs().max() > 1e-3 and (states[0] - states[3]).abs().max() > 1e-3
    torch.testing.assert_close(model(history[:1], length[:1]), states[3:])


def test_the_hash_of_a_user_is_that_of_every_process():
    users = ["1", "u7", "A3SGXH7AUHU8GW", "Ünal"]
    numbers = [hash_user(user, 2000) for user in users]
    assert numbers == [1910, 1472, 841, 540]
    code = f"from recbole_genrec.model.tiger import hash_user; print([hash_user(u, 2000) for u in {users}])"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        assert printed.stdout.decode().splitlines()[-1] == str(numbers)
    spread = np.bincount([hash_user(user, 20) for user in range(20_000)], minlength=20)
    assert spread.min() > 850 and spread.max() < 1150


def test_a_checkpoint_keeps_users_and_scores(settings):
    result = run_recbole_genrec("TIGER", "tiny", config_dict=settings)
    _, model, dataset, _, _, test = load_data_and_model(result["checkpoint"])
    interaction, *_ = next(iter(test))
    expected = [plain_prompt(model, dataset, user, history) for user, history, _ in rows_of(interaction)]
    assert prompts_of(model.pack_interaction(interaction)) == expected
    scores = model.eval().full_sort_predict(interaction)
    again = load_data_and_model(result["checkpoint"])[1].eval()
    assert torch.equal(again.full_sort_predict(interaction), scores)
    with pytest.raises(GenRecError, match="is of TIGER; recommending is for checkpoints of GenRec"):
        GenRecommender.from_checkpoint(result["checkpoint"])
    # identifiers may be taken over by a model with other user tokens, whose tokenizer is made anew
    other = built(settings, item_index=result["checkpoint"], user_tokens=9)[2]
    pieces = [one.catalogue.index.pieces for one in (model, other)]
    assert pieces[0] == pieces[1] and other.backbone.vocab_size == model.backbone.vocab_size + 4
    assert other.backbone.tokenizer.convert_tokens_to_ids("<user_8>") < other.backbone.vocab_size


def test_it_learns_the_circle(settings):
    more = {"epochs": 60, "item_indexing": "independent", "user_tokens": 0, "MAX_ITEM_LIST_LENGTH": 4}
    result = run_recbole_genrec("TIGER", "tiny", config_dict=settings | more)
    assert result["test_result"]["hit@1"] > 0.7


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16", "history_dropout": 0.3},
        {"train_batch_tokens": 0, "train_batch_size": 8, "gradient_accumulation_steps": 2},
        {"item_indexing": "title", "max_prompt_tokens": 24, "normalization": "vocab"},
        {"scratch_dropout": 0.1, "scratch_head_size": 5, "scratch_heads": 3},
        {"lr_scheduler": "inverse_sqrt", "hold_steps": 3},
        {"eval_args": {"mode": "uni5"}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_settings_train_and_rank(settings, changes):
    result = run_recbole_genrec("TIGER", "tiny", config_dict=settings | changes | {"epochs": 1})
    assert 0 <= result["test_result"]["hit@5"] <= 1


def test_an_adapter_trains_the_tokens_of_users(settings, tmp_path):
    from transformers import T5Config

    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 259}
    base = write_base(tmp_path / "t5", T5Config(**shape, decoder_start_token_id=0))
    one = {"backbone": base, "adapter": "lora", "lora_r": 2, "epochs": 1}
    _, data, model = built(settings, **one)
    users = model.backbone.tokenizer.convert_tokens_to_ids([f"<user_{number}>" for number in range(5)])
    rows = model.backbone.model.get_input_embeddings().token_adapter.token_indices["default"]
    assert set(users) <= set(rows) and len(rows) == len(model.catalogue.index.codes) + 5
    result = run_recbole_genrec("TIGER", "tiny", config_dict=settings | one)
    assert result["parameters"]["trainable"] < result["parameters"]["total"]
    _, again, _, _, _, test = load_data_and_model(result["checkpoint"])
    assert torch.isfinite(again.eval().predict(next(iter(test))[0])).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": True}, "'packing: false'"),
        ({"user_tokens": -1}, "'user_tokens'"),
        ({"targets_per_user": -1}, "'targets_per_user'"),
        ({"scratch_dropout": 1.0}, "'scratch_dropout'"),
        ({"scratch_heads": 3}, "'scratch_hidden_size'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changes, message):
    with pytest.raises(GenRecError, match=message):
        built(settings, **changes)
