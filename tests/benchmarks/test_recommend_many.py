"""The benchmark of many rows compares the same lists; its times mean nothing here."""

import json

from benchmarks import recommend_many
from tests.serve.conftest import pretrained, train, trained  # noqa: F401  fixtures


def test_the_bare_search_finds_the_lists_that_are_written(trained, tmp_path):  # noqa: F811
    folder = trained["trie"][2]
    contest = recommend_many.Contest(folder, None, 5, 4)
    tokens = ["", *contest.recommender.reader.item_tokens]
    found = [[tokens[item] for item in row] for row in contest.search().tolist()]
    assert found == [[item.item_id for item in answer.recommendations] for answer in contest.answers()]
    assert contest.rows("jsonl") == len(found) == 5
    output = tmp_path / "result.json"
    recommend_many.main(["--quick", f"--output={output}", f"--checkpoint={folder}", "--formats", "jsonl"])
    rows = json.loads(output.read_text())["rows"]
    assert [row["what"] for row in rows] == ["bare search", "answer()", "recommend, jsonl"]
    assert rows[0]["share_of_search"] == 1 and all(row["users"] == 8 for row in rows)
