"""The table of a run, as Markdown and on a terminal."""

import io
import sys

from recbole_genrec.runs.summary import markdown_table, print_table
from tests.results import run_result

RESULT = run_result(
    model="A",
    dataset="d",
    seed=1,
    test_result={"hit@1": 0.25, "ndcg@1": 0.125},
    users={"evaluated": 8000, "of": 8000},
    test_interval={"hit@1": [0.2, 0.32], "ndcg@1": [0.1, 0.14]},
)


def test_markdown():
    other = RESULT.changed(model="B", test_result={"hit@1": 0.5})
    assert markdown_table([RESULT, other]) == (
        "d, seed 1: test\n\n"
        "| model | hit@1 | ndcg@1 | parameters | trainable | epochs | train s | users/s |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| A | 0.2500 | 0.1250 | 1,234,567 | 1,000 | 3 | 62 | 100 |\n"
        "| B | 0.5000 |  | 1,234,567 | 1,000 | 3 | 62 | 100 |\n"
    )


def test_a_sample_of_users_is_named_with_its_uncertainty():
    sampled = RESULT.changed(users={"evaluated": 2000, "of": 8000})
    text = markdown_table([sampled])
    assert text.startswith("d, seed 1: test, 2,000 of 8,000 users (± half of the 95% bootstrap interval)\n")
    assert "| A | 0.2500 ±0.0600 | 0.1250 ±0.0200 |" in text


def test_who_knows_the_moment_of_the_request_is_said():
    config = RESULT.config | {"context": ["gap", "request_time"], "time_bias": "request_time"}
    known = [RESULT.changed(model=model, config=config) for model in ("HSTU", "SASRec", "GenRec")]
    assert markdown_table(known).startswith("d, seed 1: test; knows the moment of the request: HSTU, GenRec\n\n")
    gap = RESULT.changed(model="GenRec", config=RESULT.config | {"context": ["gap", "rating"], "time_bias": "gap"})
    assert markdown_table([gap, gap.changed(model="HSTU")]).startswith("d, seed 1: test\n\n")


def test_nothing_is_cut_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    many = RESULT.changed(test_result={f"metric@{k}": 0.1 for k in range(30)})
    print_table([many])
    assert "metric@29" in capsys.readouterr().out


def test_a_narrow_terminal_gets_a_column_a_model(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    print_table([RESULT])
    lines = screen.getvalue().splitlines()
    assert any("hit@1" in line and "0.2500" in line for line in lines)
    assert max(map(len, lines)) < 200
