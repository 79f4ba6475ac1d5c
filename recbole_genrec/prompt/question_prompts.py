"""The questions of PromptLLM, one for each task, with named fields, in one versioned YAML file."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.files.strict_yaml import read_yaml_file

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
_FIELD = re.compile(r"\{([a-z_]+)\}")


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


def fill(text, values):
    """Put values into the fields of a text; a field's pattern inside a value is left as it is."""
    return _FIELD.sub(lambda match: str(values[match[1]]), text)


def load_questions(name_or_path):
    """Load questions by the name of a shipped file or by the path of a YAML file.

    Raises:
        GenRecError: no such file, or it is malformed; the message names the file, the task and the key.
    """
    path, folder = Path(name_or_path), properties_folder() / "chat"
    if path.suffix not in (".yaml", ".yml"):
        shipped = sorted(file.stem for file in folder.glob("*.yaml"))
        if name_or_path not in shipped:
            raise unknown_name("question prompts", name_or_path, shipped)
        path = folder / f"{name_or_path}.yaml"
    elif not path.is_file():
        raise GenRecError(f"The file of question prompts {path} does not exist.")
    content = read_yaml_file(path, "file of question prompts ")
    if not isinstance(content, dict) or type(content.get("version")) is not int:
        raise GenRecError(f"{path} must hold 'version: <number>' and a question for each task.")
    texts = {key: content.pop(key, "") for key in ("system", "examples")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise GenRecError(f"{path}: {key!r} must be text, not {shown(text)}.")
    version = content.pop("version")
    for task in content:
        if task not in QUESTIONS:
            raise unknown_name(f"task in {path}:", task, QUESTIONS)
    for task in QUESTIONS:
        if task not in content:
            raise GenRecError(f"{path} has no question for {task!r}.")
    tasks = {task: _parse(content[task], task, f"{path}, {task!r}") for task in QUESTIONS}
    return QuestionPrompts(path.stem, version, **texts, tasks=tasks)


def _parse(content, task, where):
    keys = [field.name for field in fields(Question)]
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise GenRecError(f"{where}: give texts for {', '.join(keys)}.")
    for key in content:
        if key not in keys:
            raise unknown_name(f"key in {where}:", key, keys)
    needed = ["question", "answer"] if task in WITHOUT_CUE else ["question", "answer", "cue"]
    for key in needed:
        if not content.get(key):
            raise GenRecError(f"{where} lacks the key {key!r}.")
    required, allowed = QUESTIONS[task]
    known = {
        "question": required | allowed,
        "answer": allowed & {"k", "scale"},
        "cue": set(),
        "example": (required | allowed | {"target"}) - {"k", "scale", "candidates"},
    }
    for key, text in content.items():
        for field in _FIELD.findall(text):
            if field not in known[key]:
                accepted = ", ".join(sorted(known[key])) or "none"
                raise GenRecError(f"{where}, {key!r}: unknown field {shown(field)}. Accepted: {accepted}.")
    for field in required:
        if field not in _FIELD.findall(content["question"]):
            raise GenRecError(f"{where}: 'question' must have the field {{{field}}}.")
    return Question(**content)
