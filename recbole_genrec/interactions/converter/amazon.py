"""Amazon reviews of 2014, 2018 and 2023: one JSON object a line, reviews and metadata, gzipped.

The metadata of 2014 are Python literals instead of JSON; they are read as literals, nothing is evaluated.
"""

import ast
import json
import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_genrec.errors import shown
from recbole_genrec.interactions.converter.cells import cell, is_token
from recbole_genrec.interactions.converter.raw_dump import Download, Metadata, RawDump, Rows

REVIEW_COLUMNS = (
    "user_id:token",
    "item_id:token",
    "rating:float",
    "timestamp:float",
    "summary:token_seq",
    "review_text:token_seq",
)
ITEM_COLUMNS = ("item_id:token", "title:token_seq", "brand:token", "categories:token_seq", "price:float")

#: between the categories of an item: they have spaces and commas in them.
CATEGORY_SEPARATOR = " | "

_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?)")


@dataclass(frozen=True)
class Edition:
    """The names of one year's files and keys. ``{}`` stands for a category."""

    categories: tuple[str, ...]
    #: files of reviews and of metadata, the likeliest first; the first ones are fetched.
    reviews: tuple[str, ...]
    metadata: tuple[str, ...]
    review_folder: str
    metadata_folder: str
    user: str = "reviewerID"
    item: str = "asin"
    rating: str = "overall"
    time: str = "unixReviewTime"
    summary: str = "summary"
    review_text: str = "reviewText"
    brand: str = "brand"
    item_categories: str = "categories"
    main_category: str = "main_cat"


@dataclass(frozen=True)
class Amazon(RawDump):
    """The reviews of one category in one year's edition."""

    name: str
    edition: Edition
    category: str

    extracted = ""
    #: metadata describe the whole shop; an item that nobody reviewed in this dump is no part of the data set.
    whole_catalogue = False
    columns = {"inter": REVIEW_COLUMNS, "item": ITEM_COLUMNS}

    @property
    def patterns(self):
        """File names of this category's reviews and metadata; see :class:`RawDump`."""
        files = {"inter": self.edition.reviews, "item": self.edition.metadata}
        return {suffix: tuple(name.format(self.category) for name in names) for suffix, names in files.items()}

    @property
    def downloads(self):
        """Where this category's reviews and metadata are published; see :class:`RawDump`."""
        folders = {"inter": self.edition.review_folder, "item": self.edition.metadata_folder}
        return {suffix: Download(folder + self.patterns[suffix][0]) for suffix, folder in folders.items()}

    def interactions(self, file, malformed, progress=None):
        """See :meth:`RawDump.interactions`."""
        for block in file.blocks(progress):
            lines, users, items = [], [], []
            for cells in _parse_lines(block, self._review, file, malformed):
                lines.append("\t".join(cells))
                users.append(cells[0])
                items.append(cells[1])
            if lines:
                # errors: half of a surrogate pair is valid in JSON, but no character
                yield Rows(("\n".join(lines) + "\n").encode(errors="replace"), _keys(users), _keys(items))

    def metadata(self, suffix, file, malformed, progress=None):
        """See :meth:`RawDump.metadata`."""
        for block in file.blocks(progress):
            rows = list(_parse_lines(block, self._item, file, malformed))
            yield Metadata(["\t".join(cells) for cells in rows], _keys([cells[0] for cells in rows]))

    def _review(self, record):
        edition = self.edition
        return [
            _token(record, edition.user),
            _token(record, edition.item),
            repr(_number(record, edition.rating)),
            str(_whole_number(record, edition.time)),
            cell(_text(record.get(edition.summary))),
            cell(_text(record.get(edition.review_text))),
        ]

    def _item(self, record):
        edition = self.edition
        categories = record.get(edition.item_categories) or []
        if isinstance(categories, list) and categories and isinstance(categories[0], list):
            categories = categories[0]  # 2014 gives several paths down the tree of categories
        if not isinstance(categories, list) or not categories:
            categories = [record.get(edition.main_category)]
        return [
            _token(record, edition.item),
            cell(_text(record.get("title"))),
            cell(_text(record.get(edition.brand))),
            cell(CATEGORY_SEPARATOR.join(filter(None, map(_text, categories)))),
            _price(record.get("price")),
        ]


def _parse_lines(block, convert, file, malformed):
    """Yield what ``convert`` makes of each line's object; lines without one, or with a wrong value, are malformed."""
    for number, line in enumerate(block.text.split(b"\n"), start=block.first_line):
        if not line.strip():
            continue
        try:
            yield convert(_parse(line))
        except ValueError as error:
            malformed.add(file, number, error)


def _parse(line):
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        record = _python_literal(line)
    if isinstance(record, list):
        raise ValueError("a list, as if the file were one JSON array: every line must be an object of its own")
    if not isinstance(record, dict):
        raise ValueError("not an object with keys and values")
    return record


def _python_literal(line):
    try:
        with warnings.catch_warnings():  # of backslashes that Python would want doubled
            warnings.simplefilter("ignore")
            return ast.literal_eval(line.decode())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("neither JSON nor a Python literal") from error


def _token(record, key):
    value = record.get(key)
    if not is_token(value):
        raise ValueError(f"{key!r} is {shown(value, 40)}, not an id")
    return value


def _number(record, key):
    value = record.get(key)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key!r} is {shown(value, 40)}, not a number")
    return number


def _whole_number(record, key):
    value, number = record.get(key), _number(record, key)
    if not number.is_integer():
        raise ValueError(f"{key!r} is {shown(value, 40)}, not a whole number")
    return value if isinstance(value, int) else int(number)


def _text(value):
    """The text of a value; anything but a text or a number has none."""
    return value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else ""


def _price(value):
    """The digits of a price; a range, such as ``$5.00 - $9.00``, or a scrap of the shop's page gives an empty cell."""
    match = _PRICE.fullmatch(_text(value).strip())
    return match[1].replace(",", "") if match else ""


def _keys(identifiers):
    """Keys of ids: 64-bit hashes, the same in every run.

    Two of n ids share a key with a chance of n^2 / 2^65: 1 in 70,000 for the 23 million users of the largest category.
    """
    return pd.util.hash_array(np.array(identifiers, object), categorize=False)


EDITIONS = {
    "amazon14": Edition(
        categories=tuple(
            "Amazon_Instant_Video Apps_for_Android Automotive Baby Beauty Books CDs_and_Vinyl "
            "Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics Grocery_and_Gourmet_Food "
            "Health_and_Personal_Care Home_and_Kitchen Kindle_Store Movies_and_TV Musical_Instruments Office_Products "
            "Patio_Lawn_and_Garden Pet_Supplies Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games "
            "Video_Games".split()
        ),
        reviews=("reviews_{}_5.json.gz", "reviews_{}_5.json", "reviews_{}.json.gz", "reviews_{}.json"),
        metadata=("meta_{}.json.gz", "meta_{}.json"),
        review_folder="https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/",
        metadata_folder="https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/",
    ),
    "amazon18": Edition(
        categories=tuple(
            "AMAZON_FASHION All_Beauty Appliances Arts_Crafts_and_Sewing Automotive Books CDs_and_Vinyl "
            "Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards "
            "Grocery_and_Gourmet_Food Home_and_Kitchen Industrial_and_Scientific Kindle_Store Luxury_Beauty "
            "Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden "
            "Pet_Supplies Prime_Pantry Software Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games "
            "Video_Games".split()
        ),
        reviews=("{}_5.json.gz", "{}_5.json", "{}.json.gz", "{}.json"),
        metadata=("meta_{}.json.gz", "meta_{}.json"),
        review_folder="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/",
        metadata_folder="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/metaFiles2/",
        item_categories="category",
    ),
    "amazon23": Edition(
        categories=tuple(
            "All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive Baby_Products "
            "Beauty_and_Personal_Care Books CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry "
            "Digital_Music Electronics Gift_Cards Grocery_and_Gourmet_Food Handmade_Products Health_and_Household "
            "Health_and_Personal_Care Home_and_Kitchen Industrial_and_Scientific Kindle_Store Magazine_Subscriptions "
            "Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies Software "
            "Sports_and_Outdoors Subscription_Boxes Tools_and_Home_Improvement Toys_and_Games Unknown "
            "Video_Games".split()
        ),
        reviews=("{}.jsonl.gz", "{}.jsonl"),
        metadata=("meta_{}.jsonl.gz", "meta_{}.jsonl"),
        review_folder="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/",
        metadata_folder="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/",
        user="user_id",
        item="parent_asin",
        rating="rating",
        time="timestamp",
        summary="title",
        review_text="text",
        brand="store",
        main_category="main_category",
    ),
}

AMAZON = {
    f"{year}-{category.lower()}": Amazon(f"{year}-{category.lower()}", edition, category)
    for year, edition in EDITIONS.items()
    for category in edition.categories
}


def find_amazon(name):
    """The dump called ``name``, in full or cut after a word: ``amazon14-toys`` is ``amazon14-toys_and_games``.

    Returns:
        The dump, which keeps the name it was asked for; ``None`` where no category or more than one has this name.
    """
    full = [name] if name in AMAZON else [known for known in AMAZON if known.startswith(f"{name}_")]
    return Amazon(name, AMAZON[full[0]].edition, AMAZON[full[0]].category) if len(full) == 1 else None
