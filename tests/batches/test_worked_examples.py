"""The tables in the headers of the modules that lay tokens out are what the code gives."""

import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from recbole_genrec.batches import packing, sequences
from recbole_genrec.batches.layout import lay_trunk
from recbole_genrec.batches.packing import Packer
from recbole_genrec.batches.sequences import MaskedSequences, SequenceWriter, text_form
from recbole_genrec.batches.tokens import Around, PromptTokens
from recbole_genrec.decoding.trie import build_trie

IDENTIFIERS = [(5,), (6, 7), (6, 8)]


def rows(module, first, last):
    """Numbers of the header's rows between two, by name; columns that are drawn empty are left out."""
    lines = module.__doc__.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:1] == [first])
    stop = next(n for n, line in enumerate(lines[start:], start) if line.split()[:1] == [last])
    return lines[start : stop + 1]


def numbers(text):
    return [int(number) for number in re.sub(r"\(.*?\)", "", text).split()]


def header(module, first, last, column=0, width=None):
    """The header's table from a row to another as ``{name: numbers}``, of a part of its columns."""
    parts = [line[column : None if width is None else column + width] for line in rows(module, first, last)]
    return {part.split()[0]: numbers(part.strip().partition(" ")[2]) for part in parts if part.strip()}


def flat(tensor):
    return tensor.flatten().tolist()


def test_packing():
    tokens = PromptTokens(
        prefixes=(np.array([1]),),
        item_token=np.array([3, 5, 3, 6, 7, 3, 6, 8]),
        item_offset=np.array([0, 0, 2, 5, 8]),
        around=Around(np.array([3]), np.zeros(0, int)),
        response=np.array([4]),
        end=2,
    )
    packer = Packer(tokens, build_trie(IDENTIFIERS, 2), "trie", max_prompt_tokens=100, pad_id=0)
    items = np.array([2, 1, 3])
    windows = packer.plan(items, np.array([0, 3]), 2, np.random.default_rng(0))
    assert [windows.first.tolist(), windows.target.tolist(), windows.stop.tolist()] == [[0], [1], [3]]
    batch, drawn = packer.pack(items, windows), header(packing, "column", "labels")
    assert drawn["column"] == list(range(batch.input_ids.shape[1]))
    assert drawn["token"] == flat(batch.input_ids)
    attention = batch.attention
    for name in ("position_ids", "branch", "limit"):
        assert drawn[name] == flat(getattr(attention, name))
    assert drawn["items"] == batch.items.item.tolist() and batch.items.cell.tolist() == [2, 4]
    assert drawn["labels"] == batch.labels.label.tolist() and batch.labels.cell.tolist() == [5, 6, 7]

    trunk = lay_trunk(packer.tokens, items, (windows.first, windows.stop), np.array([0]))
    row, item, start = (array[1:] for array in (trunk.items.row, trunk.items.item, trunk.items.start))
    branches = packer._branches(
        trunk.items.start[-1:], row, item, row == row
    )  # behind what the last target sees of the trunk
    targets = [numbers(line) for line in rows(packing, "targets", "3")[1:]]
    assert targets == np.stack([item, start, branches.base], 1).tolist()
    (columns, *_), lines = rows(packing, "item", "item"), rows(packing, "item", "3")[1:]
    begin, end = columns.index("edges"), columns.index("trie")
    for line, (start, stop) in zip(lines, pairwise(packer.label_offset[1:]), strict=True):
        pairs = zip(packer.label[start:stop], packer.label_depth[start:stop])
        assert line[begin:end].strip() == ", ".join(f"{edge} ({depth})" for edge, depth in pairs)


def test_sequences():
    backbone = SimpleNamespace(bos_id=1, eos_id=2, pad_id=0, mask_id=3, start_id=9)
    backbone.encode_many = lambda texts, context: [[20, 20 + int(text.split()[1])] for text in texts]
    writer = SequenceWriter(backbone, build_trie(IDENTIFIERS, 2), "trie", 100, text_form(backbone, n_users=5))
    chosen = MaskedSequences(np.array([4]), np.array([3]), np.array([2, 1, 3]), np.array([False, True, True]))
    batch = writer.write(chosen)
    prompts, column = batch.prompts, rows(sequences, "cell", "cell")[0].index("cell", 10)
    drawn, decoder = header(sequences, "cell", "first", width=column), header(sequences, "cell", "first", column)
    assert drawn["cell"] == list(range(prompts.input_ids.shape[1])) and drawn["input_ids"] == flat(prompts.input_ids)
    assert drawn["user_cell"] == prompts.user.tolist() and prompts.user_cell.tolist() == [1, 2]
    assert drawn["item_cell"] == prompts.item[prompts.item_owner].tolist() and prompts.item_cell.tolist() == [3, 4]
    assert drawn["mask_cell"] == [1, 3] and prompts.mask_cell.tolist() == [5, 6]
    assert drawn["first"] == [2, 1, 3]
    assert decoder["cell"] == list(range(batch.answer_ids.shape[1]))
    for name in ("answer_ids", "position_ids", "branch"):
        assert decoder[name] == flat(getattr(batch, name))
    assert decoder["start_cell"] == [1, 3] and batch.start_cell.tolist() == [0, 1]
    assert decoder["labels"] == batch.labels.label.tolist() and batch.labels.cell.tolist() == [0, 1, 2]
