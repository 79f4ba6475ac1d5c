"""Turn an answer of a chat model into items of the catalogue: read it, repair it, match its titles, count.

The steps are those of the studies of ChatGPT as a recommender (Liu et al. 2023, "Is ChatGPT a Good Recommender? A
Preliminary Study", arXiv 2304.10149, output refinement): answers in another form than the requested one are
repaired, and titles outside the catalogue are dropped.
"""

import json
import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import islice

from recbole_genrec.files.text import unescape

#: closest catalogue titles considered for an unknown title; opening brackets at which JSON is tried.
LOOKED_AT = 8
#: a shorter part of a title, in characters, stands in too many titles.
SHORTEST_PART = 4
#: similarity, from 0 to 100, at which it is worth asking whether a title is meant.
NEAR = 80.0

_FENCE = re.compile(r"```[\w-]*")
#: a string, possibly cut off: without the second ending, matching would be quadratic in the text
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)("|\\?\Z)', re.DOTALL)
_BULLET = re.compile(r"^[^\S\n]*(?:\d+[^\S\n]*[.):]|[-*\u2022])\s+(\S.*)", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_BRACKETS = re.compile(r"[(\[][^()\[\]]*[)\]]")
_WORD = re.compile(r"\w+")
_ARTICLES = frozenset(("the", "a", "an"))
_ROMAN = re.compile(r"[ivx]+")


@dataclass
class GroundingReport:
    """Counts. Every title is one of ``exact``, ``fuzzy``, ``repeated``, ``out_of_candidates`` and ``invented``."""

    answers: int = 0
    #: answers without a title: the model declined, a filter cut it off, or it wrote about something else.
    refused: int = 0
    #: answers with titles that were not the requested JSON.
    repaired: int = 0
    titles: int = 0
    exact: int = 0
    fuzzy: int = 0
    #: titles of an item that is in the list already.
    repeated: int = 0
    #: titles in the catalogue, but not among the candidates.
    out_of_candidates: int = 0
    #: titles that match nothing in the catalogue.
    invented: int = 0

    def report(self):
        """The counts, ready for JSON."""
        return asdict(self)


def read_json(text):
    """The JSON in an answer, and whether the answer was nothing else; ``(None, False)`` where there is none."""
    stripped = _FENCE.sub("", text).strip()
    try:
        return json.loads(stripped), True
    except (ValueError, RecursionError):
        pass
    decoder = json.JSONDecoder()
    starts = (place for place, character in enumerate(stripped) if character in "{[")
    for start in islice(starts, LOOKED_AT):
        try:
            return decoder.raw_decode(stripped, start)[0], False
        except (ValueError, RecursionError):
            continue
    return None, False


def read_titles(text):
    """Titles in an answer, in order.

    Args:
        text: an answer that should be JSON with one list of titles.

    Returns:
        Titles, and their form: ``json``; ``repaired``, from damaged JSON or a list with bullets or numbers; or
        ``lines``, any of which may be a title or not.
    """
    value, clean = read_json(text)
    try:
        titles = _titles_of(value)
    except RecursionError:  # lists nested almost as deeply as the JSON reader allows
        titles = None
    if titles is not None:
        return titles, "json" if clean else "repaired"
    begin = text.find("[")
    strings = _STRING.findall(text[begin:]) if begin >= 0 else []
    titles = [_unescape(string) for string, end in strings if end == '"']
    if not titles:
        titles = [title.strip("*_\"' ") for title in _BULLET.findall(text)]
    titles = [title for title in titles if title.strip()]
    if titles:
        return titles, "repaired"
    # an object nested too deeply for the JSON reader is no title; the limit depends on the version of Python
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith('{"')], "lines"


def _titles_of(value):
    """The list of titles in a JSON value, or ``None``."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, (list, dict))]
        return next((titles for titles in map(_titles_of, lists) if titles is not None), [] if lists else None)
    if not isinstance(value, list):
        return None
    texts = [_text_of(item) for item in value]
    return [text.strip() for text in texts if text and text.strip()]


def _text_of(item):
    if isinstance(item, dict):
        named = [item[name] for name in ("title", "name", "item") if isinstance(item.get(name), str)]
        return next(iter(named or [value for value in item.values() if isinstance(value, str)]), None)
    return item if isinstance(item, str) else None


def _unescape(string):
    try:
        return json.loads(f'"{string}"')
    except ValueError:
        return string


def read_number(text, key, lowest, highest):
    """A number in an answer, clipped to its bounds, or ``None`` if there is none.

    Args:
        text: an answer that should be JSON, ``{key: number}``; else the first number in it counts.
        key: its name.
        lowest, highest: bounds.
    """
    value, _ = read_json(text)
    value = value.get(key) if isinstance(value, dict) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        match = _NUMBER.search(value if isinstance(value, str) else text)
        value = float(match[0].replace(",", ".")) if match else None
    if value is None or value != value:
        return None
    return float(min(max(value, lowest), highest))  # in this order: a whole number may be too large for a float


def read_text(text, key):
    """A text in an answer that should be JSON, ``{key: text}``; else the answer itself."""
    value, _ = read_json(text)
    value = value.get(key) if isinstance(value, dict) else None
    return " ".join((value if isinstance(value, str) else _FENCE.sub("", text)).split())


class Grounder:
    """Finds the items that titles refer to.

    A title is exact if it equals an item's up to case, punctuation and spaces. It is fuzzy if ``rapidfuzz`` finds it
    close enough, ignoring bracketed parts, articles and the order of words. Numbers must be equal:
    "Heat 2" is not "Heat", nor "Rocky II" "Rocky III".

    Args:
        texts: unique texts of the items 1 to I.
        threshold: lowest similarity of a fuzzy match, from 0 to 100.
    """

    def __init__(self, texts, threshold):
        self.threshold, self._texts = threshold, list(texts)
        self._literal = {text: item for item, text in reversed(list(enumerate(texts, 1)))}
        self._folded = {_folded(text): item for item, text in reversed(list(enumerate(texts, 1)))}
        self._bare = [_bare(text) for text in texts]
        self._marks = [_marks(text) for text in texts]
        self.report = GroundingReport()
        self._similar = lru_cache(maxsize=65536)(self._find_similar)
        self._matching = lru_cache(maxsize=4096)(self._find_matching)

    def find(self, title, candidates=None):
        """The item of a title and how it was found, ``exact`` or ``fuzzy``; ``(None, "invented")``.

        Args:
            title: a text.
            candidates: a set of item ids, preferred among equally fuzzy matches; ``None``: the whole catalogue.
        """
        item = self._find_exact(title)
        if item:
            return item, "exact"
        similar = self._similar(title)
        if not similar:
            return None, "invented"
        preferred = [item for item in similar if candidates is not None and item in candidates]
        return (preferred or similar)[0], "fuzzy"

    def _find_exact(self, title):
        return self._literal.get(title) or self._folded.get(_folded(title))

    def _find_similar(self, title, threshold=None):
        """Items that a title may refer to, the likeliest first."""
        from rapidfuzz import fuzz, process

        bare, marks = _bare(title), _marks(title)
        if not bare:
            return ()
        cutoff = self.threshold if threshold is None else threshold
        closest = process.extract(bare, self._bare, scorer=fuzz.ratio, score_cutoff=cutoff, limit=LOOKED_AT)
        return tuple(position + 1 for _, _, position in closest if _same_numbers(marks, self._marks[position]))

    def matches(self, title):
        """All items that a title may refer to, and how they were found.

        Returns:
            Items and ``exact``: the title in full, or with the same words outside of brackets; ``fuzzy``: similar ones
            with the same words; ``near``: up to :data:`LOOKED_AT` that hold these words in a row, or are somewhat
            similar, which should be asked about; else ``((), "invented")``.
        """
        return self._matching(title)

    def _find_matching(self, title):
        item = self._find_exact(title)
        if item and _BRACKETS.search(self._texts[item - 1]):  # with its year or number: it means no other
            return (item,), "exact"
        bare, marks = _bare(title), _marks(title)
        same = [item for item in self._by_bare.get(bare, ()) if _same_numbers(marks, self._marks[item - 1])]
        if same or item:
            return tuple(sorted(same, key=lambda each: self._texts[each - 1])) or (item,), "exact"
        similar = self._similar(title)
        if similar:
            alike = self._bare[similar[0] - 1]
            return tuple(item for item in similar if self._bare[item - 1] == alike), "fuzzy"
        words = _folded(title)
        if len(words) < SHORTEST_PART:
            return (), "invented"
        parts = tuple(item for item, line in enumerate(self._lines, 1) if f" {words} " in line)
        near = (parts if len(parts) <= LOOKED_AT else ()) or self._find_similar(title, min(NEAR, self.threshold))
        return (near, "near") if near else ((), "invented")

    @cached_property
    def _by_bare(self):
        """Items by their words outside of brackets."""
        items = {}
        for item, bare in enumerate(self._bare, 1):
            items.setdefault(bare, []).append(item)
        return items

    @cached_property
    def _lines(self):
        """Folded texts between spaces."""
        return [f" {_folded(text)} " for text in self._texts]

    def ground(self, text, limit, candidates=None):
        """The items of an answer, without repetition, at most ``limit``; updates the counts of :attr:`report`.

        Args:
            text: the answer.
            limit: number of items asked for; further titles are ignored.
            candidates: item ids to choose from; ``None``: the whole catalogue.

        Returns:
            A list of item ids, the best first.
        """
        report = self.report
        report.answers += 1
        titles, form = read_titles(text)
        if form == "lines":  # a line may be prose: only titles of the catalogue count
            titles = [title for title in titles if self._find_exact(title)]
        if not titles:
            report.refused += 1
            return []
        report.repaired += form != "json"
        allowed, items = None if candidates is None else set(candidates), []
        for title in titles:
            if len(items) == limit:
                break
            item, kind = self.find(title, allowed)
            if item in items:
                kind = "repeated"
            elif item and allowed is not None and item not in allowed:
                kind = "out_of_candidates"
            elif item:
                items.append(item)
            report.titles += 1
            setattr(report, kind, getattr(report, kind) + 1)
        return items


def _folded(text):
    text = unicodedata.normalize("NFKC", unescape(text)).casefold().replace("&", " and ")
    return " ".join(_WORD.findall(text)) or text.strip()


def _bare(text):
    """Sorted words without bracketed parts and articles, so that "Sting, The" equals "The Sting"."""
    words = _folded(_BRACKETS.sub(" ", text)).split()
    return " ".join(sorted(word for word in words if word not in _ARTICLES) or words)


def _marks(text):
    """Numbers outside of brackets, Roman ones too, and numbers inside."""
    outside = _folded(_BRACKETS.sub(" ", text)).split()
    inside = [word for part in _BRACKETS.findall(text) for word in _folded(part).split()]
    return (
        Counter(word for word in outside if any(map(str.isdigit, word)) or _ROMAN.fullmatch(word)),
        {word for word in inside if any(map(str.isdigit, word))},
    )


def _same_numbers(marks, others):
    """Whether two titles have the same numbers; those in brackets count only if both titles have some."""
    return marks[0] == others[0] and (not marks[1] or not others[1] or bool(marks[1] & others[1]))
