"""The descriptions of all settings: complete, in the reference, and the check that comes from them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_genrec.cli.main import main
from recbole_genrec.config.arguments.reference import reference
from recbole_genrec.config.arguments.schema import all_settings, check_value, explain, plugin_keys
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import check_effects, model_kind
from recbole_genrec.config.registry import MODELS, all_models, get_model
from recbole_genrec.config.yaml_settings import parse_value
from recbole_genrec.errors import GenRecError

DOCS = Path(__file__).parents[2] / "docs"
ALL_MODELS = [*MODELS, "SASRec", "GRU4Rec", "BERT4Rec", "S3Rec"]
#: values of every kind; hypothesis nests and mixes them.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["full", "None", "[1,2]"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("mode"), inner, max_size=3)
    ),
    max_leaves=5,
)


def test_the_reference_is_up_to_date():
    """``python -m recbole_genrec.config.arguments.reference > docs/settings.md``"""
    assert (DOCS / "settings.md").read_text("utf-8") == reference()


@pytest.mark.parametrize("model", all_models())
def test_every_key_that_a_model_of_recbole_reads_is_described(model):
    kind = model_kind(get_model(model))
    assert kind.named - all_settings().keys() - {"time-aware"} == set()  # which is no name of a field


def test_every_key_has_a_sentence_and_a_type_in_words():
    for key, found in all_settings().items():
        for setting in found:
            assert setting.sentence.endswith("."), key
            assert setting.expected and "[" not in setting.expected.replace("[", "", 3), key


@pytest.mark.parametrize("model", MODELS)
def test_defaults_pass_their_own_check_and_have_an_effect(model):
    config = GenRecConfig(model, "mine")
    for key, setting in model_kind(config.model_class).settings().items():
        if config[key] is not None and key not in ("data_path", "train_neg_sample_args", "device"):
            check_value(setting, config[key])
    check_effects([config])


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_value_of_any_key_is_taken_or_refused(model, data):
    key = data.draw(st.sampled_from(sorted(all_settings())))
    value = data.draw(VALUES)
    if key in ("model", "dataset"):
        return
    try:
        check_effects([GenRecConfig(model, "mine", command_line={key: value})])
    except GenRecError as error:
        assert key in str(error) or "configuration" in str(error)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("field_separator", ",", ","),
        ("field_separator", "::", "::"),
        ("field_separator", r"\t", "\t"),
        ("seq_separator", "|", "|"),
        ("user_inter_num_interval", "[5,inf)", "[5,inf)"),
        ("item_inter_num_interval", "None", None),
        ("load_col", "None", None),
        ("eval_args", "{group_by: None}", {"group_by": None}),
        ("base_url", "http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("gpu_id", "0,1", "0,1"),
        ("gpu_id", "1", 1),
        ("topk", "[5, 10]", [5, 10]),
    ],
)
def test_the_command_line_takes_what_users_of_recbole_type(key, text, value):
    assert parse_value(key, text) == value
    check_value(all_settings()[key][0], value)


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help", "num_beams"], ["--help=num_beams"], ["--help", "--num_beams"]])
    def test_of_a_key(self, arguments, capsys):
        assert main(arguments) == 0
        said = capsys.readouterr().out
        assert "--num_beams: a whole number of at least 1" in said
        assert "Needs 'decoding: exact or beam'" in said and "Default: 20" in said

    def test_of_an_unknown_key(self, capsys):
        assert main(["--help", "num_beam"]) == 2
        assert "Unknown key 'num_beam'. Did you mean 'num_beams'?" in capsys.readouterr().err

    def test_of_a_key_that_three_models_read_differently(self):
        assert explain("train_stage").count("--train_stage") == 3

    def test_every_key_can_be_explained(self):
        for key in plugin_keys():
            assert "Read by: " in explain(key)
