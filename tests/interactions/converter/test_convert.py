"""The command, the runner's own conversion, and the dataset that RecBole makes of the files."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from recbole.data import create_dataset

import recbole_genrec
from recbole_genrec import GenRecConfig, GenRecError
from recbole_genrec.cli.main import main
from recbole_genrec.interactions.converter import convert, convert_found, find_dump
from recbole_genrec.quick_start import run_recbole_genrec


@pytest.fixture
def raw(tmp_path, write_zip):
    """A folder with an ``ml-25m.zip`` on which a model can train: 12 users, 8 movies, 5 ratings each."""
    rows = [
        f"{user},{(user + step) % 8 + 1},{step % 5}.5,{881250949 + step}" for user in range(12) for step in range(5)
    ]
    movies = [f'{movie},"Film {movie}, The ({1990 + movie})",Drama|War' for movie in range(1, 9)]
    members = {
        "ml-25m/ratings.csv": "\r\n".join(["userId,movieId,rating,timestamp", *rows]).encode(),
        "ml-25m/movies.csv": "\r\n".join(["movieId,title,genres", *movies]).encode(),
    }
    return write_zip(tmp_path / "data" / "ml-25m.zip", members).parent


class TestCommand:
    def test_converts(self, raw, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert main(["convert", "ml-25m", "--source", str(raw), "--strict", "--user_core=5"]) == 0
        captured = capsys.readouterr()
        assert captured.out.endswith(
            "-> dataset/ml-25m: 60 interactions of 12 users with 8 items; 8 rows of item metadata.\n"
        )
        assert captured.err == ""  # no progress bar where there is no terminal
        assert Path("dataset/ml-25m/ml-25m.inter").is_file()

    def test_help(self, capsys):
        assert main(["convert", "--help"]) == 0
        printed = capsys.readouterr().out
        assert all(f"--{option}" in printed for option in ("source", "output", "download", "strict", "user_core"))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "which dataset?"),
            (["--source=x"], "which dataset?"),
            (["ml-25n"], "Unknown dataset 'ml-25n'. Did you mean 'ml-25m'?"),
            (["ml-25m", "--sorce=x"], "Unknown option '--sorce'. Did you mean '--source'?"),
            (["ml-25m", "x"], "'x' is not of the form --key=value"),
            (["ml-25m", "--strict=1"], "--strict is a flag; it may be true or false, not '1'"),
            (["ml-25m", "--user_core=-1"], "--user_core must be a whole number, not '-1'"),
            (["ml-25m", "--source=nowhere.zip"], "There is no file or folder 'nowhere.zip'"),
            (["ml-25m", "--download", "--source=a.zip"], "With --download, --source is the folder to fetch into"),
            (
                ["ml-25m", "--source=."],
                "No interactions of 'ml-25m' in '.', where ml-25m.zip, ratings.csv would hold them. Fetch "
                "https://files.grouplens.org/datasets/movielens/ml-25m.zip (250 MB) and put it into '.', or add "
                "--download.",
            ),
            (
                ["amazon18-gift_cards"],
                "No interactions of 'amazon18-gift_cards' in 'dataset', where Gift_Cards_5.json.gz, Gift_Cards_5.json, "
                "Gift_Cards.json.gz, Gift_Cards.json would hold them. Fetch https://mcauleylab.ucsd.edu/public_datasets/"
                "data/amazon_v2/categoryFilesSmall/Gift_Cards_5.json.gz and https://mcauleylab.ucsd.edu/public_datasets/"
                "data/amazon_v2/metaFiles2/meta_Gift_Cards.json.gz and put them into 'dataset', or add --download.",
            ),
        ],
    )
    def test_mistakes(self, tmp_path, monkeypatch, capsys, arguments, message):
        monkeypatch.chdir(tmp_path)
        assert main(["convert", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert message in captured.err
        assert captured.out == "" and not list(tmp_path.iterdir())

    def test_a_damaged_zip(self, raw, tmp_path, capsys):
        path = raw / "ml-25m.zip"
        path.write_bytes(path.read_bytes()[:-30])
        assert main(["convert", "ml-25m", f"--source={path}", f"--output={tmp_path / 'out'}"]) == 2
        assert "ml-25m.zip: File is not a zip file. Is the file complete?" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_a_damaged_member(self, raw, tmp_path, capsys):
        path = raw / "ml-25m.zip"
        data = bytearray(path.read_bytes())
        data[data.index(b"ratings.csv") + 40] ^= 0xFF
        path.write_bytes(data)
        assert main(["convert", "ml-25m", f"--source={path}", f"--output={tmp_path / 'out'}"]) == 2
        assert "Cannot read" in (message := capsys.readouterr().err) and "ml-25m/ratings.csv" in message
        assert not (tmp_path / "out").exists()

    def test_malformed_rows_are_shown_on_standard_error(self, raw, tmp_path):
        (raw / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\nx,2,3,4\n")
        (raw / "movies.csv").write_text("movieId,title,genres\n2,Heat (1995),Crime\n")
        source, output = f"--source={raw / 'ratings.csv'}", f"--output={tmp_path / 'out'}"
        command = [sys.executable, "-W", "error", "-m", "recbole_genrec", "convert", "ml-25m", source, output]
        place = Path(recbole_genrec.__file__).parent.parent
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert done.stderr.startswith("1 malformed row is left out:")
        assert "ratings.csv, line 3: not user, movie, rating and time" in done.stderr
        assert "1 interactions of 1 users" in done.stdout


class TestRunner:
    SETTINGS = {"epochs": 1, "topk": [3], "valid_metric": "NDCG@3", "n_layers": 1, "n_heads": 1, "hidden_size": 8}

    def test_converts_what_lies_there(self, raw, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        lines = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())
        logging.getLogger().addHandler(handler)
        try:
            settings = {**self.SETTINGS, "inner_size": 8, "data_path": str(raw)}
            result = run_recbole_genrec("SASRec", "ml-25m", config_dict=settings, saved=False)
        finally:
            logging.getLogger().removeHandler(handler)
        assert result["dataset"] == "ml-25m"
        assert sum("60 interactions of 12 users with 8 items" in line for line in lines) == 1
        assert (raw / "ml-25m/ml-25m.item").is_file()
        assert convert_found("my-shop", raw) is None

    @pytest.mark.parametrize("folder_exists", [True, False])
    def test_says_what_to_fetch(self, tmp_path, monkeypatch, capsys, folder_exists):
        monkeypatch.chdir(tmp_path)
        if folder_exists:
            Path("data/ml-25m").mkdir(parents=True)
        assert main(["--model=SASRec", "--dataset=ml-25m", "--data_path=data"]) == 2
        message = capsys.readouterr().err
        assert (
            "Fetch https://files.grouplens.org/datasets/movielens/ml-25m.zip (250 MB) and put it into 'data'" in message
        )
        assert "python -m recbole_genrec convert ml-25m --download --output=data" in message

    def test_files_of_another_dump_are_not_taken(self, raw, ratings_csv, movies_csv):
        (raw / "ratings.csv").write_bytes(ratings_csv)
        (raw / "movies.csv").write_bytes(movies_csv)
        assert convert_found("ml-32m", raw) is None
        (raw / "ml-32m").mkdir()
        for name in ("ratings.csv", "movies.csv"):
            (raw / name).rename(raw / "ml-32m" / name)
        assert convert_found("ml-32m", raw).interactions == 3


class TestDataset:
    def test_movielens(self, raw, tmp_path):
        convert("ml-25m", raw, tmp_path)
        config = GenRecConfig("GenRec", "ml-25m", config_dict={"data_path": str(tmp_path)})
        dataset = create_dataset(config)
        assert (len(dataset.inter_feat), dataset.user_num - 1, dataset.item_num - 1) == (60, 12, 8)

    @pytest.mark.filterwarnings("ignore:using <built-in function len>:FutureWarning")  # RecBole, on text columns
    def test_amazon_with_every_column(self, tmp_path, write_lines):
        reviews = [
            {
                "user_id": f"U{user}",
                "parent_asin": f"B{item}",
                "rating": 4,
                "timestamp": 1588687728923 + item,
                "text": '"No',
            }
            for user in range(4)
            for item in range(3)
        ]
        write_lines(tmp_path / "Software.jsonl.gz", reviews)
        write_lines(
            tmp_path / "meta_Software.jsonl.gz", [{"parent_asin": f"B{item}", "title": '"Q'} for item in range(2)]
        )
        convert("amazon23-software", tmp_path, tmp_path)
        settings = {"data_path": str(tmp_path), "load_col": None, "filter_inter_by_user_or_item": False}
        dataset = create_dataset(GenRecConfig("SASRec", "amazon23-software", config_dict=settings))
        assert (len(dataset.inter_feat), dataset.user_num - 1, dataset.item_num - 1) == (12, 4, 3)

    def test_recboles_own_filter_gives_the_same_core(self, tmp_path, write_zip, movies_csv):
        # user u has rated the movies 1 to u
        rows = [f"{user},{item},3,{user + item}" for user in range(1, 9) for item in range(1, user + 1)]
        members = {
            "ratings.csv": "\n".join(["userId,movieId,rating,timestamp", *rows]).encode(),
            "movies.csv": movies_csv,
        }
        path = write_zip(tmp_path / "ml-20m.zip", members)
        core = convert("ml-20m", path, tmp_path, user_core=5, item_core=4)
        convert("ml-20m", path, tmp_path)
        settings = {
            "data_path": str(tmp_path),
            "user_inter_num_interval": "[5,inf)",
            "item_inter_num_interval": "[4,inf)",
        }
        dataset = create_dataset(GenRecConfig("SASRec", "ml-20m", config_dict=settings))
        counts = len(dataset.inter_feat), dataset.user_num - 1, dataset.item_num - 1
        assert counts == (core.interactions, core.users, core.items)
        assert counts == (20, 4, 5)


@pytest.mark.parametrize("name", ["ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small", "ml-100k"])
def test_the_shipped_settings_name_columns_that_the_converter_writes(name):
    config = GenRecConfig("GenRec", name)
    columns = {
        suffix: [column.partition(":")[0] for column in names] for suffix, names in find_dump(name).columns.items()
    }
    assert set(config["load_col"]["inter"]) <= set(columns["inter"])
    assert config["item_text"] == "{movie_title} ({release_year})"
    assert {"movie_title", "release_year"} <= set(columns["item"])


def test_the_source_must_exist(tmp_path):
    with pytest.raises(GenRecError, match="There is no file or folder"):
        convert("ml-25m", tmp_path / "nowhere", tmp_path)


class TestAFileOfWhichNothingCanBeRead:
    """Nothing is written: a catalogue without a title is not what anybody asked for."""

    @pytest.mark.parametrize("broken", ["inter", "item"])
    @pytest.mark.parametrize("content", ["array", "no JSON"])
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_amazon(self, tmp_path, write_lines, broken, content, suffix):
        reviews = [{"reviewerID": "U1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1529193600}]
        records = {"inter": reviews, "item": [{"asin": "B1", "title": "Card"}]}
        records[broken] = [records[broken]] if content == "array" else ["<html>", "</html>"]
        write_lines(tmp_path / f"raw/Gift_Cards_5.json{suffix}", records["inter"])
        path = write_lines(tmp_path / f"raw/meta_Gift_Cards.json{suffix}", records["item"])
        wrong = {"array": "line 1: a list, as if the file were one JSON array", "no JSON": "neither JSON nor a Python"}
        with pytest.raises(GenRecError, match=wrong[content]) as raised:
            convert("amazon18-gift_cards", tmp_path / "raw", tmp_path / "out")
        assert broken == "inter" or str(raised.value).startswith(f"No row of {path} can be read. ")
        assert not list(tmp_path.glob("out/*/*"))

    def test_movielens(self, tmp_path, write_zip):
        ratings, films = b"1::1::5::978300760\n", b"1;Toy Story (1995);Comedy\n2;Jumanji;Drama\n"
        members = {"ml-1m/ratings.dat": ratings, "ml-1m/movies.dat": films, "ml-1m/users.dat": b"1::F::1::10::48067\n"}
        write_zip(tmp_path / "raw/ml-1m.zip", members)
        with pytest.raises(GenRecError, match="No row of .*movies.dat can be read. 2 malformed rows are left out"):
            convert("ml-1m", tmp_path / "raw", tmp_path / "out")
        assert not list(tmp_path.glob("out/*/*"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_byte_order_mark_costs_no_row(tmp_path, write_lines, suffix):
    records = {
        f"Gift_Cards_5.json{suffix}": {"reviewerID": "U1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1529193600},
        f"meta_Gift_Cards.json{suffix}": {"asin": "B1", "title": "Card"},
    }
    for name, record in records.items():
        write_lines(tmp_path / "raw" / name, ["\ufeff" + json.dumps(record)])
    made = convert("amazon18-gift_cards", tmp_path / "raw", tmp_path / "out")
    assert (made.interactions, made.described, made.malformed) == (1, 1, 0)
