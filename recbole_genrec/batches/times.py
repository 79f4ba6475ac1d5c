"""The moments of tokens: when an item of a history was chosen, and when the next one is asked for.

The last token of an item predicts what comes next, so it asks at the moment of the next item. The tokens before it are
those of an answer that was asked for at the moment of the item itself: on a trunk that continues into its targets they
are just that. So a history reads the same whether a part of it is an answer or not. What is fixed text before the first
item has no time.

Letters: W windows, the rows of a table; T its columns.
"""

import numpy as np
import torch

from recbole_genrec.backbone.time_bias import NO_TIME, CellTimes
from recbole_genrec.interactions.segments import ragged


def packed_times(shape, items, first, times, branches=None, targets=None):
    """Moments in a table of trunks and branches.

    Args:
        shape: rows and columns of the table.
        items: :class:`~recbole_genrec.batches.layout.TrunkItems`.
        first: index in the flat array of the first item of each row ``[W]``.
        times: of the flat array of items, int64 ``[N]``.
        branches: :class:`~recbole_genrec.batches.layout.Branches` of the targets, if there are any.
        targets: index of each target in the flat array.

    Returns:
        :class:`~recbole_genrec.backbone.time_bias.CellTimes`.
    """
    known, gap, request_time = (np.full(shape, NO_TIME, np.int64) for _ in range(3))
    length = items.stop - items.start
    owner, order = ragged(length)
    cell = items.row[owner], items.start[owner] + order
    index = items.flat_index[owner]
    previous = np.where(index > first[cell[0]], times[index - 1], NO_TIME)
    is_last = order == length[owner] - 1
    known[cell] = times[index]
    gap[cell] = np.where(is_last, times[index], previous)
    # nobody asks after the last item of all
    request_time[cell] = times[np.where(is_last, np.minimum(index + 1, len(times) - 1), index)]
    if branches is not None:
        cell = branches.cells.row, branches.cells.column
        index = targets[branches.owner]
        known[cell] = request_time[cell] = times[index]
        gap[cell] = np.where(index > first[cell[0]], times[index - 1], NO_TIME)
    return CellTimes(*map(torch.from_numpy, (known, gap, request_time)))


def prompt_times(shape, items, times, length, asked=None):
    """Moments in a table of prompts, whose items come before a response; see :func:`packed_times`.

    Args:
        shape: rows and columns of the table.
        items: :class:`~recbole_genrec.batches.layout.TrunkItems`.
        times: of the flat array of items, int64 ``[N]``.
        length: tokens before the response of each prompt ``[W]``.
        asked: the moment of each prompt ``[W]``; ``None``: none is known.
    """
    last = np.append(np.diff(items.row) > 0, True)[: len(items.row)]
    first = np.zeros(shape[0], np.int64)
    first[items.row[::-1]] = items.flat_index[::-1]
    moments = packed_times(shape, items, first, times)
    newest = np.full(shape[0], NO_TIME, np.int64)
    newest[items.row[last]] = times[items.flat_index[last]]
    asked = np.full(shape[0], NO_TIME, np.int64) if asked is None else asked
    row = np.flatnonzero(np.isin(np.arange(shape[0]), items.row))
    moments.request_time[row, items.stop[last] - 1] = torch.from_numpy(asked[row])
    in_response = torch.from_numpy(np.arange(shape[1]) >= length[:, None])
    for table, value in ((moments.request_time, asked), (moments.gap, newest)):
        table[in_response] = torch.from_numpy(value)[:, None].expand(shape)[in_response]
    answer = np.where(asked == NO_TIME, newest, asked)
    moments.known[in_response] = torch.from_numpy(answer)[:, None].expand(shape)[in_response]
    return moments
