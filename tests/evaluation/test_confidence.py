import numpy as np
import pytest

import recbole_genrec.evaluation.confidence as confidence
from recbole_genrec.evaluation.confidence import bootstrap_intervals


def test_intervals_are_those_of_resampling_row_by_row():
    generator = np.random.default_rng(0)
    values = {"hit@10": (generator.random(300) < 0.2).astype(float), "ndcg@10": generator.random(300)}
    intervals = bootstrap_intervals(values, np.arange(300), seed=1)
    for name, value in values.items():
        means = [generator.choice(value, len(value)).mean() for _ in range(4000)]
        assert intervals[name] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.15 * value.std() / 300**0.5)


def test_rows_of_one_user_are_drawn_together():
    """Fifty equal rows a user tell no more than one: the interval is as wide as that of the users."""
    value = (np.random.default_rng(0).random(200) < 0.3).astype(float)
    alone = bootstrap_intervals({"hit@1": value}, np.arange(200), seed=2)
    repeated = bootstrap_intervals({"hit@1": np.repeat(value, 50)}, np.repeat(np.arange(200), 50), seed=2)
    assert repeated["hit@1"] == pytest.approx(alone["hit@1"])


def test_users_with_more_rows_weigh_more_as_in_recboles_mean():
    users = np.array([4] * 9 + [7])
    low, high = bootstrap_intervals({"hit@1": (users == 4).astype(float)}, users, seed=0)["hit@1"]
    assert (low, high) == (0, 1)
    means = bootstrap_intervals({"hit@1": np.ones(10)}, users, seed=0)["hit@1"]
    assert means == pytest.approx([1, 1])


def test_the_seed_decides_and_memory_does_not(monkeypatch):
    values = {"hit@1": np.random.default_rng(0).random(50)}
    first = bootstrap_intervals(values, np.arange(50), seed=3)
    assert bootstrap_intervals(values, np.arange(50), seed=3) == first
    assert bootstrap_intervals(values, np.arange(50), seed=4) != first
    monkeypatch.setattr(confidence, "DRAWN_AT_ONCE", 7 * 50)
    assert bootstrap_intervals(values, np.arange(50), seed=3)["hit@1"] == pytest.approx(first["hit@1"])


def test_nothing_measured_gives_no_interval():
    assert bootstrap_intervals({}, np.arange(3), seed=0) == {}


def test_no_more_is_drawn_at_once_than_asked_for_and_the_means_are_the_same(monkeypatch):
    sums, drawn = np.random.default_rng(0).random((10, 2)), []
    whole = confidence.resampled_means(sums, 7, 3)
    assert whole.shape == (7, 1)

    class Generator:
        def __init__(self, seed):
            self.own = np.random.Generator(np.random.PCG64(seed))

        def multinomial(self, count, share, size):
            drawn.append(size)
            return self.own.multinomial(count, share, size)

    monkeypatch.setattr(confidence.np.random, "default_rng", Generator)
    for at_once, sizes in ((1, [1] * 7), (35, [3, 3, 1]), (10_000, [7])):
        monkeypatch.setattr(confidence, "DRAWN_AT_ONCE", at_once)
        drawn.clear()
        np.testing.assert_allclose(confidence.resampled_means(sums, 7, 3), whole)
        assert drawn == sizes
