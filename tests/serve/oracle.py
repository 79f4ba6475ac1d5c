"""Recommendations by brute force: every item fed whole, on its own, scored by teacher forcing."""

import torch
from hypothesis import strategies as st

from recbole_genrec import ItemId
from recbole_genrec.decoding.scoring import score_by_teacher_forcing
from tests.serve.conftest import ITEMS

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}
TITLES = [item[1] for item in ITEMS if item[1]]
ENTRIES = st.one_of(
    st.sampled_from(TITLES),
    st.builds(ItemId, st.sampled_from([item[0] for item in ITEMS])),
    st.sampled_from(["toy story!", "A quiet film", "tab\tand\nline", "</s>", "Heat (2)"]),
)


@torch.no_grad()
def oracle(recommender, history):
    """Log-probability of every item after one history ``[I]``: one prompt, each item fed whole."""
    ranker, batch = recommender.ranker, recommender._read([history])
    embeds, length = ranker.embed_prompts(batch.packer.prompts(batch.items, batch.first, batch.stop))
    items = torch.arange(1, ranker.trie.n_items + 1)
    return score_by_teacher_forcing(
        ranker.backbone, ranker.trie, embeds[:, : int(length)], items, ranker.engine.normalization
    )


def assert_best(recommender, answer, scores, allowed, k):
    """A list is the K best of the allowed items by their scores ``[I]``, each with its own probability."""
    numbers = [recommender.reader.number[r.item_id] - 1 for r in answer.recommendations]
    expected = scores[allowed].sort(descending=True).values[:k].exp()
    found = torch.tensor([r.probability for r in answer.recommendations])
    torch.testing.assert_close(found, expected, **TOLERANCE)
    torch.testing.assert_close(scores[numbers].exp(), found, **TOLERANCE)
    assert allowed[numbers].all() and len(set(numbers)) == len(numbers)
    assert [r.rank for r in answer.recommendations] == list(range(1, len(numbers) + 1))
