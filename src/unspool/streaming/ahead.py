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

import numpy as np
import torch
from torch import Tensor, nn

from unspool.engine.dispatch import Direction, run
from unspool.engine.frozen import Frozen
from unspool.errors import DataError, EngineError, SlowPathWarning, warn_caller
from unspool.nn import Recurrent, Stack
from unspool.nn.recurrent import merge_outputs
from unspool.state import flatten, unflatten
from unspool.streaming.chain import hash_weights

Counts = np.ndarray  # (n,) int64, of n sequences
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

    def backward(self, rows: Tensor, starts: Counts, ready: Counts, rest: Counts, ahead: int) -> Tensor:
        """(M, H), sequence by sequence: what this backward direction has at each of the `ready` (n,) rows from `starts`
        (n,) on, once it has seen `ahead` more, and at each of the `rest` (n,) rows behind them, which are the last."""
        found = self._windows(rows, ranges(starts, ready), ahead)
        if not rest.any():
            return found
        index, offsets = ranges(starts + ready, rest), offsets_of(rest[rest > 0])
        tails, _ = self(rows, torch.from_numpy(offsets), None, torch.from_numpy(index))
        if not len(found):
            return tails
        places = offsets_of(ready + rest)[:-1]
        output = rows.new_empty(len(found) + len(tails), self.width)
        output[torch.from_numpy(ranges(places, ready))] = found
        output[torch.from_numpy(ranges(places + ready, rest))] = tails
        return output

    def _windows(self, rows: Tensor, starts: Counts, ahead: int) -> Tensor:
        size = ahead + 1
        at_once = max(1, BLOCK // size)
        found = []
        for place in range(0, len(starts), at_once):
            first = starts[place : place + at_once]
            index = (first[:, None] + np.arange(size)).reshape(-1)
            offsets = torch.arange(0, len(index) + 1, size)
            output, _ = self(rows, offsets, None, torch.from_numpy(index))
            found.append(output[::size])
        if len(found) == 1:
            return found[0]
        return torch.cat(found) if found else rows.new_zeros(0, self.width)


def offsets_of(counts: Counts) -> Counts:
    """(n + 1,): where each of runs of so many rows begins."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def ranges(starts: Counts, counts: Counts) -> Counts:
    """start, start + 1, ... for each of `starts` (n,), so many as `counts` (n,) says, one behind the other."""
    if len(starts) == 1:
        return np.arange(starts[0], starts[0] + counts[0])
    offsets = offsets_of(counts)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)


@dataclass(frozen=True)
class Lane:
    """What n sequences keep of one layer. state: the parts (n, ·) of the forward direction's. waiting (n, W, F): inputs
    whose outputs are still to come, so many of each as `Layer.counts` says. first (n, H): what the backward direction
    had at the first step, where it was read; without such a direction H is 0."""

    state: list[Tensor]
    waiting: Tensor
    first: Tensor


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

    def start(self, count: int) -> Lane:
        """Of so many sequences before their first step."""
        forward = [each for each in self.passes if not each.direction.reverse]
        leaves = flatten(forward[0].initial) if forward else []
        return Lane(
            [leaf.expand(count, -1).clone() for leaf in leaves],
            torch.zeros(count, 0, self.input_size),
            torch.zeros(count, self.first_size),
        )

    def counts(self, steps: Counts) -> tuple[Counts, Counts]:
        """(inputs that wait (n,), steps that are done (n,)) after so many steps (n,) of input."""
        done = np.maximum(steps - self.ahead, 0)
        return steps - done, done

    def advance(
        self, lane: Lane, steps: Counts, new: Tensor, more: Counts, ends: bool
    ) -> tuple[Tensor, Tensor, Counts, Lane]:
        """(outputs (M, ·), what each direction ends with there (M, ·), how many of each (n,), the lane behind them) of
        n sequences that have had `steps` (n,), for the inputs `new` (N, F), `more` (n,) of each.

        Outputs of the steps that have `ahead` more behind them; where the sequences end here, of all of them.
        """
        waiting, done = self.counts(steps)
        total = waiting + more
        starts = offsets_of(total)[:-1]
        rows = _joined(lane.waiting, waiting, new, more, starts)
        ready = np.maximum(total - self.ahead, 0)
        count = total if ends else ready
        places, index = offsets_of(count), torch.from_numpy(ranges(starts, count))
        state, parts = lane.state, []
        for each in self.passes:
            if each.direction.reverse:
                parts.append(each.backward(rows, starts, ready, count - ready, self.ahead))
            elif len(index):
                given = unflatten(each.initial, list(state))
                output, final = each(rows, torch.from_numpy(places), given, index)
                state = flatten(final)
                parts.append(output)
            else:
                parts.append(rows.new_zeros(0, each.width))
        output = merge_outputs(parts, self.merge)
        if self.connect is not None:
            output = self.connect(rows[index], output)
        first = lane.first
        begin = np.flatnonzero((done == 0) & (count > 0))
        if self.first_size and len(begin):
            made = parts[-1] if self.connect is None else output[:, -self.first_size :]
            first = first.clone()
            first[torch.from_numpy(begin)] = made[torch.from_numpy(places[begin])]
        left = total - count
        kept = _apart(rows, starts + count, left)
        return output, self._ends(parts, output, first, count), count, Lane(state, kept, first)

    def _ends(self, parts: list[Tensor], output: Tensor, first: Tensor, count: Counts) -> Tensor:
        """(M, H): `Stack.final_output` of the steps up to each."""
        alone = self.connect is not None and (len(parts) == 1 or self.merge != "concat")
        if not self.first_size or alone:
            return output
        begin = first[torch.from_numpy(np.repeat(np.arange(len(count)), count))]
        if self.connect is not None:
            return torch.cat([output[:, : -first.shape[1]], begin], 1)
        return merge_outputs([*parts[:-1], begin], self.merge)


def _joined(waiting: Tensor, counts: Counts, new: Tensor, more: Counts, starts: Counts) -> Tensor:
    """What waited (n, W, F), `counts` (n,) of each, and behind it what is new (N, F), `more` (n,) of each, as rows;
    those of each sequence begin at `starts` (n,)."""
    if not counts.any():
        return new.contiguous()
    if len(counts) == 1:
        return torch.cat([waiting[0, : counts[0]], new])
    width = waiting.shape[1]
    rows = new.new_empty(int(counts.sum()) + len(new), waiting.shape[2])
    held = torch.from_numpy(ranges(np.arange(len(counts)) * width, counts))
    rows[torch.from_numpy(ranges(starts, counts))] = waiting.reshape(-1, waiting.shape[2])[held]
    rows[torch.from_numpy(ranges(starts + counts, more))] = new
    return rows


def _apart(rows: Tensor, starts: Counts, counts: Counts) -> Tensor:
    """(n, W, F): the `counts` (n,) rows from `starts` (n,) on of each sequence."""
    width = int(counts.max(initial=0))
    if len(counts) == 1:
        return rows[starts[0] : starts[0] + width][None].clone()
    kept = rows.new_zeros(len(counts) * width, rows.shape[1])
    held = torch.from_numpy(ranges(np.arange(len(counts)) * width, counts))
    kept[held] = rows[torch.from_numpy(ranges(starts, counts))]
    return kept.view(len(counts), width, rows.shape[1])


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
