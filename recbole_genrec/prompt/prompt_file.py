"""How files of prompts are found, read and checked, whatever kind of prompt they hold."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import NamedTuple

from recbole_genrec.errors import GenRecError, unknown_name
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.files.strict_yaml import read_yaml_file


class PromptKind(NamedTuple):
    """A kind of file of prompts."""

    #: the folder of ``properties`` with the shipped files.
    folder: str
    #: what errors call one that is named.
    name: str
    #: what errors call its file.
    file: str
    #: what the file must hold.
    content: str = "'key: value' lines"

    def shipped(self):
        """Names of the shipped files, sorted."""
        return sorted(path.stem for path in (properties_folder() / self.folder).glob("*.yaml"))

    def read(self, name_or_path):
        """Read a file by the name of a shipped one or by the path of a YAML file.

        Returns:
            Its path, and its content, a dictionary.

        Raises:
            GenRecError: no such file, or it holds something else; the message names it.
        """
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            if name_or_path not in self.shipped():
                raise unknown_name(self.name, name_or_path, self.shipped())
            path = properties_folder() / self.folder / f"{name_or_path}.yaml"
        elif not path.is_file():
            raise GenRecError(f"The {self.file} {path} does not exist. Shipped: {', '.join(self.shipped())}.")
        content = read_yaml_file(path, f"{self.file} ")
        if not isinstance(content, dict):
            raise GenRecError(f"The {self.file} {path} must hold {self.content}.")
        return path, content

    def read_named(self, name_or_path):
        """As :meth:`read`, of a file of named fields: its content with ``name``, that of the file, and its path.

        Raises:
            GenRecError: see :meth:`read`; also where the file has the key ``name``.
        """
        path, content = self.read(name_or_path)
        if "name" in content:
            raise GenRecError(f"The {self.file} {path} has the key 'name': its name is that of the file.")
        return {"name": path.stem, **content}, f"the {self.file} {path}"

    def check_version(self, content, where):
        """Refuse content that is no dictionary with a whole number as ``version``; ``where`` names it.

        Raises:
            GenRecError: so.
        """
        if not isinstance(content, dict) or type(content.get("version")) is not int:
            raise GenRecError(f"{where} must hold {self.content}.")


def check_keys(content, known, where, kind="key", required=()):
    """Refuse keys that are not known, and content without a required one.

    Args:
        content: a dictionary.
        known: the accepted keys.
        where: names the content in errors.
        kind: what errors call a key.
        required: keys that must be there.

    Raises:
        GenRecError: so.
    """
    for key in content:
        if key not in known:
            raise unknown_name(f"{kind} in {where}:", key, known)
    for key in required:
        if key not in content:
            raise GenRecError(f"{where[:1].upper()}{where[1:]} lacks the key {key!r}.")


def of_fields(prompt_class, content, where):
    """The dataclass of named fields, as :func:`dataclasses.asdict` gives them.

    Args:
        prompt_class: a dataclass that checks its values itself.
        content: a dictionary.
        where: names it in errors.

    Raises:
        GenRecError: a key is unknown or missing, or its value is not accepted.
    """
    own = fields(prompt_class)
    required = [field.name for field in own if field.default is MISSING and field.default_factory is MISSING]
    check_keys(content, [field.name for field in own], where, required=required)
    return prompt_class(**content)
