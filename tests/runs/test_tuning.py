"""The search for hyper-parameters: RecBole's HyperTuning and space files over the runner."""

import json
import os
from pathlib import Path

import pytest
import yaml
from recbole.trainer import HyperTuning

from recbole_genrec import GenRecError, objective_function
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.runs import tuning
from recbole_genrec.runs.search_space import read_space
from recbole_genrec.runs.tuning import tune
from tests.results import run_result

SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "topk": [1, 3], "epochs": 1}
KNOWN = {"learning_rate", "epochs", "topk", "hidden_size", "loss_type", "model", "results_dir"}


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    """An empty working folder; gives the settings of a run of SASRec on the dataset ``tiny``."""
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    monkeypatch.chdir(tmp_path)
    items = [(item, f"Film {item}") for item in range(9)]
    return {**SMALL, "data_path": write_dataset(tmp_path / "data", rows, items), "show_progress": False}


def space_file(text):
    Path("mine.space").write_text(text, "utf-8")
    return "mine.space"


class TestSpace:
    def test_it_is_what_recbole_makes_of_the_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = space_file(
            "\nlearning_rate choice [0.01, 0.001]\nloss_type choice ['CE','BPR']\ntopk choice [[1,3],[5]]\n"
            "epochs quniform 1,9,2\nhidden_size uniform 0.5,1\n"
        )
        read = read_space(path, KNOWN, "random")
        assert read == {
            "choice": {"learning_rate": [0.01, 0.001], "loss_type": ["CE", "BPR"], "topk": [[1, 3], [5]]},
            "quniform": {"epochs": [1, 9, 2]},
            "uniform": {"hidden_size": [0.5, 1]},
        }
        ours, theirs = HyperTuning._build_space_from_dict(read), HyperTuning._build_space_from_file(path)
        assert {key: str(node) for key, node in ours.items()} == {key: str(node) for key, node in theirs.items()}

    def test_texts_are_values_as_on_recboles_command_line(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert read_space(space_file("topk choice ['[1,3]','[5]']"), KNOWN) == {"choice": {"topk": [[1, 3], [5]]}}

    @pytest.mark.parametrize(("text", "message"), [
        ("epochs choice [1]\nlearning_rat choice [2]", "'learning_rat' .mine.space, line 2.. Did you mean"),
        ("\nepochs choice", "line 2: 'epochs choice' is not of the form"),
        ("epochs pick [1]", "Unknown type in mine.space, line 1: 'pick'.*Known: choice, loguniform, quniform"),
        ("epochs choice 5", "line 1: 'choice' takes a list"),
        ("epochs choice []", "line 1: 'choice' takes a list"),
        ("epochs choice [__import__('os').getcwd()]", "line 1: 'choice' takes a list"),
        ("epochs uniform 5", "line 1: 'uniform' takes low,high, not '5'"),
        ("epochs uniform 5,4", "line 1: 'uniform' takes low,high"),
        ("epochs quniform 1,2", "line 1: 'quniform' takes low,high,step"),
        ("model choice ['SASRec']", "line 1: 'model' is the same for all trials"),
        ("epochs choice [1]\nepochs choice [2]", "line 2: 'epochs' stands in line 1 already"),
        ("# nothing", "is empty"),
    ])  # fmt: skip
    def test_mistakes_are_named(self, tmp_path, monkeypatch, text, message):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(GenRecError, match=message):
            read_space(space_file(text), KNOWN, "random")

    def test_an_exhaustive_search_has_choices_alone(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(GenRecError, match="line 1: 'algo: exhaustive' takes 'choice' alone"):
            read_space(space_file("epochs uniform 1,2"), KNOWN, "exhaustive")


class TestSearch:
    def test_every_combination_is_tried_and_validation_chooses(self, settings, capsys):
        path = space_file("learning_rate choice [0.05,0.00001]\nepochs choice [1,3]\n")
        best = tune("SASRec", "tiny", config_dict=settings, params_file=path)
        folder = Path("results/SASRec-tiny-2020-tuning")
        results = [json.loads(file.read_text("utf-8")) for file in folder.glob("*/SASRec-tiny-2020.json")]
        tried = {(result["config"]["learning_rate"], result["config"]["epochs"]) for result in results}
        assert tried == {(rate, epochs) for rate in (0.05, 0.00001) for epochs in (1, 3)} and len(results) == 4
        highest = max(result["best_valid_score"] for result in results)
        assert best["best_valid_score"] == highest
        table = (folder / "trials.md").read_text("utf-8").splitlines()
        assert table[2] == "| trial | epochs | learning_rate | NDCG@3 | epochs | train s |" and len(table) == 8
        assert f"| {highest:.4f} |" in table[4]
        chosen = yaml.safe_load((folder / "best.yaml").read_text("utf-8"))
        assert chosen == {key: best["config"][key] for key in ("epochs", "learning_rate")}
        given = {"data_path": settings["data_path"], "topk": [1, 3]}
        assert GenRecConfig("SASRec", "tiny", [str(folder / "best.yaml")], given)["epochs"] == chosen["epochs"]
        printed = capsys.readouterr()
        lines = printed.out.splitlines()[:4]
        assert all(line.startswith(f"trial {number}: ") for number, line in enumerate(lines))
        assert len(lines) == 4 and lines[0].endswith("on validation, the best so far")
        scores = [float(line.split("NDCG@3 ")[1].split()[0]) for line in lines]
        assert sorted(scores) == sorted(round(result["best_valid_score"], 4) for result in results)
        assert all("epochs" in line and "learning_rate" in line for line in lines)
        assert printed.out.count("tiny, seed 2020: test") == 1 and printed.out.count("hit@3") == 1
        assert f"{best['test_result']['hit@3']:.4f}" in printed.out.split("Best: trial")[1]
        assert "np.float64" not in printed.out and "INFO" not in printed.out + printed.err
        assert all(type(value) is float for value in (best["test_result"] | best["best_valid_result"]).values())
        assert "epoch 1 of " in "".join(path.read_text("utf-8") for path in Path("log").rglob("*.log"))

    def test_the_seed_draws(self, settings, monkeypatch):
        drawn = []

        def objective(params, files, shown):
            drawn.append(params["learning_rate"])
            users = {"evaluated": 1, "of": 1}
            trial = run_result(best_valid_score=params["learning_rate"], valid_score_bigger=True, users=users)
            return trial.content()

        monkeypatch.setattr(tuning, "objective_function", objective)
        path = space_file("learning_rate loguniform -7,-3\nhidden_size quniform 8,16,8\n")
        for algo in ("random", "bayes", "random"):
            best = tune("SASRec", "tiny", None, settings, params_file=path, algo=algo, max_evals=4, early_stop=9)
            assert best["best_valid_score"] == max(drawn[-4:])
        assert drawn[:4] == drawn[8:] and len(set(drawn[:4])) == 4
        assert "HYPEROPT_FMIN_SEED" not in os.environ

    def test_a_multiple_is_a_whole_number_and_a_list_is_a_list(self, settings):
        result = objective_function(
            {**settings, "model": "SASRec", "dataset": "tiny", "hidden_size": 16.0, "topk": (1, 3)}
        )
        assert result["config"]["hidden_size"] == 16 and result["config"]["topk"] == [1, 3]

    def test_recboles_own_search_takes_the_objective(self, settings, capsys):
        scratch = {
            "scratch_hidden_size": 8,
            "scratch_layers": 1,
            "scratch_intermediate_size": 8,
            "scratch_vocab_size": 300,
        }
        given = {
            key: value for key, value in settings.items() if key in ("data_path", "show_progress", "topk", "epochs")
        }
        Path("fixed.yaml").write_text(
            yaml.safe_dump({"model": "GenRec", "dataset": "tiny", **given, **scratch}), "utf-8"
        )
        path = space_file("item_indexing choice ['independent','title']\n")
        search = HyperTuning(objective_function, params_file=path, fixed_config_file_list=["fixed.yaml"])
        search.run()
        assert set(search.params2result) == {"item_indexing:independent", "item_indexing:title"}
        assert search.best_score == max(search.score_list) and search.model == "GenRec"


class TestMistakes:
    def test_nothing_is_trained_before_the_space_is_read(self, settings, capsys):
        path = space_file("learning_rat choice [0.1]\n")
        given = [f"--data_path={settings['data_path']}", "--model=SASRec", "--dataset=tiny"]
        assert main(["tune", *given, f"--params_file={path}"]) == 2
        assert "Unknown key 'learning_rat' (mine.space, line 1)." in capsys.readouterr().err
        assert not Path("results").exists() and not Path("saved").exists()
        for more, message in (
            ([], "needs a search space"),
            (["--params_file=nowhere"], "Cannot read the search space 'nowhere'"),
            ([f"--params_file={path}", "--algo=grid"], "Unknown value of 'algo': 'grid'"),
            ([f"--params_file={path}", "--max_evals=0"], "--max_evals must be a positive whole number"),
            ([f"--params_file={path}", "--epoch=1"], "Unknown key 'epoch'"),
        ):
            assert main(["tune", *given, *more]) == 2
            assert message in capsys.readouterr().err

    def test_a_missing_hyperopt_is_named(self, settings, monkeypatch):
        monkeypatch.setattr(tuning, "find_spec", lambda name: None)
        with pytest.raises(GenRecError, match=r"needs hyperopt: pip install 'recbole_genrec\[tuning\]'"):
            tune("SASRec", "tiny", None, settings, params_file="mine.space")


def test_the_command_line_searches(settings, capsys):
    path = space_file("learning_rate choice [0.01,0.02]\n")
    given = [f"--{key}={value}" for key, value in settings.items()]
    assert main(["tune", "--model=SASRec", "--dataset=tiny", f"--params_file={path}", "--max_evals=2", *given]) == 0
    assert "results/SASRec-tiny-2020-tuning/best.yaml" in capsys.readouterr().out
    assert main(["tune", "--help"]) == 0 and "--params_file" in capsys.readouterr().out
