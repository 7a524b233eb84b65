"""Generated kernels against the plain loop, in Triton's interpreter: `python -m tests.engine.triton_cells`.

A process of its own, as Triton reads TRITON_INTERPRET when it is imported. Prints one line of JSON a case: its name and
what is wrong, or null.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import nn

from unspool import cells
from unspool.engine.dispatch import Direction, run
from unspool.errors import EngineError
from unspool.nn import Recurrent

from .compare import assert_near, everything, ragged, random_state
from .user_cells import GRU2014, LayerNormLSTM, ThreeStates, UserCell

# All sizes differ, and none is a power of two; a length of 0 and several of 1.
FEATURES, HIDDEN, LENGTHS = 3, 5, (2, 0, 3, 1, 1)


class Leaky(UserCell):
    """Affine in two state parts of different widths, with a choice by the input, a quotient and a sum of two uses."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, 2)
        self.x, self.leak = nn.Linear(input_size, hidden_size), nn.Linear(input_size, hidden_size)

    def forward(self, x, state):
        s, m = state
        a = self.leak(x)
        s = torch.where(a > 0, s / (1 + a * a) - 0.1 * s, -s) + torch.tanh(self.x(x))
        return s, 0.5 * m - x[:, :2]


CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    **{name: make for name, make in cells.registry.items() if name != "mlstm"},
    "GRU2014": GRU2014,
    "LayerNormLSTM": LayerNormLSTM,
    "ThreeStates": ThreeStates,
    "Leaky": Leaky,
}


def of_cell(name: str) -> None:
    """Every value and gradient; cells in turn forward, reversed and in both directions."""
    way = [{}, {"reverse": True}, {"bidirectional": True}][list(CELLS).index(name) % 3]
    torch.manual_seed(7)
    layer: Any = Recurrent(CELLS[name](FEATURES, HIDDEN), engine="triton", **way)
    x = ragged(FEATURES, LENGTHS)
    assert layer.explain_path(x).startswith("triton: ")
    plain = copy.deepcopy(layer)
    plain.engine = "eager"
    state = random_state(layer.initial_state(len(x)))
    assert_near(everything(layer, x, state), everything(plain, x, state))


def without_gradients() -> None:
    """More sequences than one instance takes, rows wider than a tile, distinct rows by an index, and no tape."""
    torch.manual_seed(3)
    cell = GRU2014(7, 37)
    x = ragged(7, [n % 4 for n in range(18)])
    index = torch.randint(9, (x.values.shape[0],))
    rows, state = x.values[:9], random_state(cell.initial_state(18))
    with torch.no_grad():
        (got, final), (expected, other) = (
            run([Direction(cell)], rows, x.offsets, [state], engine, index) for engine in ("triton", "eager")
        )
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(final, other, rtol=0, atol=2e-6)


def long_scan() -> None:
    """Sequences longer than a block of the scan, and wider."""
    for way in ({}, {"reverse": True}):
        layer: Any = Recurrent(cells.MinGRUCell(3, 35), engine="triton", **way)
        x = ragged(3, (130, 0, 64, 65, 1))
        assert "affine" in layer.explain_path(x)
        plain = copy.deepcopy(layer)
        plain.engine = "eager"
        state = random_state(layer.initial_state(len(x)))
        assert_near(everything(layer, x, state), everything(plain, x, state))


def no_tokens() -> None:
    for make in (cells.GRUCell, cells.MinGRUCell):
        layer = Recurrent(make(3, 5), engine="triton")
        state = torch.randn(2, 5, requires_grad=True)
        output, final = layer(ragged(3, (0, 0)), state)
        assert output.values.shape == (0, 5) and torch.equal(final, state)
        final.sum().backward()
        assert torch.equal(state.grad, torch.ones(2, 5))


def raises(kind: type[Exception], text: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")


def refusals() -> None:
    """What has no kernel says so; second derivatives too."""
    x = ragged(3, (2, 1))
    other = Recurrent(cells.MLSTMCell(3, 4), engine="triton")
    raises(EngineError, "MLSTMCell has none: they do not have the operation", lambda: other(x))
    wide = Recurrent(cells.IndRNNCell(3, 1025), engine="triton")
    raises(EngineError, "hold rows of up to 1024 numbers", lambda: wide(x))
    double = Recurrent(cells.GRUCell(3, 4).double(), engine="triton")
    raises(EngineError, "compute in torch.float32", lambda: double(x.with_values(x.values.double())))
    layer = Recurrent(cells.GRUCell(3, 4), engine="triton")
    total = layer(x)[0].values.sum()
    weights = list(layer.parameters())
    raises(
        EngineError, "first derivatives only", lambda: torch.autograd.grad(total, weights, create_graph=True)
    )


CASES: dict[str, Callable[[], None]] = {
    **{name: functools.partial(of_cell, name) for name in CELLS},
    **{function.__name__: function for function in (without_gradients, long_scan, no_tokens, refusals)},
}


def main(names: list[str]) -> None:
    for name in names or CASES:
        try:
            CASES[name]()
            found = None
        except Exception as error:
            if "--raise" in sys.argv:
                raise
            found = f"{type(error).__name__}: {error}"
        print(json.dumps([name, found]), flush=True)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if not name.startswith("-")])
