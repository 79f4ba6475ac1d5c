"""Token ids in, item ids out: the trie of all identifiers, exact top-K, beam search and scoring.

This room knows no model by name; what it needs of one stands in :mod:`recbole_genrec.decoding.language_model`.
"""
