"""What CONTRIBUTING.md shows of a new scheme and a new model works as it stands there."""

import re
import shutil
import sys
import types
from pathlib import Path

import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.catalogue import schemes
from recbole_genrec.config import registry
from recbole_genrec.files import properties
from tests.builders import SCRATCH

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PLACE = re.compile(r'"(\w+)": (?:Plugin\()?"([\w.]+):(\w+)"')


@pytest.fixture
def shown(monkeypatch):
    """The examples as modules of the names that CONTRIBUTING gives them: ``{name: place}``."""
    examples = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)
    places = PLACE.findall(TEXT)
    assert len(places) == len(examples) == 2
    found = {}
    for code, (name, module, attribute) in zip(examples, places):
        made = types.ModuleType(module)
        exec(compile(code, module, "exec"), vars(made))
        monkeypatch.setitem(sys.modules, module, made)
        found[name] = f"{module}:{attribute}"
    yield found
    schemes._SCHEMES.pop("item_id", None)


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    items = [(item, f"title {item}") for item in range(9)]
    monkeypatch.chdir(tmp_path)
    return {**SCRATCH, "data_path": write_dataset(tmp_path / "data", rows, items), "epochs": 1, "show_progress": False}


def test_the_scheme(shown, settings, monkeypatch):
    monkeypatch.setitem(schemes.PLACES, "item_id", shown["item_id"])
    result = run_recbole_genrec("GenRec", "tiny", config_dict={**settings, "item_indexing": "item_id"})
    assert result["identifiers"] and result["test_result"]


def test_the_model(shown, settings, monkeypatch, tmp_path):
    folder = tmp_path / "properties"
    shutil.copytree(properties.properties_folder(), folder)
    shutil.copy(folder / "model/GenRec.yaml", folder / "model/LastTitle.yaml")
    monkeypatch.setattr(properties, "properties_folder", lambda: folder)
    monkeypatch.setitem(registry.MODELS, "LastTitle", registry.Plugin(shown["LastTitle"]))
    result = run_recbole_genrec("LastTitle", "tiny", config_dict={**settings, "history": "both"})
    assert result["epochs"] == 1 and result["generation"]["valid_share"] == 1
