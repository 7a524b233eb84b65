"""Scans: cells that were exported come back, and those of other programs come in, against ONNX Runtime."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine.published_cells import CELLS
from onnx import TensorProto, helper, numpy_helper

import unspool
from unspool import Ragged, nn
from unspool.cells import registry
from unspool.errors import ModelFileError
from unspool.exporting import to_onnx
from unspool.importing import from_onnx, layers_from_onnx
from unspool.importing.onnx_steps import MAKERS, NAMES
from unspool.importing.step_cell import StepCell
from unspool.importing.steps import OPERATIONS

from .onnx_cases import model_of, run, save

X = [np.random.RandomState(n).randn(n, 4).astype(np.float32) for n in (5, 1, 3)]
OPERATORS = {"rnn", "gru", "lstm"}  # that ONNX has itself


def expected_of(layer: Any) -> list[np.ndarray]:
    with torch.no_grad():
        output = layer.eval()(Ragged.from_list([torch.from_numpy(x) for x in X]))[0]
    return [steps.numpy() for steps in output.to_list()]


def apart(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", registry)
def test_registered_cells_come_back(name: str, tmp_path: Path) -> None:
    """As exported, saved and loaded; natively."""
    torch.manual_seed(0)
    layer = nn.Recurrent(registry[name](4, 6), reverse=name in ("mgu", "slstm"))
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    to_onnx(layer, tmp_path / "m.onnx")
    from_onnx(tmp_path / "m.onnx").save(tmp_path / "model")
    model = unspool.load(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.predict(X)
    assert apart(found, expected_of(layer)) < 1e-5
    cell = [*model.network_.layers.values()][-1].layer.cell
    assert isinstance(cell, StepCell) == (name not in OPERATORS)


@pytest.mark.parametrize("make", CELLS[6::24], ids=lambda make: make.__name__)
def test_cells_of_users_come_back(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Recurrent(make(4, 8))
    to_onnx(layer, tmp_path / "m.onnx", input_size=4)
    assert apart(from_onnx(tmp_path / "m.onnx").predict(X), expected_of(layer)) < 1e-5


def test_stacks_come_back_and_train(tmp_path: Path) -> None:
    """Both directions, highways, a start that is learnt; the last states; layers by the names of their nodes."""
    torch.manual_seed(0)
    layer = nn.Stack("peephole_lstm", 4, 6, 2, bidirectional=True, merge="sum", connection="highway")
    exported = to_onnx(layer, tmp_path / "m.onnx")
    model = from_onnx(tmp_path / "m.onnx")
    assert apart(model.predict(X), expected_of(layer)) < 1e-5
    last = from_onnx(tmp_path / "m.onnx", "final_h_l0_reverse").predict(X)
    again = run(str(tmp_path / "m.onnx"), x=X[0][None], lengths=np.array([5]))
    place = [*exported.outputs].index("final_h_l0_reverse")
    np.testing.assert_allclose(last[:1], again[place], atol=1e-6)
    with pytest.raises(ModelFileError, match=r"its output 'final_c_l0' needs no layer"):
        from_onnx(tmp_path / "m.onnx", "final_c_l0")
    layers = layers_from_onnx(tmp_path / "m.onnx")
    assert len(layers) == 4 and all(name.startswith("Scan") for name in layers)
    first = next(iter(layers.values())).train()
    first(torch.randn(2, 3, 4))[0].sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in first.parameters() if len(weight) > 1)


# --- Scans of other programs


def scan(
    extra: Sequence[Any] = (), output: str = "y", start: np.ndarray | None = None, **attributes: Any
) -> Any:
    """h' = clip(tanh(x W + h R + b), -.5, 2); y = softmax(h') beside h'; (T, B, 4) -> (T, B, 10)."""
    rng = np.random.default_rng(0)
    arrays = {"W": rng.normal(size=(4, 5)), "R": rng.normal(size=(5, 5)), "b": rng.normal(size=5)}
    arrays |= {
        "low": np.array(-0.5),
        "high": np.array(2.0),
        "start": np.zeros((2, 5)) if start is None else start,
    }
    node = helper.make_node
    body = [
        node("MatMul", ["x_t", "W"], ["xw"]),
        node("Gemm", ["h", "R", "b"], ["hr"]),
        node("Add", ["xw", "hr"], ["a"]),
        node("Tanh", ["a"], ["t"]),
        node("Clip", ["t", "low", "high"], ["n"]),
        node("Softmax", ["n"], ["s"], axis=1),
        node("Concat", ["s", "n"], ["y"], axis=-1),
        *extra,
    ]
    info = helper.make_tensor_value_info
    step = helper.make_graph(
        body,
        "step",
        [info("h", 1, ["b", 5]), info("x_t", 1, ["b", 4])],
        [info("n", 1, ["b", 5]), info(output, 1, ["b", 10])],
    )
    made = node(
        "Scan", ["start", "x"], ["h_n", "ys"], name="scan", num_scan_inputs=1, body=step, **attributes
    )
    weights = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()]
    given = [info("x", TensorProto.FLOAT, ["t", 2, 4])]
    return model_of(
        helper.make_graph([made], "g", given, [info("ys", 1, None), info("h_n", 1, None)], weights)
    )


@pytest.mark.parametrize("way", [0, 1])
def test_a_scan_of_another_program(way: int, tmp_path: Path) -> None:
    """Its output is no state; of its two axes the first is time."""
    model = scan(scan_input_directions=[way], scan_output_directions=[way])
    x = np.random.RandomState(0).randn(6, 2, 4).astype(np.float32)
    expected = run(model, x=x)[0]
    found = from_onnx(save(model, tmp_path / "m.onnx")).predict([x[:, 0], x[:, 1]])
    assert apart(found, [expected[:, 0], expected[:, 1]]) < 1e-6


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: scan([helper.make_node("Det", ["n"], ["d"], name="odd")]),
            r"'odd' \(Det\) in the node 'scan' \(Scan\)",
        ),
        (
            lambda: scan([helper.make_node("Mod", ["y", "y"], ["z"], name="odd")], "z"),
            "'odd' .Mod.*of whole numbers",
        ),
        (lambda: scan(start=np.ones((2, 5))), "starts from a state that is computed"),
        (lambda: scan(scan_input_directions=[1]), "several directions"),
        (lambda: scan([helper.make_node("MatMul", ["y", "R"], ["z"])], "z"), "operations do not fit"),
    ],
)
def test_scans_that_are_refused(model: Any, message: str, tmp_path: Path) -> None:
    save(model(), tmp_path / "m.onnx")
    for read in (from_onnx, layers_from_onnx):
        with pytest.raises(ModelFileError, match="Cannot import") as caught:
            read(tmp_path / "m.onnx")
        assert re.search(message, str(caught.value)), str(caught.value)


def test_every_operation_is_reached() -> None:
    """What a file can ask for is what a saved cell can hold."""
    made = {*NAMES.values(), "sum", "amax", "mean", "max", "min", "fmod", "isinf", "float", "bool", "where"}
    made |= {
        "cat",
        "slice",
        "gather",
        "put",
        "reshape",
        "expand",
        "permute",
        "softmax",
        "places",
        "pick",
        "drop",
    }
    assert made == {*OPERATIONS} and not {*NAMES} & {*MAKERS}


def test_damaged_scans_and_models(tmp_path: Path) -> None:
    """Every outcome is a model or a `ModelFileError`."""
    to_onnx(nn.Recurrent(registry["layer_norm_gru"](4, 3)), tmp_path / "m.onnx")
    data, refused, random = (tmp_path / "m.onnx").read_bytes(), 0, np.random.RandomState(0)
    for _ in range(40):
        damaged = bytearray(data)
        for at in random.randint(len(data), size=3):
            damaged[at] = random.randint(256)
        (tmp_path / "m.onnx").write_bytes(damaged)
        try:
            from_onnx(tmp_path / "m.onnx")
        except ModelFileError:
            refused += 1
    assert 5 < refused < 40


SETTINGS: dict[str, Any] = {
    "cell": "steps",
    "input_size": 2,
    "hidden_size": 3,
    "states": [3],
    "starts": [0.0],
    "weights": [[2, 3]],
    "operations": [{"op": "matmul", "inputs": ["x", "w0"]}, {"op": "add", "inputs": ["v0", "s0"]}],
    "outputs": ["v1"],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": [{"op": "exec", "inputs": ["x"]}]}, "exec"),
        (
            {"operations": [{"op": "add", "inputs": ["v1", "s0"]}] * 2},
            "reads 'v1', which is no value before it",
        ),
        ({"operations": [{"op": "add", "inputs": ["x"]}] * 2}, "must have 2 inputs. Got 1"),
        ({"operations": [{"op": "add", "inputs": ["x", "s0"]}] * 2}, "operations do not fit"),
        ({"operations": [{"op": "expand", "inputs": ["s0"], "shape": [-2, 2**40]}] * 2}, "numbers of a row"),
        ({"operations": [{"op": "tanh", "inputs": ["s0"], "also": 1}] * 2}, "does not take"),
        ({"states": [2**40]}, "must have widths in"),
        ({"weights": [[2, True]]}, "whose sizes are no ints"),
        ({"starts": ["x"]}, "reads 'x'"),
        ({"outputs": []}, "an output and a start for each part"),
        ({"outputs": ["x"]}, "do not fit"),
    ],
)
def test_saved_cells_that_are_refused(change: dict[str, Any], message: str) -> None:
    from unspool.importing.recurrent import build_cell
    from unspool.saved import Fields

    assert isinstance(build_cell(Fields(SETTINGS, "a cell")), StepCell)
    with pytest.raises(ModelFileError) as caught:
        build_cell(Fields({**SETTINGS, **change}, "a cell"))
    assert message in str(caught.value)
