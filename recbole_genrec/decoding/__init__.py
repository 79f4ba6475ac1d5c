"""Token ids in, item ids out: the trie of all identifiers, exact top-K, beam search and scoring.

This room knows no model by name. It needs a backbone with ``embed``, ``forward``, ``fill``, ``logits`` and
``new_cache``, as :class:`recbole_genrec.backbone.backbone.Backbone` has them.
"""
