"""Audits that ask the model itself: what is read off its states, and what becomes of its lists in another prompt."""

import json
from pathlib import Path

import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.evaluation import probe
from tests.model.conftest import checkerboard, checkpoint, local  # noqa: F401  fixtures
from tests.model.promptllm_world import built


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(probe, "SHUFFLES", 4)
    monkeypatch.setattr(probe, "RESAMPLES", 100)


def write_users(data_path):
    """Users of the checkerboard: the colour that they walk along, and a coin that says nothing of it."""
    rows = [f"u{user}\t{('black', 'white')[user % 2]}\t{user // 2 % 2}" for user in range(48)]
    text = "\n".join(["user_id:token\tcolour:token\tcoin:token", *rows])
    Path(data_path, "tiny", "tiny.user").write_text(text + "\n", "utf-8")


@pytest.mark.parametrize("model", ["SASRecAll", "SASRec"])
def test_what_a_model_knows_is_read_off_its_states(checkerboard, few_draws, model, capsys):  # noqa: F811
    run_recbole_genrec(model, "tiny", config_dict=checkerboard | {"epochs": 2})
    write_users(checkerboard["data_path"])
    path = f"results/{model}-tiny-2020.json"
    assert main(["audit", f"--run={path}", "--by=colour,coin", "--probe", "--topk=3"]) == 0
    found = json.loads(Path(path.replace(".json", ".audit.json")).read_text("utf-8"))["probe"]
    assert found["colour"]["auc"] > 0.95 and found["colour"]["users"] == 48
    assert found["colour"]["groups"] == ["black", "white"] and not found["colour"]["read_by_model"]
    assert found["coin"]["auc"] < 0.9
    assert "Attributes read off states of users" in capsys.readouterr().out


def test_a_probe_needs_the_checkpoint(checkerboard, few_draws, capsys):  # noqa: F811
    run_recbole_genrec("SASRecAll", "tiny", config_dict=checkerboard | {"epochs": 1})
    write_users(checkerboard["data_path"])
    path = Path("results/SASRecAll-tiny-2020.json")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"checkpoint": None}), "utf-8")
    assert main(["audit", f"--run={path}", "--by=colour", "--probe", "--topk=3"]) == 2
    assert "names no checkpoint" in capsys.readouterr().err


@pytest.fixture
def prompted(local):  # noqa: F811
    """A run of a prompted model with users of two colours; gives the path of its JSON."""
    run_recbole_genrec("PromptLLM", "tiny", config_dict=local)
    write_users(local["data_path"])
    return Path("results/PromptLLM-tiny-2020.json")


def test_lists_change_where_an_attribute_is_named(prompted, local, capsys):  # noqa: F811
    options = ["--by=colour", "--named=colour", "--named_users=9", "--topk=4"]
    assert main(["audit", f"--run={prompted}", *options]) == 0
    named = json.loads(prompted.with_suffix(".audit.json").read_text("utf-8"))["named"]["colour"]
    assert named["users"] == 9 and list(named["values"]) == ["black", "white"]
    assert named["values"]["white"]["sentence"] == "About the user: colour is white."
    # the lists once more, without the audit
    config, data, model = built(local | {"eval_users": 9})
    interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
    model.eval()
    lists = {"": model.full_sort_predict(interaction).topk(4).indices.tolist()}
    for value in named["values"]:
        with model.about_user(f"About the user: colour is {value}."):
            lists[value] = model.full_sort_predict(interaction).topk(4).indices.tolist()
    assert lists["black"] != lists[""]
    means = []
    for value, own in named["values"].items():
        pairs = [(set(one), set(other)) for one, other in zip(lists[""], lists[value])]
        means.append(sum(len(one & other) / len(one | other) for one, other in pairs) / 9)
        assert own["similarity"]["jaccard"][0] == pytest.approx(means[-1])
    assert named["snsr"]["jaccard"] == pytest.approx(abs(means[0] - means[1]))
    assert named["snsv"]["jaccard"] == pytest.approx(abs(means[0] - means[1]) / 2)
    assert "Similarity to the neutral list where colour is named" in capsys.readouterr().out


def test_the_neutral_prompt_changes_nothing(prompted, monkeypatch):
    """Asked again, it gives the neutral lists: all similarities are 1."""
    monkeypatch.setattr("recbole_genrec.model.promptllm.with_preface", lambda tokens, *_: tokens)
    assert main(["audit", f"--run={prompted}", "--by=colour", "--named=colour", "--topk=4", "--named_users=5"]) == 0
    named = json.loads(prompted.with_suffix(".audit.json").read_text("utf-8"))["named"]["colour"]
    assert all(mean == [1, 1, 1] for own in named["values"].values() for mean in own["similarity"].values())
    assert set(named["snsr"].values()) == {0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--named_users=5"], "--named_users needs --named"),
        (["--sentences=x.yaml"], "--sentences needs --named"),
        (["--named=color"], "needs the column 'color'"),
        (["--named=colour", "--least=25"], "'colour' has no two groups of 25 users"),
        (["--named=colour", "--sentences=x.yaml"], "x.yaml"),
    ],
)
def test_what_cannot_be_named_is_one_line(prompted, capsys, options, message):
    assert main(["audit", f"--run={prompted}", "--by=coin", "--topk=4", *options]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said and said.startswith("error: ")


def test_a_model_without_a_prompt_is_refused(checkerboard, capsys):  # noqa: F811
    run_recbole_genrec("SASRecAll", "tiny", config_dict=checkerboard | {"epochs": 1})
    options = ["--run=results/SASRecAll-tiny-2020.json", "--by=coin", "--named=colour", "--topk=4"]
    assert main(["audit", *options]) == 2
    assert "--named needs a model that is asked by a prompt, not SASRecAll: PromptLLM" in capsys.readouterr().err
