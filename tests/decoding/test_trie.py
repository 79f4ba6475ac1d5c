"""The trie against its definition, read off the identifiers one by one."""

import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_genrec.decoding import trie as trie_module
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError

END = 99
#: the items of the module's header.
EXAMPLE = [(9, 4), (5, 6, 7), (5, 6, 8)]
catalogues = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=20, unique=True
)


def decisions(identifiers, item):
    """Depths at which some other identifier shares the prefix and goes on differently; the root always counts."""
    ended = [(*identifier, END) for identifier in identifiers]
    own = ended[item - 1]
    following = [{other[depth] for other in ended if other[:depth] == own[:depth]} for depth in range(len(own))]
    return [depth for depth, tokens in enumerate(following) if depth == 0 or len(tokens) > 1]


@settings(max_examples=200, deadline=None)
@given(catalogues)
def test_paths_hold_each_items_decisions(identifiers):
    trie = build_trie(identifiers, END)
    assert trie.n_edges == trie.n_items + trie.n_nodes - 1  # a tree whose leaves are the items
    for item, identifier in enumerate(identifiers, start=1):
        ended = [*identifier, END]
        assert trie.token[trie.token_offset[item] : trie.token_offset[item + 1]].tolist() == ended
        path = trie.path_edge[trie.path_offset[item] : trie.path_offset[item + 1]]
        depths = decisions(identifiers, item)
        assert trie.edge_begin[path].tolist() == depths
        assert trie.edge_token[path].tolist() == [ended[depth] for depth in depths]
        assert trie.edge_end[path].tolist() == [*depths[1:], len(ended)]
        assert trie.edge_child[path].tolist() == [*trie.edge_node[path][1:].tolist(), -1]
        assert trie.edge_item[path].tolist() == [0] * (len(path) - 1) + [item]


@settings(max_examples=100, deadline=None)
@given(catalogues)
def test_edges_cover_the_items_below_them(identifiers):
    trie = build_trie(identifiers, END)
    below = [0] * trie.n_edges
    for edge in trie.path_edge.tolist():
        below[edge] += 1
    assert (trie.edge_high - trie.edge_low).tolist() == below
    assert (trie.edge_node <= trie.edge_child.where(trie.edge_child >= 0, trie.n_nodes)).all()


@settings(max_examples=200, deadline=None)
@given(catalogues, st.integers(1, 20))
def test_common_edges_begin_with_the_same_tokens(identifiers, count):
    def prefixes(trie):
        starts = zip(trie.edge_sample.tolist(), trie.edge_begin.tolist())
        ended = [(*identifier, END) for identifier in identifiers]
        return [ended[item - 1][: begin + 1] for item, begin in starts]

    trie, former = build_trie(identifiers, END), build_trie(identifiers[:count], END)
    here, there = prefixes(trie), prefixes(former)
    found = {(here[own], there[other]) for own, other in zip(*(edges.tolist() for edges in trie.common_edges(former)))}
    assert found == {(prefix, prefix) for prefix in set(here) & set(there)}


def drawn(first, count):
    """A table of the module's header as ``[{name: text}]``, from the row of names that begins with ``first``."""
    lines = trie_module.__doc__.splitlines()
    start = next(n for n, line in enumerate(lines) if re.match(rf"    {first}  ", line))
    names = [(match.group().strip(), match.start()) for match in re.finditer(r"\S+( \S+)*", lines[start])]
    ends = [*(begin for _, begin in names[1:]), None]
    return [
        {name: line[begin:end].strip() for (name, begin), end in zip(names, ends)}
        for line in lines[start + 1 : start + 1 + count]
    ]


def ids(tensor):
    return " ".join(map(str, tensor.tolist()))


def test_the_example_of_the_header_is_what_the_code_gives():
    trie = build_trie(EXAMPLE, 2)
    for item, row in enumerate(drawn("item", 3), start=1):
        own = trie.token[trie.token_offset[item] : trie.token_offset[item + 1]]
        assert (row["identifier"], row["token"]) == (" ".join(map(str, EXAMPLE[item - 1])), ids(own))
        assert trie.row_item[int(row["row"].split()[0])] == item
    for edge, row in enumerate(drawn("edge", 4)):
        assert int(row.pop("edge")) == edge and len(row) == 10
        assert {name: int(getattr(trie, f"edge_{name}")[edge]) for name in row} == {n: int(v) for n, v in row.items()}
    for node, row in enumerate(drawn("node", 2)):
        assert (row["depth"], row["offset"].split()[0]) == (
            str(int(trie.node_depth[node])),
            str(int(trie.node_offset[node])),
        )
    text = trie_module.__doc__.replace("| ", "")
    for name in ("path_edge", "path_offset", "token_offset", "inner_token"):
        assert re.search(rf"{name}((?: +\d+)+)", text)[1].split() == ids(getattr(trie, name)).split()
    for name, edges in re.findall(r"item (\d): edges? ([\d, ]+\d)", text):
        path = trie.path_edge[trie.path_offset[int(name)] : trie.path_offset[int(name) + 1]]
        assert path.tolist() == list(map(int, edges.split(",")))


def test_the_walk_of_the_header_is_what_the_builder_does(monkeypatch):
    seen, branch = [], trie_module._DepthWalk._branch

    def recorded(walk, first, size):
        token = walk._token[walk._offset[walk.order[walk.row]] + walk.depth]
        before = walk.n_nodes, walk.n_edges
        state = [str(walk.depth), *map(ids, (walk.row, walk.group, token, first))]
        branch(walk, first, size)
        made = [
            f"{edge} (rows" if size[n] > 1 else f"{edge} (row" for n, edge in enumerate(range(before[1], walk.n_edges))
        ]
        seen.append([*state, str(before[0]) if walk.n_nodes > before[0] else "-", made])

    monkeypatch.setattr(trie_module._DepthWalk, "_branch", recorded)
    build_trie(EXAMPLE, 2)
    rows = [list(row.values()) for row in drawn("depth", 3)]
    assert [[*row[:-1], re.findall(r"\d \(rows?", row[-1])] for row in rows] == seen


def test_children_are_padded_to_the_widest_node():
    trie = build_trie([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)], END)
    edge, mask = trie.children(trie.edge_child[:2])
    assert trie.edge_token[edge][0].tolist() == [1, 2, 3]
    assert trie.edge_token[edge][1, :2].tolist() == [1, 2]
    assert mask.tolist() == [[True, True, True], [True, True, False]]


def test_a_title_that_begins_another_is_told_apart_by_its_end():
    trie = build_trie([(5,), (5, 6)], END)
    assert trie.n_nodes == 2
    assert sorted(trie.edge_token[trie.edge_node == 1].tolist()) == [6, END]


@pytest.mark.parametrize(
    ("identifiers", "message"),
    [
        ([], "empty"),
        ([(1,), ()], "Item 2 has an empty identifier"),
        ([(1, 2), (3,), (1, 2)], "Items 1 and 3 share an identifier"),
        ([(1, END)], "Item 1 has the end token"),
    ],
)
def test_bad_catalogues_are_refused(identifiers, message):
    with pytest.raises(GenRecError, match=message):
        build_trie(identifiers, END)


def test_a_large_catalogue_is_built_whole():
    identifiers = [(item // 1000, item // 10 % 100, item % 10) for item in range(100_000)]
    trie = build_trie(identifiers, 5000)
    assert trie.n_items == 100_000
    assert trie.n_nodes == 1 + 100 + 100 * 100


def peak_bytes(identifiers):
    """The most memory that building the trie takes beside the identifiers."""
    tracemalloc.start()
    try:
        build_trie(identifiers, 50_000)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_follows_the_tokens():
    identifiers = [(item % 997, item // 997, item % 7, item % 3) for item in range(16_000)]
    small, large = peak_bytes(identifiers[:8_000]), peak_bytes(identifiers)
    assert large < 2.3 * small
    long = tuple(range(10_000))
    # one title of 10,000 tokens costs these, and not as many columns for everybody
    assert peak_bytes([*identifiers, long]) < large + 100 * len(long)
    assert peak_bytes([*identifiers, long, (*long, 1)]) < large + 200 * len(long)


def test_long_identifiers_that_part_at_their_end():
    long = (7,) * 3000
    trie = build_trie([(*long, 1), long, (*long, 1, 2), (8,)], END)
    assert trie.node_depth.tolist() == [0, 3000, 3001]
    assert trie.edge_item.tolist() == [0, 4, 0, 2, 3, 1]  # at each node in the order of tokens: END is 99
