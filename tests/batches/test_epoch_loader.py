"""What all loaders of an epoch do: plan it once, draw for whole batches, and write the rows of a process."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_genrec.batches.epoch_loader import EpochLoader, EpochSettings, check_dropout
from recbole_genrec.batches.sequences import MaskedSequences
from recbole_genrec.distributed.world import World
from recbole_genrec.errors import GenRecError


class Numbers(EpochLoader):
    """Rows are numbers in random order; each batch draws one more number for each of its rows."""

    def __init__(self, count, settings):
        self.count, self.plans = count, 0
        super().__init__(None, settings)

    def _plan_rows(self, generator):
        self.plans += 1
        order, size = generator.permutation(self.count), self.settings.batch_size
        return order, [np.arange(start, min(start + size, self.count)) for start in range(0, self.count, size)]

    def _draw(self, plan, batch):
        return plan.generator.integers(1000, size=len(batch))

    def _write(self, plan, batch, drawn):
        return list(zip(plan.rows[batch].tolist(), drawn.tolist()))


@given(st.integers(0, 20), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_the_rows_and_what_was_drawn_for_them(count, size, processes, epoch):
    loader = Numbers(count, EpochSettings(seed=1, batch_size=size))
    loader.set_epoch(epoch)
    whole = list(loader)
    parts = []
    for rank in range(processes):
        loader.own_rows = World(rank, processes).share
        loader.set_epoch(epoch)
        parts.append(list(loader))
    assert all(len(part) == len(whole) for part in parts)
    for batch, *own in zip(whole, *parts):
        assert sorted(batch) == sorted(row for part in own for row in part or ())
        assert [part is None for part in own] == [rank >= len(batch) for rank in range(processes)]


def test_an_epoch_is_planned_once_and_passes_count_up():
    loader = Numbers(10, EpochSettings(seed=1, batch_size=4))
    assert len(loader) == len(loader) == 3
    first, second = list(loader), list(loader)
    assert loader.plans == 2 and first != second
    loader.set_epoch(1)
    assert list(loader) == second
    loader.settings = replace(loader.settings, shuffle=False)
    assert list(loader) == list(loader) == first
    loader.settings = EpochSettings(seed=2, batch_size=4)
    loader.set_epoch(0)
    assert list(loader) != first


@pytest.mark.parametrize(("n_targets", "dropout"), [(0, 0.0), (10, 0.95)])
def test_too_little_to_train_on_is_refused(n_targets, dropout):
    with pytest.raises(GenRecError, match=f"'history_dropout: {dropout}' leaves less than one of {n_targets} targets"):
        check_dropout(n_targets, dropout)
    check_dropout(10, 0.9 - 1e-9)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_rows_of_sequences_keep_their_items_and_masks(counts, data):
    total = sum(counts)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    every = MaskedSequences(np.arange(len(counts)) + 10, np.array(counts), np.arange(total), masked)
    begin = data.draw(st.integers(0, len(counts)))
    stop = data.draw(st.integers(begin, len(counts)))
    some, ends = every[begin:stop], np.append(0, np.cumsum(counts))
    assert len(some) == stop - begin and some.user.tolist() == list(range(begin + 10, stop + 10))
    assert some.count.tolist() == counts[begin:stop]
    assert some.item.tolist() == list(range(ends[begin], ends[stop]))
    assert some.masked.tolist() == masked[ends[begin] : ends[stop]].tolist()
