"""A user in words, made of columns of the ``.user`` file, such as "a 24 year old technician"."""

from recbole_genrec.catalogue.item_text import TextOfColumns
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
