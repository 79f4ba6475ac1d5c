"""The history of a user of the dataset that a checkpoint was trained on, as the run had it, with its context."""

from collections import defaultdict
from pathlib import Path

from recbole_genrec.config.arguments import ContextArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.user_table import read_users
from recbole_genrec.serve.history_reader import ItemId, UserHistory

#: settings that leave out interactions.
FILTERS = """
val_interval user_inter_num_interval item_inter_num_interval rm_dup_inter filter_inter_by_user_or_item
""".split()


def read_user_history(settings, user, data_path=None, template=None, in_words=()):
    """A user's interactions that pass the run's filters, in the run's order.

    Args:
        settings: the configuration of a checkpoint.
        user: raw user id.
        data_path: the folder that holds the dataset's folder; by default where it was in training.
        template: of its prompts, which may tell times and values; ``None``: it tells none.
        in_words: columns of the ``.user`` file that prompts tell in words.

    Returns:
        :class:`~recbole_genrec.serve.history_reader.UserHistory` of
        :class:`~recbole_genrec.serve.history_reader.ItemId`, with the times, values and columns of users that the model
        reads, the oldest first, ties in file order, files that are split beforehand one after the other. The items need
        not be in the checkpoint's catalogue.

    Raises:
        GenRecError: a file or column is missing, a file is malformed, or there is no such user.
    """
    from recbole_genrec.interactions.context_columns import EXACT_TIME
    from recbole_genrec.interactions.dataset import exact_dataset_class
    from recbole_genrec.interactions.dataset_files import build_dataset, check_header
    from recbole_genrec.interactions.presplit import interaction_files

    # only interactions matter here: items without any need not be read
    settings = defaultdict(lambda: None, {**settings, "keep_unseen_items": False})
    if data_path is not None:
        settings["data_path"] = str(Path(data_path) / settings["dataset"])
    for path in interaction_files(settings):
        if not path.is_file():
            raise GenRecError(
                f"--user: there is no file {path}. --data_path names the folder that holds the dataset's."
            )
        check_header(path, settings)
    context = ContextArguments.from_config(settings)
    reads_times = bool(context.kinds) or (template is not None and template.tells_gap)
    in_text = () if template is None else template.value_columns
    names = list(dict.fromkeys([*context.columns, *in_text]))
    columns = dict.fromkeys(in_text, "prompt") | dict.fromkeys(context.columns, "context")
    columns |= {EXACT_TIME: "context" if context.kinds else "prompt"} if reads_times else {}
    dataset = build_dataset(exact_dataset_class(), settings, context_columns=columns)
    number = dataset.field2token_id[dataset.uid_field].get(str(user))
    rows = dataset.inter_feat[dataset.inter_feat[dataset.uid_field] == (-1 if number is None else number)]
    if rows.empty:
        given = [f"{key}: {settings[key]}" for key in FILTERS if settings[key]]
        filters = f" that the run's filters leave ({', '.join(given)})" if given else ""
        raise GenRecError(f"--user: {path} has no interactions of the user {str(user)!r}{filters}.")
    items = rows[dataset.iid_field].tolist()
    if dataset.has_lists():
        items = [*rows[dataset.iid_field + settings["LIST_SUFFIX"]].iloc[-1], items[-1]]
    tokens = dataset.field2id_token[dataset.iid_field][items].tolist()
    user_values = _read_user(settings, user, dict.fromkeys([*context.user_columns, *in_words]))
    if not columns:
        return UserHistory(map(ItemId, tokens), user_values, str(user))
    # the file may begin elsewhere than in training: times go by their own origin
    times = (rows[EXACT_TIME] + dataset.clock.first).tolist() if reads_times else [None] * len(tokens)
    values = rows[names].astype(float).to_dict("records")
    entries = [ItemId(token, time=time, values=own) for token, time, own in zip(tokens, times, values)]
    return UserHistory(entries, user_values, str(user))


def _read_user(settings, user, columns):
    """Texts of a user by column, of the ``.user`` file; what is missing there is absent."""
    if not columns:
        return {}
    file = AtomicFile.of(Path(settings["data_path"]) / f"{settings['dataset']}.user", settings)
    table = read_users(file, settings["USER_ID_FIELD"], columns)
    return {column: texts[str(user)] for column, texts in table.texts.items() if str(user) in texts}
