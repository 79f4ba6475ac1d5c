"""The training reviews of every item, and which of them a prompt about one interaction may show.

The target of a summary is a review that was left out, and the prompt has other reviews of the item: the leave-one-out
objective of summarising opinions without gold summaries (Arthur Bražinskas, Mirella Lapata, Ivan Titov, "Unsupervised
Opinion Summarization as Copycat-Review Generation", ACL 2020, and "Few-Shot Learning for Opinion Summarization", EMNLP
2020; Hady Elsahar et al. "Self-Supervised and Controlled Multi-Document Opinion Summarization", EACL 2021).

Only training reviews are shown, and none of the target's own user, who may have written the same about the item twice.

Letters: N interactions of the store, P places of interactions.
"""

import numpy as np

from recbole_genrec.errors import GenRecError

#: what stands between the reviews of an item in a prompt.
BETWEEN_REVIEWS = " |"


class ItemReviews:
    """See the module's header.

    Args:
        places: of the training interactions with a review, ascending.
        items: item of every interaction of the store ``[N]``.
        users: user of every interaction of the store ``[N]``.
    """

    def __init__(self, places, items, users):
        self.items, self.users = items, users
        self.places = places[np.argsort(items[places], kind="stable")]
        self._begin = np.searchsorted(items[self.places], np.arange(items.max(initial=0) + 2))
        self._pair, self._count = np.unique(self._pairs(self.places), return_counts=True)

    def _pairs(self, places):
        """A number for each pair of user and item ``[P]``."""
        return self.users[places].astype(np.int64) * (self.items.max(initial=0) + 1) + self.items[places]

    def others(self, place):
        """Places of the training reviews of an interaction's item by other users than its own, ascending."""
        item = self.items[place]
        of_item = self.places[self._begin[item] : self._begin[item + 1]]
        return of_item[self.users[of_item] != self.users[place]]

    def has_others(self, places):
        """Whether :meth:`others` has any, for each of ``places`` ``[P]``."""
        if not len(self.places):
            return np.zeros(len(places), bool)
        of_item = np.diff(self._begin)[self.items[places]]
        pairs = self._pairs(places)
        found = np.searchsorted(self._pair, pairs).clip(max=len(self._pair) - 1)
        return of_item > np.where(self._pair[found] == pairs, self._count[found], 0)


def check_reviews(writer, count):
    """Refuse more reviews than fit into a prompt of ``item_summary``, whatever else the prompt holds.

    Args:
        writer: :class:`~recbole_genrec.batches.tasks.TaskWriter`.
        count: reviews of an item in a prompt, each as long as its limit.

    Raises:
        GenRecError: they do not fit; the message says how many do.
    """
    limits = writer.limits
    each = limits.item_review + len(writer.encode(BETWEEN_REVIEWS))
    longest = {"item": max(map(len, writer.identifier)), "item_reviews": 0}
    for prompt in writer.prompts.families["item_summary"]:
        if "item_text" not in longest and any(piece.field == "item_text" for piece in prompt):
            longest["item_text"] = max(len(writer.encode(f" {text}")) for text in writer.item_texts)
        fixed = sum(len(writer.encode(piece.text)) if piece.text else longest[piece.field] for piece in prompt)
        fitting = max((limits.prompt - 1 - fixed) // each, 0)
        if count > fitting:
            raise GenRecError(
                f"'summary_reviews' ({count}) of 'summary_review_tokens' ({limits.item_review}) do not fit into "
                f"'max_prompt_tokens' ({limits.prompt}): {fitting} do."
            )
