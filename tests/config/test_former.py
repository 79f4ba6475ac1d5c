"""Settings under their former names: taken as what they are called today, wherever they stand."""

import pytest

from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.config.arguments.former import with_present_names
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.sources import check_command_line
from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.identity import deciding_settings, differences


@pytest.mark.parametrize(("former", "present"), [(True, "lora"), (False, "none")])
def test_lora_is_an_adapter(tmp_path, former, present):
    (tmp_path / "mine.yaml").write_text(f"backbone: some/model\nlora: {str(former).lower()}\n", "utf-8")
    path = str(tmp_path / "mine.yaml")
    given = {
        path: GenRecConfig("GenRec", "mine", [path]),
        "config_dict": GenRecConfig("GenRec", "mine", config_dict={"backbone": "some/model", "lora": former}),
        "command line": GenRecConfig("GenRec", "mine", command_line={"backbone": "some/model", "lora": former}),
    }
    for source, config in given.items():
        assert BackboneArguments.from_config(config).adapter == present and config["lora"] is None
        assert config.notices == [f"'lora' ({source}) is 'adapter' today: 'adapter: {present}' is taken."]
    check_command_line(["GenRec"], "mine", [path], {"lora": former})


def test_in_the_section_of_a_model():
    config = GenRecConfig("GenRec", "mine", config_dict={"GenRec": {"backbone": "some/model", "lora": False}})
    assert config["adapter"] == "none" and len(config.notices) == 1
    options = {"chat_options": {"lora": True}}  # of a server, not of this package
    assert with_present_names(options) == (options, [])


def test_one_name_at_a_time_and_a_value_that_is_one():
    with pytest.raises(GenRecError, match=r"'lora' \(command line\) is the former name of 'adapter', which is there"):
        GenRecConfig("GenRec", "mine", command_line={"lora": True, "adapter": "ia3"})
    with pytest.raises(GenRecError, match="value of 'adapter': 'yes'.*lora"):
        GenRecConfig("GenRec", "mine", config_dict={"lora": "yes"})


def test_a_stored_run_under_the_former_name_is_the_same_run():
    config = GenRecConfig("GenRec", "mine", config_dict={"backbone": "some/model", "adapter": "none"})
    stored = {**config.final_config_dict, "lora": False}
    del stored["adapter"]
    assert deciding_settings(stored)["adapter"] == "none" and "adapter" not in differences(stored, config)
    assert "adapter" in differences({**stored, "lora": True}, config)
