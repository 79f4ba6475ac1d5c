"""Which keys a model class reads: RecBole's models by their YAML files, other classes by ``setting_keys``."""

import inspect
import re
import sys

import pytest
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.sequential_recommender import GRU4Rec, SASRec

from recbole_genrec import GenRecError
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import known_keys, model_kind
from recbole_genrec.config.registry import MODELS, all_models, get_model
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.genrec import GenRec

#: what RecBole's models read of a configuration although no user sets it.
SET_BY_RECBOLE = {"device", "NEG_PREFIX", "INVERSE_ITEM_SEQ", "MASK_INDEX", "MASK_ITEM_SEQ", "NEG_ITEMS", "POS_ITEMS"}

#: new models and the parents whose settings they read.
NEW = {"NewGenRec": "GenRec", "NewP5": "P5", "NewPrompt": "PromptLLM", "NewSASRecAll": "SASRecAll"}


class Mine(SASRec):
    """A class of a user, who says what it reads beyond SASRec's keys."""

    setting_keys = ("my_width",)


class MineToo(Mine):
    """Reads what its parents read."""

    setting_keys = ["my_depth"]


class MyGenRec(GenRec):
    setting_keys = ("my_width",)


class Silent(SASRec):
    """Reads a key that it does not name."""


def keys_in_source(model):
    """Keys in the code of a model class and its parents: whole modules, but of RecBole's base classes themselves."""
    for parent in model.__mro__:
        if issubclass(parent, AbstractRecommender):
            base = parent.__module__ == "recbole.model.abstract_recommender"
            yield from re.findall(
                r"config\[\"(\w+)\"\]", inspect.getsource(parent if base else sys.modules[parent.__module__])
            )


@pytest.mark.parametrize("name", [name for name in all_models() if name not in MODELS])
def test_every_key_that_recboles_code_reads_is_known(name):
    model = get_model(name)
    read = set(keys_in_source(model))
    assert len(read) > 3
    assert read - SET_BY_RECBOLE - known_keys([model], "ml-100k") == set()


def test_a_key_that_no_code_of_the_model_reads_is_refused():
    with pytest.raises(GenRecError, match=r"'embedding_size' \(command line\) has no effect on SASRec."):
        GenRecConfig("SASRec", "ml-100k", command_line={"embedding_size": 8})
    assert GenRecConfig("GRU4Rec", "ml-100k", command_line={"embedding_size": 8})["embedding_size"] == 8


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (Mine, {"my_width": 3, "hidden_size": 8, "loss_type": "CE"}),
        (MineToo, {"my_width": 3, "my_depth": {"a": 1}, "n_layers": 1, "loss_type": "CE"}),
        (MyGenRec, {"my_width": "wide", "warmup_steps": 3, "warm_start": "somewhere"}),
    ],
)
def test_a_class_of_ones_own_names_its_keys(model, settings):
    config = GenRecConfig(model, "ml-100k", command_line=settings)
    assert {key: config[key] for key in settings} == settings


def test_values_of_a_parents_keys_are_checked():
    with pytest.raises(GenRecError, match="'hidden_size' must be a whole number"):
        GenRecConfig(Mine, "ml-100k", command_line={"hidden_size": "wide"})


@pytest.mark.parametrize("source", ["config_dict", "command_line"])
def test_an_unknown_key_is_refused_with_the_nearest_name_and_advice(source):
    with pytest.raises(GenRecError, match="Unknown key 'my_widht' .*Did you mean 'my_width'[?] If Mine reads it, name"):
        GenRecConfig(Mine, "ml-100k", **{source: {"my_widht": 3}})
    with pytest.raises(GenRecError, match="If Silent reads it, name it in the class attribute 'setting_keys'[.]"):
        GenRecConfig(Silent, "ml-100k", **{source: {"my_width": 3}})
    with pytest.raises(GenRecError, match="nor a model's[.]$"):
        GenRecConfig("SASRec", "ml-100k", **{source: {"my_width": 3}})


@pytest.mark.parametrize("named", ["my_width", ("my_width", 3), {"my_width": 3}])
def test_setting_keys_are_names(named):
    model = type("Wrong", (GRU4Rec,), {"setting_keys": named})
    with pytest.raises(GenRecError, match="'setting_keys' of Wrong must be a tuple of names of keys, not"):
        GenRecConfig(model, "ml-100k")


def test_a_new_generative_model_reads_what_its_nearest_described_parent_reads():
    kinds = {name: model_kind(type(name, (get_model(parent),), {})) for name, parent in NEW.items()}
    assert {name: kind.name for name, kind in kinds.items()} == NEW
    bare = model_kind(type("Bare", (GenerativeRecommender,), {}))
    assert bare.settings() == model_kind(GenRec).settings()
