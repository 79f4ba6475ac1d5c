"""Tree attention: many continuations of a batch of prompts in one forward, over one cache.

Letters: B prompts, P prompt tokens, S cached tree tokens, Q new tree tokens a prompt, H hidden size, M edges, R tokens.

A tree token sees its prompt, the tokens of the edges above its own and the earlier tokens of its own edge. Which edges
lie above is read off the trie: an edge is above another when it covers all its items. So nothing is reordered in the
cache and no ancestor list is kept.
"""

import torch

from recbole_genrec.decoding.ragged import ragged_arange


class PromptTree:
    """Prompts, fed once, and the parts of the trie that have been fed after them.

    Args:
        backbone: the language model.
        trie: the catalogue, on the backbone's device.
        input_embeds: prompts, right-padded, ``[B, P, H]``.
        lengths: tokens of each prompt, at least 1, ``[B]``.

    Attributes:
        root_hidden: state after each prompt ``[B, H]``.
    """

    def __init__(self, backbone, trie, input_embeds, lengths):
        self.backbone, self.trie, self.lengths = backbone, trie, lengths
        self.cache = backbone.new_cache()
        hidden = backbone(input_embeds, cache=self.cache)
        batch, width = input_embeds.shape[:2]
        self.root_hidden = hidden[torch.arange(batch, device=lengths.device), lengths - 1]
        self.prompt_mask = torch.arange(width, device=lengths.device) < lengths[:, None]  # [B, P]
        # What the mask needs of every cached tree token: the items its edge covers and its depth; all [B, S].
        self.low = self.high = self.depth = torch.zeros(batch, 0, dtype=torch.long, device=lengths.device)

    def __len__(self):
        return len(self.lengths)

    def extend(self, prompt, edge, drop_last=None):
        """Feed the tokens of some edges; all edges above them must have been fed before or be fed along.

        Args:
            prompt: ``[M]``, which prompt each edge continues.
            edge: ``[M]``; a pair is fed at most once.
            drop_last: ``[M]`` booleans, true where the edge's last token need not be fed; by default nowhere.

        Returns:
            ``hidden [R, H]``, the state after each fed token, the edges' tokens laid end to end, and
            ``owner [R]``, the place in ``edge`` that each belongs to.
        """
        trie, device = self.trie, edge.device
        batch, seen = len(self), self.low.shape[1]
        length = trie.edge_end[edge] - trie.edge_begin[edge]
        if drop_last is not None:
            length = length - drop_last.long()
        owner, order = ragged_arange(length)
        of_edge, row = edge[owner], prompt[owner]
        depth = trie.edge_begin[of_edge] + order
        token = trie.token[trie.token_offset[trie.edge_sample[of_edge]] + depth]

        # Lay the tokens out as [B, Q]: a token's column counts the tokens of its prompt before it.
        by_row = torch.argsort(row, stable=True)
        count = torch.bincount(row, minlength=batch)
        column = torch.empty_like(row)
        column[by_row] = ragged_arange(count)[1]
        width = int(count.max())

        def laid_out(values, fill):
            block = torch.full((batch, width), fill, dtype=torch.long, device=device)
            block[row, column] = values
            return block

        # Padding covers no item (low above high of any), so it sees only the prompt and nothing sees it.
        low = torch.cat([self.low, laid_out(trie.edge_low[of_edge], trie.n_items + 1)], 1)
        high = torch.cat([self.high, laid_out(trie.edge_high[of_edge], -1)], 1)
        depths = torch.cat([self.depth, laid_out(depth, 0)], 1)
        new_low, new_high, new_depth = low[:, seen:, None], high[:, seen:, None], depths[:, seen:, None]
        above = (low[:, None] <= new_low) & (new_high <= high[:, None]) & (depths[:, None] <= new_depth)
        above &= low[:, None] < high[:, None]
        mask = torch.cat([self.prompt_mask[:, None].expand(-1, width, -1), above], 2)  # [B, Q, P + S + Q]

        embeds = self.backbone.embed(laid_out(token, self.backbone.pad_id))
        positions = self.lengths[:, None] + depths[:, seen:]
        hidden = self.backbone(embeds, position_ids=positions, mask=mask, cache=self.cache)
        self.low, self.high, self.depth = low, high, depths
        return hidden[row, column], owner
