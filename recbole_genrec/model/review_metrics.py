"""Perplexity of texts under a model, and how varied generated texts are.

Letters: T tokens of a text.
"""

import math
import re
from collections import Counter
from importlib.util import find_spec

import numpy as np
import torch
from torch.nn.functional import cross_entropy

#: self-BLEU compares at most so many texts with each other, as its cost grows with their square.
SELF_BLEU_TEXTS = 100


@torch.no_grad()
def token_losses(model, examples):
    """Negative log-likelihood of every token of the texts that examples ask for, each fed the true tokens before it.

    Args:
        model: :class:`~recbole_genrec.model.p5.P5`, in evaluation mode.
        examples: of families whose target is a text.

    Returns:
        By example, an array in nats ``[T]``, float64.
    """
    batch = model.writer.write(examples).to(model.compute_device)
    hidden, row = model.answer_states(batch), batch.text_cell // (batch.target_ids.shape[1] + 1)
    losses = []
    for number in range(len(examples)):  # one by one: the logits of a batch would be a tensor of many GiB
        own = row == number
        logits = model.backbone.logits(hidden[batch.text_cell[own]]).double()
        losses.append(cross_entropy(logits, batch.text_label[own], reduction="none").cpu().numpy())
    return losses


def frequency_losses(training, texts, n_tokens):
    """Negative log-likelihood of every token of texts by how often training has it, whatever stands before it.

    One is added to every count, so that no token is impossible.

    Args:
        training: by text of the training, its tokens ``[T]``.
        texts: likewise of the texts that are measured.
        n_tokens: size of the vocabulary.

    Returns:
        By text, an array in nats ``[T]``.
    """
    counts = 1 + np.bincount(np.concatenate(training), minlength=n_tokens)
    loss = np.log(counts.sum()) - np.log(counts)
    return [loss[tokens] for tokens in texts]


def perplexity(losses):
    """Exponential of the mean negative log-likelihood a token, over all tokens of all texts.

    Args:
        losses: by text, an array ``[T]``.
    """
    mean = float(np.concatenate(losses).mean())
    return math.exp(mean) if mean < 700 else math.inf


def diversity(texts):
    """How varied texts are.

    Returns:
        ``distinct-1`` and ``distinct-2`` (Li et al. 2016), and, where ``sacrebleu`` is installed and there are two
        texts, ``self-bleu`` (Zhu et al. 2018), in percent.
    """
    found = {f"distinct-{length}": distinct(texts, length) for length in (1, 2)}
    if len(texts) > 1 and find_spec("sacrebleu") is not None:
        found["self-bleu"] = self_bleu(texts)
    return found


def distinct(texts, length):
    """Share of different n-grams among all n-grams of all texts, in percent; 0 without any.

    Words are runs of letters, digits and underscores, in lower case.

    Args:
        texts: list of texts. length: words of an n-gram.
    """
    grams = Counter()
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        grams.update(zip(*(words[start:] for start in range(length))))
    return 100 * len(grams) / max(grams.total(), 1)


def self_bleu(texts):
    """Mean BLEU-4 of each text with all others as references (sacrebleu), in percent; high where texts are alike.

    Of more than :data:`SELF_BLEU_TEXTS` texts, so many at equal distances stand for all.
    """
    from sacrebleu import sentence_bleu

    some = [texts[place] for place in np.linspace(0, len(texts) - 1, min(len(texts), SELF_BLEU_TEXTS)).astype(int)]
    scores = [sentence_bleu(text, some[:place] + some[place + 1 :]).score for place, text in enumerate(some)]
    return float(np.mean(scores))
