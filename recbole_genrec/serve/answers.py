"""Answers for people, as tables, and for programs, as JSON."""

from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recbole_genrec.serve.protocol import ScoredItem


def as_json(answer, explanation=None):
    """An answer and its explanation, if there is one, as JSON types."""
    content = {
        "history": [asdict(entry) for entry in answer.history],
        "recommendations": [asdict(recommendation) for recommendation in answer.recommendations],
        "expanded_nodes": answer.expanded_nodes,
        "over_budget": answer.over_budget,
    }
    if explanation is not None:
        content["explanation"] = {
            "history": [asdict(entry) for entry in explanation.history],
            "changes": [list(row) for row in explanation.changes],
            "reasons": list(explanation.reasons),
        }
    return content


def print_answer(answer, explanation=None):
    """Print how the history was read, the list, and its explanation."""
    console = Console()
    console = console if console.is_terminal else Console(width=1000)  # a pipe has no width
    read = [entry for entry in answer.history if entry.read]
    if read or not answer.history:
        console.print(_history_table(read))
        older = len(answer.history) - len(read)
    else:
        console.print(f"The model knows the user, and reads none of the {len(answer.history)} entries of the history.")
        older = 0
    if older:
        console.print(f"{older} older entries are not read.")
    console.print(_list_table(answer, explanation))
    if answer.over_budget:
        console.print("The search hit 'node_budget': a beam search finished the list.")
    if explanation is not None:
        console.print(_change_table(explanation))


def _history_table(history):
    table = Table("history", "taken for", "item", "title")
    for entry in history:
        table.add_row(*map(escape, (entry.given, entry.kind, entry.item_id or "", entry.title)))
    return table


def _list_table(answer, explanation):
    table = Table()
    scored = any(isinstance(recommendation, ScoredItem) for recommendation in answer.recommendations)
    value = "score" if scored else "probability"
    for name, side in (("rank", "right"), ("item", "left"), ("title", "left"), (value, "right")):
        table.add_column(name, justify=side)
    if explanation is not None:
        table.add_column("most because of")
    for place, recommendation in enumerate(answer.recommendations):
        row = [str(recommendation.rank), recommendation.item_id, recommendation.title]
        row.append(f"{recommendation.score:.4g}" if scored else f"{recommendation.probability:.2%}")
        if explanation is not None:
            reason = explanation.reasons[place]
            row.append("" if reason is None else explanation.history[reason].title)
        table.add_row(*map(escape, row))
    return table


def _change_table(explanation):
    """A table with a row per entry and a column per recommendation: the entry's effect in percentage points."""
    table = Table(title="percentage points that an entry adds to each recommendation")
    table.add_column("history")
    for recommendation in explanation.answer.recommendations:
        table.add_column(str(recommendation.rank), justify="right")
    for entry, row in zip(explanation.history, explanation.changes):
        table.add_row(escape(entry.title), *(f"{100 * change:+.2f}" for change in row))
    return table
