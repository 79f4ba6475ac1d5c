"""P5's task families: several prompts with named fields for each family, in one YAML file.

Reference: Shijie Geng et al. "Recommendation as Language Processing (RLP): A Unified Pretrain, Personalized Prompt &
Predict Paradigm (P5)", RecSys 2022, arXiv 2203.13366.
"""

from dataclasses import dataclass

from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.prompt.pieces import parse_spaced, written
from recbole_genrec.prompt.prompt_file import PromptKind

KIND = PromptKind(
    "task", "task prompts", "file of task prompts", "'version: <number>' and a list of prompts for each family"
)
#: what each family generates.
TARGETS = {
    "sequential": "item",
    "direct": "item",
    "rating": "rating",
    "explanation": "explanation",
    "review": "summary",
    "review_generation": "review",
    "item_summary": "item_summary",
}
#: by family, the fields of which a prompt has at least one, and the optional ones.
REQUIRED = {
    "sequential": {"history"},
    "direct": {"user", "candidates"},
    "rating": {"item", "item_text"},
    "explanation": {"item", "item_text"},
    "review": {"review"},
    "review_generation": {"item", "item_text"},
    "item_summary": {"item_reviews"},
}
ALLOWED = {
    "sequential": {"user", "candidates"},
    "direct": set(),
    "rating": {"user"},
    "explanation": {"user", "rating", "feature"},
    "review": {"user", "item", "item_text", "rating"},
    "review_generation": {"user", "rating"},
    "item_summary": {"item", "item_text"},
}


@dataclass(frozen=True)
class TaskPrompts:
    """The prompts of a file."""

    name: str
    version: int
    #: by family, its prompts, each a tuple of :class:`~recbole_genrec.prompt.pieces.Piece`.
    families: dict

    def trained(self, family):
        """Numbers of the prompts that training uses: all but the last, which is held out."""
        return range(len(self.families[family]) - 1)

    def has(self, family, prompt, field):
        """Whether a prompt has a field."""
        return any(piece.field == field for piece in self.families[family][prompt])

    def held_out(self, family):
        """Number of the prompt that training does not use."""
        return len(self.families[family]) - 1

    def as_dict(self):
        """The content of a file of these prompts, see :func:`tasks_of`."""
        families = {family: list(map(written, prompts)) for family, prompts in self.families.items()}
        return {"version": self.version, **families}


def load_tasks(name_or_path):
    """Load task prompts by the name of a shipped file or by the path of a YAML file.

    Raises:
        GenRecError: no such file, or it is malformed; the message names the file, the family and the prompt.
    """
    path, content = KIND.read(name_or_path)
    return tasks_of(content, path.stem, path)


def tasks_of(content, name, where):
    """The :class:`TaskPrompts` of a file's content, or of what :meth:`TaskPrompts.as_dict` gave.

    Args:
        content: ``version``, and by family its prompts as texts.
        name: of the prompts.
        where: names the content in errors.

    Raises:
        GenRecError: it is malformed.
    """
    KIND.check_version(content, where)
    families = {}
    for family, prompts in content.items():
        if family == "version":
            continue
        if family not in TARGETS:
            raise unknown_name(f"task family in {where}:", family, TARGETS)
        if not isinstance(prompts, list) or len(prompts) < 2 or not all(isinstance(text, str) for text in prompts):
            raise GenRecError(f"{where}, {family!r}: give at least two prompts as text; the last one is held out.")
        families[family] = tuple(
            parse_prompt(text, family, f"{where}, {family!r}, prompt {shown(text)}") for text in prompts
        )
    return TaskPrompts(name, content["version"], families)


def parse_prompt(text, family, where):
    """The tuple of :class:`~recbole_genrec.prompt.pieces.Piece` of a prompt of ``family``.

    ``where`` names it in errors.

    Raises:
        GenRecError: the prompt has a field that the family lacks, or lacks one that it needs.
    """
    pieces = parse_spaced(text, REQUIRED[family] | ALLOWED[family], where)
    if not REQUIRED[family] & {piece.field for piece in pieces}:
        raise GenRecError(f"{where}: one of {', '.join(sorted(REQUIRED[family]))} must be in it.")
    return pieces
