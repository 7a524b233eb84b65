"""A layer over time as ONNX: operators where ONNX has the cell, Scan for any other. Everything here is time-major."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unspool.engine.dispatch import Direction
from unspool.exporting.graph import BOOL, FLOAT, INT32, Graph
from unspool.exporting.operators import Operator, find_operator
from unspool.exporting.steps import Step


class Lengths:
    """How long the sequences of x (T, B, ...) are: lengths (B,) int64, below 0 taken as 0 and beyond T as T.

    alive (T, B, 1) bool: the steps that are not past the end; some (B, 1) bool: sequences with a step; at_least_one
    (B,) int32: as runtimes take them that refuse 0.
    """

    def __init__(self, g: Graph, x: Any, lengths: Any) -> None:
        self.time, self.batch = g.sizes(x, 0), g.sizes(x, 1)
        zero, one = g.ints(0), g.ints(1)
        self.values = g.op("Min", g.op("Max", lengths, zero), self.time)
        end = g.op("Squeeze", self.time, g.ints(0))
        self.steps = g.op("Range", np.int64(0), end, np.int64(1))
        alive = g.op(
            "Less", g.op("Unsqueeze", self.steps, g.ints(1)), g.op("Unsqueeze", self.values, g.ints(0))
        )
        self.alive = g.op("Unsqueeze", alive, g.ints(2))
        self.some = g.op("Unsqueeze", g.op("Greater", self.values, zero), g.ints(1))
        self.at_least_one = g.cast(g.op("Min", g.op("Max", self.values, one), self.time), INT32)


def over_time(
    g: Graph,
    x: Any,
    directions: Sequence[Direction],
    states: Sequence[Sequence[Any]],
    likes: Sequence[Any],
    input_size: int,
    lengths: Lengths,
) -> tuple[list[Any], list[list[Any]]]:
    """Each direction's outputs (T, B, H), zeros past the end, and final state parts (B, ·).

    x (T, B, F). states: the parts (B, ·) that each direction starts from; likes: states of the cells. A sequence
    without steps keeps its state.
    """
    found = find_operator(directions, input_size)
    if found is not None:
        return _by_operator(g, x, found, states, lengths)
    outputs, finals = [], []
    for direction, state, like in zip(directions, states, likes):
        output, final = _by_scan(g, x, direction, list(state), Step(direction, input_size, like), lengths)
        outputs.append(output)
        finals.append(final)
    return outputs, finals


def _by_operator(
    g: Graph, x: Any, found: Operator, states: Sequence[Sequence[Any]], lengths: Lengths
) -> tuple[list[Any], list[list[Any]]]:
    count = found.count
    starts = []
    for parts in zip(*states):
        stacked = [g.op("Unsqueeze", part, g.ints(0)) for part in parts]
        starts.append(stacked[0] if count == 1 else g.op("Concat", *stacked, axis=0))
    results = g.several(
        found.kind, 1 + len(starts), x, *found.weights, lengths.at_least_one, *starts, **found.attributes
    )
    alive = g.op("Unsqueeze", lengths.alive, g.ints(1))
    output = g.op("Where", alive, results[0], np.float32(0))  # (T, D, B, H)
    last = [g.op("Where", lengths.some, end, start) for end, start in zip(results[1:], starts)]

    def one(value: Any, d: int, axis: int) -> Any:
        return g.op("Gather", value, np.int64(d), axis=axis)

    outputs = [one(output, d, 1) for d in range(count)]
    return outputs, [[one(part, d, 0) for part in last] for d in range(count)]


def _by_scan(
    g: Graph, x: Any, direction: Direction, state: list[Any], step: Step, lengths: Lengths
) -> tuple[Any, list[Any]]:
    """What the input alone decides is computed for all steps at once; the Scan has what is left."""
    flat = g.op("Reshape", x, g.ints(-1, step.input_size))
    outside = step.before(g, flat)
    body = Graph(g)
    old = [body.input(g.root.new_name("s"), FLOAT, ["batch", width]) for width in step.widths]
    alive = body.input(g.root.new_name("alive"), BOOL, ["batch", 1])
    given, scanned = {}, [lengths.alive]
    for i, value in outside.items():
        if not step.graph.depends[i]:
            given[i] = value
            continue
        width = step.graph.width(i)
        scanned.append(g.op("Reshape", value, g.shape(lengths.time, lengths.batch, width)))
        given[i] = body.input(g.root.new_name("x"), FLOAT, ["batch", width])
    new = step.after(body, given, old)
    for k, width in enumerate(step.widths):
        kept = body.op("Where", alive, new[k], old[k])
        body.output(g.root.new_name("s"), kept, FLOAT, ["batch", width])
    output = body.op("Where", alive, new[0], np.float32(0))
    body.output(g.root.new_name("y"), output, FLOAT, ["batch", step.widths[0]])
    way = int(direction.reverse)
    results = g.several(
        "Scan",
        len(state) + 1,
        *state,
        *scanned,
        body=body.finished("step"),
        num_scan_inputs=len(scanned),
        scan_input_directions=[way] * len(scanned),
        scan_output_directions=[way],
    )
    return results[-1], results[:-1]
