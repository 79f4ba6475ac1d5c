"""Learned vectors of items beside those of their texts."""

import pytest
import torch
from torch import nn

from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors.item_vectors import ItemVectors

ITEMS, WIDTH = 7, 4


@pytest.fixture
def table():
    torch.manual_seed(1)
    table = torch.randn(ITEMS, 3)
    table[0] = 0
    return table


@pytest.fixture
def plain():
    torch.manual_seed(2)
    return nn.Embedding(ITEMS, WIDTH, padding_idx=0)


@pytest.fixture
def vectors(plain, table):
    vectors = ItemVectors(plain.weight, table, padding_idx=0)
    nn.init.normal_(vectors.projection)
    return vectors


@pytest.mark.parametrize("shape", [(1, 3), (5, 4)])  # few items, and more than there are
def test_with_the_projection_at_zero_it_is_the_embedding(plain, table, shape):
    vectors = ItemVectors(plain.weight, table, torch.ones(ITEMS, dtype=torch.bool), 0.0, 0)
    item = torch.randint(ITEMS, shape)
    state = torch.get_rng_state()
    for module, weight in ((plain, plain.weight), (vectors, vectors.learned)):
        module.train()
        (module(item).sin().sum() + (module.weight**2).sum()).backward()
        assert weight.grad.any()
    assert torch.equal(vectors(item), plain(item)) and torch.equal(vectors.weight, plain.weight)
    assert torch.equal(vectors.learned.grad, plain.weight.grad)
    assert vectors.projection.grad.any() and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(1, 3), (5, 4)])
def test_vectors_are_learned_plus_projected(vectors, table, shape):
    item = torch.randint(ITEMS, shape)
    expected = vectors.learned[item] + table[item] @ vectors.projection
    torch.testing.assert_close(vectors(item), expected)
    torch.testing.assert_close(vectors.weight[item], expected)
    assert set(vectors.state_dict()) == {"learned", "projection"}


@pytest.mark.parametrize("rows", [1, 5])
def test_padding_has_no_gradient_from_the_input(vectors, rows):
    vectors(torch.tensor([[0, 1]] * rows)).sum().backward()
    assert not vectors.learned.grad[0].any() and vectors.learned.grad[1].any()


@pytest.mark.parametrize("shape", [(1, 3), (5, 4)])
def test_dropped_items_have_their_text_alone_everywhere_in_a_step(plain, table, shape):
    vectors = ItemVectors(plain.weight, table, dropout=0.5, padding_idx=0)
    nn.init.normal_(vectors.projection)
    whole, item = vectors.weight.detach(), torch.randint(1, ITEMS, shape)
    text = table @ vectors.projection
    masks = []
    for _ in range(20):
        vectors.draw()
        dropped = torch.isclose(vectors.weight, text).all(1)
        torch.testing.assert_close(vectors.weight, torch.where(dropped[:, None], text, whole))
        torch.testing.assert_close(vectors(item), vectors.weight[item])  # in the history as in the prior
        masks.append(dropped[1:].tolist())
    assert len(set(map(tuple, masks))) > 5 and 0.3 < torch.tensor(masks).float().mean() < 0.7
    vectors.eval()
    torch.testing.assert_close(vectors.weight, whole)


def test_unseen_items_have_their_text_alone_and_learn_nothing_else(plain, table):
    seen = torch.arange(ITEMS) < 5
    vectors = ItemVectors(plain.weight, table, seen, 0.3)
    optimizer = torch.optim.AdamW(vectors.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(5):
        vectors.draw()
        loss = (vectors.weight.sin() + vectors(torch.arange(ITEMS)).cos()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not vectors.learned[5:].any() and vectors.learned[:5].all() and vectors.weight[5:].all()


def test_further_texts(vectors, table):
    more = torch.randn(2, 3)
    item = torch.tensor([[1, ITEMS], [ITEMS + 1, 0]] * 4)
    with vectors.eval().with_texts(more):
        found = vectors(item)
    torch.testing.assert_close(found[0, 1], more[0] @ vectors.projection)
    torch.testing.assert_close(found[1, 0], more[1] @ vectors.projection)
    torch.testing.assert_close(found[0, 0], vectors.weight[1])
    with pytest.raises(IndexError):
        vectors(item)


def test_another_table_is_refused(plain, table):
    vectors = ItemVectors(plain.weight, table, fingerprint=True)
    state = vectors.state_dict()
    assert "fingerprint" in state and "table" not in state
    ItemVectors(plain.weight, table * (1 + 1e-7), fingerprint=True).load_state_dict(state)  # rounding
    for changed in (table + torch.eye(ITEMS)[:, :3] * 0.1, table.flip(0), -table):
        with pytest.raises(GenRecError, match="The vectors of item texts are others than those"):
            ItemVectors(plain.weight, changed, fingerprint=True).load_state_dict(state)
