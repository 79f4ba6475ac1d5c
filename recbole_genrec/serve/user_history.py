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
val_interval user_inter_num_interval item_inter_num_interval rm_dup_inter filter_inter_by_user_or_item
""".split()


def columns_of(settings, template=None):
    """Columns of interactions that a model reads beside items, and the setting that asks for each.

    Args:
        settings: the configuration of a checkpoint.
        template: of its prompts, which may tell times and values; ``None``: it tells none.
    """
    from recbole_genrec.interactions.context_columns import EXACT_TIME

    context = ContextArguments.from_config(settings)
    columns = {} if template is None else dict.fromkeys(template.value_columns, "prompt")
    columns |= dict.fromkeys(context.columns, "context")
    if context.kinds or (template is not None and template.tells_gap):
        columns[EXACT_TIME] = "context" if context.kinds else "prompt"
    return columns


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
        users = self.dataset.inter_feat[self.dataset.uid_field].to_numpy()
        self._order = np.argsort(users, kind="stable")  # rows of each user, which stay in the exact order of time [N]
        self._users = users[self._order]

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
        rows = dataset.inter_feat.iloc[self._order[begin:end]]
        items = rows[dataset.iid_field].tolist()
        if dataset.has_lists():
            items = [*rows[dataset.iid_field + self.settings["LIST_SUFFIX"]].iloc[-1], items[-1]]
        tokens = dataset.field2id_token[dataset.iid_field][items].tolist()
        own = {column: texts[str(user)] for column, texts in self._user_texts.items() if str(user) in texts}
        return UserHistory(self._entries(rows, tokens), own, str(user))

    def _entries(self, rows, tokens):
        from recbole_genrec.interactions.context_columns import EXACT_TIME

        names = [name for name in (*self.columns, *self.made) if name != EXACT_TIME]
        if not self.columns and not names:
            return list(map(ItemId, tokens))
        # the file may begin elsewhere than in training: times go by their own origin
        reads_times = EXACT_TIME in self.columns
        times = (rows[EXACT_TIME] + self.dataset.clock.first).tolist() if reads_times else [None] * len(tokens)
        # a table without columns gives no records at all
        values = rows[names].astype(float).to_dict("records") if names else [{}] * len(tokens)
        return [ItemId(token, time=time, values=own) for token, time, own in zip(tokens, times, values)]

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
