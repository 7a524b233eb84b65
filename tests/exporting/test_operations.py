"""Every operation of the program, in the time loop and before it, against torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from tests.engine.published_cells import CELLS
from tests.program import test_axes, test_ops
from tests.properties.random_cells import RandomCell, random_spec
from torch import Tensor, nn

from unspool.exporting import steps, to_onnx
from unspool.exporting.checking import TOLERANCE
from unspool.exporting.graph import FLOAT, Graph
from unspool.exporting.operations import CONDITIONS, OPERATIONS, contract
from unspool.nn import Recurrent
from unspool.program import interpret
from unspool.program.ir import AXES, EACH, ROWS, Node, Program
from unspool.program.patterns import Contraction
from unspool.program.trace import trace

from .runtime import close, run

GRADIENTS = {"dtanh", "dsigmoid", "dot"}  # of gradient programs alone
ENGINE = {"fma", "rstd", "mean"}  # made for the native engine after tracing


class Many(nn.Module):
    """Every function of some cases at once, of parts of the input or of the state; each result is a part."""

    def __init__(self, functions: dict[str, Callable[..., Tensor]], width: int, on_state: bool) -> None:
        super().__init__()
        self.functions, self.width, self.on_state = functions, width, on_state
        self.scale = nn.Parameter(torch.ones(()))
        with torch.no_grad():
            given = [torch.rand(2, width) for _ in range(3)]
            self.widths = [f(*given).shape[1] for f in functions.values()]

    def initial_state(self, batch_size: int) -> Any:
        given = [self.width] * 3 if self.on_state else []
        return tuple(torch.zeros(batch_size, width) for width in [*self.widths, *given])

    def forward(self, x: Tensor, state: Any) -> Any:
        given = state[-3:] if self.on_state else x.split(self.width, 1)
        made = [f(*given) for f in self.functions.values()]
        return *made, *(given if self.on_state else ())


def compare(of: dict[str, Any], given: list[Tensor], path: Path) -> set[str]:
    """By one step, on the state and on the input -> the operations of the steps."""
    traced: set[str] = set()
    names, width = list(of), given[0].shape[1]
    for on_state in (True, False):
        cell = Many(of, width, on_state)

        def spied(*asked: Any) -> Program:
            program = trace(*asked)
            traced.update(node.op for node in program.graph.nodes)
            return program

        with mock.patch.object(steps, "trace", spied):
            exported = to_onnx(cell, path, input_size=1 if on_state else 3 * width, one_step=True)
        inputs = [name for name in exported.inputs if name != "x"]
        state = [part.detach() for part in cell.initial_state(len(given[0]))]
        if on_state:
            state[-3:] = given
        x = torch.zeros(len(given[0]), 1) if on_state else torch.cat(given, 1)
        found = run(path, x=x, **dict(zip(inputs, state)))
        results = [found[name.replace("initial", "final")] for name in inputs]
        for name, result, function in zip(names, results, of.values()):
            exact = function(*(g.double() for g in given)).detach().numpy()
            apart = np.abs(result - exact) / np.maximum(1, np.abs(exact))
            assert apart.max() < TOLERANCE, name
    return traced


def clamped(function: Callable[..., Tensor], ranges: Any) -> Callable[..., Tensor]:
    """Of three parts in [0, 1], brought to the function's ranges."""
    return lambda *parts: function(*(low + (high - low) * p for (low, high), p in zip(ranges, parts)))


def functions() -> dict[str, Callable[..., Tensor]]:
    return {name: clamped(*case) for name, case in test_ops.CASES.items()}


def of_axes() -> dict[str, Callable[..., Tensor]]:
    weights = {dtype: test_axes.Weights().to(dtype) for dtype in (torch.float32, torch.float64)}
    return {
        name: lambda a, b, c, of=of: of(weights[a.dtype], a, b).flatten(1)
        for name, of in test_axes.CASES.items()
        if name != "topk equal"  # ONNX puts equal numbers in the order they stand in, torch's topk does not
    }


def test_every_operation(tmp_path: Path) -> None:
    """Functions and operations on axes; together their steps hold every operation that one can hold."""
    torch.manual_seed(3)
    traced = compare(functions(), [torch.rand(4, test_ops.WIDTH) for _ in range(3)], tmp_path / "m.onnx")
    traced |= compare(of_axes(), [torch.randn(4, test_axes.WIDTH) for _ in range(3)], tmp_path / "m.onnx")
    assert {*OPERATIONS, *CONDITIONS, *AXES} - traced <= {"put"}
    elsewhere = {"where", "copy"}  # `steps.py`
    assert (EACH | ROWS) - {*OPERATIONS, *CONDITIONS} - GRADIENTS - ENGINE == elsewhere


def test_a_contraction_that_lies_otherwise(tmp_path: Path) -> None:
    """Rows of which no axis is where a dense one would be, against the interpreter of programs."""
    how = Contraction((2, 3, 4, 5), (1, 8, 2), (1, 10, 2), (5, 1, 10))
    torch.manual_seed(0)
    a, b = torch.randn(7, 30), torch.randn(7, 40)
    g = Graph()
    given = [g.input(name, FLOAT, ["batch", width]) for name, width in (("a", 30), ("b", 40))]
    g.output("out", contract(g, *given, how), FLOAT, ["batch", 24])
    model = g.ir.Model(g.finished("contraction"), ir_version=9)
    (tmp_path / "m.onnx").write_bytes(g.ir.to_proto(model).SerializeToString())
    expected = interpret._contract(Node("contract", (), 24, how), a, b)
    close(run(tmp_path / "m.onnx", a=a, b=b)["out"], expected)


@pytest.mark.parametrize("make", CELLS[3::9])
def test_published_cells(make: Any, tmp_path: Path) -> None:
    """As users write them; over time, both ways, by export's own comparison."""
    torch.manual_seed(0)
    layer = Recurrent(make(6, 8), bidirectional=True, reverse_cell=make(6, 8))
    exported = to_onnx(layer, tmp_path / "m.onnx", input_size=6)
    assert exported.operators["Scan"] == 2 and exported.difference < TOLERANCE


def test_random_cells(tmp_path: Path) -> None:
    """Export itself compares them with the native engine over time."""
    for seed in range(6):
        spec = random_spec(seed)
        torch.manual_seed(seed)
        to_onnx(RandomCell(spec), tmp_path / "m.onnx", input_size=spec.input_size)
