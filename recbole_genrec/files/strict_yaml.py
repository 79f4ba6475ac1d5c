"""Strict YAML: no duplicate keys, no aliases that unfold without end, and a line number for every mistake."""

from os import PathLike
from typing import Any

import yaml

from recbole_genrec.errors import GenRecError, shown

#: values that a file may hold once its aliases are unfolded; the largest shipped one has a few hundred.
MOST_VALUES = 100_000
#: the key ``<<``, whose value is merged into its mapping.
MERGE = "tag:yaml.org,2002:merge"
#: characters that a file may have.
LONGEST = 10_000_000


class YamlProblem(ValueError):
    """What is wrong with a YAML text.

    Attributes:
        line: where it is, from 1; ``None`` where the text has no such place.
    """

    def __init__(self, problem: str | None, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def load_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of a YAML text; no code in it is run.

    Args:
        text: the text.
        loader: a subclass of ``yaml.SafeLoader``.

    Raises:
        YamlProblem: it is not YAML; a mapping has a key twice; a value is not of the type that its tag names; it is
            nested too deeply, or its aliases unfold to more than :data:`MOST_VALUES` values.
    """
    if len(text) > LONGEST:
        raise YamlProblem(f"longer than {LONGEST:,} characters")
    try:
        parser = loader(text)
        try:
            node = parser.get_single_node()
            if node is None:
                return None
            _check(node, parser, {})
            return parser.construct_document(node)
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise YamlProblem(error.problem or error.context, line) from error
    except yaml.YAMLError as error:
        raise YamlProblem(" ".join(str(error).split())) from error
    except RecursionError:
        raise YamlProblem("nested too deeply") from None


def read_yaml_file(path: str | PathLike[str], what: str = "", loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of a YAML file.

    Args:
        path: the file.
        what: what to call it in an error, such as ``"prompt file "``.
        loader: as for :func:`load_yaml`.

    Raises:
        GenRecError: it cannot be read, or :func:`load_yaml` refuses it; the message names file and line.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return load_yaml(file.read(), loader)
    except OSError as error:
        raise GenRecError(f"Cannot read {what}{str(path)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise GenRecError(f"{what.capitalize()}{str(path)!r} is not UTF-8 text: {error.reason}.") from error
    except YamlProblem as error:
        place = "" if error.line is None else f", line {error.line}"
        raise GenRecError(f"{path}{place}: not valid YAML: {error}.") from error


def _check(node: yaml.Node, parser: yaml.SafeLoader, sizes: dict[int, Any]) -> int:
    """How many values a node stands for, itself and all below it; ``sizes`` keeps those of nodes that aliases share."""
    line = node.start_mark.line + 1
    if id(node) in sizes:
        if sizes[id(node)] is None:
            raise YamlProblem("a value that holds itself", line)
        return sizes[id(node)]
    sizes[id(node)] = None
    size = 1
    if isinstance(node, yaml.ScalarNode):
        if node.tag != MERGE:
            _construct(node, parser, line)
    elif isinstance(node, yaml.MappingNode):
        known = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in known:
                    raise YamlProblem(f"the key {shown(key.value)} is given twice", key.start_mark.line + 1)
                known.add((key.tag, key.value))
            size += _check(key, parser, sizes) + _check(value, parser, sizes)
    else:
        size += sum(_check(value, parser, sizes) for value in node.value)
    if size > MOST_VALUES:
        raise YamlProblem(f"more than {MOST_VALUES:,} values, its aliases unfolded", line)
    sizes[id(node)] = size
    return size


def _construct(node: yaml.ScalarNode, parser: yaml.SafeLoader, line: int) -> None:
    """Construct a scalar ahead of the document, so that a value which its type refuses has a line."""
    try:
        parser.construct_object(node)
    except yaml.YAMLError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        kind = node.tag.rpartition(":")[2]
        raise YamlProblem(f"{shown(node.value)} is not a value of type {kind!r}", line) from None
