"""An ONNX graph to our layers, by following what each axis of each value stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing import onnx_recurrent
from unspool.importing.network import MAX_LAYERS, Node
from unspool.importing.onnx_file import constant, lengths_behind, states_behind
from unspool.importing.onnx_recurrent import attribute, where

#: Axes: "a", "b": the first two of the input, one of them time, the other the batch; "D" directions; "F" features;
#: "1" an axis of size 1.
Axes = tuple[str, ...]
MOST_AXES = 64  # of a shape


@dataclass(frozen=True)
class Flow:
    """A value of the graph. node: of ours that makes it, -1 the input; width: features, of one direction.

    directions: in the axis "D", which stands apart from the features until they are joined. final: what recurrent
    layers end with, without a time axis.
    """

    node: int
    axes: Axes
    width: int | None
    directions: int = 1


class Builder:
    """Follows a graph node by node; `nodes` and `tensors` are what `ImportedModel` takes."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.opset = graph, int(graph.opset_imports.get("", 1))
        self.nodes: list[Node] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.flows: dict[str, Flow] = {}
        self.time: str | None = None
        self.shapes: dict[int, list[int | str] | None] = {}  # of `sizes`, by the value's identity
        self.lengths: set[str] = set()  # inputs
        self.skipped: dict[str, str] = {}  # value -> the node that could not be followed

    def follow(self, output: str | None) -> None:
        """Until the graph's output (the first, or the one named), which becomes the last of `nodes`."""
        self.walk()
        names = [value.name for value in self.graph.outputs]
        if output is not None and output not in names:
            raise ModelFileError(f"it has no output {output!r}. It has {names}.")
        if not names:
            raise ModelFileError("it has no output.")
        wanted = output or names[0]
        if wanted not in self.flows:
            raise ModelFileError(
                f"its output {wanted!r} needs no layer, or is a state beside the output (Y_c), which is not supported."
            )
        self._finish(wanted)

    def walk(self) -> None:
        """Through all nodes; those that cannot be followed are `skipped`."""
        if not any(node.op_type in (*onnx_recurrent.KINDS, "Scan") for node in self.graph):
            held = sorted({node.op_type for node in self.graph})
            loop = " A Loop is not read as a layer: export the layer with a Scan." if "Loop" in held else ""
            loop += (
                " What is inside an If is not read: export with its condition fixed." if "If" in held else ""
            )
            raise ModelFileError(
                f"it has no LSTM, GRU, RNN or Scan operator. It has: {', '.join(held)[:200] or 'none'}.{loop}"
            )
        self._take_input()
        for number, node in enumerate(self.graph):
            if number > MAX_LAYERS:
                raise ModelFileError(f"its graph has more than {MAX_LAYERS:,} nodes.")
            flows = [v for v in node.inputs if v is not None and v.name in self.flows]
            if flows and node.op_type != "Shape":
                self._take(node)

    def _take_input(self) -> None:
        lengths: set[str] = set()
        states: set[str] = set()
        for node in self.graph:
            if node.op_type in onnx_recurrent.KINDS:
                lengths |= (lengths_behind(node.inputs[4]) or set()) if _has(node, 4) else set()
                states |= {states_behind(v).name for v in node.inputs[5:7] if v}
            elif node.op_type == "Scan":
                carried = len(node.inputs) - int(onnx_recurrent.attribute(node, "num_scan_inputs", 0))
                states |= {v.name for v in node.inputs[:carried] if v}
                for value in node.inputs[carried:]:
                    lengths |= _mask_behind(value)
        self.lengths = lengths
        given = [v for v in self.graph.inputs if v.name not in self.graph.initializers]
        given = [v for v in given if v.name not in lengths | states]
        if len(given) != 1:
            raise ModelFileError(
                f"it has {len(given)} inputs beside lengths and states ({[v.name for v in given][:6]}); "
                "one is supported."
            )
        shape = given[0].shape
        if shape is None or len(shape) not in (2, 3):
            raise ModelFileError(f"its input must have 3 axes, or 2 for ids. Got the shape {shape}.")
        width = shape[2] if len(shape) == 3 else None
        self.flows[given[0].name] = Flow(
            -1, ("a", "b", "F")[: len(shape)], width if isinstance(width, int) else None
        )

    def _take(self, node: Any) -> None:
        rule = RULES.get(node.op_type)
        reason = next(
            (self.skipped[v.name] for v in node.inputs if v is not None and v.name in self.skipped), None
        )
        before = len(self.nodes)
        try:
            if node.domain not in ("", "ai.onnx") or rule is None:
                raise ModelFileError(f"{where(node)}, which is no layer that is known")
            if reason is not None and node.op_type != "Scan":  # which looks at what is before it itself
                raise ModelFileError(reason)
            made = rule(self, node)
            for value, flow in zip(node.outputs, made if isinstance(made, list) else [made]):
                if flow is not None:
                    self.flows[value.name] = flow
        except ModelFileError as error:
            del self.nodes[before:]
            for value in node.outputs:
                self.skipped[value.name] = str(error)
                self.flows[value.name] = Flow(-2, (), None)

    # --- what rules use

    def flow(self, node: Any, number: int = 0) -> Flow:
        """The value that is input `number` of a node."""
        value = node.inputs[number] if number < len(node.inputs) else None
        if value is None or value.name not in self.flows:
            raise ModelFileError(f"{where(node)}, whose input {number} comes from no layer that is known")
        return self.flows[value.name]

    def fixed(self, node: Any, number: int) -> np.ndarray:
        """The constant that is input `number` of a node."""
        value = node.inputs[number] if number < len(node.inputs) else None
        found = None if value is None else constant(value)
        if found is None:
            raise ModelFileError(f"{where(node)}, whose input {number} is no constant")
        return found

    def sizes(self, value: Any, depth: int = 0) -> list[int | str] | None:
        """The numbers of a shape, of free axes their names; None where it is computed as no exporter does."""
        if value is None or depth > 20:
            return None
        if id(value) not in self.shapes:
            self.shapes[id(value)] = self._sizes(value, depth)
        return self.shapes[id(value)]

    def _sizes(self, value: Any, depth: int) -> list[int | str] | None:
        fixed, node = constant(value), value.producer()
        if fixed is not None:
            return [int(n) for n in fixed.ravel()] if fixed.size < MOST_AXES else None
        if node is None:
            return None
        if node.op_type == "Shape":
            return self._shape(node)
        given = [self.sizes(one, depth + 1) for one in node.inputs]
        if node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Identity", "Cast") and given:
            return given[0]
        found = [part for part in given if part is not None]
        if not given or len(found) < len(given):
            return None
        numbers = [[n for n in part if isinstance(n, int)] for part in found]
        if node.op_type == "Concat" and sum(map(len, found)) < MOST_AXES:
            return [size for part in found for size in part]
        if node.op_type == "Mul" and [len(part) for part in found + found] == [1, 1, *map(len, numbers)]:
            return [numbers[0][0] * numbers[1][0]]
        if node.op_type == "Gather" and all(n < len(found[0]) for n in map(abs, numbers[1])):
            return [found[0][n] for n in numbers[1]]
        plain = found[3:] in ([], [[0]], [[0], [1]]) and all(len(part) == 1 for part in numbers[1:])
        if node.op_type == "Slice" and len(found) > 2 and plain:
            return found[0][numbers[1][0] : numbers[2][0]]
        return None

    def _shape(self, node: Any) -> list[int | str] | None:
        x = self.flows.get(node.inputs[0].name)
        if x is None or x.node < -1:
            return None
        known: dict[str, int | str | None] = {"1": 1, "D": x.directions, "F": x.width}
        part = slice(attribute(node, "start", 0), attribute(node, "end", None))
        whole = [known.get(axis, axis) for axis in x.axes][part]
        sizes = [size for size in whole if size is not None]
        return sizes if len(sizes) == len(whole) else None

    def add(
        self, kind: str, node: Any, reads: tuple[int, ...], settings: dict[str, Any], **weights: Any
    ) -> int:
        """A layer of ours; its number."""
        for name, weight in weights.items():
            array = np.ascontiguousarray(weight, dtype=np.float32)
            self.tensors[f"layers.{len(self.nodes)}.{name.replace('__', '.')}"] = array
        self.nodes.append(Node(kind, node.name or node.op_type, settings, reads))
        return len(self.nodes) - 1

    def joined(self, node: Any, flow: Flow) -> Flow:
        """With features last and directions among them."""
        axes = tuple(axis for axis in flow.axes if axis != "1")
        if "D" in axes and flow.directions == 1:
            axes = tuple(axis for axis in axes if axis != "D")
        if axes[-1:] != ("F",) or "D" in axes:
            raise ModelFileError(f"{where(node)}, which does not work on the last axis of features")
        return replace(flow, axes=axes)

    def sees_time(self, node: Any, axis: str) -> None:
        """This axis of the input is time."""
        if self.time not in (None, axis):
            raise ModelFileError(f"{where(node)}, which takes the batch for time")
        self.time = axis

    def _finish(self, wanted: str) -> None:
        if wanted in self.skipped:
            raise ModelFileError(
                f"its output {wanted!r} needs what is not supported: {self.skipped[wanted].rstrip('.')}."
            )
        flow = self.flows[wanted]
        if flow.node < 0:
            raise ModelFileError("its output is its input.")
        if self.time is None:
            raise ModelFileError("it has no recurrent layer that its output needs.")
        used, waiting = set(), [flow.node]
        while waiting:
            number = waiting.pop()
            if number >= 0 and number not in used:
                used.add(number)
                waiting += self.nodes[number].inputs
        order = sorted(used)
        new = {-1: -1, **{old: number for number, old in enumerate(order)}}
        tensors = {}
        for name, array in self.tensors.items():
            _, at, rest = name.split(".", 2)
            if int(at) in used:
                tensors[f"layers.{new[int(at)]}.{rest}"] = array
        nodes = [replace(self.nodes[i], inputs=tuple(new[j] for j in self.nodes[i].inputs)) for i in order]
        self.nodes, self.tensors = nodes, tensors


def _mask_behind(value: Any) -> set[str]:
    """The graph's inputs that a mask of the steps which are real is made of; none for another value."""
    node, seen = value.producer(), 0
    while node is not None and node.op_type in ("Unsqueeze", "Squeeze", "Identity", "Cast") and seen < 9:
        node, seen = node.inputs[0].producer(), seen + 1
    compares = node is not None and node.op_type in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    return (lengths_behind(value) or set()) if compares else set()


def _has(node: Any, number: int) -> bool:
    return len(node.inputs) > number and node.inputs[number] is not None


Rule = Callable[[Builder, Any], Any]
RULES: dict[str, Rule] = {}
