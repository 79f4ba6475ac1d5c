"""TIGER: a T5 reads a user's token and a history of semantic ids, and writes the semantic id of the next item.

Reference: Shashank Rajput et al. "Recommender Systems with Generative Retrieval", NeurIPS 2023, arXiv 2305.05065.
There is no code of the authors.

As in the paper: items are named by the codes of an RQ-VAE over vectors of their texts (``item_indexing: semantic``),
raw users are hashed into 2,000 tokens (``user_tokens``), and every prefix of a user's sequence is a sample.

Deviations from the paper:

* ``normalization: trie`` takes the softmax over the codes that continue the identifier of an item, and ``decoding:
  exact`` ranks the items that exist; ``vocab`` and ``beam`` are the paper's.
* Vectors of texts, the RQ-VAE's training and its codes: see :mod:`recbole_genrec.catalogue.schemes.semantic`. An item
  has a fourth code only where another item has its first three, and the end token says so elsewhere.
* An end token closes a prompt and a target, as T5 was pretrained with.
* ``targets_per_user`` draws next items of a user in each epoch; 0 takes all, as in the paper.
* The optimizer is one of torch's; the paper trains in T5X, whose Adafactor scales a step by the weights' size.
"""

import hashlib

import numpy as np

from recbole_genrec.backbone.loading import read_seq2seq
from recbole_genrec.batches.sequences import SequenceForm
from recbole_genrec.batches.tokens import PromptParts
from recbole_genrec.checkpoint.folder import read_settings
from recbole_genrec.config.arguments import TigerArguments
from recbole_genrec.model.sequence_recommender import SequenceRecommender


class TIGER(SequenceRecommender):
    """TIGER; see the module's header and :class:`SequenceRecommender`."""

    plain_with = SequenceRecommender.plain_with | {"user_tokens": 0}

    def __init__(self, config, dataset):
        self.settings = TigerArguments.from_config(config)
        self._users = dataset.field2id_token[dataset.uid_field][1:].tolist()
        super().__init__(config, dataset)

    # ---- what the base class asks for ----

    def _tokens_beside_codes(self):
        return [f"<user_{number}>" for number in range(self.settings.user_tokens)]

    def _source_of_tokens(self, model):
        """See the base class; a tokenizer with another number of user tokens is none to take."""
        folder = super()._source_of_tokens(model)
        alike = folder and TigerArguments.from_config(read_settings(folder)) == self.settings
        return folder if alike else None

    def _fixed_texts(self):
        return []

    def _read_backbone(self, corpus, checkpoint=None):
        return read_seq2seq(self.arguments["backbone"], corpus, "t5, relu", checkpoint)

    def _form(self):
        names, count = self._tokens_beside_codes(), self.settings.user_tokens
        if not count:
            return SequenceForm(lambda users: [np.zeros(0, np.int64) for _ in users], longest_user=0)
        ids = np.array(self.backbone.tokenizer.convert_tokens_to_ids(names), np.int64)
        tokens = [np.zeros(0, np.int64), *ids[[hash_user(user, count) for user in self._users]][:, None]]
        return SequenceForm(lambda users: [tokens[user] for user in users], longest_user=1)

    def prompt_settings(self):
        """The form of a prompt, for people to read: no setting but ``user_tokens`` changes it."""
        user = "<user_{hash}> " if self.settings.user_tokens else ""
        return {"sequence": user + "{item} ... </s>"}

    @classmethod
    def prompt_parts(cls, prompts, backbone):
        """The prompt of user 0, who is nobody; see the base class."""
        return PromptParts([], [], [], [backbone.eos_id], backbone.eos_id)


def hash_user(user, count):
    """Number below ``count`` of the token that a raw user is hashed into (Weinberger et al. 2009).

    Python's own hash of a text differs between processes; this one depends on nothing but the text.
    """
    digest = hashlib.blake2b(str(user).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count
