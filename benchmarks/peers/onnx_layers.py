"""A recurrent layer of ONNX Runtime on the CPU, forward only; a ragged batch has `sequence_lens`.

The input is time-major (T, B, F): the CPU kernels take no other layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from peers.layers import Unable, padded

NODES = {"rnn": ("RNN", 1), "gru": ("GRU", 3), "lstm": ("LSTM", 4)}  # operator, gates


def model(case: dict[str, Any]) -> bytes:
    """One node with random weights; inputs x (T, B, F) and lengths (B,), output y (T, D, B, H)."""
    operator, gates = NODES[case["cell"]]
    directions, hidden, features = case["directions"], case["hidden"], case["features"]
    rng = np.random.default_rng(2)

    def weight(name: str, *shape: int) -> Any:
        values = rng.uniform(-1, 1, shape).astype(np.float32) / np.sqrt(hidden)
        return numpy_helper.from_array(values.astype(np.float32), name)

    attributes: dict[str, Any] = {"hidden_size": hidden}
    attributes["direction"] = "bidirectional" if directions == 2 else "forward"
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    node = helper.make_node(operator, ["x", "w", "r", "b", "lengths"], ["y"], **attributes)
    shape = (case["length"], case["batch"], features)
    graph = helper.make_graph(
        [node],
        "layer",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, (case["batch"],)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            weight("w", directions, gates * hidden, features),
            weight("r", directions, gates * hidden, hidden),
            weight("b", directions, 2 * gates * hidden),
        ],
    )
    opsets = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def build(case: dict[str, Any], threads: int) -> Callable[[], object]:
    """One forward with `threads` threads inside the node; they stop spinning when it returns."""
    if case["cell"] not in NODES:
        raise Unable(f"ONNX Runtime has no {case['cell']}")
    if case["work"] != "forward":
        raise Unable("ONNX Runtime does not train")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model(case), options, providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(padded(case).transpose(1, 0, 2))
    inputs = {"x": x, "lengths": np.array(case["lengths"], np.int32)}
    return lambda: session.run(None, inputs)
