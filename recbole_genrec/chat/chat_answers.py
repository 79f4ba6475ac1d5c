"""Answers of a chat model: an OpenAI-compatible server names titles, which are matched with the catalogue."""

from recbole_genrec.chat.grounding import GroundingReport, read_number, read_text

#: what a chat model calls its answer in each task.
ANSWER_KEYS = {"rating": "rating", "explanation": "explanation", "review": "summary"}


class ChatAnswers:
    """Ask a server and read its answers.

    Args:
        client: :class:`~recbole_genrec.chat.client.ChatClient`.
        grounder: :class:`~recbole_genrec.chat.grounding.Grounder` over the catalogue.
        writer: :class:`~recbole_genrec.batches.questions.QuestionWriter`.
        k: longest list of items.
    """

    def __init__(self, client, grounder, writer, k):
        self.client, self.grounder, self.writer, self.k = client, grounder, writer, k

    def name_items(self, task, histories, candidates=None):
        """Items that the server names after each history.

        Args:
            task: ``sequential``, ``choice`` or ``direct``.
            histories: item ids ``[L]`` of each question.
            candidates: item ids ``[C]`` of each question, outside of which nothing counts; ``None``: the catalogue.

        Returns:
            For each question a list of at most ``k`` item ids, the best first, maybe empty.
        """
        listed = candidates if candidates is not None else [()] * len(histories)
        fields = [self.writer.about_items(*row) for row in zip(histories, listed)]
        answers = self.client.ask([self.writer.messages(task, about) for about in fields])
        allowed = candidates if candidates is not None else [None] * len(histories)
        return [
            self.grounder.ground(answer.text, self.k, None if items is None else items.tolist())
            for answer, items in zip(answers, allowed)
        ]

    def choose(self, histories, candidates):
        """The candidates that the server names after each history, the best first: lists of item ids."""
        return self.name_items("direct", histories, candidates)

    def answer(self, task, places):
        """Answers about interactions at ``places`` of the store: ratings, ``None`` where unreadable, or texts."""
        questions = [self.writer.messages(task, self.writer.about_interaction(task, place)) for place in places]
        texts = [answer.text for answer in self.client.ask(questions)]
        if task == "rating":
            lowest, highest = float(self.writer.ratings[0]), float(self.writer.ratings[-1])
            return [read_number(text, ANSWER_KEYS[task], lowest, highest) for text in texts]
        return [read_text(text, ANSWER_KEYS[task]) for text in texts]

    def usage(self):
        """Requests, tokens and cost of the run so far."""
        return self.client.report()

    def grounding(self):
        """How titles were found in the catalogue since :meth:`reset`."""
        return {"grounding": self.grounder.report.report()}

    def reset(self):
        """Count titles anew."""
        self.grounder.report = GroundingReport()
