"""Graphs that leave Python: torch.export in both modes, saved in one process and run in another; make_fx; fakes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from unspool import cells
from unspool import nn as unn
from unspool.engine.operators import call_of
from unspool.errors import EngineError
from unspool.program.text import of_text, to_text
from unspool.program.trace import trace

from .user_cells import UserCell

F_IN, H = 4, 5


class Held(UserCell):
    """Has a tensor that is no parameter, and weights that are computed from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = H
        self.a, self.b = nn.Linear(F_IN, H), nn.Linear(H, H)
        self.mask = torch.linspace(0.5, 1, H)
        self.register_buffer("scale", torch.tensor(0.7))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return (
            torch.tanh(self.a(x) + h @ self.b.weight.tril().t())
            * self.mask
            * self.scale
            * torch.arange(1, H + 1)
        )


LAYERS = {
    "lstm": lambda: unn.LSTM(F_IN, H, 2, batch_first=True, bidirectional=True),
    "gru": lambda: unn.GRU(F_IN, H, batch_first=True),
    "recurrent": lambda: unn.Recurrent(
        cells.PeepholeLSTMCell(F_IN, H), bidirectional=True, reverse_cell=cells.PeepholeLSTMCell(F_IN, H)
    ),
    "held": lambda: unn.Recurrent(Held()),
    "stack": lambda: unn.Stack("mgu", F_IN, H, num_layers=2),
}


def layer(name: str) -> Any:
    torch.manual_seed(0)
    return LAYERS[name]()


BATCH, TIME = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("time", min=2, max=64)


def exported(made: nn.Module, strict: bool) -> Any:
    return torch.export.export(
        made, (torch.randn(4, 7, F_IN),), dynamic_shapes=({0: BATCH, 1: TIME},), strict=strict
    )


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_an_exported_layer_has_the_numbers_of_the_layer(name: str, strict: bool) -> None:
    made = layer(name)
    graph = exported(made, strict)
    calls = [node for node in graph.graph.nodes if "unspool" in str(node.target)]
    assert calls, "the native engine is not in the graph"
    assert all(node.args[1] == "" for node in calls), "a number of this process is in the graph"
    for shape in ((3, 6), (9, 2)):
        x = torch.randn(*shape, F_IN).requires_grad_()
        got, expected = graph.module()(x)[0], made(x)[0]
        assert torch.equal(got, expected)
        dy = torch.randn_like(got)
        assert torch.equal(torch.autograd.grad(got, x, dy)[0], torch.autograd.grad(expected, x, dy)[0])


LOADS = """
import sys
if sys.argv[2] == "before": import unspool
import torch
if sys.argv[2] == "after": import unspool
graph = torch.export.load(sys.argv[1] + "/model.pt2")
x, expected = torch.load(sys.argv[1] + "/batch.pt")
assert torch.equal(graph.module()(x)[0], expected)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_saved_model_runs_in_another_process(tmp_path: Any, when: str) -> None:
    made = layer("held" if when == "after" else "lstm")
    made(torch.randn(2, 3, F_IN))
    torch.export.save(exported(made, False), tmp_path / "model.pt2")
    x = torch.randn(5, 3, F_IN)
    torch.save((x, made(x)[0].detach()), tmp_path / "batch.pt")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADS, str(tmp_path), when], capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_cell_without_a_native_form_is_not_exported() -> None:
    class Sorted(Held):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return super().forward(x, h).cummax(1).values

    with pytest.raises(EngineError, match="Only what the native engine runs can be exported"):
        torch.export.export(unn.Recurrent(Sorted()), (torch.randn(2, 3, F_IN),))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("name", LAYERS)
def test_make_fx(name: str, mode: str) -> None:
    made = layer(name)
    graph = make_fx(lambda x: made(x)[0], tracing_mode=mode, _allow_non_fake_inputs=True)(
        torch.randn(3, 6, F_IN)
    )
    x = torch.randn(3, 6, F_IN)
    torch.testing.assert_close(graph(x), made(x)[0])


@pytest.mark.parametrize("name", LAYERS)
def test_fake_tensors_tell_shapes(name: str) -> None:
    made = layer(name)
    x = torch.randn(3, 6, F_IN)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        output, _state = made(mode.from_tensor(x))
    expected, _final = made(x)
    assert output.shape == expected.shape
    assert type(output).__name__ == "FakeTensor"
    with FakeTensorMode():
        output, _state = layer(name)(torch.randn(3, 6, F_IN))
        output.sum().backward()
    assert output.shape == expected.shape


def test_a_program_is_its_text() -> None:
    cell = cells.LayerNormLSTMCell(F_IN, H)
    program = trace(cell, F_IN, cell.initial_state(2))
    again = of_text(to_text(program))
    assert to_text(again) == to_text(program)
    assert (again.input_size, again.state_sizes) == (F_IN, [H, H])


@pytest.mark.parametrize(
    "was, now, message",
    [
        ('"unspool":1', '"unspool":2', "version 2"),
        ('["x",[],4', '["x",[],5', "4 features"),
        ('"tanh"', '"launch"', "'launch' is unknown"),
        ('"tanh",[', '"tanh",[99', "reads a later one"),
        ('"sources":[[', '"sources":[["w",[-1]],[', "not an int"),
        ('{"Matrix":[', '{"Matrix":[7', "sources"),
        ('"states":[5]', '"states":[6]', "width|wide"),
        ('"outputs":[', '"outputs":[9', ""),
        ("{", "", ""),
    ],
)
def test_a_damaged_program_is_refused(was: str, now: str, message: str) -> None:
    cell = cells.RNNCell(F_IN, H)
    text = to_text(trace(cell, F_IN, cell.initial_state(2)))
    assert was in text
    with pytest.raises(EngineError, match=f"cannot read.*{message}"):
        of_text(text.replace(was, now, 1))


def test_a_damaged_call_is_refused() -> None:
    x, offsets = torch.randn(2, F_IN), torch.tensor([0, 2])
    with pytest.raises(EngineError, match="cannot read"):
        torch.ops.unspool.forward("{}", "", x, offsets, None, [])
    assert call_of.cache_info().maxsize == 64
