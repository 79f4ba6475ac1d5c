"""A world in which only the context of a history tells which item comes next."""

import numpy as np

HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
ITEMS = [("a", "Anchor"), ("b", "Boat"), ("c", "Cloud"), ("d", "Desert")]


def write_context_world(write_dataset, folder, by, start=0):
    """Write histories; the next item depends on the rating of the last, or on how long it takes: nothing else tells.

    Args:
        write_dataset: the fixture.
        folder: where to.
        by: ``rating`` or ``time``.
        start: the earliest time.

    Returns:
        RecBole's ``data_path``.
    """
    generator, rows = np.random.default_rng(0), []
    for user in range(60):
        item, time = int(generator.integers(4)), start + int(generator.integers(1000))
        for _ in range(12):
            choice = int(generator.integers(2))
            rating = 1 + 4 * choice if by == "rating" else 3
            rows.append((f"u{user}", "abcd"[item], rating, time))
            time += [10, 100_000][choice] if by == "time" else 60
            item = (item + 1 + choice) % 4
    return write_dataset(folder, rows, ITEMS, inter_header=HEADER)
