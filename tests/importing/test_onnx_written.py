"""Weights and states in ONNX files that nobody has folded, and files with functions of their own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from unspool.errors import ModelFileError
from unspool.importing import from_onnx, onnx_folding

from .onnx_cases import F, H, recurrent, run, save

X = np.random.default_rng(0).normal(size=(5, F)).astype(np.float32)


def made(operator: str, change: Callable[[np.ndarray], Any], *others: Any, **attributes: Any) -> Any:
    """A GRU whose W is what an operator makes of constants: `change(W)`, one array or several, and others."""
    model = recurrent("GRU")
    weight = next(t for t in model.graph.initializer if t.name == "W")
    given = change(numpy_helper.to_array(weight))
    model.graph.initializer.remove(weight)
    arrays = [*(given if isinstance(given, list) else [given]), *others]
    names = [f"c{number}" for number in range(len(arrays))]
    model.graph.initializer.extend(numpy_helper.from_array(np.array(a), n) for a, n in zip(arrays, names))
    model.graph.node.insert(0, helper.make_node(operator, names, ["W"], **attributes))
    return model


def small(w: np.ndarray) -> np.ndarray:
    return np.round(w * 32).clip(-127, 127).astype(np.int8)


WRITTEN: dict[str, Any] = {
    "Identity": lambda: made("Identity", lambda w: w),
    "Cast": lambda: made("Cast", lambda w: w.astype(np.float16), to=1),
    "Transpose": lambda: made("Transpose", lambda w: w.transpose(0, 2, 1), perm=[0, 2, 1]),
    "Unsqueeze": lambda: made("Unsqueeze", lambda w: w[0], [0]),
    "Squeeze": lambda: made("Squeeze", lambda w: w[:, None], [1]),
    "Reshape": lambda: made("Reshape", lambda w: w.reshape(1, -1), [0, -1, F]),
    "Concat": lambda: made("Concat", lambda w: [w[:, :5], w[:, 5:]], axis=1),
    "Slice": lambda: made("Slice", lambda w: np.pad(w, ((0, 0), (2, 1), (0, 0))), [2], [-1], [1]),
    "steps": lambda: made("Slice", lambda w: np.repeat(w, 2, 2), [0], [2**62], [-1], [2]),
    "DequantizeLinear": lambda: made("DequantizeLinear", small, np.float32(1 / 32), np.int8(3)),
    "by rows": lambda: made("DequantizeLinear", small, np.full(3 * H, 1 / 32, np.float32), axis=1),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_weights_that_are_made_of_constants(name: str, tmp_path: Path) -> None:
    model = WRITTEN[name]()
    (got,) = from_onnx(save(model, tmp_path / "m.onnx")).predict([X])
    assert np.abs(got - run(model, x=X[:, None])[0].reshape(got.shape)).max() < 1e-5


def test_every_operator_is_reached() -> None:
    assert {WRITTEN[name]().graph.node[0].op_type for name in WRITTEN} == onnx_folding.FOLDED


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made("Reshape", lambda w: w, [7, 7, 7]), r"'' \(Reshape\) cannot compute its constant"),
        (lambda: made("Slice", lambda w: w, [0], [9], [5]), r"\(Slice\) cannot compute its constant"),
        (lambda: made("Cast", lambda w: w, to=9), "They are computed, or missing"),
        (lambda: made("Slice", lambda w: w, [-1], [-99], [1], [-1]), "They are computed, or missing"),
        (lambda: twice(30), "They are computed, or missing"),
    ],
)
def test_constants_that_cannot_be_made(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=message):
        from_onnx(save(make(), tmp_path / "m.onnx"))


def twice(depth: int) -> Any:
    """A W that doubles at each of these steps."""
    model = made("Identity", lambda w: w)
    nodes = [helper.make_node("Concat", [f"d{n}", f"d{n}"], [f"d{n + 1}"], axis=0) for n in range(depth)]
    model.graph.node[0].output[0] = "d0"
    model.graph.node[1].input[1] = f"d{depth}"
    for node in reversed(nodes):
        model.graph.node.insert(1, node)
    return model


def of_functions(depth: int, calls: int) -> Any:
    """A GRU inside a function; `depth` more, each of which calls the one before it `calls` times."""
    model = recurrent("GRU")
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    names = ["x", "W", "R", "B"]
    inner = [helper.make_node("GRU", names, ["Y", "Y_h"], hidden_size=H)]
    for number in range(depth + 1):
        function = helper.make_function("mine", f"f{number}", names, ["Y", "Y_h"], inner, imports)
        model.functions.append(function)
        outputs = [[f"y{i}", f"h{i}"] for i in range(calls - 1)] + [["Y", "Y_h"]]
        inner = [helper.make_node(f"f{number}", names, out, domain="mine") for out in outputs]
    del model.graph.node[:]
    model.graph.node.extend(inner[-1:])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def test_functions_of_the_file(tmp_path: Path) -> None:
    model = of_functions(2, 1)
    (got,) = from_onnx(save(model, tmp_path / "m.onnx")).predict([X])
    assert np.abs(got - run(model, x=X[:, None])[0].reshape(got.shape)).max() < 1e-5
    with pytest.raises(ModelFileError, match="its functions make more than 100,000 nodes"):
        from_onnx(save(of_functions(20, 3), tmp_path / "m.onnx"))
    model = of_functions(1, 1)
    model.functions[0].node[0].CopyFrom(model.functions[1].node[0])  # f0 calls itself
    with pytest.raises(ModelFileError, match=r"not a readable ONNX file .*Cyclic"):
        from_onnx(save(model, tmp_path / "m.onnx"))


class Started(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(F, H, 2, bidirectional=True)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return self.lstm(x, (h, c))[0]


@pytest.mark.parametrize("opset", [7, 18])
def test_states_of_several_layers_as_inputs(opset: int, tmp_path: Path) -> None:
    """Each layer's are cut out of the input; where none are given (opset 7) they are filled by an older operator."""
    torch.manual_seed(0)
    module = Started().eval()
    x, zeros = torch.from_numpy(X)[:, None], torch.zeros(4, 1, H)
    whole, given = (module, (x, zeros, zeros)) if opset == 18 else (module.lstm, (x,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["x", "h", "c"][: len(given)], "dynamic_axes": {"x": {0: "a", 1: "b"}}}
        torch.onnx.export(whole, given, str(tmp_path / "m.onnx"), opset_version=opset, dynamo=False, **names)
    (got,) = from_onnx(tmp_path / "m.onnx").predict([X])
    with torch.no_grad():
        assert np.abs(got - module(x, zeros, zeros)[:, 0].numpy()).max() < 1e-5
