"""Reads a turn by rules: English cues, titles of the catalogue, and attributes.

A turn is one clause, or clauses with commas, "but" or "and" between them, each of which must mean something. Clauses
are tried whole before they are cut, so that "Nothing But Trouble" stays a title.
"""

import re

from recbole_genrec.catalogue.attributes import fold_words
from recbole_genrec.chat.grounding import Grounder
from recbole_genrec.serve.attribute_rules import FILLERS, NUMBERS, AttributeReader
from recbole_genrec.serve.turns import MOST_ITEMS, Turn, merged

#: whole turns, folded, by what they do.
COMMANDS = {
    "undo": "undo|take that back|go back|back|revert|undo that|undo it",
    "start_over": "start over|start again|restart|reset|begin again|from the start|clear|forget everything|"
    "new conversation",
    "why": "why|why that|why those|why these|why this|what did you understand|what do you know|state|status|explain",
    "more": "something else|anything else|others|other|more|next|other one|show more|show me more|none of these|"
    "none of those|none of them|not these|not those|not them|different one|something different|seen them all|"
    "seen them|seen all of them|i have seen them all|ive seen them all|i know them all|show me something else|"
    "what else|another|another one|give me something else",
}
_COMMANDS = {" ".join(fold_words(text)): name for name, texts in COMMANDS.items() for text in texts.split("|")}
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
_PLACES = {word: place for place, word in enumerate(_ORDINALS, 1)} | NUMBERS
#: words beside the places of a list.
_BESIDE = frozenset("the number no and or nor film movie item title entry choice place one".split())
_I = r"(?:(?:i|we)(?:'ve| have| had)?|already|have)"
_ADVERBS = r"(?:\s+(?:really|just|also|recently|quite|absolutely|once))*"
_LIKED = re.compile(
    rf"^(?:and\s+)?(?:{_I}{_ADVERBS}\s+(?:lik(?:e|ed)|lov(?:e|ed)|enjoy(?:ed)?|am (?:a )?fan of)|"
    r"(?:my|our) favou?rites?(?: \w+)? (?:is|are|was|were)|"
    r"(?:(?:show|give|find|recommend)(?: me)?\s+)?(?:something|anything|more|films|movies|books|games|ones)?\s*"
    r"(?:like|similar to)|in the (?:style|vein) of|i'm (?:a )?fan of|(?:a )?fan of|liked|loved|enjoyed)\s+(.+)$",
    re.IGNORECASE,
)
#: "five comedies like Alien".
_ALIKE = re.compile(r"^(.+?)\s+(?:like|similar to|in the style of|in the vein of)\s+(.+)$", re.IGNORECASE)
_EXCLUDED = re.compile(
    rf"^(?:and\s+)?(?:(?:but\s+)?(?:not|no|without|except(?: for)?|skip|drop|remove|hide|exclude|leave out|"
    rf"nothing like|forget(?: about)?|ignore)|"
    rf"{_I}{_ADVERBS}\s+(?:already\s+)?(?:seen|saw|know|knew|own|had|read|played|watched|finished)|"
    r"(?:already\s+)?(?:seen|watched)|(?:i\s+)?already (?:saw|watched|know|own|have)|"
    r"(?:i\s+)?(?:did not|didn't|do not|don't|dont|didnt)\s+(?:really\s+)?(?:like|love|enjoy|want|care for)|"
    r"(?:i\s+)?(?:hate|hated|dislike|disliked)|(?:i'm\s+)?(?:tired of|not a fan of|not interested in))\s+(.+)$",
    re.IGNORECASE,
)
#: between clauses, the strongest first.
_BETWEEN = (r";", r"\s*[.!?]\s+", r",?\s+but\s+", r",\s*(?:and\s+|or\s+)?", r"\s+and\s+")
#: between titles.
_BETWEEN_TITLES = re.compile(r"(\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&)\s+)", re.IGNORECASE)
#: stands around the number of a quoted title while a turn is read; a character for private use.
_MARK = "\ue000"
_QUOTED = re.compile(r"[\"\u201c\u201d]([^\"\u201c\u201d]+)[\"\u201c\u201d]")
#: longest text of a turn, in characters, and most pieces of a list of titles.
LONGEST_TURN, MOST_PIECES = 2000, 24


class TurnRules:
    """Reads turns against a catalogue.

    Args:
        grounder: :class:`~recbole_genrec.chat.grounding.Grounder` of the titles.
        attributes: :class:`~recbole_genrec.catalogue.attributes.Attributes`.
        reads_text: whether the model reads free text, so that a liked title may be none of the catalogue.
    """

    def __init__(self, grounder: Grounder, attributes, reads_text: bool) -> None:
        self.grounder, self.reads_text = grounder, reads_text
        self.attributes = AttributeReader(attributes)

    def read(self, text: str, n_shown: int) -> Turn | None:
        """What a turn asks for.

        Args:
            text: one line.
            n_shown: number of items that were shown last.

        Returns:
            :class:`~recbole_genrec.serve.turns.Turn`; ``None`` where the turn is not understood.
        """
        text = " ".join(text.replace(_MARK, " ").split()).strip(" .!?") if len(text) <= LONGEST_TURN else ""
        quoted: list[str] = []

        def put_aside(match: re.Match) -> str:
            quoted.append(match[1].strip())
            return f" {_MARK}{len(quoted) - 1}{_MARK} "

        text = " ".join(_QUOTED.sub(put_aside, text).split())
        command = None if quoted else _COMMANDS.get(" ".join(fold_words(text)))
        if command:
            return Turn(action=command)
        if not text or not all(quoted):
            return None
        for free in (False, True) if self.reads_text else (False,):
            turn = self._parts(text, _BETWEEN, n_shown, free)
            if turn is not None:
                named = {
                    role: tuple(_put_back(t, quoted) for t in getattr(turn, role)) for role in ("liked", "excluded")
                }
                return turn.model_copy(update=named)
        return None

    def _parts(self, text, between, n_shown, free):
        """A text as one clause, or cut into several at the strongest cut that leaves only clauses."""
        turn = self._clause(text, n_shown)
        if turn is not None:
            return turn
        for place, pattern in enumerate(between):
            parts = [part for part in re.split(pattern, text, flags=re.IGNORECASE) if part.strip()]
            if 1 < len(parts) <= MOST_PIECES:
                turns = [self._parts(part.strip(), between[place + 1 :], n_shown, free) for part in parts]
                if None not in turns:
                    return merged(turns)
        return self._free_text(text) if free else None

    def _clause(self, text, n_shown):
        if (match := _EXCLUDED.match(text)) is not None:
            return self._exclusion(match[1], n_shown) or self._of_attributes(text)
        if (match := _LIKED.match(text)) is not None:
            return self._liking(match[1], n_shown) or self._of_attributes(text)
        if self._finds(text, "exact") and not self._is_attribute(text):
            return Turn(liked=(text,))
        turn = self._of_attributes(text)
        if turn is None and (titles := self._titles(text)):
            turn = Turn(liked=tuple(titles))
        if turn is None and (match := _ALIKE.match(text)) is not None:
            turns = [self._of_attributes(match[1]), self._liking(match[2], n_shown)]
            turn = None if None in turns else merged(turns)
        return turn

    def _of_attributes(self, text):
        if _MARK in text or place_of(text.casefold()):  # a number alone may be a place or a length
            return None
        return self.attributes.read(text)

    def _is_attribute(self, text):
        words = fold_words(text)
        return bool(words) and self.attributes.attributes.find(words)[0] == len(words)

    def _exclusion(self, rest, n_shown):
        if not self._finds(rest, "exact"):
            places = _places(rest, n_shown)
            if places is not None:
                return Turn(excluded_places=places)
            turn = self._of_attributes(f"no {rest}")
            if turn is not None:
                return turn
        titles = self._titles(rest)
        return Turn(excluded=tuple(titles)) if titles else None

    def _liking(self, rest, n_shown):
        if not self._finds(rest, "exact"):
            places = _places(rest, n_shown)
            if places is not None:
                return Turn(liked_places=places)
            if self._is_attribute(rest):
                return self._of_attributes(rest)
        titles = self._titles(rest)
        if titles:
            return Turn(liked=tuple(titles))
        return self._of_attributes(rest)

    def _finds(self, text, *kinds):
        if _MARK in text:  # one quoted title is one, whatever it is
            return re.fullmatch(f"{_MARK}[0-9]+{_MARK}", text) is not None
        return self.grounder.matches(text)[1] in (kinds or ("exact", "fuzzy", "near"))

    def _titles(self, text):
        """A text as titles of the catalogue with commas or words between them; ``None`` where a part is none.

        The fewest titles that cover the text, exact ones before others: "Beauty and the Beast" is one.
        """
        pieces = _BETWEEN_TITLES.split(text)
        count = (len(pieces) + 1) // 2
        if count > MOST_PIECES:
            return None
        for kinds in (("exact",), ("exact", "fuzzy"), ("exact", "fuzzy", "near")):
            best: list = [[]] + [None] * count  # of the first so many pieces
            for stop in range(1, count + 1):
                for start in range(stop):
                    title = "".join(pieces[2 * start : 2 * stop - 1]).strip()
                    shorter = best[stop] is None or best[start] is not None and len(best[start]) + 1 < len(best[stop])
                    if best[start] is not None and shorter and title and self._finds(title, *kinds):
                        best[stop] = [*best[start], title]
            if best[count]:
                return best[count]
        return None

    def _free_text(self, text):
        """A liked title that the catalogue does not have; ``None`` where the text says nothing of liking."""
        match = _LIKED.match(text)
        if match is None:
            return None
        titles = [piece.strip() for piece in _BETWEEN_TITLES.split(match[1])[::2]]
        own = [set(fold_words(title)) - FILLERS for title in titles]
        if all(own) and not any(_EXCLUDED.match(title) or place_of(title.casefold()) for title in titles):
            return Turn(liked=tuple(titles))
        return None


def _put_back(title, quoted):
    """A title with the quoted one that its mark stands for."""
    return re.sub(f"{_MARK}([0-9]+){_MARK}", lambda match: quoted[int(match[1])], title)


def place_of(word):
    """The place that a word names: "second", "2", "2nd", "#2"; ``None``: none."""
    if word in _PLACES:
        return _PLACES[word]
    match = re.fullmatch(r"#?(\d{1,3})(?:st|nd|rd|th)?", word)
    return int(match[1]) if match and 1 <= int(match[1]) <= MOST_ITEMS else None


def _places(text, n_shown):
    """The places of a list that a text names, all of it; ``None`` where it names something else.

    "it" and "that one" are place 0: whichever it is.
    """
    text = " ".join(re.sub(r"[,.]", " ", text.casefold()).split())
    if text in ("it", "that", "this", "that one", "this one", "the one", "that film", "that movie", "this movie"):
        return (0,)
    if text in ("them all", "all", "all of them", "these", "those", "them"):
        return tuple(range(1, n_shown + 1)) or None
    match = re.fullmatch(r"the (first|last) (\w+)(?: ones)?", text)
    count = _PLACES.get(match[2]) or (int(match[2]) if match[2].isdecimal() else 0) if match else 0
    if match and match[2] not in _ORDINALS and 0 < count <= n_shown and match[2] != "one":
        return tuple(range(1, count + 1) if match[1] == "first" else range(n_shown - count + 1, n_shown + 1))
    places = []
    for word in text.split():
        place = n_shown if word == "last" and n_shown else place_of(word) if word != "one" else None
        if place is not None:
            places.append(place)
        elif word not in _BESIDE and word != "ones":
            return None
    return tuple(dict.fromkeys(places)) or None
