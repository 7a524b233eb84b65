"""The three networks of a forecaster as ONNX: windows in, the outputs of each step of the horizon out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.exporting.graph import BOOL, FLOAT, INT64, Graph
from unspool.exporting.stack import Layers, linear
from unspool.exporting.steps import numbers
from unspool.exporting.time import Lengths
from unspool.forecasting.losses import SMALLEST, ForecastLoss
from unspool.forecasting.networks import ForecastNetwork, Points, Segments, Seq2Seq


@dataclass(frozen=True)
class Read:
    """What a network reads. x (B, W, features), sizes (B,): steps of each row that are windows. static (B, Q) and known
    (B, horizon, K), None where there are none."""

    x: Any
    sizes: Any
    static: Any
    known: Any


def forecast_outputs(g: Graph, network: ForecastNetwork, loss: ForecastLoss, read: Read, window: int) -> Any:
    """(B, horizon, P)."""
    if isinstance(network, Segments):
        return _segments(g, network, read, window)
    x, rows = g.op("Transpose", read.x, perm=[1, 0, 2]), g.sizes(read.x, 0)
    if read.static is not None:
        each = g.op("Unsqueeze", read.static, g.ints(0))
        x = g.op("Concat", x, g.op("Expand", each, g.shape(window, rows, network.static)), axis=2)
    layers = Layers(network.encoder, network.features + network.static)
    lengths = Lengths(g, x, read.sizes)
    _, finals = layers.over_time(g, x, layers.own_start(g, rows), lengths)
    if isinstance(network, Points):
        return _points(g, network, loss, read, layers, finals)
    assert isinstance(network, Seq2Seq)
    return _decoded(g, network, read, finals)


def _segments(g: Graph, network: Segments, read: Read, window: int) -> Any:
    segment, parts, rows = network.segment, network.parts, g.sizes(read.x, 0)
    x = g.op("Reshape", read.x, g.ints(0, window // segment, segment * network.features))
    segments = g.op("Relu", linear(g, x, network.embed))
    ask = numbers(network.position, "The positions")[None]
    width = ask.shape[2]
    if network.of_series is not None:
        beside = g.op("Unsqueeze", linear(g, read.static, network.of_series), g.ints(1))
        segments, ask = g.op("Add", segments, beside), g.op("Add", ask, beside)
    if network.of_future is not None:
        missing = parts * segment - network.horizon
        known = read.known
        if missing:
            zeros = g.op("Expand", np.float32(0), g.shape(rows, missing, network.known))
            known = g.op("Concat", known, zeros, axis=1)
        known = g.op("Reshape", known, g.ints(0, parts, segment * network.known))
        ask = g.op("Add", ask, linear(g, known, network.of_future))
    layers = Layers(network.encoder, width)
    x = g.op("Transpose", segments, perm=[1, 0, 2])
    lengths = Lengths(g, x, g.op("Div", read.sizes, np.int64(segment)))
    _, finals = layers.over_time(g, x, layers.own_start(g, rows), lengths)
    starts = []
    for final, size in zip(finals, layers.widths):
        each = g.op("Expand", g.op("Unsqueeze", final, g.ints(1)), g.shape(rows, parts, size))
        starts.append(g.op("Reshape", each, g.ints(-1, size)))
    asked = g.op("Reshape", g.op("Expand", ask, g.shape(rows, parts, width)), g.ints(-1, width))
    output, _ = layers.one_step(g, asked, starts)
    made = linear(g, output, network.head)
    made = g.op("Reshape", made, g.shape(rows, parts * segment, network.outputs))
    return g.op("Slice", made, g.ints(0), g.ints(network.horizon), g.ints(1))


def _decoded(g: Graph, network: Seq2Seq, read: Read, states: list[Any]) -> Any:
    horizon, rows = network.horizon, g.sizes(read.x, 0)
    position = numbers(network.position, "The positions")[:, None]
    parts = [g.op("Expand", position, g.shape(horizon, rows, network.POSITION))]
    if read.known is not None:
        parts.append(g.op("Transpose", read.known, perm=[1, 0, 2]))
    if read.static is not None:
        each = g.op("Unsqueeze", read.static, g.ints(0))
        parts.append(g.op("Expand", each, g.shape(horizon, rows, network.static)))
    x = parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=2)
    layers = Layers(network.decoder, network.POSITION + network.known + network.static)
    lengths = Lengths(g, x, g.op("Expand", g.ints(horizon), rows))
    (output,), _ = layers.over_time(g, x, states, lengths)
    return g.op("Transpose", linear(g, output, network.head), perm=[1, 0, 2])


def _points(
    g: Graph, network: Points, loss: ForecastLoss, read: Read, layers: Layers, states: list[Any]
) -> Any:
    """The first step by the window, the further ones in a Loop."""
    rows, first = g.sizes(read.x, 0), len(layers.widths) - len(layers.layers[-1].widths[0])
    made = linear(g, states[first], network.head)
    one = g.op("Unsqueeze", made, g.ints(1))
    if network.horizon == 1:
        return one
    known = None if read.known is None else g.op("Transpose", read.known, perm=[1, 0, 2])
    unknown = network.features - 2 - network.known
    observed = np.array([[1.0] + [0.0] * unknown], np.float32)
    body = Graph(g)
    k = body.input(g.root.new_name("k"), INT64, [])
    body.input(g.root.new_name("more"), BOOL, [])
    old = [body.input(g.root.new_name("s"), FLOAT, ["batch", width]) for width in layers.widths]
    before = body.input(g.root.new_name("made"), FLOAT, ["batch", network.outputs])
    parts = [point_of(body, loss, before, keep=True)]
    parts.append(body.op("Expand", observed, body.shape(rows, 1 + unknown)))
    if known is not None:
        parts.append(body.op("Gather", known, k, axis=0))
    if read.static is not None:
        parts.append(read.static)
    output, new = layers.one_step(body, body.op("Concat", *parts, axis=1), old)
    outputs = linear(body, output, network.head)
    body.output(g.root.new_name("more"), body.constant(np.array(True)), BOOL, [])
    for part, width in zip(new, layers.widths):
        body.output(g.root.new_name("s"), part, FLOAT, ["batch", width])
    for _ in range(2):  # the next step's input, and what is kept of all
        body.output(g.root.new_name("made"), outputs, FLOAT, ["batch", network.outputs])
    count = np.array(network.horizon - 1, np.int64)
    results = g.several(
        "Loop", len(states) + 2, count, np.array(True), *states, made, body=body.finished("ahead")
    )
    return g.op("Concat", one, g.op("Transpose", results[-1], perm=[1, 0, 2]), axis=1)


def point_of(g: Graph, loss: ForecastLoss, outputs: Any, keep: bool = False) -> Any:
    """`ForecastLoss.point`: (..., P) -> (...), or with `keep` (..., 1)."""
    place = 0
    if loss.name == "quantile":
        place = min(range(len(loss.levels)), key=lambda i: abs(loss.levels[i] - 0.5))
    chosen = g.op("Gather", outputs, np.array([place]) if keep else np.int64(place), axis=-1)
    return positive(g, chosen, np.float32) if loss.name == "negative_binomial" else chosen


def positive(g: Graph, value: Any, kind: Any) -> Any:
    """softplus, and the smallest scale beside it."""
    return g.op("Add", g.op("Softplus", value), kind(SMALLEST))
