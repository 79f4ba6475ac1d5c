"""P5 with ``soft_prompts`` (POD): vectors of a task before its prompts, and training that alternates between tasks."""

from collections import Counter

import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.task_loader import in_turn
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.checkpoint.folder import read_extra
from recbole_genrec.runs.reopen import load_data_and_model
from recbole_genrec.serve.export import export
from tests.backbone.test_adapters import SEQ2SEQ
from tests.builders import stopping_in_epoch, write_base
from tests.model.test_p5 import SMALL, built, shop

S = 3
FAMILIES = ["sequential", "direct", "rating", "explanation", "review"]


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return SMALL | {"data_path": shop(tmp_path, write_dataset), "soft_prompts": S}


def examples_of(model, families, count=2):
    return [
        model.data.example(family, 0, place, None, with_candidates=False)
        for family in families
        for place in model.data.places(family)[:count]
    ]


def test_the_loss_is_that_of_transformers_behind_the_vectors_of_each_task(settings):
    _, _, model = built(settings, normalization="vocab")
    model.eval()
    assert {name: p.shape for name, p in model.soft_prompts.items()} == dict.fromkeys(FAMILIES, (S, 64))
    for vectors in model.soft_prompts.values():
        assert 0.05 < vectors.abs().max() <= 0.1
        torch.nn.init.normal_(vectors)
    causal_model, losses, examples = model.backbone.causal_model, [], examples_of(model, FAMILIES)
    for example in examples:
        batch = model.writer.write([example])
        labels = batch.text_label if len(batch.text_label) else batch.label
        embeds = causal_model.shared(batch.prompts.input_ids[0]) + model.whole_words(batch.prompts.word[0])
        fed = torch.cat([model.soft_prompts[example.prompt.family], embeds])[None]
        losses.append(causal_model(inputs_embeds=fed, labels=labels[None]).loss)
    loss = model.calculate_loss(model.writer.write(examples))
    torch.testing.assert_close(loss, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


def test_a_batch_moves_the_vectors_of_its_own_task_alone(settings):
    _, _, model = built(settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    for family in ("sequential", "direct", "review", "sequential"):
        before = {name: p.detach().clone() for name, p in model.soft_prompts.items()}
        optimizer.zero_grad()
        model.calculate_loss(model.writer.write(examples_of(model, [family]))).backward()
        optimizer.step()
        moved = [name for name, p in model.soft_prompts.items() if not torch.equal(p, before[name])]
        assert moved == [family] and model.soft_prompts[family].grad.abs().sum() > 0


def loader_of(settings, **changes):
    config, data, model = built(settings, **changes)
    return data.train_loader(config, model)


def test_every_batch_is_of_one_task_and_the_tasks_take_turns(settings):
    equal = {"tasks": dict.fromkeys(FAMILIES, 1), "examples_per_user": 4, "train_batch_size": 40}
    loader, mixed = loader_of(settings, **equal), loader_of(settings, **equal, soft_prompts=0)
    first = list(loader)
    assert len(first) == len(loader) == 15
    assert [set(batch.prompts.families) for batch in first] == [{family} for family in FAMILIES] * 3
    assert any(len(set(batch.prompts.families)) > 1 for batch in mixed)
    for epoch in (0, 1):  # the examples of an epoch are those of an epoch without turns, each once
        loader.set_epoch(epoch), mixed.set_epoch(epoch)
        plan = loader._plan()
        assert plan.rows == mixed._plan().rows
        assert Counter(row for batch in plan.batches for row in batch.tolist()) == Counter(range(24 * 4 * 5))
    loader.set_epoch(0)
    again = list(loader)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.prompts.input_ids, other.prompts.input_ids)
    other = next(iter(loader))
    assert other.prompts.families == first[0].prompts.families
    assert not torch.equal(other.prompts.input_ids, first[0].prompts.input_ids)


def test_a_task_of_more_examples_has_batches_in_between():
    assert in_turn([list("aaaa"), list("b"), list("cc"), []]) == list("acabaca")
    assert in_turn([[1, 2, 3], [4, 5, 6]]) == [1, 4, 2, 5, 3, 6]


def test_it_comes_back_from_a_checkpoint_and_goes_on_where_it_stopped(settings):
    settings |= {"epochs": 3, "tasks": {"sequential": 2, "direct": 1}, "test_tasks": False}
    settings |= {"whole_word_embedding": False}  # so that nothing else keeps an export back
    whole = run_recbole_genrec("P5", "tiny", config_dict=settings | {"checkpoint_dir": "whole"})
    parts = settings | {"checkpoint_dir": "parts", "results_dir": "parts"}
    with stopping_in_epoch(1), pytest.raises(KeyboardInterrupt):
        run_recbole_genrec("P5", "tiny", config_dict=parts)
    resumed = run_recbole_genrec("P5", "tiny", config_dict=parts | {"resume": "auto"})
    assert resumed["test_result"] == whole["test_result"]
    stored, other = read_extra(whole["checkpoint"]), read_extra(resumed["checkpoint"])
    assert {f"soft_prompts.{family}" for family in ("sequential", "direct")} == stored.keys()
    assert all(torch.equal(stored[name], other[name]) for name in stored)

    _, model, *_, test = load_data_and_model(whole["checkpoint"])
    _, _, fresh = built(settings, seed=7, item_index=whole["checkpoint"])
    load_checkpoint_into(fresh, whole["checkpoint"])
    rows = next(iter(test))[0]
    found = [each.eval().full_sort_predict(rows) for each in (model, fresh)]
    assert torch.equal(*found)
    model.soft_prompts["sequential"].data.neg_()
    assert not torch.equal(model.full_sort_predict(rows), found[0])  # they are read where lists are made, too
    with pytest.raises(GenRecError, match="'soft_prompts: 3', .* 'soft_prompts: 0' can be exported"):
        export(whole["checkpoint"], "plain", merged=True)


def test_they_count_among_the_positions_of_a_bart(settings, tmp_path):
    special = {"pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"}
    base = write_base(tmp_path / "base", SEQ2SEQ["bart"](), special)
    settings |= {"backbone": base, "adapter": "none", "max_prompt_tokens": 64, "tasks": {"sequential": 1}}
    with pytest.raises(
        GenRecError, match=r"\(64\), with 3 virtual tokens, is above the backbone's longest sequence, 64"
    ):
        built(settings)
    assert len(built(settings, max_prompt_tokens=61)[2].soft_prompts) == 1
