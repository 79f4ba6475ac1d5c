"""The entry of ``recommend`` in the table of commands."""

from recbole_genrec.cli.conversing import OPTIONS as CONVERSING
from recbole_genrec.cli.options import CHECKPOINT, TRUST, Command, Option, flag, positive_number, whole_number

RECOMMEND = Command(
    "recbole_genrec.cli.on_checkpoint:recommend",
    "Recommend items with a trained model: for one history, for many users, or in a conversation.",
    (
        '{program} recommend --checkpoint DIR --history "Toy Story (1995)" --history "Fargo (1996)"',
        '{program} recommend --checkpoint DIR --user 196 --where "class=Comedy" --exclude_seen --explain',
        '{program} recommend --checkpoint DIR --user 196 --at "2026-11-26 20:00"',
        "{program} recommend --checkpoint results/SASRec-ml-100k-2020.json --user 196 --trust_remote_code",
        "{program} recommend --checkpoint DIR --all_users --output lists.parquet --nproc 2",
        "{program} recommend --checkpoint DIR --chat",
        "{program} recommend --checkpoint DIR --input questions.jsonl --output lists.jsonl --resume",
    ),
    (
        CHECKPOINT._replace(
            help="a checkpoint folder, the JSON of a run, or a .pth file of RecBole's. All models but GenRec need "
            "their dataset",
            metavar="PATH",
        ),
        Option(
            "history",
            "an entry of the history, the oldest first; once for each. A title that the catalogue "
            "does not have is matched with a similar one, or else read as free text, if the model can",
            metavar="TITLE",
            into="entries",
        ),
        Option(
            "item",
            "an entry of the history by its raw item id, in its place among the others",
            metavar="ID",
            into="entries",
        ),
        Option(
            "user",
            "a user of the dataset: the history begins with the user's interactions, as the run's "
            "filters leave them; several give a row each",
            metavar="ID",
            into="asked_users",
        ),
        Option("users", "a file with a raw user id in each line, a row each", metavar="FILE"),
        flag("all_users", "every user of the dataset, a row each"),
        Option(
            "input",
            "JSON lines, a row each, '-' for standard input: objects with 'user' or 'history' (titles and "
            "{\"item\": ID}), maybe 'k', 'where', 'exclude', 'at', and 'id', which comes back",
            metavar="FILE",
        ),
        Option(
            "data_path",
            "the folder that holds the dataset's folder",
            metavar="FOLDER",
            default="where it was in training",
        ),
        Option(
            "at",
            "the moment that is asked for, such as '2026-11-26 20:00', of the local time zone unless it says "
            "another; for a model with 'context: [request_time]'",
            metavar="TIME",
            default="now, or the time of the newest entry where the training data has no clock",
        ),
        Option("topk", "length of the list", whole_number, "K", default=10),
        Option(
            "where",
            "which items may be recommended: column=value, column=one|other, column=low..high with "
            "either end open; several of these, or one with ';' in it, must all hold",
            metavar="CONDITION",
            into="where",
        ),
        flag("exclude_seen", "leave the history's items out"),
        Option("exclude", "leave an item out, by its raw id; once for each", metavar="ID", into="exclude"),
        flag("explain", "say which entries of the history moved the list most"),
        flag("json", "print JSON; with --chat a line a turn"),
        Option(
            "output",
            "the file for the lists of many rows; it appears when the last row is answered",
            metavar="FILE",
            default="standard output",
        ),
        Option(
            "format",
            "JSON lines with a list in each, or a table with a line for each item",
            choices=("jsonl", "csv", "parquet"),
            default="by the ending of --output",
        ),
        flag("resume", "go on with the rows that a run which was stopped has answered"),
        Option(
            "on_error",
            "a bad row stops the run, or has its error written in its place",
            choices=("stop", "skip"),
            default="stop",
        ),
        Option("nproc", "number of processes that share the rows, a GPU each", positive_number, "N", default=1),
        *CONVERSING,
        TRUST._replace(
            help="run code that comes with the checkpoint: Python of its backbone, or a pickle, which every .pth is"
        ),
    ),
    processes=True,
    note="See docs/guides/recommending.md.",
)
