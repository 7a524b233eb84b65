"""Pooling over the steps and output layers as ONNX. Outputs are time-major (T, B, H), zeros past the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from unspool.errors import DataError
from unspool.exporting.graph import FLOAT, Graph
from unspool.exporting.operations import OPERATIONS
from unspool.exporting.stack import Layers, linear, merged
from unspool.exporting.steps import numbers
from unspool.exporting.time import Lengths
from unspool.heads import DenseHead, Ordered, Pooling

LOWEST = np.float32(-3e38)


def pooled(
    g: Graph, pooling: Pooling, layers: Layers, output: Any, finals: Sequence[Any], lengths: Lengths
) -> Any:
    """(B, width) of `Pooling`; finals: the state parts of all layers. An empty sequence gives zeros."""
    parts = [_pooled(g, name, pooling, layers, output, finals, lengths) for name in pooling.names]
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)


def _pooled(
    g: Graph,
    name: str,
    pooling: Pooling,
    layers: Layers,
    output: Any,
    finals: Sequence[Any],
    lengths: Lengths,
) -> Any:
    if name == "last":
        last = final_output(g, layers, output, finals, lengths)
        return g.op("Where", lengths.some, last, np.float32(0))
    if name == "first":
        return g.op("Gather", output, np.int64(0), axis=0)
    if name == "mean":
        count = g.op("Max", g.cast(lengths.values, FLOAT), np.ones(1, dtype=np.float32))
        total = g.op("ReduceSum", output, g.ints(0), keepdims=0)
        return g.op("Div", total, g.op("Unsqueeze", count, g.ints(1)))
    if name == "max":
        there = g.op("Where", lengths.alive, output, LOWEST)
        largest = g.op("ReduceMax", there, g.ints(0), keepdims=0)
        return g.op("Where", lengths.some, largest, np.float32(0))
    if pooling.score is None:
        raise DataError(f"There is no ONNX form of the pooling {name!r}.")
    scores = g.op("Where", lengths.alive, linear(g, output, pooling.score), LOWEST)
    shares = g.op("Softmax", scores, axis=0)
    return g.op("ReduceSum", g.op("Mul", shares, output), g.ints(0), keepdims=0)


def final_output(g: Graph, layers: Layers, output: Any, finals: Sequence[Any], lengths: Lengths) -> Any:
    """(B, output_size): what `Stack.final_output` gives, but for empty sequences."""
    top = layers.layers[-1]
    widths = [parts[0] for parts in top.widths]
    if layers.connection is None:
        ends, at = [], len(finals)
        for parts in reversed(top.widths):
            at -= len(parts)
            ends.append(finals[at])
        return merged(g, ends[::-1], top.merge)[0]
    last_step = g.op("Unsqueeze", g.op("Sub", lengths.values, g.ints(1)), g.ints(0))
    is_last = g.op("Equal", g.op("Unsqueeze", lengths.steps, g.ints(1)), last_step)
    at_end = g.op("Where", g.op("Unsqueeze", is_last, g.ints(2)), output, np.float32(0))
    last = g.op("ReduceSum", at_end, g.ints(0), keepdims=0)
    if len(top.directions) == 1:
        return last
    if top.merge != "concat":
        raise DataError("A stack with a connection has a last output only with merge='concat'.")
    first = g.op("Gather", output, np.int64(0), axis=0)
    forward = g.op("Slice", last, g.ints(0), g.ints(widths[0]), g.ints(1))
    backward = g.op("Slice", first, g.ints(widths[0]), g.ints(sum(widths)), g.ints(1))
    return g.op("Concat", forward, backward, axis=1)


def output_layers(g: Graph, head: nn.Module, x: Any, beside: Any = None) -> Any:
    """What a head gives for vectors x (B, width) and numbers beside them; `DataError` for one that has no form."""
    if isinstance(head, Ordered):
        return _ordered(g, head, output_layers(g, head.module, x, beside))
    if not isinstance(head, DenseHead):
        raise DataError(f"There is no ONNX form of the head {type(head).__name__}.")
    return dense(g, head, x, beside)


def _ordered(g: Graph, head: Ordered, score: Any) -> Any:
    """As `Ordered.forward`, from the score (B, 1): the logarithms of probabilities (B, K)."""
    thresholds = numbers(head.thresholds, "The thresholds")[None]
    count = thresholds.shape[1]

    def part(value: Any, low: int, high: int) -> Any:
        return g.op("Slice", value, g.ints(low), g.ints(high), g.ints(1))

    def log_sigmoid(value: Any) -> Any:
        return g.op("Neg", g.op("Softplus", g.op("Neg", value)))

    above = g.op("Sub", score, thresholds)
    low, high = log_sigmoid(g.op("Neg", above)), log_sigmoid(above)
    ends = [part(low, 0, 1), part(high, count - 1, count)]
    if count > 1:
        between = g.op("Sub", part(above, 1, count), part(above, 0, count - 1))
        apart = g.op("Log", g.op("Neg", OPERATIONS["expm1"](g, between)))
        ends.insert(1, g.op("Sum", part(high, 0, count - 1), part(low, 1, count), apart))
    return g.op("Concat", *ends, axis=1)


def dense(g: Graph, head: DenseHead, x: Any, beside: Any = None) -> Any:
    """`DenseHead` on the last axis of x; beside: numbers next to it."""
    if beside is not None:
        x = g.op("Concat", x, beside, axis=1)
    for layer in head.layers:
        if isinstance(layer, nn.Linear):
            x = linear(g, x, layer)
        elif isinstance(layer, nn.ReLU):
            x = g.op("Relu", x)
        elif not isinstance(layer, nn.Dropout):
            raise DataError(f"There is no ONNX form of the head's {type(layer).__name__}.")
    return x
