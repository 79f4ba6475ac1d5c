"""A small catalogue with histories, laid out by a packer, and the losses of its targets from the definition."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from recbole_genrec.backbone.scratch import build_scratch
from recbole_genrec.backbone.time_bias import TimeBias
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.batches.packing import Packer
from recbole_genrec.batches.tokens import MIDDLE, as_slots, item_context, tokenize_prompt
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.decoding.softmax import trie_loss
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.files.moments import Clock
from recbole_genrec.prompt.template import PromptTemplate, load_template
from recbole_genrec.prompt.value_phrases import GAP_PHRASES

TITLES = ["Heat", "Heat Wave", "Alien", "Aliens (1986)", "Up", "Toy Story", "Toy Story 2", "The Sting", "Brazil", "Big"]
SEQUENCES = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 3, 1], [4, 2], [7], [], [10, 9, 8, 7, 6, 5, 4]]
TEMPLATES = {
    "continuation": load_template("continuation"),
    "instruction": load_template("instruction"),
    # a list without a response text: the state before the first decision stands on the trunk
    "bare list": PromptTemplate(name="bare", version=1, end="eos", lead=" ", item_prefix=",", prefix="Seen:"),
    "suffix and response": PromptTemplate(
        name="both", version=1, end="eos", lead=" ", item_prefix=";", item_suffix="!", response_prefix=" Next:"
    ),
    "several tokens between items": PromptTemplate(
        name="words", version=1, end="eos", lead=" ", item_prefix=" then", response_prefix=" At last"
    ),
}
#: templates with values of interactions.
VALUED = {
    "rated": load_template("continuation-rated"),
    "values on both sides": PromptTemplate(
        name="sides", version=1, end="eos", lead=" ", item_prefix="; {gap}", item_suffix=" [{rating}]", prefix="Seen:"
    ),
    "a response": PromptTemplate(
        name="asked", version=1, end="eos", lead=" ", item_suffix="{rating}", item_prefix=", ", response_prefix=" Next:"
    ),
}


class Setup:
    def __init__(self, template, normalization, history_tokens=100, kernel="sdpa", prior=False, slots=False, kinds=()):
        self.template = template
        torch.manual_seed(0)
        shape = {"scratch_hidden_size": 16, "scratch_heads": 2, "scratch_intermediate_size": 16}
        arguments = BackboneArguments(**shape, scratch_vocab_size=300, attn_implementation=kernel)
        self.backbone = build_scratch(arguments, TITLES)
        context = item_context(template)
        self.identifiers = [tuple(self.backbone.encode(template.lead + title, context)) for title in TITLES]
        clock = Clock(900_000_000, "seconds")
        self.tokens = tokenize_prompt(template, self.backbone, self.identifiers, clock)
        if slots:
            self.tokens = as_slots(self.tokens)
        self.trie = build_trie(self.identifiers, self.tokens.end)
        self.normalization = normalization
        self.fixed_tokens = self.longest_without_history()
        self.packer = self.make_packer(self.fixed_tokens + history_tokens)
        self.item_embedding = nn.Embedding(len(TITLES) + 1, 16)
        self.trie.edge_embedding = nn.Embedding(self.trie.n_edges, 16)
        self.time_bias, self.context = None, HistoryContext()
        if kinds:
            self.time_bias = TimeBias(2, kinds)
            for table in self.time_bias.tables.values():
                nn.init.normal_(table.weight)
        if prior:
            self.trie.item_vectors = self.item_embedding
        self.items = np.array([item for sequence in SEQUENCES for item in sequence])
        self.offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in SEQUENCES])])
        if kinds or template.value_fields:
            random = np.random.default_rng(0)
            passed = random.choice([0, 1, 5, 300, 10**6], len(self.items))
            ratings = random.choice(np.array([1, 3.5, 5, np.nan], np.float32), len(self.items))
            self.context = HistoryContext(passed.cumsum(), {"rating": ratings} if template.value_fields else {})

    def longest_without_history(self):
        """Tokens of the longest prefix, the response and the longest answer up to its last label, counted on lists."""
        answers = [[*identifier, self.tokens.end] for identifier in self.identifiers]
        fed = [len(answer) - 1 for answer in answers]  # the last label is the end, and is not fed
        if self.normalization == "trie":  # the last label is the last token that another answer parts from
            fed = [
                max(
                    next(n for n, pair in enumerate(zip(one, other)) if len(set(pair)) > 1)
                    for other in answers
                    if other != one
                )
                for one in answers
            ]
        return max(len(prefix) for prefix in self.tokens.prefixes) + len(self.tokens.response) + max(fed)

    def make_packer(self, max_prompt_tokens):
        return Packer(self.tokens, self.trie, self.normalization, max_prompt_tokens, self.backbone.pad_id)

    def plan(self, min_history=2, seed=0):
        return self.packer.plan(self.items, self.offsets, min_history, np.random.default_rng(seed), self.context)

    def states(self, batch):
        """States of all cells of a packed batch."""
        embeds = self.backbone.embed(batch.input_ids)
        vectors = self.item_embedding(batch.items.item)
        embeds = embeds.flatten(0, 1).index_add(0, batch.items.cell, vectors).view_as(embeds)
        return self.backbone(embeds, batch.position_ids, batch.mask(self.backbone.mask_kind, self.time_bias)).flatten(
            0, 1
        )

    def packed_loss(self, batch):
        hidden = self.states(batch)[batch.labels.cell]
        if self.normalization == "trie":
            return trie_loss(self.backbone, self.trie, hidden, batch.labels.label)
        return nn.functional.cross_entropy(self.backbone.logits(hidden), batch.labels.label, reduction="sum")

    def values_of(self, first, stop):
        """Texts of the values of interactions of one history, by field."""
        times, ratings = self.context.times[first:stop].tolist(), self.context.values["rating"][first:stop].tolist()
        values = [{} if math.isnan(rating) else {"rating": f"{rating:g}"} for rating in ratings]
        for known, (before, time) in zip(values[1:], pairwise(times)):
            known["gap"] = [phrase for begin, phrase in GAP_PHRASES if begin <= time - before][-1]
        return values

    def chunks(self, history, values):
        """Tokens of each item of a history with what stands around it, piece by piece of the text."""
        chunks, items = [], iter(history)
        for kind, text in self.template.segments([TITLES[item - 1] for item in history], values=values):
            if kind == "item_prefix" or (kind == "item" and (not chunks or chunks[-1][1])):
                chunks.append(([], []))  # tokens, and the item once it is there
            if kind == "item":
                chunks[-1][1].append(item := next(items))
                chunks[-1][0].extend(self.identifiers[item - 1])
            elif kind in ("item_prefix", "item_suffix"):
                chunks[-1][0].extend(self.backbone.encode(text, MIDDLE))
        return [tokens for tokens, _ in chunks]

    def plain_states(self, history, answer, instruction=0, times=(), values=()):
        """States from the last token of one prompt on to that before the end of the answer, from the definition.

        ``times`` are those of the history and of the target, ``values`` those of :meth:`values_of` of the history.
        """
        tokens, chunks = self.tokens.prefixes[instruction].tolist(), None
        if self.template.value_fields:
            chunks = self.chunks(history, values)
        ends, moments = [], [(None, None, None)] * len(tokens)  # of every token: known, gap, request time
        for position, item in enumerate(history):
            chunk = self.tokens.item_token[self.tokens.item_offset[item] : self.tokens.item_offset[item + 1]].tolist()
            chunk = chunk[self.tokens.between :] if position == 0 else chunk
            chunk = chunk if chunks is None else chunks[position]
            tokens += chunk
            ends.append(len(tokens) - 1)
            if times:
                before = times[position - 1] if position else None
                moments += [(times[position], before, times[position])] * (len(chunk) - 1)
                moments.append((times[position], times[position], times[position + 1]))
        tokens += self.tokens.response.tolist()
        if times:
            newest = times[-2] if history else None
            moments += [(times[-1], newest, times[-1])] * (len(tokens) + len(answer) - len(moments))
        embeds = self.backbone.embed(torch.tensor([tokens + answer]))[0]
        if history:
            embeds = embeds.index_add(0, torch.tensor(ends), self.item_embedding(torch.tensor(history)))
        mask = self.plain_mask(moments) if times else None
        return self.backbone(embeds[None], mask=mask)[0, len(tokens) - 1 : -1]

    def plain_mask(self, moments):
        """The bias of time of one prompt and its answer, pair by pair."""
        count = len(moments)
        total = torch.full((count, count), -torch.inf).triu(1)[..., None]
        for number, kind in enumerate(("gap", "request_time"), start=1):
            if kind in self.time_bias.kinds:
                pairs = [[(query[number], key[0]) for key in moments] for query in moments]
                bucket = torch.tensor([[self.bucket(*pair) for pair in row] for row in pairs])
                total = total + self.time_bias.tables[kind].weight[bucket]
        return total.permute(2, 0, 1)[None]

    @staticmethod
    def bucket(query, key):
        """Two buckets for each doubling of the time between two moments, the first for none."""
        if query is None or key is None:
            return 0
        return 1 + int(2 * math.log2(1 + max(query - key, 0)))

    def prompt_state(self, history):
        """The state after one prompt."""
        return self.plain_states(history, [self.tokens.end])[0]

    def plain_loss(self, history, target, instruction=0, times=(), values=()):
        """The loss of one target after one history, straight from the definition."""
        answer = [*self.identifiers[target - 1], self.tokens.end]
        hidden = self.plain_states(history, answer, instruction, times, values)
        logits = self.backbone.logits(hidden)
        loss = 0
        for depth, token in enumerate(answer):
            possible = range(logits.shape[1])
            if self.normalization == "trie":
                ended = [(*identifier, self.tokens.end) for identifier in self.identifiers]
                possible = sorted({other[depth] for other in ended if list(other[:depth]) == answer[:depth]})
            values = logits[depth, list(possible)]
            if len(possible) < logits.shape[1]:
                prefixes = [(*answer[:depth], other) for other in possible]
                values = values + torch.stack([self.edge_vector(prefix) for prefix in prefixes]) @ hidden[depth]
                if self.trie.item_vectors is not None:
                    item_logits = self.item_embedding.weight[1:] @ hidden[0]
                    values = values + torch.stack([self.prior(prefix, item_logits) for prefix in prefixes])
            loss = loss - values.log_softmax(0)[list(possible).index(token)]
        return loss

    def prior(self, prefix, item_logits):
        """Logarithm of the weight of the items whose identifier begins with ``prefix``."""
        ended = [(*identifier, self.tokens.end) for identifier in self.identifiers]
        return item_logits[[identifier[: len(prefix)] == prefix for identifier in ended]].logsumexp(0)

    def edge_vector(self, prefix):
        """The vector of the edge whose decisive token ends ``prefix``; zeros for a forced token."""
        trie = self.trie
        for edge, (item, begin) in enumerate(zip(trie.edge_sample.tolist(), trie.edge_begin.tolist())):
            first = int(trie.token_offset[item])
            if tuple(trie.token[first : first + begin + 1].tolist()) == prefix:
                return trie.edge_embedding.weight[edge]
        return torch.zeros(trie.edge_embedding.embedding_dim)

    def gradients(self, loss):
        parameters = [*self.backbone.parameters(), self.item_embedding.weight]
        if self.normalization == "trie":
            parameters.append(self.trie.edge_embedding.weight)
        if self.time_bias is not None:
            parameters += self.time_bias.parameters()
        return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])
