"""The results page, ``benchmarks/results/README.md``: made of the runs that lie beside it, which it names.

python -m benchmarks.page                          write the page again
python -m benchmarks.page --take results/mine      add a folder's runs first, without what belongs to a machine

Runs in ``<dataset>/`` are those that the page compares. Runs further down, ``<attempt>/<dataset>/``, are what else was
tried: they stand in a table of their own, together with the first. Tests in the first table are corrected for its rows
alone, not for what else was tried: that is right only where validation chose the settings, which the page says. What
the tables mean, ``notes.md`` beside the runs says. Another evaluation, such as ``repeatable: False``, makes a section
of its own.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from benchmarks import indexing
from recbole_genrec.files.table import markdown as table_markdown
from recbole_genrec.files.write import write_text
from recbole_genrec.report import Analysis, markdown, published, read_results, seen_items, shortfalls
from recbole_genrec.runs.identity import deciding_settings
from recbole_genrec.runs.result import result_file

FOLDER = Path(__file__).parent / "results"
PAGE = "README.md"
#: settings that name the checkpoint folder of another run, of which its own name is kept.
FOLDER_KEYS = frozenset(("warm_start", "pretrained_checkpoint", "item_index"))


def take(results, folder):
    """Copy the runs of a folder to ``<folder>/<dataset>/``, without paths of this machine.

    Of the users' outcomes the places of the targets are kept, and how often each item was recommended, but no lists.
    """
    for board in read_results(results).boards:
        lengths = {int(length) for _, _, length in (name.partition("@") for name in board.metrics) if length}
        for row in board.rows:
            for run in row.runs.values():
                settings = deciding_settings(run.result.config)
                for key in settings.keys() & FOLDER_KEYS:
                    settings[key] = "/".join(Path(settings[key]).parts[-2:])
                if "text_vectors" in settings:  # folders of sentence encoders, or names
                    settings["text_vectors"] = "+".join(Path(each).name for each in settings["text_vectors"].split("+"))
                portable = run.result.content() | {"config": settings, "checkpoint": None}
                place = Path(folder) / board.dataset
                target = result_file(place, run.result.model, portable, "json")
                write_text(target, json.dumps(portable, indent=1) + "\n")
                outcomes = run.outcomes()
                if outcomes is not None:
                    outcomes.write_counts(target.with_suffix(".npz"), lengths, folder)


def page(folder):
    """The page over the runs below a folder, as Markdown."""
    compared = {path.resolve() for path in folder.glob("*/*.json")}
    boards = {(board.dataset, str(board.protocol)): board for board in read_results(folder, compared).boards}
    sections = []
    for every in read_results(folder).boards:
        board = boards.get((every.dataset, str(every.protocol)), every)
        sections.append(_section(Analysis(replace(board, name=every.name)), Analysis(every), folder))
    listed = "\n".join(sections)
    return (
        "# Results\n\nWritten by `python -m benchmarks.page` from the files named below each table. "
        "`python -m recbole_genrec report --results=benchmarks/results --output=FOLDER` draws the pictures. "
        "Settings were chosen on validation; the first table of a dataset is not corrected for how many were tried, "
        "the one with everything that was tried is.\n\n"
        f"{listed}{_indexing(folder / 'indexing.jsonl')}"
    )


def _indexing(file):
    runs = indexing.comparable(indexing.read_runs(file).values())
    if not runs:
        return ""
    return (
        "\n## Item indexing\n\nThe same short training for every scheme of a model, test, mean ± sample standard "
        f"deviation over the seeds; from `{file.name}`, whose lines have each run's budget, versions and hardware.\n\n"
        f"{indexing.boards(runs)}"
    )


def _section(analysis, every, folder):
    runs = [run for row in every.rows for run in row.runs.values()]
    files = ", ".join(f"`{run.path.relative_to(folder).as_posix()}`" for run in runs)
    strength = "".join(f"- {sentence}\n" for sentence in shortfalls(analysis.board))
    machines = {_machine(run.result): None for run in runs}
    return (
        f"## {analysis.name}\n\n{markdown(analysis)}\n{_notes(analysis.board)}"
        f"### How strong the rows are\n\n{strength}\n"
        f"{_published(analysis.board)}{_attempts(analysis, every)}### Runs\n\n{files}.\n\n{'; '.join(machines)}.\n"
    )


def _notes(board):
    """What stands in ``notes.md`` beside a board's runs."""
    folders = dict.fromkeys(run.path.parent for row in board.rows for run in row.runs.values())
    files = [folder / "notes.md" for folder in folders]
    return "".join(f"{file.read_text('utf-8').strip()}\n\n" for file in files if file.is_file())


def _attempts(analysis, every):
    if len(every.rows) == len(analysis.rows):
        return ""
    return f"### With what else was tried\n\n{markdown(every)}\n"


def _published(board):
    entries = published(board)
    if not entries:
        return ""
    metrics = ["hit@10", "ndcg@10"]
    rows = [
        [entry["setting"], *(f"{entry[metric]:.4f}" for metric in metrics), seen_items(entry), entry["source"]]
        for entry in entries
    ]
    table = table_markdown(["published", *metrics, "seen items", "source"], rows, numbers=metrics, padded=False)
    return f"{table}\n"


def _machine(result):
    hardware, versions = result.hardware, result.versions
    named = ", ".join(f"{name} {versions[name]}" for name in ("python", "recbole_genrec", "torch", "recbole"))
    return f"{hardware.device} {hardware.name}, {hardware.threads} of {hardware.cpu_count} threads, {named}"


def main(arguments=None):
    """Write the page of all kept runs."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--take", type=Path, help="a folder of runs to add first")
    options.add_argument("--folder", type=Path, default=FOLDER, help="where the runs and the page are")
    options = options.parse_args(arguments)
    if options.take:
        take(options.take, options.folder)
    write_text(options.folder / PAGE, page(options.folder))


if __name__ == "__main__":
    main()
