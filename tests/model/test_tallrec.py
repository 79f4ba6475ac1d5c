"""TALLRec on a small world: prompts, probabilities and samples against plain loops, labels, checkpoints, bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from recbole.utils import init_seed

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from recbole_genrec.serve.export import export
from recbole_genrec.serve.recommender import GenRecommender
from tests.builders import write_base
from tests.model.conftest import BLACK, SMALL, WHITE

HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
PROMPT = yaml.safe_load((properties_folder() / "yes_no/tallrec.yaml").read_text("utf-8"))
LABELED = {"eval_args": {"mode": "labeled"}, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC"}
RANKED = {"metrics": ["Hit", "NDCG"], "valid_metric": "NDCG@5"}


@pytest.fixture
def rows():
    """Users of even numbers like black items, the others white ones; histories are of 4 to 13 interactions."""
    generator, found = np.random.default_rng(5), []
    for user in range(40):
        for time, title in enumerate(generator.choice(BLACK + WHITE, 4 + user % 10)):
            likes = (title in BLACK) == (user % 2 == 0)
            found.append((f"u{user}", title, 5 if likes else 2, 1_000_000_000 + 40 * time + user))
    return found


@pytest.fixture
def world(tmp_path, write_dataset, monkeypatch):
    """Write the interactions, and items with titles; gives settings."""
    monkeypatch.chdir(tmp_path)

    def write(rows, items=None, header=HEADER):
        items = [(title, title) for title in BLACK + WHITE] if items is None else items
        path = write_dataset(tmp_path / "data", rows, items, inter_header=header)
        return {**SMALL, **LABELED, "max_prompt_tokens": 512, "epochs": 2, "data_path": path}

    return write


@pytest.fixture
def settings(world, rows):
    return world(rows)


def built(settings, **changes):
    config = GenRecConfig("TALLRec", "tiny", config_dict=settings | changes)
    data = SplitData([config])
    init_seed(config["seed"], True)
    model = build_model(config, data)
    with torch.no_grad():  # so that prompts matter
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return config, data, model.eval()


def answers_by_hand(model, interaction):
    """p(yes) of RecBole's rows ``[B]``: each prompt put together and fed alone, without padding or a cache."""
    backbone, prompt, found = model.backbone, model.template, []
    titles = model.catalogue.texts

    def encode(text):
        return backbone.encode(text, "x")

    def listed(items):
        written = [f' "{titles[item - 1]}"' for item in items]
        tokens = []
        for number, text in enumerate(written):
            tokens += (encode(",") if number else []) + encode(text[:-1]) + encode('"')
        return tokens or encode(" none")

    before, middle, rest = (prompt.text.replace("{disliked}", "|").replace("{liked}", "|")).split("|")
    asked, ending = rest.split("{candidate}")
    columns = ("item_id_list", "label_list", "item_length", "item_id")
    for items, labels, length, candidate in zip(*(interaction[name].tolist() for name in columns)):
        pairs = list(zip(items, labels))[max(length - 10, 0) : length]
        tokens = [backbone.bos_id, *backbone.encode(before)]
        tokens += listed([item for item, label in pairs if label]) + encode(middle)
        tokens += listed([item for item, label in pairs if not label]) + encode(asked)
        tokens += encode(f' "{titles[candidate - 1]}') + encode(f'"{ending}')
        logits = backbone.causal_model(torch.tensor([tokens])).logits[0, -1]
        both = logits[[backbone.encode("Yes", ending)[0], backbone.encode("No", ending)[0]]]
        found.append(both.double().softmax(0)[0])
    return torch.stack(found).detach()


@pytest.mark.parametrize("backbone", ["scratch", "folder"])
def test_p_yes_is_the_softmax_over_two_logits_of_the_prompt_alone(settings, tmp_path, backbone):
    if backbone == "folder":
        settings |= {"backbone": write_base(tmp_path / "base"), "lora_r": 2}
    config, data, model = built(settings)
    interaction = next(iter(data.evaluation_loader(config, "test")))[0]
    assert len(set(interaction["item_length"].tolist())) > 5
    expected = answers_by_hand(model, interaction)
    assert expected.std() > 0.001  # a hundred times what rounding may change
    found = model.predict(interaction)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    batch = model.pack_interaction(interaction)
    torch.testing.assert_close(model(batch.input_ids, batch.lengths).sigmoid().double(), expected, atol=1e-5, rtol=1e-4)
    label = interaction["label"].double()
    loss = -(label * expected.log() + (1 - label) * (1 - expected).log()).mean()
    torch.testing.assert_close(model.calculate_loss(batch).double(), loss, atol=1e-5, rtol=1e-4)


def test_candidates_that_are_ranked_have_the_log_odds_of_the_same_answers(settings):
    """Sampled ones and the whole catalogue, titles that are beginnings of others among them."""
    config, data, model = built(settings | RANKED, eval_args={"mode": "uni5"})
    interaction = next(iter(data.evaluation_loader(config, "test")))[0]
    expected = answers_by_hand(model, interaction)
    torch.testing.assert_close(model.predict(interaction).double().sigmoid(), expected, atol=1e-5, rtol=1e-4)
    scores = model.full_sort_predict(interaction)
    picked = scores[torch.arange(len(scores)), interaction["item_id"]]
    torch.testing.assert_close(picked.double().sigmoid(), expected, atol=1e-5, rtol=1e-4)
    assert torch.isfinite(scores[:, 1:]).all() and (scores[:, 0] == -torch.inf).all()


def test_a_long_prompt_loses_its_oldest_items_whatever_is_asked(settings):
    model = built(settings)[2]
    long, items, label = model.writer, np.arange(1, 11), np.arange(10) % 2
    ending = long.longest_title + len(long.ending)
    limit = len(long.trunk(items, label)) + ending - 12
    short = built(settings, max_prompt_tokens=limit)[2].writer
    assert len(short.trunk(items, label)) + ending <= limit
    dropped = next(k for k in range(11) if np.array_equal(long.trunk(items[k:], label[k:]), short.trunk(items, label)))
    assert 0 < dropped < 5


def test_histories_before_the_examples_and_no_test_in_training(settings, rows):
    config, data, model = built(settings)
    loader = model.training_loader(config, data.parts[0])
    train = loader.dataset.inter_feat[loader.rows]
    tokens = data.dataset.field2id_token
    asked = [{}, {}, {}]  # of each part, by user its candidates
    for number, part in enumerate(data.parts):
        for user, item in zip(part.inter_feat["user_id"].tolist(), part.inter_feat["item_id"].tolist()):
            asked[number].setdefault(tokens["user_id"][user], []).append(tokens["item_id"][item])
    assert len(train) == len(data.parts[0])
    for user in {row[0] for row in rows}:
        own = [title for name, title, _, _ in rows if name == user]
        assert asked[0].get(user, []) + asked[1][user] + asked[2][user] == own[1:]
        assert (asked[1][user], asked[2][user]) == ([own[-2]], [own[-1]])
    for user, items, labels, length, item, label in zip(
        *(train[name].tolist() for name in ("user_id", "item_id_list", "label_list", "item_length", "item_id", "label"))
    ):
        own = [(title, rating) for name, title, rating, _ in rows if name == tokens["user_id"][user]]
        history = [(tokens["item_id"][i], 5 if liked else 2) for i, liked in zip(items[:length], labels)]
        assert own[:length] == history
        assert own[length] == (tokens["item_id"][item], 5 if label else 2)


def test_a_cut_by_time_over_all_users(settings, rows):
    """The paper's: no candidate of the training is later than one of the validation, none of these than the test's."""
    split = {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none", "order": "TO", "mode": "labeled"}
    config, data, model = built(settings, eval_args=split)
    loader = model.training_loader(config, data.parts[0])
    time = {(user, place): row[3] for user in {r[0] for r in rows} for place, row in enumerate(_of(rows, user))}
    parts = [loader.dataset.inter_feat[loader.rows], data.parts[1].inter_feat, data.parts[2].inter_feat]
    users = data.dataset.field2id_token["user_id"]
    times = [
        [time[users[user], length] for user, length in zip(part["user_id"].tolist(), part["item_length"].tolist())]
        for part in parts
    ]
    assert max(times[0]) <= min(times[1]) and max(times[1]) <= min(times[2])


def _of(rows, user):
    return [row for row in rows if row[0] == user]


def test_the_few_examples_follow_from_the_seed(settings):
    def drawn(**changes):
        config, data, model = built(settings, few_shot=16, **changes)
        loader = model.training_loader(config, data.parts[0])
        batches = [(batch.input_ids.tolist(), batch.label.tolist()) for batch in loader]
        assert sum(len(label) for _, label in batches) == 16
        return loader.rows.tolist(), batches

    first, again, other = drawn(), drawn(), drawn(seed=7)
    assert first == again and len(set(first[0])) == 16
    assert first[0] != other[0]


def test_every_row_is_trained_once_an_epoch(settings):
    config, data, model = built(settings, train_batch_size=7)
    loader = model.training_loader(config, data.parts[0])
    epochs = [[row for batch in loader for row in batch.input_ids.tolist()] for _ in range(2)]
    expected = sorted(
        tuple(t for t in row if t) for row in model.pack_interaction(data.parts[0].inter_feat).input_ids.tolist()
    )
    for epoch in epochs:
        assert sorted(tuple(t for t in row if t) for row in epoch) == expected
    assert epochs[0] != epochs[1]


def test_what_users_like_is_learnt_and_read_by_recboles_metrics(world, rows):
    """Everybody likes black items; beside it a model of scores, measured on the same rows."""
    settings = world([(user, title, 5 if title in BLACK else 2, time) for user, title, _, time in rows])
    shared = ("data_path", "topk", "metrics", "valid_metric", "eval_args", "show_progress")
    given = {key: settings[key] for key in shared} | {"threshold": {"rating": 4}}
    given["TALLRec"] = {key: value for key, value in settings.items() if key.startswith(("scratch", "max_prompt"))}
    given["TALLRec"] |= {"epochs": 6, "learning_rate": 0.01, "train_batch_size": 32}
    given["SASRecAll"] = {"hidden_size": 16, "inner_size": 16, "epochs": 1}
    result, other = run_recbole_genrec("TALLRec,SASRecAll", "tiny", config_dict=given)
    assert result["test_result"]["auc"] > 0.9 and result["test_result"]["logloss"] < 0.5
    assert 0 <= other["test_result"]["auc"] <= 1 and "logloss" in other["best_valid_result"]
    assert result["generation"] == {} and not result["outcomes"]
    saved = json.loads(Path("results/TALLRec-tiny-2020.json").read_text("utf-8"))
    assert saved["test_result"] == result["test_result"]


@pytest.mark.parametrize("mode", ["uni5", "full"])
def test_it_stands_in_a_table_of_rankings(settings, mode):
    result = run_recbole_genrec("TALLRec", "tiny", config_dict=settings | RANKED | {"eval_args": {"mode": mode}})
    assert {"hit@1", "ndcg@5"} <= result["test_result"].keys()


def test_what_reads_histories_alone_refuses_it(settings, tmp_path):
    result = run_recbole_genrec("TALLRec", "tiny", config_dict=settings)
    with pytest.raises(GenRecError, match="is of TALLRec; recommending is for checkpoints of GenRec"):
        GenRecommender.from_checkpoint(result["checkpoint"])
    with pytest.raises(
        GenRecError, match="TALLRec answers yes or no about a candidate: its prompts cannot be exported"
    ):
        export(result["checkpoint"], tmp_path / "out", merged=True)


# ---- bad input ----


def test_a_file_without_the_column_of_ratings(world, rows):
    settings = world([(user, item, time) for user, item, _, time in rows], header=(*HEADER[:2], HEADER[3]))
    with pytest.raises(GenRecError, match="'threshold' names 'rating', which is no loaded column: user_id, "):
        run_recbole_genrec("TALLRec", "tiny", config_dict=settings)


def test_no_labels(settings):
    with pytest.raises(GenRecError, match="TALLRec learns from labels: give 'threshold', such as {rating: 4}"):
        built(settings | RANKED | {"threshold": None, "eval_args": {"mode": "full"}})


def test_labels_that_are_ratings(settings):
    labels = {"threshold": None, "LABEL_FIELD": "rating", "load_col": None}
    with pytest.raises(GenRecError, match="the labels in 'rating' must be 0 or 1, not 2.0. 'threshold' makes labels"):
        built(settings | labels)


@pytest.mark.parametrize(("least", "label"), [(1, 1), (6, 0)])
def test_one_label_alone(settings, least, label):
    with pytest.raises(
        GenRecError, match=f"all .* training rows have the label {label} .'threshold: .*nothing to tell apart"
    ):
        built(settings, threshold={"rating": least}, metrics=["LogLoss"], valid_metric="LogLoss")


def test_one_label_alone_among_the_rows_of_a_test(world, rows):
    last = {user: (user, title, rating, time) for user, title, rating, time in rows}
    settings = world([row if row != last[row[0]] else (*row[:2], 5, row[3]) for row in rows])
    with pytest.raises(GenRecError, match="'AUC' needs rows of both labels, but all 40 rows of the test part have the"):
        run_recbole_genrec("TALLRec", "tiny", config_dict=settings)
    run_recbole_genrec("TALLRec", "tiny", config_dict=settings | {"metrics": ["LogLoss"], "valid_metric": "LogLoss"})


def test_more_examples_than_there_are(settings):
    with pytest.raises(GenRecError, match="'few_shot' asks for 100000 examples, but there are only .* training rows"):
        run_recbole_genrec("TALLRec", "tiny", config_dict=settings | {"few_shot": 100_000})


def test_examples_of_one_label(settings):
    with pytest.raises(GenRecError, match="The 1 examples of 'few_shot' all have the label"):
        run_recbole_genrec("TALLRec", "tiny", config_dict=settings | {"few_shot": 1})


def test_no_titles(world, rows):
    settings = world(rows, items=[(title, "") for title in BLACK + WHITE])
    with pytest.raises(GenRecError, match="TALLRec reads titles, but no item of .*tiny.item .* has one"):
        built(settings)


def test_no_file_of_items(world, rows):
    settings = world(rows, items=[])
    Path("data/tiny/tiny.item").unlink()
    with pytest.raises(GenRecError, match="tiny.item"):
        built(settings)


def test_a_prompt_that_does_not_fit(settings):
    with pytest.raises(GenRecError, match=r"'max_prompt_tokens' \(40\) is too small: the prompt 'tallrec' has"):
        built(settings, max_prompt_tokens=40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"no_answer": "Yesterday"},
            "answers 'Yes' and 'Yesterday' of the prompt 'mine' begin with the same token .*'Y'",
        ),
        ({"no_answer": True}, "'no_answer' must be text that is not empty"),
        ({"text": "{liked}{disliked} {candidate}?"}, "'text' must begin with text"),
        ({"text": "A {candidate} {liked} {disliked}?"}, "{candidate} after both"),
        ({"text": "A {liked} {candidate}?"}, "must have the fields {liked} and {disliked}, each once"),
        ({"text": "A {liked} {disliked} {candidate} {user}?"}, "unknown field 'user'. Accepted: liked, disliked"),
        ({"text": "A {liked} {disliked} {candidate}", "item": "{title}"}, "what asks for an answer"),
        ({"item": "a title"}, "'item' must have the field {title} once"),
        ({"colour": "red"}, "key in .*mine.yaml: 'colour'"),
        ({"version": "one"}, "'version' must be a whole number"),
        ({"name": "mine"}, "has the key 'name'"),
    ],
)
def test_prompts_of_ones_own(settings, changes, message):
    path = Path("mine.yaml")
    path.write_text(yaml.safe_dump(PROMPT | changes), "utf-8")
    bare = {"backbone": write_base(Path("base"))}
    with pytest.raises(GenRecError, match=message):
        built(settings | bare, yes_no_prompt=str(path))


def test_prompts_that_are_not_there(settings):
    with pytest.raises(GenRecError, match="Unknown yes-or-no prompt 'talrec'.*tallrec"):
        built(settings, yes_no_prompt="talrec")
    with pytest.raises(GenRecError, match="yes-or-no prompt none.yaml does not exist"):
        built(settings, yes_no_prompt="none.yaml")
    Path("less.yaml").write_text(yaml.safe_dump({k: v for k, v in PROMPT.items() if k != "yes_answer"}), "utf-8")
    with pytest.raises(GenRecError, match="less.yaml lacks the key 'yes_answer'"):
        built(settings, yes_no_prompt="less.yaml")


def test_settings_of_identifiers_have_no_effect(settings):
    with pytest.raises(GenRecError, match="'item_indexing' .* has no effect on TALLRec"):
        GenRecConfig("TALLRec", "tiny", config_dict=settings, command_line={"item_indexing": "semantic"})
    _, _, model = built(settings, item_indexing="semantic", normalization="vocab")  # of another model in the same file
    assert model.catalogue.texts[0] in BLACK + WHITE
