"""What becomes of the lists of a prompted model when its prompt names an attribute of the user."""

from recbole_genrec.config.registry import MODELS, get_model, get_trainer
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError, listed
from recbole_genrec.evaluation.cold_test import row_users
from recbole_genrec.evaluation.confidence import bootstrap_intervals
from recbole_genrec.evaluation.list_change import similarities, spread
from recbole_genrec.evaluation.outcomes import RankedLists
from recbole_genrec.prompt.about_user import load_about_user
from recbole_genrec.runs.stored_model import opened_model

#: users that are asked, where nothing else is said.
USERS = 100


def check_named(name):
    """Refuse a model whose prompts cannot name an attribute.

    Raises:
        GenRecError: it is one.
    """
    if not hasattr(get_model(name), "about_user"):
        prompted = [known for known in MODELS if hasattr(get_model(known), "about_user")]
        raise GenRecError(f"--named needs a model that is asked by a prompt, not {name}: {listed(prompted)}.")


def named_lists(path, stored, asked, settings):
    """Compare lists that a model gives with an attribute named to its neutral ones; the whole catalogue is ranked.

    Args:
        path: of the run's JSON.
        stored: its result.
        asked: values by column; each is named to every user, whatever the user's own one is.
        settings: :class:`~recbole_genrec.report.audit.AuditSettings`.

    Returns:
        By column, as JSON holds it: how many ``users`` were asked; of each of the ``values``, its ``sentence`` and
        ``similarity``, by measure the mean and its 95 % interval; ``snsr`` and ``snsv`` by measure. See
        :mod:`~recbole_genrec.evaluation.list_change`.
    """
    about = load_about_user(settings.sentences)
    limits = [settings.named_users or USERS, stored.config.get("eval_users")]
    changes = {"eval_users": min(filter(None, limits)), "eval_args": {"mode": "full"}}
    changes |= {} if settings.data_path is None else {"data_path": settings.data_path}
    with opened_model(path, stored, changes) as (config, data, model):
        loader = data.evaluation_loader(config, "test")
        trainer = get_trainer(config["MODEL_TYPE"], config["model"], current().size)(config, model)
        trainer.tensorboard.close()
        users = row_users(loader)

        def lists():
            ranked = RankedLists(settings.topk)
            with trainer.listening(ranked):
                trainer.evaluate(loader, False)
            return ranked.outcomes(users, data.parts[0]).lists

        neutral, found = lists(), {}
        for column, values in asked.items():
            found[column] = {"users": data.users["evaluated"], "values": {}}
            for value in values:
                sentence = about.sentence(column, value)
                with model.about_user(sentence):
                    measured = similarities(neutral, lists())
                found[column]["values"][value] = {
                    "sentence": sentence,
                    "similarity": _with_intervals(measured, users, stored.seed),
                }
    return {column: own | _spreads(own["values"].values()) for column, own in found.items()}


def _with_intervals(measured, users, seed):
    intervals = bootstrap_intervals(measured, users, seed)
    return {name: [float(value.mean()), *map(float, intervals[name])] for name, value in measured.items()}


def _spreads(values):
    """SNSR and SNSV by measure."""
    of_values = [value["similarity"] for value in values]
    spreads = {name: spread([similarity[name][0] for similarity in of_values]) for name in of_values[0]}
    return {kind: {name: pair[at] for name, pair in spreads.items()} for at, kind in enumerate(("snsr", "snsv"))}
