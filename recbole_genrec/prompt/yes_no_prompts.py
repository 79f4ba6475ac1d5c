"""Yes-or-no prompts: what a user liked and disliked, a candidate, and the two answers, in one versioned YAML file.

Reference: Keqin Bao et al. "TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation", RecSys 2023, arXiv 2305.00447.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.files.strict_yaml import read_yaml_file

#: the fields of a prompt's text. The candidate comes last, so that candidates share all that stands before.
FIELDS = ("liked", "disliked", "candidate")


class Piece(NamedTuple):
    """A part of a prompt: plain ``text``, or a ``field`` to fill in."""

    text: str
    field: str


@dataclass(frozen=True)
class YesNoPrompt:
    """The named fields of a yes-or-no prompt."""

    name: str
    version: int
    #: the prompt, with ``{liked}``, ``{disliked}`` and ``{candidate}``.
    text: str
    #: how an item is written, with ``{title}``.
    item: str
    #: stands between two items of a list.
    between: str
    #: stands for an empty list.
    nothing: str
    #: the answer for a candidate that the user likes.
    yes_answer: str
    #: the other answer.
    no_answer: str

    def __post_init__(self):
        where = f"yes-or-no prompt {shown(self.name)}"
        if isinstance(self.version, bool) or not isinstance(self.version, int):
            raise GenRecError(f"{where}: 'version' must be a whole number, not {shown(self.version)}.")
        for key in ("text", "item", "between", "nothing", "yes_answer", "no_answer"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value:
                raise GenRecError(f"{where}: {key!r} must be text that is not empty, not {shown(value)}.")
        asked = [piece.field for piece in self.pieces() if piece.field]
        if sorted(asked) != sorted(FIELDS) or asked[-1] != "candidate":
            raise GenRecError(
                f"{where}: 'text' must have the fields {{liked}} and {{disliked}}, each once, and {{candidate}} after "
                "both."
            )
        if not self.pieces()[0].text:
            raise GenRecError(f"{where}: 'text' must begin with text, not with a field.")
        if [piece.field for piece in _parse(self.item, ("title",), f"{where}, 'item'") if piece.field] != ["title"]:
            raise GenRecError(f"{where}: 'item' must have the field {{title}} once.")
        if not self.ending:
            raise GenRecError(
                f"{where}: 'text' must not end with the candidate's title, but with what asks for an answer."
            )

    def pieces(self):
        """The text as a list of :class:`Piece`, in order."""
        return _parse(self.text, FIELDS, f"yes-or-no prompt {shown(self.name)}, 'text'")

    @property
    def around_title(self):
        """The text of an item before its title and after it."""
        texts, after = ["", ""], 0
        for piece in _parse(self.item, ("title",), ""):
            after = 1 if piece.field else after
            texts[after] += piece.text
        return tuple(texts)

    @property
    def ending(self):
        """The text after the candidate's title."""
        return self.around_title[1] + "".join(piece.text for piece in self.pieces()[-1:])

    def write(self, liked, disliked, candidate):
        """The prompt as one text, for people and tokenizers to read.

        Args:
            liked, disliked: lists of titles, oldest first.
            candidate: a title.
        """
        before, after = self.around_title
        lists = {
            "liked": self.between.join(f"{before}{title}{after}" for title in liked) or self.nothing,
            "disliked": self.between.join(f"{before}{title}{after}" for title in disliked) or self.nothing,
            "candidate": f"{before}{candidate}{after}",
        }
        return "".join(lists.get(piece.field, piece.text) for piece in self.pieces())


def _parse(text, known, where):
    """The :class:`Piece` list of a text with fields."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise GenRecError(f"{where}: {error}.") from error
    pieces = []
    for literal, field, form, conversion in parsed:
        if literal or not pieces:
            pieces.append(Piece(literal, ""))
        if field is None:
            continue
        if form or conversion or field not in known:
            raise GenRecError(f"{where}: unknown field {shown(field)}. Accepted: {', '.join(known)}.")
        pieces.append(Piece("", field))
    return pieces


def load_yes_no(name_or_path):
    """Load a yes-or-no prompt by the name of a shipped one or by the path of a YAML file.

    Raises:
        GenRecError: no such prompt, or the file is malformed; the message names the file and the key.
    """
    path, folder = Path(name_or_path), properties_folder() / "yes_no"
    if path.suffix not in (".yaml", ".yml"):
        shipped = sorted(file.stem for file in folder.glob("*.yaml"))
        if name_or_path not in shipped:
            raise unknown_name("yes-or-no prompt", name_or_path, shipped)
        path = folder / f"{name_or_path}.yaml"
    elif not path.is_file():
        raise GenRecError(f"The file of a yes-or-no prompt {path} does not exist.")
    content = read_yaml_file(path, "file of a yes-or-no prompt ")
    if not isinstance(content, dict):
        raise GenRecError(f"{path} must hold 'key: value' lines.")
    if "name" in content:
        raise GenRecError(f"{path} has the key 'name': its name is that of the file.")
    return yes_no_of({"name": path.stem, **content}, str(path))


def yes_no_of(content, where):
    """The prompt of named fields, as :func:`dataclasses.asdict` gives them.

    Args:
        content: a dict.
        where: names it in errors.

    Raises:
        GenRecError: a key is unknown or missing, or its value is not accepted.
    """
    keys = [field.name for field in fields(YesNoPrompt)]
    for key in content:
        if key not in keys:
            raise unknown_name(f"key in {where}:", key, keys)
    for key in keys:
        if key not in content:
            raise GenRecError(f"{where} lacks the key {key!r}.")
    return YesNoPrompt(**content)
