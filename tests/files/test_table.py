"""One table in every format."""

import csv
import io

from recbole_genrec.files.table import Figure, console_table, csv_text, latex, markdown, rows_as_markdown

HEADER = ["model", "hit@10"]
ROWS = [["A|B", Figure(0.12345, 0.01, "†", True)], ["50% [a]_b", Figure(0.1)], ["C", ""]]


def test_markdown():
    assert markdown(HEADER, ROWS) == (
        "| model | hit@10 |\n| --- | ---: |\n| A\\|B | **0.1235 ± 0.0100** † |\n| 50% [a]_b | 0.1000 |\n| C |  |\n"
    )
    assert rows_as_markdown("Title", [["a", "b"], ["1", "2"]]) == "Title\n\n| a | b |\n| --- | ---: |\n| 1 | 2 |\n"
    assert markdown(["a", "b", "c"], [], numbers=["b"], padded=False) == "| a | b | c |\n|---|---:|---|\n"


def test_latex():
    text = latex(HEADER, ROWS, "All & more")
    assert r"A|B & \textbf{0.1235} $\pm$ 0.0100 \dag{} \\" in text
    assert r"50\% [a]\_b & 0.1000 \\" in text
    assert r"\begin{tabular}{lr}" in text and r"\caption{All \& more}" in text


def test_csv_keeps_values():
    text = csv_text(HEADER, [["A,B", 0.123456789], ["C", None]])
    assert list(csv.reader(io.StringIO(text))) == [HEADER, ["A,B", "0.123456789"], ["C", ""]]


def test_the_console_shows_cells_as_they_are():
    table = console_table("A [b]", [["x", "y"], ["[bold]", "1"]], numbers=True)
    assert table.title == "A \\[b]" and table.columns[0]._cells == ["\\[bold]"]
    assert [column.justify for column in table.columns] == ["left", "right"]
    without = console_table(None, [["x", "y"]], has_header=False)
    assert without.row_count == 1 and not without.show_header
