"""A shop whose users write reviews of different lengths, each with a word that tells its part of the split."""

import numpy as np

from tests.model.test_p5 import HEADER, SMALL

WORDS = ["gift", "card", "good", "bad", "late", "kind", "box", "in", "time", "never", "again", "love"]
#: one word in every held-out review and title, and another in those of training; neither is in any other text.
HELD_OUT, KNOWN = "zebra", "koala"
REVIEWS = SMALL | {
    "tasks": {"sequential": 1, "review_generation": 1, "item_summary": 1},
    "summary_reviews": 2,
    "summary_review_tokens": 16,
    "max_review_tokens": 24,
    "max_prompt_tokens": 128,
}


def review_shop(tmp_path, write_dataset, held_out=HELD_OUT, known=KNOWN, header=HEADER):
    """Write the data set ``tiny``: 20 users with 5 to 8 reviews of 9 items, the last two of each held out."""
    generator, rows = np.random.default_rng(2), []
    for user in range(20):
        count = 5 + user % 4
        for time in range(count):
            mark = held_out if time >= count - 2 else known
            first, second = (" ".join(generator.choice(WORDS, generator.integers(1, 8))) for _ in "ab")
            title = "Five Stars" if (user + time) % 5 == 0 else f"{mark} {generator.choice(WORDS)}"
            rows.append((f"u{user}", f"i{(user + time) % 9}", 1000 + time, 4, f"{mark} {first}. {second}!", title))
    items = [(f"i{item}", f"thing number {item}") for item in range(9)]
    columns = [HEADER.index(name) for name in header]
    return write_dataset(
        tmp_path / "data", [tuple(row[n] for n in columns) for row in rows], items, inter_header=header
    )
