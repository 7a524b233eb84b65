"""Attention against torch's own, sequence by sequence, and by hand; nothing of another sequence weighs in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unspool import Ragged
from unspool.errors import InvalidParameterError
from unspool.seq2seq import Attention

SOURCES, TARGETS = [3, 1, 0, 6], [2, 5, 2, 1]


def batch(lengths: list[int], width: int, seed: int) -> Ragged:
    values = torch.randn(sum(lengths), width, generator=torch.Generator().manual_seed(seed))
    return Ragged.from_list(list(values.split(lengths)))


def attention(kind: str) -> Attention:
    torch.manual_seed(1)
    return Attention(kind, query_size=4, memory_size=7, size=5)


def alone(layer: Attention, s: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """(T, Q), (S, D) -> (T, D), of one sequence."""
    if not len(m):
        return torch.zeros(len(s), 7)
    if layer.kind == "multiplicative":
        return F.scaled_dot_product_attention((s @ layer.query.weight.T)[None], m[None], m[None], scale=1.0)[
            0
        ]
    W, b, U, v = layer.query.weight, layer.query.bias, layer.key.weight, layer.energy.weight[0]
    rows = []
    for query in s:
        e = torch.stack([v @ torch.tanh(W @ query + U @ step + b) for step in m])
        rows.append(e.softmax(0) @ m)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_values_and_gradients_are_those_of_each_sequence_alone(kind):
    layer = attention(kind)
    queries, memory = batch(TARGETS, 4, 2), batch(SOURCES, 7, 3)
    results = []
    for separately in (False, True):
        s, m = queries.values.clone().requires_grad_(), memory.values.clone().requires_grad_()
        layer.zero_grad()
        if separately:
            parts = zip(s.split(TARGETS), m.split(SOURCES))
            out = torch.cat([alone(layer, own, attended) for own, attended in parts])
        else:
            out = layer(queries.with_values(s), layer.memory(memory.with_values(m)))
        out.square().sum().backward()
        results.append([out.detach(), s.grad, m.grad, *(p.grad for p in layer.parameters())])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_what_is_not_of_the_sequence_has_the_weight_0(kind):
    layer = attention(kind)
    memory = layer.memory(batch(SOURCES, 7, 3))
    weights = layer.weights(torch.randn(4, 2, 4), memory)
    assert weights.shape == (4, 2, 6)
    torch.testing.assert_close(weights.sum(2), torch.ones(4, 2))
    for row, length in enumerate(SOURCES):
        assert (weights[row, :, max(1, length) :] == 0).all()


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_a_sequence_of_nan_beside_it_changes_nothing(kind):
    layer = attention(kind)
    queries, memory = batch(TARGETS, 4, 2), batch(SOURCES, 7, 3)
    expected = queries.with_values(layer(queries, layer.memory(memory)))
    broken = memory.values.clone()
    broken[4:] = torch.nan  # the last sequence
    found = queries.with_values(layer(queries, layer.memory(memory.with_values(broken))))
    for row in (0, 1, 2):
        assert torch.equal(found[row], expected[row])
    assert found[3].isnan().all()


def test_an_empty_sequence_gives_zeros():
    layer = attention("multiplicative")
    queries = batch([2, 2], 4, 2)
    for lengths in ([0, 0], [0, 3]):
        out = queries.with_values(layer(queries, layer.memory(batch(lengths, 7, 3))))
        assert torch.equal(out[0], torch.zeros(2, 7))


def test_by_hand():
    layer = Attention("multiplicative", 1, 1, 1)
    with torch.no_grad():
        layer.query.weight.fill_(np.log(3.0))
    memory = layer.memory(Ragged.from_list([torch.tensor([[0.0], [1.0]])]))
    # e = 0 and ln 3: weights 1/4 and 3/4
    assert layer(Ragged.from_list([torch.ones(1, 1)]), memory).item() == pytest.approx(0.75)


def test_selected_rows():
    layer = attention("additive")
    memory = layer.memory(batch(SOURCES, 7, 3))
    kept = memory.select(torch.tensor([3, 1]))
    queries = torch.randn(4, 2, 4)
    torch.testing.assert_close(
        layer.weights(queries[[3, 1]], kept), layer.weights(queries, memory)[[3, 1]], atol=1e-6, rtol=0
    )


def test_a_kind_that_is_none():
    with pytest.raises(InvalidParameterError, match=r"one of .'multiplicative', 'additive'.. Got 'dot'"):
        Attention("dot", 1, 1, 1)
