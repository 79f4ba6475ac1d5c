"""The table of commands: for each, its options, its help, and the place of the function that does the work.

A new command is one entry here and one function. Nothing is imported before a command is known.
"""

from recbole_genrec.cli.explain_options import EXPLAIN
from recbole_genrec.cli.options import (
    CHECKPOINT,
    TRUST,
    Command,
    Option,
    flag,
    names,
    paths,
    positive_number,
    ranges,
    whole_number,
    whole_numbers,
)
from recbole_genrec.cli.recommend_command import RECOMMEND

#: the command that a command line without one stands for.
DEFAULT = "run"
_MOVIELENS = ("ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small")
#: options that several commands have.
_DATASET = Option("dataset", "folder of atomic files below --data_path (default 'dataset/'); ml-100k is in RecBole")
_RESUME = Option(
    "resume",
    "go on with the last run of the same settings, where one has stopped",
    metavar="auto|previous|FOLDER",
    bare="auto",
    setting=True,
)
_FILES = Option(
    "config_files",
    "YAML files with spaces between them, or names of shipped ones such as paper/genrec-llama-7b; later files override "
    "earlier ones",
    paths,
    "FILES",
)

COMMANDS = {
    "run": Command(
        "recbole_genrec.cli.on_runs:run",
        "Train and compare recommenders on one dataset and split.",
        (
            "{program} --model=GenRec --dataset=ml-100k",
            "{program} --model=GenRec,SASRec,BERT4Rec --dataset=ml-100k",
            "{program} --model=GenRec --dataset=my-data --config_files='a.yaml b.yaml' --epochs=10",
        ),
        (
            Option(
                "model",
                "a model of this package or a sequential one of RecBole's; several with commas between them",
                names,
                default="GenRec",
            ),
            _DATASET,
            _FILES,
            Option(
                "results_dir", "folder for one JSON a model, and the table as Markdown", default="results", setting=True
            ),
            _RESUME,
            Option(
                "nproc",
                "number of processes on this machine, a GPU each where there are any; or start it with torchrun",
                positive_number,
                "N",
            ),
        ),
        settings="any setting of RecBole or of the model; values are YAML",
        processes=True,
    ),
    "index": Command(
        "recbole_genrec.cli.on_runs:index",
        "Give a dataset's items identifiers and print a report of them; nothing is trained.",
        ("{program} index --dataset=ml-100k --item_indexing=collaborative",),
        (_DATASET, _FILES),
        settings="any setting of the data or of GenRec",
    ),
    "convert": Command(
        "recbole_genrec.cli.on_runs:convert",
        "Make RecBole's atomic files from a raw dump, as published.",
        (
            "{program} convert ml-25m --source=ml-25m.zip",
            "{program} convert amazon14-toys --source=downloads",
            "{program} convert ml-1m --download",
        ),
        (
            Option(
                "source",
                "the zip, the file of ratings or reviews, or a folder of raw files",
                metavar="PATH",
                default="the output folder",
            ),
            Option(
                "output",
                "the data_path of later runs; the files go to <output>/NAME/",
                metavar="FOLDER",
                default="dataset",
            ),
            flag("download", "fetch what is missing into the source folder, with checks of size and sum"),
            flag(
                "strict",
                "stop at the first malformed row; without it such rows are left out and counted, and the "
                "first ones are shown",
            ),
            Option("user_core", "keep the rows in which every user has N rows and ...", whole_number, "N"),
            Option("item_core", "... every item has N rows", whole_number, "N"),
        ),
        positional=Option(
            "name",
            f"{', '.join(_MOVIELENS)}, amazon14-<category>, amazon18-<category>, amazon23-<category>; a category in "
            "lower case, such as gift_cards",
            metavar="NAME",
            choices=_MOVIELENS,
        ),
    ),
    "recommend": RECOMMEND,
    "explain": EXPLAIN,
    "add_items": Command(
        "recbole_genrec.cli.on_checkpoint:add_items",
        "Put new items into the catalogue of a trained checkpoint, without training.",
        ("{program} add_items --checkpoint DIR --items new.item --output DIR",),
        (
            CHECKPOINT._replace(
                help="a checkpoint folder of GenRec; its identifiers must be made of text ('item_indexing: title')"
            ),
            Option(
                "items",
                "an atomic .item file of the new items, with the columns of the training's",
                metavar="FILE",
                required=True,
            ),
            Option(
                "output",
                "folder of the checkpoint with these items; it serves for recommending, not for more training",
                metavar="FOLDER",
                required=True,
            ),
            TRUST,
        ),
    ),
    "tune": Command(
        "recbole_genrec.cli.on_runs:tune",
        "Search for the settings that are best on validation, by RecBole's HyperTuning.",
        ("{program} tune --model=GenRec --dataset=ml-100k --params_file=genrec.space --algo=bayes --max_evals=30",),
        (
            Option("model", "one model", default="GenRec"),
            _DATASET,
            _FILES,
            Option(
                "params_file",
                "the search space, a line for each key: 'key choice [a,b]', 'key uniform low,high', "
                "'key loguniform low,high' (of the logarithm), 'key quniform low,high,step'",
                metavar="FILE",
            ),
            Option(
                "algo",
                "exhaustive tries every combination of choices, bayes is TPE",
                choices=("exhaustive", "random", "bayes"),
                default="exhaustive",
            ),
            Option("max_evals", "largest number of trials", positive_number, "N", default=100),
            Option("early_stop", "stop after N trials in a row without a better one", positive_number, "N", default=10),
            _RESUME,
        ),
        settings="any setting of a run, the same for all trials",
    ),
    "export": Command(
        "recbole_genrec.cli.on_checkpoint:export",
        "Write a checkpoint as a folder that transformers, peft and vLLM load, with prompt, item index and model card.",
        ("{program} export --checkpoint=saved/GenRec-.../best --output=my-model --merged",),
        (
            CHECKPOINT,
            Option("output", "the folder to write", metavar="FOLDER", required=True),
            flag(
                "merged", "the whole language model, the adapter's weights added into its own; without it, the adapter"
            ),
            flag("overwrite", "replace an earlier export"),
            TRUST,
        ),
    ),
    "test": Command(
        "recbole_genrec.cli.on_runs:test",
        "Test the model of a finished run again, under other settings of the evaluation; nothing is trained.",
        ("{program} test --run=results/GenRec-ml-1m-2020.json --repeatable=False",),
        (
            Option(
                "run",
                "the JSON of a run that kept its checkpoint; start this in the folder in which the run was made",
                metavar="FILE",
                required=True,
            ),
            Option(
                "results_dir",
                "folder for the JSON and the outcomes",
                metavar="FOLDER",
                default="the folder 'again' beside the run",
                setting=True,
            ),
            Option("repeatable", "false: rank only items that the user has not interacted with", setting=True),
            Option("eval_args", "'{mode: uni100}' and the like; the split stays", setting=True),
        ),
        settings="any setting of how lists are made and measured: metrics, topk, eval_users, decoding, ...",
    ),
    "compare": Command(
        "recbole_genrec.cli.on_runs:compare",
        "Make a run for each model, dataset and seed; a comparison that was stopped goes on where it was.",
        ("{program} compare --models=GenRec,SASRec --datasets=ml-100k --seeds=1,2,3",),
        (
            Option("models", "names with commas between them", names),
            Option("datasets", "names with commas between them", names),
            Option("seeds", "whole numbers with commas between them", whole_numbers, default=2020),
            _FILES._replace(help="YAML files for all runs; a section 'SASRec:' holds settings for that model alone"),
            Option(
                "results_dir",
                "folder for a JSON and the test's outcomes (.npz) of each run",
                default="results",
                setting=True,
            ),
            flag("retry_failed", "make runs again that failed before"),
        ),
        settings="any setting of RecBole or of the models, for all runs",
        note="A run whose JSON is there with the same settings is not made again. Exit code 1: a run failed, see its "
        ".failed.json.",
    ),
    "compare_tuned": Command(
        "recbole_genrec.cli.on_runs:compare_tuned",
        "Tune every model with the same number of trials, choose by validation, and compare the choices over seeds.",
        (
            "{program} compare_tuned --models=GenRec,SASRecAll,BSARec,HSTU --dataset=ml-100k --trials=12",
            "{program} compare_tuned --models=GenRec,SASRecAll --dataset=ml-1m --trial_users=2000 --protocols=out",
        ),
        (
            Option("models", "names with commas between them", names),
            _DATASET,
            Option("trials", "trials of each model", positive_number, "N", default=12),
            Option(
                "seeds",
                "of the final runs, with commas between them; the first one also draws and trains the trials",
                whole_numbers,
                default="2020,2021,2022",
            ),
            Option(
                "protocols",
                "kept: items that a user has interacted with are ranked, too; out: they are left out. Each has its own "
                "choice and table; the first one selects the epochs of the trials",
                names,
                default="kept,out",
            ),
            Option("trial_users", "trials take a seeded sample of N users", positive_number, "N", default="all"),
            Option(
                "spaces",
                "a folder of search spaces, <Model>.yaml",
                metavar="FOLDER",
                default="those that are shipped, properties/search",
            ),
            _FILES._replace(help="YAML files for all runs; a section 'SASRec:' holds settings for that model alone"),
            Option(
                "results_dir",
                "folder for the trials, trials.csv, chosen-<protocol>.yaml and the final runs",
                default="results",
                setting=True,
            ),
            flag("retry_failed", "make trials and runs again that failed before"),
        ),
        settings="any setting of RecBole or of the models, for all trials and runs",
        note="What is there with the same settings is not made again. Exit code 1: a trial or a run failed.",
    ),
    "report": Command(
        "recbole_genrec.cli.on_runs:report",
        "Write table.md, table.csv, table.tex and report.html over the runs of a folder and those below it.",
        ("{program} report --results=results",),
        (
            Option("results", "the folder", metavar="FOLDER", default="results"),
            Option("output", "where the files go", metavar="FOLDER", default="the same folder"),
            Option("metric", "of the pictures, such as ndcg@10", default="the one that selected the epochs"),
            Option(
                "baseline", "the model or row that the others are tested against", default="the best of each column"
            ),
        ),
    ),
    "audit": Command(
        "recbole_genrec.cli.on_runs:audit",
        "Compare what a finished run gives groups of users: metrics with intervals, popularity and exposure.",
        (
            "{program} audit --run=results/GenRec-ml-100k-2020.json --by=gender,age",
            "{program} audit --run=results/SASRecAll-ml-1m-2020.json --by=age --bins=25,35,50 --probe",
            "{program} audit --run=results/PromptLLM-ml-100k-2020.json --by=gender --named=gender,occupation",
        ),
        (
            Option(
                "run",
                "the JSON of a run whose outcomes (.npz) lie beside it; start this where the run was made",
                metavar="FILE",
                required=True,
            ),
            Option(
                "by",
                "columns of the .user file with commas between them; a text is a group, numbers are cut into ranges",
                names,
                metavar="COLUMNS",
                required=True,
            ),
            Option(
                "bins",
                "number of ranges of about equal size, or where the second and every later range begin, with commas "
                "between several",
                ranges,
                "N|FROM,FROM",
                default=4,
            ),
            Option("least", "groups of fewer users are listed, and not compared", positive_number, "N", default=20),
            Option("topk", "length of the lists", positive_number, "K", default=10),
            Option(
                "data_path",
                "the folder that holds the dataset's folder",
                metavar="FOLDER",
                default="where it was in training",
            ),
            flag(
                "probe",
                "also try to read the columns off the model's states of users, by a logistic regression; it needs the "
                "run's checkpoint and data",
            ),
            Option(
                "named",
                "of PromptLLM: columns of the .user file whose values are named in the prompt, to compare the lists "
                "with those of the neutral prompt (Jaccard, SERP*, PRAG*)",
                names,
                "COLUMNS",
            ),
            Option("named_users", "users that are asked for --named", positive_number, "N", default=100),
            Option("sentences", "a YAML file of the sentences of --named", metavar="FILE", default="the shipped one"),
            Option("output", "where the files go", metavar="FOLDER", default="the folder of the run"),
        ),
        note="Writes <run>.audit.md and <run>.audit.json.",
    ),
}
