"""What a run leaves behind: one JSON a model, and one table."""

import json
import os
import platform
from enum import Enum
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recbole_genrec import __version__
from recbole_genrec.confidence import LEVEL
from recbole_genrec.indexing.report import examples, report

LIBRARIES = ("numpy", "pandas", "torch", "transformers", "peft", "recbole")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that decide a result."""
    libraries = {name: version(name) for name in LIBRARIES}
    libraries["torch"] = torch.__version__  # names the build too, such as +cpu
    return {"python": platform.python_version(), "recbole_genrec": __version__, **libraries}


def hardware(device) -> dict:
    """The device of a run, and how many CPU cores and threads stood behind it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "name": name, "cpu_count": os.cpu_count(), "threads": torch.get_num_threads()}


def plain(value):
    """Turn a configuration value into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "item"):
        return value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def write_text(path, text):
    """Write a file under a temporary name, then give it its own, so that a reader never meets half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def write_result(folder, result):
    """Write ``<model>-<dataset>-<seed>.json``; an earlier one of the same name is replaced."""
    write_text(result_file(folder, result["model"], result, "json"), json.dumps(plain(result), indent=2) + "\n")


def write_table(folder, results):
    """Write the table of all results as Markdown: ``<model>+<model>-<dataset>-<seed>.md``."""
    models = "+".join(result["model"] for result in results)
    write_text(result_file(folder, models, results[0], "md"), markdown_table(results))


def result_file(folder, models, result, ending):
    """Path of a run's file, ``<model>-<dataset>-<seed>.<ending>``; ``result`` names dataset and seed."""
    return Path(folder) / f"{models}-{result['dataset']}-{result['seed']}.{ending}"


def _score(result, metric) -> str:
    """A metric as the table shows it: over a sample of users, with half the width of its confidence interval."""
    score = result["test_result"].get(metric)
    if score is None:
        return ""
    if not _is_sample(result) or metric not in result["test_interval"]:
        return f"{score:.4f}"
    low, high = result["test_interval"][metric]
    return f"{score:.4f} ±{(high - low) / 2:.4f}"


def _is_sample(result):
    return result["users"]["evaluated"] < result["users"]["of"]


def caption(results) -> str:
    """What the table shows: dataset, seed, and over which users where not all of them are evaluated."""
    first = results[0]
    text = f"{first['dataset']}, seed {first['seed']}: test"
    if not _is_sample(first):
        return text
    users = f"{first['users']['evaluated']:,} of {first['users']['of']:,} users"
    return f"{text}, {users} (± half of the {LEVEL:.0%} bootstrap interval)"


def table_rows(results) -> list[list[str]]:
    """Header and one row a model: test metrics, the one that selects over cold items where there are any, parameters,
    seconds to train, users evaluated a second."""
    metrics = list(dict.fromkeys(metric for result in results for metric in result["test_result"]))
    cold = []
    if results[0].get("cold"):
        metric = results[0]["valid_metric"].lower()
        cold = [f"cold {metric}", f"among cold {metric}"]
    rows = [["model", *metrics, *cold, "parameters", "trainable", "epochs", "train s", "users/s"]]
    for result in results:
        scores = [_score(result, metric) for metric in metrics]
        for tested in (result["cold"], result["cold"].get("among_cold")) if cold else ():
            scores.append(f"{tested['test_result'][metric]:.4f}" if tested else "")
        parameters = result["parameters"]
        rows.append(
            [
                result["model"],
                *scores,
                f"{parameters['total']:,}",
                f"{parameters['trainable']:,}",
                str(result["epochs"]),
                f"{result['seconds']['train']:.0f}",
                f"{result['users_per_second']:.0f}",
            ]
        )
    return rows


def markdown_table(results) -> str:
    """The comparison as a Markdown table, numbers to the right."""
    return rows_as_markdown(caption(results), table_rows(results))


def rows_as_markdown(title, rows) -> str:
    """A header and rows as a Markdown table, all columns but the first to the right."""
    header, *rows = rows
    rule = ["---"] + ["---:"] * (len(header) - 1)
    table = "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))
    return f"{title}\n\n{table}"


def print_table(results):
    """Print the comparison on standard output: a row a model, or a column a model where the terminal is narrow."""
    print_rows(caption(results), table_rows(results))


def print_rows(title, rows):
    """Print a header and rows as a table, turned round where the terminal is narrow."""
    console = Console()
    natural = Console(width=1000).measure(_rich_table(title, rows)).maximum
    if console.is_terminal and natural > console.width:
        rows = [list(column) for column in zip(*rows)]
    # A pipe has no width of its own: the table keeps its natural one.
    Console(width=None if console.is_terminal else natural).print(_rich_table(title, rows))


def print_index(title, catalogue, decisions):
    """Print how a catalogue's items got their identifiers: figures, then a few of them.

    Args:
        title: what stands above.
        catalogue: :class:`~recbole_genrec.catalogue.Catalogue`.
        decisions: tokens of each identifier at which the catalogue leaves a choice.
    """
    figures = Table(show_header=False)
    for row in report(catalogue.index, decisions):
        figures.add_row(*map(escape, row))
    some = Table("item", "text", "identifier")
    for row in examples(catalogue.item_tokens, catalogue.item_texts, catalogue.index):
        some.add_row(*map(escape, row))
    console = Console()
    console = console if console.is_terminal else Console(width=1000)  # a pipe has no width of its own
    console.print(escape(title))  # above the table, which may be too narrow for it
    console.print(figures)
    console.print(some)


def _rich_table(title, rows):
    table = Table(title=escape(title))
    for column, name in enumerate(rows[0]):
        table.add_column(escape(name), justify="right" if column else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table
