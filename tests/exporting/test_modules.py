"""Stacks, drop-ins and the options of layers, on batches that export itself has not tried."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unspool import Forecaster, Ragged, cells, nn
from unspool.errors import DataError, EngineError
from unspool.exporting import checking, to_onnx

from .runtime import LENGTHS, close, padded, parts, run

F, T = 5, 9


def x_of(features: int = F) -> torch.Tensor:
    torch.manual_seed(5)
    return torch.randn(len(LENGTHS), T, features)


STACKS: dict[str, dict[str, Any]] = {
    "three": {"num_layers": 3, "dropout": 0.5},
    "widths": {"hidden_size": [6, 3], "bidirectional": True},
    "residual": {"num_layers": 2, "connection": "residual", "bidirectional": True},
    "highway": {"num_layers": 3, "connection": "highway", "merge": "sum", "bidirectional": True},
    "mean": {"bidirectional": True, "merge": "mean", "initial_state": "learned"},
    "product": {"num_layers": 2, "bidirectional": True, "merge": "product", "zoneout": 0.2},
    "noise": {"num_layers": 2, "input_dropout": 0.3, "recurrent_dropout": 0.2, "weight_dropout": 0.3},
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("cell", ["gru", "coupled_lstm"])
def test_stacks(cell: str, name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    options = {"hidden_size": 4, **STACKS[name]}
    stack = nn.Stack(cell, F, engine="eager", **options)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert stack.training
    to_onnx(stack, tmp_path / "m.onnx")
    assert stack.training  # and is exported as in evaluation
    found = run(tmp_path / "m.onnx", x=x_of(), lengths=LENGTHS)
    output, state = stack.eval()(Ragged.from_padded(x_of(), LENGTHS))
    close(found.pop("output"), padded(output, T))
    for end, expected in zip(found.values(), parts(state), strict=True):
        close(end, expected)


@pytest.mark.parametrize("connection", [None, "residual", "highway"])
def test_one_step_of_a_stack(connection: str | None, tmp_path: Path) -> None:
    torch.manual_seed(2)
    stack = nn.Stack("lstm", F, 4, 2, connection=connection, zoneout=(0.1, 0.3)).eval()
    exported = to_onnx(stack, tmp_path / "m.onnx", one_step=True)
    output, final = stack(x_of())
    names = [name for name in exported.inputs if name != "x"]
    assert names == ["initial_h_l0", "initial_c_l0", "initial_h_l1", "initial_c_l1"]
    state = {name: np.zeros((len(LENGTHS), 4), np.float32) for name in names}
    for t in range(T):
        found = run(tmp_path / "m.onnx", x=x_of()[:, t], **state)
        close(found["output"], output[:, t])
        state = {name: found[name.replace("initial", "final")] for name in names}
    for part, expected in zip(state.values(), parts(final)):
        close(part, expected)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_drop_ins_against_torch_packed(kind: str, batch_first: bool, tmp_path: Path) -> None:
    torch.manual_seed(3)
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first, "bias": batch_first}
    layer, theirs = getattr(nn, kind)(F, 4, **options), getattr(torch.nn, kind)(F, 4, **options)
    theirs.load_state_dict(layer.state_dict())
    exported = to_onnx(layer, tmp_path / "m.onnx", initial_state=True)
    assert exported.operators[kind] == 2
    x, lengths = x_of(), LENGTHS.clamp(min=1)
    x = x if batch_first else x.transpose(0, 1)
    state = tuple(torch.randn(4, len(LENGTHS), 4) for _ in range(1 + (kind == "LSTM")))
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    output, final = theirs(packed, state if kind == "LSTM" else state[0])
    found = run(tmp_path / "m.onnx", x=x, lengths=lengths, **dict(zip(("h_0", "c_0"), state)))
    close(found["output"], pad_packed_sequence(output, batch_first)[0])
    for name, expected in zip(("h_n", "c_n"), parts(final)):
        close(found[name], expected)


def test_a_projection_and_one_step_of_a_drop_in(tmp_path: Path) -> None:
    torch.manual_seed(3)
    layer = nn.LSTM(F, 4, 2, proj_size=3, batch_first=True)
    exported = to_onnx(layer, tmp_path / "m.onnx")
    assert exported.operators["Scan"] == 2
    lengths = torch.full((len(LENGTHS),), T)
    output, (h, c) = layer(x_of())
    close(run(tmp_path / "m.onnx", x=x_of(), lengths=lengths)["output"], output)
    to_onnx(layer, tmp_path / "m.onnx", one_step=True)
    h_0, c_0 = np.zeros((2, len(LENGTHS), 3), np.float32), np.zeros((2, len(LENGTHS), 4), np.float32)
    for t in range(T):
        found = run(tmp_path / "m.onnx", x=x_of()[:, t], h_0=h_0, c_0=c_0)
        h_0, c_0 = found["h_n"], found["c_n"]
    close(h_0, h)
    close(c_0, c)


def test_two_outputs_and_different_directions(tmp_path: Path) -> None:
    torch.manual_seed(3)
    layer = nn.Recurrent(
        cells.GRUCell(F, 4), bidirectional=True, reverse_cell=cells.LSTMCell(F, 3), merge=None
    )
    exported = to_onnx(layer, tmp_path / "m.onnx")
    assert exported.operators["Scan"] == 2
    found = run(tmp_path / "m.onnx", x=x_of(), lengths=LENGTHS)
    (forward, backward), _ = layer(Ragged.from_padded(x_of(), LENGTHS))
    close(found["output"], padded(forward, T))
    close(found["output_reverse"], padded(backward, T))


def test_weights_by_a_parametrization_and_a_computed_start(tmp_path: Path) -> None:
    torch.manual_seed(3)
    cell = cells.MGUCell(F, 4)
    torch.nn.utils.parametrizations.weight_norm(cell, "weight_hh")
    layer = nn.Recurrent(cell, initial_state=lambda batch: torch.linspace(0, 1, 4).expand(batch, 4))
    to_onnx(layer, tmp_path / "m.onnx")
    expected = layer(Ragged.from_padded(x_of(), LENGTHS))[0]
    close(run(tmp_path / "m.onnx", x=x_of(), lengths=LENGTHS)["output"], padded(expected, T))


def test_a_learned_start_stands_in_the_metadata(tmp_path: Path) -> None:
    layer = nn.Recurrent(cells.SLSTMCell(F, 4), initial_state="learned")
    with torch.no_grad():
        layer.learned_state[0].normal_()
    to_onnx(layer, tmp_path / "m.onnx", one_step=True)
    about = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    start = json.loads(about["unspool.initial_state"])
    assert start["initial_h_l0"] == layer.learned_state[0].tolist()
    assert start["initial_m_l0"] == layer.learned_state[3].tolist() and min(start["initial_m_l0"]) < -1e29


def test_a_start_that_differs_must_be_an_input(tmp_path: Path) -> None:
    layer = nn.Recurrent(cells.GRUCell(F, 4), initial_state=lambda b: torch.arange(b * 4.0).reshape(b, 4))
    with pytest.raises(DataError, match=r"differs from sequence to sequence.*initial_state=True"):
        to_onnx(layer, tmp_path / "m.onnx")
    to_onnx(layer, tmp_path / "m.onnx", initial_state=True)


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    both = nn.Recurrent(cells.GRUCell(F, 4), bidirectional=True)
    with pytest.raises(DataError, match="One step needs the past only"):
        to_onnx(both, path, one_step=True)
    with pytest.raises(DataError, match="leave initial_state out"):
        to_onnx(nn.GRU(F, 4), path, one_step=True, initial_state=True)
    with pytest.raises(EngineError, match="frozen copy"):
        to_onnx(both.freeze("int8"), path)
    with pytest.raises(EngineError, match=r"must be float32 to be exported. Got torch.float64"):
        to_onnx(nn.GRU(F, 4).double(), path)
    with pytest.raises(DataError, match=r"to_onnx takes an unspool.nn.Recurrent.*Got a Linear"):
        to_onnx(torch.nn.Linear(2, 2), path)
    with pytest.raises(DataError, match=r"takes unspool.nn.GRU, not torch.nn.GRU"):
        to_onnx(torch.nn.GRU(F, 4), path)
    with pytest.raises(DataError, match=r"It has 5\. Got 7"):
        to_onnx(both, path, input_size=7)
    assert not path.exists() and os.listdir(tmp_path) == []


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")])
def test_whatever_surrounds_the_call(around: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    layer = nn.Recurrent(cells.MGUCell(F, 4), bidirectional=True)
    torch.set_default_dtype(torch.float64)
    try:
        with around():
            to_onnx(layer, tmp_path / "m.onnx")
    finally:
        torch.set_default_dtype(torch.float32)
    expected = layer(Ragged.from_padded(x_of(), LENGTHS))[0]
    close(run(tmp_path / "m.onnx", x=x_of(), lengths=LENGTHS)["output"], padded(expected, T))


def test_models_without_a_graph_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"or Forecaster\. Got a Linear"):
        to_onnx(torch.nn.Linear(2, 2), tmp_path / "m.onnx")
    with pytest.raises(DataError, match="level goes with a Forecaster"):
        to_onnx(nn.RNN(2, 2), tmp_path / "m.onnx", level=80)
    with pytest.raises(DataError, match="one_step goes with layers, not with a fitted Forecaster"):
        to_onnx(Forecaster(), tmp_path / "m.onnx", one_step=True)


def test_a_difference_is_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "TOLERANCE", 1e-12)
    (tmp_path / "m.onnx").write_text("what was there")
    with pytest.raises(EngineError, match=r"differs from ours by .*nothing was written"):
        to_onnx(nn.Recurrent(cells.LSTMCell(F, 4)), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "what was there"


def test_the_file_holds_by_the_standard(tmp_path: Path) -> None:
    """onnx's own checker with its shape inference; free sizes are named."""
    stack = nn.Stack("layer_norm_gru", F, 4, 2, bidirectional=True)
    exported = to_onnx(stack, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == "unspool"
    assert exported.inputs == {"x": ("batch", "time", F), "lengths": ("batch",)}
    assert exported.outputs["output"] == ("batch", "time", 8)
    assert exported.difference < 1e-5
