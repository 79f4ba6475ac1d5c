import pickle

import pytest
from recbole.utils import ModelType

from recbole_genrec import GenRecError
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import check_effects, idle_keys
from recbole_genrec.config.yaml_settings import parse_value, read_yaml


def config(model="SASRec", dataset="ml-100k", files=None, settings=None, **kwargs):
    return GenRecConfig(model, dataset, files, settings, **kwargs)


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return str(path)

    return write_file


def test_the_defaults_are_leave_one_out_and_full_ranking():
    defaults = config()
    assert defaults["eval_args"] == {
        "split": {"LS": "valid_and_test"},
        "group_by": "user",
        "order": "TO",
        "mode": {"valid": "full", "test": "full"},
    }
    assert defaults["metrics"] == ["Hit", "NDCG"]
    assert defaults["topk"] == [5, 10, 20]
    assert defaults["valid_metric"] == "NDCG@10"
    assert defaults["MODEL_TYPE"] == ModelType.SEQUENTIAL
    assert "timestamp" in defaults["load_col"]["inter"]


def test_recboles_own_model_defaults_stay():
    assert config()["hidden_dropout_prob"] == 0.5
    assert config("BERT4Rec")["transform"] == "mask_itemseq"


def test_an_unknown_dataset_loads_the_columns_that_a_sequential_model_needs():
    settings = {"TIME_FIELD": "when", "USER_ID_FIELD": "user"}
    assert config(dataset="mine", settings=settings)["load_col"] == {"inter": ["user_id", "item_id", "user", "when"]}


def test_a_given_load_col_is_left_alone():
    assert config(dataset="mine", settings={"load_col": {"inter": ["a"]}})["load_col"] == {"inter": ["a"]}


def test_priority_is_command_line_then_dictionary_then_later_file(write):
    files = [write("epochs: 1\nseed: 1\nlearning_rate: 1\ntrain_batch_size: 1", "a.yaml"), write("seed: 2", "b.yaml")]
    made = config(files=files, settings={"epochs": 3, "learning_rate": 0.3}, command_line={"learning_rate": 0.4})
    assert [made[key] for key in ("train_batch_size", "seed", "epochs", "learning_rate")] == [1, 2, 3, 0.4]


def test_the_process_command_line_is_not_read(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prog", "--epochs=7", "--nonsense=1"])
    assert config()["epochs"] == 300


@pytest.mark.parametrize("text", ["__import__('os').abort()", "1+1", "print(1)"])
def test_strings_are_never_evaluated(text, write):
    assert config(settings={"wandb_project": text})["wandb_project"] == text
    assert config(command_line={"wandb_project": text})["wandb_project"] == text


def test_the_callers_dictionary_is_not_changed():
    mine = {"epochs": 2, "SASRec": {"n_layers": 1}}
    config(settings=mine)
    assert mine == {"epochs": 2, "SASRec": {"n_layers": 1}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2.5E+4", -2.5e4),
        (".5e1", 5.0),
        ("0.1", 0.1),
        ("5", 5),
        ("[5, 10]", [5, 10]),
        ("{valid: full}", {"valid": "full"}),
        ("true", True),
        ("~", None),
        ("'[5,inf)'", "[5,inf)"),
    ],
)
def test_values_of_the_command_line_are_yaml(text, value):
    assert parse_value("anything", text) == value
    assert type(parse_value("anything", text)) is type(value)


def test_a_value_that_is_not_yaml_is_an_error():
    with pytest.raises(GenRecError, match=r"--topk is not valid YAML: '\[5, 10'"):
        parse_value("topk", "[5, 10")


@pytest.mark.parametrize("text", ["{title}", "{title} ({year})", "7", "no"])
def test_text_settings_stay_as_typed(text):
    assert parse_value("item_text", text) == text


def test_a_quoted_text_setting_loses_its_quotes():
    assert parse_value("item_text", "'{title}: x'") == "{title}: x"


class TestUnknownKeys:
    def test_in_a_dictionary(self):
        with pytest.raises(GenRecError, match=r"'learning_rat' \(config_dict\). Did you mean 'learning_rate'"):
            config(settings={"learning_rat": 0.1})

    def test_on_the_command_line(self):
        with pytest.raises(GenRecError, match=r"'epoch' \(command line\). Did you mean 'epochs'"):
            config(command_line={"epoch": 1})

    def test_in_a_file(self, write):
        path = write("hiden_size: 3")
        with pytest.raises(GenRecError, match=r"'hiden_size' \(.*mine.yaml\). Did you mean 'hidden_size'"):
            config(files=[path])

    def test_in_a_models_section(self):
        with pytest.raises(GenRecError, match=r"'n_layer' \(config_dict, section 'SASRec'\)"):
            config(settings={"SASRec": {"n_layer": 1}})

    def test_in_the_section_of_a_model_that_does_not_run(self):
        assert config(settings={"BERT4Rec": {"mask_ratio": 0.1}})["mask_ratio"] is None
        with pytest.raises(GenRecError, match=r"'mask_rate' \(config_dict, section 'BERT4Rec'\)"):
            config(settings={"BERT4Rec": {"mask_rate": 0.1}})

    def test_that_resemble_nothing(self):
        with pytest.raises(GenRecError, match="'zzzzzzzz'.*neither"):
            config(settings={"zzzzzzzz": 1})

    def test_keys_of_the_other_models_of_the_run_are_known(self):
        assert config("GRU4Rec", settings={"ft_ratio": 0.4}, models=["GRU4Rec", "BERT4Rec"])["ft_ratio"] == 0.4
        with pytest.raises(GenRecError, match="ft_ratio"):
            config("GRU4Rec", command_line={"ft_ratio": 0.4})

    def test_keys_that_only_a_models_code_names_are_known(self):
        assert config("GRU4RecKG", settings={"embedding_size": 8})["embedding_size"] == 8
        assert config("S3Rec", settings={"pre_model_path": "x", "train_stage": "pretrain"})["pre_model_path"] == "x"

    def test_keys_of_another_model_of_the_run_are_known(self):
        settings = {"prompt": "continuation", "results_dir": "there", "packing": False}
        assert config(settings=settings, models=["SASRec", "GenRec"])["results_dir"] == "there"

    def test_keys_that_no_model_of_the_run_reads_say_who_does(self):
        with pytest.raises(
            GenRecError, match=r"'mask_ratio' \(command line\) has no effect on GenRec. It is read by: G"
        ):
            config("GenRec", command_line={"mask_ratio": 0.3})

    def test_of_a_shared_file_a_run_lists_what_it_does_not_read(self, write):
        shared = config("GenRec", files=[write("mask_ratio: 0.3\nepochs: 1\nquantization: none")])
        assert idle_keys([shared]).startswith("Without effect on this run: mask_ratio (")
        assert idle_keys([shared]).count("(") == 1

    def test_a_value_of_a_shared_file_fits_one_of_the_models_that_read_it(self, write):
        with pytest.raises(GenRecError, match="'mask_ratio' must be a number"):
            config("GenRec", files=[write("mask_ratio: much")])


def test_a_later_source_overrides_a_models_section(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("epochs: 1\nstopping_step: 2\nSASRec: {epochs: 3, stopping_step: 4, n_layers: 1}\n", "utf-8")
    second.write_text("stopping_step: 5\nSASRec: {n_layers: 3}\n", "utf-8")
    config = GenRecConfig("SASRec", "ml-100k", [first, second], command_line={"epochs": 7}, models=["SASRec", "GenRec"])
    assert [config[key] for key in ("epochs", "stopping_step", "n_layers")] == [7, 5, 3]
    other = GenRecConfig("GenRec", "ml-100k", [first, second], models=["SASRec", "GenRec"])
    assert [other[key] for key in ("epochs", "stopping_step")] == [1, 5]


def test_a_models_section_holds_for_that_model_alone():
    settings = {"SASRec": {"epochs": 2, "n_layers": 1}, "BERT4Rec": {"epochs": 9}, "epochs": 5}
    models = ["SASRec", "BERT4Rec", "GRU4Rec"]
    epochs = [config(model, settings=settings, models=models)["epochs"] for model in models]
    assert epochs == [2, 9, 5]


class TestBadValues:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epochs": "three"}, "'epochs' must be a whole number of at least 0, not 'three'"),
            ({"epochs": 1.5}, "'epochs' must be a whole number"),
            ({"use_gpu": "maybe"}, "'use_gpu' must be true or false"),
            ({"learning_rate": True}, "'learning_rate' must be a number"),
            ({"metrics": ["Hitt"]}, "Unknown metric 'Hitt'"),
            ({"valid_metric": "MRR@10"}, "Unknown valid_metric 'MRR@10'.*NDCG@10"),
            ({"topk": 0}, "'topk' must be a whole number of at least 1, or a list"),
            ({"learner": "adem"}, "Unknown value of 'learner': 'adem' .config_dict.. Did you mean 'adam'"),
            ({"eval_args": {"mode": "whole"}}, "whole"),
            ({"repeatable": "no"}, "'repeatable' must be true or false"),
            ({"save_dataset": True}, "'save_dataset' is not supported"),
        ],
    )
    def test_are_named(self, settings, message):
        with pytest.raises(GenRecError, match=message):
            config(settings=settings)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"item_text": {"title": None}}, "'item_text' must be text"),
            ({"normalization": "tree"}, "normalization"),
            ({"prompt": "continuatoin"}, "Unknown prompt 'continuatoin'. Did you mean 'continuation'"),
            ({"item_indexing": "titel"}, "Unknown item indexing 'titel'. Did you mean 'title'"),
        ],
    )
    def test_of_the_plugins_models_are_named_before_anything_runs(self, settings, message):
        with pytest.raises(GenRecError, match=message):
            config("GenRec", settings=settings)


@pytest.mark.parametrize("name", ["./mine", "data/mine", "..", ".", "mine/"])
def test_a_dataset_is_a_name_and_no_path(name):
    with pytest.raises(GenRecError, match="'dataset' must be the name of a folder below 'data_path', not"):
        config("GenRec", name)


class TestTransforms:
    """Of RecBole: what its models need of a batch."""

    def test_a_model_without_its_own_is_refused(self):
        with pytest.raises(GenRecError, match="BERT4Rec reads what 'transform: mask_itemseq' makes, not None"):
            config("BERT4Rec", settings={"transform": None})

    def test_masks_need_an_item(self):
        with pytest.raises(GenRecError, match="of 'MAX_ITEM_LIST_LENGTH' .4. masks no item: BERT4Rec"):
            config("BERT4Rec", settings={"mask_ratio": 0.2, "MAX_ITEM_LIST_LENGTH": 4})
        assert config("BERT4Rec", settings={"mask_ratio": 0.25, "MAX_ITEM_LIST_LENGTH": 4})["mask_ratio"] == 0.25


class TestFiles:
    def test_missing(self):
        with pytest.raises(GenRecError, match="Cannot read configuration file 'nowhere.yaml'"):
            config(files=["nowhere.yaml"])

    def test_broken(self, write):
        with pytest.raises(GenRecError, match="mine.yaml, line 2: not valid YAML"):
            read_yaml(write("epochs: 1\nseed: 3: 4\n"))

    def test_that_holds_a_list(self, write):
        with pytest.raises(GenRecError, match="mine.yaml, line 1.*not a list"):
            read_yaml(write("- epochs"))

    def test_that_is_empty(self, write):
        assert read_yaml(write("# nothing yet\n")) == {}

    def test_that_is_no_text(self, tmp_path):
        (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\xff")
        with pytest.raises(GenRecError, match="x.yaml"):
            read_yaml(tmp_path / "x.yaml")

    def test_python_objects_are_not_made(self, write):
        with pytest.raises(GenRecError, match="not valid YAML"):
            read_yaml(write("epochs: !!python/object/apply:os.getcwd []"))


class TestModels:
    def test_unknown(self):
        with pytest.raises(GenRecError, match="Unknown model 'SASRek'. Did you mean 'SASRec'"):
            config("SASRek")

    def test_of_another_kind(self):
        with pytest.raises(GenRecError, match="'FM' is neither a sequential nor a general model"):
            config("FM")

    def test_not_given(self):
        with pytest.raises(GenRecError, match="No model given"):
            GenRecConfig(None, "ml-100k")
        with pytest.raises(GenRecError, match="No dataset given"):
            GenRecConfig("SASRec", None)

    def test_given_in_a_file(self, write):
        made = GenRecConfig(config_file_list=[write("model: GRU4Rec\ndataset: ml-100k")])
        assert (made.model, made.dataset) == ("GRU4Rec", "ml-100k")


def test_a_cross_entropy_loss_takes_no_negatives():
    assert config("SASRec")["train_neg_sample_args"]["distribution"] == "none"
    assert config("SASRec", settings={"loss_type": "BPR"})["train_neg_sample_args"]["distribution"] == "uniform"
    assert config("FPMC")["train_neg_sample_args"]["distribution"] == "uniform"


def test_negatives_asked_for_with_a_cross_entropy_loss_are_an_error():
    with pytest.raises(GenRecError, match="should be None when the loss_type is CE"):
        config("SASRec", settings={"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}})


def test_eval_args_may_be_given_in_part():
    made = config(settings={"eval_args": {"mode": "uni50"}})
    assert made["eval_args"]["order"] == "TO"
    assert made["valid_neg_sample_args"] == {"distribution": "uniform", "sample_num": 50}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"topk": [1, 3]}, "NDCG@3"),
        ({"metrics": ["MRR"]}, "MRR@20"),
        ({"metrics": ["Hit", "GAUC"]}, "GAUC"),
        ({"valid_metric": "hit@5"}, "hit@5"),
    ],
)
def test_valid_metric_follows_the_metrics_unless_it_is_given(settings, expected):
    assert config(settings=settings)["valid_metric"] == expected


def test_the_environment_chooses_the_device_unless_gpu_id_does(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert config()["gpu_id"] == "3"
    assert config(settings={"gpu_id": "1"})["gpu_id"] == "1"


def test_a_configuration_survives_pickling():
    made = config(settings={"epochs": 2})
    assert pickle.loads(pickle.dumps(made)).final_config_dict == made.final_config_dict


class TestEffects:
    """A setting that has no effect beside another is refused, with what it needs."""

    @pytest.mark.parametrize(
        ("model", "settings", "message"),
        [
            ("GenRec", {"packing": False, "history_dropout": 0.9}, "'packing: false'; it needs 'packing: true'"),
            ("GenRec", {"quantization": "4bit"}, "'backbone: scratch'; it needs 'backbone: a folder or a hub id'"),
            ("GenRec", {"lora_r": 4}, "'backbone: scratch'"),
            ("GenRec", {"backbone": "some/model", "adapter": "none", "lora_r": 4}, "it needs 'adapter: lora'"),
            ("GenRec", {"backbone": "some/model", "scratch_layers": 4}, "it needs 'backbone: scratch'"),
            ("GenRec", {"train_batch_size": 4}, "'train_batch_tokens: 8192'; it needs 'train_batch_tokens: 0'"),
            ("GenRec", {"svd_bins": 4}, "'item_indexing: title'; it needs 'item_indexing: svd'"),
            ("GenRec", {"item_indexing": "hybrid", "semantic_codes": 4}, "it needs 'hybrid_prefix: semantic'"),
            ("GenRec", {"decoding": "full", "num_beams": 30}, "it needs 'decoding: exact or beam'"),
            ("GenRec", {"item_embedding_dropout": 0.1}, "it needs 'history: vectors or both'"),
            ("GenRec", {"learner": "sgd", "adam_betas": [0.9, 0.9]}, "it needs 'learner: adam or adamw'"),
            ("PromptLLM", {"chat_model": "small"}, "it needs 'ranking: chat'"),
            ("GenRecSeq2Seq", {"train_stage": "finetune", "pretrain_epochs": 3}, "it needs 'train_stage: pretrain or"),
            ("SASRec", {"wandb_project": "mine"}, "it needs 'log_wandb: true'"),
        ],
    )
    def test_a_setting_that_another_one_idles(self, model, settings, message):
        with pytest.raises(GenRecError, match=message):
            check_effects([config(model, "mine", command_line=settings)])

    @pytest.mark.parametrize(
        "settings", [{"packing": False, "history_dropout": 0.9}, {"quantization": "4bit"}, {"item_prior_loss": 0.5}]
    )
    def test_what_asks_for_something_is_refused_in_a_dictionary_too(self, settings):
        with pytest.raises(GenRecError, match="has no effect with|weight of a loss"):
            check_effects([config("GenRec", "mine", settings=settings)])

    def test_a_parameter_of_another_choice_is_listed(self):
        made = config("GenRec", "mine", settings={"svd_bins": 4, "lora_r": 3, "train_batch_size": 7})
        check_effects([made])
        assert idle_keys([made]) == (
            "Without effect on this run: lora_r (config_dict), svd_bins (config_dict), train_batch_size (config_dict)."
        )

    @pytest.mark.parametrize(
        ("model", "settings"),
        [
            ("GenRec", {"packing": True, "history_dropout": 0.5}),
            ("GenRec", {"quantization": "none", "trust_remote_code": False, "adapter": "none"}),
            ("GenRec", {"packing": False, "train_batch_size": 4}),
            ("GenRec", {"train_batch_tokens": 0, "train_batch_size": 4}),
            ("GenRec", {"item_indexing": "hybrid", "hybrid_prefix": "semantic", "semantic_codes": 4}),
            ("GenRecSeq2Seq", {"history_dropout": 0.5}),
            ("SASRec", {"train_batch_size": 4}),
        ],
    )
    def test_a_setting_with_what_it_needs(self, model, settings):
        check_effects([config(model, "mine", command_line=settings)])

    def test_who_overrides_a_files_backbone_idles_its_adapter_on_purpose(self, write):
        path = write("backbone: some/model\nlora_r: 4")
        check_effects([config("GenRec", "mine", [path], command_line={"backbone": "scratch"})])
        with pytest.raises(GenRecError, match=r"'lora_r' \(command line\) has no effect"):
            check_effects([config("GenRec", "mine", [path], command_line={"backbone": "scratch", "lora_r": 4})])

    def test_one_model_of_a_run_is_enough(self):
        models = ["GenRec", "SASRec"]
        check_effects([config(model, "mine", command_line={"train_batch_size": 4}, models=models) for model in models])

    def test_a_model_beside_counts(self):
        check_effects([config("GenRec", "mine", command_line={"train_batch_size": 4})], beside=["SASRec"])
