"""What is loaded is what was trained: every door to a checkpoint gives its scores, for every model and every indexing.

Three films of the catalogue share a title, so that identifiers hold suffixes or more codes: whoever makes a tokenizer
or identifiers from them anew gets others than those of the training.
"""

import re
import shutil
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer

from recbole_genrec import GenRecError, GenRecommender, NewItem, run_recbole_genrec
from recbole_genrec.catalogue.schemes import known_indexings
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, save_checkpoint
from recbole_genrec.checkpoint.folder import read_catalogue, read_prompt
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import model_kind
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.prompt.task_prompts import TARGETS, tasks_of
from recbole_genrec.runs import run as runner
from recbole_genrec.runs.result import RunResult
from recbole_genrec.runs.retest import retest
from recbole_genrec.serve.export import export
from tests.builders import LABELS, STATE, randomize, write_base, write_labels, write_reviews

TITLES = ["Heat", "Alien", "Heat", "Toy Story", "Heat", "Alien", "Up", "Brazil", "Toy Story 2", "Big Fish", "", "Seven"]
PROMPT = "version: 1\nprefix: 'Then:'\nitem_suffix: ';'\nend: ';'\n"
SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 160,
    "MAX_ITEM_LIST_LENGTH": 5,
    "semantic_steps": 5,
    "decoding": "full",
    "topk": [3],
    "metrics": ["Hit", "NDCG"],
    "valid_metric": "NDCG@3",
    "epochs": 1,
    "learning_rate": 0.01,
    "eval_users": 9,
    "show_progress": False,
}
VECTORS = {"history": "both", "edge_embedding": True, "item_prior": True}
ADAPTERS = ("prompt", "prefix", "ia3")
#: model, settings; a ``base`` is a pretrained backbone.
CASES = {
    **{scheme: ("GenRec", {"item_indexing": scheme}) for scheme in known_indexings()},
    "title with vectors": ("GenRec", {"item_indexing": "title", **VECTORS}),
    "adapter": ("GenRec", {"backbone": "base", "lora_r": 2, "item_indexing": "hybrid"}),
    **{kind: ("GenRec", {"backbone": "base", "adapter": kind, "item_indexing": "title"}) for kind in ADAPTERS},
    "whole": ("GenRec", {"backbone": "base", "adapter": "none", "item_indexing": "title"}),
    "P5": ("P5", {"item_indexing": "title"}),
    "GenRecSeq2Seq": ("GenRecSeq2Seq", {"item_indexing": "title", "pretrain_epochs": 1, "attribute_fields": ["genre"]}),
    "TIGER": ("TIGER", {"item_indexing": "semantic", "semantic_steps": 20, "user_tokens": 5}),
    "TALLRec": ("TALLRec", LABELS | {"eval_args": {"mode": "full"}, "max_prompt_tokens": 512}),
    "TALLRec, adapter": (
        "TALLRec",
        LABELS | {"eval_args": {"mode": "full"}, "backbone": "base", "lora_r": 2, "max_prompt_tokens": 512},
    ),
    "UniTRec": ("UniTRec", {}),
    "PEPLER": ("PEPLER", {"prompt_epochs": 1, "explain_about": "predicted", "rating_model": "mlp"}),
    "PEPLER, adapter": ("PEPLER", {"backbone": "base", "adapter": "lora", "lora_r": 2}),
    "SASRecAll": ("SASRecAll", {"hidden_size": 16, "inner_size": 16}),
    "BSARec": ("BSARec", {"hidden_size": 16, "inner_size": 16, "low_frequencies": 3}),
    "HSTU": ("HSTU", {"hidden_size": 16, "time_bias": "request_time"}),
    "SASRec": ("SASRec", {"hidden_size": 16, "inner_size": 16}),
}
GENREC = [case for case, (name, _) in CASES.items() if name == "GenRec"]
GENERATIVE = [case for case, (name, _) in CASES.items() if model_kind(name).generative]


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory, write_dataset):
    """The working folder, with the data set ``tiny`` of three columns and a pretrained backbone ``base``."""
    folder = tmp_path_factory.mktemp("world")
    rows = [(f"u{u}", f"m{(u + t * t) % len(TITLES)}", 100 + t) for u in range(12) for t in range(6)]
    items = [(f"m{i}", title, ("Crime", "Drama", "Crime Drama")[i % 3]) for i, title in enumerate(TITLES)]
    header = ("item_id:token", "title:token_seq", "genre:token_seq")
    write_dataset(folder / "data", rows, items, item_header=header)
    write_labels(folder / "data")
    write_reviews(folder / "data")
    write_base(folder / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


class Run:
    """A finished run, the model that it has trained, and that model's scores of the test rows."""

    def __init__(self, name, settings):
        self.name, self.settings = name, SMALL | {"data_path": "data"} | settings
        if name == "P5":
            self.settings["tasks"] = {"sequential": 1}
        self.result, self.model = self.start()
        self.checkpoint = self.result["checkpoint"]
        self.batch = next(iter(load_data_and_model(self.checkpoint)[-1]))[0]
        self.scores = self.model.full_sort_predict(self.batch)

    def start(self, **changes):
        with built() as models:
            return run_recbole_genrec(self.name, "tiny", config_dict=self.settings | changes), models[-1]

    def build(self, **changes):
        config = GenRecConfig(self.name, "tiny", config_dict=self.settings | changes)
        torch.manual_seed(99)
        return runner.build_model(config, SplitData([config])).eval()

    def assert_same(self, model):
        assert torch.equal(model.eval().full_sort_predict(self.batch), self.scores)


@contextmanager
def built():
    """Collect the models that runs build."""
    models, build = [], runner.build_model

    def collecting(*args):
        models.append(build(*args))
        return models[-1]

    with pytest.MonkeyPatch.context() as patch:
        for module in ("run", "retest"):
            patch.setattr(f"recbole_genrec.runs.{module}.build_model", collecting)
        yield models


@pytest.fixture(scope="module")
def trained(world):
    """Gives the run of a case, made once."""
    return cache(lambda case: Run(*CASES[case]))


def nothing_new(monkeypatch):
    """Let no tokenizer be trained and no scheme run from now on."""

    def refuse(*args, **kwargs):
        raise AssertionError("made anew")

    monkeypatch.setattr("recbole_genrec.backbone.scratch.train_tokenizer", refuse)
    monkeypatch.setattr("recbole_genrec.model.abstract_recommender.draft_identifiers", refuse)
    monkeypatch.setattr("recbole_genrec.model.abstract_recommender.item_text", refuse)


@pytest.mark.parametrize("case", CASES)
def test_load_data_and_model(trained, monkeypatch, case):
    run = trained(case)
    nothing_new(monkeypatch)
    config, model, _, _, valid, test = load_data_and_model(run.checkpoint)
    run.assert_same(model)
    plain = Trainer(config, model)  # RecBole's own: the run's metrics, over its sample of users
    assert dict(plain.evaluate(test, load_best_model=False)) == run.result["test_result"]
    ranked = {name: value for name, value in run.result["best_valid_result"].items() if name != "loss"}
    assert dict(plain.evaluate(valid, load_best_model=False)) == ranked


@pytest.mark.parametrize("case", CASES)
def test_a_run_tested_again(trained, monkeypatch, case):
    run = trained(case)
    nothing_new(monkeypatch)
    with built() as models:
        result = retest(written(run))
    run.assert_same(models[-1])
    for key in ("test_result", "best_valid_result", "identifiers", "config"):
        assert result[key] == run.result[key], key


def written(run):
    """The JSON of a run, which later ones of the same model have replaced."""
    folder = Path("written", Path(run.checkpoint).parent.name)
    RunResult.model_validate(run.result).write(folder)
    return folder / f"{run.name}-tiny-2020.json"


@pytest.mark.parametrize("case", GENERATIVE)  # RecBole's trainer has no 'resume'
def test_a_run_resumed(trained, case):
    run = trained(case)
    result, model = run.start(resume="auto")
    run.assert_same(model)
    assert result["test_result"] == run.result["test_result"] and result["checkpoint"] == run.checkpoint


@pytest.mark.parametrize("case", [case for case in GENERATIVE if "item_index" in model_kind(CASES[case][0]).settings()])
def test_identifiers_taken_over(trained, case):
    """``item_index`` takes the tokens along, so that the checkpoint's weights fit a model of another seed."""
    run = trained(case)
    model = run.build(item_index=run.checkpoint, seed=1)
    load_checkpoint_into(model, run.checkpoint)
    run.assert_same(model)


@pytest.mark.parametrize("case", GENREC)
def test_recommender(trained, case):
    """It lays out the same prompts and scores; probabilities come as Python floats through the exponential."""
    run = trained(case)
    recommender = GenRecommender.from_checkpoint(run.checkpoint)
    ranker, length = recommender.ranker, run.batch["item_length"].tolist()
    items = [item for row, count in zip(run.batch["item_id_list"].tolist(), length) for item in row[:count]]
    stop = torch.tensor(length).cumsum(0).numpy()
    tree = ranker.tree(ranker.packer, torch.tensor(items).numpy(), stop - length, stop)
    assert torch.equal(run.model.rank(tree, {}), run.scores)
    history = [ranker.titles()[item - 1] for item in items[: length[0]]]
    if ranker.reads_text:
        (listed,) = recommender.recommend([history], topk=3)
        found = torch.tensor([entry.probability for entry in listed])
        # the search feeds a node at a time where 'full' scores all items in one forward: sums of other shapes
        torch.testing.assert_close(found, run.scores[0].exp().topk(3).values, rtol=1e-4, atol=0)


@pytest.mark.parametrize("case", ["title", "title with vectors"])
def test_warm_start(trained, case):
    run = trained(case)
    if case == "title":
        run.assert_same(run.build(warm_start=run.checkpoint, seed=1))
    else:  # edges of a trie are others in another catalogue: their vectors begin at zero
        model = run.build(warm_start=run.checkpoint, seed=1)
        model.edge_embedding.weight.data[:] = run.model.edge_embedding.weight
        run.assert_same(model)


@pytest.mark.parametrize("case", ["title", "title with vectors", "random", "whole"])
def test_more_items(trained, case, tmp_path):
    run = trained(case)
    recommender = GenRecommender.from_checkpoint(run.checkpoint)
    recommender.add_items([NewItem("n1", "Heat"), NewItem("n2", "Casino")])
    recommender.save(tmp_path / "more")
    again = GenRecommender.from_checkpoint(tmp_path / "more")
    assert again.ranker.catalogue.identifiers == recommender.ranker.catalogue.identifiers
    histories = [[recommender.ranker.titles()[0]], []] if recommender.ranker.reads_text else [[], []]
    assert again.recommend(histories, topk=14) == recommender.recommend(histories, topk=14)
    with pytest.raises(GenRecError, match="'add_items' has put 'n1' there, and .* 14 items there, 12 here"):
        load_data_and_model(str(tmp_path / "more"))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("case", ["title", "sequential", "collaborative", "adapter", "whole"])
def test_export(trained, tmp_path, case):
    """The language model alone, with the checkpoint's tokens; a merged adapter adds in another order."""
    name, settings = CASES[case]
    run = Run(name, settings | {"history": "text", "edge_embedding": False, "item_prior": False})
    export(run.checkpoint, tmp_path / "plain", merged=True)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "plain")
    assert tokenizer.get_vocab() == run.model.backbone.tokenizer.get_vocab()
    catalogue, parts = (
        read_catalogue(run.checkpoint),
        run.model.prompt_parts(read_prompt(run.checkpoint), run.model.backbone),
    )
    prompt = parts.write([catalogue.identifiers[item] for item in (0, 2, 4)])
    with torch.no_grad():
        expected = run.model.backbone.logits(run.model(torch.tensor([[1, 3, 5]]), torch.tensor([3])))
        found = plain(torch.tensor([prompt])).logits[:, -1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_loaded_model_is_stored_as_it_was(trained, tmp_path):
    run = trained("adapter")
    config, model, *_ = load_data_and_model(run.checkpoint)
    quick = GenRecommender.from_checkpoint(run.checkpoint)
    save_checkpoint(tmp_path / "again", model, config, STATE)
    for name in ("items.json", "prompt.yaml", "item_columns.json", "extra.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == Path(run.checkpoint, name).read_bytes(), name
    run.assert_same(load_data_and_model(str(tmp_path / "again"))[1])
    assert quick.recommend([[]]) == GenRecommender.from_checkpoint(tmp_path / "again").recommend([[]])


# ---- what has changed since ----


def test_files_that_training_has_read_may_be_gone(trained, tmp_path):
    source, prompt = trained("title"), tmp_path / "mine.yaml"
    prompt.write_text(PROMPT, "utf-8")
    shutil.copytree(source.checkpoint, tmp_path / "source")
    run = Run("GenRec", {"warm_start": str(tmp_path / "source"), "prompt": str(prompt)})
    path = written(run)
    shutil.rmtree(tmp_path / "source")
    prompt.unlink()
    run.assert_same(load_data_and_model(run.checkpoint)[1])
    assert retest(path)["test_result"] == run.result["test_result"]


def test_a_prompt_that_has_changed_is_noticed(trained, tmp_path):
    prompt = tmp_path / "mine.yaml"
    prompt.write_text(PROMPT, "utf-8")
    settings = {"prompt": str(prompt), "backbone": "base"}
    run = Run("GenRec", settings)
    prompt.write_text(PROMPT.replace("Then", "When"), "utf-8")
    run.assert_same(load_data_and_model(run.checkpoint)[1])
    with pytest.raises(GenRecError, match=r"other prompts \(prompt.yaml: 'prefix' is 'Then:' there and 'When:' here\)"):
        run.start(resume="auto")


def test_a_pretrained_tokenizer_that_has_changed_is_noticed(trained, world):
    shutil.copytree("base", "other")
    run = Run("GenRec", {"backbone": "other", "lora_r": 2})
    path = Path("other/tokenizer.json")
    path.write_text(re.sub(r'"a": (\d+),(\s+)"b": (\d+)', r'"b": \1,\2"a": \3', path.read_text("utf-8")), "utf-8")
    for door in (load_data_and_model, GenRecommender.from_checkpoint):
        with pytest.raises(GenRecError, match="another tokenizer than 'backbone: other' has here .*'a' there and 'b'"):
            door(run.checkpoint)


def test_texts_that_have_changed_are_noticed(trained, monkeypatch):
    """Codes are the same whatever a title says; the tokenizer of P5 knows the words of the reviews."""
    run = trained("P5")
    monkeypatch.setattr(type(run.model), "_fixed_texts", lambda model: [" zyzzyva"] * 9)
    with pytest.raises(GenRecError, match="it belongs to another (tokenizer|item text)"):
        run.start(resume="auto")


@pytest.mark.parametrize("door", ["load", "test"])
def test_a_dataset_of_other_items_is_refused(trained, door, tmp_path):
    run = trained("title")
    path, shorter = written(run), tmp_path / "tiny"
    shutil.copytree("data/tiny", shorter)
    lines = (shorter / "tiny.inter").read_text("utf-8").splitlines()
    (shorter / "tiny.inter").write_text("\n".join(line for line in lines if "\tm7\t" not in line) + "\n", "utf-8")
    if door == "test":
        with pytest.raises(
            GenRecError, match="belongs to another dataset or another filtering.*12 items there, 11 here"
        ):
            retest(path, {"data_path": str(tmp_path)})
        return
    shutil.move("data/tiny", "data/kept")
    shutil.copytree(shorter, "data/tiny")
    try:
        with pytest.raises(GenRecError, match="belongs to another dataset or another filtering"):
            load_data_and_model(run.checkpoint)
    finally:
        shutil.rmtree("data/tiny")
        shutil.move("data/kept", "data/tiny")


@pytest.mark.parametrize(
    "text", ["What is {{next}} for{user} after {history} ?", " {user}{history} \n", "}}{{ {history}"]
)
def test_task_prompts_come_back(text):
    tasks = tasks_of({"version": 3, "sequential": [text, "{history}"]}, "mine", "here")
    assert tasks_of(tasks.as_dict(), "mine", "there") == tasks and set(TARGETS) > {"sequential"}


def test_random_weights_are_told_apart(trained):
    """The comparison can fail: other weights, other scores."""
    run = trained("title")
    model = load_data_and_model(run.checkpoint)[1]
    randomize(model)
    assert not torch.equal(model.eval().full_sort_predict(run.batch), run.scores)
