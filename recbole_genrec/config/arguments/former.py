"""Settings that have another name today: files and checkpoints that still use the former one are read as before."""

from recbole_genrec.errors import GenRecError

#: what ``lora`` was, before there were other adapters.
ADAPTERS = {True: "lora", False: "none"}


def with_present_names(settings, source=""):
    """Settings in which ``adapter`` stands for the former ``lora``, also in the sections of single models.

    A value of ``lora`` that is neither true nor false is passed on, so that the check of ``adapter`` refuses it.

    Args:
        settings: a mapping by key.
        source: where it was given, for the message.

    Returns:
        A new dictionary, and a sentence for each key that was replaced.

    Raises:
        GenRecError: both names are there.
    """
    present, notices = {}, []
    for key, value in settings.items():
        if isinstance(value, dict) and str(key)[:1].isupper():  # a section, which is named after a model
            present[key], more = with_present_names(value, source)
            notices += more
        elif key != "lora":
            present[key] = value
        elif "adapter" in settings:
            raise GenRecError(f"'lora' ({source}) is the former name of 'adapter', which is there, too: leave it out.")
        else:
            present["adapter"] = ADAPTERS[value] if isinstance(value, bool) else value
            notices.append(f"'lora' ({source}) is 'adapter' today: 'adapter: {present['adapter']}' is taken.")
    return present, notices
