"""``Conversation``: recommends turn by turn. Every list is the exact top-K of the items that the turns so far allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from recbole_genrec.catalogue.attributes import Attributes, fold_words, title_column
from recbole_genrec.chat.grounding import LOOKED_AT, Grounder
from recbole_genrec.config.arguments import PromptLLMArguments
from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.serve.conditions import Conditions, choose_items
from recbole_genrec.serve.conversation_state import ConversationState
from recbole_genrec.serve.history_reader import ItemId, UserHistory
from recbole_genrec.serve.protocol import HISTORIES
from recbole_genrec.serve.turn_rules import LONGEST_TURN, TurnRules, place_of
from recbole_genrec.serve.turns import ALL_COLUMNS, MOST_ITEMS, Turn

if TYPE_CHECKING:
    from recbole_genrec.serve.given_context import Moment
    from recbole_genrec.serve.history_reader import History
    from recbole_genrec.serve.protocol import Recommendation, Recommender, ScoredItem

#: folded.
_NONE = frozenset("none neither no cancel".split()) | {"none of them", "none of these", "never mind"}


@dataclass(frozen=True)
class Reply:
    """What a turn is answered with: a list, a question, or a line that says why nothing has changed."""

    #: the turn.
    said: str
    #: what was understood, in a sentence; empty where nothing was.
    understood: str = ""
    #: the best first.
    recommendations: tuple[Recommendation | ScoredItem, ...] = ()
    #: "Which one: ...", to be answered by a number or by another turn. The state has not changed.
    question: str = ""
    #: titles that the question asks about.
    options: tuple[str, ...] = ()
    #: why nothing has changed.
    problem: str = ""
    #: ``rules`` or ``language model``: what has read the turn.
    read_by: str = "rules"
    #: what went wrong on the way, such as an invalid reply of the language model.
    notes: tuple[str, ...] = ()
    #: the language model's sentence about the list; empty without one.
    phrased: str = ""
    #: the state after the turn, in words.
    state: str = ""

    @property
    def line(self) -> str:
        """The sentence to show: what was understood, the question, or the problem."""
        return self.problem or self.question or self.understood


@dataclass
class _Asked:
    """A question that the next turn may answer."""

    turn: Turn
    #: which title or place of the turn: its role (``liked`` or ``excluded``) and itself.
    about: tuple[str, str | int]
    #: numbers of the items to choose from.
    options: tuple[int, ...]
    #: what has been chosen before: numbers of items; 0: none of them, the title is free text.
    chosen: dict[tuple[str, str | int], int] = field(default_factory=dict)
    read_by: str = "rules"


class _NotPossible(Exception):
    """A turn that is understood and cannot be carried out; the message says why."""


class Conversation:
    """A conversation with a checkpoint: each turn changes the history, the conditions, the exclusions or the length.

    A list never holds an item of the history, an excluded one or one that breaks a condition.

    Args:
        recommender: :class:`~recbole_genrec.serve.protocol.Recommender` of a model that recommends for any history.
        history: what is known at the beginning, as for its ``recommend``.
        topk: length of the lists, up to 100, until a turn changes it.
        where: conditions that hold throughout, as for ``recommend``.
        at: the moment that is asked for, as for ``recommend``.
        language_model: settings of PromptLLM that name an OpenAI-compatible server and a model, such as
            ``{"base_url": "http://localhost:8000/v1", "chat_model": "name"}``. It reads the turns and phrases the
            answers; without one, rules do.

    Attributes:
        state: :class:`~recbole_genrec.serve.conversation_state.ConversationState`.

    Raises:
        GenRecError: an argument is not accepted.
    """

    def __init__(
        self,
        recommender: Recommender,
        history: History = (),
        topk: int = 10,
        where: Conditions | None = None,
        language_model: Mapping[str, Any] | None = None,
        at: Moment | None = None,
    ) -> None:
        if isinstance(topk, bool) or not isinstance(topk, int) or not 1 <= topk <= MOST_ITEMS:
            raise GenRecError(f"'topk' must be a whole number from 1 to {MOST_ITEMS}, not {topk!r}.")
        if HISTORIES not in recommender.abilities:
            raise recommender.unable(HISTORIES)
        recommender.answer([], at=at)  # a moment that is not accepted is said now
        self._recommender, self._reader, self._at = recommender, recommender.reader, at
        self._id_column = recommender.settings["ITEM_ID_FIELD"]
        self._base = None if where is None else choose_items(recommender.catalogue, where, self._id_column)
        names = title_column(recommender.catalogue.columns, recommender.settings["item_text"] or "", self._id_column)
        self.attributes = Attributes(recommender.catalogue.columns, names)
        self._grounder = Grounder(self._reader.titles, PromptLLMArguments.fuzzy_threshold)
        self._rules = TurnRules(self._grounder, self.attributes, self._reader.reads_text)
        self._titles = dict(zip(self._reader.item_tokens, self._reader.titles))
        self._user = getattr(history, "user", {})
        self.state = self._begun = ConversationState(tuple(map(self._known, history)), topk=topk)
        self._shown: tuple[Recommendation | ScoredItem, ...] = ()
        self._before: list[ConversationState] = []
        self._asked: _Asked | None = None
        self._model = None
        if language_model is not None:
            from recbole_genrec.serve.language_model_turns import LanguageModelTurns

            self._model = LanguageModelTurns(language_model, self.attributes, self._grounder, self._reader.titles)

    def _known(self, given: Any) -> Any:
        """An entry of the history; one that is a title of the catalogue becomes the item."""
        item = self._reader.read(given)[1]
        return ItemId(self._reader.item_tokens[item - 1]) if isinstance(given, str) and item is not None else given

    def recommend(self) -> Reply:
        """The list of the present state."""
        return self._listed(self.state, Reply("", "The list so far.", state=self.state.words(self._titles)))

    def say(self, text: str) -> Reply:
        """Answer one turn.

        A turn that is not understood, that asks for what is not there, or that leaves no item is answered with one
        line in ``problem``, and the state stays as it is.

        Args:
            text: one line.

        Returns:
            :class:`Reply`.
        """
        reply = Reply(text, state=self.state.words(self._titles))
        try:
            asked = self._asked
            if asked is not None:
                chosen = 0 if " ".join(fold_words(text)) in _NONE else self._choice(asked, text)
                if chosen == 0 and not self._may_be_free(asked.about):
                    self._asked = None
                    return replace(reply, problem="None of them, then. Nothing has changed.")
                if chosen is not None:
                    asked.chosen[asked.about] = chosen
                    return self._carry_out(asked.turn, asked.chosen, replace(reply, read_by=asked.read_by))
            turn, reply = self._read(text, reply)
            if turn is None:
                again = f" {self._question(asked.options)[0]}" if asked is not None else ""
                problem = f"I did not understand {shown(text)}; nothing has changed.{again or ' ' + self._help()}"
                return replace(reply, problem=problem)
            return self._carry_out(turn, {}, reply)
        except (_NotPossible, GenRecError) as error:
            return replace(reply, problem=f"{error} Nothing has changed.")

    def _help(self) -> str:
        """Examples of turns, in values of the catalogue."""
        values = [values[0] for values in self.attributes.categories.values()][:1]
        numbers = [f"{name} after {ns[len(ns) // 2]:g}" for name, ns in self.attributes.numbers.items()][:1]
        turns = [f'I liked "{self._reader.titles[0]}"', *values, *numbers, *(f"no {value}" for value in values)]
        turns += ["show me five", "not the second", "something else", "undo", "start over", "why"]
        return f"Say, for example: {'; '.join(turns)}."

    def _read(self, text: str, reply: Reply) -> tuple[Turn | None, Reply]:
        if self._model is not None and len(text) <= LONGEST_TURN:
            titles = [recommendation.title for recommendation in self._shown]
            turn, note = self._model.read(text, self.state.words(self._titles), titles)
            if turn is not None:
                return turn, replace(reply, read_by="language model")
            reply = replace(reply, notes=(*reply.notes, f"{note} The rules have read this turn."))
        return self._rules.read(text, len(self._shown)), reply

    def _choice(self, asked: _Asked, text: str) -> int | None:
        """The item that a turn chooses of those asked about; ``None``: it chooses none."""
        word = text.casefold().strip(" .!").removeprefix("the ").removeprefix("number ").removesuffix(" one")
        place = place_of(word)
        if place is not None and place <= len(asked.options):
            return asked.options[place - 1]
        named = [item for item in self._grounder.matches(text)[0] if item in asked.options]
        return named[0] if len(named) == 1 else None

    def _carry_out(self, turn: Turn, chosen: dict[tuple[str, str | int], int], reply: Reply) -> Reply:
        """Carry a turn out, or ask which item is meant."""
        if turn.action == "why":
            self._asked = None
            return replace(reply, understood=self.state.words(self._titles))
        if turn.action in ("undo", "start_over"):
            return self._return(turn.action, reply)
        items, free = self._resolve(turn, chosen, reply.read_by)
        if self._asked is not None and self._asked.turn is turn and self._asked.about not in chosen:
            question, options = self._question(self._asked.options)
            return replace(reply, question=question, options=options)
        state = self._next(turn, items, free)
        if state == self.state:
            words = "The list again."
        else:
            words = self._words(turn, items, free)
        reply = self._listed(state, replace(reply, understood=words, state=state.words(self._titles)))
        if state != self.state:
            self._before.append(self.state)
        self.state, self._asked = state, None
        return reply

    def _return(self, action: str, reply: Reply) -> Reply:
        """Go back to the state before the last turn, or to the first one."""
        if action == "undo" and not self._before:
            raise _NotPossible("There is nothing to undo.")
        state = self._before[-1] if action == "undo" else self._begun
        words = f"{'Undone' if action == 'undo' else 'Started over'}. {state.words(self._titles)}"
        reply = self._listed(state, replace(reply, understood=words, state=state.words(self._titles)))
        if action == "undo":
            self._before.pop()
        elif state != self.state:
            self._before.append(self.state)
        self.state, self._asked = state, None
        return reply

    def _resolve(
        self, turn: Turn, chosen: dict[tuple[str, str | int], int], read_by: str
    ) -> tuple[dict[str, list[int]], list[str]]:
        """The items that the titles and places of a turn mean, by role, and liked titles that are free text.

        Where one of them may mean several, the question is noted in ``_asked``.
        """
        items: dict[str, list[int]] = {"liked": [], "excluded": []}
        free, self._asked = [], None
        for role, found in items.items():
            for about in (*getattr(turn, role), *getattr(turn, f"{role}_places")):
                options, sure = self._meant(about)
                if chosen.get((role, about)) == 0:
                    free.append(str(about))
                elif (role, about) in chosen:
                    found.append(chosen[role, about])
                elif not options and role == "liked" and self._reader.reads_text:
                    free.append(str(about))
                elif not options:
                    raise _NotPossible(f"The catalogue has no title like {shown(about)}.")
                elif sure:
                    found.append(options[0])
                else:
                    self._asked = _Asked(turn, (role, about), options, dict(chosen), read_by)
                    return items, free
        return items, free

    def _may_be_free(self, about: tuple[str, str | int]) -> bool:
        """Whether what was asked about may be a title that the catalogue does not have."""
        role, title = about
        unsure = isinstance(title, str) and self._grounder.matches(title)[1] == "near"
        return role == "liked" and unsure and self._reader.reads_text

    def _meant(self, about: str | int) -> tuple[tuple[int, ...], bool]:
        """The items that a title or place may mean, and whether it is sure which."""
        if isinstance(about, str):
            items, kind = self._grounder.matches(about)
            return items[: 2 * LOOKED_AT], len(items) == 1 and kind != "near"
        places = tuple(self._reader.number[recommendation.item_id] for recommendation in self._shown)
        if not places:
            raise _NotPossible("There is no list yet.")
        if about > len(places):
            raise _NotPossible(f"The list has {len(places)} places, not {about}.")
        return (places, len(places) == 1) if about == 0 else ((places[about - 1],), True)

    def _question(self, options: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
        titles = tuple(self._reader.titles[item - 1] for item in options)
        return f"Which one: {'; '.join(f'{n} {title}' for n, title in enumerate(titles, 1))}?", titles

    def _next(self, turn: Turn, items: dict[str, list[int]], free: list[str]) -> ConversationState:
        state, tokens = self.state, self._reader.item_tokens
        if turn.any_of:
            columns = self.attributes.columns if ALL_COLUMNS in turn.any_of else turn.any_of
            state = state.without_conditions(columns)
        wanted_before = set()
        for wanted in turn.conditions:
            state = state.wanting(wanted, turn.also or wanted.column in wanted_before)
            wanted_before |= {wanted.column} if not wanted.excluded else set()
        for wanted in turn.conditions:
            if not state.keeps(wanted):
                raise _NotPossible(f"Not all of this can hold: {'; '.join(each.words() for each in turn.conditions)}.")
        excluded = [tokens[item - 1] for item in items["excluded"]]
        if turn.action == "more":
            excluded += [recommendation.item_id for recommendation in self._shown]
        state = state.excluding(excluded)
        state = state.liking([*(ItemId(tokens[item - 1]) for item in items["liked"]), *free])
        return state if turn.topk is None else replace(state, topk=turn.topk)

    def _words(self, turn: Turn, items: dict[str, list[int]], free: list[str]) -> str:
        """What was understood of a turn, in a sentence."""
        titles = {role: [self._reader.titles[item - 1] for item in found] for role, found in items.items()}
        liked = titles["liked"] + [
            f'"{text}", which the catalogue does not have and the model reads as text' for text in free
        ]
        parts = [f"you liked {listed(liked)}"] if liked else []
        parts += ["any value is fine" if name == ALL_COLUMNS else f"any {name} is fine" for name in turn.any_of]
        parts += [wanted.words() for wanted in turn.conditions]
        parts += [f"without {listed(titles['excluded'])}"] if titles["excluded"] else []
        parts += ["without those shown before"] if turn.action == "more" else []
        parts += [f"a list of {turn.topk}"] if turn.topk is not None else []
        return f"Understood: {'; '.join(parts)}."

    def _listed(self, state: ConversationState, reply: Reply) -> Reply:
        """A reply with the list of a state.

        Raises:
            _NotPossible: no item is left.
        """
        numbers = [self._reader.read(entry)[1] for entry in state.history]
        catalogue = self._recommender.catalogue
        allowed = state.allowed(catalogue, self._id_column, [number for number in numbers if number is not None])
        if self._base is not None:
            allowed &= self._base
        if not allowed.any():
            raise _NotPossible("No item of the catalogue is left then.")
        history = UserHistory(state.history, self._user)
        (answer,) = self._recommender.answer([history], state.topk, allowed, at=self._at)
        self._shown = answer.recommendations
        reply = replace(reply, recommendations=answer.recommendations)
        if answer.over_budget:
            reply = replace(
                reply, notes=(*reply.notes, "The search hit 'node_budget': a beam search finished the list.")
            )
        if self._model is None or not reply.said:
            return reply
        phrased, note = self._model.phrase(reply.said, reply.understood, [r.title for r in answer.recommendations])
        return replace(reply, phrased=phrased, notes=reply.notes + ((note,) if note else ()))
