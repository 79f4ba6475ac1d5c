"""An encoder-decoder language model behind the calls that the engine needs.

The encoder reads the prompt once. The decoder writes the answer after one start token, whatever the prompt, and reads
the prompt through cross-attention.

Shapes: B batch, P prompt tokens, T new tokens, C cached tokens with the new ones, R selected rows, H hidden size.
"""

from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache

from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.kv_cache import TreeCache, cache_argument
from recbole_genrec.backbone.virtual_tokens import virtual_embeddings
from recbole_genrec.errors import GenRecError

#: families whose decoder scales its states before the head where the embeddings are tied (Raffel et al. 2020).
SCALED_FAMILIES = ("t5", "mt5")


class EncodedPrompts(NamedTuple):
    """Prompts as the encoder returns them."""

    #: ``[B, P, H]``.
    states: torch.Tensor
    #: ``[B, P]``, true where there is a token.
    mask: torch.Tensor

    def __getitem__(self, rows):
        return EncodedPrompts(self.states[rows], self.mask[rows])


class LocalAttention(NamedTuple):
    """Attention within segments of a prompt, in the encoder's first layers; the others see the whole prompt."""

    #: number of each token's segment ``[B, P]``; padding has one of its own.
    segment: torch.Tensor
    #: how many layers.
    layers: int


class Seq2SeqBackbone(Backbone):
    """An encoder-decoder of ``transformers`` whose positions can be set: the families of T5 and of BART.

    Args: those of :class:`~recbole_genrec.backbone.backbone.Backbone`.

    Raises:
        GenRecError: the family has positions of an unknown kind.
    """

    is_encoder_decoder = True

    def __init__(self, model, tokenizer, embedding_dropout=0.0, hidden_dropout=0.0):
        super().__init__(model, tokenizer, embedding_dropout, hidden_dropout)
        decoder = self.causal_model.get_decoder()
        self._is_relative = hasattr(decoder, "block")
        self._layers_name = "block" if self._is_relative else "layers"
        if not self._is_relative and not hasattr(getattr(decoder, "embed_positions", None), "offset"):
            raise GenRecError(
                f"The encoder-decoder family {self.config.model_type!r} is not supported: neither T5's relative "
                "positions nor BART's learned ones."
            )

    @property
    def hidden_size(self):
        """See :attr:`Backbone.hidden_size <recbole_genrec.backbone.backbone.Backbone.hidden_size>`."""
        return self.config.d_model

    @property
    def max_positions(self):
        """Longest sequence the model was built for; ``None`` with relative positions, which have no bound."""
        # relative positions have no bound
        return None if self._is_relative else self.config.max_position_embeddings

    @property
    def mask_id(self):
        """The mask token, or ``None`` if the tokenizer has none."""
        return self.tokenizer.mask_token_id

    @property
    def n_encoder_layers(self):
        """How many layers the encoder has."""
        return len(getattr(self.causal_model.get_encoder(), self._layers_name))

    @property
    def start_id(self):
        """The decoder's start token."""
        return self.config.decoder_start_token_id

    def read(self, input_embeds, lengths, local=None):
        """Run the encoder over prompts.

        Args:
            input_embeds: ``[B, P, H]``, right-padded, from :meth:`embed`.
            lengths: ``[B]``.
            local: :class:`LocalAttention`, or ``None``: every layer sees the whole prompt. Virtual tokens see, and are
                seen by, all segments.

        Returns:
            :class:`EncodedPrompts`; the states of V virtual tokens stand behind the P of a prompt.
        """
        embeds, virtual = self.embedding_dropout(input_embeds), self.n_virtual
        if virtual:
            before = virtual_embeddings(self.model).to(embeds.dtype).expand(len(embeds), -1, -1)
            embeds, lengths = torch.cat([before, embeds], 1), lengths + virtual
        mask = torch.arange(embeds.shape[1], device=lengths.device) < lengths[:, None]
        with self._within_segments(local, mask, virtual, embeds.dtype):
            states = self.causal_model.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        if virtual:  # to the end, so that a prompt's states begin at 0: the decoder does not look at their order
            states, mask = states.roll(-virtual, 1), mask.roll(-virtual, 1)
        return EncodedPrompts(states, mask)

    @contextmanager
    def _within_segments(self, local, known, virtual, dtype):
        """Context in which the encoder's first layers have the mask of ``local``; ``known [B, P]``: the tokens.

        ``transformers`` gives all layers one mask. Wrappers, not hooks, exchange it: gradient checkpointing calls a
        layer again in the backward pass, with the arguments that it had, when hooks of the forward pass are gone.
        """
        if local is None or not local.layers:
            yield
            return
        seen = local.segment[:, None] == local.segment[..., None]  # [B, P, P]; padding sees padding, so no row is empty
        seen = nn.functional.pad(seen, (virtual, 0, virtual, 0), value=True)
        seen[:, :virtual] &= known[:, None]
        mask = self._mask_of_all_heads(seen, dtype)
        encoder = self.causal_model.get_encoder()
        layers = getattr(encoder, self._layers_name)
        masked = [_MaskedLayer(layer, mask) for layer in layers[: local.layers]]
        setattr(encoder, self._layers_name, nn.ModuleList([*masked, *layers[local.layers :]]))
        try:
            yield
        finally:
            setattr(encoder, self._layers_name, layers)

    def start(self, batch):
        """Embedded start token of the decoder ``[B, 1, H]``."""
        weight = self.causal_model.get_input_embeddings().weight
        token = torch.full((batch, 1), self.start_id, device=weight.device)
        return self.embed(token)

    def forward(self, input_embeds, position_ids=None, mask=None, cache=None, prompts=None):
        """Last hidden states of the decoder.

        Args:
            input_embeds: ``[B, T, H]``, the answer so far; the first token of all is the start token.
            position_ids: ``[B, T]``; needed with a cache or a mask, else they count from 0.
            mask: boolean ``[B, T, C]``, true where a token may be seen: several answers to one prompt stand in a row.
                Needed with a cache, else attention is plainly causal by default. Every token must see one.
            cache: :class:`Seq2SeqCache`, extended in place; its selected rows are the B rows.
            prompts: :class:`EncodedPrompts`, where there is no cache.

        Returns:
            ``[B, T, H]`` after dropout.
        """
        if cache is None and mask is None:
            output = self._decode(input_embeds, prompts)
        elif cache is None:
            with self._placed(position_ids, position_ids):
                output = self._decode(input_embeds, prompts, self._mask_of_all_heads(mask, input_embeds.dtype))
        else:
            with self._placed(position_ids, cache.place(position_ids)):
                output = self._decode(
                    input_embeds, cache.prompts(), self._mask_of_all_heads(mask, input_embeds.dtype), cache
                )
        return self.hidden_dropout(output.last_hidden_state)

    def _decode(self, input_embeds, prompts, attention_mask=None, cache=None):
        decoder = self.causal_model.get_decoder()
        return decoder(
            inputs_embeds=self.embedding_dropout(input_embeds),
            attention_mask=attention_mask,
            encoder_hidden_states=prompts.states,
            encoder_attention_mask=prompts.mask,
            use_cache=cache is not None,
            **{cache_argument(type(decoder)): cache},
        )

    @contextmanager
    def _placed(self, position_ids, key_positions):
        """Context in which the decoder's tokens have the given positions: siblings in a tree have the same one.

        ``transformers`` gives the decoder no argument for positions: its tokens are counted. T5 computes a bias by
        distance, BART a vector by position. So the method that computes either is replaced on this one module while
        the context is open.
        """
        decoder = self.causal_model.get_decoder()
        if self._is_relative:
            owner, name = decoder.block[0].layer[0].SelfAttention, "compute_bias"
            bucket = owner._relative_position_bucket(
                key_positions[:, None] - position_ids[..., None],  # [B, T, C]
                bidirectional=False,
                num_buckets=owner.relative_attention_num_buckets,
                max_distance=owner.relative_attention_max_distance,
            )
            answer = owner.relative_attention_bias(bucket).permute(0, 3, 1, 2)
        else:
            owner, name = decoder.embed_positions, "forward"
            answer = nn.Embedding.forward(owner, position_ids + owner.offset)
        setattr(owner, name, lambda *args, **kwargs: answer)
        try:
            yield
        finally:
            delattr(owner, name)

    def continuation(self, prompt_embeds, token_embeds):
        """States that predict the tokens of continuations of one prompt, each fed whole; see the base class."""
        batch = len(token_embeds)
        length = torch.tensor([prompt_embeds.shape[1]], device=prompt_embeds.device)
        states, mask = self.read(prompt_embeds, length)
        prompts = EncodedPrompts(states.expand(batch, -1, -1), mask.expand(batch, -1))
        return self(torch.cat([self.start(batch), token_embeds[:, :-1]], 1), prompts=prompts)

    def new_cache(self, prompts):
        """A cache for :meth:`forward` over encoded prompts."""
        return Seq2SeqCache(prompts)

    def logits(self, hidden, token_ids=None):
        """See :meth:`~recbole_genrec.backbone.backbone.Backbone.logits`."""
        config = self.config
        if config.model_type in SCALED_FAMILIES and getattr(
            config, "scale_decoder_outputs", config.tie_word_embeddings
        ):
            hidden = hidden * self.hidden_size**-0.5
        values = super().logits(hidden, token_ids)
        bias = getattr(self.causal_model, "final_logits_bias", None)
        if bias is None:
            return values
        return values + (bias[0] if token_ids is None else bias[0, token_ids])


class _MaskedLayer(nn.Module):
    """An encoder layer that takes a mask of its own in the place of the one it is given."""

    def __init__(self, layer, mask):
        super().__init__()
        self.layer, self.mask = layer, mask

    def forward(self, hidden, _, *args, **kwargs):
        return self.layer(hidden, self.mask, *args, **kwargs)


class Seq2SeqCache(EncoderDecoderCache):
    """Keys and values of a decoder's tokens and, once, of its prompts; a row for each prompt.

    Args:
        prompts: :class:`EncodedPrompts`.
    """

    def __init__(self, prompts):
        super().__init__(TreeCache(len(prompts.mask), 0), _CrossCache())
        self._prompts = prompts
        self._positions = prompts.mask.new_zeros(len(prompts.mask), 0, dtype=torch.long)  # [B, C]
        self.select(None)

    def select(self, rows):
        """Select the rows ``[R]`` of the next forwards; ``None`` selects all."""
        self.rows = rows
        self.self_attention_cache.select(rows)
        self.cross_attention_cache.select(rows)

    def rewind(self):
        """Forget all tokens but the start token."""
        self.self_attention_cache.rewind()
        self._positions = self._positions[:, :1]

    def prompts(self):
        """The selected rows' prompts."""
        return self._prompts if self.rows is None else self._prompts[self.rows]

    def place(self, position_ids):
        """Note the positions ``[R, T]`` of new tokens; returns those of all tokens of the selected rows ``[R, C]``."""
        rows = slice(None) if self.rows is None else self.rows
        new = self._positions.new_zeros(len(self._positions), position_ids.shape[1])
        new[rows] = position_ids
        self._positions = torch.cat([self._positions, new], 1)
        return self._positions[rows]


class _CrossCache(DynamicCache):
    """Keys and values of the prompts: written by the first forward, over all rows, and looked up by rows later."""

    def select(self, rows):
        for layer in self.layers:
            layer.select(rows)

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        self.layers.append(_CrossLayer(key_states, value_states))
        return key_states, value_states


class _CrossLayer:
    """What cross-attention reads of a layer: ``keys`` and ``values`` of the selected rows ``[R, A, P, D]``."""

    def __init__(self, keys, values):
        self._all = keys, values
        self.select(None)

    def select(self, rows):
        self.keys, self.values = self._all if rows is None else (states[rows] for states in self._all)
