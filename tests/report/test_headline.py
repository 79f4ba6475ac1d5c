"""The sentences that a page begins with: who leads, by how much, and whether the tests call it chance."""

import pytest

from recbole_genrec.report import Analysis, read_results
from recbole_genrec.report.headline import headline, verdict
from recbole_genrec.report.statistics import Comparison

GOOD, BAD = [1, 2, 1, 3, 0, 1] * 10, [0, 9, 0, 10, 0, 4] * 10


@pytest.fixture
def said(tmp_path):
    def read(metric=None):
        (board,) = read_results(tmp_path / "results").boards
        return headline(Analysis(board, metric))

    return read


def test_a_leader(write_run, said):
    write_run("GenRec", 1, GOOD)
    write_run("SASRec", 1, BAD)
    lead, tests, others = said()
    assert lead.startswith("GenRec leads on NDCG@10 with 0.") and lead.endswith("significant over users.")
    assert "ahead of SASRec, the next best row (0." in lead
    assert "significant over users (p" in tests and tests.endswith("one seed, 60 users.")
    low, high = tests.split("95 % interval over users ")[1].split(";")[0].split(" to ")
    assert 0 < float(low) < float(high)  # the leader minus the other
    assert others == "Best by the other metrics: GenRec (hit@5, hit@10, ndcg@5)."


def test_rows_that_are_level(write_run, said):
    for model, places in (("GenRec", [1, 0, 2, 5, 0, 9]), ("SASRec", [0, 1, 2, 5, 0, 0]), ("P5", [0, 1, 0, 5, 2, 0])):
        write_run(model, 1, places)
    lead, tests, *more = said()
    assert "is level on NDCG@10 with" in lead and lead.endswith("no significant difference.") and "leads" not in lead
    assert "not significant over users (p = " in tests
    assert any(sentence.startswith("Also without a significant difference from") for sentence in more)


def test_rows_that_were_not_tested(write_run, said):
    write_run("GenRec", 1, GOOD, stored=False)
    write_run("SASRec", 1, BAD, stored=False)
    lead, tests, _ = said()
    assert lead.startswith("GenRec has the best NDCG@10") and lead.endswith("not tested for chance.")
    assert tests.startswith("No test, for want of the users' outcomes")


def test_one_row_alone(write_run, said):
    write_run("GenRec", 1)
    (sentence,) = said()
    assert sentence.endswith("one seed, 6 users. No other row to compare it with.")


def test_variants_of_the_leader_do_not_hide_the_other_models(write_run, said):
    write_run("GenRec", 1, GOOD, config={"item_indexing": "title"})
    write_run("GenRec", 1, GOOD[::-1], config={"item_indexing": "hybrid"}, folder="results/b")
    write_run("SASRec", 1, BAD)
    assert any("SASRec, the next best row of another model" in sentence for sentence in said())


def test_where_less_is_better(write_run, said):
    for model, gini in (("A", 0.9), ("B", 0.4)):
        write_run(model, 1, test_result={"ndcg@10": 0.1, "giniindex@10": gini}, stored=False)
    assert "B has the best GINIINDEX@10, 0.4000, 0.5000 (55.6%) below A" in said("giniindex@10")[0]


@pytest.mark.parametrize(
    ("p_users", "p_seeds", "differs", "significance"),
    [
        (0.01, 0.2, True, "significant over users, not significant over seeds"),
        (0.2, 0.01, True, "not significant over users, significant over seeds"),
        (0.2, None, False, "not significant over users"),
        (0.05, 0.05, False, "not significant over users, not significant over seeds"),
        (None, None, None, "not tested"),
    ],
)
def test_verdicts(p_users, p_seeds, differs, significance):
    found = verdict(Comparison(-0.01, (-0.03, 0.00001), p_users, p_seeds))
    assert found[:2] == (differs, significance)
    if differs is not None:
        assert found.reason.endswith("95 % interval over users 0 to +0.0300")
