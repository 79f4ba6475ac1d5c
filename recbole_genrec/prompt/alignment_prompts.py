"""Prompts that align a language model with identifiers: several for each task, in one versioned YAML file.

Reference: Bowen Zheng et al. "Adapting Large Language Models by Integrating Collaborative Semantics for Recommendation"
(LC-Rec), 2023, arXiv 2311.09049.
"""

from dataclasses import dataclass

from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.pieces import parse_spaced
from recbole_genrec.prompt.prompt_file import PromptKind, check_keys

KIND = PromptKind(
    "alignment",
    "alignment prompts",
    "file of alignment prompts",
    "'version: <number>' and a list of prompts for each task",
)
#: by task, the field of its prompts.
FIELDS = {
    "title_to_item": "title",
    "item_to_title": "item",
    "columns_to_item": "columns",
    "history_to_title": "history",
    "titles_to_item": "titles",
}


@dataclass(frozen=True)
class AlignmentPrompts:
    """The prompts of a file.

    Attributes:
        name: that of the file. version: of its format.
        tasks: by task, its prompts, each a tuple of :class:`~recbole_genrec.prompt.pieces.Piece`.
    """

    name: str
    version: int
    tasks: dict

    def literals(self, tasks):
        """The texts of the prompts of some tasks, without their fields."""
        return [piece.text for task in tasks for prompt in self.tasks[task] for piece in prompt if piece.text]


def load_alignment(name_or_path, tasks=()):
    """Load prompts by the name of a shipped file or by the path of a YAML file.

    Args:
        name_or_path: of the file.
        tasks: those that must have prompts.

    Raises:
        GenRecError: no such file, it is malformed, or a task has no prompts; the message names the file and the task.
    """
    path, content = KIND.read(name_or_path)
    KIND.check_version(content, path)
    version = content.pop("version")
    check_keys(content, FIELDS, str(path), "task")
    for task in tasks:
        if task not in content:
            raise GenRecError(f"{path} has no prompts for {task!r}, which 'alignment_tasks' asks for.")
    return AlignmentPrompts(path.stem, version, {task: _parsed(task, content[task], path) for task in content})


def _parsed(task, texts, path):
    where = f"{path}, {task!r}"
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise GenRecError(f"{where}: give at least one prompt as text.")
    prompts = tuple(parse_spaced(text, (FIELDS[task],), where) for text in texts)
    for text, pieces in zip(texts, prompts):
        if [piece.field for piece in pieces if piece.field] != [FIELDS[task]]:
            raise GenRecError(f"{where}, prompt {text!r}: the field {{{FIELDS[task]}}} must be in it once.")
    return prompts
