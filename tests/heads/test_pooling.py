"""Pooling against a loop over the sequences: values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from unspool import Ragged, _native
from unspool.errors import DataError, EngineError, InvalidParameterError
from unspool.heads import POOLINGS, DenseHead, Pooling
from unspool.heads.pooling import segment_softmax

LENGTHS = [3, 1, 0, 7, 2, 0]
SIZE = 4


def batch(lengths: list[int] = LENGTHS) -> Ragged:
    torch.manual_seed(0)
    values = torch.randn(sum(lengths), SIZE, dtype=torch.float64, requires_grad=True)
    return Ragged(values, [0, *torch.tensor(lengths).cumsum(0).tolist()])


def final_state(lengths: list[int] = LENGTHS) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(len(lengths), SIZE, dtype=torch.float64, requires_grad=True)


def loop(pool: Pooling, output: Ragged, final: torch.Tensor) -> torch.Tensor:
    """The definition, one sequence at a time."""
    rows = []
    for i, steps in enumerate(output.to_list()):
        parts = []
        for name in pool.names:
            if len(steps) == 0:
                parts.append(torch.zeros(SIZE, dtype=torch.float64))
            elif name == "last":
                parts.append(final[i])
            elif name == "first":
                parts.append(steps[0])
            elif name == "mean":
                parts.append(steps.sum(0) / len(steps))
            elif name == "max":
                parts.append(steps.max(0).values)
            else:
                scores = torch.exp(steps @ pool.score.weight[0] + pool.score.bias)
                parts.append((scores[:, None] * steps).sum(0) / scores.sum())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("name", [*POOLINGS, "mean+max", "last+attention+first"])
def test_against_a_loop_over_the_sequences(name: str) -> None:
    torch.manual_seed(2)
    pool = Pooling(name, SIZE).double()
    results = []
    for compute in (lambda o, f: pool(o, [((f,),)]), lambda o, f: loop(pool, o, f)):
        output, final = batch(), final_state()
        pooled = compute(output, final)
        assert pooled.shape == (len(LENGTHS), pool.output_size)
        pool.zero_grad()
        (pooled * torch.linspace(-1, 2, pooled.numel(), dtype=torch.float64).view_as(pooled)).sum().backward()
        grads = [output.values.grad, final.grad, *(p.grad for p in pool.parameters())]
        results.append([pooled.detach(), *(g for g in grads if g is not None)])
    fast, slow = results
    assert len(fast) == len(slow)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", POOLINGS)
def test_only_empty_sequences_give_zeros(name: str) -> None:
    pool = Pooling(name, SIZE).double()
    assert torch.equal(
        pool(batch([0, 0]), [((final_state([0, 0]),),)]), torch.zeros(2, SIZE, dtype=torch.float64)
    )


def test_softmax_of_large_scores_stays_finite() -> None:
    # softmax([1000, 1000 + ln 3]) = [1/4, 3/4]
    scores = Ragged(torch.tensor([1000.0, 1000.0 + math.log(3), -5000.0], dtype=torch.float64), [0, 2, 3])
    assert segment_softmax(scores).values.tolist() == pytest.approx([0.25, 0.75, 1.0])


@pytest.mark.parametrize("bad", ["lst", "mean+mean", "", None])
def test_unknown_poolings_are_refused(bad: object) -> None:
    with pytest.raises(InvalidParameterError, match="pooling"):
        Pooling(bad, SIZE)  # type: ignore[arg-type]


def test_dense_head_is_relu_layers_and_a_linear_one() -> None:
    head = DenseHead(3, 2, hidden=(5, 4), dropout=0.5).eval()
    linear = [layer for layer in head.layers if isinstance(layer, torch.nn.Linear)]
    x = torch.randn(7, 3)
    expected = x
    for layer in linear[:-1]:
        expected = (expected @ layer.weight.T + layer.bias).clamp(min=0)
    expected = expected @ linear[-1].weight.T + linear[-1].bias
    torch.testing.assert_close(head(x), expected)
    # 3*5 + 5 + 5*4 + 4 + 4*2 + 2
    assert sum(p.numel() for p in head.parameters()) == 54


@pytest.mark.parametrize("width", [1, 17, 64, 131])
def test_the_largest_of_float32_are_those_of_bags(width: int) -> None:
    """Values, gradients and second derivatives, with ties, -0, infinities and NaN; columns of a wider block."""
    torch.manual_seed(5)
    lengths = torch.tensor([0, 3, 1, 12, 0, 40])
    block = torch.randn(int(lengths.sum()), width + 3).round(decimals=1)
    block[20, 2:5] = torch.inf
    block[21, :4], block[4, 2], block[16, 3] = -torch.inf, torch.nan, torch.nan
    block[5:9] *= -0.0
    values = block[:, 2 : 2 + width].requires_grad_()
    output = Ragged(values, [0, *lengths.cumsum(0).tolist()])
    rows = torch.arange(len(values))
    wanted = torch.nn.functional.embedding_bag(rows, values, output.offsets[:-1], mode="max")
    got = Pooling("max", width)(output, None)
    assert got.grad_fn is not None and "Gather" in str(got.grad_fn.next_functions) + str(got.grad_fn)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)
    factor = torch.randn_like(got)
    grads = [
        torch.autograd.grad((o.nan_to_num() * factor).sum(), values, retain_graph=True)[0]
        for o in (got, wanted)
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=0, equal_nan=True)
    assert torch.autograd.grad(got.nan_to_num(0, 0, 0).pow(2).sum(), values, create_graph=True)[
        0
    ].requires_grad


def test_what_has_to_be_seen_is_pooled_by_torch() -> None:
    pool, values = Pooling("max", SIZE), torch.randn(13, SIZE)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = pool(Ragged(mode.from_tensor(values), [0, 3, 13]), None)
        assert type(fake).__name__ == "FakeTensor" and fake.shape == (2, SIZE)


def test_the_door_of_the_largest_rows() -> None:
    values, offsets, places = torch.randn(6, 4), torch.tensor([0, 2, 6]), torch.zeros(2, 4, dtype=torch.int64)
    _native.peak_rows(values, offsets, places, 1)
    assert torch.equal(places, torch.stack([values[:2].argmax(0), 2 + values[2:].argmax(0)]))
    for arguments in (
        (values, torch.tensor([0, 2, 7]), places),
        (values, offsets, places[:1]),
        (values, offsets, places.int()),
        (values.double(), offsets, places),
        (values.t(), torch.tensor([0, 2, 4]), torch.zeros(2, 6, dtype=torch.int64)),
    ):
        with pytest.raises((EngineError, DataError, IndexError)):
            _native.peak_rows(*arguments, 1)
