"""A saved model with a broken file is refused by name, whatever its readers raise; a fault of the program passes."""

import json

import pytest

from recbole_genrec.backbone.loading import read_saved
from recbole_genrec.checkpoint.checkpoint import _write_tokenizer
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.broken_files import UNREADABLE, ReplaceError
from tests.builders import byte_tokenizer, write_base


def edit(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes}).encode()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokenizer.json", edit(truncation=True), "invalid type"),  # a bare Exception
        ("tokenizer.json", edit(added_tokens=None), ""),
        ("tokenizer_config.json", edit(bos_token=["<s>"]), "bos_token"),
        ("tokenizer_config.json", lambda text: text[:-3], ""),
        ("config.json", edit(rms_norm_eps=True), "rms_norm_eps"),  # huggingface_hub's own class
        ("config.json", edit(num_attention_heads=3), "validat"),
        ("config.json", edit(intermediate_size=16), "mismatch"),
        ("config.json", lambda text: b"\xff", "not a valid JSON"),
        ("config.json", edit(architectures=3, model_type=4), ""),
        ("model.safetensors", lambda content: content[:-1], "deserializ"),  # safetensors' own class
        ("model.safetensors", None, "no model.safetensors"),
    ],
)
def test_a_broken_file_is_refused_by_its_folder(tmp_path, name, change, message):
    folder = write_base(tmp_path / "saved")
    path = tmp_path / "saved" / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(GenRecError, match=f"Cannot load the backbone '.*saved': .*{message}"):
        read_saved(folder, folder, BackboneArguments())


class Fault(Exception):
    """No reader raises this."""


@pytest.mark.parametrize("error", [Fault("x"), AssertionError("x"), KeyboardInterrupt()])
def test_a_fault_of_the_program_passes(error):
    with pytest.raises(type(error)), ReplaceError(GenRecError, UNREADABLE):
        raise error


def test_the_error_is_replaced_and_its_cause_not_shown():
    with pytest.raises(GenRecError, match="^text$") as raised, ReplaceError(GenRecError, (KeyError,)):
        raise Exception("text")
    assert raised.value.__suppress_context__
    with ReplaceError(GenRecError):
        pass


def test_a_tokenizer_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(OSError):
        _write_tokenizer(tmp_path, byte_tokenizer())
