"""How PromptLLM is tested: tasks beside the ranking, and questions in other words."""

from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from recbole_genrec.model.text_metrics import text_task_metrics
from recbole_genrec.prompt.task_prompts import TARGETS
from recbole_genrec.prompt.wordings import SEEN, evaluate_wordings


class QuestionTests:
    """Mixin of :class:`~recbole_genrec.model.promptllm.PromptLLM`, whose attributes it reads."""

    @torch.no_grad()
    def evaluate_tasks(self, dataset, config, ranked, evaluate_ranking):
        """Test the tasks that ``tasks`` asks for beside the ranking.

        Args:
            dataset: the part of the split to test on.
            config: RecBole's configuration.
            ranked: RecBole's ranking metrics there, of the task that is not among these.
            evaluate_ranking: gives them for the current :attr:`task`.

        Returns:
            By task and ``zero-shot`` or ``<k>-shot``, its metrics; those of a question in other words, which the file
            holds out, as ``..., unseen``. The ranking itself is among them where it has other words.
        """
        self.eval()
        found, shots = {}, f"{len(self.examples)}-shot" if self.examples else "zero-shot"
        for task in ("sequential", *self.tasks):
            if task == "direct" and config["eval_args"]["mode"]["test"] != "full":
                continue  # its own candidates are not RecBole's sampled ones
            evaluate = partial(self._evaluate_task, task, dataset, config, evaluate_ranking)
            result = dict(ranked) if task == "sequential" else evaluate()
            held_out, worded = self._held_out(task, config)
            tested = evaluate_wordings(held_out, worded, result, evaluate)
            if not tested and task != "sequential":
                tested = {SEEN: result}
            if tested:
                found[task] = {shots if kind == SEEN else f"{shots}, {kind}": each for kind, each in tested.items()}
        return found

    def _evaluate_task(self, task, dataset, config, evaluate_ranking):
        """Metrics of a task in the words of the moment; see :meth:`evaluate_tasks`."""
        if task == "sequential":
            return dict(evaluate_ranking())
        if task != "direct":
            return self._evaluate_texts(task, dataset.inter_feat.place, config)
        self.task = "direct"
        result = dict(evaluate_ranking())
        self.task = "sequential"
        return result | self.answers.grounding()

    def _held_out(self, task, config):
        """The held-out wordings of a task, and the context manager in which the model is asked in one of them.

        A local model ranks by the template of ``prompt``, all else are questions.
        """
        if task == "sequential" and self.chat is None:
            return self.template.held_out, self.worded
        chooses = self.settings.chat_candidates or config["eval_args"]["mode"]["test"] != "full"
        asked = "choice" if task == "sequential" and chooses else task
        return self.writer.prompts.tasks[asked].held_out, partial(self._asked, asked)

    @contextmanager
    def _asked(self, task, question):
        """Ask the question of a task in other words in a block."""
        prompts = self.writer.prompts
        try:
            self.writer.prompts = prompts.worded(task, question)
            yield
        finally:
            self.writer.prompts = prompts

    def _evaluate_texts(self, task, places, config):
        target = self.data.texts[TARGETS[task]]
        complete = self.data.texts["review"] if task == "review" else target
        places = [place for place in places.tolist() if target[place] and complete[place]]
        if not places:
            return {"examples": 0}
        size, answers, read = config["eval_batch_size"], [], {}
        for start in range(0, len(places), size):
            answers += self.answers.answer(task, places[start : start + size])
        if task == "rating":
            rated = self.data.texts["rating"][self.data.seen]
            mean = float(np.mean([float(text) for text in rated if text]))
            read = {"unread": sum(answer is None for answer in answers)}
            answers = [mean if answer is None else answer for answer in answers]
        return text_task_metrics(task, answers, [target[place] for place in places], config) | read
