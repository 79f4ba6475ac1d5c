"""One token table: every history, label and trie is made of the same identifiers in the same template."""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from recbole_genrec.batches.user_tokens import MIDDLE, FlatTokens, UserTokens, interleaved
from recbole_genrec.batches.value_texts import ValueTexts
from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.value_phrases import fill_values


class Around(NamedTuple):
    """Tokens around an identifier in a history: those between two items, and the template's suffix."""

    between: np.ndarray
    suffix: np.ndarray


@dataclass
class PromptTokens:
    """A template in tokens. All arrays are int64.

    A prompt is a prefix, the history's items and a response prefix; the target's identifier and ``end`` follow. An
    item of a history is ``around.between`` (not before a window's first item), its identifier and ``around.suffix``.
    Where these hold values of interactions, it is its identifier within what ``values`` writes.

    Attributes:
        prefixes: tokens before the history, one array for each instruction; never empty.
        item_token: tokens between, identifier and suffix of every item, flat; with ``values`` the identifier alone.
        item_offset: where each item's begin, by item id ``[I + 2]``; item 0 (padding) has none.
        around: what stands around an identifier.
        response: tokens between history and target.
        end: the token that ends a target.
        reads_titles: whether items of a history read as their identifiers; see :func:`as_slots`.
        values: writes what stands around an identifier where that varies; ``None``: it is ``around``.
        after_user: of a template that names the user, the tokens between the user and the history, one array for each
            instruction; ``prefixes`` are then those before the user. Empty: it names none.
        users: the tokens of users; ``None``: prompts have none.
    """

    prefixes: tuple
    item_token: np.ndarray
    item_offset: np.ndarray
    around: Around
    response: np.ndarray
    end: int
    reads_titles: bool = True
    values: ValueTexts | None = None
    after_user: tuple = ()
    users: UserTokens | None = None

    @property
    def longest_prefix(self):
        """The most tokens before a history."""
        after = self.after_user or [()] * len(self.prefixes)
        longest = max(len(before) + len(rest) for before, rest in zip(self.prefixes, after))
        return longest + (0 if self.users is None else self.users.longest)

    def prefix_of(self, instruction, user=None):
        """The tokens before some histories.

        Args:
            instruction: number of each one's instruction ``[W]``.
            user: of each one's user ``[W]``; ``None``: nobody is known.

        Returns:
            Lengths ``[W]``, and the tokens of all, end to end.
        """
        user = np.zeros(len(instruction), np.int64) if user is None else user
        table = FlatTokens.of(self.prefixes)
        if not self.after_user:
            return table.written(instruction)
        users = self.users or FlatTokens.of([()])
        user = user if self.users is not None else np.zeros_like(user)
        return interleaved([(table, instruction), (users, user), (FlatTokens.of(self.after_user), instruction)])

    @property
    def between(self):
        """How many tokens stand between two items."""
        return len(self.around.between)

    @property
    def continues(self):
        """The response simply continues the history: an item in a history reads as a target with its end."""
        alike = self.between == len(self.response) == 0 and self.around.suffix.tolist() == [self.end]
        return self.reads_titles and self.values is None and alike


class PromptParts(NamedTuple):
    """What stands around the items of a prompt, for whoever writes prompts without this package: lists of token ids.

    A prompt is ``start``, the items with ``between`` between two of them and ``suffix`` after each, and ``response``;
    the identifier that answers it is followed by the token ``end``.
    """

    start: list
    between: list
    suffix: list
    response: list
    end: int

    def write(self, identifiers):
        """The prompt of a history of ``identifiers``, as token ids."""
        written = list(self.start)
        for index, identifier in enumerate(identifiers):
            written += [*(self.between if index else ()), *identifier, *self.suffix]
        return written + self.response


def item_context(template):
    """The text that stands right before an item's own text; identifiers are tokenised after it."""
    suffix = fill_values(template.item_suffix, dict.fromkeys(template.value_fields, MIDDLE))
    return template.response_prefix or suffix


def tokenize_prompt(template, backbone, identifiers, clock=None):
    """Lay a template and the catalogue's identifiers out as tokens.

    Args:
        template: :class:`~recbole_genrec.prompt.template.PromptTemplate`.
        backbone: gives ``encode``, ``bos_id`` and ``eos_id``.
        identifiers: for item ids 1 to I, the identifier's tokens.
        clock: :class:`~recbole_genrec.files.moments.Clock` of interactions, where the template tells times.

    Returns:
        :class:`PromptTokens`.

    Raises:
        GenRecError: the template's ``end`` is not exactly one token of this tokenizer, its prompts would be empty, or
            it tells times that are no clock.
    """

    def encode(text):
        return np.array(backbone.encode(text, context=MIDDLE), np.int64)

    start = [] if backbone.bos_id is None else [backbone.bos_id]
    prefixes, after_user = [], []
    for instruction in range(len(template.instructions)):
        before, *after = template.around_user(instruction)
        after_user += [encode(text) for text in after]
        prefix = start + backbone.encode(before) or [backbone.eos_id]
        if None in prefix:
            raise GenRecError(
                f"Prompt {template.name!r} has no 'prefix', and the backbone's tokenizer no token to begin a prompt "
                "with: neither one of its beginning nor of its end."
            )
        prefixes.append(np.array(prefix, np.int64))
    end = [backbone.eos_id] if template.ends_with_token else backbone.encode(template.end, context=MIDDLE)
    if len(end) != 1 or end[0] is None:
        raise GenRecError(
            f"Prompt {template.name!r}: 'end' ({template.end!r}) must be one token of the backbone's tokenizer, "
            f"which makes {end} of it. Use 'eos' or another text."
        )
    values, between, suffix = None, np.zeros(0, np.int64), np.zeros(0, np.int64)
    if template.value_fields:
        values = ValueTexts(template, partial(backbone.encode_many, context=MIDDLE), clock, backbone.vocab_size)
    else:
        between, suffix = encode(template.item_prefix), encode(template.item_suffix)
    response = encode(template.response_prefix)
    items = [np.concatenate([between, np.array(identifier, np.int64), suffix]) for identifier in identifiers]
    lengths = np.fromiter(map(len, items), np.int64, len(items))
    return PromptTokens(
        prefixes=tuple(prefixes),
        item_token=np.concatenate(items),
        item_offset=np.concatenate([[0, 0], lengths.cumsum()]),
        around=Around(between, suffix),
        response=response,
        end=end[0],
        values=values,
        after_user=tuple(after_user),
    )


def as_slots(tokens):
    """Have every item of a history take one position, the end token, to which the model adds the item's vector.

    Args:
        tokens: :class:`PromptTokens`; prefixes and the response stay.

    Returns:
        :class:`PromptTokens`.
    """
    count = len(tokens.item_offset) - 2
    nothing = np.zeros(0, np.int64)
    return replace(
        tokens,
        item_token=np.full(count, tokens.end, np.int64),
        item_offset=np.append(0, np.arange(count + 1)),
        around=Around(nothing, nothing),
        reads_titles=False,
    )


def append_items(tokens, more):
    """Put items behind those of a table, which may then stand in histories.

    Args:
        tokens: :class:`PromptTokens` of I items.
        more: the same template's :class:`PromptTokens` of N others.

    Returns:
        :class:`PromptTokens` of I + N items, the first of the others being item I + 1.
    """
    return replace(
        tokens,
        item_token=np.concatenate([tokens.item_token, more.item_token]),
        item_offset=np.concatenate([tokens.item_offset, tokens.item_offset[-1] + more.item_offset[2:]]),
    )


def template_parts(template, backbone):
    """The :class:`PromptParts` of a template's first instruction; see :func:`tokenize_prompt`.

    Raises:
        GenRecError: the template has values of interactions, which these parts cannot hold.
    """
    if template.value_fields:
        raise GenRecError(
            f"Prompt {template.name!r} holds values of interactions ({{{template.value_fields[0]}}}), and an export's "
            "prompt holds items alone. A run with 'prompt: continuation' can be exported."
        )
    tokens = tokenize_prompt(template, backbone, [()])
    parts = (tokens.prefixes[0], *tokens.around, tokens.response)
    return PromptParts(*(part.tolist() for part in parts), tokens.end)


def prepend_examples(tokens, template, backbone, identifiers, examples):
    """Put whole prompts with their targets, few-shot examples, before every prompt; an empty line ends each.

    Args:
        tokens: :class:`PromptTokens`.
        template, backbone, identifiers: those that it was made of.
        examples: pairs of a history ``[L]`` and a target, item ids.

    Returns:
        :class:`PromptTokens` with one prefix, that of the first instruction.
    """
    start = [] if backbone.bos_id is None else [backbone.bos_id]
    prefix, line_end = backbone.encode(template.prefix_text()), backbone.encode("\n", context=MIDDLE)
    written = list(start)
    for history, target in examples:
        written += prefix
        for index, item in enumerate(history):
            begin, end = tokens.item_offset[item], tokens.item_offset[item + 1]
            written += tokens.item_token[begin + (0 if index else tokens.between) : end].tolist()
        written += [*tokens.response.tolist(), *identifiers[target - 1], tokens.end, *line_end]
    return replace(tokens, prefixes=(np.array(written + prefix, np.int64),))


def with_preface(tokens, template, backbone, preface):
    """Put a text before the template's own at the beginning of every prompt, behind few-shot examples.

    Args:
        tokens: :class:`PromptTokens`, with or without examples.
        template, backbone: those that it was made of.
        preface: the text.

    Returns:
        :class:`PromptTokens`.
    """
    prefixes = []
    for instruction, prefix in enumerate(tokens.prefixes):
        text = template.prefix_text(instruction)
        before = prefix[: len(prefix) - len(backbone.encode(text))]
        prefixes.append(np.append(before, np.array(backbone.encode(preface + text), np.int64)))
    return replace(tokens, prefixes=tuple(prefixes))
