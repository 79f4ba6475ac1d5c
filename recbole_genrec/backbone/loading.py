"""Pretrained backbones: a folder or a hub id through the auto classes of ``transformers``."""

import importlib.util
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import SAFE_WEIGHTS_NAME, WEIGHTS_NAME

from recbole_genrec.backbone.adapter import add_adapter, freeze_other_senses
from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.new_tokens import other_tokens
from recbole_genrec.backbone.scratch import build_scratch, build_scratch_bart, build_scratch_t5
from recbole_genrec.backbone.self_check import check_adapter
from recbole_genrec.backbone.seq2seq import Seq2SeqBackbone
from recbole_genrec.backbone.virtual_tokens import begin_with_words
from recbole_genrec.config.arguments.shared import SCRATCH
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.broken_files import UNREADABLE, ReplaceError

#: builders of an encoder-decoder for ``scratch``, by family.
SCRATCH_SEQ2SEQ = {
    "t5": build_scratch_t5,
    "t5, relu": partial(build_scratch_t5, feed_forward="relu"),
    "bart": build_scratch_bart,
}


def load_backbone(arguments, corpus):
    """Load or build the language model that the arguments name, ready to be trained.

    That is :func:`read_backbone`, then :func:`adapt`.
    """
    return adapt(read_backbone(arguments, corpus), arguments)


def read_backbone(arguments, corpus, checkpoint=None):
    """Load or build the language model that the arguments name, without an adapter.

    Args:
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`.
        corpus: list of texts; the tokenizer of a scratch model is trained on it, a pretrained one does not need it.
        checkpoint: a checkpoint folder that the model is built for. A scratch model takes its tokenizer from it, and
            a pretrained model is read from it if the checkpoint holds the whole model.

    Returns:
        A :class:`~recbole_genrec.backbone.backbone.Backbone`.

    Raises:
        GenRecError: the model cannot be found, read or quantised; the message says which and why.
    """
    if arguments.attn_implementation == "flex_attention" and not torch.cuda.is_available():
        raise GenRecError(
            "'attn_implementation: flex_attention' needs a CUDA device, and torch finds none. Use 'sdpa'."
        )
    if arguments.backbone == SCRATCH:
        return _scratch(build_scratch, arguments, corpus, checkpoint)
    model, tokenizer = _stored_or_loaded(checkpoint, arguments, AutoModelForCausalLM)
    return Backbone(model, tokenizer, arguments.embedding_dropout, arguments.hidden_dropout)


def read_seq2seq(arguments, corpus, family="t5", checkpoint=None):
    """As :func:`read_backbone`, for an encoder-decoder.

    Args:
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`.
        corpus: list of texts, for the tokenizer of a scratch model.
        family: of a scratch model, a key of :data:`SCRATCH_SEQ2SEQ`.
        checkpoint: see :func:`read_backbone`.

    Returns:
        A :class:`~recbole_genrec.backbone.seq2seq.Seq2SeqBackbone`.

    Raises:
        GenRecError: see :func:`read_backbone`; also for FlexAttention, whose blocks are those of packed prompts.
    """
    if arguments.attn_implementation == "flex_attention":
        raise GenRecError("'attn_implementation: flex_attention' is for packed training. Use 'sdpa' or 'eager'.")
    if arguments.backbone == SCRATCH:
        return _scratch(SCRATCH_SEQ2SEQ[family], arguments, corpus, checkpoint)
    model, tokenizer = _stored_or_loaded(checkpoint, arguments, AutoModelForSeq2SeqLM)
    return Seq2SeqBackbone(model, tokenizer, arguments.embedding_dropout, arguments.hidden_dropout)


def _scratch(build, arguments, corpus, checkpoint):
    """A scratch model by one of the builders, if this installation and the family have the attention kernel."""
    tokenizer = _stored_tokenizer(checkpoint, arguments)
    try:
        return build(arguments, corpus, tokenizer)
    except (ImportError, ValueError) as error:
        kernel = arguments.attn_implementation
        if isinstance(error, GenRecError) or kernel in ("sdpa", "eager"):
            raise
        reason = str(error).strip().splitlines()[0]
        raise GenRecError(f"'attn_implementation: {kernel}' cannot be used: {reason} Use 'sdpa' or 'eager'.") from error


def check_tokenizer(checkpoint, tokenizer, arguments):
    """Refuse a checkpoint whose tokenizer differs from that of the model it is loaded into.

    Args:
        checkpoint: its folder. tokenizer: the model's. arguments: as for :func:`read_saved`.

    Raises:
        GenRecError: they differ.
    """
    if problem := other_tokens(_stored_tokenizer(checkpoint, arguments), tokenizer):
        raise GenRecError(
            f"The checkpoint {str(checkpoint)!r} does not fit: it belongs to another tokenizer than "
            f"'backbone: {arguments.backbone}' has here ({problem})."
        )


def _stored_tokenizer(checkpoint, arguments):
    return read_saved_tokenizer(Path(checkpoint) / "tokenizer", arguments) if checkpoint else None


def _stored_or_loaded(checkpoint, arguments, auto_class):
    """Model and tokenizer of a checkpoint that holds a whole language model; else what the arguments name."""
    if not checkpoint or not (Path(checkpoint) / "backbone").is_dir():
        return _load(arguments, auto_class)
    model = read_saved_model(Path(checkpoint) / "backbone", arguments, auto_class, _kernel(arguments))
    return model, _stored_tokenizer(checkpoint, arguments)


def _kernel(arguments):
    """By default transformers takes SDPA where the family supports it, and eager attention elsewhere (Gemma 2)."""
    return None if arguments.attn_implementation == "sdpa" else arguments.attn_implementation


def read_saved(model_folder, tokenizer_folder, arguments):
    """A causal language model that was saved whole, as it is.

    Args:
        model_folder, tokenizer_folder: in the form of ``transformers``.
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`, of which ``trust_remote_code`` counts.

    Returns:
        A :class:`~recbole_genrec.backbone.backbone.Backbone`.

    Raises:
        GenRecError: the model cannot be read.
    """
    return Backbone(read_saved_model(model_folder, arguments), read_saved_tokenizer(tokenizer_folder, arguments))


def read_saved_model(folder, arguments, auto_class=AutoModelForCausalLM, kernel=None):
    """As :func:`read_saved`, the model alone, of any auto class of ``transformers``, with any attention kernel."""
    code = saved_code(Path(folder) / "config.json", arguments)
    with _refusing(folder):
        return auto_class.from_pretrained(
            folder, dtype="auto", attn_implementation=kernel, use_safetensors=True, **code
        )


def read_saved_tokenizer(folder, arguments):
    """As :func:`read_saved`, the tokenizer alone."""
    code = saved_code(Path(folder) / "tokenizer_config.json", arguments)
    with _refusing(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, **code)
        tokenizer("a", add_special_tokens=False)  # some settings are only read now
        return tokenizer


def saved_code(path, arguments):
    """Whether and from which revision a saved model's code is read, for ``from_pretrained``.

    A folder that was saved from the hub names its code as ``<hub id>--<module>``, without the revision.

    Args:
        path: the JSON in the folder that names the code.
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments` of the training.
    """
    code = {"trust_remote_code": arguments.trust_remote_code}
    if arguments.trust_remote_code and f'"{arguments.backbone}--' in path.read_text("utf-8"):
        code["code_revision"] = arguments.revision
    return code


def _load(arguments, auto_class):
    """Model and tokenizer from a folder or the hub."""
    source = _find_source(arguments.backbone)
    quantization = _quantization_config(arguments)
    try:
        model, tokenizer = _read(source, arguments, quantization, auto_class)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, GenRecError):
            raise
        raise _refusal(arguments.backbone, error) from None
    _ensure_padding(tokenizer, model)
    return model, tokenizer


def adapt(backbone, arguments, new_tokens=(), checkpoint=None):
    """Make a backbone ready to be trained: quantised weights, adapter, gradient checkpointing.

    Args:
        backbone: from :func:`read_backbone`; it is changed in place.
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`.
        new_tokens: ids from :func:`~recbole_genrec.backbone.new_tokens.add_tokens`; beside an adapter their embeddings
            are trained, and those of no other token.
        checkpoint: a checkpoint folder that the model is built for; its adapter says which layers it adapts.

    Returns:
        The backbone; its trainable parameters are those to train.

    Raises:
        GenRecError: the model cannot be adapted; the message says why.
    """
    model = backbone.model
    if arguments.backbone != SCRATCH:
        if arguments.quantization != "none":
            from peft import prepare_model_for_kbit_training  # peft takes seconds to import

            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        freeze_other_senses(model)
        if arguments.adapter != "none":
            backbone.model = add_adapter(model, arguments, new_tokens, checkpoint)
        if backbone.n_virtual:
            begin_with_words(backbone.model, len(backbone.tokenizer))
            check_adapter(backbone, arguments)
    if arguments.gradient_checkpointing:
        checkpoint_activations(model)
    return backbone


def checkpoint_activations(model):
    """Recompute the activations of ``model`` in the backward pass.

    The non-reentrant form also works where the embeddings are frozen and give the first block no gradient.
    """
    if hasattr(model, "activation_checkpointing_enable"):  # the name in later versions of transformers 5
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _find_source(name):
    """The folder of ``name``, or ``name`` itself where it can only be a hub id."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise GenRecError(
                f"The backbone folder {name!r} has no config.json: it is not a Hugging Face model folder."
            )
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise GenRecError(f"The backbone folder {name!r} does not exist.")
    return name


def _read(source, arguments, quantization, auto_class):
    """Model and tokenizer of ``source`` in evaluation mode, weights complete."""
    origin = {"revision": arguments.revision, "trust_remote_code": arguments.trust_remote_code}
    config = AutoConfig.from_pretrained(source, **origin)
    tokenizer = AutoTokenizer.from_pretrained(source, **origin)
    model, report = auto_class.from_pretrained(
        source,
        config=config,
        dtype=_dtype(arguments),
        attn_implementation=_kernel(arguments),
        quantization_config=quantization,
        use_safetensors=True,
        output_loading_info=True,
        **origin,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise GenRecError(
            f"The backbone {arguments.backbone!r} is no complete language model of its kind: its weights lack "
            f"{len(missing)} tensors of {type(model).__name__}, {missing[0]!r} the first."
        )
    return model, tokenizer


def _dtype(arguments):
    """Dtype of the loaded weights. Steps of full training are lost in the rounding of half precision weights."""
    if arguments.torch_dtype == "auto":
        return "auto" if arguments.adapter != "none" else torch.float32
    return getattr(torch, arguments.torch_dtype)


def _refusing(folder):
    """Refuse a folder with a file that cannot be read because it was damaged or edited."""
    return ReplaceError(lambda error: _refusal(str(folder), error), UNREADABLE)


def _refusal(name, error):
    """The message of ``transformers`` without its advice, or a clearer one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0]
    if "trust_remote_code" in str(error):
        reason = "it needs Python code that comes with it, which runs only with 'trust_remote_code: true'."
    elif "file named" in reason and SAFE_WEIGHTS_NAME in reason:
        reason = (
            f"it has no {SAFE_WEIGHTS_NAME}. Weights are read from safetensors alone: "
            f"a pickle, such as {WEIGHTS_NAME}, can run code."
        )
    return GenRecError(f"Cannot load the backbone {name!r}: {reason}")


def _quantization_config(arguments):
    kind = arguments.quantization
    if kind == "none":
        return None
    if arguments.adapter == "none":
        raise GenRecError(
            f"'quantization: {kind}' needs 'adapter: lora' or another: quantised weights cannot be trained themselves."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise GenRecError(f"'quantization: {kind}' needs bitsandbytes: pip install 'recbole_genrec[quantization]'.")
    if not torch.cuda.is_available():
        raise GenRecError(
            f"'quantization: {kind}' needs a CUDA device, and torch finds none. Use 'quantization: none'."
        )
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute_dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype)


def _ensure_padding(tokenizer, model):
    """Give a tokenizer without a usable padding token another special token; the vocabulary does not grow."""
    n_rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < n_rows:
        return
    tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
