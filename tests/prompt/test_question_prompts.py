import pytest
import yaml

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.prompt.pieces import fill
from recbole_genrec.prompt.question_prompts import QUESTIONS, load_questions

SHIPPED = properties_folder() / "chat" / "promptllm.yaml"


def test_the_shipped_questions_do_not_give_the_answer_away():
    questions = load_questions("promptllm")
    assert questions.tasks.keys() == QUESTIONS.keys()
    for task in questions.tasks.values():
        assert "{target}" not in task.question + task.answer + task.cue
        assert "{target}" in task.example
        assert "JSON" in questions.system or "{" in task.answer
    assert load_questions(str(SHIPPED)) == questions


def test_values_are_not_filled_in_again():
    assert fill('{item}: {"titles": [{k}]}', {"item": "a {k} {item}", "k": 3}) == 'a {k} {item}: {"titles": [3]}'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "one"}, "must hold 'version"),
        ({"system": 3}, "'system' must be text"),
        ({"ranking": {}}, "task in .*: 'ranking'"),
        ({"direct": None}, "no question for 'direct'"),
        ({"direct": "what?"}, "'direct': give texts for question, answer, cue, example"),
        ({"direct": {"text": "?"}}, "key in .*'direct': 'text'"),
        ({"direct": {"question": "{candidates}", "answer": "?"}}, "'direct' lacks the key 'cue'"),
        ({"sequential": {"question": "who?", "answer": "?"}}, "'question' must have the field {history}"),
        (
            {"sequential": {"question": "{history} {target}", "answer": "?"}},
            "unknown field 'target'. Accepted: history, k",
        ),
        ({"sequential": {"question": "{history}", "answer": "{item}"}}, "'answer': unknown field 'item'. Accepted: k"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    content = yaml.safe_load(SHIPPED.read_text("utf-8")) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}), "utf-8")
    with pytest.raises(GenRecError, match=message) as caught:
        load_questions(str(path))
    assert "mine.yaml" in str(caught.value)


def test_unknown_names_and_paths(tmp_path):
    with pytest.raises(GenRecError, match="'chat'.*promptllm"):
        load_questions("chat")
    with pytest.raises(GenRecError, match="does not exist"):
        load_questions("nowhere/chat.yaml")
    (tmp_path / "bad.yaml").write_text("version: [")
    with pytest.raises(GenRecError, match="not valid YAML"):
        load_questions(str(tmp_path / "bad.yaml"))
