"""The table of a run, and what there is to say of a catalogue's identifiers, for people to read."""

from rich.console import Console
from rich.markup import escape

from recbole_genrec.catalogue.identifier_report import examples, report
from recbole_genrec.evaluation.confidence import LEVEL
from recbole_genrec.files.table import console_table, print_rows, rows_as_markdown
from recbole_genrec.files.write import write_text
from recbole_genrec.runs.result import result_file


def write_table(folder, results):
    """Write the table of several ``RunResult`` as Markdown: ``<model>+<model>-<dataset>-<seed>.md``."""
    models = "+".join(result.model for result in results)
    write_text(result_file(folder, models, results[0].content(), "md"), markdown_table(results))


def _score(result, metric) -> str:
    """A metric as the table shows it: over a sample of users, with half the width of its confidence interval."""
    score = (result.test_result | _rating_errors(result)).get(metric)
    if score is None:
        return ""
    if not _is_sample(result) or metric not in result.test_interval:
        return f"{score:.4f}"
    low, high = result.test_interval[metric]
    return f"{score:.4f} ±{(high - low) / 2:.4f}"


def _rating_errors(result):
    """RMSE and MAE of a model's rating task, by a prompt that training used; empty without one."""
    task = result.tasks.get("rating", {})
    errors = task.get("seen", {}) if isinstance(task, dict) else {}
    return {name: errors[name] for name in ("rmse", "mae") if name in errors}


def _is_sample(result):
    return result.users.evaluated < result.users.of


def caption(results) -> str:
    """What the table shows: dataset, seed, over which users where not all of them are evaluated, and who knows more."""
    first = results[0]
    text = f"{first.dataset}, seed {first.seed}: test"
    if _is_sample(first):
        users = f"{first.users.evaluated:,} of {first.users.of:,} users"
        text += f", {users} (± half of the {LEVEL:.0%} bootstrap interval)"
    knowing = [result.model for result in results if result.knows_request]
    return f"{text}; knows the moment of the request: {', '.join(knowing)}" if knowing else text


def table_rows(results) -> list[list[str]]:
    """Header and one row a model.

    The columns are test metrics, errors of predicted ratings where there are any, the metric that selects over cold
    items where there are any, parameters, seconds to train, and users evaluated a second.
    """
    metrics = list(dict.fromkeys(metric for result in results for metric in result.test_result))
    metrics += [name for name in ("rmse", "mae") if name not in metrics and any(map(_rating_errors, results))]
    cold, ranking = [], [result for result in results if result.valid_metric.lower() in result.test_result]
    if results[0].cold and ranking:
        metric = ranking[0].valid_metric.lower()  # which the loss of a model that explains is not
        cold = [f"cold {metric}", f"among cold {metric}"]
    rows = [["model", *metrics, *cold, "parameters", "trainable", "epochs", "train s", "users/s"]]
    for result in results:
        scores = [_score(result, metric) for metric in metrics]
        for tested in (result.cold, result.cold.get("among_cold")) if cold else ():
            scores.append(f"{tested['test_result'][metric]:.4f}" if tested else "")
        rows.append(
            [
                result.model,
                *scores,
                f"{result.parameters.total:,}",
                f"{result.parameters.trainable:,}",
                str(result.epochs),
                f"{result.seconds.train:.0f}",
                f"{result.users_per_second:.0f}",
            ]
        )
    return rows


def markdown_table(results) -> str:
    """The comparison as a Markdown table, numbers to the right."""
    return rows_as_markdown(caption(results), table_rows(results))


def print_table(results):
    """Print the comparison on standard output: a row a model, or a column a model where the terminal is narrow."""
    print_rows(caption(results), table_rows(results))


def print_index(title, catalogue, decisions):
    """Print how a catalogue's items got their identifiers: figures, then a few of them.

    Args:
        title: what stands above.
        catalogue: :class:`~recbole_genrec.catalogue.catalogue.Catalogue`.
        decisions: tokens of each identifier at which the catalogue leaves a choice.
    """
    figures = console_table(None, list(report(catalogue.index, decisions)), has_header=False)
    some = examples(catalogue.item_tokens, catalogue.item_texts, catalogue.index)
    console = Console()
    console = console if console.is_terminal else Console(width=1000)  # a pipe has no width of its own
    console.print(escape(title))  # above the table, which may be too narrow for it
    console.print(figures)
    console.print(console_table(None, [["item", "text", "identifier"], *some]))
