"""A cell's program, step by step in float64, against the cell's own forward; gates against the formulas of papers."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unspool import cells
from unspool.errors import EngineError, InvalidParameterError
from unspool.explain.step import read_step
from unspool.program.interpret import evaluate
from unspool.state import flatten, unflatten

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
import user_cells

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("rnn", {"nonlinearity": "relu"}),
    ("gru", {"reset_after": False}),
    ("lstm", {"proj_size": 3}),
    ("lstm", {"bias": False}),
]
MAKERS: dict[str, Any] = {
    **{name: cells.get(name) for name in cells.names()},
    **{
        f"{name} {options}": lambda f, h, n=name, o=options: cells.get(n)(f, h, **o)
        for name, options in OPTIONS
    },
    **{cell.__name__: cell for cell in user_cells.CELLS},
}


def state_of(cell: Any, batch: int, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    like = cell.initial_state(batch)
    return unflatten(like, [0.7 * torch.randn(leaf.shape, dtype=torch.float64) for leaf in flatten(like)])


def make(name: str, input_size: int = 5, hidden_size: int = 4) -> Any:
    torch.manual_seed(0)
    cell = MAKERS[name](input_size, hidden_size)
    for parameter in cell.parameters():  # biases that start at 0 and gains at 1 would hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    return cell.double()


@pytest.mark.parametrize("name", MAKERS)
def test_the_program_is_the_cell(name: str) -> None:
    """Both the engine's program and its larger operations; within rounding of numbers kept in float32."""
    cell = make(name)
    state, x = state_of(cell, 3), torch.randn(3, 5, dtype=torch.float64)
    step = read_step(cell, 5)
    with torch.no_grad():
        expected = flatten(cell(x, state))
        _, larger = step.run(x, flatten(state))
        exact = evaluate(step.program.graph, step.program.outputs, step.sources, x, flatten(state))
    tolerance = 1e-7 if name == "Constants" else 1e-12  # its 1/3 and its mask are float32
    for got in (larger, exact):
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", cells.names())
def test_every_gate_that_a_cell_declares_is_found(name: str) -> None:
    """But one that is itself a part of the new state, such as the plain cell's only one."""
    cell = make(name)
    step = read_step(cell)
    found = [gate.removeprefix("log ").removesuffix("~") for gate in step.gates]
    outputs = [step.graph.nodes[o].op for o in step.outputs]
    assert found == list(cell.gates) or (
        found == [] and len(cell.gates) == 1 and outputs[0] in ("tanh", "relu")
    )


def test_lstm_gates_by_their_formulas() -> None:
    cell = make("lstm")
    h, c = state_of(cell, 3)
    x = torch.randn(3, 5, dtype=torch.float64)
    gates, new = read_step(cell).run(x, [h, c])
    i, f, g, o = (x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).split(4, dim=1)
    assert list(gates) == ["i", "f", "g", "o"]
    for got, wanted in zip(gates.values(), (i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid())):
        torch.testing.assert_close(got, wanted.detach())
    torch.testing.assert_close(new[1], (f.sigmoid() * c + i.sigmoid() * g.tanh()).detach())


@pytest.mark.parametrize("name", ["gru", "gru {'reset_after': False}", "layer_norm_gru"])
def test_gru_gates_explain_the_new_state(name: str) -> None:
    """h' = (1 - z) n + z h, with r not n nor z: swapping any two names breaks it."""
    cell = make(name)
    h, x = state_of(cell, 3), torch.randn(3, 5, dtype=torch.float64)
    gates, new = read_step(cell).run(x, [h])
    assert list(gates) == ["r", "z", "n"]
    torch.testing.assert_close(new[0], (1 - gates["z"]) * gates["n"] + gates["z"] * h)
    assert all((gates[name] > 0).all() and (gates[name] < 1).all() for name in "rz")
    if name == "gru":
        r = x @ cell.weight_ih[:4].T + cell.bias_ih[:4] + h @ cell.weight_hh[:4].T + cell.bias_hh[:4]
        torch.testing.assert_close(gates["r"], r.sigmoid().detach())


def test_a_users_cell_has_gates_by_operation_or_by_its_own_names() -> None:
    cell = make("PeepholeLSTM")
    assert list(read_step(cell, 5).gates) == ["s1", "s2", "t1", "s3"]  # forget first: c' needs it first
    h, c = state_of(cell, 3)
    x = torch.randn(3, 5, dtype=torch.float64)
    nameless, _ = read_step(cell, 5).run(x, [h, c])
    cell.gates = ("in", "forget", "new", "out")
    cell.state_names = ("output", "memory")
    named, new = read_step(cell, 5).run(x, [h, c])
    assert list(named) == ["in", "forget", "new", "out"]
    assert torch.equal(named["forget"], nameless["s1"]) and torch.equal(named["in"], nameless["s2"])
    assert torch.equal(new[1], named["forget"] * c + named["in"] * named["new"])
    assert read_step(cell, 5).states == ("output", "memory")


def test_a_cell_keeps_its_precision_and_is_not_changed() -> None:
    cell = make("lstm")
    before = copy.deepcopy(cell.state_dict())
    assert read_step(cell).sources[0].dtype == torch.float64
    assert all(torch.equal(before[name], value) for name, value in cell.state_dict().items())


def test_what_cannot_be_read() -> None:
    class Sorting(nn.Module):
        def initial_state(self, batch_size: int) -> torch.Tensor:
            return torch.zeros(batch_size, 4)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.cummax(h + x[:, :4], dim=1).values

    with pytest.raises(
        EngineError, match=r"Sorting has no program to show: it uses the operation 'aten\.cummax'"
    ):
        read_step(Sorting(), 5)
    with pytest.raises(
        InvalidParameterError, match=r"'input_size' .* as Sorting has no attribute of that name"
    ):
        read_step(Sorting())
