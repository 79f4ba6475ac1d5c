"""The test on cold items, with the weights of the usual test."""

from recbole_genrec.evaluation.confidence import RowMetrics, bootstrap_intervals


def evaluate_cold(config, dataset, make_loader, trainer):
    """Test the rows whose target is a cold item: ranked among all items, and among cold items only.

    A loss over the whole catalogue, as RecBole's models have it, teaches that an item which is never a target is never
    next. Among the cold ones alone that is the same for all of them: what is left is what a model knows of each.
    A chat that writes lists has no scores to rank them by.

    Args:
        config: RecBole's configuration.
        dataset: the whole dataset, with its ``cold_items``.
        make_loader: gives a fresh loader of the rows.
        trainer: holds the model; a :class:`~recbole_genrec.training.listeners.ListeningTrainer`.

    Returns:
        ``items``, ``of``, ``test_result``, ``test_interval``, and the latter two again in ``among_cold``.
    """

    def test():
        loader, rows = make_loader(), RowMetrics()
        with trainer.listening(rows):
            result = trainer.evaluate(loader, load_best_model=False, show_progress=config["show_progress"])
        intervals = bootstrap_intervals(rows.values, row_users(loader), config["seed"])
        return {"test_result": dict(result), "test_interval": intervals}

    measured = {"items": len(dataset.cold_items), "of": dataset.item_num - 1, **test()}
    if getattr(trainer.model, "chat", None) is None:
        with trainer.ranking_among(dataset.cold_items):
            measured["among_cold"] = test()
    return measured


def row_users(loader):
    """The user of each evaluation row. With sampled candidates a row is a user, else an interaction."""
    if hasattr(loader, "uid_list"):
        return loader.uid_list
    return loader._dataset.inter_feat[loader._dataset.uid_field].numpy()
