"""Settings as YAML: configuration files, and the values of a command line."""

import re
from difflib import get_close_matches
from pathlib import Path

import yaml

from recbole_genrec.config.arguments.schema import is_text, takes_text
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.files.strict_yaml import YamlProblem, load_yaml, read_yaml_file

#: separators stay as they are typed; a shell types no tab.
SEPARATORS = {"field_separator": {r"\t": "\t"}, "seq_separator": {r"\t": "\t"}}

#: folders of shipped files that hold settings.
OF_SETTINGS = ("model", "dataset", "paper", "ablation", "pretrained")


class YamlLoader(yaml.SafeLoader):
    """Safe YAML in which ``1e-3`` is a number, as in RecBole's files."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


class CommandLineLoader(YamlLoader):
    """As :class:`YamlLoader`; ``None`` is null, as on RecBole's command line."""


CommandLineLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^None$"), ["N"])


def named_file(path):
    """The configuration file that a path stands for: itself, or a shipped one by its name.

    ``paper/genrec-llama-7b`` names ``properties/paper/genrec-llama-7b.yaml`` from any folder, unless there is such a
    file. With ``properties/`` before it, or ``.yaml`` behind it, the name is understood as well.

    Raises:
        GenRecError: there is no such file, and the nearest shipped one is named.
    """
    if Path(path).exists():
        return path
    name = str(path).removeprefix("properties/").removesuffix(".yaml")
    folder = properties_folder()
    shipped = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.glob("*/*.yaml")}
    known = {name: file for name, file in shipped.items() if name.partition("/")[0] in OF_SETTINGS}
    if name in known:
        return known[name]
    nearest = get_close_matches(name, known, n=1)
    hint = f" Did you mean the shipped {nearest[0]!r}?" if nearest else ""
    raise GenRecError(f"Cannot read configuration file {str(path)!r}: No such file or directory.{hint}")


def read_yaml(path) -> dict:
    """Read a configuration file.

    Raises:
        GenRecError: there is no such file, or it is not YAML with keys at the top; the message names file and line.
    """
    content = read_yaml_file(path, "configuration file ", YamlLoader)
    if content is not None and not isinstance(content, dict):
        raise GenRecError(f"{path}, line 1: a configuration file holds 'key: value' lines, not a {_kind(content)}.")
    return content or {}


def parse_value(key: str, text: str):
    """Parse a value of the command line as YAML; it is never evaluated.

    A text setting stays the text as typed where YAML would make something else of it, e.g. ``--item_text={title}``.

    Raises:
        GenRecError: the value is not YAML.
    """
    if key in SEPARATORS:
        return SEPARATORS[key].get(text, text)
    try:
        value = load_yaml(text, CommandLineLoader)
    except YamlProblem as error:
        if takes_text(key):
            return text
        raise GenRecError(f"command line: the value of --{key} is not valid YAML: {shown(text)} ({error}).") from error
    if isinstance(value, str) or value is None and text.strip() in ("None", "~", "null"):
        return value
    return text if is_text(key) else value


def parse_values(texts):
    """:func:`parse_value` of the settings of a command line, by key."""
    return {key: parse_value(key, text) for key, text in texts.items()}


def _kind(value):
    return {list: "list", str: "text"}.get(type(value), "single value")
