"""The histories of the users of the dataset that a checkpoint was trained on, as the run had them, with their context.

Letters: N interactions.
"""

from collections import defaultdict
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_genrec.config.arguments import ContextArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.user_table import read_users
from recbole_genrec.serve.history_reader import ItemId, UserHistory

#: settings that leave out interactions.
FILTERS = """
sample_users val_interval user_inter_num_interval item_inter_num_interval rm_dup_inter filter_inter_by_user_or_item
""".split()


def columns_of(settings, template=None):
    """Columns of interactions that a model reads beside items, and the setting that asks for each.

    Args:
        settings: the configuration of a checkpoint.
        template: of its prompts, which may tell times and values; ``None``: it tells none.
    """
    context = ContextArguments.from_config(settings)
    columns = {} if template is None else dict.fromkeys(template.value_columns, "prompt")
    columns |= dict.fromkeys(context.columns, "context")
    if context.kinds or (template is not None and template.tells_gap):
        columns[_exact_time()] = "context" if context.kinds else "prompt"
    return columns


def _exact_time():
    from recbole_genrec.interactions.context_columns import EXACT_TIME  # which imports RecBole

    return EXACT_TIME


class UserHistories:
    """The interactions of all users that pass the run's filters, in the run's order; the files are read once.

    Args:
        settings: the configuration of a checkpoint.
        data_path: the folder that holds the dataset's folder; by default where it was in training.
        columns: from :func:`columns_of`, or of the same form.
        made: columns that RecBole makes of others, such as labels, which the entries carry, too.
        in_words: columns of the ``.user`` file that prompts tell in words.

    Raises:
        GenRecError: a file or column is missing, or a file is malformed.
    """

    def __init__(self, settings, data_path=None, columns=None, made=(), in_words=()):
        from recbole_genrec.interactions.dataset import exact_dataset_class
        from recbole_genrec.interactions.dataset_files import build_dataset, check_header
        from recbole_genrec.interactions.presplit import interaction_files

        # only interactions matter here: items without any need not be read
        settings = defaultdict(lambda: None, {**settings, "keep_unseen_items": False})
        if data_path is not None:
            settings["data_path"] = str(Path(data_path) / settings["dataset"])
        for path in interaction_files(settings):
            if not path.is_file():
                raise GenRecError(
                    f"--user: there is no file {path}. --data_path names the folder that holds the dataset's."
                )
            check_header(path, settings)
        self.settings, self.path, self.columns = settings, path, columns or {}
        self.made, self.in_words = tuple(made), tuple(in_words)
        self.dataset = build_dataset(exact_dataset_class(), settings, context_columns=self.columns)
        feat = self.dataset.inter_feat
        users = feat[self.dataset.uid_field].to_numpy()
        self._order = np.argsort(users, kind="stable")  # rows of each user, which stay in the exact order of time [N]
        self._users, self._items = (feat[name].to_numpy()[self._order] for name in self._fields())
        names = [name for name in (*self.columns, *self.made) if name != _exact_time()]
        self._values = {name: feat[name].to_numpy(float)[self._order] for name in names}
        self._times = None
        if _exact_time() in self.columns:  # the file may begin elsewhere than in training: times go by their own origin
            self._times = feat[_exact_time()].to_numpy()[self._order] + self.dataset.clock.first

    def _fields(self):
        return self.dataset.uid_field, self.dataset.iid_field

    @cached_property
    def tokens(self):
        """Raw ids of the users with interactions, in the order in which the files have them first."""
        tokens = self.dataset.field2id_token[self.dataset.uid_field]
        return tokens[np.unique(self._users)].tolist()

    def of(self, user):
        """The history of a user.

        Args:
            user: raw user id.

        Returns:
            :class:`~recbole_genrec.serve.history_reader.UserHistory` of
            :class:`~recbole_genrec.serve.history_reader.ItemId`, with the times, values and columns of users that the
            model reads, the oldest first, ties in file order, files that are split beforehand one after the other. The
            items need not be in the checkpoint's catalogue.

        Raises:
            GenRecError: there is no such user.
        """
        dataset = self.dataset
        number = dataset.field2token_id[dataset.uid_field].get(str(user), -1)
        begin, end = np.searchsorted(self._users, [number, number + 1])
        if number < 0 or begin == end:
            raise self._no_user(user)
        items = self._items[begin:end].tolist()
        if dataset.has_lists():
            row = dataset.inter_feat.iloc[self._order[end - 1]]
            items = [*row[dataset.iid_field + self.settings["LIST_SUFFIX"]], items[-1]]
        own = {column: texts[str(user)] for column, texts in self._user_texts.items() if str(user) in texts}
        return UserHistory(self._entries(items, slice(begin, end)), own, str(user))

    def _entries(self, items, place):
        """Entries of items, whose interactions stand at a place of the users' order."""
        if self._times is None and not self._values:
            return [self._bare[item] for item in items]
        tokens = self.dataset.field2id_token[self.dataset.iid_field][items].tolist()
        times = [None] * len(items) if self._times is None else self._times[place].tolist()
        rows = zip(*(values[place].tolist() for values in self._values.values())) if self._values else [()] * len(items)
        return [
            ItemId(token, time=time, values=dict(zip(self._values, row)))
            for token, time, row in zip(tokens, times, rows)
        ]

    @cached_property
    def _bare(self):
        """Every item as an entry that carries nothing else: histories share them."""
        return list(map(ItemId, self.dataset.field2id_token[self.dataset.iid_field].tolist()))

    def _no_user(self, user):
        given = [f"{key}: {self.settings[key]}" for key in FILTERS if self.settings[key]]
        filters = f" that the run's filters leave ({', '.join(given)})" if given else ""
        return GenRecError(f"--user: {self.path} has no interactions of the user {str(user)!r}{filters}.")

    @cached_property
    def _user_texts(self):
        """Texts by raw user id of the columns of users that the model reads, of the ``.user`` file, by column."""
        settings = self.settings
        columns = dict.fromkeys([*ContextArguments.from_config(settings).user_columns, *self.in_words])
        if not columns:
            return {}
        file = AtomicFile.of(Path(settings["data_path"]) / f"{settings['dataset']}.user", settings)
        return read_users(file, settings["USER_ID_FIELD"], columns).texts


def read_user_history(settings, user, data_path=None, template=None, in_words=()):
    """A user's interactions; see :class:`UserHistories` and its method ``of`` for arguments, result and errors.

    Args:
        settings: the configuration of a checkpoint.
        user: raw user id.
        data_path: the folder that holds the dataset's folder; by default where it was in training.
        template: of its prompts, which may tell times and values; ``None``: it tells none.
        in_words: columns of the ``.user`` file that prompts tell in words.
    """
    return UserHistories(settings, data_path, columns_of(settings, template), in_words=in_words).of(user)
