"""LoRA adapters through ``peft``: which layers of a language model are adapted, and which weights are trained.

LoRA: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
"""

import json
import warnings
from pathlib import Path

from torch import nn
from transformers.pytorch_utils import Conv1D

from recbole_genrec.backbone.new_tokens import token_rows
from recbole_genrec.errors import GenRecError

#: peft's name for all linear layers except the head.
ALL_LINEAR = "all-linear"


def add_adapter(model, arguments, new_tokens=()):
    """Wrap ``model`` in a LoRA adapter; everything but the adapter and the new tokens' embeddings is frozen."""
    from peft import LoraConfig, get_peft_model  # peft takes seconds to import

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}
    if several := _is_one_of_several(model):
        language = {id(module) for module in model.get_decoder().modules()}
        layers = {name: layer for name, layer in layers.items() if id(layer) in language}
    targets = arguments.lora_target_modules or _usual_targets(model, layers)
    if targets == (ALL_LINEAR,):
        targets, chosen = ALL_LINEAR, layers
    else:
        chosen = {name: layer for target in targets for name, layer in _layers_called(target, layers).items()}
        targets = list(targets)
    if several:  # by full names: the vision tower of a multimodal model has layers of the same short names
        targets = list(chosen)
    adapter = LoraConfig(
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules=targets,
        fan_in_fan_out=any(
            isinstance(layer, Conv1D) for layer in chosen.values()
        ),  # GPT-2 stores its weights transposed
        trainable_token_indices=token_rows(model, new_tokens) if new_tokens else None,
    )
    with warnings.catch_warnings():  # peft reads a property that transformers has renamed
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        adapted = get_peft_model(model, adapter)
    for name in adapter_names(adapted):  # peft keeps LoRA in float32, but trained rows in the dtype of their table
        parameter = adapted.get_parameter(name)
        parameter.data = parameter.data.float()
    return adapted


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
    parts = (".lora_", ".trainable_tokens_delta.")
    return {name for name, _ in model.named_parameters() if any(part in name for part in parts)}


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


def stored_targets(checkpoint):
    """Names of the layers that the adapter of a checkpoint adapts."""
    path = Path(checkpoint) / "adapter/adapter_config.json"
    try:
        targets = json.loads(path.read_text("utf-8"))["target_modules"]
    except (OSError, ValueError, KeyError, TypeError):
        targets = None
    if isinstance(targets, list) and targets and all(isinstance(name, str) for name in targets):
        return sorted(targets)
    if isinstance(targets, str):
        return targets
    raise GenRecError(f"The checkpoint {str(checkpoint)!r} is damaged: {path.name} has no list 'target_modules'.")
