"""The prior over whole items against its definition."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from recbole_genrec.decoding import upper_part
from recbole_genrec.decoding.prior import edge_prior
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.decoding.softmax import trie_loss
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.vectors.item_vectors import ItemVectors

SEEDS = [1, 2, 4, 5, 7, 8, 10, 11, 13, 14]  # the cases that have vectors of items


class SilentBackbone:
    """Every token is as likely as any other."""

    def __init__(self, backbone):
        self.backbone = backbone

    def __getattr__(self, name):
        return getattr(self.backbone, name)

    def __call__(self, *args, **kwargs):
        return self.backbone(*args, **kwargs)

    def logits(self, hidden, token_ids=None):
        return torch.zeros_like(self.backbone.logits(hidden, token_ids))


def item_logits(trie, hidden):
    return hidden @ trie.item_vectors.weight[1:].T


def of_every_edge(trie, prior, count):
    """What a prior adds to all edges after each of ``count`` histories ``[count, E]``."""
    history, edge = torch.cartesian_prod(torch.arange(count), torch.arange(trie.n_edges)).T
    return prior.of(history, edge).view(count, -1)


@pytest.mark.parametrize("one_of", [1, 2, 8, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_an_edge_has_the_weight_of_the_items_below_it(make_case, monkeypatch, seed, one_of):
    """The oracle sums every edge for every history; whichever nodes are in the upper part. The gradients are alike."""
    monkeypatch.setattr(upper_part, "ONE_OF", one_of)
    case = make_case(seed)
    trie, hidden = case.trie, case.tree().root_hidden.detach()
    prior = edge_prior(trie, hidden)
    weight = item_logits(trie, hidden).softmax(1)  # [B, I]
    below = trie.count_below(torch.eye(trie.n_items + 1)[1:].bool()).float()  # [I, E]
    whole, found = (weight @ below).log(), of_every_edge(trie, prior, len(hidden))
    # a history's weights are known up to one factor
    torch.testing.assert_close(found.softmax(1), whole.softmax(1))
    torch.testing.assert_close(found[:, : len(trie.root_token)], prior.root())
    cotangent = torch.rand(found.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
    vectors = trie.item_vectors.weight
    gradients = [torch.autograd.grad((part.softmax(1) * cotangent).sum(), vectors)[0] for part in (found, whole)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("one_of", [1, 2, 8, 1000])
def test_the_upper_part_are_the_nodes_that_hold_many_items(make_case, monkeypatch, one_of):
    monkeypatch.setattr(upper_part, "ONE_OF", one_of)
    for seed in range(20):
        trie = make_case(seed).trie
        below = torch.bincount(trie.path_edge, minlength=trie.n_edges)
        at_node = torch.zeros(trie.n_nodes, dtype=torch.long).index_add(0, trie.edge_node, below)
        upper, part = torch.nonzero(at_node[trie.edge_node] * one_of >= trie.n_items)[:, 0], trie.upper_part
        assert part.n_edges == len(upper) and part.number[upper].tolist() == list(range(len(upper)))
        assert (part.number >= 0).sum() == len(upper)
        for row, item in enumerate(trie.row_item.tolist()):
            path = trie.path_edge[trie.path_offset[item] : trie.path_offset[item + 1]]
            assert trie.row_leaf[row] == path[-1]
            assert part.row_edge[row] == part.number[path].max()


def test_few_edges_are_summed_for_every_history():
    """A node of few items is summed for the histories that visit it alone."""
    trie = build_trie([(3 + item // 3, item % 3) for item in range(90)], 200)
    assert trie.upper_part.n_edges == len(trie.root_token) == 30 < trie.n_edges == 120


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_with_equal_tokens_the_items_have_the_probabilities_of_one_softmax(make_case, seed):
    case = make_case(seed)
    case.trie.edge_embedding = None
    case.backbone = SilentBackbone(case.backbone)
    tree = case.tree()
    expected = item_logits(case.trie, tree.root_hidden).log_softmax(1)
    torch.testing.assert_close(score_catalogue(tree)[:, 1:], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("share", [0.01, 0.4])
@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_unseen_items_have_their_share_together(make_case, seed, share):
    """In proportion to what they had, after every history; a loss knows nothing of it."""
    case = make_case(seed)
    case.trie.edge_embedding = None
    case.backbone = SilentBackbone(case.backbone)
    unseen = torch.arange(1, case.trie.n_items + 1) % 3 == 1
    vectors = case.trie.item_vectors
    table = torch.randn(case.trie.n_items + 1, 5, generator=torch.Generator().manual_seed(seed))
    vectors.weight[1:][unseen] = 0
    case.trie.item_vectors = items = ItemVectors(vectors.weight, table)
    torch.nn.init.normal_(items.projection, std=0.1)
    without = item_logits(case.trie, case.tree().root_hidden).softmax(1)
    case.trie.unseen_share = share
    tree = case.tree()
    scores = score_catalogue(tree)[:, 1:].exp()
    if unseen.all() or not unseen.any():
        torch.testing.assert_close(scores, without, rtol=1e-3, atol=1e-5)
        return
    torch.testing.assert_close(scores[:, unseen].sum(1), torch.full((len(scores),), share), rtol=1e-3, atol=1e-5)
    for items in (unseen, ~unseen):
        own, other = (part[:, items] / part[:, items].sum(1, keepdim=True) for part in (scores, without))
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)
    plain = edge_prior(case.trie, tree.root_hidden).root().softmax(1)
    case.trie.unseen_share = 0.0
    torch.testing.assert_close(edge_prior(case.trie, tree.root_hidden, ranks=True).root().softmax(1), plain)


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_zero_vectors_count_items(make_case, seed):
    case = make_case(seed)
    case.trie.item_vectors.weight.zero_()
    prior = edge_prior(case.trie, case.tree().root_hidden)
    counts = (case.trie.edge_high - case.trie.edge_low)[: len(case.trie.root_token)]
    torch.testing.assert_close(prior.root(), counts.float().log().expand(len(case.lengths), -1))


def test_without_vectors_there_is_none(make_case):
    case = make_case(3)
    assert case.trie.item_vectors is None and edge_prior(case.trie, case.tree().root_hidden) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_far_apart_stay_finite(make_case, seed):
    """The exponential of most items is 0 in a float: they are unlikely, and neither they nor the gradient are NaN."""
    case = make_case(seed)
    trie = case.trie
    with torch.no_grad():
        trie.item_vectors.weight.mul_(1e4)
    for item in range(1, trie.n_items + 1):
        edges = trie.path_edge[trie.path_offset[item] : trie.path_offset[item + 1]]
        hidden = torch.randn(len(edges), case.backbone.hidden_size, requires_grad=True)
        loss = trie_loss(case.backbone, trie, hidden, edges)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(hidden.grad).all()


@torch.no_grad()
def test_sums_keep_full_precision_under_autocast(make_case):
    case = make_case(1)
    hidden = case.tree().root_hidden
    exact = edge_prior(case.trie, hidden).root()
    with torch.autocast("cpu", torch.bfloat16):
        half = edge_prior(case.trie, hidden).root()
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.log_softmax(1), exact.log_softmax(1), rtol=0.05, atol=0.1)


def test_several_targets_keep_their_own_histories(make_case):
    """The loss of targets together is the sum of the losses of each alone."""
    case = make_case(1)
    trie, generator = case.trie, torch.Generator().manual_seed(0)
    edges = [trie.path_edge[trie.path_offset[i] : trie.path_offset[i + 1]] for i in range(1, trie.n_items + 1)]
    hidden = [torch.randn(len(path), case.backbone.hidden_size, generator=generator) for path in edges]
    alone = sum(trie_loss(case.backbone, trie, state, path) for state, path in zip(hidden, edges))
    torch.testing.assert_close(trie_loss(case.backbone, trie, torch.cat(hidden), torch.cat(edges)), alone)


@pytest.mark.parametrize("holds_out", [False, True], ids=["all", "some left out"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_of_whole_items_is_that_of_one_softmax(make_case, seed, holds_out):
    """The oracle has a logit for every item. Loss and gradients are alike, also where an item left out is likeliest."""
    case = make_case(seed)
    trie, generator = case.trie, torch.Generator().manual_seed(seed)
    hidden = torch.randn(7, case.backbone.hidden_size, generator=generator, requires_grad=True)
    unknown, known = None, torch.ones(trie.n_items, dtype=torch.bool)
    if holds_out and trie.n_items > 1:
        out = trie.n_items - 1
        with torch.no_grad():
            trie.item_vectors.weight[out + 1].mul_(1000)
        known[out] = False
        unknown = trie.count_below(torch.eye(trie.n_items + 1)[1:].bool())[known].sum(0) == 0
    items = torch.nonzero(known)[:, 0]
    target = items[torch.randint(len(items), (7,), generator=generator)]
    weight = torch.rand(7, generator=generator)
    logits = item_logits(trie, hidden).masked_fill(~known, -torch.inf)
    found = edge_prior(trie, hidden, unknown).item_loss(target + 1, weight)
    expected = (cross_entropy(logits, target, reduction="none") * weight).sum()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    wanted = (hidden, trie.item_vectors.weight)
    gradients = [torch.autograd.grad(loss, wanted, retain_graph=True) for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    alone = edge_prior(trie, hidden, unknown).item_loss(target + 1)
    torch.testing.assert_close(alone, cross_entropy(logits, target, reduction="sum"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("one_of", [1, 8, 1000])
def test_unknown_items_weigh_nothing(make_case, monkeypatch, one_of, trains):
    monkeypatch.setattr(upper_part, "ONE_OF", one_of)
    case = make_case(1)
    case.trie.item_vectors.requires_grad_(trains)
    trie, hidden = case.trie, case.tree().root_hidden.detach()
    unknown = torch.zeros(trie.n_edges, dtype=torch.bool)
    leaf = torch.nonzero(trie.edge_item)[0]
    unknown[leaf] = True
    known = edge_prior(trie, hidden, unknown)
    history = torch.arange(len(hidden))
    leaves = leaf.expand(len(hidden))
    assert (known.of(history, leaves) < -80).all()
    above = trie.path_edge[trie.path_offset[trie.edge_item[leaf]]].expand(len(hidden))
    below = trie.count_below(torch.eye(trie.n_items + 1)[1:].bool())[:, above[0]] > 0  # [I]
    weight = item_logits(trie, hidden).detach().double()
    weight[:, trie.edge_item[leaf] - 1] = -torch.inf
    rest = weight.softmax(1)[:, below].sum(1).float()
    share = known.of(history, above).exp() / known.root().exp().sum(1)  # weights are known up to a factor
    torch.testing.assert_close(share, rest, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_without_the_weight_of_titles_the_prior_ranks_alone(make_case, seed):
    """Whatever the tokens say, after every history; a loss knows nothing of it."""
    case = make_case(seed)
    trie = case.trie
    trie.title_weight = 0.0
    tree = case.tree()
    torch.testing.assert_close(
        score_catalogue(tree)[:, 1:].exp(), item_logits(trie, tree.root_hidden).softmax(1), rtol=1e-3, atol=1e-5
    )
    path = trie.path_edge[trie.path_offset[1] : trie.path_offset[2]]
    hidden = torch.randn(len(path), case.backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    loss = trie_loss(case.backbone, trie, hidden, path)
    trie.title_weight = 1.0
    torch.testing.assert_close(trie_loss(case.backbone, trie, hidden, path), loss)
