"""Questions about users and items as text: fields filled in, few-shot examples before them, candidates retrieved."""

from typing import NamedTuple

import numpy as np

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.prompt.pieces import fill
from recbole_genrec.prompt.task_prompts import TARGETS

#: items of an example's history, at most: the newest.
EXAMPLE_ITEMS = 10


class ItemExample(NamedTuple):
    """A few-shot example of what a user of the training split has chosen."""

    #: item ids, oldest first ``[L]``.
    history: np.ndarray
    target: int


class FewShot(NamedTuple):
    """The examples that stand before a question."""

    #: of items: a list of :class:`ItemExample`.
    items: list
    #: other tasks that are asked, about ratings and reviews: as many examples are drawn of each.
    tasks: tuple = ()
    #: of these draws.
    seed: int = 0


def draw_examples(dataset, count, seed):
    """The newest training item of some users, after what they had chosen before.

    Args:
        dataset: the training part of a split.
        count: how many users; they are drawn by ``seed``.
        seed: a number.

    Returns:
        A list of :class:`ItemExample`.

    Raises:
        GenRecError: too few users have two training items.
    """
    if not count:
        return []
    _, items, offsets = train_sequences(dataset)
    users = np.flatnonzero(np.diff(offsets) >= 2)
    examples = []
    for user in _draw(users, count, seed, "users with two training interactions"):
        history = items[offsets[user] : offsets[user + 1] - 1]
        examples.append(ItemExample(history[-EXAMPLE_ITEMS:], int(items[offsets[user + 1] - 1])))
    return examples


def _draw(population, count, seed, what):
    if count > len(population):
        raise GenRecError(f"'few_shot' asks for {count} examples, but there are only {len(population)} {what}.")
    return np.random.default_rng([seed, *b"few-shot"]).choice(population, count, replace=False)


class TrainingCounts:
    """How often training users chose an item, and which one after which; made of nothing but training interactions.

    Args:
        dataset: the training part of a split.

    Attributes:
        least_seen: all item ids, those with the fewest training interactions first ``[I]``.
    """

    def __init__(self, dataset):
        _, items, offsets = train_sequences(dataset)
        self._n_items = dataset.item_num
        counts = np.bincount(items, minlength=self._n_items)[1:]
        self.least_seen = np.argsort(counts, kind="stable") + 1
        self._most_seen = np.argsort(-counts, kind="stable") + 1
        follows = np.ones(max(len(items) - 1, 0), bool)
        follows[offsets[1:-1] - 1] = False  # from one user's last item to the next user's first
        pairs = items[:-1].astype(np.int64) * self._n_items + items[1:]
        self._pair, self._pair_count = np.unique(pairs[follows], return_counts=True)

    def candidates(self, history, count, left_out=()):
        """Items that most often came right after the history's last one, then the most popular.

        Args:
            history: item ids ``[L]``.
            count: how many.
            left_out: item ids that are not among them, as a set.

        Returns:
            ``[count]`` item ids, or all there are, the likeliest first; ties go to the lower id.
        """
        last = int(history[-1])
        begin, end = np.searchsorted(self._pair, [last * self._n_items, (last + 1) * self._n_items])
        following = self._pair[begin:end] % self._n_items
        following = following[np.argsort(-self._pair_count[begin:end], kind="stable")]
        enough = count + len(left_out)
        chosen = dict.fromkeys([*following[:enough].tolist(), *self._most_seen[: 2 * enough].tolist()])
        return np.array([item for item in chosen if item not in left_out][:count], np.int64)


class QuestionWriter:
    """Writes questions as text.

    Args:
        prompts: :class:`~recbole_genrec.prompt.question_prompts.QuestionPrompts`.
        texts: unique texts by item id, ``""`` for padding.
        k: items that are asked for.
        few_shot: :class:`FewShot`.
        data: :class:`~recbole_genrec.batches.tasks.TaskData`, for tasks about ratings and reviews; else ``None``.

    Attributes:
        ratings: the ratings of training, as texts in ascending order.
        preface: a text right before every question, behind the examples.
    """

    preface = ""

    def __init__(self, prompts, texts, k, few_shot, data=None):
        self.prompts, self.texts, self.k, self.data = prompts, texts, k, data
        ratings = data.texts["rating"][data.seen] if data and "rating" in data.texts else ()
        self.ratings = sorted({text for text in ratings if text}, key=float)
        self._shown = {task: self._item_examples(task, few_shot.items) for task in ("sequential", "choice", "direct")}
        for task in few_shot.tasks:
            if task not in self._shown:
                places = _draw(
                    data.places(task), len(few_shot.items), few_shot.seed, f"training interactions for {task!r}"
                )
                self._shown[task] = [self._example(task, place) for place in places]

    def _item_examples(self, task, examples):
        example = self.prompts.tasks[task].example
        return [
            fill(example, {"history": self._lines(history), "target": self.texts[target]})
            for history, target in examples
        ]

    def _example(self, task, place):
        target = self.data.texts[TARGETS[task]][place]
        return fill(self.prompts.tasks[task].example, {**self.about_interaction(task, place), "target": target})

    def _lines(self, items):
        return "\n".join(f"- {self.texts[item]}" for item in items)

    def about_items(self, history, candidates=(), dropped=0):
        """Fields of a question for items.

        Args:
            history: item ids ``[L]``.
            candidates: item ids ``[C]``.
            dropped: items at the beginning of the history that it goes without.
        """
        k = min(self.k, len(candidates)) if len(candidates) else self.k
        return {"history": self._lines(history[dropped:]), "candidates": self._lines(candidates), "k": k}

    def about_interaction(self, task, place, dropped=0):
        """Fields of a question about one interaction.

        Args:
            task: ``rating``, ``explanation`` or ``review``.
            place: of the interaction in the store of ``data``.
            dropped: the oldest items that the history goes without.
        """
        data = self.data
        begin = max(int(data.store.begin(data.store.users[place])), place - data.longest)
        places = range(min(begin + dropped, place), place)
        lines = [f"- {self.texts[data.items[earlier]]}" for earlier in places]
        if task == "rating":
            rated = zip(lines, (data.texts["rating"][earlier] for earlier in places))
            lines = [f"{line}: {rating}" for line, rating in rated if rating]
        return {
            "history": "\n".join(lines),
            "item": self.texts[data.items[place]],
            "review": data.texts["review"][place] if "review" in data.texts else "",
            "scale": f"from {self.ratings[0]} to {self.ratings[-1]}" if self.ratings else "",
        }

    def _text(self, task, fields, ending):
        shown = self._shown.get(task)
        parts = [self.prompts.examples, *shown] if shown else []
        question = fill(self.prompts.tasks[task].question, fields)
        return "\n\n".join([*filter(None, parts), f"{self.preface}{question}\n{ending}"])

    def messages(self, task, fields):
        """A question as the messages of a chat."""
        text = self._text(task, fields, fill(self.prompts.tasks[task].answer, fields))
        system = [{"role": "system", "content": self.prompts.system}] if self.prompts.system else []
        return [*system, {"role": "user", "content": text}]

    def prompt(self, task, fields):
        """A question as a text that a language model continues with its answer."""
        return self._text(task, fields, self.prompts.tasks[task].cue)
