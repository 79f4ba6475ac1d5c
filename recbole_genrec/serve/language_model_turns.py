"""A language model at an OpenAI-compatible server reads the turns of a conversation and phrases its answers.

What it replies is checked. A turn is accepted where it is a :class:`~recbole_genrec.serve.turns.Turn` of columns and
values of the catalogue, and of titles that the text names. In a phrased answer items stand as ``[1]``, their place in
the list; what names anything else is refused.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from rapidfuzz import fuzz

from recbole_genrec.catalogue.attributes import Attributes, fold_words
from recbole_genrec.chat.client import ChatClient
from recbole_genrec.chat.grounding import Grounder, read_json
from recbole_genrec.config.arguments import PromptLLMArguments
from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.serve.turns import Turn, in_catalogue

#: the settings of PromptLLM that a conversation reads.
SETTINGS = (
    "chat_model",
    "base_url",
    "api_key_env",
    "chat_options",
    "json_mode",
    "request_attempts",
    "request_timeout",
    "retry_wait",
    "chat_cache",
)
#: most values of a column that a request names, the most frequent first.
MOST_VALUES = 60
#: lowest similarity, from 0 to 100, of a title to a part of the turn that names it.
SAID = 75
_READ = """\
You turn one sentence of a user of a recommender into JSON, and do not recommend anything yourself.
The JSON is an object of this schema; leave out what the sentence does not say:
{schema}
liked: titles that the user likes. excluded: titles that the user does not want, dislikes or has seen. Write titles as
the user does. Places count from 1 in the list that was shown; 0 is "that one". action: "more" for other items than
those shown, "undo", "start_over", "why" for what was understood; else "update". conditions: values or a range of a
column, "excluded": true for what is not wanted, "together": true where all the values are needed; ends are included.
any_of: columns that need not be as before, "*" for all. topk: how many items. If the sentence says none of this,
answer {{}}.
Columns:
{columns}"""
_ASK = "State: {state}\nList that was shown: {shown}\nSentence of the user: {text}"
_PHRASE = """\
You present a list of recommendations in one or two sentences. Name items only by their place in brackets, such as [1];
never write a title, also no other one. Answer with JSON: {"text": "..."}"""
_PHRASE_ASK = "Sentence of the user: {text}\nUnderstood: {understood}\nList: {shown}"
_PLACE = re.compile(r"\[(\d+)\]")
_QUOTES = re.compile(r"[\"\u201c\u201d\u00ab\u00bb*_]|(?<!\w)['\u2018]")
_YEAR = re.compile(r"\(\d{4}\)")
_SENTENCE = re.compile(r"(?:^|[.!?:]\s+)")


class LanguageModelTurns:
    """Reads turns and phrases answers by a language model.

    Args:
        settings: of PromptLLM, by key, among :data:`SETTINGS`.
        attributes: :class:`~recbole_genrec.catalogue.attributes.Attributes`.
        grounder: :class:`~recbole_genrec.chat.grounding.Grounder` of the titles.
        titles: of the items.

    Raises:
        GenRecError: a setting is unknown or not accepted, ``openai`` is not installed, or there is no API key where one
            is needed.
    """

    def __init__(
        self, settings: Mapping[str, Any], attributes: Attributes, grounder: Grounder, titles: Sequence[str]
    ) -> None:
        for key in settings:
            if key not in SETTINGS:
                raise unknown_name("setting of a language model", key, SETTINGS)
        arguments = PromptLLMArguments.from_config(defaultdict(lambda: None, {"ranking": "chat", **settings}))
        self.client = ChatClient(arguments)
        self.attributes, self.grounder = attributes, grounder
        self._single = {" ".join(words) for title in titles if len(words := fold_words(title)) == 1}
        schema = json.dumps(Turn.model_json_schema(), separators=(",", ":"))
        self._system = _READ.format(schema=schema, columns="\n".join(self._columns()) or "none")

    def _columns(self):
        for name, numbers in self.attributes.numbers.items():
            yield f"{name}: numbers from {numbers[0]:g} to {numbers[-1]:g}"
        for name, values in self.attributes.categories.items():
            more = "" if len(values) <= MOST_VALUES else f", and {len(values) - MOST_VALUES} more"
            yield f"{name}: {', '.join(values[:MOST_VALUES])}{more}"

    def _ask(self, system: str, question: str) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        return self.client.ask([messages])[0].text

    def read(self, text: str, state: str, titles: Sequence[str]) -> tuple[Turn | None, str]:
        """What a turn asks for.

        Args:
            text: the turn. state: in words. titles: those that were shown last.

        Returns:
            The turn and ``""``; or ``None`` and what was wrong with the reply or the server.
        """
        try:
            reply = self._ask(self._system, _ASK.format(state=state, shown=_numbered(titles), text=text))
        except GenRecError as error:
            return None, str(error)
        value, _ = read_json(reply)
        try:
            turn = Turn.model_validate_json(json.dumps(value), strict=True)
            turn = in_catalogue(turn, self.attributes)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            return None, f"The language model's reply is not valid ({where}: {first['msg']})."
        except ValueError as error:
            return None, f"The language model's reply is not valid ({error})."
        unsaid = [title for title in (*turn.liked, *turn.excluded) if not _is_said(title, text)]
        if unsaid:
            return None, f"The language model's reply is not valid (the turn does not name {shown(unsaid[0])})."
        if turn == Turn():
            return None, "The language model's reply is not valid (it says nothing)."
        return turn, ""

    def phrase(self, text: str, understood: str, titles: Sequence[str]) -> tuple[str, str]:
        """A list in a sentence or two.

        Args:
            text: the turn. understood: what was understood of it. titles: of the list.

        Returns:
            The text, in which titles are those of the list, and ``""``; or ``""`` and what was wrong.
        """
        question = _PHRASE_ASK.format(text=text, understood=understood, shown=_numbered(titles))
        try:
            reply = self._ask(_PHRASE, question)
        except GenRecError as error:
            return "", str(error)
        value, _ = read_json(reply)
        phrased = value.get("text") if isinstance(value, dict) else None
        if not isinstance(phrased, str) or not phrased.strip():
            return "", "The language model's sentence is left out: it is not the JSON that was asked for."
        phrased = " ".join(phrased.split())
        problem = self._invention(phrased, f"{text} {understood}", len(titles))
        if problem:
            return "", f"The language model's sentence is left out: {problem}."
        return _PLACE.sub(lambda match: titles[int(match[1]) - 1], phrased), ""

    def _invention(self, phrased: str, said: str, n_titles: int) -> str:
        """What a text names beside the places of the list; ``""``: nothing that looks like a title.

        A title shows by quotation marks, a year in brackets, or capitals within a sentence; words of the turn and of
        what was understood may have capitals, and so may values of columns. At the beginning of a sentence a word with
        a capital is one if it is a title of the catalogue.
        """
        places = [int(place) for place in _PLACE.findall(phrased)]
        if wrong := [place for place in places if not 1 <= place <= n_titles]:
            return f"it names a place [{wrong[0]}] that the list does not have"
        rest = _PLACE.sub(" ", phrased)
        if _QUOTES.search(rest) or _YEAR.search(rest):
            return "it quotes what may be a title"
        known = set(fold_words(said)) | {"i"}
        known |= {
            word for values in self.attributes.categories.values() for value in values for word in fold_words(value)
        }
        starts = {match.end() for match in _SENTENCE.finditer(rest.strip())}
        for match in re.finditer(r"\w[\w'\u2019-]*", rest.strip()):
            word = match[0]
            folded = " ".join(fold_words(word.removesuffix("'s").split("'")[0]))
            if not word[0].isupper() and not word[0].isdigit() or folded in known:
                continue
            if match.start() not in starts or folded in self._single:
                return f"{shown(word)} may be a title"
        return ""


def _numbered(titles: Sequence[str]) -> str:
    return "; ".join(f"[{place}] {title}" for place, title in enumerate(titles, 1)) or "none"


def _is_said(title: str, text: str) -> bool:
    """Whether a text names a title, up to misspellings and its part in brackets."""
    bare = " ".join(fold_words(re.sub(r"[(\[][^()\[\]]*[)\]]", " ", title)))
    return bool(bare) and fuzz.partial_ratio(bare, " ".join(fold_words(text))) >= SAID
