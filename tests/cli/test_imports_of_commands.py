"""What a command may import: a mistake is said, and help and light work are done, without the heavy libraries.

Each command line runs in a process of its own, which prints the libraries that it has loaded.
"""

import json
import subprocess
import sys

import pytest

from recbole_genrec.cli.commands import COMMANDS

HEAVY = {"accelerate", "numpy", "pandas", "peft", "plotly", "pydantic", "recbole", "rich", "safetensors", "scipy"}
HEAVY |= {"sklearn", "tensorboard", "tokenizers", "torch", "transformers", "yaml"}
#: a refused command line may check settings (pydantic) and read configuration files (yaml), and count (numpy).
LIGHT = {"numpy", "pydantic", "yaml"}
#: a conversion counts distinct ids with pandas.
CONVERTING = {"numpy", "pandas", "rich"}

RUN = """
import sys
from recbole_genrec.cli.main import main
code = main(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def run(arguments, folder, code=0, program=RUN):
    """Run a command line in a new process; gives its output and the heavy libraries that it has loaded."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    *_, last = done.stderr.splitlines()
    ended, *loaded = last.split()
    assert ended == str(code), done.stderr
    return done.stdout + done.stderr, HEAVY & set(loaded)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_loads_nothing(name, tmp_path):
    printed, loaded = run([*filter(None, [name]), "--help"], tmp_path)
    assert printed.startswith("usage: ") and loaded == set()


def test_help_on_a_setting(tmp_path):
    assert run(["--help", "topk"], tmp_path)[1] <= {"pydantic", "yaml"}


RUN_OF = ["--model=SASRec", "--dataset=ml-100k"]
REFUSED = [
    (["recomend"], "Unknown command 'recomend'", set()),
    (["--epochs"], "--epochs has no value", set()),
    (["recommend", "--checkpoint=x", "--topk=few"], "--topk must be a whole number", set()),
    (["recommend", "--checkpoint=x", "--chat", "--explain"], "--explain is not for --chat", set()),
    ([*RUN_OF, "--epoch=3"], "Unknown key 'epoch' (command line). Did you mean 'epochs'?", LIGHT),
    ([*RUN_OF, "--epochs=three"], "'epochs' must be a whole number of at least 0", LIGHT),
    ([*RUN_OF, "--topk=[5"], "the value of --topk is not valid YAML", LIGHT),
    ([*RUN_OF, "--svd_bins=3"], "'svd_bins' (command line) has no effect on SASRec", LIGHT),
    ([*RUN_OF, "--config_files=nowhere.yaml"], "Cannot read configuration file 'nowhere.yaml'", LIGHT),
    (["--model=SASRek", "--dataset=ml-100k"], "Unknown model 'SASRek'. Did you mean 'SASRec'?", LIGHT),
    (["--model=FM", "--dataset=ml-100k"], "'FM' is neither a sequential nor a general model", LIGHT),
    (["--model=SASRec,SASRec", "--dataset=ml-100k"], "Model 'SASRec' is given twice", LIGHT),
    (["--model=SASRec"], "No dataset given", LIGHT),
    (["--dataset=tinny"], "Unknown dataset 'tinny'", LIGHT | CONVERTING),
    (["compare", "--models=SASRec", "--datasets=tinny"], "Unknown dataset 'tinny'", LIGHT | CONVERTING),
    (["compare", "--models=SASRec", "--datasets="], "compare needs --datasets", LIGHT),
    (["--dataset=a/b"], "'dataset' must be the name of a folder", LIGHT),
    (["index", "--dataset=ml-100k", "--item_indexin=title"], "Unknown key 'item_indexin'", LIGHT),
    (["tune", *RUN_OF, "--epoch=3"], "Unknown key 'epoch'", LIGHT),
    ([*RUN_OF, "--metrics=[NDGC]"], "Unknown metric 'NDGC' in 'metrics'.", LIGHT),
    (["tune", *RUN_OF, "--params_file=nowhere"], "Cannot read the search space 'nowhere'", LIGHT | CONVERTING),
    (["test", "--run=nowhere.json", "--epochs=3"], "Unknown setting of a test 'epochs'", LIGHT),
    (["compare", "--models=SASRek", "--datasets=ml-100k"], "Unknown model 'SASRek'", LIGHT),
    (["compare_tuned", "--models=HSTU", "--dataset=ml-100k", "--spaces=no"], "There is no search space", LIGHT),
    (["recommend", "--checkpoint=nowhere", "--item=1"], "The checkpoint folder 'nowhere' does not exist", LIGHT),
    (["recommend", "--checkpoint=nowhere.json", "--item=1"], "There is no file 'nowhere.json'", LIGHT),
    (["recommend", "--checkpoint=nowhere", "--all_users", "--output=a.csv"], "folder 'nowhere' does not exist", LIGHT),
    (["recommend", "--checkpoint=x", "--users=nowhere"], "--users: there is no file 'nowhere'", LIGHT),
    (["recommend", "--checkpoint=x", "--all_users", "--output=a.x"], "the format of 'a.x' cannot be told", LIGHT),
    (["add_items", "--checkpoint=nowhere", "--items=i", "--output=o"], "folder 'nowhere' does not exist", LIGHT),
    (["export", "--checkpoint=nowhere", "--output=o"], "The checkpoint folder 'nowhere' does not exist", LIGHT),
    (["test", "--run=nowhere.json"], "nowhere.json: No such file", LIGHT),
    (["report", "--results=nowhere"], "There is no folder 'nowhere' to report on", LIGHT | {"plotly"}),
    (["convert", "ml-1"], "Unknown dataset 'ml-1'", CONVERTING),
]


@pytest.mark.parametrize(("arguments", "message", "allowed"), REFUSED, ids=[" ".join(line[0]) for line in REFUSED])
def test_a_refused_line_loads_little(arguments, message, allowed, tmp_path):
    printed, loaded = run(arguments, tmp_path, code=2)
    assert message in printed and printed.count("error: ") == 1
    assert loaded <= allowed


def test_a_conversion_loads_no_torch(tmp_path):
    (tmp_path / "u.data").write_text("1\t2\t3\t4\n1\t3\t5\t6\n")
    films = (f"{item}|Film {item}|01-Jan-1995||url|{'|'.join('0' * 19)}\n" for item in (2, 3))
    (tmp_path / "u.item").write_text("".join(films))
    (tmp_path / "u.user").write_text("1|24|M|writer|85711\n")
    printed, loaded = run(["convert", "ml-100k", "--source=."], tmp_path)
    assert "2 interactions of 1 users" in printed and loaded <= CONVERTING


def test_a_report_without_outcomes_loads_no_torch(tmp_path):
    settings = {"model": "SASRec", "epochs": 3, "topk": [10], "eval_args": {"mode": {"test": "full"}, "split": {}}}
    for seed in (1, 2, 3):
        result = {"model": "SASRec", "dataset": "tiny", "seed": seed, "test_result": {"ndcg@10": seed / 10}}
        result |= {"best_valid_result": None, "valid_metric": "NDCG@10", "epochs": 3, "users_per_second": 1.0}
        result |= {"seconds": {"train": 1.0, "total": 2.0}, "parameters": {"total": 5}, "config": settings}
        result |= {"hardware": {"device": "cpu", "name": "x", "cpu_count": 2, "threads": 1}, "versions": {}}
        (tmp_path / f"SASRec-tiny-{seed}.json").write_text(json.dumps(result))
    printed, loaded = run(["report", "--results=."], tmp_path)
    assert "report.html" in printed and loaded <= LIGHT | {"plotly", "scipy"}


@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "adapter"])
def test_recommend_loads_no_recbole_and_peft_for_an_adapter_alone(
    checkpoints, adapted, loaded_by_transformers, tmp_path
):
    printed, loaded = run(["recommend", f"--checkpoint={checkpoints[adapted]}", "--item=m1", "--topk=2"], tmp_path)
    assert "Toy Story 2" in printed
    assert not loaded & {"recbole", "sklearn", "tensorboard", "pandas"} - loaded_by_transformers
    assert ("peft" in loaded) == adapted


@pytest.fixture(scope="module")
def loaded_by_transformers(tmp_path_factory):
    """What a causal language model of transformers loads by itself: before 5.24 scikit-learn, and so pandas."""
    code = "import sys\nfrom transformers import LlamaForCausalLM\nLlamaForCausalLM\n"
    return run([], tmp_path_factory.mktemp("alone"), program=code + "code = 0\n" + RUN.strip().splitlines()[-1])[1]


@pytest.fixture(scope="module")
def checkpoints(trained, pretrained, train):
    """Checkpoint folders of a model that is stored whole, and of one with an adapter."""
    adapted = train(backbone=str(pretrained), adapter="lora", lora_r=2, lora_target_modules=["q_proj"])
    return {False: trained["trie"][2], True: adapted[2]}


def test_a_run_of_recboles_models_loads_no_language_models(tmp_path, write_dataset):
    rows = [(user, (user + step) % 7, 100 * step) for user in range(6) for step in range(5)]
    small = ["--hidden_size=8", "--inner_size=8", "--n_layers=1", "--n_heads=1", "--topk=[3]", "--epochs=1"]
    path = write_dataset(tmp_path / "data", rows)
    printed, loaded = run(["--model=SASRec", "--dataset=tiny", f"--data_path={path}", *small], tmp_path)
    assert "ndcg@3" in printed
    assert {"recbole", "torch"} <= loaded and not loaded & {"transformers", "peft", "accelerate", "tokenizers"}


def test_a_planted_import_is_seen(tmp_path):
    code = RUN.replace("import sys", "import sys, yaml")
    assert "yaml" in run(["--help"], tmp_path, program=code)[1]
