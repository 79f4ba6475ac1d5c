"""The same numbers, whichever way they are computed; ``tests/distributed`` has several processes.

Metrics depend on ranks, losses do not: where sums are taken in another order, losses are compared, too.
"""

import numpy as np
import pytest
import torch

from benchmarks.kills import SETTINGS, outcome, write_dataset
from recbole_genrec import run_recbole_genrec
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.runs import run as runner
from tests.builders import LABELS, write_labels, write_reviews

STILL = {key: 0.0 for key in ("embedding_dropout", "hidden_dropout", "item_embedding_dropout")}
#: all that an epoch has in one step.
WHOLE = {"train_batch_tokens": 100_000, "train_batch_size": 100_000, "lr_scheduler": "constant"}
OF_THIS_PACKAGE = ("GenRec", "P5", "GenRecSeq2Seq", "TALLRec", "TIGER", "UniTRec", "PEPLER")
MODELS = (*OF_THIS_PACKAGE, "SASRec", "SASRecAll", "BSARec", "HSTU")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train and test a model in a folder of its own; returns its result file without times, and its outcomes."""
    data = write_dataset(tmp_path / "data")
    write_labels(data)
    reviewed = []

    def make(model="GenRec", folder="run", **more):
        own = {"data_path": data, "resume": "", "save_steps": 0}
        own |= {key: SETTINGS[key] for key in ("topk", "valid_metric", "show_progress")} | {"epochs": 2}
        if model in OF_THIS_PACKAGE:
            own = SETTINGS | own
        if model == "P5":
            own |= {"n_candidates": 5}
        if model == "GenRecSeq2Seq":
            own |= {"pretrain_epochs": 1}
        if model == "TALLRec":  # ranked, as the others are
            own |= LABELS | {"eval_args": {"mode": "full"}, "metrics": ["Hit", "NDCG"], "max_prompt_tokens": 512}
        if model == "PEPLER":
            own |= {"max_prompt_tokens": 64, "prompt_epochs": 1}
            if not reviewed:
                reviewed.append(write_reviews(data))
        if model == "TIGER":
            own |= {"semantic_steps": 20}
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        run_recbole_genrec(model, "tiny", config_dict=own | more)
        file = next((tmp_path / folder / "results").glob("*.npz"))
        return outcome(tmp_path / folder, model, more.get("seed", 2020)), Outcomes.read(file)

    return make


def losses(result):
    return [epoch["train_loss"] for epoch in result["curve"]]


def check_equal(found, expected, exact=False):
    (result, outcomes), (other, others) = found, expected
    assert losses(result) == (losses(other) if exact else pytest.approx(losses(other), rel=1e-5))
    assert result["test_result"] == pytest.approx(other["test_result"], abs=1e-6)
    assert [e.get("valid_result") for e in result["curve"]] == [e.get("valid_result") for e in other["curve"]]
    np.testing.assert_array_equal(outcomes.lists, others.lists)
    np.testing.assert_array_equal(outcomes.places, others.places)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_bits(run, model):
    """With dropout, and whatever has run before in the process."""
    first = run(model, "first")
    run("GenRec", "between", seed=7)
    check_equal(run(model, "second"), first, exact=True)


@pytest.mark.parametrize("model", ["GenRec", "P5"])
def test_another_seed_gives_another_run(run, model):
    assert losses(run(model, "first")[0]) != losses(run(model, "second", seed=7)[0])


class Built(Exception):
    """A model is built; no training follows."""


@pytest.mark.parametrize("model", MODELS)
def test_the_seed_draws_the_weights(run, model, monkeypatch):
    """2020 is RecBole's own seed."""
    build_model, drawn = runner.build_model, {}

    def first_weights(folder, seed):
        def built(config, data):
            state = build_model(config, data).state_dict()
            drawn[folder] = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
            raise Built

        monkeypatch.setattr(runner, "build_model", built)
        with pytest.raises(Built):
            run(model, folder, seed=seed)
        return drawn[folder]

    default, one, two = first_weights("default", 2020), first_weights("one", 7), first_weights("two", 8)
    again = first_weights("again", 7)
    assert one.keys() == again.keys() and all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    for first, second in ((default, one), (default, two), (one, two)):
        random = [name for name, tensor in first.items() if len(tensor.unique()) > 2]  # no zeros, no ones
        assert random and not any(torch.equal(first[name], second[name]) for name in random)


@pytest.mark.parametrize("decoding", ["exact", "beam", "full"])
@pytest.mark.parametrize("model", ["GenRec", "P5", "GenRecSeq2Seq"])
def test_any_size_of_evaluated_batches(run, model, decoding):
    more = {"decoding": decoding, "num_beams": 5}
    whole = run(model, "whole", eval_batch_size=4096, **more)
    for size in (1, 7):
        check_equal(run(model, f"by {size}", eval_batch_size=size, **more), whole)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_packed_or_a_prompt_for_each_target(run, normalization):
    more = WHOLE | STILL | {"normalization": normalization, "epochs": 3}
    check_equal(run(folder="packed", packing=True, **more), run(folder="single", packing=False, **more))


@pytest.mark.parametrize("packing", [True, False])
def test_one_batch_or_several_in_a_step(run, packing):
    more = WHOLE | STILL | {"packing": packing, "epochs": 3}
    split = {"train_batch_tokens": 60, "train_batch_size": 7, "gradient_accumulation_steps": 1000}
    check_equal(run(folder="split", **(more | split)), run(folder="whole", **more))


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_exact_search_or_every_item_scored(run, normalization):
    more = {"normalization": normalization}
    check_equal(run(folder="exact", decoding="exact", **more), run(folder="full", decoding="full", **more))
