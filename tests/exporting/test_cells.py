"""Every registered cell over time, both ways, and step by step, against the plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as torch_nn

from unspool import Ragged, cells, nn
from unspool.errors import DataError, EngineError
from unspool.exporting import to_onnx

from .runtime import LENGTHS, close, padded, parts, run

OPERATORS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
F, H, T = 5, 4, 9


def layer_of(name: str, **options: Any) -> nn.Recurrent:
    """With the plain loop as its engine."""
    torch.manual_seed(1)
    return nn.Recurrent(cells.get(name)(F, H), engine="eager", **options).eval()


def batch(name: str) -> torch.Tensor:
    """(5, 9, F), what lies past the end of a sequence being no number."""
    x = torch.randn(len(LENGTHS), T, F)
    if name == "gru_d":  # which reads NaN as a missing value
        x[torch.rand(x.shape) < 0.3] = torch.nan
    for row, length in zip(x, LENGTHS.tolist()):
        row[length:] = torch.nan
    return x


@pytest.mark.parametrize("name", cells.names())
def test_over_time_both_ways_with_a_state(name: str, tmp_path: Path) -> None:
    layer = layer_of(name, bidirectional=True)
    x = batch(name)
    state = tuple(
        cell_state if isinstance(cell_state, torch.Tensor) else tuple(cell_state)
        for cell_state in layer.initial_state(len(LENGTHS))
    )
    state = _randomised(state)
    exported = to_onnx(layer, tmp_path / "m.onnx", initial_state=True)
    assert exported.difference < 1e-5
    counted = exported.operators.get(OPERATORS.get(name, "Scan"))
    assert counted == (1 if name in OPERATORS else 2)
    output, final = layer(Ragged.from_padded(x, LENGTHS), state)
    given = [n for n in exported.inputs if n.startswith("initial_")]
    found = run(tmp_path / "m.onnx", x=x, lengths=LENGTHS, **dict(zip(given, parts(state))))
    close(found["output"], padded(output, T))
    for name_of_part, part in zip(given, parts(final)):
        close(found[name_of_part.replace("initial", "final")], part)
    for start, end in zip(parts(state), parts(final)):
        assert np.array_equal(start[1], end[1])  # the empty one keeps its state


@pytest.mark.parametrize("name", cells.names())
def test_one_step_after_the_other_is_the_whole_sequence(name: str, tmp_path: Path) -> None:
    layer = layer_of(name)
    x = batch(name)[:1]
    exported = to_onnx(layer, tmp_path / "m.onnx", one_step=True)
    assert not {"Scan", "RNN", "GRU", "LSTM"} & set(exported.operators)
    output, final = layer(x)
    names = [n for n in exported.inputs if n != "x"]
    state = dict(zip(names, parts(layer.initial_state(1))))
    for t in range(T):
        found = run(tmp_path / "m.onnx", x=x[:, t], **state)
        close(found["output"], output[:, t])
        state = {n: found[n.replace("initial", "final")] for n in names}
    for part, expected in zip(state.values(), parts(final)):
        close(part, expected)


def _randomised(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return 0.5 * torch.randn(state.shape)
    return tuple(_randomised(part) for part in state)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_gru_resets_before_or_after_its_product(reset_after: bool, reverse: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cell = cells.GRUCell(F, H, reset_after=reset_after, activation="softsign", bias=not reverse)
    layer = nn.Recurrent(cell, reverse=reverse, engine="eager")
    exported = to_onnx(layer, tmp_path / "m.onnx")
    assert exported.operators["GRU"] == 1
    x = batch("gru")
    close(
        run(tmp_path / "m.onnx", x=x, lengths=LENGTHS)["output"],
        padded(layer(Ragged.from_padded(x, LENGTHS))[0], T),
    )


@pytest.mark.parametrize(
    "cell",
    [
        lambda: cells.LSTMCell(F, H, activation="gelu"),  # a function that ONNX' operator has not
        lambda: cells.LSTMCell(F, H, proj_size=2),
        lambda: cells.RNNCell(F, H, nonlinearity="elu"),
    ],
)
def test_what_the_operators_have_not_is_a_scan(cell: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Recurrent(cell(), engine="eager")
    exported = to_onnx(layer, tmp_path / "m.onnx")
    assert exported.operators["Scan"] == 1
    x = batch("lstm")
    close(
        run(tmp_path / "m.onnx", x=x, lengths=LENGTHS)["output"],
        padded(layer(Ragged.from_padded(x, LENGTHS))[0], T),
    )


def test_lengths_beyond_time_and_below_zero_are_its_ends(tmp_path: Path) -> None:
    layer = layer_of("lstm")
    to_onnx(layer, tmp_path / "m.onnx")
    x = torch.randn(2, 3, F)
    found = run(tmp_path / "m.onnx", x=x, lengths=np.array([30, -1]))
    within = run(tmp_path / "m.onnx", x=x, lengths=np.array([3, 0]))
    assert all(np.array_equal(found[name], within[name]) for name in found)
    assert within["output"][0].any() and not within["output"][1].any()


class Own(torch_nn.Module):
    """A user's cell: two state parts of other widths, no attribute that names them or the input's size."""

    def __init__(self, wrong: bool = False) -> None:
        super().__init__()
        self.w = torch_nn.Linear(7, 3)
        self.wrong = wrong

    def initial_state(self, batch_size: int) -> Any:
        return torch.full((batch_size, 3), 0.25), torch.zeros(batch_size, 2)

    def forward(self, x: torch.Tensor, state: Any) -> Any:
        h, memory = state
        if self.wrong:
            h = torch.special.i0(h)
        new = torch.tanh(self.w(torch.cat([x, h, memory[:, 1:]], 1)))
        return new, memory * 0.5 + new[:, :2]


def test_a_cell_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cell = Own()
    exported = to_onnx(cell, tmp_path / "m.onnx", input_size=3)
    assert list(exported.outputs) == ["output", "final_s0_l0", "final_s1_l0"]
    x = torch.randn(5, T, 3)
    output, final = nn.Recurrent(cell, engine="eager")(Ragged.from_padded(x, LENGTHS))
    found = run(tmp_path / "m.onnx", x=x, lengths=LENGTHS)
    close(found["output"], padded(output, T))
    close(found["final_s1_l0"], final[1])
    with pytest.raises(DataError, match="input_size must be the number of features"):
        to_onnx(cell, tmp_path / "m.onnx")


def test_a_step_without_a_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"step of Own cannot be written .*aten.i0.*test_cells.py, line"):
        to_onnx(Own(wrong=True), tmp_path / "m.onnx", input_size=3)
    assert not (tmp_path / "m.onnx").exists()
