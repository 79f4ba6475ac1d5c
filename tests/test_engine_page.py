"""The worked examples of docs/engine.md are what the code computes."""

import re

import numpy as np
import pytest
import torch

from recbole_genrec.batches.packing import Packer
from recbole_genrec.batches.tokens import Around, PromptTokens
from recbole_genrec.decoding.search import search
from recbole_genrec.decoding.trie import build_trie
from tests.test_docs import ROOT

PAGE = (ROOT / "docs/engine.md").read_text("utf-8")
#: the words of the page as tokens; a template's come first.
WORDS = ["", "<s>", "⏎", ",", ">", "Scream", "Star", "Trek", "Wars", "Toy", "Soldiers", "Story"]
TOKEN = {word: number for number, word in enumerate(WORDS)}
END = TOKEN["⏎"]


def table(*names):
    """The rows of the table whose header is ``names``, as lists of texts."""
    header = "| " + " | ".join(names) + " |\n"
    assert PAGE.count(header) == 1, header
    rows = PAGE.split(header)[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def identifiers(titles):
    return [tuple(TOKEN[word] for word in title.split()) for title in titles]


@pytest.fixture(scope="module")
def titles():
    return [row[1].removesuffix(" ⏎") for row in table("item", "identifier")]


def test_the_edges_of_the_trie(titles):
    trie = build_trie(identifiers(titles), END)
    for number, (edge, node, word, child, item) in enumerate(
        table("edge", "from node", "first token", "leads to node", "decides item")
    ):
        assert int(edge) == number and int(node) == trie.edge_node[number]
        assert TOKEN[word] == trie.edge_token[number]
        assert int(child or -1) == trie.edge_child[number] and int(item or 0) == trie.edge_item[number]
    assert len(trie.edge_token) == number + 1


def packed(titles):
    """The batch of the page's history, and its packer's tokens by the words of the page."""
    tokens = [[TOKEN[word] for word in title.split()] for title in titles]
    item_token = [part for one in tokens for part in (TOKEN[","], *one)]
    offsets = np.cumsum([0, 0, *(len(one) + 1 for one in tokens)])
    prompt = PromptTokens(
        prefixes=(np.array([TOKEN["<s>"]]),),
        item_token=np.array(item_token),
        item_offset=offsets,
        around=Around(np.array([TOKEN[","]]), np.zeros(0, int)),
        response=np.array([TOKEN[">"]]),
        end=END,
    )
    packer = Packer(prompt, build_trie(identifiers(titles), END), "trie", max_prompt_tokens=100, pad_id=0)
    items = np.array([2, 1, 3])  # Star Trek, Scream, Star Wars
    windows = packer.plan(items, np.array([0, 3]), 2, np.random.default_rng(0))
    return packer.pack(items, windows)


def test_the_packed_batch(titles):
    rows = {name: cells for name, *cells in table("column", *map(str, range(8)))}
    batch = packed(titles)
    attention = batch.attention
    assert [TOKEN[word] for word in rows["token"]] == batch.input_ids.flatten().tolist()
    assert list(map(int, rows["position"])) == attention.position_ids.flatten().tolist()
    assert list(map(int, rows["sees of the trunk"])) == attention.limit.flatten().tolist()
    parts = [0 if part == "trunk" else int(part.removeprefix("branch ")) for part in rows["part"]]
    assert parts == attention.branch.flatten().tolist()
    labels = {column: int(edge) for column, edge in enumerate(rows["predicts edge"]) if edge}
    assert labels == dict(zip(batch.labels.cell.tolist(), batch.labels.label.tolist()))


def test_the_picture_of_attention(titles):
    """Cells of the picture are coloured where a token sees a token."""
    svg = (ROOT / "docs/assets/packed.svg").read_text("utf-8")
    cells = re.findall(r'<rect class="(cell|trunk|branch)"', svg)
    assert len(cells) == 64
    attention = packed(titles).attention
    branch, limit = attention.branch.flatten().tolist(), attention.limit.flatten().tolist()
    for query in range(8):
        for key in range(8):
            if branch[key]:
                expected = "branch" if branch[key] == branch[query] and key <= query else "cell"
            else:
                expected = "trunk" if key < limit[query] else "cell"
            assert cells[8 * query + key] == expected, (query, key)


def test_the_softmax_over_the_trie():
    (_, scream, star, *_), (_, _, _, trek, wars) = table("at", "Scream", "Star", "Trek", "Wars")
    items = [float(scream), float(star) * float(trek), float(star) * float(wars)]
    text = " ".join(PAGE.split())
    assert f"Star Trek {star} × {trek} = {items[1]:.2f}, Star Wars {star} × {wars} = {items[2]:.2f}" in text
    assert sum(items) == pytest.approx(1)


class WrittenTree:
    """A tree of one prompt whose edges have the probabilities that the picture of the search writes at them."""

    def __init__(self, titles, written):
        self.trie = build_trie(identifiers(titles), END)
        self.edges = torch.tensor([written[WORDS[token]] for token in self.trie.edge_token.tolist()]).log()
        self.root_hidden, self.read = torch.zeros(1, 1), []

    def __len__(self):
        return 1

    def probabilities(self, normalization):
        assert normalization == "trie"
        return self

    def of_root(self, hidden):
        return self.edges[None, : self.trie.node_offset[1]]

    def extend(self, prompt, edge, drop_last):
        self.read += [WORDS[token] for token in self.trie.edge_token[edge].tolist()]
        return torch.zeros(len(edge), 1), torch.arange(len(edge))

    def of_children(self, state, node, prompt):
        edge = torch.stack([torch.arange(*self.trie.node_offset[one : one + 2].tolist()) for one in node.tolist()])
        return self.edges[edge], edge


def test_the_search():
    svg = (ROOT / "docs/assets/search.svg").read_text("utf-8")
    written = {word: float(number) for word, number in re.findall(r">(Star|Wars|Trek|Scream|Toy) (0\.\d+)<", svg)}
    assert len(written) == 5
    titles = ["Scream", "Star Trek", "Star Wars", "Toy Soldiers", "Toy Story"]
    tree = WrittenTree(titles, written | {"Soldiers": 0.5, "Story": 0.5})
    found = search(tree, 2)
    pairs = zip(found.items[0].tolist(), found.scores[0].exp().tolist())
    lists = ", ".join(f"{titles[item - 1]} {score:.2f}" for item, score in pairs)
    first, second = table("step", "reads the node after", "finished items", "still open", "second best is at least")
    assert (second[2], [second[1]]) == (lists, tree.read)
    assert first[3] == ", ".join(f"{word} {written[word]:.2f}" for word in ("Star", "Toy"))
    assert float(first[4]) == min(written["Scream"], written["Star"] / 2) > written["Toy"]
    products = re.findall(r"(Star \w+): ([\d.]+) × ([\d.]+) = ([\d.]+)", svg)
    assert len(products) == 2
    for title, one, other, product in products:
        assert float(one) == written["Star"] and float(other) == written[title.split()[1]]
        assert f"{float(one) * float(other):.2f}" == product
