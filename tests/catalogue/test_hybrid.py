import pytest

from recbole_genrec.catalogue.schemes import Code
from recbole_genrec.errors import GenRecError

SETTINGS = {"cluster_branches": 4, "cluster_leaf_size": 5}


@pytest.mark.parametrize("suffix", ["title", "independent"])
@pytest.mark.parametrize("prefix", ["collaborative", "semantic"])
@pytest.mark.parametrize("levels", [1, 2, 9])
def test_a_prefix_of_one_scheme_and_the_whole_of_another(world, numbered, index, prefix, suffix, levels):
    items, sequences = numbered(*world)
    built = index(
        "hybrid",
        items,
        sequences,
        hybrid_prefix=prefix,
        hybrid_levels=levels,
        hybrid_suffix=suffix,
        **SETTINGS,
    )
    whole = index(prefix, items, sequences, **SETTINGS)
    for item, pieces, path in zip(items, built.pieces, whole.pieces):
        if suffix == "title":
            assert pieces[-1] == f"Item {item[1:]}"
        else:
            assert pieces[-1].level == levels
        assert len(pieces[:-1]) <= levels
        assert pieces[:-1] == path[: len(pieces) - 1]
        assert all(code.level < levels for code in pieces[:-1])
    if suffix == "independent":
        assert len({pieces[-1] for pieces in built.pieces}) == len(items)
    assert built.collisions == 0


def test_titles_collide_only_within_a_prefix(index, numbered):
    train = {f"u{user}": [f"i{user % 2}{n}" for n in range(6)] for user in range(20)}
    items, sequences = numbered(train, {})
    texts = [f"Item {item[2:]}" for item in items]  # both halves have the same titles
    built = index("hybrid", items, sequences, texts, hybrid_levels=1, cluster_branches=2, cluster_leaf_size=6)
    assert built.collisions == 0
    assert {pieces[0] for pieces in built.pieces} == {Code(0, 0), Code(0, 1)}


@pytest.mark.parametrize("settings", [{"hybrid_prefix": "titel"}, {"hybrid_suffix": "semantic"}, {"hybrid_levels": 0}])
def test_settings_are_checked(index, settings):
    with pytest.raises(GenRecError, match=next(iter(settings))):
        index("hybrid", ["i1"], **settings)
