"""GenRecSeq2Seq on a small world: the loss against a plain oracle, its embeddings, its lists, its settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer
from recbole.utils import init_seed
from transformers import T5Config, T5ForConditionalGeneration

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.sequences import MaskedSequences
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import plugin_model
from recbole_genrec.files.properties import properties_folder
from tests.model.seq2seq_world import NAME, QUICK, SHORT, built


@pytest.fixture
def settings(checkerboard):
    return checkerboard | QUICK


def sharpen(model):
    """Give what starts at zero values that matter."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def some_sequences():
    """Rows of different lengths: two masks, one in front, one at the end, all masked."""
    rows = [(1, [1, 2, 3, 4, 5], [1, 3]), (5, [6, 7], [0]), (2, [8, 3, 9], [2]), (0, [4, 10], [0, 1])]
    count = np.array([len(items) for _, items, _ in rows])
    item = np.concatenate([items for _, items, _ in rows])
    masked = np.concatenate([[place in masks for place in range(len(items))] for _, items, masks in rows])
    return MaskedSequences(np.array([user for user, _, _ in rows]), count, item, masked)


def plain_losses(model, sequences):
    """Negative log-likelihood of every decision, each masked item alone, through nothing but ``transformers``."""
    bart, identifiers = model.backbone.causal_model, model.catalogue.identifiers
    end, normalization = bart.config.eos_token_id, model.engine.normalization
    known = [(*identifier, end) for identifier in identifiers]
    losses = []
    for row in range(len(sequences.user)):
        one = sequences[row : row + 1]
        prompts = model.writer.write_prompts(one)
        embeds, _ = model.encode_prompts(prompts)
        assert embeds.shape[1] == prompts.lengths.item()
        states = bart.get_encoder()(inputs_embeds=embeds).last_hidden_state
        for place, item in zip(prompts.mask_cell.tolist(), one.item[one.masked].tolist()):
            tokens = known[item - 1]
            start = bart.get_input_embeddings()(torch.tensor([[bart.config.decoder_start_token_id]]))
            if model.settings.mask_pointer:
                start = start + states[:, place][:, None]
            answer = torch.cat([start, bart.get_input_embeddings()(torch.tensor([tokens[:-1]]))], 1)
            hidden = bart.get_decoder()(inputs_embeds=answer, encoder_hidden_states=states).last_hidden_state
            logits = bart.lm_head(hidden)[0] + bart.final_logits_bias
            for depth, token in enumerate(tokens):
                choices = sorted({other[depth] for other in known if other[:depth] == tokens[:depth]})
                if normalization == "vocab":
                    losses.append(-logits[depth].log_softmax(-1)[token])
                elif len(choices) > 1:
                    losses.append(-logits[depth, choices].log_softmax(-1)[choices.index(token)])
    return torch.stack(losses)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("more", [{}, {"mask_pointer": False, "mask_ratio": 0}], ids=["pointer", "without"])
def test_loss_and_gradient_are_those_of_every_mask_alone(settings, normalization, more, attention):
    _, _, model = built(settings, normalization=normalization, attn_implementation=attention, **more)
    sharpen(model).eval()
    sequences = some_sequences()

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = plain_losses(model, sequences).mean()
    theirs = gradients(expected)
    loss = model.calculate_loss(model.writer.write(sequences))
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    ours = gradients(loss)
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-4, rtol=1e-3, msg=name)


def test_padding_has_no_weight(settings):
    _, _, model = built(settings)
    sharpen(model).eval()
    sequences = some_sequences()
    batch = model.writer.write(sequences)
    loss = model.calculate_loss(batch)
    padding = batch.branch == 0
    assert padding.any()
    batch.answer_ids[padding] = 7
    torch.testing.assert_close(model.calculate_loss(batch), loss)
    alone = [model.writer.write(sequences[row : row + 1]) for row in range(4)]
    shares = torch.tensor([one.n_decisions / batch.n_decisions for one in alone])
    losses = torch.stack([model.calculate_loss(one) for one in alone])
    torch.testing.assert_close((losses * shares).sum(), loss)


def test_a_masked_item_is_a_single_mask_and_nothing_else(settings):
    _, _, model = built(settings, attribute_fields=["title"])
    sharpen(model).eval()
    sequences = some_sequences()
    prompts = model.writer.write_prompts(sequences)
    assert (prompts.input_ids.flatten()[prompts.mask_cell] == model.backbone.mask_id).all()
    assert (prompts.input_ids == model.backbone.mask_id).sum() == sequences.masked.sum()
    assert prompts.item.tolist() == sequences.item[~sequences.masked].tolist()
    other = np.where(sequences.masked, 12, sequences.item)
    states = model.encode_prompts(prompts)[0]
    torch.testing.assert_close(
        model.encode_prompts(model.writer.write_prompts(replace(sequences, item=other)))[0], states
    )


def test_items_read_the_table_of_items_and_users_that_of_users(settings):
    _, _, model = built(settings)
    model.eval()
    user, item = 3, 9
    sequences = MaskedSequences(np.array([user]), np.array([3]), np.array([item, 2, 5]), np.array([False, False, True]))
    prompts = model.writer.write_prompts(sequences)
    before = model.encode_prompts(prompts)[0]
    shift = torch.arange(model.backbone.hidden_size) / 10

    def changed(table, number):
        with torch.no_grad():
            table.weight[number] += shift
        difference = model.encode_prompts(prompts)[0] - before
        with torch.no_grad():
            table.weight[number] -= shift
        tokens = difference[0].abs().sum(-1) > 0
        torch.testing.assert_close(difference[0][tokens], shift.expand(int(tokens.sum()), -1), atol=1e-5, rtol=1e-5)
        return tokens.nonzero()[:, 0].tolist()

    n_user = len(model.backbone.encode(f" user {user}", "x"))
    n_item = len(model.catalogue.identifiers[item - 1])
    assert changed(model.users, user) == list(range(1, 1 + n_user))
    assert changed(model.items, item) == list(range(1 + n_user, 1 + n_user + n_item))
    assert changed(model.users, item) == changed(model.items, user) == changed(model.items, 5) == []


@pytest.mark.parametrize(("asked", "stage"), [("pretrain", "pretrain"), ("finetune", "finetune"), ("both", "finetune")])
def test_a_model_that_no_trainer_has_begins_with_what_is_tested(settings, asked, stage):
    _, _, model = built(settings, train_stage=asked)
    assert model.stage == stage


def test_attributes_are_the_means_of_their_values(settings):
    _, _, model = built(settings, attribute_fields=["title"], item_id_embedding=False)
    sharpen(model)
    tokens = model.catalogue.item_tokens
    bag = model.attributes["title"]
    words = sorted({word for token in tokens for word in token.split()})
    assert bag.weight.shape[0] == 1 + len(words)
    vectors = model.item_vectors(torch.arange(len(tokens) + 1))
    assert (vectors[0] == 0).all()
    for item, token in enumerate(tokens, start=1):
        rows = [1 + words.index(word) for word in token.split()]
        torch.testing.assert_close(vectors[item], bag.weight[rows].mean(0))


@pytest.mark.parametrize(
    ("change", "lacks"),
    [({"user_embedding": False}, "users"), ({"item_id_embedding": False}, "items"), ({"mask_ratio": 0}, None)],
)
def test_embeddings_can_be_left_out(settings, change, lacks):
    config, data, model = built(settings, **change)
    if lacks:
        assert getattr(model, lacks) is None
    for stage in ("pretrain", "finetune"):
        loader = data.train_loader(config, model)
        loader.set_stage(stage)
        assert torch.isfinite(model.calculate_loss(next(iter(loader))))


def test_without_positions_the_encoder_knows_a_set(settings):
    _, _, model = built(settings, position_embedding=False)
    sharpen(model).eval()
    (first, other) = (
        MaskedSequences(np.array([1]), np.array([4]), np.array([*items, 5]), np.array([False] * 3 + [True]))
        for items in ([1, 2, 3], [3, 1, 2])
    )
    losses = [model.calculate_loss(model.writer.write(sequences)) for sequences in (first, other)]
    torch.testing.assert_close(*losses)
    losses[0].backward()
    assert model.backbone.causal_model.get_encoder().embed_positions.weight.grad is None


def test_exact_lists_are_those_of_scoring_every_item(settings):
    _, data, model = built(settings)
    sharpen(model).eval()
    config = GenRecConfig(NAME, "tiny", config_dict=settings)
    interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
    found = model.full_sort_predict(interaction)
    history, length, user = model._columns(interaction)
    for row in range(0, len(history), 7):
        scores = []
        for item in range(1, model.n_items):
            one = model._sequences(history[[row]], length[[row]], user[[row]], np.array([item]))
            batch = model.writer.write(one)
            scores.append(-model.calculate_loss(batch) * batch.n_decisions)
        scores = torch.stack(scores).detach()
        torch.testing.assert_close(scores.exp().sum(), torch.tensor(1.0))
        best = scores.topk(model.k)
        torch.testing.assert_close(found[row, 1:][best.indices], best.values, atol=1e-4, rtol=1e-4)
        assert (found[row] > -torch.inf).sum() == model.k
    states = model(interaction["item_id_list"], interaction["item_length"], interaction["user_id"])
    assert states.shape == (len(interaction), model.backbone.hidden_size)


def test_recboles_own_objects_are_enough(settings):
    config = Config(model=plugin_model(NAME), dataset="tiny", config_dict=settings | SHORT | {"epochs": 15})
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, plugin_model(NAME)(config, train.dataset))
    trainer.fit(train, valid)
    assert trainer.evaluate(test)["hit@1"] > 0.5


def test_stock_runner_and_loader(settings, tmp_path):
    run_recbole(model=NAME, dataset="tiny", config_dict=settings)
    best = next(tmp_path.glob(f"saved/{NAME}-tiny-*/best"))
    _, model, _, _, _, test = load_data_and_model(str(best))
    assert torch.isfinite(model.eval().predict(next(iter(test))[0])).all()


def test_five_models_end_in_one_table(settings, capsys):
    models = [NAME, "GenRec", "P5", "SASRec", "BERT4Rec"]
    results = run_recbole_genrec(models, "tiny", config_dict=settings | {"epochs": 1})
    assert [result["model"] for result in results] == models
    table = capsys.readouterr().out
    assert all(name in table for name in models)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"gradient_checkpointing": True},
        {"train_batch_tokens": 0, "train_batch_size": 8, "gradient_accumulation_steps": 2},
        {"item_indexing": "title", "max_prompt_tokens": 24},
        {"item_indexing": "collaborative", "cluster_leaf_size": 3, "cluster_branches": 2},
        {"history_dropout": 0.3, "item_embedding_dropout": 0.3, "mask_span": 2.0},
        {"eval_args": {"mode": "uni5"}, "normalization": "vocab"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_settings_train_and_rank(settings, changes):
    result = run_recbole_genrec(NAME, "tiny", config_dict=settings | changes | {"epochs": 1, "pretrain_epochs": 1})
    assert 0 <= result["test_result"]["hit@5"] <= 1


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_a_folder_is_a_backbone(settings, tmp_path, adapter):
    _, _, model = built(settings, item_indexing="title")
    folder = str(tmp_path / "bart")
    model.backbone.model.save_pretrained(folder)
    model.backbone.tokenizer.save_pretrained(folder)
    one = {"epochs": 1, "pretrain_epochs": 1, "backbone": folder, "adapter": adapter}
    result = run_recbole_genrec(NAME, "tiny", config_dict=settings | one)
    assert (result["parameters"]["trainable"] < result["parameters"]["total"]) == (adapter == "lora")
    _, again, _, _, _, test = load_data_and_model(result["checkpoint"])
    assert torch.isfinite(again.eval().predict(next(iter(test))[0])).all()


def test_a_backbone_without_places_or_mask_is_refused(settings, tmp_path):
    _, _, model = built(settings)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 400}
    T5ForConditionalGeneration(T5Config(**shape, decoder_start_token_id=0)).save_pretrained(tmp_path / "t5")
    model.backbone.tokenizer.save_pretrained(tmp_path / "t5")
    with pytest.raises(GenRecError, match="BART's family"):
        built(settings, backbone=str(tmp_path / "t5"))


def test_every_ablation_runs(settings):
    for path in sorted((properties_folder() / "ablation").glob("*.yaml")):
        result = run_recbole_genrec(NAME, "tiny", [str(path)], settings | {"epochs": 1, "pretrain_epochs": 1})
        assert 0 <= result["test_result"]["hit@5"] <= 1, path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": True}, "'packing: false'"),
        ({"train_stage": "pretraining"}, "'train_stage'"),
        ({"pretrained_checkpoint": "there"}, "'pretrained_checkpoint'"),
        ({"pretrain_epochs": 0}, "'pretrain_epochs'"),
        ({"mask_ratio": 1.0}, "'mask_ratio'"),
        ({"mask_span": 0.5}, "'mask_span'"),
        ({"mask_pointer": False}, "'mask_pointer: false'"),
        ({"targets_per_user": -1}, "'targets_per_user'"),
        ({"user_embedding": "no"}, "'user_embedding'"),
        ({"attribute_fields": "title"}, "'attribute_fields'"),
        ({"attribute_fields": ["genre"]}, "'genre'"),
        ({"max_prompt_tokens": 2048}, "'max_prompt_tokens'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changes, message):
    with pytest.raises(GenRecError, match=message):
        built(settings, **changes)
