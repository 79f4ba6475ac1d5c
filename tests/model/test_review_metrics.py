"""Perplexity against a plain loop, n-grams against a count by hand, central texts against all pairs of cosines."""

import math

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from recbole_genrec.interactions.interaction_text import own_title, sentences
from recbole_genrec.model.central_texts import CentralTexts
from recbole_genrec.model.review_metrics import (
    SELF_BLEU_TEXTS,
    distinct,
    diversity,
    frequency_losses,
    perplexity,
    self_bleu,
    token_losses,
)
from tests.model.review_world import REVIEWS, review_shop
from tests.model.test_p5 import built


@pytest.mark.parametrize("family", ["review_generation", "item_summary"])
def test_perplexity_is_that_of_a_plain_loop_whatever_the_batch(tmp_path, write_dataset, monkeypatch, family):
    monkeypatch.chdir(tmp_path)
    # some reviews fit into the limit and some do not; states are not those of an untrained model, which are all alike
    limits = {"max_review_tokens": 12, "max_target_tokens": 4, "whole_word_embedding": False}
    _, _, model = built(REVIEWS | limits | {"data_path": review_shop(tmp_path, write_dataset)})
    model.eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    places = model.data.places(family)[::9]
    examples = [model.data.example(family, 0, place, None, with_candidates=False) for place in places]
    expected, causal_model, tokenizer = [], model.backbone.causal_model, model.backbone.tokenizer
    limit = limits["max_review_tokens" if family == "review_generation" else "max_target_tokens"]
    for example in examples:
        prompt = model.writer.write_prompts([example]).input_ids
        text = example.texts["review" if family == "review_generation" else "summary"]
        target = [*tokenizer(f" {text}", add_special_tokens=False).input_ids, tokenizer.eos_token_id][:limit]
        fed, losses = [model.backbone.start_id], []
        for token in target:
            with torch.no_grad():
                logits = causal_model(input_ids=prompt, decoder_input_ids=torch.tensor([fed])).logits[0, -1]
            losses.append(float(-logits.double().log_softmax(-1)[token]))
            fed.append(token)
        expected.append(np.array(losses))
    assert len({len(losses) for losses in expected}) > 1
    of_all = math.exp(sum(map(sum, expected)) / sum(map(len, expected)))
    for size in (1, 3, len(examples)):
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        losses = [each for batch in batches for each in token_losses(model, batch)]
        for mine, true in zip(losses, expected, strict=True):
            np.testing.assert_allclose(mine, true, rtol=1e-4, atol=1e-4)
        assert perplexity(losses) == pytest.approx(of_all, rel=1e-4)


def test_perplexity_counts_tokens_not_texts():
    assert perplexity([np.log([2.0]), np.log([8.0, 8.0, 8.0])]) == pytest.approx(2 ** (10 / 4))
    assert perplexity([np.array([1e4])]) == math.inf


def test_frequencies_of_tokens_are_a_model_too():
    training = [np.array([0, 1, 1]), np.array([1, 3])]  # of 4 tokens: counts 1, 3, 0, 1, and one more each
    losses = frequency_losses(training, [np.array([1, 2]), np.array([0])], 4)
    expected = [np.log([9 / 4, 9 / 1]), np.log([9 / 2])]
    for mine, true in zip(losses, expected, strict=True):
        np.testing.assert_allclose(mine, true)
    assert sum(np.exp(-frequency_losses(training, [np.arange(4)], 4)[0])) == pytest.approx(1)


def test_distinct_ngrams():
    texts = ["A good card, a GOOD card", "good card", "", "card"]
    assert distinct(texts, 1) == pytest.approx(100 * 3 / 9)  # a, good, card
    assert distinct(texts, 2) == pytest.approx(100 * 3 / 6)  # a good, good card, card a; none across texts
    assert distinct([""], 1) == distinct(["one"], 2) == 0


def test_self_bleu():
    assert self_bleu(["all of these texts are alike"] * 3) == pytest.approx(100)
    alike = ["we liked this gift card a lot", "we liked this gift card so much", "we liked this toy a lot"]
    apart = ["we liked this gift card a lot", "arrived in time for Christmas here", "too small by far, sadly, for him"]
    assert 100 > self_bleu(alike) > self_bleu(apart) >= 0
    assert self_bleu(["", "a gift", ""]) >= 0
    assert "self-bleu" not in diversity(["one"]) and diversity(["one", "two"])["distinct-1"] == 100


def test_self_bleu_of_many_texts_is_that_of_some(monkeypatch):
    seen = []
    monkeypatch.setattr("sacrebleu.sentence_bleu", lambda text, others: seen.append((text, others)) or _Zero)
    texts = [str(number) for number in range(3 * SELF_BLEU_TEXTS)]
    assert self_bleu(texts) == 0
    assert len(seen) == len({text for text, _ in seen}) == SELF_BLEU_TEXTS
    assert (seen[0][0], seen[-1][0]) == (texts[0], texts[-1])
    assert all(len(others) == SELF_BLEU_TEXTS - 1 and text not in others for text, others in seen)


class _Zero:
    score = 0.0


def random_texts(generator, count):
    words = ["gift", "card", "good", "bad", "late", "kind", "box", "!!"]
    return [" ".join(generator.choice(words, generator.integers(1, 6))) for _ in range(count)]


def test_the_central_text_is_most_similar_to_all_others():
    generator = np.random.default_rng(11)
    for _ in range(40):
        texts = {place: random_texts(generator, int(generator.integers(0, 4))) for place in (4, 7, 9, 12, 20)}
        flat = [text for of_place in texts.values() for text in of_place]
        if not any(set(text.split()) - {"!!"} for text in flat):
            continue
        central = CentralTexts(texts)
        vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit(flat)
        for places in ([7], [4, 9], [4, 7, 9, 12, 20], [7, 20]):
            candidates = [text for place in places for text in texts[place]]
            sums = []
            for one in candidates:
                a = vectorizer.transform([one]).toarray()[0]
                sums.append(sum(float(a @ vectorizer.transform([b]).toarray()[0]) for b in candidates))
            best = [text for text, value in zip(candidates, sums) if value > max(sums) - 1e-6] if sums else [""]
            assert central.pick(np.array(places)) in best


def test_the_first_of_equal_texts_is_picked_and_texts_without_words_have_no_similarity():
    assert CentralTexts({1: ["a gift", "A gift!"]}).pick(np.array([1])) == "a gift"
    assert CentralTexts({1: ["!!!"], 2: [":-)"]}).pick(np.array([1, 2])) == "!!!"
    assert CentralTexts({1: ["a gift"], 2: []}).pick(np.array([2])) == ""
    assert CentralTexts({1: ["!!!", "a gift"]}).pick(np.array([1])) == "a gift"


def test_sentences_and_titles():
    assert sentences("Good card! It came\nin time. 3.5 stars?") == ["Good card!", "It came in time.", "3.5 stars?"]
    assert sentences("no end") == ["no end"] and sentences("") == []
    assert own_title("Five Stars") == own_title("one star") == "" and own_title("Five Stars!") == "Five Stars!"
