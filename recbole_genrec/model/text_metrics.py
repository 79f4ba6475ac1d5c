"""Errors of predicted ratings, BLEU and ROUGE of generated texts."""

from importlib.util import find_spec
from logging import getLogger

import numpy as np
from recbole.evaluator.register import metrics_dict


def text_task_metrics(family, predicted, truth, config):
    """Metrics of a task family whose target is a rating or a text.

    Args:
        family: ``rating``, ``explanation`` or ``review``.
        predicted: a number ``[N]``, or else a list of texts.
        truth: the true ones, as texts.
        config: RecBole's configuration.

    Returns:
        Metrics by name and the number of ``examples``; for texts also three of them under ``shown``.
    """
    if family == "rating":
        predicted, true = np.asarray(predicted, float), np.array(truth, float)
        errors = {name: metrics_dict[name](config).metric_info(predicted, true) for name in ("rmse", "mae")}
        return {"examples": len(truth), **{name: float(value) for name, value in errors.items()}}
    shown = [{"generated": mine, "true": true} for mine, true in zip(predicted[:3], truth[:3])]
    return {"examples": len(truth), **text_metrics(predicted, truth), "shown": shown}


def text_metrics(generated, references):
    """Corpus BLEU-4 (sacrebleu; Post 2018) and mean ROUGE-1/2/L F-measures (Lin 2004), in percent.

    Args:
        generated: texts. references: the true text of each.

    Returns:
        Metrics by name; empty, with a log line, if ``sacrebleu`` and ``rouge-score`` are not installed.
    """
    if find_spec("sacrebleu") is None or find_spec("rouge_score") is None:
        getLogger().info("BLEU and ROUGE need sacrebleu and rouge-score: pip install 'recbole_genrec[p5]'.")
        return {}
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    scores = [scorer.score(reference, text) for text, reference in zip(generated, references, strict=True)]
    result = {"bleu-4": sacrebleu.corpus_bleu(generated, [references]).score}
    for name in ("rouge1", "rouge2", "rougeL"):
        result[name.replace("rouge", "rouge-")] = 100 * sum(score[name].fmeasure for score in scores) / len(scores)
    return result
