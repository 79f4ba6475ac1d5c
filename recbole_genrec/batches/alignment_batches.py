"""Batches that align a language model with identifiers, and how they are mixed with those of histories.

Letters: B examples, T tokens, I items, D decisions (or tokens) of items, Y tokens of titles.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from recbole_genrec.batches.epoch_loader import EpochLoader, batches_of_like_length
from recbole_genrec.batches.layout import ItemCells, Labels, moved
from recbole_genrec.batches.tasks import BETWEEN_ITEMS, TaskWriter, TokenLimits
from recbole_genrec.errors import GenRecError

#: tasks about an item of a history, and tasks that generate a title.
OF_HISTORIES = ("history_to_title", "titles_to_item")
TO_TITLES = ("item_to_title", "history_to_title")


class AlignmentExample(NamedTuple):
    """One prompt to be written: its task and number there, the item that it is about, and the items before that."""

    task: str
    number: int
    item: int
    history: np.ndarray


@dataclass
class AlignmentBatch:
    """Prompts with their answers, right-padded; a cell is an index into the flattened ``[B * T]`` states.

    Attributes:
        input_ids: ``[B, T]``.
        items: :class:`~recbole_genrec.batches.layout.ItemCells` of the identifiers in prompts.
        labels: of the answers that are items ``[D]``. text_labels: of those that are titles, tokens ``[Y]``.
        n_tokens: tokens without padding.
        n_decisions: terms that the mean loss is taken over, D + Y.
    """

    input_ids: torch.Tensor
    items: ItemCells
    labels: Labels
    text_labels: Labels
    n_tokens: int
    n_decisions: int

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)


class AlignmentTexts(NamedTuple):
    """Texts of items by item id, ``""`` for padding and where there is none: their titles, and their columns."""

    titles: list
    columns: list


class AlignmentWriter:
    """Writes examples as tokens.

    A history loses its oldest items, and a description its end, where a prompt would be too long with its answer.

    Args:
        prompts: :class:`~recbole_genrec.prompt.alignment_prompts.AlignmentPrompts`.
        backbone: gives ``encode_many``, ``bos_id`` and ``pad_id``.
        trie: the catalogue, on the CPU.
        texts: :class:`AlignmentTexts`.
        engine: ``normalization``, and the most tokens of a prompt with its answer.

    Raises:
        GenRecError: an answer leaves no room for its prompt.
    """

    def __init__(self, prompts, backbone, trie, texts, engine):
        normalization, self.longest = engine
        self.prompts, self.backbone = prompts, backbone
        self.of_items = TaskWriter(None, backbone, trie, [], normalization, TokenLimits(self.longest, self.longest))
        self.end = int(trie.token[-1])
        self.titles, self.columns = ([self._spaced(each) for each in column] for column in texts)
        longest = 2 * max([len(tokens) for tokens in [*self.titles, *self.of_items.identifier]]) + 1
        fixed = max(len(self.encode(p.text)) for each in prompts.tasks.values() for prompt in each for p in prompt)
        if longest + 2 * fixed > self.longest:
            raise GenRecError(
                f"'max_prompt_tokens' ({self.longest}) is too small for 'alignment_tasks': a prompt with the longest "
                f"title or identifier, and its answer, take {longest + 2 * fixed} tokens."
            )

    def encode(self, text):
        """Tokens of a text in the midst of a prompt."""
        return self.of_items.encode(text)

    def _spaced(self, text):
        return self.encode(f" {text}") if text else np.zeros(0, np.int64)

    def answer(self, example):
        """What the model is fed of the answer, the tokens before each label, and the labels."""
        if example.task not in TO_TITLES:
            return self.of_items.item_target(example.item)
        tokens = np.append(self.titles[example.item], self.end)
        return tokens[:-1], np.arange(len(tokens)), tokens

    def prompt(self, example, room):
        """Tokens of a prompt, at most ``room``, and where items end in it: pairs of a place and an item."""
        start = [] if self.backbone.bos_id is None else [self.backbone.bos_id]
        parts, place = [np.array(start, np.int64)], None
        for piece in self.prompts.tasks[example.task][example.number]:
            place = len(parts) if piece.field else place
            parts.append(np.zeros(0, np.int64) if piece.field else self.encode(piece.text))
        field, marks = self._field(example, room - sum(map(len, parts)))
        begin = sum(map(len, parts[:place]))
        parts[place] = field
        return np.concatenate(parts), [(begin + end - 1, item) for end, item in marks]

    def _field(self, example, room):
        """Tokens of the field, at most ``room``, and where items end in it."""
        if example.task == "title_to_item":
            return self.titles[example.item][:room], []
        if example.task == "columns_to_item":
            return self.columns[example.item][:room], []
        tokens = self.of_items.identifier if example.task != "titles_to_item" else self.titles
        several = [example.item] if example.task == "item_to_title" else example.history.tolist()
        between = self.encode(BETWEEN_ITEMS)
        written = [
            (np.append(tokens[item], between) if place else tokens[item]) for place, item in enumerate(several[::-1])
        ]
        ends = np.cumsum([0, *map(len, written)])
        count = int((ends[1:] <= room).sum())  # the newest that fit, the oldest of them first
        kept, marks = [], []
        for part, item in zip(written[:count][::-1], several[len(several) - count :]):
            kept.append(part)
            marks.append((sum(map(len, kept)) - (0 if len(kept) == count else len(between)), item))
        flat = np.concatenate([np.zeros(0, np.int64), *kept])
        return flat, marks if tokens is self.of_items.identifier else []

    def write(self, examples):
        """Some examples as an :class:`AlignmentBatch`."""
        rows, cells, labels, marks = [], {True: [], False: []}, {True: [], False: []}, []
        answers = [self.answer(example) for example in examples]
        prompts = [self.prompt(e, self.longest - len(fed)) for e, (fed, _, _) in zip(examples, answers)]
        width = max(len(tokens) + len(answer[0]) for (tokens, _), answer in zip(prompts, answers))
        table = np.full((len(examples), width), self.backbone.pad_id, np.int64)
        for row, (example, (tokens, ends), (fed, depth, label)) in enumerate(zip(examples, prompts, answers)):
            rows.append(len(tokens) + len(fed))
            table[row, : rows[-1]] = np.concatenate([tokens, fed])
            is_title = example.task in TO_TITLES
            cells[is_title].append(row * width + len(tokens) - 1 + depth)
            labels[is_title].append(label)
            marks += [(row * width + place, item) for place, item in ends]
        of_items, of_titles = (Labels(_flat(cells[kind]), _flat(labels[kind])) for kind in (False, True))
        marks = np.array(marks, np.int64).reshape(-1, 2)
        return AlignmentBatch(
            torch.from_numpy(table),
            ItemCells(torch.from_numpy(marks[:, 0].copy()), torch.from_numpy(marks[:, 1].copy())),
            of_items,
            of_titles,
            n_tokens=sum(rows),
            n_decisions=len(of_items.label) + len(of_titles.label),
        )


def _flat(parts):
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *parts]))


class AlignmentLoader(EpochLoader):
    """Batches of an epoch of alignment: of each task a share of the items, drawn anew.

    A task of histories asks about interactions of the training, whose histories are those before them; the others ask
    about any item, also one that training has not seen.

    Args:
        writer: :class:`AlignmentWriter`.
        dataset, sequences, settings: see :class:`~recbole_genrec.batches.epoch_loader.EpochLoader`.
        drawn: the tasks; ids of the items that take part ``[I]``; examples of a task as a share of these.
    """

    def __init__(self, writer, dataset, sequences, settings, drawn):
        self.writer, (self.tasks, self.known, self.share) = writer, drawn
        super().__init__(dataset, settings, sequences)
        first = np.zeros(len(self.items), bool)
        first[self.offsets[:-1][np.diff(self.offsets) > 0]] = True
        self.targets = np.flatnonzero(~first & np.isin(self.items, self.known))

    def _entropy(self):
        return [*b"alignment", *super()._entropy()]

    def _plan_rows(self, generator):
        rows = [example for task in self.tasks for example in self._examples(task, generator)]
        if not rows:
            return rows, []
        lengths = np.array([self._length(example) for example in rows])
        order = generator if self.settings.shuffle else None
        return rows, batches_of_like_length(lengths, self.settings.batch_tokens, self.settings.batch_size, order)

    def _examples(self, task, generator):
        places = self.targets if task in OF_HISTORIES else self._named(task)
        count = round(self.share * len(self.known)) if len(places) else 0
        whole, rest = divmod(count, max(len(places), 1))
        chosen = np.concatenate([np.tile(places, whole), generator.permutation(places)[:rest]]).astype(np.int64)
        number = generator.integers(len(self.writer.prompts.tasks[task]), size=len(chosen)).tolist()
        if task not in OF_HISTORIES:
            return [AlignmentExample(task, n, item, chosen[:0]) for n, item in zip(number, chosen.tolist())]
        begin = self.offsets[np.searchsorted(self.offsets, chosen, side="right") - 1]
        parts = zip(number, begin.tolist(), chosen.tolist())
        rows = [AlignmentExample(task, n, int(self.items[at]), self.items[first:at]) for n, first, at in parts]
        return [row for row in rows if task not in TO_TITLES or len(self.writer.titles[row.item])]

    def _named(self, task):
        """The items that have what a task asks about."""
        texts = self.writer.columns if task == "columns_to_item" else self.writer.titles
        return self.known[[len(texts[item]) > 0 for item in self.known.tolist()]]

    def _length(self, example):
        fed = self.writer.answer(example)[0]
        return len(self.writer.prompt(example, self.writer.longest - len(fed))[0]) + len(fed)

    def _write(self, plan, batch, drawn):
        return self.writer.write([plan.rows[row] for row in batch])


class MixedLoader:
    """The batches of two loaders in one epoch, in random order; in the stage ``pretrain`` those of the first alone.

    Args:
        first, second: :class:`~recbole_genrec.batches.epoch_loader.EpochLoader`; what each gives stays as it is.
    """

    def __init__(self, first, second):
        self.loaders, self.dataset, self._mixes = (first, second), first.dataset, True

    def __getattr__(self, name):
        return getattr(self.__dict__["loaders"][0], name)

    @property
    def own_rows(self):
        """See the loaders."""
        return self.loaders[0].own_rows

    @own_rows.setter
    def own_rows(self, own_rows):
        for loader in self.loaders:
            loader.own_rows = own_rows

    def set_epoch(self, epoch):
        """See the loaders."""
        for loader in self.loaders:
            loader.set_epoch(epoch)

    def set_stage(self, stage, first_epoch=0):
        """See the loaders."""
        self._mixes = stage != "pretrain"
        for loader in self.loaders:
            loader.set_stage(stage, first_epoch)

    def __len__(self):
        return len(self.loaders[0]) + (len(self.loaders[1]) if self._mixes else 0)

    def __iter__(self):
        if not self._mixes:
            yield from self.loaders[0]
            return
        counts = [len(loader) for loader in self.loaders]
        order = np.random.default_rng([*b"order", *self.loaders[1]._entropy()]).permutation(np.repeat([0, 1], counts))
        batches = [iter(loader) for loader in self.loaders]
        for number in order:
            yield next(batches[number])
        for rest in batches:  # each counts its epochs where it ends
            yield from rest
