"""Which reviews of an item a prompt may show, against a plain search; targets and lengths of whole reviews."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.item_reviews import ItemReviews, check_reviews
from recbole_genrec.batches.task_loader import TaskLoader
from recbole_genrec.batches.tasks import TaskData
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.histories import Histories, LazyInteraction
from tests.batches.test_tasks import BACKBONE, example, text_of, writer

HELD_OUT = "secret"
COLUMNS = {"rating": "rating", "review": "review_text", "summary": "summary"}


def test_others_are_those_that_a_plain_search_finds():
    generator = np.random.default_rng(7)
    for _ in range(60):
        count = int(generator.integers(1, 30))
        items, users = generator.integers(1, 6, count), np.sort(generator.integers(1, 5, count))
        places = np.flatnonzero(generator.random(count) < generator.random())
        reviews = ItemReviews(places, items, users)
        has = reviews.has_others(np.arange(count))
        for place in range(count):
            expected = [p for p in places if items[p] == items[place] and users[p] != users[place]]
            assert reviews.others(place).tolist() == expected
            assert has[place] == bool(expected)


def task_data(monkeypatch, n_reviews=3, broken=False):
    """20 users with 4 to 6 reviews of 5 items, the last two of each held out and marked; u1 repeats an item."""
    generator = np.random.default_rng(3)
    counts = generator.integers(4, 7, 20)
    users = torch.from_numpy(np.repeat(np.arange(1, 21), counts))
    items = torch.from_numpy(generator.integers(1, 6, len(users)))
    ends = np.cumsum(counts)
    held_out = np.concatenate([ends - 1, ends - 2])
    targets = np.setdiff1d(np.arange(len(users)), np.append(held_out, ends - counts))
    mark = np.where(np.isin(np.arange(len(users)), held_out), HELD_OUT, "known")
    cells = {
        "review_text": np.array(
            [f"{word} by {user} of {item}." for word, user, item in zip(mark, users, items)], object
        ),
        "summary": np.array([f"{word} title {n}" if n % 4 else "Five Stars" for n, word in enumerate(mark)], object),
    }
    monkeypatch.setattr("recbole_genrec.batches.tasks.interaction_columns", lambda *_: cells)
    store = Histories({"user_id": users, "item_id": items}, users, 9, {"item_id": "item_id_list"}, "item_length")
    dataset = SimpleNamespace(inter_feat=LazyInteraction(store, targets), iid_field="item_id", item_num=6)
    data = TaskData(dataset, COLUMNS, 9, 3, seed=1, n_reviews=n_reviews)
    if broken:  # what a leak would be: every interaction with a review, held-out ones too
        data.reviews = ItemReviews(np.arange(len(users)), data.items, data.store.users)
    return data, held_out


def texts_of_training(data, epochs=3):
    """Everything that some epochs feed and predict, as texts."""
    counts = {"review_generation": 6, "item_summary": 6}
    loader, texts = TaskLoader(writer(), data, object(), counts, EpochSettings(5, 16)), []
    for number in range(epochs):
        loader.set_epoch(number)
        for batch in loader:
            texts += [text_of(row) for row in (*batch.prompts.input_ids, *batch.target_ids)]
    return texts


def prompts_of_test(data, held_out):
    places = held_out[data.reviews.has_others(held_out)]
    examples = [data.example("item_summary", 0, place, None, with_candidates=False) for place in places]
    return [text_of(row) for row in writer().write_prompts(examples).input_ids]


def test_no_held_out_review_is_in_a_prompt_or_a_training_target(monkeypatch):
    data, held_out = task_data(monkeypatch)
    training, test = texts_of_training(data), prompts_of_test(data, held_out)
    assert len(training) > 500 and len(test) > 20
    assert not any(HELD_OUT in text for text in training + test)
    assert any("known by" in text for text in training) and all("known by" in text for text in test)


def test_a_leak_would_be_found(monkeypatch):
    data, held_out = task_data(monkeypatch, broken=True)
    assert any(HELD_OUT in text for text in texts_of_training(data))
    assert any(HELD_OUT in text for text in prompts_of_test(data, held_out))


def test_a_prompt_shows_other_users_reviews_of_the_item(monkeypatch):
    data, held_out = task_data(monkeypatch, n_reviews=3)
    generator, drawn = np.random.default_rng(0), {}
    for place in np.repeat(data.places("item_summary"), 20):
        shown = data.example("item_summary", 0, place, generator, with_candidates=False).texts["item_reviews"]
        known = data.texts["review"][data.reviews.others(place)].tolist()
        assert len(shown) == min(3, len(known)) and set(shown) <= set(known)
        assert not any(f"by {data.store.users[place]} of" in text for text in shown)
        assert all(text.endswith(f" of {data.items[place]}.") for text in shown)
        drawn.setdefault(int(place), set()).add(tuple(shown))
    assert max(map(len, drawn.values())) > 5  # drawn anew in every epoch
    again = [
        data.example("item_summary", 0, held_out[0], None, with_candidates=False).texts["item_reviews"] for _ in "ab"
    ]
    assert again[0] == again[1]  # but in a test always the same


def test_whole_reviews_are_batched_by_their_length_apart_from_other_families(monkeypatch):
    data, _ = task_data(monkeypatch)
    counts = {"sequential": 1, "direct": 4, "item_summary": 4, "review_generation": 4}
    loader = TaskLoader(writer(), data, object(), counts, EpochSettings(5, 16))
    places = data.places("review_generation")
    data.texts["review"][places] = [" ".join(["good"] * (1 + 7 * n % 60)) for n in range(len(places))]
    drawn = [[loader._plan().rows[row] for row in batch] for batch in loader._plan().batches]
    lengths = [
        [len(data.texts["review"][place].split()) for prompt, place in batch if prompt.family == "review_generation"]
        for batch in drawn
    ]
    spread = [max(words) - min(words) for words in lengths if len(words) == 16]
    assert len(spread) >= 3 and max(spread) < 35  # of 60: there are few reviews here, and some noise
    for batch in drawn:
        families = {prompt.family for prompt, _ in batch}
        assert not {"item_summary", "review_generation"} <= families and not {"item_summary", "sequential"} <= families


def test_titles_that_the_shop_wrote_are_no_summaries(monkeypatch):
    data, _ = task_data(monkeypatch)
    places = data.places("item_summary")
    assert len(places) and (places % 4 != 0).all()
    assert (data.places("review") % 4 == 0).any()  # the family of P5's paper keeps them


def test_a_cut_review_has_no_end_token():
    words = "The Birds " * 40
    one = writer()
    limits = one.limits._replace(review=10, target=6)
    one.limits = limits
    assert limits.of("review_generation") == 10 and limits.of("item_summary") == limits.of("review") == 6
    tokens = BACKBONE.encode(f" {words}")
    assert one.text_target("review_generation", words).tolist() == tokens[:10]
    assert one.text_target("item_summary", words).tolist() == tokens[:6]
    assert one.text_target("review", words).tolist() == [*tokens[:5], BACKBONE.eos_id]
    short = BACKBONE.encode(" Heat")
    for family in ("review_generation", "item_summary", "review"):
        assert one.text_target(family, "Heat").tolist() == [*short, BACKBONE.eos_id]


def test_reviews_that_might_not_fit_are_refused():
    def fits(count, longest=96, each=12):
        one = writer(longest=longest)
        one.limits = one.limits._replace(item_review=each)
        try:
            check_reviews(one, count)
        except GenRecError:
            return False
        return True

    most = max(count for count in range(20) if fits(count))
    assert 1 <= most < 10
    one = writer(longest=96)
    one.limits = one.limits._replace(item_review=12)
    message = rf"'summary_reviews' \({most + 1}\) of 'summary_review_tokens' \(12\) do not fit .* \(96\): {most} do"
    with pytest.raises(GenRecError, match=message):
        check_reviews(one, most + 1)
    ends = ["so good " * 30] * most
    for number, prompt in enumerate(one.prompts.families["item_summary"]):
        row = one.write_prompts([example("item_summary", number, item_reviews=ends)]).input_ids[0]
        assert text_of(row).count("|") == most - 1
        if prompt[-1].text:  # nothing behind the reviews is cut off
            assert text_of(row).endswith(prompt[-1].text + "</s>")
