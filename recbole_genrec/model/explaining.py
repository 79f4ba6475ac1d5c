"""What models that explain recommendations share: features of reviews in prompts, and measures of the explanations."""

from functools import cached_property

from recbole_genrec.batches.tasks import task_columns
from recbole_genrec.config.arguments import ExplanationArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.review_features import review_features
from recbole_genrec.model.explanation_metrics import explanation_metrics

#: how results call explanations that were told what the test review is about.
ORACLE = "own feature (oracle)"


def check_feature_prompts(tasks, about, explains):
    """Refuse prompts of explanations that do not fit the setting ``explain_about``.

    Args:
        tasks: :class:`~recbole_genrec.prompt.task_prompts.TaskPrompts`.
        about: the setting. explains: whether explanations are trained at all.

    Raises:
        GenRecError: a prompt lacks the feature that it is to have, or has one that nothing gives.
    """
    if not explains:
        if about != "none":
            raise GenRecError(f"'explain_about: {about}' has no effect: no explanations are trained.")
        return
    having = [tasks.has("explanation", number, "feature") for number in range(len(tasks.families["explanation"]))]
    if about != "none" and not all(having):
        raise GenRecError(
            f"'explain_about: {about}' needs '{{feature}}' in every prompt of 'explanation', but those of "
            f"{tasks.name!r} lack it: use 'task_prompts: p5-about'."
        )
    if about == "none" and any(having):
        raise GenRecError(
            f"The prompts of 'explanation' in {tasks.name!r} have '{{feature}}': say which one in 'explain_about', "
            "'predicted' or 'own'."
        )


def explained_columns(config):
    """Names of the ``.inter`` columns that P5 reads, by what they hold: those of its tasks, and ``features``.

    The features' is there where a setting names it.
    """
    features = ExplanationArguments.from_config(config).feature_field
    return task_columns(config) | ({"features": features} if features else {})


class Explaining:
    """Mixin before a generative recommender with ``data``, a :class:`~recbole_genrec.batches.tasks.TaskData`.

    Attributes:
        about: :class:`~recbole_genrec.config.arguments.ExplanationArguments`.
    """

    def _read_features(self, config, dataset):
        """Put the feature of every interaction among the texts of prompts, where the settings ask for one.

        Raises:
            GenRecError: there are no reviews, no such column, or no feature in them.
        """
        self.about, self._n_users = ExplanationArguments.from_config(config), dataset.user_num
        column, texts = self.about.feature_field, self.data.texts
        if column and "features" not in texts:
            raise GenRecError(f"'feature_field' names the column {column!r}, which the .inter file does not have.")
        if self.about.explain_about == "none":
            return
        if "review" not in texts:
            raise GenRecError(
                f"'explain_about: {self.about.explain_about}' needs reviews, but the .inter file has no column "
                f"{config['review_field'] or 'review_text'!r}. Name it in 'review_field'."
            )
        if not self.features.names:
            raise GenRecError(
                "'explain_about' finds no feature in the training reviews: lower 'feature_reviews', or name a column "
                "of features in 'feature_field'."
            )
        texts["feature"] = self.features.of_interactions(self.about.explain_about)

    @cached_property
    def features(self):
        """:class:`~recbole_genrec.interactions.review_features.ReviewFeatures` of the dataset."""
        return review_features(self.data, self.about, self._n_users)

    def explanation_kind(self, kind):
        """How results call explanations by a ``kind`` of prompt, such as ``seen``."""
        return f"{kind}, {ORACLE}" if self.about.explain_about == "own" else kind

    def measure_explanations(self, generated, places):
        """Features in explanations that were generated for interactions, by their places in the store."""
        measured = explanation_metrics(generated, self.features.own(places), self.features.finder)
        return {**measured, "about": self.about.explain_about}

    def explain(self, user, item, about=""):
        """Explain an item to a user.

        Args:
            user: id in the dataset; 0: a user that training has not seen.
            item: id in the dataset.
            about: word that the explanation should be about; empty: the feature that is predicted from the training
                reviews of the user and the item, or none with ``explain_about: none``.

        Returns:
            The text, and the word that it was asked to be about, ``""`` for none.

        Raises:
            GenRecError: the model was trained without features in its prompts.
        """
        if self.about.explain_about != "none":
            about = about or self.features.predicted([user], [item])[0]
        elif about:
            raise GenRecError(
                "The model was trained without features in its prompts: it cannot explain about a word. Train it with "
                "'explain_about: predicted'."
            )
        return self.write_explanations([user], [item], [about])[0], about

    def write_explanations(self, users, items, abouts):
        """Generate explanations, greedily; ``users``, ``items``, words ``abouts`` and the result are lists ``[B]``.

        A subclass gives it.
        """
        raise NotImplementedError
