"""The door: nothing that is not a program's own is read or written, and nothing that is not asked for is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import unspool
from unspool import Ragged
from unspool.engine import native
from unspool.errors import DataError, EngineError
from unspool.nn import Recurrent

from .door import F, H, call_of, in_a_process, layer, ragged, tensors_of


def _run(made: Recurrent, values: Any, offsets: Any, index: Any = None, tensors: Any = None) -> torch.Tensor:
    batch = max(len(offsets) - 1, 0) if isinstance(offsets, torch.Tensor) and offsets.dim() else 1
    tensors = tensors_of(made, batch) if tensors is None else tensors
    with torch.no_grad():
        return native.run(call_of(made), values, offsets, index, tensors)[0]


def _resized(tensor: torch.Tensor, numbers: int) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(4 * numbers)
    return tensor


ENDS = torch.tensor([0, 9, 12, 12, 26, 27])
X = torch.randn(27, F, generator=torch.Generator().manual_seed(2))

BAD_VALUES = {
    "float64": (X.double(), "must be torch.float32 on the CPU. Got torch.float64"),
    "half": (X.half(), "Got torch.float16"),
    "bfloat16": (X.bfloat16(), "Got torch.bfloat16"),
    "int64": (X.long(), "Got torch.int64"),
    "complex": (X + 0j, "Got torch.complex64"),
    "meta": (X.to("meta"), "on meta"),
    "sparse": (X.to_sparse(), "sparse"),
    "csr": (X.to_sparse_csr(), "sparse|memory|torch.float32"),
    "mkldnn": (X.to_mkldnn(), "_mkldnn"),
    "quantized": (torch.quantize_per_tensor(X, 0.1, 0, torch.quint8), "quint8"),
    "negative view": (torch._neg_view(X), "sign"),
    "wide": (torch.randn(27, F + 1), r"must have shape \(N, 19\)"),
    "narrow": (X[:, 1:], r"must have shape \(N, 19\)"),
    "one axis": (X[:, 0], "must have shape"),
    "four axes": (X[None, None], "must have shape"),
    "resized to nothing": (_resized(X, 0), "storage"),
    "resized": (_resized(X, 26 * F), "storage"),
    "list": ([[0.0] * F] * 27, "must be a tensor. Got list"),
    "numpy": (X.numpy(), "must be a tensor. Got numpy.ndarray"),
    "none": (None, "incompatible function arguments"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_values_that_are_not_what_the_program_reads(name: str) -> None:
    made = layer()
    values, message = BAD_VALUES[name]
    call = call_of(made).native

    def check() -> None:
        with pytest.raises((EngineError, TypeError), match=message):
            call.forward(values, ENDS, None, tensors_of(made, 5), True, 1)

    in_a_process(check)


BAD_OFFSETS = {
    "beyond the end": (torch.tensor([0, 9, 28]), DataError),
    "far beyond": (torch.tensor([0, 2**62, 27]), DataError),
    "short of it": (torch.tensor([0, 9, 26]), DataError),
    "negative": (torch.tensor([0, -1, 27]), DataError),
    "not from 0": (torch.tensor([1, 9, 27]), DataError),
    "down": (torch.tensor([0, 20, 10, 27]), DataError),
    "int32": (ENDS.int(), EngineError),
    "float": (ENDS.float(), EngineError),
    "bool": (ENDS.bool(), EngineError),
    "empty": (torch.empty(0, dtype=torch.int64), DataError),
    "two axes": (ENDS[None], DataError),
    "meta": (ENDS.to("meta"), EngineError),
    "list": (ENDS.tolist(), TypeError),
}


@pytest.mark.parametrize("name", BAD_OFFSETS)
@pytest.mark.parametrize("engine", ["native", "eager"])
def test_offsets_that_do_not_fit(name: str, engine: str) -> None:
    made = layer()
    made.engine = engine
    offsets, error = BAD_OFFSETS[name]

    def check() -> None:
        size = max(len(offsets) - 1, 0)
        states = [made.initial_state(size)]
        with pytest.raises(error), torch.no_grad():
            made.run(X, offsets, states)

    in_a_process(check)


BAD_INDEX = {
    "beyond the end": (torch.full((27,), 27), IndexError),
    "far": (torch.full((27,), 2**62), IndexError),
    "negative": (torch.arange(27) - 1, IndexError),
    "int32": (torch.arange(27).int(), EngineError),
    "float": (torch.arange(27.0), EngineError),
    "two axes": (torch.arange(27)[None], DataError),
    "short": (torch.arange(26), DataError),
    "list": (list(range(27)), TypeError),
}


@pytest.mark.parametrize("name", BAD_INDEX)
@pytest.mark.parametrize("engine", ["native", "eager"])
def test_an_index_that_does_not_fit(name: str, engine: str) -> None:
    made = layer()
    made.engine = engine
    index, error = BAD_INDEX[name]

    def check() -> None:
        with pytest.raises(error), torch.no_grad():
            made.run(X, ENDS, [made.initial_state(5)], index)

    in_a_process(check)


def test_strided_offsets_and_index_are_read_as_they_are() -> None:
    made = layer()
    index = torch.randint(27, (27,))
    table = torch.stack([ENDS, ENDS * 100], dim=1)
    indices = torch.stack([index, index + 1000], dim=1)
    with torch.no_grad():
        expected = made.run(X, ENDS, [made.initial_state(5)], index)[0]
        got = made.run(X, table[:, 0], [made.initial_state(5)], indices[:, 0])[0]
    assert torch.equal(got, expected)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-1],
        lambda s: torch.cat([s, s]),
        lambda s: s[:1],
        lambda s: s[:, 1:],
        lambda s: s.double(),
        lambda s: s.half(),
        lambda s: s[None],
        lambda s: s.to("meta"),
        lambda s: _resized(s, 3),
    ],
)
def test_a_state_of_another_size_or_type(change: Callable[..., Any], part: int) -> None:
    made, x = layer(), torch.randn(4, F)
    states = [torch.randn(5, H), torch.randn(5, H)]
    steps = [torch.randn(4, H), torch.randn(4, H)]
    with torch.no_grad():
        made.step(x, tuple(steps))
    states[part], steps[part] = change(states[part]), change(steps[part])

    def check() -> None:
        with torch.no_grad(), pytest.raises((EngineError, DataError, RuntimeError)):
            made.run(X, ENDS, [tuple(states)])
        with torch.no_grad(), pytest.raises((EngineError, DataError, RuntimeError)):
            made.step(x, tuple(steps))

    in_a_process(check)


WEIGHTS = {
    "half": lambda p: p.half(),
    "double": lambda p: p.double(),
    "bfloat16": lambda p: p.bfloat16(),
    "fewer rows": lambda p: p[:-1],
    "more rows": lambda p: torch.cat([p, p]),
    "one row": lambda p: p[:1],
    "flat": lambda p: p.flatten(),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("weight", ["weight_ih", "weight_hh", "bias_ih"])
def test_a_weight_whose_data_was_replaced(name: str, weight: str) -> None:
    """Before the first call, after one, and between a forward and its backward."""
    made, x = layer(), ragged()
    if name == "flat" and weight == "bias_ih":
        pytest.skip("a bias is flat")
    change, parameter = WEIGHTS[name], getattr(made.cell, weight)

    def check() -> None:
        made(x)
        with torch.no_grad():
            made.step(torch.randn(2, F), made.initial_state(2))
        loss = made(x)[0].values.sum()
        parameter.data = change(parameter.data)
        with pytest.raises(RuntimeError, match=f"(?s){weight}|dtype|size|shape"):
            loss.backward()
        with pytest.raises(RuntimeError):
            made(x)
        with torch.no_grad(), pytest.raises(RuntimeError):
            made.step(torch.randn(2, F), made.initial_state(2))
        if (name, weight) != ("one row", "bias_ih"):  # which torch, traced anew, spreads
            with pytest.raises((EngineError, RuntimeError)):
                made.freeze()(x)

    in_a_process(check)


@pytest.mark.parametrize("resize", [0, 5])
def test_a_weight_whose_storage_was_resized(resize: int) -> None:
    made, x = layer(), ragged()

    def check() -> None:
        loss = made(x)[0].values.sum()
        with torch.no_grad():
            made.step(torch.randn(2, F), made.initial_state(2))
        made.cell.weight_hh.data.untyped_storage().resize_(4 * resize)
        with pytest.raises(EngineError, match=r"weight_hh.*storage"):
            loss.backward()
        with pytest.raises(EngineError, match=r"weight_hh.*storage"):
            made(x)
        with torch.no_grad(), pytest.raises(EngineError, match=r"weight_hh.*storage"):
            made.step(torch.randn(2, F), made.initial_state(2))

    in_a_process(check)


def test_a_weight_replaced_by_numbers_of_the_same_kind_counts() -> None:
    """As in torch, where the backward reads the parameter that is there then."""
    ours, theirs = unspool.nn.RNN(F, H, batch_first=True), nn.RNN(F, H, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x, new = torch.randn(2, 5, F), torch.randn(H, H)
    grads = []
    for module in (ours, theirs):
        module(x)
        module.weight_hh_l0.data = new.clone().t()
        module(x)[0].sum().backward()
        grads.append(module.weight_hh_l0.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


def test_a_weight_changed_in_place_before_the_backward_raises_as_in_torch() -> None:
    made, x = layer(), ragged()
    output = made(x)[0].values
    with torch.no_grad():
        made.cell.weight_hh.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("convert", ["half", "double", "bfloat16"])
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_layers_of_other_types_end_in_an_error_or_in_torchs_numbers(make: Any, convert: str) -> None:
    def check() -> None:
        torch.manual_seed(0)
        theirs = make(F, H, batch_first=True)
        ours = getattr(unspool.nn, make.__name__)(F, H, batch_first=True)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 5, F)
        for module in (theirs, ours):
            module(x)
            getattr(module, convert)()
        with torch.no_grad():
            with pytest.raises((RuntimeError, ValueError)):  # float32 input
                ours(x)
            expected = theirs(getattr(x, convert)())[0]
            got = ours(getattr(x, convert)())[0]
        assert got.dtype is expected.dtype
        tolerance = 1e-10 if convert == "double" else 0.05
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)

    in_a_process(check)


def test_a_ragged_keeps_offsets_of_its_own() -> None:
    given = [np.array([0, 2, 5]), torch.tensor([0, 2, 5]), torch.tensor([[0, 9], [2, 9], [5, 9]])[:, 0]]
    for offsets in given:
        x = Ragged(torch.randn(5, F), offsets)
        offsets[1] = 1000
        handed = x.offsets
        handed.fill_(77)
        x.lengths.fill_(77)
        assert x.offsets.tolist() == [0, 2, 5] and x.lengths.tolist() == [2, 3] and x.offsets.is_contiguous()
        assert layer()(x)[0].values.shape == (5, H)


def test_a_ragged_whose_values_were_resized() -> None:
    def check() -> None:
        for numbers in (0, 4 * F):
            x = ragged()
            x.values.untyped_storage().resize_(4 * numbers)
            with pytest.raises(EngineError, match="storage"):
                layer()(x)
        x = ragged()
        x.values.resize_(3, F)
        with pytest.raises((DataError, EngineError)):
            layer()(x)

    in_a_process(check)
