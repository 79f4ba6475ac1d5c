import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.prompt.pieces import Piece
from recbole_genrec.prompt.task_prompts import TARGETS, load_tasks


def test_the_shipped_families_are_p5s():
    tasks = load_tasks("p5")
    assert tasks.families.keys() == TARGETS.keys()
    for family, prompts in tasks.families.items():
        assert len(prompts) >= 3
        assert TARGETS[family] not in {piece.field for prompt in prompts for piece in prompt}, (
            "the answer is given away"
        )
        assert [*tasks.trained(family), tasks.held_out(family)] == list(range(len(prompts)))
    assert tasks.has("direct", tasks.held_out("direct"), "candidates")


def test_pieces():
    (prompt, *_) = load_tasks("p5").families["review"]
    assert prompt == (
        Piece("Give the review that", ""),
        Piece("", "user"),
        Piece(" wrote a title:", ""),
        Piece("", "review"),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "must hold 'version"),
        ("version: one", "must hold 'version"),
        ("version: 1\nranking: [a, b]", "task family in .*: 'ranking'"),
        ("version: 1\ndirect: ['for {user}']", "'direct': give at least two prompts"),
        ("version: 1\ndirect: ['for {user}', 3]", "'direct': give at least two prompts"),
        ("version: 1\ndirect: ['for {user}', 'for {history}']", "unknown field 'history'.*candidates, user"),
        ("version: 1\nrating: ['{user}: {item}', 'of {user}']", "one of item, item_text must be in it"),
        ("version: 1\nrating: ['{item}', '{item!r}']", "without a format"),
        ("version: 1\nrating: ['{item}', '{item']", "expected '}'"),
        ("version: [", "not valid YAML"),
    ],
)
def test_malformed_files_are_named(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(GenRecError, match=message) as caught:
        load_tasks(str(path))
    assert "mine.yaml" in str(caught.value)


def test_unknown_names_and_paths():
    with pytest.raises(GenRecError, match="'p6'.*p5"):
        load_tasks("p6")
    with pytest.raises(GenRecError, match="does not exist"):
        load_tasks("nowhere/p5.yaml")
    assert load_tasks(str(properties_folder() / "task" / "p5.yaml")) == load_tasks("p5")
