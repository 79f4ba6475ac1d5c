"""Users in prompts: what is learnt from their names, the same scores by every way in, and names that leak nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from recbole.quick_start import load_data_and_model

from recbole_genrec import GenRecError, GenRecommender, ItemId, UserHistory, run_recbole_genrec
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.catalogue.schemes import Sequences
from recbole_genrec.catalogue.user_index import cluster_codes
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from tests.builders import SCRATCH
from tests.model.context_world import ITEMS

USERS = 80
OWN = {
    **SCRATCH,
    "prompt": "continuation-user",
    "topk": [1],
    "valid_metric": "NDCG@1",
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "train_batch_tokens": 0,
    "user_cluster_leaf_size": 40,
    "user_cluster_branches": 2,
    "show_progress": False,
    "train_batch_size": 20,
}
SCHEMES = ["number", "random", "cluster", "metadata"]


def rows_of(held_out=lambda user, items: items):
    """Users of the left side go one way, those of the right side another; ``held_out`` gives the last two items."""
    random, rows = np.random.default_rng(0), []
    for user in range(USERS):
        item, side = int(random.integers(4)), user % 2
        items = [item, (item + 1 + side) % 4, *random.integers(4, size=2)]
        items = [*items[:2], *held_out(user, [int(each) for each in items[2:]])]
        rows += [(f"u{user}", "abcd"[each], time) for time, each in enumerate(items)]
    return rows


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_dataset(tmp_path / "data", rows_of(), ITEMS)
    users = ["user_id:token\tside:token\tage:float"]
    users += [f"u{user}\t{'left right'.split()[user % 2]}\t{20 + user % 30}" for user in range(USERS - 1)]
    Path(path, "tiny/tiny.user").write_text("\n".join(users) + "\n")  # nothing is known of the last
    return OWN | {"data_path": path}


def named(scheme):
    """The settings of a scheme."""
    return {"user_indexing": scheme} | ({"user_text": "{side}, {age}"} if scheme == "metadata" else {})


def built(settings, model="GenRec"):
    config = GenRecConfig(model, "tiny", config_dict=settings)
    data = SplitData([config])
    torch.manual_seed(3)
    return config, data, build_model(config, data).eval()


def test_it_learns_what_the_user_alone_tells(settings):
    losses = {}
    for scheme in ("none", "metadata"):
        own = named(scheme) | {"epochs": 30, "eval_step": 30, "learning_rate": 0.02}
        own |= {"prompt": "continuation"} if scheme == "none" else {"user_dropout": 0.0}
        result = run_recbole_genrec("GenRec", "tiny", config_dict=settings | own)
        losses[scheme] = result["curve"][-1]["train_loss"]
    assert losses["metadata"] < 0.35 < 0.6 < losses["none"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_way_gives_the_same_scores(settings, scheme, capsys):
    own = settings | named(scheme) | {"epochs": 2, "user_levels": 2, "history": "both"}
    result = run_recbole_genrec("GenRec", "tiny", config_dict=own)
    folder = Path(result["checkpoint"])
    stored = json.loads((folder / "users.json").read_text("utf-8"))
    if scheme == "metadata":  # personal words stay in the data
        assert (stored["users"], stored["columns"]) == ([], ["side", "age"])
    else:
        assert len(stored["users"]) == len({json.dumps(pieces) for pieces in stored["pieces"]}) == USERS
    _, model, _, _, _, test = load_data_and_model(result["checkpoint"])
    model.eval()
    batch = next(iter(test))[0]
    model.scores_all_items = True
    scores, target = model.full_sort_predict(batch), batch["item_id"]
    torch.testing.assert_close(scores[:, 1:].exp().sum(1), torch.ones(len(scores)))
    of_target = scores.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(model.predict(batch), of_target, atol=1e-5, rtol=1e-5)
    packed = model.pack_interaction(batch)
    loss = model.calculate_loss(packed) * packed.n_decisions
    torch.testing.assert_close(loss, -of_target.sum(), atol=1e-3, rtol=1e-4)
    recommender, tokens = GenRecommender.from_checkpoint(result["checkpoint"]), model.catalogue.item_tokens

    def given(row, user_id=None, values=None):
        length = batch["item_length"][row]
        items = [ItemId(tokens[item - 1]) for item in batch["item_id_list"][row, :length].tolist()]
        return UserHistory(items, values or {}, user_id)

    for row in (0, 1, len(batch) - 1):
        user = int(batch["user_id"][row]) - 1
        known = {} if user == USERS - 1 else {"side": ["left", "right"][user % 2], "age": 20 + user % 30}
        history = given(row, f"u{user}", known if scheme == "metadata" else {})
        found = {each.item_id: each.probability for each in recommender.recommend([history], 4)[0]}
        expected = [scores[row, item].exp().item() for item in range(1, 5)]
        assert [found[token] for token in tokens] == pytest.approx(expected, abs=1e-5)
        assert recommender.explain(history, 4).answer.recommendations[0].probability == pytest.approx(
            max(found.values())
        )
    # users whom training has not had, and none at all, are one to the model
    nobody = recommender.recommend([given(0), list(given(0)), given(0, "u1000")], 4)
    assert nobody[0] == nobody[1] == nobody[2]
    assert nobody[0] != recommender.recommend([given(0, "u3", known)], 4)[0]
    assert len(recommender.recommend([UserHistory([], {}, "u3")], 4)[0]) == 4
    capsys.readouterr()
    assert main(["recommend", "--checkpoint", str(folder), "--user=u3", "--topk=4", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    history = UserHistory([ItemId(entry["item_id"]) for entry in listed["history"]], {}, "u3")
    history.user = {"side": "right", "age": 23} if scheme == "metadata" else {}
    found = recommender.recommend([history], 4)[0]
    assert [each["probability"] for each in listed["recommendations"]] == [each.probability for each in found]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("history", ["text", "vectors"])
def test_packed_training_is_that_of_single_prompts(settings, scheme, history):
    config, data, model = built(settings | {"user_indexing": scheme, "user_dropout": 0.0, "history": history})
    part = data.train_part(config)
    packed = [(batch.n_decisions, model.calculate_loss(batch)) for batch in model.training_loader(config, part)]
    single = model.pack_interaction(part[np.arange(len(part))])
    total = sum(count * loss for count, loss in packed)
    assert single.n_decisions == sum(count for count, _ in packed)
    torch.testing.assert_close(total, model.calculate_loss(single) * single.n_decisions, atol=1e-3, rtol=1e-5)
    # and the users are in the rows: other ones give another loss
    rows = part[np.arange(len(part))]
    rows["user_id"] = rows["user_id"].flip(0)
    other = model.pack_interaction(rows)
    assert not torch.equal(model.calculate_loss(other), model.calculate_loss(single))


def test_prompts_read_as_written(settings):
    _, _, model = built(settings | {"user_indexing": "metadata", "user_text": "a {age} year old, {side}"})
    numbers = HistoryContext(user=np.array([1, 2, 0, USERS]))
    prompts = model.packer.prompts(np.array([1]), np.zeros(4, int), np.ones(4, int), numbers)
    texts = [
        model.backbone.tokenizer.decode(row[:length].tolist())
        for row, length in zip(prompts.input_ids, prompts.lengths)
    ]
    title = model.catalogue.texts[0]
    begins = ["Chosen by a 20 year old, left:", "Chosen by a 21 year old, right:", "Chosen by:", "Chosen by:"]
    assert [text.replace("<s>", "").strip() for text in texts] == [f"{begin}\n{title}" for begin in begins]


def test_dropout_leaves_users_out(settings):
    config, data, model = built(settings | {"user_indexing": "random", "user_dropout": 0.5})
    model.train()
    rows = data.train_part(config)[np.arange(70)]
    users = set(model.user_tokens.token.tolist())

    def share(ids):
        return np.mean([bool(users.intersection(row)) for row in ids.tolist()])

    batches = list(model.training_loader(config, data.train_part(config)))
    packed = np.mean([share(batch.input_ids) for batch in batches])
    assert 0.2 < packed < 0.8 and 0.2 < share(model.pack_interaction(rows).input_ids) < 0.8
    model.eval()
    assert share(model.pack_interaction(rows).input_ids) == 1


@pytest.mark.parametrize("scheme", ["random", "cluster", "metadata"])
def test_names_know_nothing_of_held_out_interactions(settings, tmp_path, write_dataset, scheme):
    """RecBole numbers items and users by their first appearance; other held-out items give other numbers."""
    own = settings | {"user_indexing": scheme, "user_cluster_leaf_size": 5}
    first = built(own)[2].user_index
    cluster = {user: pieces[0] for user, pieces in first.pieces.items()}
    # every user gets the other side's held-out items: were they read, clusters would follow them
    rows = rows_of(lambda user, items: [(user % 2) * 2, 3 - (user % 2) * 2])
    write_dataset(tmp_path / "data", rows[::-1], ITEMS)
    other = built(own)[2]
    assert other.user_index == first
    assert scheme != "cluster" or len(set(cluster.values())) > 1


def test_clusters_follow_what_users_chose():
    random = np.random.default_rng(0)
    chosen = [random.permutation(20)[:12] + 20 * (user % 2) for user in range(40)]
    sequences = Sequences([f"u{user}" for user in range(40)], np.concatenate(chosen), np.arange(41) * 12)
    index, facts = cluster_codes([f"i{item}" for item in range(40)], sequences, 2, 20, seed=1)
    sides = [{index.of(f"u{user}")[0] for user in range(side, 40, 2)} for side in (0, 1)]
    assert len(sides[0]) == len(sides[1]) == 1 and sides[0] != sides[1]
    assert len(set(index.pieces.values())) == 40 and facts["leaves"] == 2
    # neither the order nor the numbers of users and items matter
    order, renumber = random.permutation(40), random.permutation(40)
    items = np.array([f"i{item}" for item in range(40)])[np.argsort(renumber)].tolist()
    again = Sequences(
        [f"u{user}" for user in order],
        np.concatenate([renumber[random.permutation(chosen[user])] for user in order]),
        np.arange(41) * 12,
    )
    assert cluster_codes(items, again, 2, 20, seed=1)[0] == index


def test_users_of_p5(settings):
    """As numbers, prompts are those of before; else by codes, which a user who is unknown goes without."""
    own = {key: value for key, value in settings.items() if key not in ("prompt", "train_batch_tokens")}
    own |= {"n_candidates": 2, "tasks": {"sequential": 1, "direct": 1}, "scratch_intermediate_size": 32}
    _, data, model = built(own, "P5")
    assert model.user_settings.user_indexing == "number"
    for user in (0, 1, 7, USERS):
        assert model.user_tokens[user].tolist() == model.backbone.encode(f" user {user}", "x")
    for scheme in ("random", "cluster", "metadata"):
        config, data, model = built(own | {"user_indexing": scheme}, "P5")
        batch = next(iter(data.evaluation_loader(config, "test")))[0]
        prompts = model.writer.write_prompts(model._examples(batch, "sequential", [0] * len(batch)))
        for user, row in zip(batch["user_id"].tolist()[:5], prompts.input_ids.tolist()):
            name = model.user_tokens[user].tolist()
            assert name and row[: len(name)] == name
        assert not len(model.user_tokens[0])
        assert torch.isfinite(model(batch["item_id_list"], batch["item_length"])).all()
        assert torch.isfinite(model.calculate_loss(next(iter(model.training_loader(config, data.train_part(config))))))


def test_a_trained_p5_is_loaded_with_its_users(settings):
    own = {key: value for key, value in settings.items() if key not in ("prompt", "train_batch_tokens")}
    own |= {"n_candidates": 2, "tasks": {"sequential": 1}, "epochs": 1, "user_indexing": "cluster"}
    result = run_recbole_genrec("P5", "tiny", config_dict=own)
    _, model, _, _, _, test = load_data_and_model(result["checkpoint"])
    assert model.user_index.codes and model.eval().full_sort_predict(next(iter(test))[0]).isfinite().any()


TEMPLATE = yaml.safe_load((properties_folder() / "prompt/continuation-user.yaml").read_text("utf-8"))


@pytest.mark.parametrize(
    ("changes", "template", "message"),
    [
        ({}, {}, "Prompt 'mine' names {user}, and 'user_indexing: none' gives users no names"),
        ({"user_indexing": "random"}, {"prefix": ""}, "'user_indexing: random' gives users names, .* has no {user}"),
        ({}, {"item_suffix": "{user}\n"}, "'item_suffix' has {user}, which stands in 'prefix'"),
        ({}, {"prefix": "{user} and {user}"}, "{user} must stand once"),
        ({}, {"prefix": "{instruction}", "instructions": ["Of {user}:", "Of one:"]}, "once .* in every wording"),
        ({}, {"prefix": "{instruction}", "instructions": ["Of {user}:", "{user}:"]}, "a space before it in every"),
        ({"user_indexing": "metadata", "user_text": "{job}"}, {}, "'user_text' template .* asks for 'job'"),
        ({"user_indexing": "name"}, {}, "value of 'user_indexing': 'name'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, changes, template, message):
    Path("mine.yaml").write_text(yaml.safe_dump(TEMPLATE | template), "utf-8")
    with pytest.raises(GenRecError, match=message):
        built(settings | {"prompt": "mine.yaml", **changes})


def test_a_missing_user_file_is_named(settings):
    (path,) = Path(settings["data_path"]).rglob("tiny.user")
    path.unlink()
    with pytest.raises(GenRecError, match="'user_indexing: metadata' needs .*tiny.user, which does not exist"):
        built(settings | {"user_indexing": "metadata"})


def test_p5_and_others_refuse_what_has_no_place(settings):
    own = {key: value for key, value in settings.items() if key != "prompt"}
    with pytest.raises(GenRecError, match="'task_prompts: p5' names {user}, and 'user_indexing: none'"):
        GenRecConfig("P5", "tiny", config_dict=own | {"user_indexing": "none"})
    with pytest.raises(GenRecError, match="names {user}, which GenRec alone reads"):
        GenRecConfig("PromptLLM", "tiny", config_dict=settings)
    with pytest.raises(GenRecError, match="'user_text' .* needs 'user_indexing: metadata'"):
        run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"user_indexing": "random", "user_text": "{age}"})


def test_other_names_are_no_checkpoint_of_this_model(settings):
    result = run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"user_indexing": "random", "epochs": 1})
    _, _, model = built(settings | {"user_indexing": "random", "seed": 7})
    with pytest.raises(GenRecError, match=r"calls users by other names \(users.json\)"):
        load_checkpoint_into(model, result["checkpoint"])
