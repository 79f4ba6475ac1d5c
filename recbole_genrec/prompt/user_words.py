"""A user in words, made of columns of the ``.user`` file, such as "a 24 year old technician"."""

from recbole_genrec.catalogue.item_text import TextOfColumns
from recbole_genrec.catalogue.user_index import NONE
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.text import clean_text, one_line
from recbole_genrec.prompt.about_user import load_about_user


class UserWords:
    """Writes what is known of a user.

    A value may have other words: those of the shipped sentences about users, such as ``female`` for ``F``.

    Args:
        template: text over the columns, as ``item_text`` is; empty: the shipped sentence of each column, one after the
            other.
        columns: names of the columns that there are.
        path: of the file, for messages.

    Attributes:
        columns: those that are read.

    Raises:
        GenRecError: the template is malformed or names an unknown column, or there are no columns.
    """

    def __init__(self, template, columns, path):
        self._about, self._fill = load_about_user(), None
        if template:
            self._fill = TextOfColumns(template, columns, path, "user_text")
        self.columns = tuple(dict.fromkeys(self._fill.names if template else columns))
        if not self.columns:
            raise GenRecError(f"'user_indexing: metadata' needs columns beside the users' ids, and {path} has none.")

    def __call__(self, values):
        """The words for a user of some ``values``, texts by column; empty where nothing is known."""
        texts = {name: clean_text(str(values[name])) for name in self.columns if values.get(name) is not None}
        known = {name: text for name, text in texts.items() if text}
        if self._fill is None:
            return one_line(" ".join(self._about.sentence(name, text) for name, text in known.items()))
        return self._fill({name: self._about.values.get(name, {}).get(text, text) for name, text in known.items()})


def check_users(user_indexing, names_user, prompts):
    """Refuse prompts that name users where users have no names, and names that no prompt has a place for.

    Args:
        user_indexing: the setting.
        names_user: whether the prompts have the field ``{user}``.
        prompts: names them in errors.

    Raises:
        GenRecError: so.
    """
    if names_user and user_indexing == NONE:
        raise GenRecError(
            f"{prompts} names {{user}}, and 'user_indexing: none' gives users no names. Set 'user_indexing' to number, "
            "random, cluster or metadata, or take a prompt without {user}."
        )
    if user_indexing != NONE and not names_user:
        raise GenRecError(
            f"'user_indexing: {user_indexing}' gives users names, and {prompts} has no {{user}} to put them. Take a "
            "prompt with {user}, such as 'continuation-user', or 'user_indexing: none'."
        )
