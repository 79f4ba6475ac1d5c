"""What models share that write no identifiers of items: they score each item that they are asked for."""

from recbole_genrec.config.arguments import EngineArguments, IndexingArguments
from recbole_genrec.errors import GenRecError


class WithoutIdentifiers:
    """Mixin of :class:`~recbole_genrec.model.abstract_recommender.GenerativeRecommender`; it comes first of the bases.

    None of the settings of identifiers and of the engine that searches them is read, and nothing but the scores of the
    model itself ranks items, so that no other server of language models can do it with the prompts alone.
    """

    #: why prompts cannot be exported: the error's text.
    not_exported = ""
    #: settings of the engine that are the model's own.
    own_engine = {"packing": False}

    @classmethod
    def check_settings(cls, config):
        """Refuse, before anything is built or trained, a prompt that there is not; see the base class."""
        cls._check_prompts(config)

    @classmethod
    def _check_prompts(cls, config):
        """It reads no template."""

    @classmethod
    def _own_arguments(cls, config):
        return {"indexing": IndexingArguments(), "engine": EngineArguments(**cls.own_engine)}

    @classmethod
    def needs_for_all_scores(cls, config):
        """Nothing: it scores every item that it is asked for."""
        return []

    @classmethod
    def prompt_parts(cls, prompts, backbone):
        """See the base class.

        Raises:
            GenRecError: always, for a history alone is not what it ranks by.
        """
        raise GenRecError(cls.not_exported)
