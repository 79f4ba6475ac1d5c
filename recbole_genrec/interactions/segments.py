"""Index arithmetic on sequences laid end to end, with numpy; ``decoding.ragged`` has it with torch."""

import numpy as np


def ragged(lengths):
    """Count from 0 within each of several segments laid end to end.

    Args:
        lengths: how long each segment is ``[M]``.

    Returns:
        ``owner [N]``, the segment that each position belongs to, and ``order [N]``, its number within the segment;
        N is the sum of ``lengths``.

    Example:
        lengths ``[2, 0, 3]`` give owner ``[0, 0, 2, 2, 2]`` and order ``[0, 1, 0, 1, 2]``.
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return owner, np.arange(len(owner)) - np.repeat(lengths.cumsum() - lengths, lengths)
