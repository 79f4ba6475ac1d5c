"""Windows of sequences that have no target, or are cut."""

from types import SimpleNamespace

import numpy as np
import pytest

from recbole_genrec.batches import windows
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.windows import WindowLoader


@pytest.fixture
def make_loader(monkeypatch):
    def make(*sequences, longest=3):
        items = np.array([item for sequence in sequences for item in sequence], np.int64)
        offsets = np.append(0, np.cumsum([len(sequence) for sequence in sequences])).astype(np.int64)
        monkeypatch.setattr(windows, "train_sequences", lambda dataset: (np.arange(len(sequences)), items, offsets))
        dataset = SimpleNamespace(
            uid_field="user", iid_field="item", config={"LIST_SUFFIX": "_list"}, item_list_length_field="length"
        )
        return WindowLoader(dataset, longest, EpochSettings(seed=1, batch_size=2))

    return make


def test_a_sequence_of_one_item_or_none_has_no_window(make_loader):
    loader = make_loader([7], [], [1, 2, 3], [9])
    (batch,) = list(loader)
    assert loader.n_targets == batch["new_targets"].sum() == 2
    assert batch["item_list"].tolist() == [[1, 2]] and batch["item"].tolist() == [3]
    assert len(loader) == 1 and make_loader([5]).n_targets == 0


def test_the_last_batch_counts_too(make_loader):
    loader = make_loader([1, 2], [3, 4], [5, 6])
    assert len(loader) == len(list(loader)) == 2
