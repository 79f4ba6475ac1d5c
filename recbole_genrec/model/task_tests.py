"""The test of P5's task families beside the ranking: with a prompt of the training and with the held-out one."""

import torch

from recbole_genrec.batches.tasks import ITEM_FAMILIES
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.config.arguments.models import REVIEW_FAMILIES
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.distributed.world import current
from recbole_genrec.model.review_tasks import evaluate_reviews
from recbole_genrec.model.text_metrics import text_task_metrics
from recbole_genrec.prompt.task_prompts import TARGETS
from recbole_genrec.prompt.wordings import SEEN, UNSEEN


class TaskTests:
    """Mixin for :class:`~recbole_genrec.model.p5.P5`."""

    @torch.no_grad()
    def evaluate_tasks(self, dataset, config, ranked, evaluate_ranking):
        """Test every family that was trained, with a prompt that training used and with the one it never saw.

        Args:
            dataset: the part of the split to test on.
            config: RecBole's configuration.
            ranked: RecBole's ranking metrics there, of the :attr:`ranking` that stands.
            evaluate_ranking: gives them with the current one.

        Returns:
            By family and ``seen`` or ``unseen``, its metrics; texts come with three examples. Families about whole
            reviews also have what :func:`~recbole_genrec.model.review_tasks.evaluate_reviews` adds.
        """
        self.eval()
        found, usual = {}, self.ranking
        sampled = config["eval_args"]["mode"]["test"] != "full"
        for family in self.shares:
            if family in REVIEW_FAMILIES:
                prompts = self._tested_prompts(family)
                found[family] = evaluate_reviews(self, family, prompts, dataset.inter_feat.place, config)
                continue
            for kind, prompt in self._tested_prompts(family).items():
                if sampled and self.tasks.has(family, prompt, "candidates"):
                    continue  # its own candidates are not RecBole's sampled ones
                if family in ITEM_FAMILIES:
                    self.ranking = (family, prompt)
                    result = dict(ranked if self.ranking == usual else evaluate_ranking())
                else:
                    result = self._evaluate_texts(family, prompt, dataset.inter_feat.place, config)
                kind = self.explanation_kind(kind) if family == "explanation" else kind
                found.setdefault(family, {})[kind] = result
        self.ranking = usual
        return found

    def _tested_prompts(self, family):
        """A trained prompt and the held-out one; of direct ones also a trained one with candidates."""
        tested = {SEEN: 0, UNSEEN: self.tasks.held_out(family)}
        with_candidates = [n for n in self.tasks.trained(family) if self.tasks.has(family, n, "candidates")]
        return {**tested, "seen, candidates": with_candidates[0]} if with_candidates else tested

    def _evaluate_texts(self, family, prompt, places, config):
        target = self.data.texts[TARGETS[family]]
        places = [place for place in places.tolist() if target[place]]
        examples = [self.data.example(family, prompt, place, None, with_candidates=False) for place in places]
        size = config["eval_batch_size"]
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        truth = [target[place] for place in places]
        if not examples:
            return {"examples": 0}
        predict = self._rate if family == "rating" else self.write_texts
        predicted = [answer for batch in current().map(predict, batches) for answer in batch]
        measured = self.measure_explanations(predicted, places) if family == "explanation" else {}
        return text_task_metrics(family, predicted, truth, config) | measured

    def _rate(self, examples):
        """Mean rating under the probabilities of the ratings that training has ``[B]``."""
        ratings = sorted({text for text in self.data.texts["rating"][self.data.seen] if text}, key=float)
        trie = build_trie([tuple(self.backbone.encode(f" {text}", MIDDLE)) for text in ratings], self.backbone.eos_id)
        tree = self._tree(examples, trie.to(self.compute_device))
        probability = score_catalogue(tree, self.engine.normalization)[:, 1:].softmax(-1)  # [B, ratings]
        values = torch.tensor([float(text) for text in ratings], device=probability.device)
        return (probability @ values).cpu().numpy()
