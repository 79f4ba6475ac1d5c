"""Tree attention: many continuations of a batch of prompts in one forward, over one cache.

Letters: B prompts, P prompt tokens, S cached tree tokens, Q new tree tokens a prompt, H hidden size, M edges, N tokens.

A tree token sees its prompt, the tokens of the edges above its own and the earlier tokens of its own edge. Which edges
lie above is read off the trie: an edge is above another when it covers all its items. So nothing is reordered in the
cache and no ancestor list is kept.
"""

from collections.abc import Iterator
from typing import Any

import torch

from recbole_genrec.backbone.time_bias import CellTimes, TimeBias, causal_bias
from recbole_genrec.decoding.language_model import LanguageModel
from recbole_genrec.decoding.prior import edge_prior
from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.decoding.softmax import EdgeProbabilities
from recbole_genrec.decoding.trie import Trie

#: prompt tokens in one forward. It fills a GPU, and keeps the activations of a small model in a CPU's cache.
FILL_TOKENS = 8192


def prompt_tree(
    backbone: LanguageModel, trie: Trie, input_embeds: torch.Tensor, lengths: torch.Tensor, **more: Any
) -> "PromptTree":
    """The :class:`PromptTree` for a backbone's kind, with the same arguments."""
    kind = EncodedPromptTree if backbone.is_encoder_decoder else PromptTree
    return kind(backbone, trie, input_embeds, lengths, **more)


class PromptBias:
    """The bias of time after some prompts.

    Args:
        time_bias: :class:`~recbole_genrec.backbone.time_bias.TimeBias`.
        times: moments of the prompts ``[B, P]``, right-padded.
        body: tokens of each prompt before its last one ``[B]``.
    """

    def __init__(self, time_bias: TimeBias, times: CellTimes, body: torch.Tensor) -> None:
        self.time_bias, self.times = time_bias, times
        row = torch.arange(len(body), device=body.device)[:, None]
        #: of the last tokens, and of all tokens of answers, as queries ``[B, 1]``.
        self.asking = times[row, body[:, None]]
        width = int(body.max())
        self.key = torch.cat([times.known[:, :width], self.asking.known], 1)
        # the tokens of an answer have the moment that it is asked at: no time has passed between them
        moments = torch.stack([getattr(self.asking, kind) for kind in time_bias.kinds])
        self.answer = moments.amax(0)

    def of_bodies(self, rows: torch.Tensor, width: int) -> torch.Tensor:
        """What the first tokens of some prompts add in each head to what they see ``[R, A, width, width]``."""
        return causal_bias(self.time_bias, self.times[rows, :width])

    def masked(self, rows: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """What last tokens and answers add to what they see: ``[R, A, Q, P + S]`` of ``seen [R, Q, P + S]``."""
        answer = self.answer[rows].expand(-1, seen.shape[2] - self.key.shape[1])
        return self.time_bias.masked(self.asking[rows], torch.cat([self.key[rows], answer], 1), seen)


class PromptTree:
    """Prompts, fed once, and the parts of the trie that have been fed after them.

    Args:
        backbone: the language model.
        trie: the catalogue, on the backbone's device.
        input_embeds: prompts, right-padded, ``[B, P, H]``.
        lengths: tokens of each prompt, at least 1, ``[B]``.
        time_bias: :class:`~recbole_genrec.backbone.time_bias.TimeBias`; ``None``: none.
        times: moments of the prompts ``[B, P]``, where there is a bias.

    Attributes:
        root_hidden: state after each prompt ``[B, H]``.
        prior: :class:`~recbole_genrec.decoding.prior.EdgePrior` of the prompts, or ``None``.
    """

    def __init__(
        self,
        backbone: LanguageModel,
        trie: Trie,
        input_embeds: torch.Tensor,
        lengths: torch.Tensor,
        time_bias: TimeBias | None = None,
        times: CellTimes | None = None,
    ) -> None:
        self.backbone, self.trie, self.lengths = backbone, trie, lengths
        batch, device = len(lengths), lengths.device
        body = lengths - 1  # the tokens before the last one: their own states are not asked for
        body_length, longest_first = body.tolist(), torch.argsort(body, descending=True)
        width = max(body_length)
        self.bias = None if time_bias is None or times is None else PromptBias(time_bias, times, body)
        self.cache = backbone.new_cache(batch, width)
        for rows in _chunks(longest_first.tolist(), body_length):
            chunk, longest = torch.tensor(rows, device=device), body_length[rows[0]]
            bias = None if self.bias is None else self.bias.of_bodies(chunk, longest)
            backbone.fill(input_embeds[chunk, :longest], self.cache, chunk, bias)
        before = torch.arange(width, device=device) < body[:, None]
        self.prompt_mask = torch.cat([before, torch.ones_like(body[:, None], dtype=torch.bool)], 1)  # [B, P]
        last = input_embeds[torch.arange(batch, device=device), body][:, None]
        mask = self._with_bias(torch.arange(batch, device=device), self.prompt_mask[:, None])
        self.root_hidden = backbone(last, body[:, None], mask, self.cache)[:, 0]
        self._plant(batch, device)

    def _plant(self, batch: int, device: torch.device) -> None:
        self.prior = edge_prior(self.trie, self.root_hidden, ranks=True)
        # What the mask needs of every cached tree token: the items its edge covers and its depth; all [B, S].
        self.low = self.high = self.depth = torch.zeros(batch, 0, dtype=torch.long, device=device)

    def __len__(self) -> int:
        return len(self.lengths)

    def probabilities(self, normalization: str) -> EdgeProbabilities:
        """Of the trie's edges after these prompts, normalised as ``trie`` or ``vocab``."""
        return EdgeProbabilities(self.backbone, self.trie, normalization, self.prior)

    def extend(
        self, prompt: torch.Tensor, edge: torch.Tensor, drop_last: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Feed the tokens of some edges. All edges above them must have been fed before, or be fed in the same call.

        Args:
            prompt: ``[M]``, which prompt each edge continues.
            edge: ``[M]``; a pair is fed at most once.
            drop_last: ``[M]`` booleans, true where the edge's last token need not be fed; by default nowhere.

        Returns:
            ``hidden [N, H]``, the state after each fed token, the edges' tokens laid end to end, and
            ``owner [N]``, the index in ``edge`` that each belongs to.
        """
        trie, device, batch, seen = self.trie, edge.device, len(self), self.low.shape[1]
        length = trie.edge_end[edge] - trie.edge_begin[edge]
        if drop_last is not None:
            length = length - drop_last.long()
        owner, order = ragged_arange(length)
        of_edge = edge[owner]
        depth = trie.edge_begin[of_edge] + order
        token = trie.token[trie.token_offset[trie.edge_sample[of_edge]] + depth]
        block = _Block(prompt[owner], batch)
        # Padding covers no item (low above high of any), so it sees only the prompt and nothing sees it.
        self.low = torch.cat([self.low, block.lay_out(trie.edge_low[of_edge], trie.n_items + 1)], 1)
        self.high = torch.cat([self.high, block.lay_out(trie.edge_high[of_edge], -1)], 1)
        self.depth = torch.cat([self.depth, block.lay_out(depth, 0)], 1)
        rows = torch.nonzero(block.count)[:, 0]
        if 2 * len(rows) > batch:  # picking rows copies them: it pays where few prompts go on
            rows = torch.arange(batch, device=device)
            self.cache.select(None)
        else:
            self.cache.select(rows)
        hidden = self.backbone(
            self.backbone.embed(block.lay_out(token, self.backbone.pad_id)[rows]),
            position_ids=self.lengths[rows, None] + self.depth[rows, seen:],
            mask=self._mask(rows, seen),
            cache=self.cache,
        )
        fed_row = torch.empty_like(block.count)
        fed_row[rows] = torch.arange(len(rows), device=device)
        return hidden[fed_row[block.row], block.column], owner

    def _mask(self, rows: torch.Tensor, seen: int) -> torch.Tensor:
        """The mask of the tree tokens after the first ``seen`` ones, for some rows ``[rows, Q, P + S + Q]``."""
        low, high, depth = self.low[rows], self.high[rows], self.depth[rows]
        new_low, new_high, new_depth = (table[:, seen:, None] for table in (low, high, depth))
        above = (low[:, None] <= new_low) & (new_high <= high[:, None]) & (depth[:, None] <= new_depth)
        above &= low[:, None] < high[:, None]
        prompt = self.prompt_mask[rows, None].expand(-1, new_low.shape[1], -1)
        return self._with_bias(rows, torch.cat([prompt, above], 2))

    def _with_bias(self, rows: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """The mask of some rows: what they see, or numbers to add in each head where there is a bias of time."""
        return seen if self.bias is None else self.bias.masked(rows, seen)

    def rewind(self) -> None:
        """Forget all edges; the prompts stay."""
        self.low = self.high = self.depth = self.low[:, :0]
        self.cache.rewind()


class EncodedPromptTree(PromptTree):
    """The tree of an encoder-decoder: the encoder reads the prompts, and the trie begins at the decoder's start token.

    The arguments are those of :class:`PromptTree`; ``lengths`` become those of the decoder's own prompts, 1.
    ``pointer [B]``, where given, says of which prompt token the start token carries the encoder's state; ``local`` is
    the :class:`~recbole_genrec.backbone.seq2seq.LocalAttention` of the encoder's first layers.
    """

    def __init__(
        self,
        backbone: LanguageModel,
        trie: Trie,
        input_embeds: torch.Tensor,
        lengths: torch.Tensor,
        pointer: torch.Tensor | None = None,
        local: Any = None,
    ) -> None:
        self.backbone, self.trie, self.bias = backbone, trie, None
        batch, device = len(lengths), lengths.device
        encoded = backbone.read(input_embeds, lengths, local)
        self.cache = backbone.new_cache(encoded)
        self.lengths = torch.ones_like(lengths)
        self.prompt_mask = torch.ones(batch, 1, dtype=torch.bool, device=device)
        zero = torch.zeros_like(lengths)[:, None]
        start = backbone.start(batch)
        if pointer is not None:
            start = start + encoded.states[torch.arange(batch, device=device), pointer][:, None]
        self.root_hidden = backbone(start, zero, self.prompt_mask[:, None], self.cache)[:, 0]
        self._plant(batch, device)


class _Block:
    """A table ``[B, Q]`` that ragged tokens are laid out in: a token's column counts the tokens of its row before it.

    Args:
        row: of each token ``[N]``.
        batch: B.
    """

    def __init__(self, row: torch.Tensor, batch: int) -> None:
        self.row, self.count = row, torch.bincount(row, minlength=batch)
        self.column = torch.empty_like(row)
        self.column[torch.argsort(row, stable=True)] = ragged_arange(self.count)[1]
        self.width = int(self.count.max())

    def lay_out(self, values: torch.Tensor, fill: int) -> torch.Tensor:
        """The table of ``values [N]``, ``fill`` elsewhere."""
        table = torch.full((len(self.count), self.width), fill, dtype=torch.long, device=values.device)
        table[self.row, self.column] = values
        return table


def _chunks(longest_first: list[int], length: list[int]) -> Iterator[list[int]]:
    """Split prompts into lists of about the same length and at most :data:`FILL_TOKENS` padded tokens (or one)."""
    chunk: list[int] = []
    for row in longest_first:
        if length[row] == 0:  # the last token is all there is
            break
        if chunk and (len(chunk) + 1) * length[chunk[0]] > FILL_TOKENS:
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk
