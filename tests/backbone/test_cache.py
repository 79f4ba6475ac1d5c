"""The caches, and the argument by which models of ``transformers`` take them."""

import inspect

import pytest
from transformers import LlamaModel
from transformers.models.bart.modeling_bart import BartDecoder
from transformers.models.t5.modeling_t5 import T5Stack

from recbole_genrec.backbone.kv_cache import cache_argument


class TakesCache:
    def forward(self, inputs_embeds, cache=None, **kwargs): ...


class TakesPastKeyValues:
    def forward(self, inputs_embeds, past_key_values=None, **kwargs): ...


@pytest.mark.parametrize("model, name", [(TakesCache, "cache"), (TakesPastKeyValues, "past_key_values")])
def test_a_cache_goes_by_the_name_that_the_class_has_for_it(model, name):
    assert cache_argument(model) == name


@pytest.mark.parametrize("model", [LlamaModel, T5Stack, BartDecoder])
def test_installed_models_have_the_argument(model):
    assert cache_argument(model) in inspect.signature(model.forward).parameters
