"""The items of a dataset as a generative recommender knows them."""

from dataclasses import dataclass, field

from recbole_genrec.catalogue.index import ItemIndex
from recbole_genrec.catalogue.item_text import ItemColumn


@dataclass
class Catalogue:
    """All items in RecBole's order, without its padding item: item id i stands at place i - 1."""

    #: raw item tokens of the atomic files.
    item_tokens: list
    #: the items' texts, ``None`` where there is none.
    item_texts: list
    #: unique tuples of token ids.
    identifiers: list
    #: how the identifiers are made of texts and codes.
    index: ItemIndex
    #: the other columns of the ``.item`` file by name; ``None`` out of a checkpoint of a version that kept none.
    columns: dict[str, ItemColumn] | None = field(default_factory=dict)

    @property
    def texts(self):
        """Identifiers for people to read; with title indexing, the items' texts."""
        return self.index.texts
