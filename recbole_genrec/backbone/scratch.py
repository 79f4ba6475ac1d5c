"""The offline default: a small LLaMA and a byte-level BPE tokenizer, both made from the catalogue's text."""

from functools import partial

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.seq2seq import Seq2SeqBackbone

SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
MASK_TOKEN = {"mask_token": "<mask>"}
#: standard deviation of the embeddings of a scratch model, times the square root of its width.
SCRATCH_STD = 0.5


def train_tokenizer(corpus, vocab_size, special_tokens=SPECIAL_TOKENS):
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016) whose merges may cross spaces.

    Titles repeat whole phrases ("The Return of the "), so merging across words shortens them further than the
    usual merges within words do. Any text can be encoded: the alphabet is all 256 bytes.

    Args:
        corpus: item texts and the prompt's fixed texts.
        vocab_size: tokens, special ones and the 256 bytes included.
        special_tokens: by their names in ``transformers``.

    Returns:
        A ``transformers`` tokenizer; the same corpus gives the same tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens)


def build_scratch(arguments, corpus, tokenizer=None):
    """Build the small LLaMA of ``arguments`` with random weights and a tokenizer trained on ``corpus``.

    Embeddings are tied and drawn with a standard deviation of ``0.5 / sqrt(hidden size)``, so that the first
    logits are of order one half. Set torch's seed before the call.

    Args:
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`.
        corpus: list of texts.
        tokenizer: one from :func:`train_tokenizer`, instead of training one on ``corpus``.

    Returns:
        A :class:`~recbole_genrec.backbone.backbone.Backbone`.
    """
    tokenizer = tokenizer or train_tokenizer(corpus, arguments.scratch_vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.scratch_hidden_size,
        intermediate_size=arguments.scratch_intermediate_size,
        num_hidden_layers=arguments.scratch_layers,
        num_attention_heads=arguments.scratch_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=arguments.attn_implementation,
    )
    model = LlamaForCausalLM(config)
    nn.init.normal_(model.get_input_embeddings().weight, std=SCRATCH_STD / config.hidden_size**0.5)
    return Backbone(model, tokenizer, arguments.embedding_dropout, arguments.hidden_dropout)


def drop_in_layers(backbone, share):
    """Train with dropout on what each part of a layer adds (Vaswani et al. 2017, section 5.4), as LLaMA does not.

    Args:
        backbone: from :func:`build_scratch`.
        share: of the values that are dropped.
    """
    for layer in backbone.model.model.layers:
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
            part.register_forward_hook(partial(_drop, share))


def _drop(share, module, inputs, output):
    return nn.functional.dropout(output, share, module.training)


def build_scratch_t5(arguments, corpus, tokenizer=None, feed_forward="gated-gelu"):
    """Build a small T5 with random weights and a tokenizer trained on ``corpus``; see :func:`build_scratch`.

    Args:
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`; encoder and decoder have this number of
            layers each.
        corpus: list of texts.
        tokenizer: one from :func:`train_tokenizer`, instead of training one on ``corpus``.
        feed_forward: kind of the feed-forward layers: ``gated-gelu`` (T5 1.1) or ``relu`` (Raffel et al. 2020).

    Returns:
        A :class:`~recbole_genrec.backbone.seq2seq.Seq2SeqBackbone`.
    """
    tokenizer = tokenizer or train_tokenizer(corpus, arguments.scratch_vocab_size)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=arguments.scratch_hidden_size,
        d_kv=arguments.scratch_head_size or arguments.scratch_hidden_size // arguments.scratch_heads,
        d_ff=arguments.scratch_intermediate_size,
        num_layers=arguments.scratch_layers,
        num_heads=arguments.scratch_heads,
        dropout_rate=arguments.scratch_dropout,
        feed_forward_proj=feed_forward,
        tie_word_embeddings=True,
        decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=arguments.attn_implementation,
    )
    model = T5ForConditionalGeneration(config)
    return Seq2SeqBackbone(model, tokenizer, arguments.embedding_dropout, arguments.hidden_dropout)


def build_scratch_bart(arguments, corpus, tokenizer=None):
    """Build a small BART (Lewis et al. 2020) with random weights and a tokenizer with a mask, trained on ``corpus``.

    Weights and embeddings are drawn with a standard deviation of ``0.5 / sqrt(hidden size)``: BART's default of 0.02
    suits a width of at least 768; a narrow model learns slowly from it.

    Args:
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`, with as many layers on each side;
            BART's dropout is off: it also applies to attention weights, where it takes as long as the matrix products
            on a CPU.
        corpus: list of texts.
        tokenizer: one from :func:`train_tokenizer` with a mask token, instead of training one on ``corpus``.

    Returns:
        A :class:`~recbole_genrec.backbone.seq2seq.Seq2SeqBackbone`.
    """
    tokenizer = tokenizer or train_tokenizer(corpus, arguments.scratch_vocab_size, SPECIAL_TOKENS | MASK_TOKEN)
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", arguments.scratch_layers),
            ("attention_heads", arguments.scratch_heads),
            ("ffn_dim", arguments.scratch_intermediate_size),
        )
    }
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=arguments.scratch_hidden_size,
        **sides,
        max_position_embeddings=1024,
        dropout=0.0,
        init_std=0.5 / arguments.scratch_hidden_size**0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        attn_implementation=arguments.attn_implementation,
    )
    model = BartForConditionalGeneration(config)
    return Seq2SeqBackbone(model, tokenizer, arguments.embedding_dropout, arguments.hidden_dropout)
