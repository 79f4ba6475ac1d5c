"""Lists for more users than one machine serves: Ray Data hands batches of rows to workers, each with the model.

    pip install "recbole_genrec[ray]"
    python examples/recommend_ray.py --checkpoint FOLDER --input asked.jsonl --output lists --workers 4 --gpus 1

``--input`` is a file, or a folder of files, of the JSON lines that ``recommend --input`` reads, wherever Ray can read
(``s3://...`` too); ``--output`` becomes a folder of JSON lines, one answer a line. Give every row an ``id``: Ray may
change the order of rows. A bad row has its error in its place, as with ``--on_error skip``.

On a cluster, submit it with ``ray job submit``; checkpoint and dataset must be where every worker can read them.
"""

import argparse
import json

import ray


class Worker:
    """Holds the model, and answers batches of rows.

    Args:
        checkpoint: what ``Recommender.load`` opens. manner: the fields of ``Manner``. opening: arguments of ``load``.
    """

    def __init__(self, checkpoint, manner, opening):
        from recbole_genrec import Recommender
        from recbole_genrec.serve.many.answered_rows import RowAnswers
        from recbole_genrec.serve.many.manner import Manner

        self.answers = RowAnswers(Recommender.load(checkpoint, **opening), Manner(**manner, on_error="skip"))

    def __call__(self, batch):
        """The column ``answer`` of a batch with the column ``text``."""
        from recbole_genrec.serve.many.answered_rows import rows_of

        answers = self.answers(rows_of([str(text) for text in batch["text"]]))
        for answer in answers:
            del answer["row"]  # of its batch; among all rows nobody knows it
        return {"answer": [json.dumps(answer, ensure_ascii=False) for answer in answers]}


def recommend(rows, checkpoint, workers=1, gpus=0, batch_size=256, **asked):
    """A Ray dataset with the column ``answer`` of one with the column ``text``.

    Args:
        rows: the dataset; each text is a JSON line.
        checkpoint: what ``Recommender.load`` opens on every worker.
        workers: number of models. gpus: of each.
        batch_size: rows that a worker gets at once.
        asked: ``opening``, further arguments of ``Recommender.load``; and ``manner``, fields of
            ``recbole_genrec.serve.many.manner.Manner``, such as ``{"topk": 20}``.
    """
    return rows.map_batches(
        Worker,
        fn_constructor_args=(checkpoint, asked.get("manner", {}), asked.get("opening", {})),
        batch_size=batch_size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=gpus,
    )


def main():
    """Run the command line in the module's header."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "input", "output"):
        options.add_argument(f"--{name}", required=True)
    options.add_argument("--data_path", help="folder of the dataset's folder, where it has moved")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--gpus", type=float, default=0, help="of each worker")
    options.add_argument("--topk", type=int, default=10)
    given = options.parse_args()
    asked = {"manner": {"topk": given.topk}, "opening": {"data_path": given.data_path}}
    rows = ray.data.read_text(given.input)
    answered = recommend(rows, given.checkpoint, given.workers, given.gpus, **asked)
    answered.map(lambda row: json.loads(row["answer"])).write_json(given.output)


if __name__ == "__main__":
    main()
