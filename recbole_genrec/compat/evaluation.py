"""Patches of RecBole's measurements: scores, losses, floating-point operations."""

from logging import getLogger

import torch

from recbole_genrec.compat.patching import quiet_recbole, recbole_module, replace
from recbole_genrec.errors import GenRecError


def collector_of_counters():
    """collector.py:227, 1.2.1: ``.cpu()`` of everything, also of numbers and counters (ItemCoverage, Gini, ...)."""

    @replace(recbole_module("evaluator.collector").Collector, "get_data_struct")
    def get_data_struct(original, collector):
        collected = collector.data_struct._data_dict
        plain = {key: value for key, value in collected.items() if not isinstance(value, torch.Tensor)}
        for key in plain:
            del collected[key]
        struct = original(collector)
        collected.update(plain)
        struct._data_dict.update(plain)
        return struct


def scores_that_are_no_numbers():
    """collector.py:162: ``topk`` takes NaN for the highest score, so that a broken model hits targets."""

    @replace(recbole_module("evaluator.collector").Collector, "eval_batch_collect")
    def eval_batch_collect(original, collector, scores, *args):
        # one pass: a maximum shows NaN and infinity; -inf marks items that are not ranked
        if scores.numel() and not scores.max() < torch.inf:
            rows = (~(scores < torch.inf)).reshape(len(scores), -1).any(1)
            raise GenRecError(
                f"{collector.config['model']} gives scores that are not finite, in {int(rows.sum())} of {len(rows)} "
                "rows of a batch. Nothing is ranked by them."
            )
        return original(collector, scores, *args)


def losses_that_are_no_numbers():
    """trainer.py:344 stops at a loss of NaN, not of infinity, without saying of which model."""

    @replace(recbole_module("trainer.trainer").Trainer, "_check_nan")
    def check(original, trainer, loss):
        if not torch.isfinite(loss):
            raise GenRecError(
                f"{trainer.config['model']}: the training loss is {loss.item()}. Lower 'learning_rate', or set "
                "'clip_grad_norm'."
            )


def popularity_within_a_batch():
    """pop.py:46 adds one to an item's count for a batch that holds it, however often.

    With 2,048 rows a batch, the popular items of a small catalogue all have the number of batches.
    """

    @replace(recbole_module("model.general_recommender.pop").Pop, "calculate_loss")
    def calculate_loss(original, model, interaction):
        items = interaction[model.ITEM_ID]
        model.item_cnt.index_add_(0, items, torch.ones_like(model.item_cnt[items]))
        model.max_cnt = torch.max(model.item_cnt, dim=0)[0]
        return torch.zeros(1, device=items.device, requires_grad=True)


def scores_of_pairs():
    """multivae.py:117, and five more autoencoders index by a list of tensors, of which torch 2.9 and later warn."""
    general = vars(recbole_module("model.general_recommender"))
    for name in ("CDAE", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE"):

        @replace(general[name], "predict")
        def predict(original, model, interaction):
            scores = model.full_sort_predict(interaction).view(-1, model.n_items)
            return scores.gather(1, interaction[model.ITEM_ID][:, None])[:, 0]


def flops_of_language_models(names):
    """utils.py:269, 309: ``get_flops`` deep-copies the model and hooks every module, which kills a language model.

    Args:
        names: of the models that are estimated instead.
    """

    @replace(recbole_module("quick_start.quick_start"), "get_flops")
    def get_flops(original, model, dataset, *args, **kwargs):
        if type(model).__name__ not in names:
            with quiet_recbole():
                return original(model, dataset, *args, **kwargs)
        # Two operations a parameter and token (Kaplan et al. 2020, section 2.1).
        per_token = 2 * sum(parameter.numel() for parameter in model.parameters())
        getLogger().info("FLOPs of a language model are an estimate for one prompt token.")
        return per_token
