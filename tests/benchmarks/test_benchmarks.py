"""The benchmarks run on tiny settings. Their times mean nothing here; their checks and counts do."""

import json
from statistics import median

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import adapters, contention, cost, decoding, indexing, left_out, llama, synthetic, training, trie
from benchmarks.common import forward_flops, layer_parameters
from benchmarks.recommenders import build, write_movielens_25m
from recbole_genrec.distributed import threads
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.model.catalogue_loss import catalogue_cross_entropy
from tests.builders import write_base

SMALL = {"scratch_hidden_size": 16, "scratch_intermediate_size": 16, "scratch_vocab_size": 400}


def run(module, folder, *arguments):
    """Run a benchmark's ``main`` and read what it has written."""
    output = folder / "result.json"
    module.main(["--quick", "--output", str(output), *arguments])
    return json.loads(output.read_text("utf-8"))


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Work in an empty folder, where RecBole may write."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_training_compares_equal_losses(in_folder):
    result = run(training, in_folder, "--histories", "3")
    assert {row["method"] for row in result["rows"]} >= {"reference", "packed, vocab", "packed, trie"}
    for template in ("instruction", "continuation"):
        loss = {row["method"]: row["loss"] for row in result["rows"] if row["template"] == template}
        assert loss["packed, vocab"] == pytest.approx(loss["reference"], abs=1e-4)
        assert loss["packed, trie"] < loss["packed, vocab"]
    assert result["versions"]["torch"] == torch.__version__
    assert result["hardware"]["threads"] == torch.get_num_threads()


def test_exact_search_finds_all_and_constrained_lists_are_valid(in_folder):
    rows = {(row["trained_with"], row["method"]): row for row in run(decoding, in_folder)["rows"]}
    assert rows["trie", "exact"]["recall"] == 1.0
    assert rows["trie", "exact"]["valid"] == rows["vocab", "generate, constrained"]["valid"] == 1.0
    assert rows["vocab", "generate"]["times_generate"] == rows["trie", "generate"]["times_generate"] == 1.0


def test_lists_without_seen_items_are_exact_whatever_they_cost(in_folder):
    rows = run(left_out, in_folder, "--cache", "weights")["rows"]
    assert [row["sharpness"] for row in rows] == [1.0, 2.0]
    assert all(row["exact"] == 1 and row["seen"] > 20 and row["ratio"] > 0 for row in rows)
    assert len(list((in_folder / "weights").iterdir())) == 1  # both rows have the same weights


def test_cost_is_a_ratio_to_sasrecall_from_one_run(in_folder):
    names = ["GenRec, vectors, branch_share .25", "GenRec, vectors, branch_share 1"]
    arguments = ["--models", *names, "--history", "8", "--width", "8", "--layers", "1", "--users", "1"]
    result = run(cost, in_folder, *arguments)
    reference, quarter, whole = result["rows"]
    assert [row["model"] for row in result["rows"]] == [cost.REFERENCE, *names]
    for row in result["rows"]:
        assert row["targets"] == reference["targets"]  # an epoch of each learns the same targets
        pairs = zip(row["all_cpu_seconds"], reference["all_cpu_seconds"], strict=True)
        assert row["ratio"] == pytest.approx(median(own / other for own, other in pairs))
        assert row["cpu_seconds"] == min(row["all_cpu_seconds"])
        assert 0 < row["not_products"] < 1 and row["positions"] > 1
        assert sum(row["operations"].values()) <= 1.01
    assert quarter["positions"] < whole["positions"]  # branches of all targets
    assert quarter["mflop_per_target"] < whole["mflop_per_target"]
    assert [row["model"] for row in result["ranking"]] == names
    assert all(row["kept"] > 0 and row["nodes_left_out"] > 0 for row in result["ranking"])


def test_cost_counts_the_catalogue_loss_as_three_products():
    states, items = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=cost.UNCOUNTED) as counter:
        catalogue_cross_entropy(states, items, torch.arange(5)).backward()
    assert counter.get_total_flops() == 3 * 2 * 5 * 9 * 4


def test_contention_times_each_setting_quiet_and_beside_a_loop(in_folder, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # what the benchmark was started with decides nothing
    arguments = ["--settings", "default", "passive", "one thread", "--beside", "python"]
    rows = {row["setting"]: row for row in run(contention, in_folder, *arguments)["rows"]}
    assert rows["default"]["waiting"] == " ".join(f"{name}={value}" for name, value in threads.CHOSEN.items())
    assert rows["passive"]["waiting"] == "OMP_WAIT_POLICY=PASSIVE"
    assert rows["one thread"]["threads"] == 1
    for row in rows.values():
        assert row["sleeps"] >= 0
        assert row["python_over_quiet"] == pytest.approx(row["beside_python"] / row["quiet"])


@pytest.mark.filterwarnings("ignore:.*(past_key_values|is_gradient_checkpointing).* is deprecated:FutureWarning")
def test_adapters_are_compared_on_one_checkpoint(in_folder, write_dataset):
    rows = [(f"u{user}", f"i{(user + time) % 12}", time) for user in range(20) for time in range(6)]
    data = write_dataset(in_folder / "data", rows, [(f"i{item}", f"Item {item}") for item in range(12)])
    arguments = [
        "--backbone",
        write_base(in_folder / "base"),
        "--dataset",
        "tiny",
        "--data",
        str(data),
        "--users",
        "15",
    ]
    made = {row["adapter"]: row for row in run(adapters, in_folder, *arguments)["rows"]}
    assert list(made) == list(adapters.RATES)
    width, layers = 16, 1
    assert made["prompt"]["trained"] == 20 * width and made["prefix"]["trained"] == 20 * 2 * width * layers
    assert made["none"]["trained"] == made["none"]["parameters"] and made["none"]["ratio"] == 1
    for row in made.values():
        assert row["users"] == 15 and len(row["validation"]) == 1 and row["ndcg@10"] == row["validation"][0] > 0
        assert row["epoch_cpu_seconds"] > 0


def test_movielens_25m_becomes_a_dataset_with_unrated_movies(in_folder):
    source = in_folder / "raw"
    source.mkdir()
    movies = 'movieId,title,genres\r\n1,Heat (1995),Crime\r\n7,"Sting, The (1973)",Comedy\r\n9,Alone (2020),Drama\r\n'
    (source / "movies.csv").write_text(movies, newline="")
    ratings = [f"{user},{movie},4.0,{time}" for user in (1, 2) for time, movie in enumerate((1, 7, 1, 7))]
    lines = ["userId,movieId,rating,timestamp", *ratings, ""]
    (source / "ratings.first100k.csv").write_text("\r\n".join(lines), newline="")
    settings = write_movielens_25m(source, in_folder)
    _, model, train, _ = build("ml-25m", topk=[1], valid_metric="Hit@1", **settings, **SMALL)
    assert sorted(model.catalogue.texts) == ["Alone (2020)", "Heat (1995)", "Sting, The (1973)"]
    assert np.diff(train_sequences(train.dataset)[2]).tolist() == [2, 2]


def test_made_up_data_have_the_shape_of_movielens_25m():
    generator = np.random.default_rng(0)
    texts = synthetic.titles(2000, generator)
    assert len(set(texts)) == 2000
    items, offsets = synthetic.histories(20_000, 2000, generator)
    lengths = np.diff(offsets)
    assert lengths.min() >= synthetic.FEWEST
    assert np.median(lengths) == pytest.approx(synthetic.MEDIAN, rel=0.05)
    assert lengths.mean() == pytest.approx(synthetic.N_RATINGS / synthetic.N_USERS, rel=0.1)
    assert 1 <= items.min() and items.max() <= 2000


def test_flops_are_counted_as_torch_counts_them():
    model = llama.build_model("tiny", torch.float32, "cpu", kernel="eager")  # the counter passes fused attention over
    with FlopCounterMode(display=False) as counter:
        model.get_base_model()(torch.zeros(2, 12, dtype=torch.long))
    n_parameters = layer_parameters(model.get_base_model())
    counted = forward_flops(model.config, n_parameters, 2 * 12, 2 * 12**2, 2 * 12 * llama.VOCABULARY)
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_indexing_goes_on_where_it_was(in_folder, write_dataset, monkeypatch):
    rows = [(f"u{user}", f"i{(user + time) % 9}", time) for user in range(12) for time in range(5)]
    data = write_dataset(in_folder / "data", rows, [(f"i{item}", f"Item {item}") for item in range(9)])
    budget = SMALL | {"topk": [5], "valid_metric": "NDCG@5"}
    monkeypatch.setattr(indexing, "BUDGETS", {("GenRec", "tiny"): budget})
    monkeypatch.setattr(indexing, "METRICS", ("hit@5", "ndcg@5"))
    made, real = [], indexing.run
    monkeypatch.setattr(indexing, "run", lambda *asked: made.append(asked[3]) or real(*asked))
    arguments = ["--datasets", "tiny", "--models", "GenRec", "--data", str(data), "--runs", "runs.jsonl"]
    run(indexing, in_folder, *arguments, "--schemes", "title")
    result = run(indexing, in_folder, *arguments, "--schemes", "title", "independent")
    assert made == ["title", "independent"]
    assert [row["scheme"] for row in result["rows"]] == made
    assert [row["tokens"] for row in result["rows"]][1] == 1
    assert [row["valid_share"] for row in result["rows"]] == [1, 1]
    budget["min_history"] = 1
    run(indexing, in_folder, *arguments, "--schemes", "title")
    assert made == ["title", "independent", "title"]  # another budget is another run


def test_the_boards_of_indexing_have_means_over_seeds():
    row = {"tokens": 2.0, "decisions": 1.5, "new_tokens": 1200, "parameters": 1, "valid_share": 1, "epochs": 1}
    row |= {"train_s": 1, "users_s": 1}
    runs = [
        {**row, "dataset": dataset, "model": model, "scheme": scheme, "seed": seed, "hit@10": 2 * ndcg, "ndcg@10": ndcg}
        for dataset, model, scheme, seed, ndcg in [
            ("tiny", "GenRec", "random", 1, 0.01),
            ("tiny", "GenRec", "title", 1, 0.1),
            ("tiny", "GenRec", "title", 2, 0.3),
            ("tiny", "P5", "title", 1, 0.2),
            ("other", "P5", "svd", 1, 0.2),
        ]
    ]
    tiny, other = indexing.boards(runs).split("\n\n`other`")
    assert tiny.startswith("`tiny`; seeds: GenRec 1 to 2, P5 1.\n\n| scheme | tokens |")
    assert tiny.splitlines()[2:] == [
        "| scheme | tokens | decisions | new tokens | GenRec: HR@10 | GenRec: NDCG@10 | P5: HR@10 | P5: NDCG@10 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| `title` | 2.00 | 1.50 | 1,200 | 0.4000 ± 0.2828 | 0.2000 ± 0.1414 | 0.4000 | 0.2000 |",
        "| `random` | 2.00 | 1.50 | 1,200 | 0.0200 | 0.0100 |  |  |",
    ]
    assert "| `svd` | 2.00 | 1.50 | 1,200 | 0.4000 | 0.2000 |" in other


def test_a_trie_of_made_up_titles_takes_memory_for_its_tokens(in_folder):
    rows = run(trie, in_folder)["rows"]
    assert [row["long"] for row in rows] == ["no", "yes"]
    assert rows[1]["items"] == rows[0]["items"] + 1 > 1900
    assert rows[1]["tokens"] == rows[0]["tokens"] + trie.LONG + 1  # with its end token
    assert rows[1]["peak_mib"] < rows[0]["peak_mib"] + 2
