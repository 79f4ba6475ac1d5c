"""Batches of an epoch of P5's task prompts: examples drawn from interactions."""

import numpy as np

from recbole_genrec.batches.epoch_loader import EpochLoader
from recbole_genrec.batches.tasks import PromptName
from recbole_genrec.interactions.segments import ragged


class TaskLoader(EpochLoader):
    """Batches of an epoch: examples of all families, drawn anew.

    Args:
        writer: :class:`~recbole_genrec.batches.tasks.TaskWriter`.
        data: :class:`~recbole_genrec.batches.tasks.TaskData`.
        dataset: the training dataset, for RecBole's collectors.
        examples_per_user: by family, the examples that each user gives to an epoch; of a fraction, as many on average.
        settings: :class:`~recbole_genrec.batches.epoch_loader.EpochSettings`; a batch is ``batch_size`` examples.
        alternates: whether a batch is of one family, and the families take turns.
    """

    def __init__(self, writer, data, dataset, examples_per_user, settings, alternates=False):
        self.writer, self.data, self.examples_per_user = writer, data, examples_per_user
        self.alternates = alternates
        super().__init__(dataset, settings)

    def _plan_rows(self, generator):
        """Prompt and place of every example, those of like length together."""
        wished = self.examples_per_user.items()
        drawn = [example for family, count in wished for example in self._examples(family, count, generator)]
        length = np.array([self._length(prompt.family, place) for prompt, place in drawn])
        order = np.argsort(length * (1 + 0.1 * generator.random(len(length))), kind="stable")
        if not self.alternates:
            return drawn, self._batches(order, generator)
        family = np.array([prompt.family for prompt, _ in drawn])
        parts = [self._batches(order[family[order] == name], generator) for name in self.examples_per_user]
        return drawn, in_turn(parts)

    def _batches(self, rows, generator):
        """Cut rows into batches, which come in random order."""
        size = self.settings.batch_size
        return [rows[start : start + size] for start in generator.permutation(np.arange(0, len(rows), size))]

    def _examples(self, family, count, generator):
        """Prompt and place of the examples that users give to a family, ``count`` each."""
        places = self.data.places(family)
        users = self.data.store.users[places]
        first = np.flatnonzero(np.append(True, users[1:] != users[:-1])[: len(users)])
        available = np.diff(np.append(first, len(users)))
        drawn = np.floor(count + generator.random(len(first))).astype(np.int64)
        owner, _ = ragged(drawn)
        chosen = first[owner] + np.floor(generator.random(len(owner)) * available[owner]).astype(np.int64)
        number = generator.choice(self.writer.prompts.trained(family), len(owner))
        return [(PromptName(family, n), i) for n, i in zip(number.tolist(), places[chosen].tolist())]

    def _length(self, family, place):
        if family == "review_generation":  # apart from the others, as its targets are the longest
            return self.data.longest + len(self.data.texts["review"][place].split())
        if family != "sequential":
            return -1 if family == "item_summary" else 0
        return min(place - int(self.data.store.begin(self.data.store.users[place])), self.data.longest)

    def _draw(self, plan, batch):
        """The examples of a batch."""
        chosen, has = (plan.rows[row] for row in batch), self.writer.prompts.has
        return [
            self.data.example(*prompt, place, plan.generator, has(*prompt, "candidates")) for prompt, place in chosen
        ]

    def _write(self, plan, batch, drawn):
        return self.writer.write(drawn)


def in_turn(parts):
    """Several lists as one in which they take turns; a longer one takes some between, evenly spread."""
    placed = [((number + 0.5) / len(part), value) for part in parts for number, value in enumerate(part)]
    return [value for _, value in sorted(placed, key=lambda pair: pair[0])]
