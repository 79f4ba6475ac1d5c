"""The test that asks for cold items, of the weights that the usual test has just had."""

from contextlib import contextmanager
from dataclasses import replace

import torch

from recbole_genrec.evaluation.confidence import bootstrap_intervals


def evaluate_cold(config, dataset, make_loader, trainer, rows):
    """Test on the rows that ask for cold items: among all items, and among the cold ones alone.

    A loss over the whole catalogue, as RecBole's models have it, teaches that an item which is never a target is never
    next. Among the cold ones alone that is the same for all of them: what is left is what a model knows of each.
    A chat that writes lists has no scores to rank them by.

    Args:
        config: RecBole's configuration.
        dataset: the whole dataset, with its ``cold_items``.
        make_loader: gives a fresh loader of the rows.
        trainer: holds the model.
        rows: :class:`~recbole_genrec.evaluation.confidence.RowMetrics` of the trainer.

    Returns:
        ``items``, ``of``, ``test_result``, ``test_interval``, and the latter two again in ``among_cold``.
    """

    def test():
        loader = make_loader()
        result = trainer.evaluate(loader, load_best_model=False, show_progress=config["show_progress"])
        intervals = bootstrap_intervals(rows.values, row_users(loader), config["seed"])
        return {"test_result": dict(result), "test_interval": intervals}

    found = {"items": len(dataset.cold_items), "of": dataset.item_num - 1, **test()}
    if getattr(trainer.model, "chat", None) is None:
        with _only_among(trainer.model, dataset.cold_items):
            found["among_cold"] = test()
    return found


@contextmanager
def _only_among(model, items):
    """Let ``full_sort_predict`` give scores to ``items`` alone, and to every one of them."""
    predict, engine = model.full_sort_predict, getattr(model, "engine", None)

    def predict_among(interaction):
        scores = predict(interaction).view(-1, model.n_items)
        kept = torch.full_like(scores, -torch.inf)
        kept[:, items] = scores[:, items]
        return kept

    model.full_sort_predict = predict_among
    if engine is not None:
        model.engine = replace(engine, decoding="full")
    try:
        yield
    finally:
        del model.full_sort_predict
        if engine is not None:
            model.engine = engine


def row_users(loader):
    """Whose row each row of an evaluation is: with sampled candidates a row is a user, else an interaction."""
    if hasattr(loader, "uid_list"):
        return loader.uid_list
    return loader._dataset.inter_feat[loader._dataset.uid_field].numpy()
