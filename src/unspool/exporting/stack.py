"""Layers one above the other as ONNX: over time, or one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from unspool.errors import DataError
from unspool.exporting.graph import Graph
from unspool.exporting.layers import Layer, layers_of
from unspool.exporting.steps import Step, numbers
from unspool.exporting.time import Lengths, over_time
from unspool.nn import Stack


class Layers:
    """The layers of a `Recurrent`, a `Stack` or a drop-in, and what goes around them (residual, highway)."""

    def __init__(self, module: Any, input_size: int) -> None:
        self.layers: list[Layer] = layers_of(module)
        self.input_size = input_size
        self.connection = module.connection if isinstance(module, Stack) else None
        self.highways: Any = module.highways if self.connection == "highway" else ()

    @property
    def names(self) -> list[str]:
        """Of all state parts: layer by layer, direction by direction."""
        return [name for layer in self.layers for direction in layer.names for name in direction]

    @property
    def widths(self) -> list[int]:
        """Of the parts, in the order of `names`."""
        return [width for layer in self.layers for direction in layer.widths for width in direction]

    def start_values(self) -> dict[str, list[float]]:
        """What each part starts with, by the name of its input."""
        parts = [part for layer in self.layers for direction in layer.own_start() for part in direction]
        return {f"initial_{name}": part[0].tolist() for name, part in zip(self.names, parts)}

    def own_start(self, g: Graph, batch: Any) -> list[Any]:
        """The parts (B, ·) that sequences start from; batch (1,)."""
        parts = [part for layer in self.layers for direction in layer.own_start() for part in direction]
        return [g.op("Expand", part, g.shape(batch, part.shape[1])) for part in parts]

    def over_time(
        self, g: Graph, x: Any, parts: Sequence[Any], lengths: Lengths
    ) -> tuple[list[Any], list[Any]]:
        """x (T, B, F), state parts -> (the output (T, B, ·), or a pair with merge=None; the new parts)."""
        outputs, finals, width = [x], [], self.input_size
        for depth, (layer, states) in enumerate(self._with_states(parts)):
            x = outputs[0]
            found, final = over_time(g, x, layer.directions, states, layer.likes, width, lengths)
            outputs = merged(g, found, layer.merge)
            if depth:
                outputs = [self._connected(g, depth, x, outputs[0])]
            finals += [part for direction in final for part in direction]
            width = layer.output_size
        return outputs, finals

    def one_step(self, g: Graph, x: Any, parts: Sequence[Any]) -> tuple[Any, list[Any]]:
        """x (B, F), state parts -> (output (B, ·), the new parts)."""
        finals, output, width = [], x, self.input_size
        for depth, (layer, states) in enumerate(self._with_states(parts)):
            if len(layer.directions) > 1 or layer.directions[0].reverse:
                raise DataError(
                    "One step needs the past only: layers that read from the end have no one-step graph."
                )
            x = output
            new = Step(layer.directions[0], width, layer.likes[0]).whole(g, x, states[0])
            output = self._connected(g, depth, x, new[0]) if depth else new[0]
            finals += new
            width = layer.output_size
        return output, finals

    def _with_states(self, parts: Sequence[Any]) -> list[tuple[Layer, list[list[Any]]]]:
        rest, found = list(parts), []
        for layer in self.layers:
            states = []
            for widths in layer.widths:
                states.append(rest[: len(widths)])
                rest = rest[len(widths) :]
            found.append((layer, states))
        return found

    def _connected(self, g: Graph, depth: int, x: Any, h: Any) -> Any:
        """What comes out of a layer after the first. Past the end x and h are 0, and so is this."""
        if self.connection == "residual":
            return g.op("Add", x, h)
        if self.connection == "highway":
            opened = g.op("Sigmoid", linear(g, x, self.highways[depth - 1].gate))
            return g.op("Add", x, g.op("Mul", opened, g.op("Sub", h, x)))
        return h


def merged(g: Graph, outputs: Sequence[Any], merge: str | None) -> list[Any]:
    """The outputs of the directions, (..., H) each, as one; as they are for None."""
    if len(outputs) == 1 or merge is None:
        return list(outputs)
    if merge == "concat":
        return [g.op("Concat", *outputs, axis=-1)]
    if merge == "product":
        return [g.op("Mul", *outputs)]
    total = g.op("Add", *outputs)
    return [g.op("Div", total, np.float32(2)) if merge == "mean" else total]


def linear(g: Graph, x: Any, layer: torch.nn.Linear) -> Any:
    """`torch.nn.Linear`, on the last axis."""
    found = g.op("MatMul", x, np.ascontiguousarray(numbers(layer.weight, "A weight").T))
    return found if layer.bias is None else g.op("Add", found, numbers(layer.bias, "A bias"))
