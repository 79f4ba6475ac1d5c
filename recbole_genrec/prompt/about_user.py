"""Sentences that name an attribute of a user before a question, in one versioned YAML file."""

import re
from dataclasses import dataclass
from pathlib import Path

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.files.strict_yaml import read_yaml_file
from recbole_genrec.prompt.pieces import fill
from recbole_genrec.prompt.prompt_file import check_keys

#: the file that is shipped.
SHIPPED = "about_user"
#: the column whose sentence stands for those without one.
ANY = "any"
_KEYS = ("version", "sentences", "values")
_FIELDS = ("column", "value")


@dataclass(frozen=True)
class AboutUser:
    """Sentences by column.

    Attributes:
        sentences: by column, with the fields ``{column}`` and ``{value}``; ``any`` for the others.
        values: by column, the words for a value.
    """

    sentences: dict[str, str]
    values: dict[str, dict[str, str]]

    def sentence(self, column, value):
        """The sentence about a user with a value of a column."""
        words = self.values.get(column, {}).get(value, value)
        return fill(self.sentences.get(column, self.sentences[ANY]), {"column": column, "value": words})


def load_about_user(path=None):
    """Read sentences from a YAML file; None for the shipped one.

    Raises:
        GenRecError: no such file, or it is malformed; the message names the file and the key.
    """
    path = properties_folder() / "about_user" / f"{SHIPPED}.yaml" if path is None else Path(path)
    content = read_yaml_file(path, "file of sentences about users ")
    if not isinstance(content, dict) or type(content.get("version")) is not int:
        raise GenRecError(f"{path} must hold 'version: <number>' and 'sentences'.")
    check_keys(content, _KEYS, str(path))
    sentences, values = content.get("sentences"), content.get("values", {})
    if not _is_texts(sentences) or ANY not in sentences:
        raise GenRecError(f"{path}, 'sentences': give a text for each column, and for {ANY!r}.")
    if not isinstance(values, dict) or not all(map(_is_texts, values.values())):
        raise GenRecError(f"{path}, 'values': give texts by value, in quotes where YAML reads a number, by column.")
    for column, text in sentences.items():
        fields = re.findall(r"\{([^{}]*)\}", text)
        for field in fields:
            if field not in _FIELDS:
                raise GenRecError(f"{path}, {column!r}: unknown field {shown(field)}. Accepted: {', '.join(_FIELDS)}.")
        if "value" not in fields:
            raise GenRecError(f"{path}, {column!r}: the sentence must have the field {{value}}.")
    return AboutUser(sentences, values)


def _is_texts(content):
    return isinstance(content, dict) and all(isinstance(text, str) for pair in content.items() for text in pair)
