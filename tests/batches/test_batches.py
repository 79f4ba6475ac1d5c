"""Batches of sequences of about the same length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_genrec.batches.epoch_loader import batches_of_like_length


@given(
    st.lists(st.integers(1, 40), max_size=30), st.integers(0, 100), st.integers(1, 5), st.sampled_from([None, 0, 1, 2])
)
def test_batches_are_filled_up_to_their_budget(lengths, batch_tokens, batch_size, seed):
    generator = None if seed is None else np.random.default_rng(seed)
    lengths = np.array(lengths, np.int64)
    batches = batches_of_like_length(lengths, batch_tokens, batch_size, generator)
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        size, widest = len(batch), lengths[batch].max()
        assert size == 1 or (size * widest <= batch_tokens if batch_tokens else size <= batch_size)
        longest_after = np.maximum.accumulate(lengths[batch][::-1])[::-1]
        assert (lengths[batch] * 1.1 >= longest_after).all()  # a little noise in the order, no more
    if seed is None:
        ordered = lengths[np.concatenate([[], *batches]).astype(int)]
        assert (np.diff(ordered) <= 0).all()
        for one, other in zip(batches, batches[1:]):  # the next sequence would not have fit
            size, widest = len(one) + 1, max(lengths[one].max(), lengths[other[0]])
            assert size * widest > batch_tokens if batch_tokens else len(one) == batch_size
