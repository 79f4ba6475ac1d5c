import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.about_user import load_about_user


def test_the_shipped_sentences():
    about = load_about_user()
    assert about.sentence("gender", "F") == "The user is female."
    assert about.sentence("age", "25-29") == "The user is 25-29 years old."
    assert about.sentence("zip_code", "{value}") == "About the user: zip_code is {value}."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentences: {any: '{value}'}", "must hold 'version"),
        ("version: 1\nsentences: {gender: '{value}'}", "and for 'any'"),
        ("version: 1\nsentences: {any: 'someone'}", "must have the field {value}"),
        ("version: 1\nsentences: {any: '{value} {name}'}", "unknown field 'name'. Accepted: column, value"),
        ("version: 1\nsentences: {any: '{value}'}\nvalue: {}", "Did you mean 'values'"),
        ("version: 1\nsentences: {any: '{value}'}\nvalues: {age: {1: young}}", "in quotes"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(GenRecError) as caught:
        load_about_user(path)
    assert message in str(caught.value) and "mine.yaml" in str(caught.value)
