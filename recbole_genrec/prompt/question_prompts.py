"""The questions of PromptLLM, one for each task, with named fields, in one versioned YAML file."""

from dataclasses import dataclass, fields, replace

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.prompt.pieces import named_fields
from recbole_genrec.prompt.prompt_file import PromptKind, check_keys
from recbole_genrec.prompt.wordings import checked_wordings

KIND = PromptKind(
    "chat", "question prompts", "file of question prompts", "'version: <number>' and a question for each task"
)
#: by task, the required and the optional fields of its question; ``k`` is the number of items asked for.
QUESTIONS = {
    "sequential": ({"history"}, {"k"}),
    "choice": ({"history", "candidates"}, {"k"}),
    "direct": ({"candidates"}, {"history", "k"}),
    "rating": ({"item"}, {"history", "scale"}),
    "explanation": ({"item"}, {"history"}),
    "review": ({"review"}, {"item"}),
}
#: tasks for which a local model uses the template of ``prompt`` instead.
WITHOUT_CUE = ("sequential", "choice")


@dataclass(frozen=True)
class Question:
    """The texts of one task."""

    #: the question.
    question: str
    #: how a chat model should answer; follows the question.
    answer: str
    #: the beginning of a local model's answer; follows the question.
    cue: str = ""
    #: a few-shot example; ``{target}`` is its answer.
    example: str = ""
    #: the question in other words, to be tested beside it.
    held_out: tuple = ()


@dataclass(frozen=True)
class QuestionPrompts:
    """The questions of a file."""

    name: str
    version: int
    #: message of the system role; an empty one is not sent.
    system: str
    #: text before the few-shot examples.
    examples: str
    #: by task, its :class:`Question`.
    tasks: dict

    def worded(self, task, question):
        """The questions with that of a task in other words, such as one of its ``held_out``."""
        tasks = {**self.tasks, task: replace(self.tasks[task], question=question, held_out=())}
        return replace(self, tasks=tasks)


def load_questions(name_or_path):
    """Load questions by the name of a shipped file or by the path of a YAML file.

    Raises:
        GenRecError: no such file, or it is malformed; the message names the file, the task and the key.
    """
    path, content = KIND.read(name_or_path)
    KIND.check_version(content, path)
    texts = {key: content.pop(key, "") for key in ("system", "examples")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise GenRecError(f"{path}: {key!r} must be text, not {shown(text)}.")
    version = content.pop("version")
    check_keys(content, QUESTIONS, str(path), "task")
    for task in QUESTIONS:
        if task not in content:
            raise GenRecError(f"{path} has no question for {task!r}.")
    tasks = {task: _parse(content[task], task, f"{path}, {task!r}") for task in QUESTIONS}
    return QuestionPrompts(path.stem, version, **texts, tasks=tasks)


def _parse(content, task, where):
    keys = [field.name for field in fields(Question)]
    texts = {key: text for key, text in content.items() if key != "held_out"} if isinstance(content, dict) else {}
    if not texts or not all(isinstance(text, str) for text in texts.values()):
        raise GenRecError(f"{where}: give texts for {', '.join(keys)}.")
    check_keys(texts, keys, where)
    needed = ["question", "answer"] if task in WITHOUT_CUE else ["question", "answer", "cue"]
    for key in needed:
        if not texts.get(key):
            raise GenRecError(f"{where} lacks the key {key!r}.")
    question = Question(**texts, held_out=checked_wordings(content.get("held_out", ()), where))
    for key, text in texts.items():
        _check_fields(text, key, task, where)
    for text in question.held_out:
        _check_fields(text, "question", task, f"{where}, 'held_out'")
    return question


def _check_fields(text, key, task, where):
    """Refuse a text of a task with a field that it does not know, or a question without one that it needs."""
    required, allowed = QUESTIONS[task]
    known = {
        "question": required | allowed,
        "answer": allowed & {"k", "scale"},
        "cue": set(),
        "example": (required | allowed | {"target"}) - {"k", "scale", "candidates"},
    }
    for field in named_fields(text):
        if field not in known[key]:
            accepted = ", ".join(sorted(known[key])) or "none"
            raise GenRecError(f"{where}, {key!r}: unknown field {shown(field)}. Accepted: {accepted}.")
    for field in required if key == "question" else ():
        if field not in named_fields(text):
            raise GenRecError(f"{where}: {key!r} must have the field {{{field}}}.")
