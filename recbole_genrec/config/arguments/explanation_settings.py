"""Settings of models that explain recommendations: features, and PEPLER's own."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from recbole_genrec.config.arguments.base import Arguments, Needs, Neutral, group
from recbole_genrec.config.arguments.types import AtLeast0, Count, Positive, Text

MINED = Needs("feature_field", "")
RATES = Needs("rating_loss", but=0, words="a number above 0")


@group
class ExplanationArguments(Arguments):
    """Features of reviews: what explanations are about, and what they are measured by."""

    models: ClassVar[tuple] = ("P5", "PEPLER")

    explain_about: Literal["none", "predicted", "own"] = "none"
    """Feature word in the prompt of an explanation. ``predicted``: from the user's and the item's other training
    reviews. ``own``: from the explanation itself, an oracle that no application has; results say so. P5 needs prompts
    with ``{feature}``, such as ``task_prompts: p5-about``."""
    feature_field: Text = ""
    """Column of the ``.inter`` file with the features of a review, several with commas between them. Empty: features
    are frequent heads of noun phrases in the training reviews."""
    feature_count: Annotated[Positive, MINED] = 500
    """Largest number of features that are taken from the reviews, those of the most reviews first."""
    feature_reviews: Annotated[Positive, MINED] = 3
    """Smallest number of training reviews in which a word is the head of a noun phrase, for it to be a feature."""


@group
class PEPLERArguments(Arguments):
    """How PEPLER (Li et al. 2023) is tuned, and how it predicts ratings."""

    models: ClassVar[tuple] = ("PEPLER",)

    prompt_epochs: Count = 0
    """Epochs of a first stage that trains the vectors of users and items while the language model is frozen. ``epochs``
    are those of the second stage, which trains everything. 0: no first stage."""
    rating_loss: Annotated[AtLeast0, Neutral(0)] = 0.01
    """Weight of the squared error of predicted ratings beside the loss of the texts. 0: no ratings are predicted, and
    so no items are ranked."""
    rating_model: Annotated[Literal["mf", "mlp"], RATES] = "mf"
    """Ratings are the product of the two vectors (``mf``), or a perceptron over both (``mlp``)."""
    rating_hidden_size: Annotated[int, Ge(1), Le(65_536), Needs("rating_model", "mlp"), RATES] = 400
    """Width of the perceptron's hidden layers."""
