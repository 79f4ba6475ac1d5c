"""Virtual tokens: what ``adapter: prompt`` and ``adapter: prefix`` put before every prompt, as ``peft`` keeps it.

Prompt tuning (Lester et al. 2021, arXiv 2104.08691) learns input embeddings, prefix tuning (Li & Liang 2021, arXiv
2101.00190) the keys and values of every layer. Nothing stands before virtual tokens, so in a causal model the keys and
values of the first kind depend on nothing but its embeddings. Both kinds are therefore one thing here: keys and values
that stand before those of a forward, the same for all rows. Every token sees them, and positions count on behind them.

Letters: R rows, A heads, V virtual tokens, T new tokens, D size of a head, H hidden size, L layers.
"""

from contextlib import suppress

import torch

from recbole_genrec.backbone.kv_cache import Filled, KeptStates, cache_argument


def n_virtual(model):
    """Virtual tokens of a language model; 0 for one without an adapter, or with another kind."""
    if not hasattr(model, "peft_config"):
        return 0
    config = model.active_peft_config
    return config.num_virtual_tokens if config.is_prompt_learning else 0


def virtual_embeddings(model):
    """Input embeddings ``[1, V, H]`` of the virtual tokens of prompt tuning, in the dtype of the embeddings."""
    return model.get_prompt(1).to(model.get_base_model().get_input_embeddings().weight.dtype)


def virtual_states(model):
    """Keys and values of the virtual tokens of a causal ``model``: for each layer two tensors ``[1, A, V, D]``."""
    if model.active_peft_config.peft_type == "PROMPT_TUNING":
        return _states_of(model.get_base_model(), virtual_embeddings(model))
    return [(layer.keys, layer.values) for layer in model.get_prompt(1).layers]


def _states_of(causal_model, embeds):
    """Keys and values of input embeddings ``[1, V, H]`` in each layer."""
    decoder = causal_model.base_model
    cache = KeptStates(causal_model.config.get_text_config().num_hidden_layers)
    position_ids = torch.arange(embeds.shape[1], device=embeds.device)[None]
    with suppress(Filled):
        decoder(
            inputs_embeds=embeds, position_ids=position_ids, use_cache=True, **{cache_argument(type(decoder)): cache}
        )
    return cache.states


@torch.no_grad()
def heads_of_keys(causal_model):
    """Heads A of the first layer's keys, and their size D: families name them in many ways."""
    weight = causal_model.get_input_embeddings().weight
    (keys, _), *_ = _states_of(causal_model, weight[None, :1])
    return keys.shape[1], keys.shape[3]


@torch.no_grad()
def begin_with_words(model, n_tokens):
    """Let virtual tokens begin as tokens of the vocabulary, drawn at random, or as the keys and values of such.

    Both papers find this better than random numbers (Lester et al. 2021, section 3.2; Li & Liang 2021, section 7.4).

    Args:
        model: ``peft``'s, with prompt tuning, or of a causal language model with prefix tuning.
        n_tokens: size of the tokenizer's vocabulary.
    """
    causal_model, weight = model.get_base_model(), model.prompt_encoder["default"].embedding.weight
    table = causal_model.get_input_embeddings()
    ids = torch.randint(min(n_tokens, table.weight.shape[0]), (1, len(weight)), device=table.weight.device)
    embeds = table(ids)
    if model.active_peft_config.peft_type == "PROMPT_TUNING":
        weight.copy_(embeds[0])
        return
    states = [state for pair in _states_of(causal_model, embeds) for state in pair]  # 2 L of [1, A, V, D]
    if sum(state.numel() for state in states) == weight.numel() and len({state.shape for state in states}) == 1:
        weight.copy_(torch.cat(states).permute(2, 0, 1, 3).flatten(1))  # [V, 2 L A D], as peft keeps them
