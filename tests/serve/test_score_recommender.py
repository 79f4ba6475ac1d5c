"""Every model of the runner behind one protocol: a recommender's lists are those that the run's own test gave."""

import numpy as np
import pytest

from recbole_genrec import Conversation, GenRecError, ItemId, Recommender, UserHistory, run_recbole_genrec
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.serve.conditions import choose_items
from recbole_genrec.serve.protocol import PROBABILITIES, REQUEST_TIME, ScoredItem
from tests.builders import SCRATCH

N_ITEMS, K = 24, 5
SMALL = {
    **SCRATCH,
    "hidden_size": 8,
    "embedding_size": 8,
    "inner_size": 8,
    "n_layers": 1,
    "n_heads": 1,
    "epochs": 1,
    "topk": [K],
    "valid_metric": f"NDCG@{K}",
    "MAX_ITEM_LIST_LENGTH": 4,
    "max_prompt_tokens": 256,
    "show_progress": False,
    "text_vectors": "none",
}
RATED = {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
#: by model, settings of its own.
MODELS = {
    "SASRecAll": {"context": ["request_time", "gap", "rating"], "user_columns": ["age"]},
    "BSARec": {},
    "HSTU": {"time_bias": "request_time"},
    "TIGER": {},
    "P5": {"tasks": {"sequential": 1}, "packing": False, "n_candidates": 3},
    "GenRecSeq2Seq": {},
    "PromptLLM": {"ranking": "scoring", "few_shot": 0},
    "TALLRec": {"threshold": {"rating": 3}, "few_shot": 16, "metrics": ["Hit", "NDCG"], "eval_args": {"mode": "full"}},
    "UniTRec": {"rank_by": "sum"},  # by mean rank, an item's place depends on what it is ranked beside
    "GenRec": {},
    "SASRec": {},
    "BERT4Rec": {"mask_ratio": 0.5},
    "GRU4Rec": {},
    "FPMC": {},
    "NPE": {},
    "BPR": {},
    "Pop": {},
    "ItemKNN": {},
    "NeuMF": {},
}


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    """Users with histories longer and shorter than L, whose times are unix seconds, with ratings."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "tiny").mkdir()
    generator = np.random.default_rng(3)
    rows = []
    for user in range(14):
        items = generator.permutation(N_ITEMS)[: 5 + user % 5]
        times = 1_600_000_000 + np.cumsum(generator.integers(10, 10**6, len(items)))
        rows += [f"u{user}\tm{item}\t{time}\t{generator.integers(1, 6)}" for item, time in zip(items, times)]
    inter = ["user_id:token\titem_id:token\ttimestamp:float\trating:float", *rows]
    items = ["item_id:token\ttitle:token_seq\tgenre:token_seq\tyear:float"]
    items += [f"m{i}\tFilm number {i}\t{'Comedy' if i % 3 else 'Drama Crime'}\t{1980 + i}" for i in range(N_ITEMS)]
    users = ["user_id:token\tage:float", *(f"u{user}\t{20 + user}" for user in range(14))]
    for suffix, lines in (("inter", inter), ("item", items), ("user", users)):
        (folder / f"tiny/tiny.{suffix}").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(data_path, tmp_path_factory):
    """A function that trains a model and gives the path of its run's JSON and a dataset of rows; each model once."""
    made, folder = {}, tmp_path_factory.mktemp("runs")

    def trained(name):
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                settings = {**SMALL, **RATED, "data_path": str(data_path), "checkpoint_dir": str(folder / "saved")}
                run_recbole_genrec(name, "tiny", config_dict=settings | {"results_dir": str(folder)} | MODELS[name])
            made[name] = folder / f"{name}-tiny-2020.json"
        return made[name]

    return trained


@pytest.fixture(scope="module")
def opened(run):
    """A function that gives the recommender of a model."""
    kept = {}

    def recommender(name):
        if name not in kept:
            kept[name] = Recommender.load(run(name), trust_remote_code=True)
        return kept[name]

    return recommender


@pytest.fixture(scope="module")
def histories(data_path):
    """By user, rows (item, time, rating) in order of time."""
    found = {}
    for line in (data_path / "tiny/tiny.inter").read_text().splitlines()[1:]:
        user, item, time, rating = line.split("\t")
        found.setdefault(user, []).append((item, int(time), float(rating)))
    return {user: sorted(rows, key=lambda row: row[1]) for user, rows in found.items()}


def entries(recommender, user, rows):
    """A history as the run had it in its test, with what the model reads of it."""
    columns = recommender.context.columns
    values = [{"rating": rating, "label": float(rating >= 3)} for _, _, rating in rows]
    timed = recommender.context.reads_times
    return UserHistory(
        [
            ItemId(item, time=time if timed else None, values={name: own[name] for name in columns})
            for (item, time, _), own in zip(rows, values)
        ],
        user_id=user,
    )


@pytest.mark.parametrize("name", MODELS)
def test_lists_are_those_of_the_test_of_the_run(run, opened, histories, name):
    outcomes = Outcomes.read(run(name).with_suffix(".npz"))
    recommender = opened(name)
    assert recommender.name == name and len(outcomes.users) == len(histories)
    asks = REQUEST_TIME in recommender.abilities
    for row, user in enumerate(outcomes.users.tolist()):
        *before, target = histories[user]
        at = {"at": float(target[1])} if asks else {}
        (found,) = recommender.recommend([entries(recommender, user, before)], K, **at)
        expected = [outcomes.items[item] for item in outcomes.lists[row] if item]
        assert [item.item_id for item in found] == expected
        assert [item.rank for item in found] == list(range(1, K + 1))
        assert found[0].title == f"Film number {expected[0][1:]}"


@pytest.mark.parametrize("name", MODELS)
def test_choices_are_the_whole_list_without_the_others(opened, histories, name):
    """The oracle ranks everything and drops what was not asked for. Items with one score may change places."""
    recommender = opened(name)
    users = list(histories)[:5]
    asked = [entries(recommender, user, histories[user]) for user in users]
    whole = recommender.answer(asked, N_ITEMS)
    where = {"genre": "Crime", "year": (1983, None)}
    allowed = choose_items(recommender.catalogue, where, "item_id")
    tokens = {token for token, chosen in zip(recommender.reader.item_tokens, allowed) if chosen}
    found = recommender.answer(asked, 4, where, exclude_seen=True, exclude=["m9", "m21"])
    for answer, everything, user in zip(found, whole, users):
        had = {item for item, _, _ in histories[user]}
        value = {r.item_id: r.score if isinstance(r, ScoredItem) else r.probability for r in everything.recommendations}
        left = [value[item] for item in value if item in tokens - had - {"m9", "m21"}]
        assert [value[r.item_id] for r in answer.recommendations] == left[:4]
        assert {r.item_id for r in answer.recommendations} <= tokens - had - {"m9", "m21"}
        assert {entry.item_id for entry in answer.history} == had


@pytest.mark.parametrize("name", MODELS)
def test_a_user_of_the_dataset_is_the_user_with_the_history(opened, histories, name):
    recommender = opened(name)
    assert sorted(recommender.users()) == sorted(histories)
    user = "u3"
    of_user = recommender.history_of(user)
    assert [entry.item_id for entry in of_user] == [item for item, _, _ in histories[user]]
    assert of_user.user_id == user and of_user.unknown == ()
    at = {"at": 1_700_000_000.0} if REQUEST_TIME in recommender.abilities else {}
    own = entries(recommender, user, histories[user])
    assert recommender.recommend([of_user], 3, **at) == recommender.recommend([own], 3, **at)
    with pytest.raises(GenRecError, match="no interactions of the user 'nobody'"):
        recommender.history_of("nobody")


@pytest.mark.parametrize("name", MODELS)
def test_what_it_cannot_do_is_said_in_one_line(opened, histories, name):
    recommender = opened(name)
    if name == "GenRec":
        return
    own = entries(recommender, "u1", histories["u1"])
    for ask in (lambda: recommender.explain(own), lambda: recommender.add_items([]), lambda: recommender.save("x")):
        with pytest.raises(GenRecError, match=f"^{name} cannot .* It can: ") as caught:
            ask()
        assert "\n" not in str(caught.value)
    with pytest.raises(GenRecError, match=f"no item 'a film about sharks', and {name} reads items, not text; it can: "):
        recommender.recommend([["a film about sharks"]])
    (item,) = recommender.recommend([own], 1)[0]
    if PROBABILITIES in recommender.abilities:
        assert 0 < item.probability < 1
    else:
        with pytest.raises(GenRecError, match="gives scores, no probabilities"):
            _ = item.probability
    if REQUEST_TIME not in recommender.abilities:
        with pytest.raises(GenRecError, match=f"{name} cannot consider the moment"):
            recommender.recommend([own], at="2026-01-01")


@pytest.mark.parametrize("name", ["SASRecAll", "SASRec"])
def test_a_conversation_with_a_model_of_scores(opened, name):
    """Every list is that of ``recommend`` with the history and the condition that the turns have named."""
    recommender = opened(name)
    conversation = Conversation(recommender, topk=5)
    conversation.say('I liked "Film number 3" and "Film number 4"')
    reply = conversation.say("no drama")
    genres = recommender.catalogue.columns["genre"].values

    def where(item):
        return "Drama" not in item["genre"]

    (expected,) = recommender.recommend([[ItemId("m3"), ItemId("m4")]], 5, where, exclude_seen=True)
    assert [item.item_id for item in reply.recommendations] == [item.item_id for item in expected]
    assert len(expected) == 5 and not [item for item in expected if "Drama" in genres[item.item_id]]


def test_no_conversation_with_a_model_that_knows_its_users_alone(opened):
    with pytest.raises(GenRecError, match="BPR cannot recommend for any history of items"):
        Conversation(opened("BPR"))
