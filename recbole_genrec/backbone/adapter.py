"""Adapters through ``peft``: which parts of a language model are adapted, and which weights are trained.

=========  =====================================================================================================
``lora``   low-rank matrices beside weights (Hu et al. 2022, arXiv 2106.09685)
``ia3``    factors of keys, values and feed-forward activations (Liu et al. 2022, arXiv 2205.05638)
``prompt`` input embeddings before the prompt (Lester et al. 2021, arXiv 2104.08691)
``prefix`` keys and values before the prompt, in every layer (Li & Liang 2021, arXiv 2101.00190)
=========  =====================================================================================================

The first two wrap layers. The others leave layers as they are: see :mod:`recbole_genrec.backbone.virtual_tokens`.
"""

import json
import warnings
from pathlib import Path

from torch import nn
from transformers.pytorch_utils import Conv1D

from recbole_genrec.backbone.new_tokens import token_rows
from recbole_genrec.backbone.virtual_tokens import heads_of_keys
from recbole_genrec.errors import GenRecError

#: peft's name for all linear layers except the head.
ALL_LINEAR = "all-linear"
#: parts of the names of parameters that adapters add.
ADDED = (".lora_", ".trainable_tokens_delta.", ".ia3_l.", "prompt_encoder.")


def add_adapter(model, arguments, new_tokens=(), checkpoint=None):
    """Wrap ``model`` in an adapter; everything but the adapter and the new tokens' embeddings is frozen.

    Args:
        model: of ``transformers``.
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`, of which ``adapter`` names one.
        new_tokens: ids of tokens whose embeddings are trained.
        checkpoint: a checkpoint folder whose adapter says which layers it adapts; by default the arguments do.

    Returns:
        A ``peft`` model.

    Raises:
        GenRecError: the adapter does not go with this model or with new tokens; the message says why.
    """
    from peft import get_peft_model  # peft takes seconds to import

    kind = arguments.adapter
    if new_tokens and kind != "lora":
        raise GenRecError(
            f"'adapter: {kind}' trains no embeddings, and the model has added {len(new_tokens):,} new tokens, which "
            "would stay random. Use 'adapter: lora' or 'none', or an item indexing without new tokens, such as 'title' "
            "or 'sequential'."
        )
    make = {"lora": _lora, "ia3": _ia3}.get(kind, _virtual)
    config = make(model, arguments, new_tokens, checkpoint)
    with warnings.catch_warnings():  # peft reads a property that transformers has renamed
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        adapted = get_peft_model(model, config)
    for name in adapter_names(adapted):  # peft keeps LoRA in float32, but trained rows in the dtype of their table
        parameter = adapted.get_parameter(name)
        parameter.data = parameter.data.float()
    return adapted


def _task(model):
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"


def _linear_layers(model):
    """The linear layers of the language model by name, also where it is part of a multimodal model."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}
    if _is_one_of_several(model):
        language = {id(module) for module in model.get_decoder().modules()}
        layers = {name: layer for name, layer in layers.items() if id(layer) in language}
    return layers


def _lora(model, arguments, new_tokens, checkpoint):
    """Configuration of LoRA for peft."""
    from peft import LoraConfig

    layers = _linear_layers(model)
    targets = _stored_layers(checkpoint)[0] if checkpoint else arguments.lora_target_modules
    targets = targets or _usual_targets(model, layers)
    if targets in ((ALL_LINEAR,), ALL_LINEAR):
        targets, chosen = ALL_LINEAR, layers
    else:
        chosen = {name: layer for target in targets for name, layer in _layers_called(target, layers).items()}
        targets = list(targets)
    if _is_one_of_several(model):  # by full names: the vision tower has layers of the same short names
        targets = list(chosen)
    return LoraConfig(
        task_type=_task(model),
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules=targets,
        fan_in_fan_out=_are_transposed(chosen),
        trainable_token_indices=token_rows(model, new_tokens) if new_tokens else None,
    )


def _are_transposed(layers):
    """Whether layers store their weights transposed, as GPT-2 does."""
    return any(isinstance(layer, Conv1D) for layer in layers.values())


def _ia3(model, arguments, new_tokens, checkpoint):
    """Configuration of (IA)3 for peft, with its own choice of layers for the family."""
    from peft import IA3Config
    from peft.utils.constants import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD,
    )
    from peft.utils.constants import (
        TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS,
    )

    family = model.config.get_text_config().model_type
    if checkpoint:
        targets, forward = _stored_layers(checkpoint)
    elif family in TARGETS and family in FEEDFORWARD:
        targets, forward = TARGETS[family], FEEDFORWARD[family]
    else:
        raise GenRecError(
            f"'adapter: ia3' is not for a backbone of the family {family!r}: peft does not say which of its layers "
            f"to scale. It does for {', '.join(sorted(TARGETS.keys() & FEEDFORWARD.keys()))}. Use 'adapter: lora'."
        )
    layers = _linear_layers(model)
    chosen, inputs = (_layers_ending(names, layers) for names in (targets, forward))
    if _is_one_of_several(model):
        targets, forward = list(chosen), list(inputs)
    return IA3Config(
        task_type=_task(model),
        target_modules=list(targets),
        feedforward_modules=list(forward),
        fan_in_fan_out=_are_transposed(chosen),
    )


def _layers_ending(names, layers):
    return {name: layer for name, layer in layers.items() if any(f".{name}".endswith(f".{end}") for end in names)}


def _virtual(model, arguments, new_tokens, checkpoint):
    """Configuration of prompt or prefix tuning for peft.

    Raises:
        GenRecError: the prefix is for an encoder-decoder.
    """
    from peft import PrefixTuningConfig, PromptTuningConfig

    config = model.config.get_text_config()
    shared = {
        "task_type": _task(model),
        "num_virtual_tokens": arguments.adapter_tokens,
        "num_transformer_submodules": 1,  # else peft learns vectors for a decoder, too, and leaves them unused
        "num_layers": config.num_hidden_layers,
    }
    if arguments.adapter == "prompt":
        width = model.get_input_embeddings().weight.shape[1]  # which may not be that of the states (OPT)
        return PromptTuningConfig(**shared, token_dim=width, num_attention_heads=config.num_attention_heads)
    if model.config.is_encoder_decoder:
        raise GenRecError(
            "'adapter: prefix' is for causal language models; an encoder-decoder takes 'prompt', 'ia3' or 'lora'."
        )
    heads, size = heads_of_keys(model)
    return PrefixTuningConfig(**shared, token_dim=heads * size, num_attention_heads=heads)


def _usual_targets(model, layers):
    """The layers that peft chooses for the family of ``model``; else queries and values, or all linear layers."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    default = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.config.get_text_config().model_type)
    names = {name.rsplit(".", 1)[-1] for name in layers}
    for targets in (default, ("q_proj", "v_proj")):
        if isinstance(targets, (list, tuple)) and names.issuperset(targets):
            return tuple(targets)
    return (ALL_LINEAR,)


def adapter_names(model):
    """Names of the parameters that an adapter adds to ``model``, a ``peft`` model; tied parameters once."""
    return {name for name, _ in model.named_parameters() if any(part in f".{name}" for part in ADDED)}


def _layers_called(target, layers):
    found = {name: layer for name, layer in layers.items() if name == target or name.endswith(f".{target}")}
    if not found:
        known = sorted({name.rsplit(".", 1)[-1] for name in layers})
        raise GenRecError(
            f"'lora_target_modules' names {target!r}, which this backbone does not have. "
            f"Its modules: {', '.join(known)}; or {ALL_LINEAR}."
        )
    return found


def _is_one_of_several(model):
    """Whether the language model is part of a multimodal model."""
    return model.config.get_text_config() is not model.config and not model.config.is_encoder_decoder


def freeze_other_senses(model):
    """Freeze the towers of a multimodal model for images and sound: prompts are text, so they would get no gradient."""
    if not _is_one_of_several(model):
        return
    kept = {id(p) for part in (model.get_decoder(), model.get_output_embeddings()) for p in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)


def _stored_layers(checkpoint):
    """Names of the layers that the adapter of a checkpoint adapts, and of those whose inputs (IA)3 scales."""
    path = Path(checkpoint) / "adapter/adapter_config.json"
    try:
        stored = json.loads(path.read_text("utf-8"))
        targets, forward = stored["target_modules"], stored.get("feedforward_modules") or []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        targets = forward = None
    if _are_names(targets) and _are_names(forward or ["none"]):
        return sorted(targets), sorted(forward)
    if targets == ALL_LINEAR:
        return targets, []
    raise GenRecError(f"The checkpoint {str(checkpoint)!r} is damaged: {path.name} has no list 'target_modules'.")


def _are_names(value):
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)
