"""One call of a cell over a ragged batch, with every value and gradient that it has."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool import Ragged
from unspool.nn import Recurrent
from unspool.state import flatten, unflatten

LENGTHS = (3, 1, 7, 0, 4, 9, 2, 14, 5, 1, 0, 6, 11)


def ragged(input_size: int, lengths: Sequence[int] = LENGTHS, seed: int = 0) -> Ragged:
    torch.manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return Ragged(torch.randn(int(offsets[-1]), input_size), offsets)


def random_state(like: Any, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    return unflatten(like, [0.7 * torch.randn_like(leaf) for leaf in flatten(like)])


def everything(
    layer: nn.Module, x: Ragged, state: Any, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Output, final states, and gradients of a weighted sum of both: inputs, initial states, parameters."""
    layer = copy.deepcopy(layer).to(dtype)
    layer.zero_grad()
    values = x.values.detach().to(dtype).requires_grad_()
    starts = [leaf.detach().to(dtype).requires_grad_() for leaf in flatten(state)]
    output, final = layer(Ragged(values, x.offsets), unflatten(state, starts))
    found = {"output": output.values, **{f"final {k}": leaf for k, leaf in enumerate(flatten(final))}}
    total = sum((value * _weights(value)).sum() for value in found.values())
    total.backward()
    found["d input"] = _gradient(values)
    found |= {f"d state {k}": _gradient(leaf) for k, leaf in enumerate(starts)}
    found |= {f"d {name}": _gradient(p) for name, p in layer.named_parameters()}
    return {name: value.detach().double() for name, value in found.items()}


def _weights(value: Tensor) -> Tensor:
    return torch.cos(torch.arange(value.numel(), dtype=value.dtype)).reshape(value.shape)


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def assert_near(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Values within 1e-5, gradients within 1e-4, of the largest entry (of 1, where all are smaller)."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape, name
        tolerance = 1e-4 if name.startswith("d ") else 1e-5
        scale = max(1.0, float(value.abs().max())) if value.numel() else 1.0
        difference = float((got[name] - value).abs().max()) if value.numel() else 0.0
        assert difference <= tolerance * scale, f"{name}: off by {difference:.2e}, largest entry {scale:.2e}"


def check_engines(cell: nn.Module, input_size: int, lengths: Sequence[int] = LENGTHS, **options: Any) -> None:
    """The native engine against the plain loop in the same precision, and both against it in float64."""
    native: Any = Recurrent(cell, engine="native", **options)
    x = ragged(input_size, lengths)
    assert native.explain_path(x) == "native"
    plain = copy.deepcopy(native)
    plain.engine = "eager"
    state = native.cell.initial_state(len(x))
    state = random_state(
        (state, native.reverse_cell.initial_state(len(x))) if native.bidirectional else state
    )
    exact = everything(plain, x, state, torch.float64)
    loop, fast = everything(plain, x, state), everything(native, x, state)
    assert_near(loop, exact)
    assert_near(fast, exact)
    assert_near(fast, loop)
