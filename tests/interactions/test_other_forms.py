"""The same dataset in other forms: separators, encodings, byte order marks and line ends change no result."""

import json
from pathlib import Path

import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.cli.main import main
from tests.builders import SCRATCH

TITLES = ["Héat", "NA", '"Alien', "Up (2009)", "Big, the", "null"]
ITEMS = [(f"m{n}", title, f"kind{n % 2}") for n, title in enumerate(TITLES)]
ROWS = [
    (f"u{user}", f"m{(user + step) % 6}", 1_700_000_000 + step, 1 + step % 5) for user in range(8) for step in range(5)
]
HEADERS = {
    "inter": ("user_id:token", "item_id:token", "timestamp:float", "rating:float"),
    "item": ("item_id:token", "title:token_seq", "class:token"),
    "user": ("user_id:token", "age:float"),
    "new": ("item_id:token", "title:token_seq", "class:token"),
}
TABLES = {
    "inter": ROWS,
    "item": ITEMS,
    "user": [(f"u{user}", 20 + user) for user in range(8)],
    "new": [("x", "É", "k")],
}
FORMS = {
    "two characters": {"field_separator": "::"},
    "a regular expression": {"field_separator": ".*"},
    "byte order marks": {"begin": b"\xef\xbb\xbf"},
    "line ends": {"end": "\r\n", "begin": b"\xef\xbb\xbf", "field_separator": "||"},
    "latin": {"encoding": "latin-1"},
}


def written(folder, field_separator="\t", encoding="utf-8", begin=b"", end="\n"):
    """Write all files; gives the settings that a run needs."""
    (folder / "tiny").mkdir(parents=True)
    for suffix, rows in TABLES.items():
        lines = [field_separator.join(map(str, row)) + end for row in (HEADERS[suffix], *rows)]
        (folder / f"tiny/tiny.{suffix}").write_bytes(begin + "".join(lines).encode(encoding))
    return {"data_path": str(folder), "field_separator": field_separator, "encoding": encoding}


def results(folder, form):
    """Tests of three models, the history of a user, and the titles after new items were added."""
    settings = {**SCRATCH, "epochs": 1, "show_progress": False, "val_interval": {"rating": "[2,inf)"}}
    settings["load_col"] = {"inter": ["user_id", "item_id", "timestamp", "rating"], "user": "*"}
    settings |= {"results_dir": str(folder / "results"), "checkpoint_dir": str(folder / "saved")}
    runs = run_recbole_genrec("GenRec,SASRecF,GRU4Rec", "tiny", config_dict=settings | written(folder / "data", **form))
    return [run["test_result"] for run in runs], runs[0]["checkpoint"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return results(tmp_path_factory.mktemp("plain"), {})


@pytest.mark.parametrize("name", FORMS)
def test_results_are_those_of_the_plain_form(tmp_path, plain, capsys, name):
    found, checkpoint = results(tmp_path, FORMS[name])
    assert found == plain[0]
    histories = []
    for folder in (plain[1], checkpoint):
        capsys.readouterr()
        assert main(["recommend", "--checkpoint", folder, "--user=u1", "--topk=3", "--json"]) == 0
        histories.append(json.loads(capsys.readouterr().out))
    assert histories[0] == histories[1] and len(histories[0]["history"]) == 4
    more = tmp_path / "more"
    new = str(tmp_path / "data/tiny/tiny.new")
    assert main(["add_items", "--checkpoint", checkpoint, "--items", new, "--output", str(more)]) == 0
    items = json.loads(Path(more / "items.json").read_text("utf-8"))
    assert "É" in json.dumps(items, ensure_ascii=False)
