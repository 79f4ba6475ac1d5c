"""Code that comes with a model runs where somebody has said so; a hub id is read at the revision that is asked for."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from recbole_genrec import GenRecError, GenRecommender
from recbole_genrec.backbone.loading import read_backbone
from recbole_genrec.checkpoint.folder import fingerprint
from recbole_genrec.cli.main import main
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.runs.reopen import load_as_recbole
from recbole_genrec.serve.export import export
from tests.builders import SCRATCH, write_base, write_checkpoint, write_films

#: a family that transformers does not know; its module leaves a file behind when it is imported.
MODULE = """\
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({mark!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "own-{family}"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
HEAT = [["Heat"]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*`rope_config_validation` is deprecated.*:FutureWarning"),
]


@pytest.fixture
def mark(tmp_path):
    """The file that is there once the code of a model has run."""
    return tmp_path / "code-has-run"


@pytest.fixture(autouse=True)
def no_modules_stay(tmp_path, monkeypatch):
    """transformers imports the code of models from a folder of its own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        del sys.modules[name]


def add_code(folder, mark, prefix="", tokenizer=False):
    """Let a model folder come with code for its configuration and model, or for its tokenizer."""
    folder = Path(folder)
    (folder / "own.py").write_text(MODULE.format(mark=str(mark), family=mark.parent.name), "utf-8")
    path = folder / ("tokenizer_config.json" if tokenizer else "config.json")
    settings = json.loads(path.read_text("utf-8"))
    if tokenizer:
        settings |= {
            "tokenizer_class": "OwnTokenizer",
            "auto_map": {"AutoTokenizer": [None, f"{prefix}own.OwnTokenizer"]},
        }
    else:
        classes = {"AutoConfig": f"{prefix}own.OwnConfig", "AutoModelForCausalLM": f"{prefix}own.OwnModel"}
        settings |= {"model_type": f"own-{mark.parent.name}", "architectures": ["OwnModel"], "auto_map": classes}
    path.write_text(json.dumps(settings), "utf-8")
    return str(folder)


@pytest.mark.parametrize("tokenizer", [False, True])
def test_code_of_a_model_runs_only_where_the_key_says_so(tmp_path, mark, tokenizer):
    folder = add_code(write_base(tmp_path / "base"), mark, tokenizer=tokenizer)
    with pytest.raises(
        GenRecError, match="base': it needs Python code .*, which runs only with 'trust_remote_code: true'"
    ):
        read_backbone(BackboneArguments(backbone=folder), [])
    assert not mark.exists()
    backbone = read_backbone(BackboneArguments(backbone=folder, trust_remote_code=True), [])
    assert mark.exists()
    own = backbone.tokenizer if tokenizer else backbone.model
    assert type(own).__name__ == ("OwnTokenizer" if tokenizer else "OwnModel")


@pytest.fixture
def world(tmp_path, write_dataset, monkeypatch):
    """A function that stores a small GenRec in ``best``, with settings of its backbone."""
    monkeypatch.chdir(tmp_path)
    data_path = write_films(write_dataset, tmp_path / "data")

    def build(**settings):
        settings = {**SCRATCH, "lora_r": 2, "max_prompt_tokens": 400, **settings}
        return write_checkpoint("best", "GenRec", {"data_path": data_path, **settings})

    return build


def test_a_checkpoint_does_not_say_itself_that_its_code_is_trusted(world, tmp_path, mark, capsys):
    world(backbone=add_code(write_base(tmp_path / "base"), mark), trust_remote_code=True)
    mark.unlink()
    for read in (
        GenRecommender.from_checkpoint,
        load_as_recbole,
        lambda folder: export(folder, "plain"),
        lambda folder: export(folder, "plain", merged=True),
    ):
        with pytest.raises(GenRecError, match="'best' has 'trust_remote_code: true': .* say so here"):
            read("best")
    commands = (
        ["recommend", "--checkpoint=best", "--history=Heat"],
        ["add_items", "--checkpoint=best", "--items=new.item", "--output=more"],
        ["export", "--checkpoint=best", "--output=plain", "--merged"],
    )
    Path("new.item").write_text("item_id:token\ttitle:token_seq\nm9\tDune\n", "utf-8")
    for command in commands:
        assert main(command) == 2
        assert "error: The checkpoint 'best' has 'trust_remote_code: true'" in capsys.readouterr().err
    assert not mark.exists() and not Path("more").exists() and not Path("plain").exists()
    assert GenRecommender.from_checkpoint("best", trust_remote_code=True).recommend(HEAT)[0]
    for command in commands:
        assert main([*command, "--trust_remote_code"]) == 0


def test_code_that_was_put_into_a_checkpoint_does_not_run(world, tmp_path, mark):
    world()
    plain = GenRecommender.from_checkpoint("best").recommend(HEAT)
    add_code("best/backbone", mark)
    add_code("best/tokenizer", mark, tokenizer=True)
    agree("best")
    for read in (GenRecommender.from_checkpoint, lambda folder: export(folder, "plain", merged=True)):
        with pytest.raises(GenRecError, match="runs only with 'trust_remote_code: true'"):
            read("best")
    assert plain and not mark.exists()


def agree(folder):
    """Let the manifest of a checkpoint say what its files are."""
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["files"] |= {name: fingerprint(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


# ---- revisions ----


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that puts model folders into huggingface_hub's cache, as the revisions of a hub id; offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def fill(name, folders):
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        for number, (revision, folder) in enumerate(folders.items()):
            commit = f"{number:040x}"
            shutil.copytree(folder, repository / "snapshots" / commit)
            (repository / "refs").mkdir(exist_ok=True)
            (repository / "refs" / revision).write_text(commit, "utf-8")
        return name

    return fill


def write_revision(folder, scale, special):
    """A base whose weights and tokenizer are its own."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    write_base(folder, LlamaConfig(vocab_size=262, **shape), {"bos_token": "<s>", "eos_token": special})
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.fill_(scale)
    model.save_pretrained(folder)
    return folder


def test_weights_and_tokenizer_are_those_of_the_revision(hub, tmp_path):
    folders = {"main": write_revision(tmp_path / "a", 1.0, "</a>"), "v1": write_revision(tmp_path / "b", 2.0, "</b>")}
    name = hub("me/tiny", folders)
    for revision, scale, special in (("main", 1, "</a>"), ("v1", 2, "</b>"), (f"{1:040x}", 2, "</b>")):
        backbone = read_backbone(BackboneArguments(backbone=name, revision=revision), [])
        assert (backbone.model.lm_head.weight == scale).all()
        assert backbone.tokenizer.eos_token == special
    with pytest.raises(GenRecError, match="Cannot load the backbone 'me/tiny'"):
        read_backbone(BackboneArguments(backbone=name, revision="v2"), [])


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_code_of_the_hub_is_that_of_the_revision(hub, world, tmp_path, mark, adapter):
    """Also for a checkpoint that holds all weights, whose configuration names the code by its hub id alone."""
    other = mark.with_name("code-of-main-has-run")
    folders = {}
    for revision, left in (("main", other), ("v1", mark)):
        folders[revision] = add_code(write_base(tmp_path / revision), left, prefix="me/tiny--")
    name = hub("me/tiny", folders)
    _, model, batch = world(backbone=name, revision="v1", trust_remote_code=True, adapter=adapter, decoding="full")
    assert mark.exists() and not other.exists()
    assert GenRecommender.from_checkpoint("best", trust_remote_code=True).recommend(HEAT)[0]
    export("best", "plain", merged=True, trust_remote_code=True)
    assert not other.exists()
