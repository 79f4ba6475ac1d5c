"""Histories and candidates as tokens, and the items that a target is compared with, against plain loops."""

from types import SimpleNamespace

import numpy as np
import pytest

from recbole_genrec.batches.candidates import CandidateRows, CandidateWriter, UnseenItems
from recbole_genrec.batches.sequences import MaskedSequences
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError

BACKBONE = SimpleNamespace(bos_id=1, eos_id=2, pad_id=0, start_id=9)
TEXTS = ["five", "six seven", "six eight"]


def writer_of(max_prompt_tokens=16):
    return CandidateWriter(BACKBONE, build_trie([(5,), (6, 7), (6, 8)], 2), max_prompt_tokens, TEXTS)


def rows_of(*histories, candidates):
    """Rows of histories, oldest item first, whose target is the first candidate."""
    count = np.array([len(history) + 1 for history in histories])
    item = np.concatenate([[*history, row[0]] for history, row in zip(histories, candidates)])
    masked = np.zeros(len(item), bool)
    masked[count.cumsum() - 1] = True
    return CandidateRows(MaskedSequences(np.arange(len(count)), count, item, masked), np.array(candidates))


def test_the_example_of_the_header():
    batch = writer_of().write(rows_of([2, 1], candidates=[[1, 3]]))
    prompts = batch.prompts
    assert prompts.input_ids.tolist() == [[1, 5, 2, 6, 7, 2]] and prompts.lengths.tolist() == [6]
    assert prompts.segment.tolist() == [[0, 1, 1, 2, 2, 2]] and prompts.place.tolist() == [[0, 0, 1, 0, 1, 2]]
    assert batch.answer_ids.tolist() == [[9, 5, 2, 9, 6, 8, 2]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert batch.branch.tolist() == [[1, 1, 1, 2, 2, 2, 2]]
    assert batch.end_cell.tolist() == [2, 6]
    assert batch.label_cell.tolist() == [0, 1, 3, 4, 5]
    assert batch.label.tolist() == [5, 2, 6, 8, 2] and batch.label_owner.tolist() == [0, 0, 1, 1, 1]
    assert batch.n_tokens == 13 and batch.n_decisions == 1


def test_ragged_rows_are_those_that_stand_alone():
    histories, candidates = ([3, 1, 2], [2], [1, 1]), [[1, 1], [3, 2], [2, 1]]
    together = writer_of().write(rows_of(*histories, candidates=candidates))
    for row, (history, asked) in enumerate(zip(histories, candidates)):
        alone = writer_of().write(rows_of(history, candidates=[asked]))
        for name in ("input_ids", "segment", "place"):
            length = int(alone.prompts.lengths[0])
            whole = getattr(together.prompts, name)[row].tolist()
            assert whole[:length] == getattr(alone.prompts, name)[0].tolist()
            assert set(whole[length:]) <= {-1 if name == "segment" else 0}
        width, start = alone.answer_ids.shape[1], row * together.answer_ids.shape[1]
        for name in ("answer_ids", "position_ids"):
            assert getattr(together, name)[row].tolist()[:width] == getattr(alone, name)[0].tolist()
        assert together.end_cell.view(3, 2)[row].tolist() == [start + cell for cell in alone.end_cell.tolist()]
        mine = (together.label_owner // 2) == row
        assert together.label[mine].tolist() == alone.label.tolist()
        assert (together.label_cell[mine] - start).tolist() == alone.label_cell.tolist()
        assert (together.mask()[row, :width, :width] == alone.mask()[0]).all()
        assert not together.mask()[row, :width, width:].any()


def test_a_long_history_loses_its_oldest_items_as_a_whole():
    items, begin, stop = np.array([2, 1, 3, 1, 2, 2]), np.array([0, 3]), np.array([3, 6])
    for most, expected in ((16, [0, 3]), (8, [0, 3]), (6, [0, 3]), (5, [1, 4]), (4, [1, 4])):
        assert writer_of(most).fit(items, begin, stop).tolist() == expected
    with pytest.raises(GenRecError, match=r"'max_prompt_tokens' \(3\) is too small: 'six seven' alone takes 4 tokens"):
        writer_of(3)


def test_negatives_are_any_items_that_the_user_has_not_had():
    generator = np.random.default_rng(0)
    known = np.array([1, 2, 4, 5, 6, 9])  # 3, 7 and 8 are held out of training
    seen = [[1, 1, 9], [2, 4, 5, 6, 9], [8, 3], [6]]
    items, offsets = np.concatenate(seen), np.append(0, np.cumsum([len(own) for own in seen]))
    unseen = UnseenItems(items, offsets, known, 400, "abcd")
    drawn = unseen.draw(np.array([3, 0, 1, 2]), generator)
    for user, row in zip((3, 0, 1, 2), drawn):
        allowed = sorted(set(known) - set(seen[user]))
        assert sorted(set(row)) == allowed
        share = np.array([(row == item).mean() for item in allowed])
        assert abs(share - 1 / len(allowed)).max() < 0.1
    again = unseen.draw(np.array([3, 0]), np.random.default_rng(0))
    assert (
        again == UnseenItems(items, offsets, known, 400, "abcd").draw(np.array([3, 0]), np.random.default_rng(0))
    ).all()


def test_a_user_who_has_had_everything():
    with pytest.raises(GenRecError, match="user 'b' has interacted with all 2 items"):
        UnseenItems(np.array([1, 1, 2]), np.array([0, 1, 3]), np.array([1, 2]), 1, ["a", "b"])
