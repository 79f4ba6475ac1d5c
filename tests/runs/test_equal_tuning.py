"""Equal tuning: as many trials for each model, chosen by validation, and the choices over seeds in one table."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from recbole_genrec import GenRecError
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import known_keys
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.runs import compare, equal_tuning
from recbole_genrec.runs.equal_tuning import EqualSearch, tune_equally
from recbole_genrec.runs.result import read_run
from recbole_genrec.runs.shared_space import check_alike, draw, read_shared_space, space_file
from tests.results import run_result

SETTINGS = """\
topk: [1, 3]
SASRecAll: {hidden_size: 8, inner_size: 8, n_layers: 1, n_heads: 1, attn_dropout_prob: 0.1}
HSTU: {hidden_size: 8, n_layers: 1, n_heads: 1}
"""
SASRECALL = """\
learning_rate: {log: [1.0e-3, 1.0e-1]}
epochs: {choice: [1, 2]}
dropout: {uniform: [0.0, 0.5], keys: [hidden_dropout_prob]}
"""
HSTU = """\
learning_rate: {log: [1.0e-3, 1.0e-1]}
epochs: {choice: [1, 2]}
similarity: {choice: [dot, cosine]}
"""


@pytest.fixture
def asked(tmp_path, monkeypatch, write_dataset):
    """An empty working folder; gives the arguments of a search of two models."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{user}", f"i{(user + step) % 9}", 1000 + step) for user in range(8) for step in range(6)]
    write_dataset(tmp_path / "data", rows, [(f"i{item}", f"Item {item}") for item in range(9)])
    Path("settings.yaml").write_text(SETTINGS, "utf-8")
    Path("spaces").mkdir()
    Path("spaces/SASRecAll.yaml").write_text(SASRECALL, "utf-8")
    Path("spaces/HSTU.yaml").write_text(HSTU, "utf-8")
    return ["--models=SASRecAll,HSTU", "--dataset=tiny", "--trials=2", "--seeds=1,2", "--spaces=spaces"] + [
        "--data_path=data",
        "--config_files=settings.yaml",
    ]


@pytest.fixture
def made(monkeypatch):
    """Make runs in this process; gives the names of those that were made. A run whose name is in ``broken`` fails."""
    names, broken = [], set()

    def make(run):
        names.append(run.name.replace(" on tiny", ""))
        run.file("log").parent.mkdir(exist_ok=True, parents=True)
        run.file("log").write_text("KeyError: 'x'\n", "utf-8")
        if names[-1] in broken:
            return 1
        compare.follow(run.order)
        return 0

    monkeypatch.setattr(compare, "_make", make)
    make.names, make.broken = names, broken
    return make


def made_by(made, arguments, code=0):
    """Search, and return the names of the runs that it made."""
    made.names.clear()
    assert main(["compare_tuned", *arguments]) == code
    return list(made.names)


def rows_of_trials():
    """The rows of ``trials.csv``, by column."""
    return list(csv.DictReader(Path("results/trials.csv").read_text("utf-8").splitlines()))


TRIALS = [f"{model}, seed 1, trial {number}" for number in (0, 1) for model in ("SASRecAll", "HSTU")]
AGAIN = [f"{name}, seen items out" for name in TRIALS]
FINALS = [f"{model}, seed {seed}" for seed in (1, 2) for model in ("SASRecAll", "HSTU")]


class TestSpaces:
    def test_trials_are_alike_where_spaces_are(self):
        models = ("GenRec", "SASRecAll", "BSARec", "HSTU", "TIGER")
        spaces = {m: read_shared_space(space_file(m), known_keys([m], "ml-100k")) for m in models}
        check_alike(spaces)
        for number in range(12):
            drawn = {model: draw(space, 2020, number) for model, space in spaces.items()}
            for model in models[1:4]:
                assert drawn[model]["learning_rate"] == drawn["GenRec"]["learning_rate"]
                assert drawn[model]["hidden_size"] == drawn["GenRec"]["scratch_hidden_size"]
                assert drawn[model]["n_layers"] == drawn["GenRec"]["scratch_layers"]
                assert drawn[model]["hidden_dropout_prob"] == drawn["GenRec"]["scratch_dropout"]
                assert drawn[model]["text_vectors"] == drawn["GenRec"]["text_vectors"]

    @pytest.mark.parametrize("path", sorted((properties_folder() / "search").glob("*.yaml")), ids=lambda p: p.stem)
    def test_shipped_spaces_hold_values_that_their_model_takes(self, path):
        space = read_shared_space(path, known_keys([path.stem], "ml-100k"))
        for number in range(20):
            GenRecConfig(path.stem, "ml-100k", None, draw(space, 1, number))

    def test_draws_lie_within_and_cover_the_space(self, tmp_path):
        (tmp_path / "s.yaml").write_text(
            "learning_rate: {log: [1.0e-4, 1.0e-1]}\nhidden_dropout_prob: {uniform: [0.2, 0.4]}\n"
            "width: {choice: [2, 4], keys: {hidden_size: 1, inner_size: 4}}\n",
            "utf-8",
        )
        space = read_shared_space(tmp_path / "s.yaml", known_keys(["SASRec"], "ml-100k"))
        drawn = [draw(space, 7, number) for number in range(300)]
        rates = sorted(each["learning_rate"] for each in drawn)
        assert rates[0] >= 1e-4 and rates[-1] <= 1e-1
        assert 2e-3 < rates[150] < 6e-3  # the middle in the logarithm is 3.2e-3
        assert all(0.2 <= each["hidden_dropout_prob"] <= 0.4 for each in drawn)
        assert {(each["hidden_size"], each["inner_size"]) for each in drawn} == {(2, 8), (4, 16)}
        assert draw(space, 7, 5) == drawn[5] != draw(space, 8, 5)

    @pytest.mark.parametrize(("text", "message"), [
        ("learning_rat: {choice: [1]}", "'learning_rat'.*Did you mean"),
        ("epochs: [1, 2]", "'epochs' needs one of .*choice"),
        ("epochs: {choice: [1], log: [1, 2]}", "'epochs' needs one of"),
        ("epochs: {choice: 1}", "'choice' takes a list of values, not 1"),
        ("epochs: {choice: [1], key: [epochs]}", "Unknown entry of .*'key'"),
        ("learning_rate: {log: [0, 1]}", r"'log' takes \[low, high\]"),
        ("learning_rate: {uniform: [2, 1]}", r"'uniform' takes \[low, high\]"),
        ("seed: {choice: [1]}", "'seed' is the same for all trials"),
        ("a: {choice: [1], keys: [epochs]}\nepochs: {choice: [2]}", "both 'a' and 'epochs' decide 'epochs'"),
        ("a: {choice: [x], keys: {epochs: 2}}", "factors take numbers"),
        ("a: {choice: [1], keys: epochs}", "'keys' takes a list of settings"),
        ("{}", "is empty"),
    ])  # fmt: skip
    def test_mistakes_are_named(self, tmp_path, text, message):
        (tmp_path / "s.yaml").write_text(text, "utf-8")
        with pytest.raises(GenRecError, match=message):
            read_shared_space(tmp_path / "s.yaml", known_keys(["SASRec"], "ml-100k"))


def test_every_model_has_as_many_trials_and_everything_is_made_once(asked, made, capsys):
    assert made_by(made, asked) == TRIALS + AGAIN + FINALS + FINALS
    printed = capsys.readouterr().out
    assert printed.count("| SASRecAll | 2 |") == printed.count("| HSTU | 2 |") == 2  # a table for each protocol
    log = [line for line in printed.splitlines() if "done in" in line]
    assert [line.endswith("on validation") for line in log] == ["trial" in line for line in log]  # no trial's test
    kept, out = printed.split("\nSeen items kept:\n")[1].split("\nSeen items out:\n")
    assert "| SASRecAll | 2 |" in kept and "| SASRecAll | 2 |" in out and "(paired bootstrap" in out
    table = rows_of_trials()
    assert [(row["model"], row["trial"]) for row in table] == [
        (model, number) for number in "01" for model in ("SASRecAll", "HSTU")
    ]
    stored = json.loads(Path("results/trials.json").read_text("utf-8"))
    assert stored["valid_metric"] == "NDCG@3" and stored["selects_epochs"] == "kept"
    for row, trial in zip(table, stored["trials"]):
        result = read_run(Path(f"results/trials/{row['model']}/{row['trial']}/{row['model']}-tiny-1.json"))
        assert float(row["valid ndcg@3, kept"]) == result.best_valid_score
        assert trial["settings"] == {key: result.config[key] for key in trial["settings"]}
    assert table[0]["learning_rate"] == table[1]["learning_rate"] and table[0]["epochs"] == table[1]["epochs"]
    assert made_by(made, asked) == []
    more = [argument.replace("--trials=2", "--trials=3") for argument in asked]
    assert [name for name in made_by(made, more) if "trial" in name and "items" not in name] == [
        f"{model}, seed 1, trial 2" for model in ("SASRecAll", "HSTU")
    ]


def test_both_protocols_come_from_one_training(asked, made):
    made_by(made, asked)
    for model in ("SASRecAll", "HSTU"):
        kept = read_run(Path(f"results/trials/{model}/0/{model}-tiny-1.json"))
        out = read_run(Path(f"results/trials/{model}/0/out/{model}-tiny-1.json"))
        assert kept.checkpoint == out.checkpoint and kept.config["repeatable"] and not out.config["repeatable"]
        assert out.best_valid_score != kept.best_valid_score


def test_the_chosen_settings_are_those_of_the_final_runs_and_of_any_run(asked, made):
    made_by(made, asked)
    for protocol in ("kept", "out"):
        sections = yaml.safe_load(Path(f"results/chosen-{protocol}.yaml").read_text("utf-8"))
        assert sections["SASRecAll"]["attn_dropout_prob"] == 0.1  # the file's own section has not been lost
        for model, section in sections.items():
            files = ["settings.yaml", f"results/chosen-{protocol}.yaml"]
            config = GenRecConfig(model, "tiny", files, None, {"data_path": "data"}, models=list(sections))
            final = read_run(Path(f"results/{protocol}/{model}-tiny-2.json")).config
            for key, value in section.items():
                assert final[key] == config[key] == value


@pytest.fixture
def scored(monkeypatch):
    """Runs of given scores instead of trainings: ``validation[protocol][trial]``; the test says the opposite."""
    validation = {"kept": [0.1, 0.3, 0.3], "out": [0.6, 0.5, 0.4]}

    def make(run):
        config = compare.plain(run.config.final_config_dict)
        protocol = "kept" if config["repeatable"] else "out"
        number = int(run.label.split("trial ")[1][0]) if "trial" in run.label else 0
        score = validation[protocol][number]
        result = run_result(
            model=config["model"],
            dataset="tiny",
            seed=config["seed"],
            best_valid_score=score,
            best_valid_result={"ndcg@3": score},
            valid_metric="NDCG@3",
            valid_score_bigger=True,
            test_result={"ndcg@3": 1 - score},
            config=config,
        )
        result.write(config["results_dir"])
        return 0

    monkeypatch.setattr(compare, "_make", make)
    return validation


def test_validation_of_the_protocol_of_the_table_chooses(asked, scored):
    search = EqualSearch(trials=3, seeds=(1,), spaces="spaces")
    tuned = tune_equally(["HSTU"], "tiny", search, ["settings.yaml"], {"data_path": "data"})
    numbers = {protocol: equal_tuning._choose(tuned.trials, protocol)["HSTU"].number for protocol in ("kept", "out")}
    assert numbers == {"kept": 1, "out": 0}  # of equal ones the earlier
    stored = json.loads(Path("results/trials.json").read_text("utf-8"))
    assert [trial["chosen"] for trial in stored["trials"]] == [["out"], ["kept"], []]
    for protocol, number in numbers.items():
        chosen = yaml.safe_load(Path(f"results/chosen-{protocol}.yaml").read_text("utf-8"))["HSTU"]
        assert tuned.trials[number].drawn.items() <= chosen.items()


def test_a_trial_that_fails_stops_no_other(asked, made, capsys):
    made.broken.add("SASRecAll, seed 1, trial 0")
    assert made_by(made, asked, code=1) == TRIALS + AGAIN[1:] + FINALS + FINALS
    table = rows_of_trials()
    assert table[0]["error"] == "KeyError: 'x'" and not table[0]["chosen"] and table[2]["chosen"] == "kept out"
    assert "Failed: SASRecAll, trial 0." in capsys.readouterr().out
    assert made_by(made, asked, code=1) == []
    made.broken.clear()
    assert made_by(made, [*asked, "--retry_failed"])[:2] == [TRIALS[0], AGAIN[0]]


def test_a_model_without_a_trial_is_left_out_of_the_table(asked, made, capsys):
    made.broken |= {name for name in TRIALS if name.startswith("HSTU")}
    made_by(made, [*asked, "--protocols=out"], code=1)
    assert not Path("results/kept").exists()
    assert set(yaml.safe_load(Path("results/chosen-out.yaml").read_text("utf-8"))) == {"SASRecAll"}
    assert "HSTU: no trial succeeded" in capsys.readouterr().out


def test_trials_take_a_sample_of_users_and_final_runs_take_all(asked, made):
    made_by(made, [*asked, "--trial_users=5", "--protocols=kept"])
    trial = read_run(Path("results/trials/HSTU/0/HSTU-tiny-1.json"))
    final = read_run(Path("results/kept/HSTU-tiny-1.json"))
    assert (trial.users.of, final.users.of) == (5, 8)
    assert json.loads(Path("results/trials.json").read_text("utf-8"))["trial_users"] == 5


@pytest.mark.parametrize(("more", "message"), [
    (["--seed=3"], "compare_tuned takes --seeds, not --seed"),
    (["--repeatable=false"], "compare_tuned takes --protocols, not --repeatable"),
    (["--epochs=3"], "--epochs is given for all trials, but the search space of SASRecAll draws it"),
    (["--protocols=seen"], "Unknown protocol 'seen'"),
    (["--spaces=nowhere"], "There is no search space 'nowhere/SASRecAll.yaml'"),
    (["--trials=0"], "--trials must be a positive whole number"),
])  # fmt: skip
def test_nothing_is_trained_before_all_is_checked(asked, made, capsys, more, message):
    replaced = {argument.split("=")[0] for argument in more}
    assert made_by(made, [*(given for given in asked if given.split("=")[0] not in replaced), *more], code=2) == []
    assert message in " ".join(capsys.readouterr().err.split())


def test_spaces_that_share_a_name_must_be_alike(asked, made, capsys):
    Path("spaces/HSTU.yaml").write_text(HSTU.replace("[1, 2]", "[1, 3]"), "utf-8")
    assert made_by(made, asked, code=2) == []
    assert "share 'epochs', but it is choice [1, 2] for SASRecAll and choice [1, 3] for HSTU" in (
        " ".join(capsys.readouterr().err.split())
    )
