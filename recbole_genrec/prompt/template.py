"""Prompt templates: versioned YAML files with named fields.

A prompt is laid out as::

    prefix  item item_suffix  item_prefix item item_suffix  ...  response_prefix  target end

where ``item`` and ``target`` are ``lead`` followed by an item's text. ``lead`` is written at every item alike, so that
a tokenizer cuts a title into the same tokens in the history and in the response. ``item_prefix`` and ``item_suffix``
may hold what an interaction carries beside its item; see :mod:`recbole_genrec.prompt.value_phrases`. ``prefix`` and the
instructions may hold ``{user}``, what the setting ``user_indexing`` calls the user.
"""

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.prompt.prompt_file import PromptKind, of_fields
from recbole_genrec.prompt.value_phrases import GAP, fields_of, fill_values
from recbole_genrec.prompt.wordings import checked_wordings

KIND = PromptKind("prompt", "prompt", "prompt file")
#: value of ``end`` that stands for the tokenizer's end-of-sequence token.
END_OF_SEQUENCE = "eos"
_INSTRUCTION, _USER = "{instruction}", "{user}"


class Segment(NamedTuple):
    """A piece of a prompt."""

    #: ``prefix``, ``item_prefix``, ``item``, ``item_suffix``, ``response_prefix``, ``target`` or ``end``.
    kind: str
    #: the text; for ``item`` and ``target`` without the lead, for an ``end`` of ``eos`` empty.
    text: str


@dataclass(frozen=True)
class PromptTemplate:
    """The named fields of a prompt template."""

    name: str
    version: int
    #: text after the response: ``eos`` for the tokenizer's end-of-sequence token, else literal text.
    end: str
    #: training draws one for each sample; evaluation uses the first.
    instructions: tuple = ("",)
    #: text before the history; ``{instruction}`` in it is replaced by the instruction, ``{user}`` by the user.
    prefix: str = ""
    #: text right before every item text, in the history and in the response; context of the identifier's tokens.
    lead: str = ""
    #: text before every item of the history but the first; fields in it are values of the item's interaction.
    item_prefix: str = ""
    #: text after every item of the history; fields as in ``item_prefix``.
    item_suffix: str = ""
    #: text between the history and the target.
    response_prefix: str = ""
    #: instructions that are held out of training, to test wordings that it has not seen.
    held_out: tuple = ()

    def __post_init__(self):
        where = f"prompt template {shown(self.name)}"
        if isinstance(self.version, bool) or not isinstance(self.version, int):
            raise GenRecError(f"{where}: 'version' must be a whole number, not {shown(self.version)}.")
        for key in ("end", "prefix", "lead", "item_prefix", "item_suffix", "response_prefix"):
            if not isinstance(getattr(self, key), str):
                raise GenRecError(f"{where}: {key!r} must be text, not {shown(getattr(self, key))}.")
        for key in ("lead", "item_prefix", "item_suffix", "response_prefix", "end"):
            if _USER in getattr(self, key):
                raise GenRecError(f"{where}: {key!r} has {_USER}, which stands in 'prefix' or 'instructions' alone.")
        for key in ("lead", "response_prefix", "end"):
            if fields_of(getattr(self, key)):
                raise GenRecError(
                    f"{where}: {key!r} has the field {{{fields_of(getattr(self, key))[0]}}}. Values of interactions "
                    "stand in 'item_prefix' and 'item_suffix' alone."
                )
        if not self.end:
            raise GenRecError(f"{where}: 'end' must be 'eos' or text such as '\\n'; it cannot be empty.")
        if not isinstance(self.instructions, (list, tuple)) or not self.instructions:
            raise GenRecError(f"{where}: 'instructions' must be a list of texts, not {shown(self.instructions)}.")
        for instruction in self.instructions:
            if not isinstance(instruction, str):
                raise GenRecError(f"{where}: every one of 'instructions' must be text, not {shown(instruction)}.")
        object.__setattr__(self, "instructions", tuple(self.instructions))
        object.__setattr__(self, "held_out", checked_wordings(self.held_out, where))
        if self.held_out and not any(self.instructions):
            raise GenRecError(f"{where}: 'held_out' gives instructions in other words: it needs 'instructions'.")
        if any(self.instructions) != (_INSTRUCTION in self.prefix):
            raise GenRecError(f"{where}: 'instructions' and {_INSTRUCTION!r} in 'prefix' go together; one is missing.")
        self._check_user(where)

    def _check_user(self, where):
        texts = [self.prefix.replace(_INSTRUCTION, text) for text in (*self.instructions, *self.held_out)]
        if len({text.count(_USER) for text in texts} | {0, 1}) > 2 or len({_USER in text for text in texts}) > 1:
            raise GenRecError(f"{where}: {_USER} must stand once in the text before the history, in every wording.")
        if len({f" {_USER}" in text for text in texts}) > 1:
            raise GenRecError(f"{where}: {_USER} must have a space before it in every wording, or in none.")

    def worded(self, instruction):
        """The template with one instruction alone, such as one of ``held_out``."""
        return replace(self, instructions=(instruction,), held_out=())

    def as_dict(self):
        """The fields by name, as :func:`template_of` reads them; ``held_out`` where there are any."""
        return {key: value for key, value in asdict(self).items() if value or key != "held_out"}

    @property
    def names_user(self):
        """Whether the text before the history names the user."""
        return len(self.around_user()) > 1

    @property
    def user_lead(self):
        """The space before the user, where there is one: it belongs to the user's name."""
        return " " if f" {_USER}" in self.prefix.replace(_INSTRUCTION, self.instructions[0]) else ""

    def around_user(self, instruction=0):
        """The texts before and after the user in the text before the history; of a template without, its only one."""
        before, *after = self.prefix.replace(_INSTRUCTION, self.instructions[instruction]).split(_USER)
        return (before.removesuffix(" "), *after) if after else (before,)

    def prefix_text(self, instruction=0, user=""):
        """The text before the history, with instruction number ``instruction`` and the user's name filled in."""
        before, *after = self.around_user(instruction)
        return before + (self.user_lead + user if user else "") + "".join(after)

    @property
    def value_fields(self):
        """Values of interactions that stand around items, each once: ``gap``, and columns of the ``.inter`` file."""
        return tuple(dict.fromkeys(fields_of(self.item_prefix) + fields_of(self.item_suffix)))

    @property
    def value_columns(self):
        """Those of them that are columns."""
        return tuple(name for name in self.value_fields if name != GAP)

    @property
    def tells_gap(self):
        """Whether the time since the item before is one of them."""
        return GAP in self.value_fields

    @property
    def ends_with_token(self):
        """Whether the response ends with the tokenizer's end-of-sequence token instead of text."""
        return self.end == END_OF_SEQUENCE

    def segments(self, history_texts, target=None, instruction=0, values=()):
        """Lay a prompt out.

        Args:
            history_texts: texts of the history's items, oldest first.
            target: text of the target; ``None``: the prompt ends where the response begins.
            instruction: which of the instructions to use.
            values: for each item of the history, the texts of its interaction's values by field; by default none is
                known.

        Returns:
            List of :class:`Segment` without empty texts; items, target and end are always there.
        """
        laid_out = [Segment("prefix", self.prefix_text(instruction))]
        for position, text in enumerate(history_texts):
            known = values[position] if values else {}
            if position:
                laid_out.append(Segment("item_prefix", fill_values(self.item_prefix, known)))
            laid_out += [Segment("item", text), Segment("item_suffix", fill_values(self.item_suffix, known))]
        laid_out.append(Segment("response_prefix", self.response_prefix))
        if target is not None:
            laid_out += [Segment("target", target), Segment("end", "" if self.ends_with_token else self.end)]
        return [segment for segment in laid_out if segment.text or segment.kind in ("item", "target", "end")]

    def render(self, history_texts, target=None, instruction=0, values=()):
        """The prompt as one text, for people to read; arguments as in :meth:`segments`.

        An ``end`` of ``eos`` is a token, not text, and does not show.
        """
        return "".join(
            self.lead + segment.text if segment.kind in ("item", "target") else segment.text
            for segment in self.segments(history_texts, target, instruction, values)
        )


def available_templates():
    """Names of the shipped templates, sorted."""
    return KIND.shipped()


def load_template(name_or_path):
    """Load a template by the name of a shipped one or by the path of a YAML file.

    Raises:
        GenRecError: no such template, or the file is malformed; the message names the file and the key.
    """
    return template_of(*KIND.read_named(name_or_path))


def template_of(content, where):
    """The template of named fields, as :meth:`PromptTemplate.as_dict` gives them.

    Args:
        content: a dict.
        where: names it in errors.

    Raises:
        GenRecError: a key is unknown or missing, or its value is not accepted.
    """
    return of_fields(PromptTemplate, content, where)
