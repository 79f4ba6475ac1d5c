"""Every shipped YAML file loads and holds known keys only."""

import re
from pathlib import Path

import pytest
from recbole.config import Config

from benchmarks.latest import tomllib
from recbole_genrec.backbone.scratch import build_scratch_t5
from recbole_genrec.config.arguments import (
    BackboneArguments,
    EngineArguments,
    IndexingArguments,
    PromptArguments,
    ScheduleArguments,
    Seq2SeqArguments,
    TrainerArguments,
    UniTRecArguments,
    plugin_keys,
)
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import check_effects, model_kind
from recbole_genrec.config.registry import MODELS, get_model
from recbole_genrec.config.yaml_settings import read_yaml
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.prompt.template import load_template
from recbole_genrec.prompt.yes_no_prompts import load_yes_no
from recbole_genrec.training.schedule import learning_rate_factor

ROOT = Path(__file__).parents[1]
FOLDER = properties_folder()
SETTINGS = sorted(
    path
    for path in FOLDER.rglob("*.yaml")
    if path.parent.name not in ("prompt", "task", "chat", "report", "search", "yes_no", "about_user", "alignment")
)
#: models by the first word of a paper's or an ablation's file.
MODEL_OF = {name.lower(): name for name in MODELS} | {"pod": "P5"}


def model_of(path):
    """The model that a file of settings is for."""
    if path.parent.name in ("model", "pretrained"):
        return path.stem
    return MODEL_OF.get(path.stem.split("-")[0], "GenRec")


def config_of(path):
    """The configuration that a shipped file of settings takes part in."""
    if path.parent.name == "model":
        return GenRecConfig(path.stem, "mine")
    if path.parent.name == "dataset":
        return GenRecConfig("GenRec", path.stem)
    if path.parent.name == "pretrained":  # nothing is loaded
        return GenRecConfig(path.stem, "ml-1m", config_dict={"backbone": "some/model"})
    return GenRecConfig(model_of(path), "ml-100k", [str(path)])


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(FOLDER).as_posix())


def test_the_folders_are_those_that_this_file_knows():
    folders = {path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml")}
    known = {
        ".",
        "about_user",
        "alignment",
        "ablation",
        "chat",
        "dataset",
        "model",
        "paper",
        "pretrained",
        "prompt",
        "report",
        "search",
        "task",
        "yes_no",
    }
    assert folders == known
    assert {path.stem for path in FOLDER.glob("model/*.yaml")} == MODELS.keys()


@named(SETTINGS)
def test_settings_load_and_arrive(path):
    config, settings = config_of(path), read_yaml(path)
    sections = sections_of(settings)
    settings |= sections.get(config["model"], {})
    own = settings.keys() & plugin_keys()
    assert {key: config[key] for key in own} == {key: settings[key] for key in own}


@named(SETTINGS)
def test_every_key_is_described_and_read(path):
    settings = read_yaml(path)
    sections = sections_of(settings)
    for name, keys in {model_of(path): settings, **sections}.items():
        unread = keys.keys() - model_kind(get_model(name)).settings().keys()
        stated = {"train_neg_sample_args"}  # which none of them reads, and RecBole's default would set
        if name == "PromptLLM":  # what would change a model that is not trained
            stated |= {"epochs", "adapter", "embedding_dropout", "hidden_dropout"}
        assert unread <= stated


@named(SETTINGS)
def test_no_setting_of_a_shipped_file_is_without_effect(path):
    check_effects([config_of(path)])


def sections_of(settings):
    """Take the settings of single models out of a dataset's."""
    return {model: settings.pop(model) for model in MODELS.keys() & settings.keys()}


def test_a_section_of_a_dataset_is_for_its_model_alone():
    toys = {name: GenRecConfig(name, "amazon14-toys") for name in ("GenRec", "GenRecSeq2Seq", "SASRec")}
    assert toys["GenRec"]["item_prior"] is True and toys["GenRec"]["embedding_dropout"] == 0.4
    assert toys["GenRecSeq2Seq"]["item_prior"] is None
    assert toys["SASRec"]["weight_decay"] == 0 and "GenRec" not in toys["SASRec"].final_config_dict
    own = {"item_prior": False, "item_prior_loss": 0}
    assert GenRecConfig("GenRec", "amazon14-toys", config_dict=own)["item_prior"] is False
    stock = Config("GenRec", "amazon14-toys", config_dict={"data_path": "elsewhere"})
    assert stock["item_prior"] is True and stock["MAX_ITEM_LIST_LENGTH"] == 20


PRETRAINED = sorted(FOLDER.glob("pretrained/*.yaml"))


@named(PRETRAINED)
def test_defaults_of_a_pretrained_backbone_are_no_others(path):
    """They override what the model's and the data set's files say, and what the user gives overrides them."""
    defaults, model = read_yaml(path), path.stem
    config = config_of(path)
    assert {key: config[key] for key in defaults} == defaults == config.pretrained_defaults
    scratch = GenRecConfig(model, "ml-1m")
    assert scratch.pretrained_defaults == {} and any(scratch[key] != value for key, value in defaults.items())
    given = GenRecConfig(model, "ml-1m", config_dict={"backbone": "some/model", "learning_rate": 0.5})
    assert given["learning_rate"] == 0.5 and given["hidden_dropout"] == 0
    if hasattr(config.model_class, "not_plain") and model == "GenRec":
        assert config.model_class.not_plain(config) == {} != config.model_class.not_plain(scratch)


@pytest.mark.parametrize(("bfloat16", "use_gpu", "precision"), [(True, True, "bf16"), (False, True, "fp32")])
def test_a_gpu_that_knows_bfloat16_fine_tunes_in_it(monkeypatch, bfloat16, use_gpu, precision):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda emulated: bfloat16)
    monkeypatch.setattr("recbole.config.configurator.Config._init_device", lambda config: None)
    config = GenRecConfig("GenRec", "mine", config_dict={"backbone": "some/model"})
    assert TrainerArguments.from_config(config).precision == precision


@named(sorted(FOLDER.glob("prompt/*.yaml")))
def test_prompts_load_and_hold_known_keys(path):
    template = load_template(path.stem)  # refuses an unknown key
    assert template.version >= 1
    assert template.render(["Heat"], "Fargo").count("Fargo") == 1


GENERATIVE = [path for path in sorted(FOLDER.glob("paper/*.yaml")) if model_kind(model_of(path)).generative]


@named([path for path in GENERATIVE if path.stem != "tiger-t5"])  # which starts from scratch
def test_a_pretrained_backbone_does_without_the_dropout_of_a_scratch_model(path):
    backbone = BackboneArguments.from_config(config_of(path))
    assert backbone.backbone != "scratch"
    assert backbone.embedding_dropout == backbone.hidden_dropout == 0


def test_the_papers_own_setting():
    config = config_of(FOLDER / "paper/genrec-llama-7b.yaml")
    backbone, engine = BackboneArguments.from_config(config), EngineArguments.from_config(config)
    prompt, trainer = PromptArguments.from_config(config), TrainerArguments.from_config(config)
    assert (backbone.lora_r, backbone.lora_alpha, backbone.lora_dropout) == (8, 16, 0.05)
    assert backbone.lora_target_modules == ("q_proj", "v_proj")
    assert (prompt.prompt, prompt.max_prompt_tokens) == ("instruction", 256)
    assert (engine.packing, engine.normalization, engine.decoding, engine.num_beams) == (False, "vocab", "beam", 10)
    assert max(config["topk"]) <= engine.num_beams
    assert config["train_batch_size"] * trainer.gradient_accumulation_steps == 128
    assert (trainer.learning_rate, config["warmup_steps"], config["epochs"]) == (3e-4, 100, 3)


def test_genrecseq2seqs_own_setting():
    config = config_of(FOLDER / "paper/genrecseq2seq-bart-base.yaml")
    stages, engine = Seq2SeqArguments.from_config(config), EngineArguments.from_config(config)
    trainer = TrainerArguments.from_config(config)
    assert (stages.mask_ratio, stages.mask_pointer, stages.mask_last) == (0, False, 0.3)
    assert (engine.normalization, engine.decoding, engine.num_beams) == ("vocab", "beam", 21)
    assert (stages.pretrain_epochs, config["epochs"], trainer.learning_rate) == (10, 25, 1e-5)
    assert config["clip_grad_norm"] == {"max_norm": 5.0}


def test_tigers_own_setting():
    config = config_of(FOLDER / "paper/tiger-t5.yaml")
    indexing, engine = IndexingArguments.from_config(config), EngineArguments.from_config(config)
    assert (indexing.semantic_levels, indexing.semantic_codes, indexing.semantic_latent_size) == (3, 256, 32)
    assert (engine.normalization, engine.decoding, engine.train_batch_tokens) == ("vocab", "beam", 0)
    assert (config["user_tokens"], config["targets_per_user"], config["MAX_ITEM_LIST_LENGTH"]) == (2000, 0, 20)
    assert (config["train_batch_size"], config["learning_rate"]) == (256, 0.01)
    schedule = ScheduleArguments.from_config(config)
    factors = [learning_rate_factor(step, 100_000, schedule) for step in (0, 9_999, 39_999)]
    assert factors == pytest.approx([1, 1, 0.5])
    t5 = build_scratch_t5(BackboneArguments.from_config(config), []).config
    assert (t5.num_layers, t5.num_decoder_layers, t5.num_heads, t5.d_kv) == (4, 4, 6, 64)
    assert (t5.d_model, t5.d_ff, t5.dropout_rate) == (128, 1024, 0.1)


def test_tallrecs_own_setting():
    config = config_of(FOLDER / "paper/tallrec-llama-7b.yaml")
    backbone, trainer = BackboneArguments.from_config(config), TrainerArguments.from_config(config)
    assert (backbone.lora_r, backbone.lora_alpha, backbone.lora_dropout) == (8, 16, 0.05)
    assert backbone.lora_target_modules == ("q_proj", "v_proj")
    assert (config["history_items"], config["few_shot"], config["threshold"]) == (10, 64, {"rating": 4})
    assert config["train_batch_size"] * trainer.gradient_accumulation_steps == 128
    assert (config["eval_args"]["split"], config["eval_args"]["group_by"]) == ({"RS": [0.8, 0.1, 0.1]}, "none")


def test_unitrecs_own_setting():
    config = config_of(FOLDER / "paper/unitrec-bart-base.yaml")
    unitrec, trainer = UniTRecArguments.from_config(config), TrainerArguments.from_config(config)
    assert (unitrec.local_layers, unitrec.train_negatives, unitrec.perplexity_weight) == (3, 4, 1)
    assert (config["max_prompt_tokens"], config["targets_per_user"], config["epochs"]) == (1024, 0, 2)
    assert config["train_batch_size"] * trainer.gradient_accumulation_steps == 64
    assert (trainer.learning_rate, trainer.weight_decay, trainer.adam_betas) == (4e-5, 0, (0.9, 0.98))


@named(sorted(FOLDER.glob("yes_no/*.yaml")))
def test_yes_no_prompts_load_and_hold_known_keys(path):
    prompt = load_yes_no(path.stem)  # refuses an unknown key
    assert prompt.version >= 1
    assert prompt.write(["Heat"], [], "Fargo").count("Fargo") == 1


@named(sorted(FOLDER.glob("ablation/*.yaml")))
def test_an_ablation_changes_something_and_knows_its_model(path):
    changed, config = read_yaml(path), GenRecConfig(model_of(path), "ml-100k")
    assert changed and all(config[key] != value for key, value in changed.items())


@pytest.mark.parametrize("dataset", ["amazon14-toys", "ml-100k", "ml-1m"])
def test_the_models_own_file_takes_back_what_a_dataset_sets_for_it_and_nothing_else(dataset):
    with_section = GenRecConfig("GenRec", dataset)
    plain_one = GenRecConfig("GenRec", dataset, [str(FOLDER / "model/GenRec.yaml")])
    elsewhere = GenRecConfig("GenRec", "mine")
    section = read_yaml(FOLDER / f"dataset/{dataset}.yaml")["GenRec"]
    for key in section.keys() - {"eval_step"}:  # one of RecBole's own, which the file leaves alone
        assert plain_one[key] == elsewhere[key] != with_section[key]
    assert plain_one["item_text"] == with_section["item_text"] is not None


@pytest.mark.parametrize("dataset", ["amazon14-toys", "ml-100k", "ml-1m"])
@named(sorted(FOLDER.glob("paper/genrec-*.yaml")))
def test_papers_settings_stand_over_those_of_a_dataset(path, dataset):
    engine = EngineArguments.from_config(GenRecConfig("GenRec", dataset, [str(path)]))
    assert (engine.history, engine.item_prior, engine.item_prior_loss) == ("text", False, 0)


@named(sorted(FOLDER.glob("paper/p5-*.yaml")))
def test_p5s_own_settings(path):
    config = config_of(path)
    prompt, trainer = PromptArguments.from_config(config), TrainerArguments.from_config(config)
    assert (trainer.learning_rate, config["warmup_steps"], config["epochs"]) == (1e-3, 0.05, 10)
    assert prompt.max_prompt_tokens == 512
    assert EngineArguments.from_config(config).normalization == "vocab"
    assert config["learner"] == "adamw"


def test_the_audit_covers_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    audited = re.search(r'"\.\[(.+?)\]"', (ROOT / ".ci/audit").read_text("utf-8"))[1].split(",")
    assert set(audited) == extras - {"flash"}  # which has no wheel
