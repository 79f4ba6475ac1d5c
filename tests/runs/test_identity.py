"""Which settings a run is known by: those that its model reads."""

import ast
import inspect

import pytest

from recbole_genrec.config.arguments import ARGUMENT_GROUPS, ContextArguments, PretrainArguments, plugin_keys
from recbole_genrec.config.arguments.base import Arguments
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import PLACE_KEYS
from recbole_genrec.config.registry import MODELS, get_model
from recbole_genrec.files.plain import plain
from recbole_genrec.runs.identity import deciding_settings, differences


def settings_of(model, **given):
    beside = [*MODELS, "BERT4Rec"]  # whose keys are known, too
    return plain(GenRecConfig(model, "mine", config_dict=given, models=beside).final_config_dict)


@pytest.mark.parametrize(("model", "key", "value", "reads"), [
    ("GenRec", "examples_per_user", 7, False),
    ("GenRec", "chat_model", "small", False),
    ("GenRec", "targets_per_user", 7, False),
    ("GenRec", "item_indexing", "random", True),
    ("GenRec", "warmup_steps", 7, True),
    ("P5", "examples_per_user", 7, True),
    ("P5", "few_shot", 7, False),
    ("PromptLLM", "n_candidates", 7, True),
    ("PromptLLM", "few_shot", 7, True),
    ("GenRecSeq2Seq", "targets_per_user", 7, True),
    ("GenRecSeq2Seq", "n_candidates", 7, False),
    ("SASRec", "item_indexing", "random", False),
    ("SASRec", "warmup_steps", 7, False),
    ("SASRec", "learning_rate", 0.5, True),
    ("SASRec", "hidden_size", 8, True),
    ("SASRecAll", "item_indexing", "random", False),
    ("SASRecAll", "weight_decay", 0.5, True),
    ("BSARec", "frequency_weight", 0.5, True),
    ("BSARec", "time_bias", "none", False),
    ("HSTU", "time_bias", "none", True),
    ("BERT4Rec", "mask_ratio", 0.5, True),
    ("S3Rec", "train_stage", "finetune", True),
    ("GRU4Rec", "mask_ratio", 0.7, False),
])  # fmt: skip
def test_a_setting_counts_where_the_model_reads_it(model, key, value, reads):
    before, after = (deciding_settings(settings_of(model, **given)) for given in ({}, {key: value}))
    assert (before != after) == reads
    stored = settings_of(model, **{key: value})
    assert (key in differences(stored, GenRecConfig(model, "mine"))) == reads


@pytest.mark.parametrize("model", ["Nobodys", None])
def test_of_a_model_that_is_not_known_everything_counts(model):
    assert plugin_keys() - PLACE_KEYS <= deciding_settings({"model": model}).keys()
    assert deciding_settings({"model": model, "examples_per_user": 7})["examples_per_user"] == 7


@pytest.mark.parametrize("model", MODELS)
def test_a_group_names_every_model_whose_file_reads_it(model):
    """The other way round, a model that is named reads the group."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(get_model(model))))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for group in ARGUMENT_GROUPS:
        in_file = group not in (ContextArguments, PretrainArguments)  # base classes read those
        if group.__module__.endswith(".models") and in_file:
            readers = {name for setting in group.settings().values() for name in setting.models} | set(group.models)
            assert group.__name__ not in names or model in readers, group
            assert group.__name__ in names or model not in group.models, group


def test_groups_are_those_of_the_module():
    groups = {group for group in Arguments.__subclasses__() if group.__module__.startswith("recbole_genrec.")}
    assert groups == set(ARGUMENT_GROUPS)
    assert {model for group in groups for model in group.models} <= MODELS.keys()
