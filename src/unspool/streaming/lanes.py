"""What a sequence keeps of a model of both directions: a lane for each layer, and the row of what is behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unspool.state import flatten, unflatten
from unspool.streaming.ahead import Lane, Layer
from unspool.streaming.model import AheadModel


@dataclass(frozen=True)
class Place:
    """Where a sequence is. lanes: of each member's layers. row, done: of the chain, and the steps that it has had.
    steps: that were read. held: the beginning of a token that has not ended. ended: its last steps were answered."""

    lanes: list[list[Lane]]
    row: Tensor
    done: int = 0
    steps: int = 0
    held: str = ""
    ended: bool = False


def start(model: AheadModel) -> Place:
    """Before the first step."""
    lanes = [[layer.start() for layer in layers] for layers in model.members]
    return Place(lanes, model.chain.start()[None].clone())


@torch.no_grad()
def advance(model: AheadModel, place: Place, rows: Tensor, ends: bool = False) -> tuple[Tensor, Place]:
    """(outputs (k, output size), the place behind them) for rows (c, F) that follow.

    k: the steps whose look-ahead is full, with ends all that are left; where the model answers with one output a
    sequence 1, that after these steps. ends: the sequence ends here; the place is then that of an ended one.
    """
    chain, lanes, given = model.chain, [], []
    width = model.members[0][0].input_size  # the members' inputs side by side, or one of all
    for number, (layers, before) in enumerate(zip(model.members, place.lanes)):
        output = rows if width == rows.shape[1] else rows[:, number * width : (number + 1) * width]
        after = []
        for layer, lane in zip(layers, before):
            output, last, lane = layer.advance(lane, output, ends)
            after.append(lane)
        lanes.append(after)
        given.append(output if chain.input_size == _width(model) else torch.cat([output, last], 1))
    x = torch.cat(given, 1).contiguous()
    row, done = place.row.clone(), torch.tensor([place.done])
    out = torch.empty(len(x) if chain.every else 1, chain.output_size)
    chain.run(row, done, torch.tensor([0]), torch.tensor([0, len(x)]), x, None, out, 1)
    return out, Place(lanes, row, int(done[0]), place.steps + len(rows), place.held, ends)


def _width(model: AheadModel) -> int:
    """Of the outputs of all members."""
    return sum(layers[-1].output_size for layers in model.members)


# --- as numbers


def to_row(place: Place) -> Tensor:
    """All of it but steps and text, (W,)."""
    parts = [place.row.reshape(-1)]
    for lane in (lane for lanes in place.lanes for lane in lanes):
        leaves = [] if lane.state is None else flatten(lane.state)
        parts += [leaf.reshape(-1) for leaf in leaves]
        parts += [lane.waiting.reshape(-1)]
        parts += [] if lane.first is None else [lane.first.reshape(-1)]
    return torch.cat(parts)


def row_size(model: AheadModel, steps: int) -> int:
    """Numbers of `to_row` after so many steps."""
    found = model.chain.row
    for layers in model.members:
        for layer, (waiting, ready) in zip(layers, _counts(layers, steps)):
            found += sum(leaf.shape[1] for leaf in flatten(layer.start().state or ()))
            found += waiting * layer.input_size + (layer.first_size if ready else 0)
    return found


def from_row(model: AheadModel, row: Tensor, steps: int, held: str) -> Place:
    """What `to_row` made; row of `row_size`."""
    at = 0

    def take(*shape: int) -> Tensor:
        nonlocal at
        size = 1
        for n in shape:
            size *= n
        at += size
        return row[at - size : at].reshape(shape).clone()

    own, lanes, done = take(1, model.chain.row), [], 0
    for layers in model.members:
        found = []
        for layer, (waiting, ready) in zip(layers, _counts(layers, steps)):
            state = layer.start().state
            if state is not None:
                state = unflatten(state, [take(1, leaf.shape[1]) for leaf in flatten(state)])
            inputs = take(waiting, layer.input_size)
            first = take(1, layer.first_size) if ready and layer.first_size else None
            found.append(Lane(state, inputs, first))
            done = ready
        lanes.append(found)
    return Place(lanes, own, done, steps, held)


def _counts(layers: Sequence[Layer], steps: int) -> list[tuple[int, int]]:
    """(inputs that wait, steps that are done) of each layer after so many steps of the first."""
    found = []
    for layer in layers:
        ready = max(0, steps - layer.ahead)
        found.append((steps - ready, ready))
        steps = ready
    return found
