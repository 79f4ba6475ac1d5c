"""The report of identifiers: its rows, and the command that prints it."""

import pytest

from recbole_genrec.catalogue.identifier_report import examples, report
from recbole_genrec.catalogue.schemes import known_indexings
from recbole_genrec.cli.main import main


def test_rows_count_what_is_there(index):
    built = index("title", ["i1", "i2", "i3"], texts=["Up", "Up", None])
    rows = dict(report(built, [1, 2, 1]))
    assert rows == {
        "items": "3",
        "without text": "1",
        "collisions resolved": "1",
        "tokens an item": "5.00 (2 to 7)",
        "decisions an item": "1.33 (1 to 2)",
        "new tokens": "0",
    }
    assert examples(["i1", "i2", "i3"], ["Up", "Up", None], built, 2) == [("i1", "Up", "Up"), ("i3", "", "item i3")]


def test_new_tokens_are_counted_by_level(world, numbered, index):
    items, sequences = numbered(*world)
    built = index("svd", items, sequences, svd_dimensions=2, svd_bins=60)
    assert dict(report(built, [1] * len(items)))["new tokens"].startswith("120, by level: 60, 60")


@pytest.mark.parametrize("scheme", known_indexings())
def test_the_command_prints_a_report(world, write_dataset, tmp_path, monkeypatch, capsys, scheme):
    monkeypatch.chdir(tmp_path)
    train, _ = world
    rows = [(user, item, time) for user in train for time, item in enumerate(train[user])]
    items = [(f"i{number}", f"Item [{number}]") for number in range(60)]  # brackets are no markup
    data_path = write_dataset(tmp_path / "data", rows, items)
    arguments = ["--dataset=tiny", f"--data_path={data_path}", f"--item_indexing={scheme}", "--semantic_steps=20"]
    assert main(["index", *arguments, "--hybrid_suffix", "title"]) == 0
    printed = capsys.readouterr().out
    assert f"{scheme} identifiers of tiny, seed 2020" in printed
    assert "decisions an item" in printed and "Item [" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]  # nothing is written


def test_mistakes_are_one_line(capsys):
    assert main(["index", "--dataset=ml-100k", "--item_indexing=colaborative"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Did you mean 'collaborative'?" in error
