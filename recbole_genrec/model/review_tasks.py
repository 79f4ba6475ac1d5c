"""Test of P5's families about whole reviews, beside texts that are picked from training reviews.

``review_generation`` writes the review of a user and an item. ``item_summary`` reads reviews of an item and writes the
title of one that was left out; :mod:`~recbole_genrec.batches.item_reviews` names the papers. Both are tested on the
held-out reviews of items that another user has reviewed in training, so that a text can be picked for every row.

The picked texts are the most central sentence of the other users' training reviews of the item, and the most central
of their whole reviews, or of their titles. A perplexity stands beside that of a model which only knows how often
training has each token.
"""

from logging import getLogger

import numpy as np

from recbole_genrec.distributed.world import current
from recbole_genrec.files.table import rows_as_markdown
from recbole_genrec.interactions.interaction_text import sentences
from recbole_genrec.model.central_texts import CentralTexts
from recbole_genrec.model.review_metrics import diversity, frequency_losses, perplexity, token_losses
from recbole_genrec.model.text_metrics import text_metrics
from recbole_genrec.prompt.task_prompts import TARGETS


def evaluate_reviews(model, family, prompts, places, config):
    """Test a family about whole reviews with several prompts, and the baselines on the same rows.

    Args:
        model: :class:`~recbole_genrec.model.p5.P5`, in evaluation mode.
        family: ``review_generation`` or ``item_summary``.
        prompts: numbers of prompts by kind, ``seen`` and ``unseen``.
        places: of the held-out interactions in the store.
        config: RecBole's configuration.

    Returns:
        Metrics by kind: those of the prompts, of ``central sentence`` and ``central review`` or ``central title``, the
        perplexity by ``token frequencies``, and of ``held-out texts``, how varied the true ones are. Texts come with
        three examples.
    """
    rows = test_rows(model.data, family, places)
    if not len(rows):
        return {kind: {"examples": 0} for kind in prompts}
    truth = _Truth(model, family, rows)
    found = {}
    for kind, number in prompts.items():
        examples = [model.data.example(family, number, place, None, with_candidates=False) for place in rows]
        size = config["eval_batch_size"]
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        generated = [text for batch in current().map(model.write_texts, batches) for text in batch]
        losses = [loss for batch in current().map(lambda batch: token_losses(model, batch), batches) for loss in batch]
        measured = {"perplexity": perplexity(losses), "tokens": sum(map(len, losses))}
        found[kind] = truth.counts | measured | _lengths(model, examples) | truth.compare(generated)
    for kind, texts in baselines(model.data, family, rows).items():
        found[kind] = truth.counts | truth.compare(texts)
    found["token frequencies"] = truth.counts | _by_frequency(model, family, truth.texts)
    found["held-out texts"] = truth.counts | diversity(truth.texts)
    getLogger().info(_table(family, found))
    return found


def test_rows(data, family, places):
    """Those of ``places`` that have a text to be generated and an item that another user has reviewed in training."""
    asked = places[(data.texts["review"][places] != "") & (data.texts[TARGETS[family]][places] != "")]
    return asked[data.reviews.has_others(asked)]


def baselines(data, family, rows):
    """Texts picked for each of ``rows``, by the name of the baseline: the most central sentence, and whole text."""
    training = data.reviews.places.tolist()
    whole, name = data.texts[TARGETS[family]], "review" if family == "review_generation" else "title"
    kinds = {
        "central sentence": {place: sentences(data.texts["review"][place]) for place in training},
        f"central {name}": {place: [whole[place]] for place in training if whole[place]},
    }
    others = [data.reviews.others(place) for place in rows]
    picked = {}
    for kind, texts in kinds.items():
        central = CentralTexts(texts)
        picked[kind] = [central.pick(shown) for shown in others]
    return picked


def _by_frequency(model, family, texts):
    """Perplexity of texts by the frequencies of tokens in what the family trains on, and how many tokens they have."""
    training = model.data.texts[TARGETS[family]][model.data.places(family)]
    fed, held_out = ([model.writer.text_target(family, text) for text in some] for some in (training, texts))
    losses = frequency_losses(fed, held_out, len(model.backbone.tokenizer))
    return {"perplexity": perplexity(losses), "tokens": sum(map(len, losses))}


class _Truth:
    """The held-out texts of some rows, and how others compare with them."""

    def __init__(self, model, family, rows):
        self.texts = model.data.texts[TARGETS[family]][rows].tolist()
        # of a summary, which should say what the review says, also the review
        self.reviews = model.data.texts["review"][rows].tolist() if family == "item_summary" else None
        limit, encode = model.writer.limits.of(family), model.writer.encode
        #: texts that are longer than the limit: their end is neither predicted nor measured by the perplexity.
        cut = sum(len(encode(f" {text}")) >= limit for text in self.texts)
        self.counts = {"examples": len(rows), "cut targets": cut}

    def compare(self, texts):
        """Metrics of generated or picked texts, and three examples."""
        found = text_metrics(texts, self.texts)
        if self.reviews is not None:
            of_reviews = text_metrics(texts, self.reviews)
            found |= {f"{name} of review": value for name, value in of_reviews.items() if name.startswith("rouge")}
        keys = ("generated", "true") if self.reviews is None else ("generated", "true", "review")
        shown = zip(texts[:3], self.texts, self.reviews or self.texts)
        return {**found, **diversity(texts), "shown": [dict(zip(keys, row)) for row in shown]}


def _lengths(model, examples):
    """Of prompts with reviews of an item: how many they show, and how many of these are cut."""
    shown = [example.texts.get("item_reviews", []) for example in examples]
    if not any(shown):
        return {}
    limit, encode = model.writer.limits.item_review, model.writer.encode
    cut = np.mean([len(encode(f" {text}")) > limit for texts in shown for text in texts])
    return {"reviews a prompt": float(np.mean([len(texts) for texts in shown])), "cut reviews": float(cut)}


def _table(family, found):
    """The metrics of a family as a Markdown table, a row a kind."""
    names = list(dict.fromkeys(name for metrics in found.values() for name in metrics if name != "shown"))
    rows = [
        [kind, *(f"{metrics[name]:.4g}" if name in metrics else "" for name in names)]
        for kind, metrics in found.items()
    ]
    return rows_as_markdown(f"{family}: test", [["text", *names], *rows])
