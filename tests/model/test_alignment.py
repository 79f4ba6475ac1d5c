"""Alignment tasks: their losses from the definition, what they know, and training without them as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.alignment_batches import AlignmentBatch
from recbole_genrec.config.arguments.models import ALIGNMENT_TASKS
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.prompt.alignment_prompts import FIELDS, load_alignment
from recbole_genrec.runs.run import build_model
from tests.model.conftest import BLACK, WHITE

HEADER = ("item_id:token", "title:token_seq", "colour:token", "words:token_seq")
SHIPPED = properties_folder() / "alignment/alignment.yaml"


@pytest.fixture
def settings(checkerboard, write_dataset, tmp_path):
    """The checkerboard with columns, and one more item that the last of a history alone has: the test's."""
    folder = Path(checkerboard["data_path"]) / "tiny"
    lines = (folder / "tiny.inter").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]] + [["u0", "Zodiac", "1000000900"]]
    items = [(t, t, "black" if t in BLACK else "white", f"film {t}") for t in [*BLACK, *WHITE]] + [
        ("Zodiac", "Zodiac", "grey", "late")
    ]
    write_dataset(tmp_path / "data", rows, items, item_header=HEADER)
    return checkerboard | {"item_indexing": "semantic", "scratch_hidden_size": 16, "max_prompt_tokens": 128}


def built(settings):
    config = GenRecConfig("GenRec", "tiny", config_dict=settings)
    data = SplitData([config])
    torch.manual_seed(1)
    model = build_model(config, data)
    return model, data.train_part(config), config


def own_batches(loader):
    return [batch for batch in loader if isinstance(batch, AlignmentBatch)]


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("history", ["text", "both"])
@pytest.mark.parametrize("task", ALIGNMENT_TASKS)
def test_the_loss_of_a_task_is_that_of_plain_prompts(settings, task, history, normalization):
    own = {"alignment_tasks": [task], "history": history, "normalization": normalization}
    model, part, config = built(settings | own)
    model.eval()
    loader = model.training_loader(config, part).loaders[1]
    if model.item_embedding is not None:
        torch.nn.init.normal_(model.item_embedding.weight)
    plan = loader._plan()
    writer, total, count = loader.writer, 0.0, 0
    for example in plan.rows:
        loss, terms = loss_by_hand(model, example)
        total, count = total + loss, count + terms
    batches = [writer.write([plan.rows[row] for row in batch]) for batch in plan.batches]
    assert sum(batch.n_decisions for batch in batches) == count
    packed = sum(model.calculate_loss(batch) * batch.n_decisions for batch in batches)
    torch.testing.assert_close(packed, total, atol=1e-3, rtol=1e-4)


def loss_by_hand(model, example):
    """The summed loss of one prompt, put together from its wording and fed alone, and its number of terms."""
    backbone, catalogue = model.backbone, model.catalogue
    wording = yaml.safe_load(SHIPPED.read_text("utf-8"))[example.task][example.number]
    before, after = wording.split(f"{{{FIELDS[example.task]}}}")

    def encode(text):
        return backbone.encode(text, "x")

    def title(item):
        return encode(f" {catalogue.item_texts[item - 1]}")

    def identifier(item):
        return list(catalogue.identifiers[item - 1])

    shown = [example.item] if example.task == "item_to_title" else example.history.tolist()
    tokens, marks = [backbone.bos_id, *encode(before.removesuffix(" "))], []
    if example.task == "title_to_item":
        tokens += title(example.item)
    elif example.task == "columns_to_item":
        known = {
            name: " ".join(column.values[catalogue.item_tokens[example.item - 1]]) for name, column in columns_of(model)
        }
        tokens += encode(" " + "; ".join(f"{name}: {text}" for name, text in known.items()))
    for place, item in enumerate(shown):
        tokens += encode(",") if place else []
        tokens += title(item) if example.task == "titles_to_item" else identifier(item)
        marks += [(len(tokens) - 1, item)] if example.task != "titles_to_item" else []
    tokens += encode(after)
    to_title = example.task in ("item_to_title", "history_to_title")
    end = model.packer.tokens.end
    answer = [*(title(example.item) if to_title else identifier(example.item)), end]
    embeds = backbone.embed(torch.tensor([[*tokens, *answer]]))
    if model.item_embedding is not None:
        for cell, item in marks:
            embeds[0, cell] += model.item_embedding.weight[item]
    logits = backbone.logits(backbone(embeds))[0, len(tokens) - 1 : -1]
    if to_title or model.engine.normalization == "vocab":
        return torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum"), len(answer)
    others = [[*each, end] for each in catalogue.identifiers]
    loss, terms = 0.0, 0
    for depth, token in enumerate(answer):
        possible = sorted({other[depth] for other in others if other[:depth] == answer[:depth]})
        if len(possible) > 1 or depth == 0:
            loss = loss - logits[depth][possible].log_softmax(0)[possible.index(token)]
            terms += 1
    return loss, terms


def columns_of(model):
    return [(name, column) for name, column in model.catalogue.columns.items() if name != "title"]


def test_without_tasks_everything_is_as_it_was(settings):
    """The same batches and losses to the bit; with tasks the batches of histories stay the same among the others."""
    plain, part, config = built(settings)
    empty, _, _ = built(settings | {"alignment_tasks": []})
    mixed, _, _ = built(settings | {"alignment_tasks": ["title_to_item"]})
    loaders = [model.training_loader(config, part) for model in (plain, empty, mixed)]
    assert type(loaders[0]) is type(loaders[1])
    for _ in range(2):  # epochs
        batches = [[batch for batch in loader if not isinstance(batch, AlignmentBatch)] for loader in loaders[:2]]
        assert len(batches[0]) == len(batches[1])
        for one, other in zip(*batches):
            assert torch.equal(one.input_ids, other.input_ids) and torch.equal(one.labels.label, other.labels.label)
            assert torch.equal(plain.eval().calculate_loss(one), empty.eval().calculate_loss(other))
    histories = mixed.training_loader(config, part).loaders[0]
    for epoch in range(2):
        loaders[2].set_epoch(epoch), histories.set_epoch(epoch)
        every = list(loaders[2])
        assert len(every) == len(loaders[2])
        alone = [batch for batch in every if not isinstance(batch, AlignmentBatch)]
        assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(alone, histories)) and len(alone) < len(every)


def test_it_takes_part_as_an_item_and_no_interaction_does(settings):
    model, part, config = built(settings | {"alignment_tasks": list(ALIGNMENT_TASKS), "alignment_share": 8.0})
    loader = model.training_loader(config, part).loaders[1]
    zodiac = model.catalogue.item_tokens.index("Zodiac") + 1
    users, items, offsets = train_sequences(part)
    assert zodiac not in items  # it is the test's
    beginnings = {tuple(items[b:e][: n + 1]) for b, e in zip(offsets, offsets[1:]) for n in range(e - b)}
    seen = {task: set() for task in ALIGNMENT_TASKS}
    for example in loader._plan().rows:
        seen[example.task].add(example.item)
        if len(example.history):
            assert (*example.history.tolist(), example.item) in beginnings
    for task in ("title_to_item", "item_to_title", "columns_to_item"):
        assert seen[task] == set(range(1, 14)), task
    for task in ("history_to_title", "titles_to_item"):
        assert seen[task] and zodiac not in seen[task]
    first = [row[:3] for row in loader._plan().rows]
    loader.set_epoch(1)
    assert [row[:3] for row in loader._plan().rows] != first
    loader.set_epoch(0)
    assert [row[:3] for row in loader._plan().rows] == first


def test_items_held_out_of_training_take_no_part(settings):
    model, part, config = built(settings | {"alignment_tasks": ["title_to_item"], "cold_items": 0.5})
    cold = set(np.asarray(part.cold_items).tolist())
    asked = {example.item for example in model.training_loader(config, part).loaders[1]._plan().rows}
    assert cold and not cold & asked and asked | cold == set(range(1, 14))


def test_long_prompts_lose_old_items_and_the_ends_of_texts(settings):
    own = {
        "alignment_tasks": list(ALIGNMENT_TASKS),
        "max_prompt_tokens": 80,
        "alignment_text": "{words} {colour} {words}",
    }
    model, part, config = built(settings | own)
    writer = model.training_loader(config, part).loaders[1].writer
    for example in model.training_loader(config, part).loaders[1]._plan().rows:
        fed = writer.answer(example)[0]
        whole, marks = writer.prompt(example, 10_000)
        assert len(writer.prompt(example, 80 - len(fed))[0]) + len(fed) <= 80
        bare = len(whole) - len(writer._field(example, 10_000)[0])
        short, kept = writer.prompt(example, bare + 20)
        assert len(short) <= bare + 20 and (len(whole) <= bare + 20) == (len(short) == len(whole))
        assert [item for _, item in kept] == [item for _, item in marks][len(marks) - len(kept) :]


def test_it_learns_what_identifiers_mean_and_still_ranks(settings):
    own = settings | {
        "alignment_tasks": list(ALIGNMENT_TASKS),
        "epochs": 30,
        "eval_step": 30,
        "scratch_hidden_size": 32,
    }
    result = run_recbole_genrec("GenRec", "tiny", config_dict=own)
    assert result["generation"]["valid_share"] == 1 and result["test_result"]["hit@5"] > 0.5
    model, part, config = built(settings)
    assert not any("code" in text for text in model._value_texts(part))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignment_tasks": ["titles"]}, "value of 'alignment_tasks': 'titles'"),
        (
            {"alignment_tasks": ["title_to_item"], "item_indexing": "title"},
            "'item_indexing: title' they are titles",
        ),
        ({"alignment_tasks": ["title_to_item"], "packing": False}, "they need 'packing: true'"),
        ({"alignment_tasks": ["title_to_item"], "history": "vectors"}, "'history: text' or 'both'"),
        ({"alignment_tasks": ["title_to_item"], "alignment_prompts": "lcrec"}, "Unknown alignment prompts 'lcrec'"),
        ({"alignment_tasks": ["columns_to_item"], "alignment_text": "{size}"}, "'alignment_text' template .* 'size'"),
        ({"alignment_tasks": ["title_to_item"], "max_prompt_tokens": 40}, "'max_prompt_tokens' .40. "),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, changes, message):
    with pytest.raises(GenRecError, match=message):
        model, part, config = built(settings | changes)
        model.training_loader(config, part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "one"}, "must hold 'version"),
        ({"ranking": ["?"]}, "task in .*: 'ranking'"),
        ({"title_to_item": "?"}, "'title_to_item': give at least one prompt"),
        ({"title_to_item": ["{item}"]}, "unknown field 'item'. Accepted: title"),
        ({"title_to_item": ["The title"]}, "the field {title} must be in it once"),
        ({"title_to_item": None}, "no prompts for 'title_to_item'"),
    ],
)
def test_malformed_prompts_are_named(tmp_path, change, message):
    content = yaml.safe_load(SHIPPED.read_text("utf-8")) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}), "utf-8")
    with pytest.raises(GenRecError, match=message) as caught:
        load_alignment(str(path), ["title_to_item"])
    assert "mine.yaml" in str(caught.value)


def test_the_shipped_prompts_have_every_task():
    assert load_alignment("alignment").tasks.keys() == FIELDS.keys() == set(ALIGNMENT_TASKS)
