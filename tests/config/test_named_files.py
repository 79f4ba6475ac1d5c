"""Shipped configuration files are found by name from any folder."""

import pytest

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.yaml_settings import named_file
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.properties import properties_folder

FILE = properties_folder() / "paper" / "genrec-llama-7b.yaml"


@pytest.mark.parametrize(
    "name", ["paper/genrec-llama-7b", "paper/genrec-llama-7b.yaml", "properties/paper/genrec-llama-7b.yaml"]
)
def test_a_shipped_file_by_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert named_file(name) == FILE
    assert GenRecConfig("GenRec", "ml-100k", [name])["lora_target_modules"] == ["q_proj", "v_proj"]


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper/genrec-llama-7b").write_text("epochs: 7\n", "utf-8")
    assert GenRecConfig("GenRec", "ml-100k", ["paper/genrec-llama-7b"])["epochs"] == 7


@pytest.mark.parametrize("name", ["paper/genrec-llama-7", "prompt/continuation", "../secret", "overall"])
def test_another_name_is_refused(tmp_path, monkeypatch, name):
    """Also that of a shipped file that holds no settings."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenRecError, match="No such file") as error:
        named_file(name)
    assert ("'paper/genrec-llama-7b'?" in str(error.value)) == name.startswith("paper")
