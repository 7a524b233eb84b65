"""ONNX graphs with a Scan, their nodes, attributes, names and weights changed, and asked for answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import unspool
from unspool import nn
from unspool.cells import registry
from unspool.exporting import to_onnx
from unspool.importing import from_onnx, layers_from_onnx

from .mutations import changed_bytes

CELLS = ("mlstm", "layer_norm_gru", "phased_lstm")
OPERATORS = """Add Sub Mul Div MatMul Gemm Sigmoid Tanh Exp Softmax Slice Split Concat Gather Reshape Transpose Expand
ScatterElements ReduceSum ReduceMax Where Identity Squeeze Unsqueeze Cast Scan Loop If Mystery""".split()
INTS = (-(2**63), -1, 0, 1, 2, 3, 7, 255, 2**31, 2**62)


def target(folder: Path) -> Callable[[random.Random], None]:
    torch.manual_seed(0)
    kept = []
    for name in CELLS:
        to_onnx(nn.Recurrent(registry[name](3, 4)), folder / "whole.onnx")
        kept.append((folder / "whole.onnx").read_bytes())
    x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)

    def case(rng: random.Random) -> None:
        data = rng.choice(kept)
        if rng.random() < 0.75:
            model = onnx.ModelProto.FromString(data)
            for _ in range(rng.choice([1, 1, 2, 3])):
                _change(model, rng)
            data = model.SerializeToString()
        else:
            data = changed_bytes(data, rng)
        (folder / "m.onnx").write_bytes(data)
        if rng.random() < 0.2:
            layers_from_onnx(folder / "m.onnx")
        model = from_onnx(folder / "m.onnx")
        model.save(folder / "m")
        unspool.load(folder / "m").predict([x, x[:1]])

    return case


def _graphs(graph: Any) -> list[Any]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(each for one in inner for each in _graphs(one))]


def _change(model: Any, rng: random.Random) -> None:
    """One thing of one graph."""
    graph = rng.choice(_graphs(model.graph))
    kind = rng.random()
    if kind < 0.2 and graph.initializer:
        _reshape(rng.choice(list(graph.initializer)), rng)
        return
    if kind < 0.25 and (graph.input or graph.output):
        ends = rng.choice([graph.input, graph.output])
        if ends:
            del ends[rng.randrange(len(ends))]
        return
    if not graph.node:
        return
    node = rng.choice(list(graph.node))
    if kind < 0.4:
        node.op_type = rng.choice(OPERATORS)
    elif kind < 0.65:
        names = [name for other in graph.node for name in (*other.input, *other.output)] + ["", "nowhere"]
        ends = rng.choice([node.input, node.output])
        if ends and rng.random() < 0.7:
            ends[rng.randrange(len(ends))] = rng.choice(names)
        elif ends and rng.random() < 0.5:
            del ends[rng.randrange(len(ends))]
        else:
            ends.append(rng.choice(names))
    elif kind < 0.9 and node.attribute:
        _set(rng.choice(list(node.attribute)), rng)
    elif kind < 0.95:
        graph.node.remove(node)
    else:
        graph.node.append(node)


def _set(attribute: Any, rng: random.Random) -> None:
    if attribute.HasField("t"):
        _reshape(attribute.t, rng)
    elif attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(INTS)
    elif attribute.HasField("i"):
        attribute.i = rng.choice(INTS)
    elif attribute.HasField("f"):
        attribute.f = rng.choice([0.0, -1.0, 1e38, float("nan"), float("inf")])
    else:
        attribute.name = rng.choice(["axis", "axes", "to", "num_scan_inputs", "mystery"])


def _reshape(tensor: Any, rng: random.Random) -> None:
    kind = rng.random()
    if kind < 0.4 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTS)
    elif kind < 0.6:
        tensor.dims.append(rng.choice([0, 1, 2]))
    elif kind < 0.8:
        tensor.data_type = rng.choice([0, 1, 6, 7, 9, 10, 11, 16, 99])
    elif tensor.raw_data:
        tensor.raw_data = changed_bytes(tensor.raw_data, rng)
