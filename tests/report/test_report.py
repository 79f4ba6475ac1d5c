"""A report over a folder: what is compared with what, the tables, and the page, also in a browser."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks import page as results_page
from recbole_genrec import GenRecError
from recbole_genrec.cli.main import main
from recbole_genrec.evaluation.outcomes import TESTS, Outcomes
from recbole_genrec.files.table import escaped
from recbole_genrec.report import Analysis, markdown, read_results, shortfalls, write_report
from recbole_genrec.report.page import SCRIPT
from recbole_genrec.report.tables import csv_table, latex

GOOD, BAD = [1, 2, 1, 3, 0, 1] * 10, [0, 9, 0, 10, 0, 4] * 10
PICTURES = (
    ["NDCG@10 by model", "Learning curves", "Quality against training time", "Quality against time per user"]
    + ["NDCG@10 by history length", "NDCG@10 by item popularity", "Catalogue coverage and Gini index"]
    + ["Validity and novelty of the lists"]
)


@pytest.fixture
def results(tmp_path, write_run):
    """A folder with two models under three seeds."""
    for seed in (1, 2, 3):
        write_run("GenRec", seed, GOOD[seed:] + GOOD[:seed])
        write_run("SASRec", seed, BAD[seed * 2 :] + BAD[: seed * 2])
    return tmp_path / "results"


class TestRuns:
    def test_a_board_a_dataset_and_protocol(self, tmp_path, write_run):
        write_run("SASRec", 1)
        write_run("SASRec", 1, dataset="other")
        sampled = {"eval_args": {"mode": "uni99", "split": {"LS": "valid_and_test"}}}
        write_run("SASRec", 1, folder="results/sampled", config=sampled)
        boards = read_results(tmp_path / "results").boards
        assert sorted(board.dataset for board in boards) == ["other", "toy", "toy"]
        names = {board.name for board in boards}
        assert "other" in names and sum("toy (eval_args=" in name for name in names) == 2

    def test_rows_are_named_by_what_differs(self, tmp_path, write_run):
        for scheme in ("title", "hybrid"):
            for seed in (1, 2):
                config = {"item_indexing": scheme, "data_path": f"/{scheme}/data"}
                write_run("GenRec", seed, folder=f"results/{scheme}", config=config)
        write_run("SASRec", 1)
        (board,) = read_results(tmp_path / "results").boards
        assert [(row.name, list(row.runs)) for row in board.rows] == [
            ("SASRec", [1]),
            ("GenRec (item_indexing=hybrid)", [1, 2]),
            ("GenRec (item_indexing=title)", [1, 2]),
        ]

    def test_rows_that_differ_in_much_are_numbered_and_the_caption_says_in_what(self, tmp_path, write_run):
        shared = {"item_indexing": "title", "adapter": "lora"}
        for number in (1, 2):
            own = {"learning_rate": number / 100, "lora_r": number, "epochs": number, "ema_decay": number / 4}
            write_run("GenRec", 1, folder=f"results/{number}", config=shared | own)
        write_run("SASRec", 1)
        (board,) = read_results(tmp_path / "results").boards
        assert [row.name for row in board.rows] == ["GenRec 1", "GenRec 2", "SASRec"]
        text = markdown(Analysis(board))
        assert "| GenRec 2 | 1 |" in text and "adapter=" not in text
        assert "GenRec 2: ema_decay=0.5, epochs=2, learning_rate=0.02, lora_r=2." in text

    def test_a_default_that_is_not_written_is_the_default(self, tmp_path, write_run):
        write_run("GenRec", 1, config={"item_indexing": "title"})
        write_run("GenRec", 2)
        (board,) = read_results(tmp_path / "results").boards
        assert [(row.name, list(row.runs)) for row in board.rows] == [("GenRec", [1, 2])]

    def test_the_same_run_twice_counts_once(self, tmp_path, write_run):
        write_run("SASRec", 1)
        other = write_run("SASRec", 1, folder="results/z")
        read = read_results(tmp_path / "results")
        assert read.repeated == [other]
        assert len(read.boards[0].rows[0].runs) == 1

    def test_failed_runs_and_other_files(self, tmp_path, results):
        kept = {"model": "SASRec", "dataset": "toy", "seed": 3, "error": "KeyError: 'x'"}
        (results / "SASRec-toy-3.failed.json").write_text(json.dumps(kept), "utf-8")
        (results / "benchmark.json").write_text("[1]", "utf-8")
        read = read_results(results)
        assert [run.content() for run in read.failed] == [kept]
        assert [len(row.runs) for row in read.boards[0].rows] == [3, 2]  # what failed since no longer stands there

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda folder: None, "There is no folder"),
            (lambda folder: folder.mkdir(), "holds no run"),
            (lambda folder: (folder.mkdir(), (folder / "x.json").write_text("{")), "x.json is not JSON"),
        ],
    )
    def test_folders_without_runs(self, tmp_path, make, message):
        make(tmp_path / "empty")
        with pytest.raises(GenRecError, match=message):
            read_results(tmp_path / "empty")


class TestTables:
    def test_rows_that_know_the_moment_of_the_request_are_named(self, tmp_path, write_run):
        write_run("HSTU", 1, config={"time_bias": "request_time"})
        write_run("SASRecAll", 1, config={"context": ["gap"]}, folder="results/gap")
        write_run("SASRecAll", 1, config={"context": ["request_time"]}, folder="results/asked")
        write_run("SASRec", 1, config={"context": ["request_time"]})
        (board,) = read_results(tmp_path / "results").boards
        text = markdown(Analysis(board))
        named = {row.name: row.any.result for row in board.rows if row.model == "SASRecAll"}
        row = next(name for name, result in named.items() if result.config["context"] == ["request_time"])
        assert f" Knows the moment of the request, which is the target's own time: HSTU, {row}." in text

    def test_markdown(self, results):
        (board,) = read_results(results).boards
        text = markdown(Analysis(board))
        lines = text.splitlines()
        assert lines[0].startswith("| model | seeds | hit@5 | hit@10 | ndcg@5 | ndcg@10 | parameters | epochs |")
        genrec, sasrec = lines[2:4]
        assert re.match(r"\| GenRec \| 3 \| \*\*0\.8333 ± 0\.0000\*\* \|", genrec)
        assert re.search(r"\| 0\.\d{4} ± 0\.\d{4} †(‡)? \|", sasrec)
        assert "toy, test on all users. Mean ± sample standard deviation over seeds 1, 2, 3" in text
        assert "differs from the best row of its column" in text

    def test_against_a_baseline(self, results):
        (board,) = read_results(results).boards
        genrec, sasrec = markdown(Analysis(board, baseline="SASRec")).splitlines()[2:4]
        assert "†" in genrec and "†" not in sasrec and "**" not in sasrec

    def test_csv_holds_the_numbers(self, results):
        (board,) = read_results(results).boards
        analysis = Analysis(board)
        rows = list(csv.DictReader(io.StringIO(csv_table([analysis]))))
        assert len(rows) == 8
        row = next(row for row in rows if (row["model"], row["metric"]) == ("SASRec", "ndcg@10"))
        tested = [json.loads(path.read_text())["test_result"]["ndcg@10"] for path in results.glob("SASRec*.json")]
        assert float(row["mean"]) == pytest.approx(sum(tested) / 3)
        assert row["against"] == "GenRec" and float(row["high"]) < 0 and float(row["p_users"]) < 0.05

    def test_latex(self, results):
        (board,) = read_results(results).boards
        text = latex(Analysis(board))
        assert text.count(r"\\") == 3 and text.count("&") == 3 * 9
        assert r"\textbf{" in text and r"$\pm$" in text and r"\dag{}" in text
        assert escaped("a_b & 50% \\ {x}") == r"a\_b \& 50\% \textbackslash{} \{x\}"

    def test_less_is_better_for_some(self, tmp_path, write_run):
        for model, gini in (("A", 0.9), ("B", 0.4)):
            write_run(model, 1, test_result={"ndcg@10": 0.1, "giniindex@10": gini}, stored=False)
        (board,) = read_results(tmp_path / "results").boards
        assert Analysis(board).best["giniindex@10"].name == "B"

    def test_a_metric_that_recbole_does_not_have(self, tmp_path, write_run):
        path = write_run("A", 1, test_result={"ndcg@10": 0.1, "-1": 0.2}, stored=False)
        (board,) = read_results(tmp_path / "results").boards
        with pytest.raises(GenRecError, match=f"{path}, 'test_result': RecBole has no metric '-1'"):
            Analysis(board)

    def test_other_users_are_not_paired(self, tmp_path, write_run):
        write_run("GenRec", 1, GOOD)
        write_run("SASRec", 1, BAD[:-1])
        (board,) = read_results(tmp_path / "results").boards
        analysis = Analysis(board)
        assert analysis.comparisons["ndcg@10"]["SASRec"].p_users is None
        assert "Not tested, for want of the users' outcomes (.npz) or of common seeds: SASRec." in markdown(analysis)


class TestStrength:
    @pytest.mark.parametrize("mode", ["full", {"valid": "full", "test": "full"}])
    def test_a_baseline_that_misses_the_published_figures(self, tmp_path, write_run, mode):
        protocol = {"eval_args": {"mode": mode, "split": {"LS": "valid_and_test"}}}
        result = {"hit@10": 0.21398, "ndcg@10": 0.17}
        write_run("SASRec", 1, dataset="ml-1m", config=protocol, test_result=result)
        (board,) = read_results(tmp_path / "results").boards
        said = shortfalls(board)
        assert "SASRec: hit@10 0.2140 misses by 25% the published 0.2853 (SASRec, sampled softmax" in said[0]
        assert "ndcg@10 0.1700 exceeds by 6% the published 0.1603" in said[1]

    def test_a_published_test_among_unseen_items_is_named_another(self, tmp_path, write_run):
        for seed, repeatable in ((1, True), (2, False)):
            protocol = {"eval_args": {"mode": "full", "split": {"LS": "valid_and_test"}}, "repeatable": repeatable}
            write_run("SASRec", seed, dataset="ml-1m", config=protocol, test_result={"hit@10": 0.2, "ndcg@10": 0.1})
        said = {board.name: shortfalls(board)[0] for board in read_results(tmp_path / "results").boards}
        other = "another test: items seen before are left out there and kept here"
        assert {name: other in sentence for name, sentence in said.items()} == {
            "ml-1m (repeatable=true)": True,
            "ml-1m (repeatable=false)": False,
        }

    def test_other_protocols_are_not_compared(self, tmp_path, write_run):
        sampled = {"eval_args": {"mode": "uni99", "split": {"LS": "valid_and_test"}}}
        write_run("SASRec", 1, dataset="ml-1m", config=sampled)
        (board,) = read_results(tmp_path / "results").boards
        assert shortfalls(board)[0].startswith("No published figures for ml-1m")

    @pytest.mark.parametrize(("allowed", "said"), [(3, True), (4, False)])
    def test_a_best_epoch_at_the_end(self, tmp_path, write_run, allowed, said):
        write_run("SASRec", 1, config={"epochs": allowed})
        (board,) = read_results(tmp_path / "results").boards
        assert any("more epochs may give more" in sentence for sentence in shortfalls(board)) == said


class Structure(HTMLParser):
    """Elements of a page, and what it would load from elsewhere."""

    VOID = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.titles, self.pictures, self.outside, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.outside += [value for key, value in attrs if key in ("src", "href")]
        if "plotly-graph-div" in attributes.get("class", ""):
            self.pictures.append(attributes["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h3":
            self.titles.append(data)


class TestPage:
    def test_structure(self, results):
        paths = write_report(str(results))
        assert [path.name for path in paths] == ["table.md", "table.csv", "table.tex", "report.html"]
        text = paths[-1].read_text("utf-8")
        page = Structure(text)
        assert page.open == [] and page.outside == [SCRIPT]
        assert page.titles == ["Example users", "How strong the rows are", "Tests", *PICTURES, "Runs"]
        assert len(page.pictures) == len(set(page.pictures)) == 8
        assert (results / SCRIPT).read_text("utf-8").count("plotly.js v") == 1
        assert len(text.encode()) < 200_000
        assert "GenRec-toy-2.json" in text and "torch 2.6.0" in text and "100.0% valid" in text

    def test_names_cannot_break_out(self, tmp_path, write_run):
        write_run("GenRec", 1, config={"prompt": "</pre><script>alert(1)</script>"})
        write_run("GenRec", 1, folder="results/b", config={"prompt": "</script><b>"})
        text = write_report(tmp_path / "results")[-1].read_text("utf-8")
        assert Structure(text).open == []
        assert "<script>alert" not in text and "</script><b>" not in text

    def test_runs_without_outcomes(self, tmp_path, write_run):
        write_run("SASRec", 1, stored=False)
        text = write_report(tmp_path / "results", tmp_path / "there")[-1].read_text("utf-8")
        assert Structure(text).titles == ["Example users", "How strong the rows are", *PICTURES[:4], "Runs"]
        assert "No file of outcomes (.npz) beside the runs of SASRec" in text

    def test_runs_kept_without_lists(self, results, tmp_path):
        results_page.main(["--take", str(results), "--folder", str(tmp_path / "kept")])
        (board,), (kept,) = read_results(results).boards, read_results(tmp_path / "kept").boards
        assert kept.rows[0].any.outcomes().lists is None
        for metric in ("ndcg@10", "hit@5"):
            whole, counted = Analysis(board, metric), Analysis(kept, metric)
            for name in ("beyond", "history", "popularity", "counts", "comparisons"):
                assert getattr(whole, name) == getattr(counted, name), name
            assert whole.beyond.keys() == {"GenRec", "SASRec"} and not counted.uncounted

    def test_runs_kept_without_counts_for_the_pictures(self, results, tmp_path):
        for path in results.glob("SASRec*.npz"):
            Outcomes.read(path).write_counts(path, [5], results)
        text = write_report(results, metric="ndcg@10")[-1].read_text("utf-8")
        note = "The outcomes (.npz) of SASRec are kept without lists, and without counts of the first 10 items"
        assert note in text and "No file of outcomes" not in text
        (board,) = read_results(results).boards
        analysis = Analysis(board, "ndcg@10")
        assert list(analysis.beyond) == ["GenRec"] and set(analysis.history) == {"GenRec", "SASRec"}

    def test_without_plotly(self, results, monkeypatch):
        monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
        monkeypatch.setitem(sys.modules, "plotly", None)
        with pytest.raises(GenRecError, match=r"needs plotly: pip install -e \"\.\[report\]\""):
            write_report(results)

    def test_in_a_browser(self, results, tmp_path):
        """Headless Chromium draws every picture, and has no error to tell of."""
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        browser = next(filter(None, map(shutil.which, names)), None)
        if browser is None:
            pytest.skip("no Chromium or Chrome is installed")
        page = write_report(results)[-1]
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--enable-logging=stderr", "--virtual-time-budget=30000", "--dump-dom", page.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        assert not re.findall(r".*CONSOLE.*", shown.stderr)
        drawn = re.split(r'<div id="picture-', shown.stdout)[1:]
        assert len(drawn) == 8
        for picture in drawn:
            assert 'class="main-svg"' in picture
            assert re.search(r'class="(point|trace|js-line|lines)', picture)


class TestCommandLine:
    def test_a_report(self, results, capsys):
        folder = str(results)
        assert (
            main(["report", "--results", folder, f"--output={folder}/out", "--metric=HIT@5", "--baseline=SASRec"]) == 0
        )
        printed = capsys.readouterr().out.split()
        assert [Path(path).name for path in printed] == ["table.md", "table.csv", "table.tex", "report.html"]
        assert "HR@5 by model" in Path(printed[-1]).read_text("utf-8")

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("--metric=ndcg@7", "Unknown metric 'ndcg@7'"),
            ("--baseline=SASRek", "Unknown baseline 'SASRek'. Did you mean 'SASRec'?"),
            ("--result=x", "Unknown option '--result'. Did you mean '--results'?"),
        ],
    )
    def test_mistakes(self, results, capsys, argument, message):
        given = [] if argument.startswith("--result=") else [f"--results={results}"]
        assert main(["report", *given, argument]) == 2
        assert message in capsys.readouterr().err
        assert not list(results.glob("table.*"))


class TestResultsPage:
    def test_it_is_made_of_the_files_that_it_names(self):
        text = (results_page.FOLDER / results_page.PAGE).read_text("utf-8")
        assert text == results_page.page(results_page.FOLDER)
        for path in re.findall(r"`([\w./-]+\.json)`", text):
            assert (results_page.FOLDER / path).is_file()

    def test_outcomes_are_kept_without_lists(self):
        files = list(results_page.FOLDER.rglob("*.npz"))
        assert len(files) > 40 and sum(path.stat().st_size for path in files) < 2_000_000
        assert all(Outcomes.read(path).lists is None for path in files if path.parent.name != TESTS)

    def test_taking_runs_keeps_the_names_of_sentence_encoders(self, tmp_path, write_run):
        write_run("GenRec", 1, config={"text_vectors": "tfidf+/home/me/minilm"})
        results_page.main(["--take", str(tmp_path / "results"), "--folder", str(tmp_path / "kept")])
        (kept,) = (tmp_path / "kept/toy").glob("*.json")
        assert json.loads(kept.read_text("utf-8"))["config"]["text_vectors"] == "tfidf+minilm"

    def test_taking_runs_leaves_the_machine_out(self, results, tmp_path):
        path = results / "GenRec-toy-1.json"
        run = json.loads(path.read_text("utf-8"))
        run["config"] |= {"data_path": "/home/me/data", "checkpoint_dir": "/home/me/saved", "device": "cpu"}
        path.write_text(json.dumps(run | {"checkpoint": "/home/me/saved/best"}), "utf-8")
        results_page.main(["--take", str(results), "--folder", str(tmp_path / "kept")])
        kept = sorted(path.name for path in (tmp_path / "kept/toy").iterdir())
        assert kept == sorted(path.name for path in results.iterdir())
        texts = [path.read_text("utf-8") for path in (tmp_path / "kept").rglob("*.json")]
        assert not any("/home/me" in text for text in texts)
        page = (tmp_path / "kept/README.md").read_text("utf-8")
        assert "`toy/GenRec-toy-1.json`" in page and markdown(Analysis(read_results(results).boards[0])) in page


def test_settings_of_other_models_make_no_rows(tmp_path, write_run):
    """A key of P5 that was given for all models parts the runs of P5, and no others."""
    for model in ("GenRec", "P5", "SASRec"):
        for seed, count in ((1, 5), (2, 7)):
            write_run(model, seed, config={"model": model, "examples_per_user": count})
    (board,) = read_results(tmp_path / "results").boards
    assert [(row.name, sorted(row.runs)) for row in board.rows] == [
        ("GenRec", [1, 2]),
        ("P5 (examples_per_user=5)", [1]),
        ("P5 (examples_per_user=7)", [2]),
        ("SASRec", [1, 2]),
    ]
