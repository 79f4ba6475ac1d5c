"""Answers of a local language model: it scores candidates and ratings, and writes texts."""

from functools import partial

import numpy as np
import torch

from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.decoding.finite import FiniteLogits
from recbole_genrec.decoding.scoring import score_catalogue, score_pairs
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError


class ScoringAnswers:
    """Has the backbone of a model answer the questions of its writer.

    Args:
        model: a :class:`~recbole_genrec.model.promptllm.PromptLLM` with a backbone.
        max_target_tokens: longest text that is written, in tokens.
    """

    def __init__(self, model, max_target_tokens):
        self.model, self.max_target_tokens = model, max_target_tokens

    def choose(self, histories, candidates):
        """The candidates of each history, the best first: lists of item ids."""
        model = self.model
        ending = "" if model.template.lead else "\n"  # identifiers begin as the template has them
        prompts = [
            self.tokens("direct", partial(model.writer.about_items, *row), len(row[0]), ending)
            for row in zip(histories, candidates)
        ]
        items = torch.from_numpy(np.concatenate(candidates)).to(model.compute_device)
        row = np.repeat(np.arange(len(candidates)), list(map(len, candidates)))
        rows = torch.from_numpy(row).to(items.device)
        scores = score_pairs(self._tree(prompts, model.trie), rows, items, model.engine.normalization).cpu().numpy()
        best_first = [np.argsort(-scores[row == number], kind="stable") for number in range(len(candidates))]
        return [items[order].tolist() for items, order in zip(candidates, best_first)]

    def answer(self, task, places):
        """Answers about interactions at ``places`` of the store: ratings, or texts."""
        about, longest = self.model.writer.about_interaction, self.model.data.longest
        prompts = [self.tokens(task, partial(about, task, place), longest) for place in places]
        return self._rate(prompts) if task == "rating" else self._write(prompts)

    def usage(self):
        """What answers have cost so far: nothing is counted."""
        return {}

    def grounding(self):
        """How titles were found in answers: a local model writes none."""
        return {}

    def tokens(self, task, fields, n_history, ending=""):
        """Tokens of a question; the oldest items are dropped until it fits.

        Args:
            task: the task.
            fields: number of items to drop -> fields.
            n_history: items that can be dropped.
            ending: text after the cue.

        Raises:
            GenRecError: it does not fit without any history.
        """
        backbone, writer = self.model.backbone, self.model.writer
        longest, dropped = self.model.arguments["prompt"].max_prompt_tokens - self.max_target_tokens, 0
        start = [] if backbone.bos_id is None else [backbone.bos_id]
        while True:
            tokens = start + backbone.encode(writer.prompt(task, fields(dropped)) + ending)
            if len(tokens) <= longest:
                return tokens
            if dropped >= n_history:
                raise GenRecError(
                    f"'max_prompt_tokens' ({longest + self.max_target_tokens}) is too short for {task!r}: a question "
                    f"without history takes {len(tokens)} tokens, and an answer {self.max_target_tokens} "
                    "('max_target_tokens')."
                )
            dropped += 1 + (n_history - dropped) // 8

    def _tree(self, prompts, trie):
        """Feed prompts, lists of tokens, in front of a trie; see :class:`~recbole_genrec.decoding.tree.PromptTree`."""
        backbone, device = self.model.backbone, self.model.compute_device
        lengths = torch.tensor(list(map(len, prompts)))
        table = torch.full((len(prompts), int(lengths.max())), backbone.pad_id)
        for row, tokens in enumerate(prompts):
            table[row, : len(tokens)] = torch.tensor(tokens)
        return prompt_tree(backbone, trie, backbone.embed(table.to(device)), lengths.to(device))

    def _rate(self, prompts):
        """Mean rating under the probabilities of the ratings that training has ``[B]``."""
        model, ratings = self.model, self.model.writer.ratings
        titles = [tuple(model.backbone.encode(f" {text}", MIDDLE)) for text in ratings]
        trie = build_trie(titles, model.packer.tokens.end).to(model.compute_device)
        tree = self._tree(prompts, trie)
        probability = score_catalogue(tree, model.engine.normalization)[:, 1:].softmax(-1)  # [B, ratings]
        values = torch.tensor([float(text) for text in ratings], device=probability.device)
        return (probability @ values).tolist()

    def _write(self, prompts):
        """The first line that the model writes after each prompt, greedily."""
        backbone, device = self.model.backbone, self.model.compute_device
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), backbone.pad_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(prompts):
            ids[row, width - len(tokens) :], mask[row, width - len(tokens) :] = torch.tensor(tokens), 1
        written = backbone.causal_model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=self.max_target_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=[FiniteLogits(backbone)],
            pad_token_id=backbone.pad_id,
        )
        texts = backbone.tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
        return [(text.strip().splitlines() or [""])[0] for text in texts]
