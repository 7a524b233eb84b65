"""ONNX' Scan to a cell: the operations of its body, and those before it that are done to each step alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing.network import MAX_LAYERS
from unspool.importing.onnx_file import constant, is_given, is_zero, lengths_behind
from unspool.importing.onnx_graph import Builder, Flow
from unspool.importing.onnx_recurrent import attribute, where
from unspool.importing.onnx_rules import rule
from unspool.importing.onnx_steps import Ref, Translation
from unspool.importing.recurrent import STEPS


@rule("Scan")
def _scan(b: Builder, node: Any) -> list[Flow | None]:
    """Its carried states become those of a cell; its one output, the cell's."""
    count = int(attribute(node, "num_scan_inputs", 0))
    carried = len(node.inputs) - count
    body = attribute(node, "body", None)
    if body is None or count < 1 or carried < 1 or len(body.inputs) != len(node.inputs):
        raise ModelFileError(f"{where(node)}, which is no Scan of states and inputs")
    if len(body.outputs) != carried + 1 or len(node.outputs) != carried + 1:
        raise ModelFileError(
            f"{where(node)}, which has {len(body.outputs) - carried} outputs a step; one is supported"
        )
    reverse, time_axis = _directions(node, count)
    source, given = _inputs(b, node, carried, time_axis)
    axes = source.axes
    if len(axes) != 3 or axes[2] != "F" or {axes[0], axes[1]} != {"a", "b"} or source.width is None:
        raise ModelFileError(f"{where(node)}, whose input is not (time, batch, features) of known features")
    time, batch = axes[time_axis], axes[1 - time_axis]
    b.sees_time(node, time)
    cell = _cell(b, node, body, carried, source, given)
    settings = {
        "cells": [cell.settings],
        "merge": "concat",
        "reverse": reverse,
        "outputs": "steps",
        "zeros_at_skipped": False,
        "stateful": False,
    }
    weights = {f"layer__cell__weights__{k}": w for k, w in enumerate(cell.weights)}
    steps = b.add("recurrent", node, (source.node,), settings, **weights)
    last = b.add("recurrent", node, (source.node,), {**settings, "outputs": "last"}, **weights)
    width = int(cell.settings["hidden_size"])
    finals: list[Flow | None] = [None] * carried
    if cell.first is not None:
        finals[cell.first] = Flow(last, (batch, "F"), width)
    return [*finals, Flow(steps, (time, batch, "F") if time_axis == 0 else (batch, time, "F"), width)]


def _directions(node: Any, count: int) -> tuple[bool, int]:
    """(whether it runs from the end, the axis of time)."""
    ways = {*attribute(node, "scan_input_directions", [0] * count)}
    ways |= {*attribute(node, "scan_output_directions", [0])}
    places = {*attribute(node, "scan_input_axes", [0] * count), *attribute(node, "scan_output_axes", [0])}
    if len(ways) > 1 or len(places) > 1 or not places <= {0, 1}:
        raise ModelFileError(
            f"{where(node)}, whose inputs and outputs run in several directions or along several axes"
        )
    return ways == {1}, places.pop()


def _inputs(b: Builder, node: Any, carried: int, time_axis: int) -> tuple[Flow, list[Any]]:
    """(the layer's input; for each scan input None for a mask of the real steps, or its value)."""
    given: list[Any] = []
    sources: dict[str, Flow] = {}
    for value in node.inputs[carried:]:
        behind = lengths_behind(value)
        if behind and behind <= b.lengths:
            given.append(None)
            continue
        given.append(value)
        for found in _sources(b, node, value):
            sources[found] = b.flows[found]
    if len({flow.node for flow in sources.values()}) != 1:
        raise ModelFileError(
            f"{where(node)}, which reads {len(sources)} values of other layers; one is supported"
        )
    return next(iter(sources.values())), given


def _sources(b: Builder, node: Any, value: Any) -> list[str]:
    """The values that layers make, which `value` is computed of."""
    found, waiting, seen = [], [value], set()
    while waiting:
        value = waiting.pop()
        if value is None or id(value) in seen or value.const_value is not None:
            continue
        seen.add(id(value))
        if len(seen) > MAX_LAYERS:
            raise ModelFileError(f"{where(node)}, of too many operations")
        flow = b.flows.get(value.name)
        if flow is not None and flow.node != -2:
            found.append(value.name)
        elif value.producer() is None:
            raise ModelFileError(
                f"{where(node)}, which reads {value.name!r}, which is no layer that is known"
            )
        elif value.producer().op_type != "Shape":
            waiting += list(value.producer().inputs)
    return found


class _Cell:
    """settings of a `StepCell`; weights; first: the carried state that is the output, None where it is none."""

    def __init__(self, settings: dict[str, Any], weights: list[np.ndarray], first: int | None) -> None:
        self.settings, self.weights, self.first = settings, weights, first


def _cell(b: Builder, node: Any, body: Any, carried: int, source: Flow, given: list[Any]) -> _Cell:
    t = Translation(b, where(node), source)
    widths = [_width(node, value) for value in body.inputs[:carried]]
    starts = [_start(node, t, value, width) for value, width in zip(node.inputs, widths)]
    for k, value in enumerate(body.inputs[:carried]):
        t.known[value.name] = f"s{k}"
    for value, outer in zip(body.inputs[carried:], given):
        if outer is None:
            t.masks.add(value.name)
        else:
            t.known[value.name] = t.outside(outer)
    for inner in body:
        t.take(inner)
    *new, output = [t.ref(value) for value in body.outputs]
    first = new.index(output) if output in new else None
    if first is None:  # the output is a part of its own, which no step reads
        order = [*range(carried)]
        new, widths = [output, *new], [_width(node, body.outputs[-1]), *widths]
        starts, shift = [0.0, *starts], 1
    else:
        order, shift = [first, *(k for k in range(carried) if k != first)], 0
        new, widths, starts = ([part[k] for k in order] for part in (new, widths, starts))
    renamed = {f"s{k}": f"s{place + shift}" for place, k in enumerate(order)}

    def name(value: Ref) -> Ref:
        return renamed.get(value, value) if isinstance(value, str) else value

    operations = [{**op, "inputs": [name(value) for value in op["inputs"]]} for op in t.operations]
    settings = {
        "cell": STEPS,
        "input_size": source.width,
        "hidden_size": widths[0],
        "states": widths,
        "starts": starts,
        "weights": [list(w.shape) for w in t.weights],
        "operations": operations,
        "outputs": [name(value) for value in new],
    }
    return _Cell(settings, t.weights, first)


def _width(node: Any, value: Any) -> int:
    size = None if value.shape is None or len(value.shape) != 2 else value.shape[1]
    if not isinstance(size, int):
        raise ModelFileError(f"{where(node)}, whose body does not tell the width of {value.name!r}")
    return size


def _start(node: Any, t: Translation, value: Any, width: int) -> Ref:
    """What a carried state starts from: a number, or a weight (1, width) that is spread over the batch."""
    if is_given(value) or is_zero(value):
        return 0.0
    producer = value.producer()
    spread = producer is not None and producer.op_type == "Expand"
    start = constant(producer.inputs[0] if spread else value)
    if start is None or start.size not in (1, width):
        raise ModelFileError(f"{where(node)}, which starts from a state that is computed")
    return t.weight(np.asarray(start, np.float32).reshape(1, -1))
