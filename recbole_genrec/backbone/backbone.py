"""A causal language model behind the calls that the engine needs: encode, embed, forward, fill, logits.

Shapes: B batch, T new tokens, P cached tokens, H hidden size, V vocabulary, N chosen tokens.
"""

from contextlib import contextmanager, suppress

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask

from recbole_genrec.backbone.branches import KERNEL, BranchMask, with_virtual
from recbole_genrec.backbone.kv_cache import Filled, PromptBody, TreeCache, VirtualCache, cache_argument
from recbole_genrec.backbone.new_tokens import trained_rows
from recbole_genrec.backbone.virtual_tokens import n_virtual, virtual_states


class Backbone(nn.Module):
    """A causal language model of ``transformers`` and its tokenizer.

    Args:
        model: a causal language model, or a ``peft`` model around one.
        tokenizer: its tokenizer.
        embedding_dropout: dropout on the input embeddings, in training.
        hidden_dropout: dropout on the last hidden states, in training.
    """

    #: an encoder reads the prompt; see :class:`~recbole_genrec.backbone.seq2seq.Seq2SeqBackbone`.
    is_encoder_decoder = False

    def __init__(self, model, tokenizer, embedding_dropout=0.0, hidden_dropout=0.0):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.hidden_dropout = nn.Dropout(hidden_dropout)
        #: whether the model may use the kernel for branches; the self-check decides.
        self.fast_branches = True
        self._special_ids = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    @property
    def causal_model(self):
        """The causal language model itself, adapters left in place."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def config(self):
        """Configuration of the language model, also where it is part of a multimodal model."""
        return self.causal_model.config.get_text_config()

    @property
    def hidden_size(self):
        """Size H of the hidden states."""
        return self.causal_model.get_input_embeddings().weight.shape[-1]

    @property
    def embedding_std(self):
        """Standard deviation of the input embeddings, a size at which added vectors do no harm."""
        return float(self.causal_model.get_input_embeddings().weight.detach().float().std())

    @property
    def vocab_size(self):
        """How many tokens the input embeddings have, V."""
        return self.causal_model.get_input_embeddings().weight.shape[0]

    @property
    def n_virtual(self):
        """Virtual tokens that stand before every prompt, V."""
        return n_virtual(self.model)

    @property
    def mask_kind(self):
        """The form of mask in which packed batches should come: ``dense``, ``branches`` or ``blocks``."""
        kernel = str(self.config._attn_implementation)
        if kernel == "flex_attention":  # settings refuse it beside virtual tokens
            return "blocks"
        exchangeable = getattr(self.causal_model, "_supports_attention_backend", False)
        exchangeable = exchangeable and self.fast_branches
        return "branches" if exchangeable and (kernel == "sdpa" or kernel.startswith("flash")) else "dense"

    @property
    def max_positions(self):
        """Longest sequence the model was built for, or ``None`` where it sets no bound."""
        return getattr(self.config, "max_position_embeddings", None)

    @property
    def bos_id(self):
        """The token that begins a text, or ``None`` where the tokenizer has none."""
        return self.tokenizer.bos_token_id

    @property
    def eos_id(self):
        """The token that ends a text, or ``None`` where the tokenizer has none."""
        return self.tokenizer.eos_token_id

    @property
    def pad_id(self):
        """The token that fills short rows; 0 where the tokenizer has none."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def encode(self, text, context=""):
        """Token ids of ``text`` as they stand after ``context``; no special token is added or recognised.

        A tokenizer may write a text differently at the start and in the middle (SentencePiece adds a space at the
        start), so the context is encoded along and taken off again.

        Args:
            text: plain text; text that looks like a special token is encoded as plain text.
            context: the text right before it.

        Returns:
            A list of token ids.
        """
        return self.encode_many([text], context)[0]

    def encode_many(self, texts, context=""):
        """Token ids of several texts, each as :meth:`encode` gives them; the tokenizer gets all at once.

        Args:
            texts: list of plain texts.
            context: the text right before each of them.

        Returns:
            A list of lists of token ids.
        """
        found = {"": []}
        asked = [text for text in dict.fromkeys(texts) if text]
        if context and asked:
            before, *several = self._encode_plain([context, *(context + text for text in asked)])
            found |= {text: both[len(before) :] for text, both in zip(asked, several) if both[: len(before)] == before}
        alone = [text for text in asked if text not in found]
        found |= zip(alone, self._encode_plain(alone))
        return [list(found[text]) for text in texts]

    def _encode_plain(self, texts):
        if not texts:
            return []
        several = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids
        return [self._without_special(text, ids) for text, ids in zip(texts, several)]

    def _without_special(self, text, ids):
        """The tokens ``ids`` of a text, or others where special ones are among them."""
        if self._special_ids.isdisjoint(ids):
            return ids
        # Some vocabularies hold their special tokens as ordinary pieces: cut look-alikes after their first characters.
        for token in sorted(self.tokenizer.all_special_tokens, key=len, reverse=True):
            if token in text and len(token) > 1:
                before, *others = text.split(token)
                pieces = [before + token[0], *(token[1:] + other + token[0] for other in others[:-1])]
                return [i for ids in self._encode_plain([*pieces, token[1:] + others[-1]]) for i in ids]
        return [token for token in ids if token not in self._special_ids]

    def embed(self, input_ids):
        """Input embeddings ``[B, T, H]`` of ``input_ids [B, T]``, before dropout."""
        return self.causal_model.get_input_embeddings()(input_ids)

    def forward(self, input_embeds, position_ids=None, mask=None, cache=None):
        """Last hidden states of new tokens.

        Args:
            input_embeds: ``[B, T, H]``, from :meth:`embed`.
            position_ids: ``[B, T]``; by default they count from 0.
            mask: boolean ``[B, T, P + T]``, true where a token may be seen; numbers ``[B, A, T, P + T]`` that are
                added in each of A heads; a :class:`BranchMask`, or a ``BlockMask`` of FlexAttention (see
                ``mask_kind``). By default plain causal attention. Every row must see a token.
            cache: keys and values of the P tokens before, from :meth:`new_cache`; it is extended in place. The B rows
                are those that it has selected.

        Returns:
            Hidden states ``[B, T, H]`` after dropout, as :meth:`logits` takes them.
        """
        if self.n_virtual:
            position_ids, mask, cache = self._behind_virtual(input_embeds, position_ids, mask, cache)
        model = self.causal_model.base_model
        branches = {"branches": mask} if isinstance(mask, BranchMask) else {}
        with self._kernel_for(mask):
            output = model(
                inputs_embeds=self.embedding_dropout(input_embeds),
                position_ids=position_ids,
                attention_mask=None if branches else self._mask_of_all_heads(mask, input_embeds.dtype),
                use_cache=cache is not None,
                **{cache_argument(type(model)): cache},
                **branches,
            )
        return self.hidden_dropout(output.last_hidden_state)

    def _behind_virtual(self, input_embeds, position_ids, mask, cache):
        """Positions, mask and cache of :meth:`forward` where virtual tokens stand before all others."""
        count, (batch, length, _) = self.n_virtual, input_embeds.shape
        device = input_embeds.device
        if position_ids is None:
            position_ids = torch.arange(length, device=device).expand(batch, -1)
        if mask is None:
            mask = torch.ones(length, length, dtype=torch.bool, device=device).tril().expand(batch, -1, -1)
        mask = mask if isinstance(mask, BranchMask) else with_virtual(mask, count)
        if cache is None:
            cache = VirtualCache(virtual_states(self.model))
        return position_ids + count, mask, cache

    def _mask_of_all_heads(self, mask, dtype):
        """The mask ``[B, 1, T, C]`` as the attention kernel takes it; a block mask is for all heads already."""
        if not isinstance(mask, torch.Tensor):
            return mask
        if mask.is_floating_point():
            return mask.to(dtype).clamp_min(torch.finfo(dtype).min)
        mask = mask.unsqueeze(1)
        if self.config._attn_implementation != "eager":
            return mask
        return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)

    def continuation(self, prompt_embeds, token_embeds):
        """States that predict the tokens of continuations of one prompt, each fed whole: plain, and for checks.

        Args:
            prompt_embeds: one prompt without padding, ``[1, P, H]``.
            token_embeds: ``[C, T, H]``.

        Returns:
            ``[C, T, H]``, the state before each token.
        """
        prompts = prompt_embeds.expand(len(token_embeds), -1, -1)
        return self(torch.cat([prompts, token_embeds], 1))[:, prompt_embeds.shape[1] - 1 : -1]

    @contextmanager
    def _kernel_for(self, mask):
        """Attention kernel for a mask; flash attention takes none of our own."""
        config = self.config
        chosen = config._attn_implementation
        if isinstance(mask, BranchMask):
            config._attn_implementation = KERNEL
        elif isinstance(mask, BlockMask):
            config._attn_implementation = "flex_attention"
        elif chosen == "flex_attention" or (mask is not None and str(chosen).startswith("flash")):
            config._attn_implementation = "sdpa"
        try:
            yield
        finally:
            config._attn_implementation = chosen

    def new_cache(self, n_rows, width):
        """A cache for :meth:`forward` whose first ``width`` columns :meth:`fill` fills."""
        return TreeCache(n_rows, width, virtual_states(self.model) if self.n_virtual else ())

    def fill(self, input_embeds, cache, rows, mask=None):
        """Put the keys and values of the beginnings of some prompts into the first columns of a cache.

        Args:
            input_embeds: ``[B, T, H]``, right-padded, T at most the cache's ``width``.
            cache: from :meth:`new_cache`.
            rows: ``[B]``, the cache's rows that they belong to.
            mask: see :meth:`forward`.
        """
        with suppress(Filled):
            self(input_embeds, mask=mask, cache=PromptBody(cache, rows, self.config.num_hidden_layers))

    def logits(self, hidden, token_ids=None):
        """Next-token logits in float32, for the whole vocabulary or for chosen tokens.

        Args:
            hidden: ``[..., H]`` from :meth:`forward`.
            token_ids: ``[N]``, or ``None`` for all.

        Returns:
            ``[..., N]`` or ``[..., V]``.
        """
        head = self.causal_model.get_output_embeddings()
        if token_ids is None:
            values = head(hidden)
        elif type(head) is nn.Linear:
            bias = None if head.bias is None else head.bias[token_ids]
            values = nn.functional.linear(hidden, head.weight[token_ids], bias)
        elif hasattr(head, "token_adapter"):
            values = nn.functional.linear(hidden, trained_rows(head, token_ids))
        else:  # an adapted or quantised head has no plain rows to pick
            values = head(hidden)[..., token_ids]
        return self._finish_logits(values.float())

    def _finish_logits(self, values):
        """What some families do to their logits after the head (Gemma 2, Cohere, Granite)."""
        config = self.config
        if getattr(config, "logit_scale", None):
            values = values * config.logit_scale
        if getattr(config, "logits_scaling", None):
            values = values / config.logits_scaling
        cap = getattr(config, "final_logit_softcapping", None)
        return cap * torch.tanh(values / cap) if cap else values
