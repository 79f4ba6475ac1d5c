"""A checkpoint as a folder that works without this package: peft's adapter, or a plain language model.

::

    model.safetensors config.json generation_config.json    the language model, with ``merged``, or
    adapter_model.safetensors adapter_config.json           the adapter in peft's own form
    tokenizer.json ...                                      its tokenizer
    prompt.yaml                                             as in the checkpoint
    items.json                                              as in the checkpoint, with the prompt's tokens
    constrained.py                                          keeps transformers and vLLM in the catalogue
    README.md                                               the model card
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging

from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.loading import (
    read_backbone,
    read_saved_model,
    read_saved_tokenizer,
    read_seq2seq,
    saved_code,
)
from recbole_genrec.checkpoint.folder import read_items, read_prompt, read_tensors, verify, write_json
from recbole_genrec.config.arguments import ARGUMENT_GROUPS, BackboneArguments
from recbole_genrec.config.arguments.shared import VIRTUAL
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.write import replacing_folder, settle
from recbole_genrec.runs.reopen import read_config
from recbole_genrec.serve import constrained
from recbole_genrec.serve.model_card import Facts, write_card

#: items of the history in the model card.
EXAMPLE_ITEMS = 3


class Export(NamedTuple):
    """What an export made."""

    folder: Path
    #: ``merged`` model or ``adapter``.
    kind: str
    items: int
    #: largest difference of a next token's log-probability to the adapter's, after the example; ``None``: no adapter.
    difference: float | None

    def __str__(self):
        text = f"{self.folder}: {self.kind} of {self.items:,} items"
        if self.difference is None:
            return text
        return f"{text}; log-probabilities differ from the adapter's by {self.difference:.1e} at most"


def export(checkpoint, output, merged=False, overwrite=False, trust_remote_code=False):
    """Write a checkpoint as a folder for ``transformers`` and ``peft``.

    Args:
        checkpoint: a checkpoint folder.
        output: the folder to write; it appears whole or not at all.
        merged: write the whole language model, with the adapter's weights added into its own, where there is one.
        overwrite: replace an earlier export.
        trust_remote_code: run Python code that comes with the backbone, where the checkpoint was trained so.

    Returns:
        :class:`Export`.

    Raises:
        GenRecError: the checkpoint is damaged, comes with code that is not trusted, or its language model alone would
            give other scores; ``output`` stands.
    """
    folder, output = verify(checkpoint), Path(output)
    _check_output(output, overwrite)
    config = read_config(folder, trust_remote_code)
    settings = {key: value for group in ARGUMENT_GROUPS for key, value in vars(group.from_config(config)).items()}
    _check_plain(folder, config, settings)
    _check_form(folder, settings, merged)
    tokenizer = read_saved_tokenizer(folder / "tokenizer", BackboneArguments.from_config(config))
    parts = config.model_class.prompt_parts(read_prompt(folder), Backbone(None, tokenizer))
    facts = Facts(
        name=output.name,
        folder=folder,
        config=config,
        settings=settings,
        parts=parts,
        items=read_items(folder),
        is_seq2seq=_is_seq2seq(folder, config),
        merged=merged,
    )
    with replacing_folder(output) as fresh:
        facts = _write_model(fresh, facts, tokenizer)
        write_card(fresh / "README.md", facts, tokenizer, EXAMPLE_ITEMS)
    return Export(output, "merged model" if merged else "adapter", len(facts.items["tokens"]), facts.difference)


def _check_output(output, overwrite):
    settle(output)
    if not output.exists():
        return
    if not overwrite:
        raise GenRecError(f"The output {str(output)!r} exists: name another folder, or add --overwrite.")
    if not all((output / name).is_file() for name in ("prompt.yaml", "items.json", "README.md")):
        raise GenRecError(f"--overwrite replaces an earlier export, and {str(output)!r} is none.")


def _check_plain(folder, config, settings):
    """Refuse a model whose scores need more than its language model."""
    for key, wanted in config.model_class.not_plain(settings).items():
        raise GenRecError(
            f"The {config['model']} in {str(folder)!r} was trained with '{key}: {_yaml(settings[key])}', and its "
            f"language model alone gives other scores. A run with '{key}: {_yaml(wanted)}' can be exported."
        )


def _check_form(folder, settings, merged):
    """Refuse a form, whole model or adapter, that the checkpoint cannot be written in.

    Raises:
        GenRecError: so, or the adapter's file is damaged.
    """
    adapter = folder / "adapter"
    if merged and settings["quantization"] != "none":
        raise GenRecError(
            f"The adapter in {str(folder)!r} was trained beside {settings['quantization']} weights, which no plain "
            "checkpoint holds: export it without --merged."
        )
    if merged and adapter.is_dir() and settings["adapter"] in VIRTUAL:
        raise GenRecError(
            f"The adapter in {str(folder)!r} is of virtual tokens ('adapter: {settings['adapter']}'), which no plain "
            "checkpoint holds: export it without --merged."
        )
    if not merged and not adapter.is_dir():
        raise GenRecError(f"The checkpoint {str(folder)!r} holds a whole model and no adapter: add --merged.")
    if adapter.is_dir():
        read_tensors(adapter / SAFETENSORS_WEIGHTS_NAME)  # peft would take a pickle in its place


def _write_model(fresh, facts, tokenizer):
    """Write the model or the adapter, the tokenizer, the prompt and the items into the folder ``fresh``.

    Returns:
        ``facts`` with the ``difference`` of a merged adapter.
    """
    folder = facts.folder
    if facts.merged:
        facts = replace(facts, difference=_write_merged(fresh, facts, tokenizer))
    else:
        shutil.copytree(folder / "adapter", fresh, dirs_exist_ok=True)
    _write_tokenizer(fresh, tokenizer)
    shutil.copyfile(folder / "prompt.yaml", fresh / "prompt.yaml")
    prompt = facts.parts._asdict() | {"normalization": facts.settings["normalization"]}
    write_json(fresh / "items.json", facts.items | {"prompt": prompt})
    shutil.copyfile(constrained.__file__, fresh / "constrained.py")
    return facts


def _yaml(value):
    return json.dumps(value).strip('"')


def _is_seq2seq(folder, config):
    if (folder / "adapter").is_dir():
        return json.loads((folder / "adapter/adapter_config.json").read_text("utf-8"))["task_type"] == "SEQ_2_SEQ_LM"
    code = saved_code(folder / "backbone/config.json", BackboneArguments.from_config(config))
    return AutoConfig.from_pretrained(folder / "backbone", **code).is_encoder_decoder


def _write_merged(fresh, facts, tokenizer):
    """Write the language model; returns how far the example's log-probabilities are from the adapter's."""
    folder, config, parts, items = facts.folder, facts.config, facts.parts, facts.items
    prompt = torch.tensor([parts.write(items["identifiers"][:EXAMPLE_ITEMS])])
    difference = None
    if (folder / "adapter").is_dir():
        model = _with_adapter(facts, tokenizer)
        before = _next_log_probs(model, prompt)
        model = model.merge_and_unload()
        difference = float((_next_log_probs(model, prompt) - before).abs().max())
    else:
        auto_class = AutoModelForSeq2SeqLM if facts.is_seq2seq else AutoModelForCausalLM
        model = _quietly(read_saved_model, folder / "backbone", BackboneArguments.from_config(config), auto_class)
    model.generation_config.eos_token_id = parts.end
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    _quietly(model.save_pretrained, fresh)
    return difference


def _write_tokenizer(fresh, tokenizer):
    """Write the tokenizer under the class name that transformers 4 knows, too, which servers may still run."""
    tokenizer.save_pretrained(fresh)
    path = fresh / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    if settings["tokenizer_class"] == "TokenizersBackend":  # transformers 5 takes either name
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _with_adapter(facts, tokenizer):
    """The backbone that the run loaded, with rows for the new tokens and the adapter around it."""
    read = read_seq2seq if facts.is_seq2seq else read_backbone
    model = _quietly(read, BackboneArguments.from_config(facts.config), []).model
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return PeftModel.from_pretrained(model, facts.folder / "adapter").eval()


@torch.no_grad()
def _next_log_probs(model, prompt):
    """Log-probabilities of the token after a prompt ``[V]``; for an encoder-decoder, of the answer's first token."""
    start = {}
    if model.config.is_encoder_decoder:
        start["decoder_input_ids"] = torch.tensor([[model.config.decoder_start_token_id]])
    return model.eval()(input_ids=prompt, **start).logits[0, -1].float().log_softmax(-1)


def _quietly(call, *args, **kwargs):
    """Call into ``transformers`` without its progress bars."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return call(*args, **kwargs)
    finally:
        if shown:
            logging.enable_progress_bar()
