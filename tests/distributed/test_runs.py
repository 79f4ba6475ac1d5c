"""Whole runs in several processes; the oracle is the run of one."""

import json
import shutil

import pytest
from recbole.trainer import S3RecTrainer

from recbole_genrec.errors import GenRecError
from recbole_genrec.training.sharing import for_several_processes
from tests.backbone.test_loading import save_model
from tests.builders import LABELS, write_labels, write_reviews

STILL = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
MODELS = {
    "GenRec": {"history": "both", "item_prior": True, "text_vectors": "tfidf"},
    "P5": {"n_candidates": 5},
    "GenRecSeq2Seq": {"pretrain_epochs": 2},
    "TALLRec": LABELS | {"metrics": ["AUC", "LogLoss"], "valid_metric": "AUC", "max_prompt_tokens": 512},
    "PEPLER": {"prompt_epochs": 1, "max_prompt_tokens": 64},
    "TIGER": {"semantic_steps": 20},
    "UniTRec": {"eval_args": {"mode": "uni5"}},
    "SASRec": STILL,
    "SASRecAll": STILL,
    "BSARec": STILL,
    "HSTU": {"hidden_dropout_prob": 0.0},
}
#: what says where a run was made.
PLACE = ("config", "processes", "checkpoint", "curve")


def losses(result):
    return [epoch["train_loss"] for epoch in result["curve"]]


def check_equal(found, expected):
    assert {k: v for k, v in found.items() if k not in PLACE} == {k: v for k, v in expected.items() if k not in PLACE}
    assert losses(found) == pytest.approx(losses(expected), rel=1e-5)
    valid = [[epoch.get("valid_result") for epoch in result["curve"]] for result in (found, expected)]
    assert valid[0] == valid[1]


@pytest.mark.parametrize("model", MODELS)
def test_any_number_of_processes_gives_the_result_of_one(train, settings, tmp_path, model):
    write_labels(settings["data_path"])
    if model == "PEPLER":
        write_reviews(settings["data_path"])
    one = train(1, model, **MODELS[model])
    assert one["processes"] == 1
    for size in (2, 3):
        several = train(size, model, **MODELS[model])
        assert several["processes"] == size
        check_equal(several, one)
        folder = tmp_path / f"{model} {size}"
        assert len(list((folder / "log").rglob("*.log"))) == 1
        assert len(list((folder / "log_tensorboard").rglob("events*"))) == len(
            list((tmp_path / f"{model} 1" / "log_tensorboard").rglob("events*"))
        )


@pytest.mark.parametrize("model", ["GenRec", "P5", "GenRecSeq2Seq", "PEPLER"])
def test_spread_weights_give_the_result_of_one(train, settings, model):
    if model == "PEPLER":
        write_reviews(settings["data_path"])
    more = MODELS[model] | {"clip_grad_norm": {"max_norm": 0.5}}
    check_equal(train(2, model, distributed="fsdp", **more), train(1, model, **more))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_of_spread_and_of_whole_backbones(train, tmp_path, dtype):
    """Frozen weights may be of another type than the adapter's; new tokens are rows of the embedding."""
    save_model(tmp_path / "backbone")
    more = {"backbone": str(tmp_path / "backbone"), "lora_dropout": 0.0, "torch_dtype": dtype, "epochs": 2}
    more |= {"item_indexing": "independent", "lr_scheduler": "constant", "precision": "fp32"}
    one = train(1, **more)
    for distributed in ("ddp", "fsdp"):
        several = train(2, folder=distributed, distributed=distributed, **more)
        if dtype == "float32":
            check_equal(several, one)
        else:  # bfloat16 has three digits
            assert losses(several) == pytest.approx(losses(one), rel=0.02)
    last = next((tmp_path / "fsdp").glob("saved/*/last"))
    rest = train(1, folder="fsdp", resume=str(last), **{**more, "epochs": 3})
    assert losses(rest)[:2] == losses(several) and len(rest["curve"]) == 3


@pytest.mark.parametrize("mode", ["uni5", "pop5"])
def test_sampled_candidates_are_shared_by_user(train, mode):
    more = {"eval_args": {"mode": mode}, "topk": [3], "metrics": ["NDCG", "GAUC"], "valid_metric": "GAUC"}
    check_equal(train(3, **more), train(1, **more))


def test_metrics_over_the_lists_of_all(train):
    more = {"metrics": ["NDCG", "ItemCoverage", "GiniIndex", "AveragePopularity"]}
    check_equal(train(2, **more), train(1, **more))


@pytest.mark.parametrize("mode", ["full", "uni5"])
def test_fewer_users_than_processes(train, mode):
    more = {"eval_users": 2, "epochs": 1, "eval_args": {"mode": mode}}
    check_equal(train(3, **more), train(1, **more))


def test_batches_with_fewer_rows_than_processes(train):
    more = {"train_batch_tokens": 1, "epochs": 1}  # a window each
    check_equal(train(3, **more), train(1, **more))
    check_equal(
        train(2, folder="rows", packing=False, train_batch_size=7, **more),
        train(1, packing=False, train_batch_size=7, **more),
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [((1, "ddp"), (3, "ddp")), ((2, "ddp"), (1, "ddp")), ((2, "fsdp"), (1, "ddp")), ((1, "ddp"), (2, "fsdp"))],
    ids=str,
)
def test_any_number_of_processes_goes_on_from_any_other(train, tmp_path, before, after):
    more = {"lr_scheduler": "constant", "clip_grad_norm": {"max_norm": 0.5}}
    whole = train(1, folder="whole", **more)
    train(before[0], folder="part", distributed=before[1], **{**more, "epochs": 2})
    half = next((tmp_path / "part").glob("saved/*/last"))
    rest = train(after[0], folder="part", distributed=after[1], resume=str(half), **more)
    assert len(rest["curve"]) == 4
    check_equal(rest, whole)


def test_a_run_of_several_processes_resumes_to_the_bit(train, tmp_path):
    """Each process draws its own dropout: their random numbers are kept, too."""
    more = {"lr_scheduler": "constant", "embedding_dropout": 0.3, "save_steps": 1}
    whole = train(2, folder="whole", **more)
    train(2, folder="part", **{**more, "epochs": 2})
    run = next((tmp_path / "part").glob("saved/*"))
    shutil.rmtree(run / "last")  # what is left stands within the second epoch
    assert json.loads((run / "previous" / "trainer.json").read_text())["done"][0] > 0
    rest = train(2, folder="part", resume=str(run / "previous"), **more)
    assert losses(rest)[1:] == losses(whole)[1:]
    assert rest["test_result"] == whole["test_result"]


def test_dropout_differs_between_processes(train):
    """The same masks in all of them would be a narrower draw than that of one process."""
    more = {"embedding_dropout": 0.5, "epochs": 1}
    assert losses(train(2, **more)) != pytest.approx(losses(train(1, **more)), rel=1e-6)


def test_a_trainer_that_cannot_share_says_so():
    with pytest.raises(GenRecError, match="RecBole's S3RecTrainer trains in one process"):
        for_several_processes(S3RecTrainer)
