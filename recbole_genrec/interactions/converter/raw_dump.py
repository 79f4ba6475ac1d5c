"""What a kind of raw dump knows of itself: its files, where they are published, and how its rows become cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recbole_genrec.interactions.converter.malformed import MalformedRows
from recbole_genrec.interactions.converter.raw_file import RawFile


class Rows(NamedTuple):
    """Some rows of ``.inter``."""

    #: the lines, each with its line feed.
    text: bytes
    #: ``[N]`` 64-bit keys of their users.
    users: np.ndarray
    #: ``[N]`` 64-bit keys of their items.
    items: np.ndarray


class Metadata(NamedTuple):
    """Some rows of ``.item`` or ``.user``."""

    #: N lines without their line feeds.
    lines: list[str]
    #: ``[N]`` keys of the items or users that they describe.
    keys: np.ndarray


@dataclass(frozen=True)
class Download:
    """A file to fetch."""

    address: str
    #: about how large it is, for people; empty where we do not know.
    size: str = ""
    #: its MD5 sum where we hold it; else the one published beside it counts, if there is one.
    md5: str = ""

    @property
    def file_name(self):
        """The last part of the address."""
        return self.address.rpartition("/")[2]


class RawDump:
    """A raw dump that can be converted. Subclasses are frozen dataclasses with these attributes."""

    #: name of the dataset.
    name: str
    #: atomic suffix -> what to fetch for it.
    downloads: dict[str, Download]
    #: atomic suffix -> file names in which its rows may lie, the likeliest first; ``*`` stands for any text.
    patterns: dict[str, tuple[str, ...]]
    #: atomic suffix -> columns, written ``name:type``.
    columns: dict[str, tuple[str, ...]]
    #: folder to which the archive extracts; empty for a dump without one.
    extracted: str
    #: whether ``.item`` describes items without interactions too.
    whole_catalogue: bool

    def interactions(self, file: RawFile, malformed: MalformedRows, progress=None) -> Iterator[Rows]:
        """Turn the raw interactions into rows, in the order of the file."""
        raise NotImplementedError

    def metadata(self, suffix, file: RawFile, malformed: MalformedRows, progress=None) -> Iterator[Metadata]:
        """Turn the raw metadata of items (``suffix`` ``item``) or users (``user``) into rows."""
        raise NotImplementedError
