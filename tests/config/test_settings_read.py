"""Who reads a setting is what its description says: models of every kind are trained while their reads are noted."""

import sys

import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.arguments import EngineArguments, IndexingArguments, PromptLLMArguments
from recbole_genrec.config.arguments.models import CHAT
from recbole_genrec.config.arguments.schema import ARGUMENT_GROUPS, described
from recbole_genrec.config.arguments.shared import TRAINED
from recbole_genrec.config.keys import model_kind
from recbole_genrec.config.registry import get_model

SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 16,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 96,
    "topk": [2],
    "valid_metric": "NDCG@2",
    "epochs": 1,
    "warmup_steps": 0,
    "show_progress": False,
}
#: settings of runs that have everything read that needs no checkpoint, server or pretrained model.
RUNS = {
    "GenRec": [
        {"decoding": "beam", "num_beams": 5, "history": "both", "text_vectors": "tfidf"},
        {"item_indexing": "collaborative", "cluster_leaf_size": 2},
        {
            "item_indexing": "svd",
            "context": ["gap", "rating"],
            "user_columns": ["age"],
            "item_columns": ["kind"],
            "item_prior": True,
        },
        {"item_indexing": "semantic", "semantic_steps": 2, "semantic_codes": 4},
        {"item_indexing": "hybrid"},
        {"history": "vectors", "item_prior": True, "pretrain": "both", "pretrain_epochs": 1},
        {"prompt": "continuation-user", "user_indexing": "random"},
        {"prompt": "continuation-user", "user_indexing": "cluster"},
        {"prompt": "continuation-user", "user_indexing": "metadata", "user_text": "{age}"},
        {
            "item_indexing": "semantic",
            "semantic_steps": 2,
            "semantic_codes": 4,
            "max_prompt_tokens": 256,
            "alignment_tasks": ["columns_to_item"],
        },
    ],
    "GenRecSeq2Seq": [{"pretrain_epochs": 1, "attribute_fields": ["kind"]}],
    "P5": [
        {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}},
        {"user_indexing": "random"},
        {"user_indexing": "cluster"},
        {"user_indexing": "metadata"},
        {"review_field": "words", "explain_about": "predicted", "feature_reviews": 1, "task_prompts": "p5-about"},
    ],
    "PEPLER": [
        {"explain_about": "predicted", "review_field": "words", "feature_reviews": 1, "rating_model": "mlp"},
        {"prompt_epochs": 1, "feature_field": "words", "review_field": "words", "explain_about": "own"},
    ],
    "PromptLLM": [{"tasks": {"sequential": 1, "direct": 1}, "few_shot": 1, "max_prompt_tokens": 512}],
    "TALLRec": [
        {"threshold": {"rating": 2}, "metrics": ["LogLoss"], "valid_metric": "LogLoss", "max_prompt_tokens": 512}
    ],
    "TIGER": [{"semantic_steps": 2, "semantic_codes": 4}],
    "UniTRec": [{}],
}
#: keys that these runs leave unread, and what would read them.
ELSEWHERE = {
    "item_index": "a checkpoint",
    "warm_start": "a checkpoint",
    "learning_rate": "RecBole's trainer, of the configuration",
    "quantization": "a pretrained model",
    "adapter": "a pretrained model",
    "adapter_tokens": "an adapter",
    "distributed": "several processes",
    "test_tasks": "the runner, of the configuration",
    "revision": "a hub id",
    "trust_remote_code": "a pretrained model",
    "torch_dtype": "a pretrained model",
    "lora_r": "an adapter",
    "lora_alpha": "an adapter",
    "lora_dropout": "an adapter",
    "lora_target_modules": "an adapter",
    "pretrained_checkpoint": "a checkpoint",
    "text_embedding_revision": "a hub id",
}


@pytest.fixture
def read(monkeypatch):
    """The names of the fields that code outside the descriptions has read."""
    names = set()

    def note(group, keys, look_up):
        def __getattribute__(self, name):
            if name in keys:
                caller = sys._getframe(1).f_globals["__name__"]
                if not caller.startswith(
                    ("recbole_genrec.config.arguments", "recbole_genrec.config.config", "dataclasses")
                ):
                    names.add(name)
            return look_up(self, name)

        monkeypatch.setattr(group, "__getattribute__", __getattribute__)

    for group in ARGUMENT_GROUPS:
        note(group, frozenset(described(group)), group.__getattribute__)
    return names


@pytest.mark.parametrize("model", RUNS)
def test_a_model_reads_what_is_said_of_it(model, read, tmp_path, monkeypatch, write_dataset):
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{user}", f"i{(user * 2 + step) % 7}", step % 5, 100 + step) for user in range(9) for step in range(6)]
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    if model in ("P5", "PEPLER"):
        rows, header = [(*row, f"The plot {row[2]} of it") for row in rows], (*header, "words:token_seq")
    data_path = write_dataset(
        tmp_path / "data",
        rows,
        [(f"i{item}", f"Item {item}", "a") for item in range(7)],
        inter_header=header,
        item_header=("item_id:token", "title:token_seq", "kind:token"),
    )
    users = "\n".join(["user_id:token\tage:float", *(f"u{user}\t{user}" for user in range(9))])
    (tmp_path / "data/tiny/tiny.user").write_text(users + "\n")
    for more in RUNS[model]:
        run_recbole_genrec(model, "tiny", config_dict={**SMALL, "data_path": data_path, **more})
    keys = {key for group in ARGUMENT_GROUPS for key in described(group)}
    said = model_kind(get_model(model)).settings().keys() & keys
    if model == "PromptLLM":  # its trainer is GenRec's, which looks at what training takes, and does not train
        read -= {
            key
            for group in ARGUMENT_GROUPS
            for key, s in described(group).items()
            if {*TRAINED} <= {*s.models} and model not in s.models
        }
    if model in ("TALLRec", "UniTRec", "PEPLER"):  # which have their defaults, whatever the configuration says
        read -= {key for group in (IndexingArguments, EngineArguments) for key in described(group)}
    assert read - said == set()
    unread = said - read - ELSEWHERE.keys()
    if model != "GenRec":  # the engine and the schemes are the same for all
        unread -= {key for group in (IndexingArguments, EngineArguments) for key in described(group)}
    unread -= {key for key, setting in described(PromptLLMArguments).items() if CHAT in setting.metadata}
    assert unread == set()
