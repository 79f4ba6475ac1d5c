"""Yes-or-no prompts: what a user liked and disliked, a candidate, and the two answers, in one versioned YAML file.

Reference: Keqin Bao et al. "TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation", RecSys 2023, arXiv 2305.00447.
"""

from dataclasses import asdict, dataclass, replace

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.prompt.pieces import parse_pieces
from recbole_genrec.prompt.prompt_file import PromptKind, of_fields
from recbole_genrec.prompt.wordings import checked_wordings

KIND = PromptKind("yes_no", "yes-or-no prompt", "file of a yes-or-no prompt")
#: the fields of a prompt's text. The candidate comes last, so that candidates share all that stands before.
FIELDS = ("liked", "disliked", "candidate")


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
    #: other wordings of ``text`` that are held out of training, to test what it has not seen.
    held_out: tuple = ()

    def __post_init__(self):
        where = f"yes-or-no prompt {shown(self.name)}"
        if isinstance(self.version, bool) or not isinstance(self.version, int):
            raise GenRecError(f"{where}: 'version' must be a whole number, not {shown(self.version)}.")
        for key in ("text", "item", "between", "nothing", "yes_answer", "no_answer"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value:
                raise GenRecError(f"{where}: {key!r} must be text that is not empty, not {shown(value)}.")
        object.__setattr__(self, "held_out", checked_wordings(self.held_out, where))
        for text in self.held_out:
            self.worded(text)  # refuses a text that is none
        asked = [piece.field for piece in self.pieces() if piece.field]
        if sorted(asked) != sorted(FIELDS) or asked[-1] != "candidate":
            raise GenRecError(
                f"{where}: 'text' must have the fields {{liked}} and {{disliked}}, each once, and {{candidate}} after "
                "both."
            )
        if self.pieces()[0].field:
            raise GenRecError(f"{where}: 'text' must begin with text, not with a field.")
        of_item = parse_pieces(self.item, ("title",), f"{where}, 'item'")
        if [piece.field for piece in of_item if piece.field] != ["title"]:
            raise GenRecError(f"{where}: 'item' must have the field {{title}} once.")
        if not self.ending:
            raise GenRecError(
                f"{where}: 'text' must not end with the candidate's title, but with what asks for an answer."
            )

    def pieces(self):
        """The text as a list of :class:`~recbole_genrec.prompt.pieces.Piece`, in order."""
        return parse_pieces(self.text, FIELDS, f"yes-or-no prompt {shown(self.name)}, 'text'")

    def worded(self, text):
        """The prompt in other words, such as one of ``held_out``."""
        return replace(self, text=text, held_out=())

    def as_dict(self):
        """The fields by name, as :func:`yes_no_of` reads them; ``held_out`` where there are any."""
        return {key: value for key, value in asdict(self).items() if value or key != "held_out"}

    @property
    def around_title(self):
        """The text of an item before its title and after it."""
        texts, after = ["", ""], 0
        for piece in parse_pieces(self.item, ("title",), ""):
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


def load_yes_no(name_or_path):
    """Load a yes-or-no prompt by the name of a shipped one or by the path of a YAML file.

    Raises:
        GenRecError: no such prompt, or the file is malformed; the message names the file and the key.
    """
    return yes_no_of(*KIND.read_named(name_or_path))


def yes_no_of(content, where):
    """The prompt of named fields, as :meth:`YesNoPrompt.as_dict` gives them.

    Args:
        content: a dict.
        where: names it in errors.

    Raises:
        GenRecError: a key is unknown or missing, or its value is not accepted.
    """
    return of_fields(YesNoPrompt, content, where)
