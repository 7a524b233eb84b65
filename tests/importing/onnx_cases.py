"""ONNX models of one recurrent operator, and what ONNX Runtime makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

F, H = 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    kind: str, *, bias: bool = True, peepholes: bool = False, lengths: bool = False, **attributes: Any
) -> Any:
    """A model x (T, B, F), or (B, T, F) with layout=1, -> Y, Y_h, of random weights."""
    rng = np.random.default_rng(0)
    both = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * H
    arrays = {"W": rng.normal(size=(both, rows, F)), "R": rng.normal(size=(both, rows, H))}
    if bias:
        arrays["B"] = rng.normal(size=(both, 2 * rows))
    if peepholes:
        arrays["P"] = rng.normal(size=(both, 3 * H))
    inputs = [
        "x",
        "W",
        "R",
        "B" if bias else "",
        "lengths" if lengths else "",
        "",
        "",
        "P" if peepholes else "",
    ]
    while inputs[-1] == "":
        inputs.pop()
    node = helper.make_node(kind, inputs, ["Y", "Y_h"], name="cell", hidden_size=H, **attributes)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", F])]
    if lengths:
        given.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["b"]))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("Y", "Y_h")]
    weights = [numpy_helper.from_array(a.astype(np.float32) / 2, name) for name, a in arrays.items()]
    graph = helper.make_graph([node], "g", given, outputs, weights)
    return model_of(graph)


def model_of(graph: Any) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: Any, **inputs: np.ndarray) -> list[np.ndarray]:
    data = model if isinstance(model, (str, bytes)) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def save(model: Any, path: Any) -> Any:
    onnx.save(model, path)
    return path
