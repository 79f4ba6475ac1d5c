"""What a model calls the users of a dataset in its prompts."""

from logging import getLogger
from pathlib import Path

from recbole_genrec.catalogue.schemes import Sequences
from recbole_genrec.catalogue.user_index import (
    METADATA,
    NONE,
    NUMBER,
    RANDOM,
    UserIndex,
    cluster_codes,
    code_name,
    numbered,
    random_codes,
)
from recbole_genrec.checkpoint.context_files import read_user_index
from recbole_genrec.checkpoint.folder import BUILT_FOR
from recbole_genrec.distributed.world import current
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.user_table import KINDS, read_users
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.prompt.user_words import UserWords


def words_of_users(template, file, user_field):
    """What makes words of the columns of a ``.user`` file (key ``user_text``), and the file's cells.

    Args:
        template: the setting.
        file: :class:`~recbole_genrec.files.atomic_file.AtomicFile`.
        user_field: name of its column of user ids.

    Returns:
        :class:`~recbole_genrec.prompt.user_words.UserWords`, :class:`~recbole_genrec.files.user_table.UserTable`.

    Raises:
        GenRecError: the file or a column is missing or malformed.
    """
    asking = "'user_indexing: metadata'"
    kinds = file.columns() if file.path.is_file() else {}
    names = [name for name, kind in kinds.items() if name != user_field and kind in KINDS]
    if user_field not in kinds:
        read_users(file, user_field, (), asking)  # says what is wrong with the file, and not with the setting
    words = UserWords(template, names, file.path)
    return words, read_users(file, user_field, words.columns, asking)


class PromptUsers:
    """Mixin of :class:`~recbole_genrec.model.abstract_recommender.GenerativeRecommender`: the names of users.

    Attributes:
        user_settings: :class:`~recbole_genrec.config.arguments.UserArguments`; those of a model that reads none say
            ``none``.
        user_index: :class:`~recbole_genrec.catalogue.user_index.UserIndex`.
        users_in_order: raw user tokens by RecBole's number, without padding.
    """

    #: whether prompts have a place for users, so that the model reads ``user_indexing``.
    names_users = False

    def _index_users(self, config, dataset):
        """Choose what users are called, by the settings or by the checkpoint that the model is built for."""
        if not self.names_users:
            return
        settings = self.user_settings
        self.users_in_order = dataset.field2id_token[dataset.uid_field][1:].tolist()
        scheme, folder = settings.user_indexing, config[BUILT_FOR]
        if scheme == NONE:
            return
        if scheme == METADATA:
            self.user_index = self._in_words(dataset)
        elif folder and (stored := read_user_index(Path(folder))) is not None:
            self.user_index = stored
        elif scheme == NUMBER:
            self.user_index = numbered(self.users_in_order)
        else:
            self.user_index = current().from_first(lambda: self._coded(config, dataset))

    def _in_words(self, dataset):
        file = AtomicFile.of(Path(dataset.dataset_path) / f"{dataset.dataset_name}.user", dataset.config)
        users = map(str, self.users_in_order)
        words, table = words_of_users(self.user_settings.user_text, file, dataset.uid_field)
        written = {user: words({name: table.texts[name].get(user) for name in words.columns}) for user in users}
        return UserIndex({user: (text,) for user, text in written.items() if text}, columns=words.columns)

    def _coded(self, config, dataset):
        """Names in codes; they are made of training interactions alone."""
        settings, (users, items, offsets) = self.user_settings, train_sequences(dataset)
        tokens = dataset.field2id_token[dataset.uid_field][users].tolist()
        if settings.user_indexing == RANDOM:
            return random_codes(tokens, settings.user_levels, config["seed"])
        item_tokens = dataset.field2id_token[dataset.iid_field][1:].tolist()
        sequences = Sequences(tokens, items - 1, offsets)
        shape = settings.user_cluster_branches, settings.user_cluster_leaf_size
        index, facts = cluster_codes(item_tokens, sequences, *shape, config["seed"])
        getLogger().info("Clusters of users: " + ", ".join(f"{name}: {value}" for name, value in facts.items()))
        return index

    def _tokens_beside_codes(self):
        """Names of tokens that are added beside the codes of items: those of users."""
        return [code_name(code) for code in self.user_index.codes]

    def _numbered_users(self):
        """The raw users by their number in a table of tokens, from 1 on."""
        return self.users_in_order
