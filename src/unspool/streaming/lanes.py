"""What sequences keep of a model of both directions: a lane for each layer, and the row of what is behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unspool.streaming.ahead import Counts, Lane, Layer, offsets_of
from unspool.streaming.model import AheadModel


@dataclass
class Places:
    """Where n sequences are. lanes: of each member's layers. rows (n, ·): of the chain. steps (n,): that were read."""

    lanes: list[list[Lane]]
    rows: Tensor
    steps: Counts

    def take(self, model: AheadModel, slots: Sequence[int]) -> Places:
        """A copy of some of them."""
        steps, at = self.steps[slots], torch.tensor(slots, dtype=torch.int64)
        lanes = [
            [
                Lane(
                    [leaf[at] for leaf in lane.state],
                    lane.waiting[:, : int(waiting.max(initial=0))][at],
                    lane.first[at],
                )
                for lane, (_, waiting) in zip(own, _waiting(layers, steps))
            ]
            for own, layers in zip(self.lanes, model.members)
        ]
        return Places(lanes, self.rows[at], steps)

    def put(self, slots: Sequence[int], new: Places) -> None:
        """Take over others, as many as slots."""
        at = torch.tensor(slots, dtype=torch.int64)
        self.rows[at], self.steps[slots] = new.rows, new.steps
        for own, others in zip(self.lanes, new.lanes):
            for number, (lane, other) in enumerate(zip(own, others)):
                width = other.waiting.shape[1]
                if width > lane.waiting.shape[1]:
                    own[number] = lane = Lane(lane.state, _wider(lane.waiting, 1, width), lane.first)
                for leaf, value in zip(lane.state, other.state):
                    leaf[at] = value
                lane.waiting[at, :width] = other.waiting
                lane.first[at] = other.first

    def grow(self, count: int) -> None:
        """Room for so many."""
        self.rows = _wider(self.rows, 0, count)
        self.steps = np.pad(self.steps, (0, len(self.rows) - len(self.steps)))
        for own in self.lanes:
            own[:] = [
                Lane(
                    [_wider(leaf, 0, count) for leaf in lane.state],
                    _wider(lane.waiting, 0, count),
                    _wider(lane.first, 0, count),
                )
                for lane in own
            ]


def _wider(tensor: Tensor, axis: int, size: int) -> Tensor:
    """With room for `size` and as much again."""
    shape = list(tensor.shape)
    shape[axis] = max(size, 2 * shape[axis])
    found = tensor.new_empty(shape)
    found.narrow(axis, 0, tensor.shape[axis]).copy_(tensor)
    return found


def start(model: AheadModel, count: int = 1) -> Places:
    """So many before their first step."""
    lanes = [[layer.start(count) for layer in layers] for layers in model.members]
    return Places(lanes, model.chain.start().expand(count, -1).clone(), np.zeros(count, np.int64))


@torch.no_grad()
def advance(
    model: AheadModel, places: Places, x: Tensor, lengths: Counts, threads: int, ends: bool = False
) -> tuple[Tensor, Counts, Places]:
    """(outputs (M, output size), how many of each (n,), the places behind them) for rows x (N, F) that follow,
    `lengths` (n,) of each.

    Outputs of the steps whose look-ahead is full, with ends of all that are left; where the model answers with one
    output a sequence that after these steps, M = n. ends: the sequences end here; the places are then of no use.
    """
    chain, lanes, given = model.chain, [], []
    width = model.members[0][0].input_size  # the members' inputs side by side, or one of all
    for number, (layers, before) in enumerate(zip(model.members, places.lanes)):
        output = x if width == x.shape[1] else x[:, number * width : (number + 1) * width]
        count, after = lengths, []
        for layer, lane, (steps, _) in zip(layers, before, _waiting(layers, places.steps)):
            output, last, count, lane = layer.advance(lane, steps, output, count, ends)
            after.append(lane)
        lanes.append(after)
        given.append(output if chain.input_size == _width(model) else torch.cat([output, last], 1))
    rows, done = places.rows.clone(), torch.from_numpy(done_of(model, places.steps))
    top = (torch.cat(given, 1) if len(given) > 1 else given[0]).contiguous()
    out = torch.empty(len(top) if chain.every else len(done), chain.output_size)
    offsets = torch.from_numpy(offsets_of(count))
    chain.run(rows, done, torch.arange(len(done)), offsets, top, None, out, threads)
    return out, count if chain.every else np.ones_like(count), Places(lanes, rows, places.steps + lengths)


@torch.no_grad()
def answer(model: AheadModel, places: Places, threads: int) -> Tensor:
    """(n, output size): what a model of one output a sequence says if they end here."""
    none = np.zeros_like(places.steps)
    return advance(model, places, torch.zeros(0, model.input_size), none, threads, True)[0]


def _width(model: AheadModel) -> int:
    """Of the outputs of all members."""
    return sum(layers[-1].output_size for layers in model.members)


def _waiting(layers: list[Layer], steps: Counts) -> Iterator[tuple[Counts, Counts]]:
    """(steps that it has had, inputs that wait), of each layer after so many steps of the first."""
    for layer in layers:
        waiting, done = layer.counts(steps)
        yield steps, waiting
        steps = done


def done_of(model: AheadModel, steps: Counts) -> Counts:
    """Steps (n,) that came through all layers, of those that were read."""
    return np.maximum(steps - sum(layer.ahead for layer in model.members[0]), 0)


# --- one as numbers


def to_row(model: AheadModel, places: Places) -> Tensor:
    """All of one sequence but steps and text, (W,)."""
    parts = [places.rows[0]]
    for layers, lanes in zip(model.members, places.lanes):
        for layer, lane, (steps, waiting) in zip(layers, lanes, _waiting(layers, places.steps)):
            parts += [leaf[0] for leaf in lane.state]
            parts.append(lane.waiting[0, : waiting[0]].reshape(-1))
            parts += [lane.first[0]] if layer.counts(steps)[1][0] else []
    return torch.cat(parts)


def row_size(model: AheadModel, steps: int) -> int:
    """Numbers of `to_row` after so many steps."""
    found, had = model.chain.row, np.array([steps])
    for layers in model.members:
        for layer, (before, waiting) in zip(layers, _waiting(layers, had)):
            found += sum(leaf.shape[1] for leaf in layer.start(1).state)
            found += int(waiting[0]) * layer.input_size + layer.first_size * bool(layer.counts(before)[1][0])
    return found


def from_row(model: AheadModel, row: Tensor, steps: int) -> Places:
    """What `to_row` made; row of `row_size`."""
    places, at = start(model), 0
    places.steps[0] = steps

    def take(like: Tensor) -> Tensor:
        nonlocal at
        at += like.numel()
        return row[at - like.numel() : at].reshape(like.shape).clone()

    places.rows = take(places.rows)
    for layers, lanes in zip(model.members, places.lanes):
        for number, (layer, (before, waiting)) in enumerate(zip(layers, _waiting(layers, places.steps))):
            lane = lanes[number]
            state = [take(leaf) for leaf in lane.state]
            kept = take(torch.empty(1, int(waiting[0]), layer.input_size))
            first = take(lane.first) if layer.counts(before)[1][0] else lane.first
            lanes[number] = Lane(state, kept, first)
    return places
