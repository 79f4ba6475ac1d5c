"""Which edges of the trie lead to items that may be listed.

Left-out items are few: what they change follows from the edges on their own paths. The cost is that of S paths a prompt
and two booleans an edge, not of a count over the whole catalogue for each prompt.

Example: below the edge ``Toy Story`` stand items 1, 2 and 3, and a prompt leaves out 1 and 3. The edge is open, since 2
may be listed, and not whole. Were 2 left out, too, it would be closed.

Letters: B prompts, I items, E edges, S the most items that a prompt leaves out.
"""

import torch

from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.decoding.trie import Trie


def listable(
    trie: Trie, batch: int, allowed: torch.Tensor | None = None, left_out: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Say of each edge whether any item below it may be listed, and whether all may.

    Args:
        trie: the catalogue.
        batch: B.
        allowed: booleans by item id, for all prompts alike ``[I + 1]``; ``None``: all.
        left_out: item ids that each prompt leaves out besides, padded with 0, in any order and also repeatedly
            ``[B, S]``; ``None``: none.

    Returns:
        ``open`` and ``whole``, booleans on the trie's device ``[B, E]``, or ``[1, E]`` where ``left_out`` is ``None``.
    """
    device, size = trie.token.device, trie.edge_high - trie.edge_low
    below = size if allowed is None else trie.count_below(allowed.to(device)[None])[0]  # [E]
    opened, whole = (below > 0)[None], (below == size)[None]
    if left_out is None:
        return opened, whole
    left_out = left_out.to(device)
    row, column = torch.nonzero(left_out, as_tuple=True)
    pairs = torch.unique(row * (trie.n_items + 1) + left_out[row, column])
    row, item = pairs // (trie.n_items + 1), pairs % (trie.n_items + 1)
    if allowed is not None:  # what nobody may list is not counted below an edge
        counted = allowed.to(device)[item]
        row, item = row[counted], item[counted]
    begin = trie.path_offset[item]
    owner, order = ragged_arange(trie.path_offset[item + 1] - begin)
    touched = row[owner] * trie.n_edges + trie.path_edge[begin[owner] + order]
    touched, count = torch.unique(touched, return_counts=True)
    opened, whole = (table.repeat(batch, 1) for table in (opened, whole))
    whole.view(-1)[touched] = False
    opened.view(-1)[touched[count == below[touched % trie.n_edges]]] = False
    return opened, whole
