"""Cross-entropy over a catalogue in pieces: the oracle is torch's, on logits written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from recbole_genrec.model import catalogue_loss
from recbole_genrec.model.catalogue_loss import catalogue_cross_entropy


def drawn(n_states, n_items, width=5, scale=1.0):
    generator = torch.Generator().manual_seed(n_states * 100 + n_items)
    states = torch.randn(n_states, width, generator=generator) * scale
    items = torch.randn(n_items, width, generator=generator) * scale
    target = torch.randint(n_items, (n_states,), generator=generator)
    return states.requires_grad_(), items.requires_grad_(), target


@settings(deadline=None, max_examples=50)
@given(n_states=st.integers(1, 20), n_items=st.integers(1, 20), at_once=st.integers(1, 200))
def test_it_is_torchs_with_its_gradients_however_it_is_cut(n_states, n_items, at_once):
    states, items, target = drawn(n_states, n_items)
    expected = cross_entropy(states @ items.T, target)
    gradients = torch.autograd.grad(3 * expected, [states, items])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue_loss.LOGITS_AT_ONCE, "cpu", at_once)
        loss = catalogue_cross_entropy(states, items, target)
    torch.testing.assert_close(loss, expected)
    for own, other in zip(torch.autograd.grad(3 * loss, [states, items]), gradients):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


def test_a_weighted_sum_is_torchs_with_its_gradients():
    states, items, target = drawn(7, 9)
    weight = torch.rand(7, generator=torch.Generator().manual_seed(0))
    expected = (cross_entropy(states @ items.T, target, reduction="none") * weight).sum()
    gradients = torch.autograd.grad(expected, [states, items])
    loss = catalogue_cross_entropy(states, items, target, weight)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, [states, items]), gradients)


def test_a_hopeless_target_costs_a_finite_loss():
    """Its probability is 0 in float32."""
    states, items, target = drawn(8, 9, scale=30.0)
    loss = catalogue_cross_entropy(states, items, target)
    expected = cross_entropy(states @ items.T, target)
    assert torch.softmax(states @ items.T, 1).gather(1, target[:, None]).min() == 0
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(states.grad).all() and torch.isfinite(items.grad).all()


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_side_gets_no_gradient(frozen):
    inputs = drawn(4, 6)
    inputs[frozen].requires_grad_(False)
    catalogue_cross_entropy(*inputs).backward()
    assert inputs[frozen].grad is None and inputs[1 - frozen].grad is not None


def test_autocast_to_half_precision_does_not_round_it():
    states, items, target = drawn(20, 30)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = catalogue_cross_entropy(states.half(), items, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(states.half().float() @ items.T, target))


def test_autocast_to_bfloat16_rounds_the_factors_of_its_products_and_no_sum():
    """Against float32 on factors that bfloat16 holds exactly: what is left is the rounding of logits and gradients."""
    states, items, target = (each.detach() for each in drawn(200, 300, width=16, scale=0.5))
    inputs = [each.bfloat16().float().requires_grad_() for each in (states, items)]
    expected = cross_entropy(inputs[0] @ inputs[1].T, target)
    gradients = torch.autograd.grad(expected, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = catalogue_cross_entropy(*inputs, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, atol=2e-3, rtol=0)
    for own, other in zip(torch.autograd.grad(loss, inputs), gradients):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize(("at_once", "rows"), [(1, 1), (6, 1), (12, 2), (13, 2), (100, 7)])
def test_no_more_logits_stand_in_memory_than_are_asked_for(monkeypatch, at_once, rows):
    states, items, target = drawn(7, 6)
    made, residuals = [], catalogue_loss._to_residuals
    monkeypatch.setitem(catalogue_loss.LOGITS_AT_ONCE, "cpu", at_once)
    monkeypatch.setattr(
        catalogue_loss, "_to_residuals", lambda logits, label: made.append(len(logits)) or residuals(logits, label)
    )
    catalogue_cross_entropy(states, items, target)
    assert sum(made) == 7 and made[0] == max(made) == rows
