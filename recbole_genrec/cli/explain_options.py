"""The entry of the command ``explain`` in the table of commands."""

from recbole_genrec.cli.options import Command, Option, flag

EXPLAIN = Command(
    "recbole_genrec.cli.explain:explain",
    "Explain an item to a user in words, with a checkpoint that was trained on reviews.",
    (
        "{program} explain --checkpoint DIR --user A2MN5JQMIY0FQ2 --item B004LLIKVU",
        "{program} explain --checkpoint DIR --user A2MN5JQMIY0FQ2 --item B004LLIKVU --about card",
    ),
    (
        Option("checkpoint", "a checkpoint folder of PEPLER or P5", metavar="FOLDER", required=True),
        Option(
            "user",
            "the user by raw id; one that the data does not have is an unknown user",
            metavar="ID",
            required=True,
        ),
        Option("item", "the item by raw id", metavar="ID", required=True),
        Option(
            "about",
            "a word that the explanation should be about; for a model trained with 'explain_about: predicted'",
            metavar="WORD",
            default="the feature that other reviews predict, for such a model",
        ),
        Option(
            "data_path",
            "the folder that holds the dataset's folder",
            metavar="FOLDER",
            default="where it was in training",
        ),
        flag("json", "print JSON"),
        flag("trust_remote_code", "run Python code that comes with the checkpoint's backbone"),
    ),
)
