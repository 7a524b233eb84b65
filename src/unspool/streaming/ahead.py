"""Recurrent layers of both directions on a sequence that still comes: the backward one sees some steps ahead.

The rule, of every layer by itself: at step t its backward direction has seen steps t to min(t + A, T - 1) of the
layer's input, from its initial state, A being the look-ahead and T the steps of the sequence. Nothing else differs from
the layer over the whole sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine.dispatch import Direction, run
from unspool.engine.frozen import Frozen
from unspool.errors import DataError, EngineError, SlowPathWarning, warn_caller
from unspool.nn import Recurrent, Stack
from unspool.nn.recurrent import merge_outputs
from unspool.state import flatten, unflatten
from unspool.streaming.chain import hash_weights

BLOCK = 1 << 15  # steps of windows that are computed together


class Pass:
    """A direction, frozen where the native engine can run it; `__call__` runs it over a batch of sequences."""

    def __init__(
        self, direction: Direction, input_size: int, initial: Any, weights: str, engine: str
    ) -> None:
        self.direction, self.initial = direction, initial
        self.width = int(flatten(initial)[0].shape[1])
        self.frozen: Frozen | None = None
        if engine != "eager":
            try:
                self.frozen = Frozen([direction], weights, input_size)
                self.frozen.prepare(input_size, [initial])
            except EngineError as error:
                if engine == "native" or weights != "float32":
                    raise
                self.frozen = None
                warn_caller(
                    f"The stream takes the plain loop, several times slower: {error}", SlowPathWarning
                )
        elif weights != "float32":
            raise EngineError(f"weights={weights!r} needs the native engine. Got engine='eager'.")

    @torch.no_grad()
    def __call__(
        self, rows: Tensor, offsets: Tensor, state: Any = None, index: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """(outputs (N, H), final state); rows (·, F), offsets (B + 1,), index (N,) of the row of each step."""
        batch = len(offsets) - 1
        if state is None:
            leaves = [leaf.expand(batch, -1).contiguous() for leaf in flatten(self.initial)]
            state = unflatten(self.initial, leaves)
        if self.frozen is not None:
            output, finals = self.frozen.run(rows, offsets, [state], index)
        else:
            output, finals = run([self.direction], rows, offsets, [state], "eager", index)
        return output, finals[0]

    def windows(self, rows: Tensor, count: int, ahead: int) -> Tensor:
        """(count, H): what this backward direction has at each of the first `count` rows, of which each has `ahead`
        more behind it, once it has seen these."""
        size = ahead + 1
        at_once = max(1, BLOCK // size)
        found = []
        for start in range(0, count, at_once):
            number = min(at_once, count - start)
            index = (torch.arange(number)[:, None] + torch.arange(size)).reshape(-1)
            offsets = torch.arange(number + 1) * size
            output, _ = self(rows[start : start + number + ahead].contiguous(), offsets, None, index)
            found.append(output[offsets[:-1]])
        return torch.cat(found) if found else rows.new_zeros(0, self.width)


@dataclass(frozen=True)
class Lane:
    """What a sequence keeps of one layer. state: of the forward direction, one row. waiting (W, F): the inputs whose
    outputs are still to come. first (1, H): what the backward direction had at the first step, where it was read."""

    state: Any
    waiting: Tensor
    first: Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """passes: forward's, backward's, or one of them. connect: (input, output) -> output, around the layer."""

    passes: list[Pass]
    merge: str
    ahead: int
    input_size: int
    connect: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def output_size(self) -> int:
        widths = [each.width for each in self.passes]
        return sum(widths) if self.merge == "concat" else widths[0]

    @property
    def first_size(self) -> int:
        """Numbers of `Lane.first`, where there was a step."""
        return self.passes[-1].width if self.passes[-1].direction.reverse else 0

    def start(self) -> Lane:
        """Before the first step."""
        forward = [each for each in self.passes if not each.direction.reverse]
        return Lane(forward[0].initial if forward else None, torch.zeros(0, self.input_size))

    def advance(self, lane: Lane, new: Tensor, ends: bool) -> tuple[Tensor, Tensor, Lane]:
        """(outputs, what each direction ends with there, the lane behind them), for the inputs `new` (c, F).

        Outputs of the steps that have `ahead` more behind them; where the sequence ends here, of all of them.
        """
        rows = torch.cat([lane.waiting, new])
        ready = max(0, len(rows) - self.ahead)
        count = len(rows) if ends else ready
        state, parts = lane.state, []
        for each in self.passes:
            if each.direction.reverse:
                output = each.windows(rows, ready, self.ahead)
                if count > ready:
                    tail = rows[ready:].contiguous()
                    output = torch.cat([output, each(tail, torch.tensor([0, len(tail)]))[0]])
            else:
                output, state = each(rows[:count].contiguous(), torch.tensor([0, count]), state)
            parts.append(output)
        output = merge_outputs(parts, self.merge)
        if self.connect is not None:
            output = self.connect(rows[:count], output)
        first = lane.first
        if first is None and count and self.passes[-1].direction.reverse:
            width = self.passes[-1].width
            first = (parts[-1] if self.connect is None else output[:, -width:])[:1].clone()
        return output, self._ends(parts, output, first), Lane(state, rows[count:].clone(), first)

    def _ends(self, parts: list[Tensor], output: Tensor, first: Tensor | None) -> Tensor:
        """(count, H): `Stack.final_output` of the steps up to each."""
        if first is None or (self.connect is not None and (len(parts) == 1 or self.merge != "concat")):
            return output
        begin = first.expand(len(output), -1)
        if self.connect is not None:
            return torch.cat([output[:, : -first.shape[1]], begin], 1)
        return merge_outputs([*parts[:-1], begin], self.merge)


def layers_of(module: Any, size: int, look_ahead: int, weights: str, engine: str) -> list[Layer]:
    """Those of a copied `Recurrent`, `Stack`, `LSTM`, `GRU` or `RNN`. size: of an input of the first."""
    if isinstance(module, Recurrent):
        return [_of_recurrent(module, size, look_ahead, weights, engine)]
    if not isinstance(module, Stack):
        return _of_drop_in(module, look_ahead, weights, engine)
    found: list[Layer] = []
    for depth, layer in enumerate(module._recurrent()):
        connect = None
        if depth and module.connection is not None:
            connect = _sum if module.connection == "residual" else module.highways[depth - 1]
        width = found[-1].output_size if found else size
        found.append(_of_recurrent(layer, width, look_ahead, weights, engine, connect))
    return found


def check_backward(module: nn.Module) -> None:
    """`DataError` for layers that have no use for a look-ahead."""
    for each in module.modules():
        if isinstance(each, Recurrent) and each.merge is None:
            raise DataError(
                "A stream of both directions needs them merged. Build the layer with merge='concat'."
            )
    if not any(getattr(m, "bidirectional", False) or getattr(m, "reverse", False) for m in module.modules()):
        raise DataError(
            "look_ahead is for a model with a backward direction. This one has none: leave look_ahead out, and each "
            "answer comes with its step."
        )


def _sum(x: Tensor, h: Tensor) -> Tensor:
    return x + h


def _of_recurrent(
    layer: Recurrent, size: int, look_ahead: int, weights: str, engine: str, connect: Any = None
) -> Layer:
    passes = [
        Pass(direction, size, initial, weights, engine)
        for direction, initial in zip(layer._still(), layer._states(1, None, True))
    ]
    return _layer(passes, layer.merge or "concat", look_ahead, size, connect)


def _of_drop_in(module: Any, look_ahead: int, weights: str, engine: str) -> list[Layer]:
    found, given = [], module.initial_state(1)
    parts = given if isinstance(given, tuple) else (given,)
    for depth in range(module.num_layers):
        directions, size = module.directions(depth), int(module._cell(depth).input_size)
        passes = []
        for number, direction in enumerate(directions):
            own = tuple(part[depth * len(directions) + number] for part in parts)
            initial = own if isinstance(given, tuple) else own[0]
            passes.append(Pass(direction, size, initial, weights, engine))
        found.append(_layer(passes, "concat", look_ahead, size))
    return found


def _layer(passes: list[Pass], merge: str, look_ahead: int, size: int, connect: Any = None) -> Layer:
    backward = any(each.direction.reverse for each in passes)
    return Layer(passes, merge, look_ahead if backward else 0, size, connect)


def hash_layers(found: Any, layers: list[Layer]) -> None:
    """Tell a hash of hashlib of these layers and their numbers."""
    for layer in layers:
        connect = layer.connect
        found.update(repr((layer.merge, layer.ahead, layer.input_size, connect is None)).encode())
        if isinstance(connect, nn.Module):
            hash_weights(found, list(connect.parameters()))
        for each in layer.passes:
            found.update(repr((str(each.direction.cell), each.direction.reverse)).encode())
            hash_weights(found, [*each.direction.all_weights(), *flatten(each.initial)])


def digest_of(members: list[list[Layer]], beside: bytes) -> bytes:
    """32 bytes."""
    found = hashlib.sha256(beside)
    for layers in members:
        hash_layers(found, layers)
    return found.digest()
