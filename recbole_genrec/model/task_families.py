"""Which of P5's task families a run trains, and whether its settings and data suit them."""

from logging import getLogger

from recbole_genrec.batches.item_reviews import check_reviews
from recbole_genrec.batches.tasks import TokenLimits
from recbole_genrec.config.arguments.models import REVIEW_FAMILIES
from recbole_genrec.errors import GenRecError


def choose_families(asked, tasks, data, columns):
    """Shares of the families that are asked for, that have prompts, and for which the data have texts.

    A family without texts is left out with a line in the log. One about whole reviews is off by default: who asks for
    it is told what is missing.

    Args:
        asked: shares by family, of the settings.
        tasks: :class:`~recbole_genrec.prompt.task_prompts.TaskPrompts`.
        data: :class:`~recbole_genrec.batches.tasks.TaskData`.
        columns: see :func:`~recbole_genrec.batches.tasks.task_columns`.

    Raises:
        GenRecError: a family has no prompts, its prompts tell a column that the data lack, nothing can be learned for a
            family about whole reviews, or ``sequential`` is not among them.
    """
    shares = {}
    for family in (family for family, share in asked.items() if share):
        if family not in tasks.families:
            raise GenRecError(f"'tasks' asks for {family!r}, for which {tasks.name!r} has no prompts.")
        if family in data.families:
            _check_columns(family, tasks, data, columns)
            shares[family] = asked[family]
        elif family in REVIEW_FAMILIES:
            raise GenRecError(f"'tasks' asks for {family!r}, but {_lack(family, data, columns)}.")
        else:
            getLogger().info(f"P5: no {family}: the interactions have no text for it.")
    if "sequential" not in shares:
        raise GenRecError("'tasks' must give 'sequential' a share: it is what the evaluation ranks by.")
    return shares


def _check_columns(family, tasks, data, columns):
    for field, column in columns.items():
        told = any(tasks.has(family, number, field) for number in range(len(tasks.families[family])))
        if told and field not in data.texts:
            raise GenRecError(
                f"Prompts of {family!r} in {tasks.name!r} tell {{{field}}}, but the interactions have no column "
                f"{column!r}."
            )


def _lack(family, data, columns):
    """Why nothing can be learned for a family about whole reviews."""
    for field in ("review", "summary")[: 1 if family == "review_generation" else 2]:
        if field not in data.texts:
            return f"the interactions have no column {columns[field]!r} ('{field}_field')"
        if not (data.texts[field][data.seen] != "").any():
            return f"no training interaction has a text in the column {columns[field]!r}"
    return (
        f"no training review with a title of its own in the column {columns['summary']!r} is of an item that another "
        "user has reviewed, too"
    )


def limits_of(model):
    """The :class:`~recbole_genrec.batches.tasks.TokenLimits` of a :class:`~recbole_genrec.model.p5.P5`."""
    settings = model.settings
    return TokenLimits(
        model.arguments["prompt"].max_prompt_tokens,
        settings.max_target_tokens,
        settings.max_review_tokens,
        settings.summary_review_tokens,
    )


def check_limits(model):
    """Refuse settings of lengths that do not suit each other or the backbone.

    Args:
        model: :class:`~recbole_genrec.model.p5.P5`.

    Raises:
        GenRecError: the candidates or the reviews of a prompt do not fit into it, or a review into the backbone.
    """
    tasks, settings, longest = model.tasks, model.settings, model.backbone.max_positions
    if any(tasks.has(f, n, "candidates") for f in model.shares for n in range(len(tasks.families[f]))):
        model.writer.check_candidates(settings.n_candidates)
    if "item_summary" in model.shares:
        check_reviews(model.writer, settings.summary_reviews)
    if "review_generation" in model.shares and longest is not None and settings.max_review_tokens > longest:
        raise GenRecError(
            f"'max_review_tokens' ({settings.max_review_tokens}) is above the backbone's longest sequence, {longest}."
        )
