"""Constrained decoding of an exported model elsewhere: in ``generate`` of transformers, and in vLLM.

This file needs torch and nothing else of this package: ``export`` puts a copy of it beside the model. Of an export's
``items.json`` it makes the trie of all identifiers, and leaves a model only the tokens that continue one::

    items:  Heat = [7, 2]   Heathers = [7, 5]   Fargo = [9]      the end of an identifier: 1

    beginning    may follow
    ()           7, 9
    (7,)         2, 5
    (7, 2)       1
    (9,)         1

Letters: B rows, T tokens, V vocabulary.

The class for vLLM is written against its interface ``AdapterLogitsProcessor`` (vLLM 0.10 to 0.22) and tested against a
stand-in with that interface; it has not been run on a GPU.
"""

import json
from pathlib import Path

import torch

#: the file that the catalogue is made of.
FILE = "items.json"


class Catalogue:
    """The items of an exported model.

    Args:
        folder: of the export.

    Attributes:
        tokens: by place, the item's id in the data.
        texts: by place, the item's text.
        identifiers: by place, the token ids that name the item.
        end: the token id after an identifier.
        over_trie: whether probabilities are taken over the tokens that may follow, as in training
            (``normalization: trie``), and not over the vocabulary.

    Raises:
        ValueError: the folder holds no export, or one of an earlier version.
    """

    def __init__(self, folder="."):
        path = Path(folder) / FILE
        content = json.loads(path.read_text("utf-8"))
        if "prompt" not in content:
            raise ValueError(f"{path} does not say how prompts are written: export the checkpoint again.")
        self.tokens, self.texts, self.identifiers = content["tokens"], content["texts"], content["identifiers"]
        self._parts = content["prompt"]
        self.end, self.over_trie = self._parts["end"], self._parts["normalization"] == "trie"
        self._root = {}
        for place, identifier in enumerate(self.identifiers):
            node = self._root
            for token in identifier:
                node = node.setdefault(token, {})
            node[self.end] = place
        self._allowed = {}  # by node: the tokens as a tensor

    def prompt(self, history):
        """Write a history as token ids.

        Args:
            history: places of items, the oldest first.
        """
        parts = self._parts
        written = list(parts["start"])
        for count, place in enumerate(history):
            written += [*(parts["between"] if count else ()), *self.identifiers[place], *parts["suffix"]]
        return written + parts["response"]

    def following(self, generated):
        """Token ids ``[N]`` that may follow what was generated after the prompt; behind the end, the end again."""
        node = self._node(generated)
        if not isinstance(node, dict):
            return torch.tensor([self.end])
        if id(node) not in self._allowed:
            self._allowed[id(node)] = torch.tensor(sorted(node))
        return self._allowed[id(node)]

    def place_of(self, generated):
        """The place of the item that was generated after the prompt, or ``None`` where it is not finished."""
        place = self._node(generated)
        return None if isinstance(place, dict) else place

    def _node(self, generated):
        """The node of a beginning: a dictionary by token, or the item's place behind the end.

        Raises:
            ValueError: no identifier begins so.
        """
        node = self._root
        for token in generated:
            if not isinstance(node, dict):
                break  # what follows the end is padding
            if token not in node:
                raise ValueError(f"No identifier of the catalogue begins with the tokens {list(generated)}.")
            node = node[token]
        return node

    def constrain(self, generated, scores):
        """Leave scores to the tokens that may follow.

        Args:
            generated: token ids after the prompt.
            scores: logits or log-probabilities ``[V]``.

        Returns:
            ``[V]``: -inf for other tokens; with ``over_trie``, log-probabilities over those that may follow.
        """
        allowed = self.following(generated).to(scores.device)
        kept = scores[allowed]
        if self.over_trie:
            kept = kept.float().log_softmax(-1).to(scores.dtype)
        return torch.full_like(scores, -torch.inf).index_copy(0, allowed, kept)


class InCatalogue:
    """A ``LogitsProcessor`` for ``generate``, and a ``prefix_allowed_tokens_fn``.

    ::

        catalogue = Catalogue(folder)
        prompt = torch.tensor([catalogue.prompt([3, 17])])
        found = model.generate(prompt, logits_processor=[InCatalogue(catalogue, prompt.shape[1])], num_beams=10,
                               num_return_sequences=10, length_penalty=0.0, eos_token_id=catalogue.end)
        places = [catalogue.place_of(ids) for ids in found[:, prompt.shape[1]:].tolist()]

    Args:
        catalogue: :class:`Catalogue`.
        skip: tokens of a row before what is generated: those of the prompt, or 1 for an encoder-decoder.
    """

    def __init__(self, catalogue, skip):
        self.catalogue, self.skip = catalogue, skip

    def __call__(self, input_ids, scores):
        """Constrain the scores ``[B, V]`` of the token after ``input_ids`` ``[B, T]``."""
        rows = zip(input_ids[:, self.skip :].tolist(), scores)
        return torch.stack([self.catalogue.constrain(generated, row) for generated, row in rows])

    def allowed_tokens(self, row, input_ids):
        """``prefix_allowed_tokens_fn``: with ``over_trie`` it needs ``renormalize_logits=True`` beside it."""
        return self.catalogue.following(input_ids[self.skip :].tolist()).tolist()


def __getattr__(name):
    """Make the class for vLLM when it is asked for: its base class is vLLM's."""
    if name != "InCatalogueForVLLM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

    class InCatalogueForVLLM(AdapterLogitsProcessor):
        """Keeps every request in the catalogue of the folder that this file lies in.

        ``vllm serve FOLDER --logits-processors constrained:InCatalogueForVLLM`` with the folder in ``PYTHONPATH``, or
        ``LLM(FOLDER, logits_processors=[InCatalogueForVLLM])``. A request whose ``SamplingParams`` have
        ``extra_args={"in_catalogue": False}`` is left alone; one names another export by
        ``extra_args={"catalogue": FOLDER}``.
        """

        catalogues = {}

        def is_argmax_invariant(self):
            """The constraint changes which token is the best."""
            return False

        def new_req_logits_processor(self, params):
            """The function that constrains a request, called with the tokens generated so far and logits ``[V]``."""
            asked = params.extra_args or {}
            if not asked.get("in_catalogue", True):
                return None
            folder = str(asked.get("catalogue", Path(__file__).parent))
            if folder not in self.catalogues:
                self.catalogues[folder] = Catalogue(folder)
            catalogue = self.catalogues[folder]

            def constrain(generated, logits):
                return catalogue.constrain(generated, logits)

            return constrain

    InCatalogueForVLLM.__qualname__ = "InCatalogueForVLLM"  # worker processes find it in this module
    globals()["InCatalogueForVLLM"] = InCatalogueForVLLM
    return InCatalogueForVLLM
