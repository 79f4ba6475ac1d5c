"""Recommending with a context: the scores of the model in RecBole, and one line for what a model does not read."""

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest
import torch
from recbole.data import create_dataset, data_preparation

from recbole_genrec import GenRecError, GenRecommender, ItemId, Title
from recbole_genrec.checkpoint.folder import fingerprint
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.moments import Clock
from tests.builders import write_checkpoint
from tests.serve.conftest import HEADER, ITEMS, SMALL

FIRST = 1_000_000_000
CONTEXT = ["gap", "request_time", "rating"]
ALL = {"context": CONTEXT, "history": "both"}


def rows_from(first):
    return [
        (f"u{u}", ITEMS[(u + 3 * t) % len(ITEMS)][0], 1 + (u * t) % 5, first + 10 * u + t * (u + 1) ** 3)
        for u in range(8)
        for t in range(6)
    ]


@pytest.fixture(scope="module")
def build(tmp_path_factory, write_dataset):
    """A function that stores a random GenRec: its configuration, the model, and the checkpoint's folder."""

    def make(first=FIRST, **settings):
        folder = tmp_path_factory.mktemp("world")
        header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
        data_path = write_dataset(folder / "data", rows_from(first), ITEMS, inter_header=header, item_header=HEADER)
        own = {"data_path": data_path, **SMALL, "MAX_ITEM_LIST_LENGTH": 4, **settings}
        _, model, _ = write_checkpoint(folder / "best", "GenRec", own, scale=0.4)
        return own, model, folder / "best"

    return make


@pytest.fixture(scope="module")
def world(build):
    return build(**ALL)


@pytest.fixture(scope="module")
def recommender(world):
    return GenRecommender.from_checkpoint(world[2])


def cases(own, model, first=FIRST):
    """Histories of RecBole's test as entries, the moments of their targets, and the model's scores."""
    config = GenRecConfig("GenRec", "tiny", config_dict=own)
    batch = next(iter(data_preparation(config, create_dataset(config))[2]))[0]
    histories = []
    for row, length in enumerate(batch["item_length"].tolist()):
        columns = [batch[f"{name}_list"][row, :length].tolist() for name in ("item_id", "exact_time", "rating")]
        histories.append(
            [
                ItemId(model.catalogue.item_tokens[item - 1], time=time + first, values={"rating": rating})
                for item, time, rating in zip(*columns)
            ]
        )
    return histories, (batch["exact_time"] + first).tolist(), model.full_sort_predict(batch)


def assert_scores(recommender, answer, scores):
    assert len(answer) == len(ITEMS)
    numbers = [recommender.reader.number[found.item_id] for found in answer]
    probability = torch.tensor([found.probability for found in answer])
    torch.testing.assert_close(probability, scores[numbers].exp(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("history", ["text", "vectors", "both"])
@pytest.mark.parametrize("first", [FIRST, FIRST * 1000, 7])
def test_lists_are_those_of_the_model_in_recbole(build, history, first):
    own, model, folder = build(first, history=history, context=CONTEXT)
    assert json.loads((folder / "clock.json").read_text()) == {
        "first": first,
        "unit": {FIRST: "seconds", 7: "none"}.get(first, "milliseconds"),
    }
    recommender = GenRecommender.from_checkpoint(folder)
    histories, moments, scores = cases(own, model, first)
    for given, moment, of_row in zip(histories, moments, scores):
        assert_scores(recommender, recommender.recommend([given], len(ITEMS), at=moment)[0], of_row)


def test_a_date_is_the_number_of_it(world, recommender):
    histories, moments, scores = cases(*world[:2])
    for given, moment, of_row in zip(histories, moments, scores):
        at = datetime.fromtimestamp(moment, timezone.utc)
        dated = [replace(entry, time=datetime.fromtimestamp(entry.time, timezone.utc)) for entry in given]
        assert_scores(recommender, recommender.recommend([dated], len(ITEMS), at=at.isoformat())[0], of_row)


def test_what_is_not_known_adds_nothing(world, recommender):
    """A title, a text, an id without context, and the same with NaN and without times in the model's own forward."""
    plain, known = ["Toy Story", "A quiet film", ItemId("m9")], [Title("Toy Story"), Title("A quiet film"), "Up"]
    assert recommender.recommend([plain], 5, at=FIRST) == recommender.recommend([known], 5, at=FIRST)
    rated = [Title("Toy Story", values={"rating": 5}), *plain[1:]]
    assert recommender.recommend([plain], 5, at=FIRST) != recommender.recommend([rated], 5, at=FIRST)
    of_text = [plain[0], Title("A quiet film", values={"rating": 5}), plain[2]]
    assert recommender.recommend([plain], 5, at=FIRST) != recommender.recommend([of_text], 5, at=FIRST)


def test_by_default_it_is_asked_now_or_where_there_is_no_clock_at_the_newest_time(build, recommender, monkeypatch):
    history = [ItemId("m1", time=FIRST + 5), ItemId("m2", time=FIRST + 90), "Heat"]
    before = recommender.recommend([history], 10, at=datetime.now())
    assert before == recommender.recommend([history], 10) != recommender.recommend([history], 10, at=FIRST + 90)
    counting = GenRecommender.from_checkpoint(build(7, **ALL)[2])
    history = [ItemId("m1", time=12), ItemId("m2", time=90), "Heat"]
    found = counting.recommend([history, history[:1]], 10)
    assert found[0] == counting.recommend([history, history[:1]], 10, at=90)[0]
    torch.testing.assert_close(
        torch.tensor([each.probability for each in found[1]]),
        torch.tensor([each.probability for each in counting.recommend([history[:1]], 10, at=12)[0]]),
    )
    with pytest.raises(GenRecError, match="'at' is a date, but the times of the training data are no clock"):
        counting.recommend([history], at="2026-11-26 20:00")


def test_an_explanation_has_the_context_and_the_moment(world, recommender):
    histories, moments, _ = cases(*world[:2])
    given, at = histories[0], moments[0] + 5000
    found = recommender.explain(given, 3, at=at)
    assert found.answer == recommender.answer([given], 3, at=at)[0]
    for place, changes in enumerate(found.changes):
        rest = given[:place] + given[place + 1 :]
        without = {each.item_id: each.probability for each in recommender.recommend([rest], len(ITEMS), at=at)[0]}
        for each, change in zip(found.answer.recommendations, changes):
            assert each.probability - without[each.item_id] == pytest.approx(change, abs=1e-5)


@pytest.mark.parametrize(
    ("context", "entry", "at", "message"),
    [
        ([], "Heat", FIRST, "'at': this model does not know the moment of a request"),
        (["gap"], "Heat", FIRST, "'at': this model does not know the moment of a request"),
        (["rating"], ItemId("m1", time=FIRST), None, "time of the entry 'm1': this model reads no times"),
        ([], Title("Heat", values={"rating": 5}), None, "'Heat' has values, but this model reads none"),
        (CONTEXT, ItemId("m1", values={"ratings": 5}), None, "value of an entry: 'ratings'.* 'rating'"),
        (CONTEXT, ItemId("m1", values={"rating": "5"}), None, "'rating' of the entry 'm1' must be a number, not '5'"),
        (CONTEXT, ItemId("m1", values={"rating": 10**400}), None, "'rating' of the entry 'm1' must be a number"),
        (CONTEXT, ItemId("m1", values={"rating": float("nan")}), None, "must be a number, not nan"),
        (CONTEXT, ItemId("m1", time="noon"), None, "The time of the entry 'm1' must be a date and time"),
        (CONTEXT, "Heat", "noon", "'at' must be a date and time"),
    ],
)
def test_what_a_model_does_not_read_is_refused(build, context, entry, at, message):
    folder = build(context=context)[2]
    with pytest.raises(GenRecError, match=message):
        GenRecommender.from_checkpoint(folder).recommend([[entry]], at=at)


def test_the_command_has_the_users_own_times_and_ratings(world, recommender, capsys):
    own, model, folder = world
    user = [row for row in rows_from(FIRST) if row[0] == "u3"]
    history = [ItemId(item, time=time, values={"rating": rating}) for _, item, rating, time in user]
    command = ["recommend", "--checkpoint", str(folder), "--user=u3", "--json", "--topk=10"]
    assert main([*command, "--at=2001-09-10T00:00Z"]) == 0
    found = json.loads(capsys.readouterr().out)["recommendations"]
    expected = recommender.recommend([history], 10, at="2001-09-10T00:00Z")[0]
    assert [each["probability"] for each in found] == [each.probability for each in expected]
    assert found != recommender.recommend([[entry.item_id for entry in history]], 10, at="2001-09-10T00:00Z")
    assert main([*command, "--at=soon"]) == 2
    assert "'at' must be a date and time such as '2026-11-26 20:00'" in capsys.readouterr().err


def test_a_file_that_begins_elsewhere_gives_the_same_history(world, recommender, tmp_path, capsys):
    """Rows of others that are older move the first time of the file, and nothing else."""
    own, model, folder = world
    source = (tmp_path.parent / own["data_path"] / "tiny/tiny.inter").read_text()
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/tiny.inter").write_text(source + f"old\tm1\t3\t{FIRST - 90_000}\n")
    answers = []
    for more in ([], [f"--data_path={tmp_path}"]):
        assert main(["recommend", "--checkpoint", str(folder), "--user=u3", "--json", "--at=2001-10-01", *more]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]


def test_a_damaged_clock_and_an_old_checkpoint_are_said(build):
    folder = build(**ALL)[2]
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "clock.json").write_text(json.dumps(Clock(3, "hours").as_json()))
    manifest["files"]["clock.json"] = fingerprint(folder / "clock.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GenRecError, match="damaged: the unit of its times is 'hours'"):
        GenRecommender.from_checkpoint(folder)
    (folder / "clock.json").unlink()
    del manifest["files"]["clock.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    recommender = GenRecommender.from_checkpoint(folder)
    assert recommender.recommend([["Heat"]], 2)
    with pytest.raises(GenRecError, match="'at': this checkpoint was written by a version that kept no origin"):
        recommender.recommend([["Heat"]], 2, at="2026-11-26 20:00")
